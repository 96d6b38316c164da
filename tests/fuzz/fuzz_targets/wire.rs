#![no_main]
//! Every wire parser of the line protocol: never a panic, and what is accepted is written back
//! unchanged.

use filewharf::wire::{key, line, range::ByteRange};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(path) = key::absolute(data) {
        let mut back = path.key.to_string();
        if path.folder && !path.key.is_root() {
            back.push('/');
        }
        assert_eq!(back.as_bytes(), data);
    }
    let _ = (line::cut(data), line::request(data), line::trailer(data), line::chunk_len(data));
    if let Ok(text) = std::str::from_utf8(data) {
        assert_eq!(line::unescape(&line::escape(text)).expect("own escaping"), text);
        let _ = line::Reply::parse(text);
        if let Some(range) = ByteRange::parse(text) {
            for len in [0, 1, 1000, u64::MAX] {
                if let Ok(range) = range.resolve(len) {
                    assert!(range.start < range.end && range.end <= len);
                }
            }
        }
    }
});
