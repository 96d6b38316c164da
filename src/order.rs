//! The order of a listing, and which names are in it.
//!
//! Each order but that by bytes is the byte order of keys: a directory goes before a file, then comes what it is sorted
//! by, then its name as people sort names (numbers by their value, case ignored), then the name itself.

use crate::object::{Entry, Node};

/// What names are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// The bytes of the name, directories and files alike.
    #[default]
    Bytes,
    Name,
    /// Directories have none, and are sorted by their names.
    Size,
    Mtime,
}

/// The order of a listing, and which names are in it; by default every name in the order of bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    pub by: By,
    /// Directories go first also here. Not with [`By::Bytes`].
    pub descending: bool,
    /// Only names with this text in them, in small letters: case is ignored.
    pub filter: Option<Box<str>>,
}

/// Ends a name in a key; no name has it.
const END: u8 = 0;
/// The first byte of a key.
const OF_DIR: u8 = 1;
const OF_FILE: u8 = 2;
/// Bytes of a rank in a key.
const RANK_BYTES: usize = size_of::<u64>();

impl Order {
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// True if what stands at a name decides its place, and not the name alone.
    pub const fn is_by_content(&self) -> bool {
        matches!(self.by, By::Size | By::Mtime)
    }

    /// True if the name has the text of the filter in it.
    pub fn has(&self, name: &str) -> bool {
        self.filter.as_deref().is_none_or(|text| name.to_lowercase().contains(text))
    }

    /// The number that what stands at a name is sorted by.
    pub fn rank(&self, node: Option<&Node>) -> i64 {
        match (self.by, node) {
            (By::Size, Some(Node::File(meta))) => i64::try_from(meta.len).unwrap_or(i64::MAX),
            (By::Mtime, Some(Node::File(meta))) => meta.mtime,
            (By::Mtime, Some(Node::Dir { mtime })) => *mtime,
            _ => 0,
        }
    }

    /// The place of a name in this order.
    pub fn key(&self, name: &str, is_dir: bool, rank: i64) -> Vec<u8> {
        if self.by == By::Bytes {
            return name.as_bytes().to_vec();
        }
        let mut key = Vec::with_capacity(2 * name.len() + RANK_BYTES + 3);
        key.push(if is_dir { OF_DIR } else { OF_FILE });
        if self.is_by_content() {
            key.extend_from_slice(&(rank.cast_unsigned() ^ 1 << 63).to_be_bytes());
        }
        collate(name, &mut key);
        key.push(END);
        key.extend_from_slice(name.as_bytes());
        key.push(END);
        if self.descending {
            key[1..].iter_mut().for_each(|byte| *byte = !*byte);
        }
        key
    }

    /// The name in a key, and its rank.
    pub fn name_of(&self, key: &[u8]) -> Option<(String, i64)> {
        if self.by == By::Bytes {
            return Some((String::from_utf8(key.to_vec()).ok()?, 0));
        }
        let mut key = key.get(1..)?.to_vec();
        if self.descending {
            key.iter_mut().for_each(|byte| *byte = !*byte);
        }
        let (mut rank, mut names) = (0, &key[..]);
        if self.is_by_content() {
            let (bytes, rest) = key.split_first_chunk::<RANK_BYTES>()?;
            (rank, names) = ((u64::from_be_bytes(*bytes) ^ 1 << 63).cast_signed(), rest);
        }
        let name = names.split(|byte| *byte == END).nth(1)?;
        Some((String::from_utf8(name.to_vec()).ok()?, rank))
    }

    /// Where a listing continues after this entry, as a client gives it back.
    pub fn cursor(&self, entry: &Entry) -> String {
        match (self.by, entry.is_dir) {
            (By::Bytes, _) => entry.name.to_string(),
            (_, true) => format!("d{}/{}", entry.rank, entry.name),
            (_, false) => format!("f{}/{}", entry.rank, entry.name),
        }
    }

    /// The place in this order that a cursor names; `None` if it is none.
    pub fn place(&self, cursor: &str) -> Option<Vec<u8>> {
        if self.by == By::Bytes {
            return Some(self.key(cursor, false, 0));
        }
        let (kind, name) = cursor.split_once('/')?;
        let (is_dir, rank) = match kind.split_at_checked(1)? {
            ("d", rank) => (true, rank),
            ("f", rank) => (false, rank),
            _ => return None,
        };
        let has_end = name.bytes().any(|byte| byte == END);
        (!has_end).then_some(self.key(name, is_dir, rank.parse().ok()?))
    }
}

/// Appends a name in small letters, each number in it after the count of its digits.
fn collate(name: &str, key: &mut Vec<u8>) {
    let lower = name.to_lowercase();
    let mut rest = lower.as_bytes();
    while let Some(first) = rest.first() {
        if !first.is_ascii_digit() {
            key.push(*first);
            rest = &rest[1..];
            continue;
        }
        let len = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, after) = rest.split_at(len);
        let zeros = digits.iter().take_while(|digit| **digit == b'0').count().min(len - 1);
        // Among the other letters, it has the place of a digit.
        key.push(b'0');
        key.push(u8::try_from(len - zeros).unwrap_or(u8::MAX));
        key.extend_from_slice(&digits[zeros..]);
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Etag, Meta};
    use proptest::prelude::*;

    fn file(name: &str, len: u64, mtime: i64) -> Entry {
        Entry::new(name, Node::File(Meta { len, mtime, etag: Etag([0; 16]), sha256: None, is_executable: false }))
    }

    fn sorted(order: &Order, mut entries: Vec<Entry>) -> Vec<String> {
        let key = |entry: &Entry| order.key(&entry.name, entry.is_dir, order.rank(entry.node.as_ref()));
        entries.sort_by_key(key);
        entries.iter().map(|entry| entry.name.to_string()).collect()
    }

    #[test]
    fn names_are_sorted_as_people_sort_them() {
        let by_name = Order { by: By::Name, ..Order::default() };
        let names = ["B", "file-10", "a", "file-2", "file-02", "File-3", "äb", "Äa", "1", "10", "9", "file", "2b", "A"];
        let mut entries: Vec<_> = names.iter().map(|name| file(name, 0, 0)).collect();
        entries.extend(["z10", "Z9"].map(|name| Entry::new(name, Node::Dir { mtime: 0 })));
        let want = [
            "Z9", "z10", "1", "2b", "9", "10", "A", "a", "B", "file", "file-02", "file-2", "File-3", "file-10", "Äa",
            "äb",
        ];
        assert_eq!(sorted(&by_name, entries.clone()), want);
        let descending = Order { descending: true, ..by_name };
        let (dirs, files) = want.split_at(2);
        let back: Vec<_> = dirs.iter().rev().chain(files.iter().rev()).copied().collect();
        assert_eq!(sorted(&descending, entries), back);
    }

    #[test]
    fn sizes_and_times_go_before_names_and_directories_first() {
        let entries =
            || vec![file("a", 300, -5), file("b", 2, 7), file("c", 2, 0), Entry::new("d", Node::Dir { mtime: 9 })];
        for (by, descending, want) in [
            (By::Size, false, ["d", "b", "c", "a"]),
            (By::Size, true, ["d", "a", "c", "b"]),
            (By::Mtime, false, ["d", "a", "c", "b"]),
            (By::Mtime, true, ["d", "b", "c", "a"]),
        ] {
            assert_eq!(sorted(&Order { by, descending, filter: None }, entries()), want, "{by:?} {descending}");
        }
    }

    #[test]
    fn a_filter_ignores_case() {
        let order = Order { filter: Some("är".into()), ..Order::default() };
        assert!(order.has("ÄRGER") && order.has("xär") && !order.has("arger"));
    }

    #[test]
    fn what_is_no_cursor_is_no_place() {
        let order = Order { by: By::Size, ..Order::default() };
        for bad in ["", "a", "d/a", "x1/a", "f1", "é1/a", "f99999999999999999999/a", "f1/a\0b"] {
            assert_eq!(order.place(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_key_gives_its_name_back_and_a_cursor_its_place(
            name in "[a-zA-Z0-9 äÄİ]{1,12}", is_dir in any::<bool>(), rank in any::<i64>(),
            by in prop_oneof![Just(By::Name), Just(By::Size), Just(By::Mtime)], descending in any::<bool>(),
        ) {
            let order = Order { by, descending, filter: None };
            let rank = if order.is_by_content() { rank } else { 0 };
            let key = order.key(&name, is_dir, rank);
            prop_assert_eq!(order.name_of(&key), Some((name.clone(), rank)));
            let entry = Entry { name: name.into(), is_dir, node: None, rank, properties: None };
            prop_assert_eq!(order.place(&order.cursor(&entry)), Some(key));
        }

        #[test]
        fn the_other_direction_is_the_reverse(names in proptest::collection::btree_set("[abAB012]{1,4}", 0..20)) {
            let entries = || names.iter().map(|name| file(name, 0, 0)).collect();
            let mut there = sorted(&Order { by: By::Name, ..Order::default() }, entries());
            there.reverse();
            prop_assert_eq!(there, sorted(&Order { by: By::Name, descending: true, filter: None }, entries()));
        }
    }
}
