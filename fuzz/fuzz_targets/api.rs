//! One input, one call of the C API: see `../calls.rs`.
#![no_main]

#[path = "../calls.rs"]
mod calls;

libfuzzer_sys::fuzz_target!(|input: &[u8]| calls::run(input));
