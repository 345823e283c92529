//! Random input for the law `error_body`.

#![no_main]

#[expect(dead_code, reason = "the laws of other targets")]
#[path = "../../tests/it/laws.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|input: &[u8]| laws::error_body(input));
