//! Properties that clients keep with a file or a directory (the dead properties of RFC 4918 §4), as they are stored: the
//! store keeps the bytes, WebDAV gives them their meaning.
//!
//! One byte for the form, then for each property three lengths in two bytes (little-endian) and as many bytes: the
//! namespace of its name, the name, and the whole element as XML that stands on its own.

use crate::error::Failure;

/// What is answered where files have no extended attributes.
pub const UNKEPT: Failure = Failure::Denied("this file system keeps no properties");

const FORM: u8 = 1;

/// The name of a property. Without a namespace, that is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    pub namespace: Box<str>,
    pub local: Box<str>,
}

/// One change of the properties of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Remove(Name),
    /// With the element.
    Set(Name, Box<str>),
}

/// A property that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept<'a> {
    pub namespace: &'a str,
    pub local: &'a str,
    /// The element.
    pub xml: &'a str,
}

/// All that are kept with one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties(Box<[u8]>);

impl Properties {
    /// Most bytes of all of them: a file system has about 4 KiB for the attributes of a file.
    pub const BYTES_MAX: usize = 3 * 1024;

    /// What was stored; `None` if that is not of this form.
    pub fn read(bytes: Vec<u8>) -> Option<Self> {
        if bytes.len() > Self::BYTES_MAX || bytes.first() != Some(&FORM) {
            return None;
        }
        let mut rest = &bytes[1..];
        while !rest.is_empty() {
            rest = cut(rest)?.1;
        }
        Some(Self(bytes.into()))
    }

    /// What is to be stored; empty if there are none.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn iter(&self) -> impl Iterator<Item = Kept<'_>> {
        let mut rest = self.0.get(1..).unwrap_or_default();
        std::iter::from_fn(move || {
            let (kept, after) = cut(rest)?;
            rest = after;
            Some(kept)
        })
    }

    /// These after the changes, in their order; `None` if that is too long.
    pub fn changed(&self, changes: &[Change]) -> Option<Self> {
        let mut all: Vec<_> = self.iter().collect();
        for change in changes {
            let (Change::Remove(name) | Change::Set(name, _)) = change;
            all.retain(|kept| !kept.is(name));
            if let Change::Set(name, xml) = change {
                all.push(Kept { namespace: &name.namespace, local: &name.local, xml });
            }
        }
        let mut bytes = Vec::new();
        for Kept { namespace, local, xml } in all {
            if bytes.is_empty() {
                bytes.push(FORM);
            }
            for part in [namespace, local, xml] {
                bytes.extend_from_slice(&u16::try_from(part.len()).ok()?.to_le_bytes());
            }
            for part in [namespace, local, xml] {
                bytes.extend_from_slice(part.as_bytes());
            }
        }
        (bytes.len() <= Self::BYTES_MAX).then(|| Self(bytes.into()))
    }
}

impl Kept<'_> {
    pub fn is(&self, name: &Name) -> bool {
        (self.namespace, self.local) == (&*name.namespace, &*name.local)
    }
}

/// Splits the bytes after their first property.
fn cut(bytes: &[u8]) -> Option<(Kept<'_>, &[u8])> {
    let (lens, mut rest) = bytes.split_at_checked(6)?;
    let mut parts = [""; 3];
    for (part, len) in parts.iter_mut().zip(lens.chunks_exact(2)) {
        let (text, after) = rest.split_at_checked(usize::from(u16::from_le_bytes([len[0], len[1]])))?;
        (*part, rest) = (str::from_utf8(text).ok()?, after);
    }
    let [namespace, local, xml] = parts;
    Some((Kept { namespace, local, xml }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(local: &str) -> Name {
        Name { namespace: "urn:x".into(), local: local.into() }
    }

    fn set(local: &str, xml: &str) -> Change {
        Change::Set(name(local), xml.into())
    }

    fn shown(properties: &Properties) -> Vec<(&str, &str)> {
        properties.iter().map(|kept| (kept.local, kept.xml)).collect()
    }

    #[test]
    fn changes_are_made_in_their_order() {
        let one = Properties::default().changed(&[set("a", "<a/>"), set("b", "<b/>"), Change::Remove(name("a"))]);
        let one = one.expect("short");
        assert_eq!(shown(&one), [("b", "<b/>")]);
        let other = one.changed(&[Change::Remove(name("b")), set("b", "<b>2</b>"), Change::Remove(name("c"))]);
        assert_eq!(shown(&other.expect("short")), [("b", "<b>2</b>")]);
        let none = one.changed(&[Change::Remove(name("b"))]).expect("short");
        assert!(none.bytes().is_empty() && none == Properties::default());
        let foreign = Name { namespace: "".into(), local: "b".into() };
        assert_eq!(one.changed(&[Change::Remove(foreign)]), Some(one), "it has another namespace");
    }

    #[test]
    fn more_than_the_attribute_of_a_file_holds_is_refused() {
        let fixed = 1 + 6 + "urn:x".len() + "a".len();
        let exactly = "x".repeat(Properties::BYTES_MAX - fixed);
        let full = Properties::default().changed(&[set("a", &exactly)]).expect("fits");
        assert_eq!(full.changed(&[set("b", "")]), None);
        assert_eq!(Properties::default().changed(&[set("a", &format!("{exactly}x"))]), None);
        assert_eq!(Properties::default().changed(&[set("a", &"x".repeat(70_000))]), None);
    }

    proptest! {
        #[test]
        fn what_was_stored_is_read_and_nothing_else(pairs in prop::collection::vec(("[a-c]{0,9}", "\\PC{0,40}"), 0..6), cut in 0..200_usize) {
            let changes: Vec<_> = pairs.iter().map(|(name, xml)| set(name, xml)).collect();
            let properties = Properties::default().changed(&changes).expect("short");
            let bytes = properties.bytes().to_vec();
            if !bytes.is_empty() {
                prop_assert_eq!(Properties::read(bytes.clone()), Some(properties));
            }
            // A torn value is one that ends after whole properties, or none.
            if let Some(torn) = bytes.get(..cut) {
                let read = Properties::read(torn.to_vec());
                prop_assert!(read.is_none_or(|read| read.bytes() == torn));
            }
        }

        #[test]
        fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Properties::read(bytes).map(|read| read.iter().count());
        }
    }
}
