//! Random input for the law `retry_after`.

#![no_main]

#[expect(dead_code, reason = "the laws of other targets")]
#[path = "../../tests/it/laws.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|input: &[u8]| laws::retry_after(input));
