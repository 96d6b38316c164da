#![no_main]
//! See `targets` in the library beside.
libfuzzer_sys::fuzz_target!(|data: &[u8]| filewharf_fuzz::run("client", data));
