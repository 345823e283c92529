//! Random input for the law `headers`.

#![no_main]

#[expect(dead_code, reason = "the laws of other targets")]
#[path = "../../tests/it/laws.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|input: &[u8]| laws::headers(input));
