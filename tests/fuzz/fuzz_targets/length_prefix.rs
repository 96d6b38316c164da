#![no_main]
//! The length-prefix dialect, from bytes to the store and back.
libfuzzer_sys::fuzz_target!(|data: &[u8]| filewharf_fuzz::converse(filewharf::dialect::Kind::LengthPrefix, &[("inbox".into(), "notes".into())], data));
