#![no_main]
//! The name-size dialect, from bytes to the store and back.
libfuzzer_sys::fuzz_target!(|data: &[u8]| filewharf_fuzz::converse(filewharf::dialect::Kind::NameSize, &[], data));
