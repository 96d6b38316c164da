#![no_main]
//! See `targets` in tests/support.
libfuzzer_sys::fuzz_target!(|data: &[u8]| support::targets::run("dav", data));
