//! The fields that describe a version of a file, kept while it is asked for again and again: to write
//! them anew takes a fifth of the instructions of a small download.
//!
//! Decides nothing and can never be out of date: what is kept belongs to one name and one version, and
//! for those it is always the same.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::object::{Etag, Key, Meta};

/// Versions that are kept. Two that fall on the same place drive each other out.
const PLACES: usize = 32;
/// Longest name that is kept with its fields, in bytes: it may stand in them, three bytes for each.
const NAME_LEN_MAX: usize = 128;

/// What was written lately.
#[derive(Default)]
pub(super) struct Described(Mutex<[Option<Entry>; PLACES]>);

struct Entry {
    key: Key,
    etag: Etag,
    fields: Box<[u8]>,
}

impl Described {
    /// Memory of all of it at most: an entry, its name, and its fields with the name in them.
    pub(super) const BYTES_MAX: usize = PLACES * (size_of::<Entry>() + 4 * NAME_LEN_MAX + 512);

    /// Writes the fields of this version at the end of `out`, as `write` does it where they are not
    /// kept. It must depend on nothing else.
    pub(super) fn write(&self, key: &Key, meta: &Meta, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        if key.as_str().len() > NAME_LEN_MAX {
            return write(out);
        }
        // One thread only comes here, so nobody ever waits.
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A tag is mixed from all that makes a version: any byte of it will do.
        let place = &mut places[usize::from(meta.etag.0[0]) % PLACES];
        if let Some(entry) = place
            && entry.etag == meta.etag
            && entry.key == *key
        {
            return out.extend_from_slice(&entry.fields);
        }
        let before = out.len();
        write(out);
        *place = Some(Entry { key: key.clone(), etag: meta.etag, fields: out[before..].into() });
    }
}

impl fmt::Debug for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Described").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::key::relative;

    #[test]
    fn each_name_and_version_has_fields_of_its_own_however_often_they_are_asked_for() {
        let described = Described::default();
        let long = "x".repeat(NAME_LEN_MAX + 1);
        for _ in 0..3 {
            for name in ["a", "b", &long] {
                // The first two of them share a place.
                for tag in [[1; 16], [1 + PLACES as u8; 16], [2; 16]] {
                    let meta = Meta { len: 1, mtime: 0, etag: Etag(tag) };
                    let mut out = b"before".to_vec();
                    let want = format!("{name} {}", meta.etag);
                    let key = relative(name).expect("a good name");
                    described.write(&key, &meta, &mut out, |out| out.extend_from_slice(want.as_bytes()));
                    assert_eq!(String::from_utf8_lossy(&out), format!("before{want}"));
                }
            }
        }
    }

    #[test]
    fn what_was_asked_for_twice_is_written_once_unless_its_name_is_long() {
        let meta = Meta { len: 1, mtime: 0, etag: Etag([1; 16]) };
        for (len, times) in [(1, 1), (NAME_LEN_MAX, 1), (NAME_LEN_MAX + 1, 2)] {
            let (described, key) = (Described::default(), relative(&"a".repeat(len)).expect("a good name"));
            let mut written = 0;
            for _ in 0..2 {
                described.write(&key, &meta, &mut Vec::new(), |_| written += 1);
            }
            assert_eq!(written, times, "a name of {len}");
        }
    }
}
