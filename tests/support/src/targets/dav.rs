//! The bodies and fields of WebDAV: never a panic, and a property that is kept means alone what it meant in its request.

use filewharf::properties::Change;
use filewharf::wire::dav::condition::If;
use filewharf::wire::dav::lock::{self, LockInfo};
use filewharf::wire::dav::{propfind, proppatch, xml};

/// Every parser over the same text.
pub fn all(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = (propfind::parse(text), LockInfo::parse(text), lock::token(Some(text)));
    assert!(lock::timeout_s(Some(text)) <= 3600, "a lock is granted for more than an hour");
    if let Ok(conditions) = If::parse(text) {
        assert!(conditions.tokens().all(|token| text.contains(token)));
    }
    for instruction in proppatch::parse(text).unwrap_or_default() {
        if let Change::Set(name, value) = &instruction.change {
            let alone = xml::parse(value).unwrap_or_else(|error| panic!("{error:?}: {value:?}"));
            assert_eq!(xml::name(alone.root_element()), *name);
            assert_eq!(xml::text(alone.root_element()), instruction.text);
        }
    }
}
