//! Python's pickle format, all protocols from 0 to 5, as plain data only: `None`, booleans,
//! numbers, text, bytes, lists, tuples, sets and dictionaries. Whatever would name a class, call
//! something or reach outside of the message is refused by its opcode.
//!
//! `scan` finds the end of a message while it arrives, `decode` builds its values, `encode`
//! writes the few shapes that are ever answered. A message may be hostile: every bound is here,
//! nothing recurses over what a peer nested, and values are held flat, so that neither building
//! nor dropping them can run out of stack.

mod decode;
mod encode;
mod number;
mod scan;
#[cfg(test)]
mod tests;

pub use decode::{decode, decode_counted};
pub use encode::{BytesHead, Item, NONE, bytes_entry, dict, text};
pub use scan::Scanner;

/// Deepest nesting of containers.
pub const DEPTH_MAX: usize = 64;
/// Most values and places in containers, together.
pub const ITEMS_MAX: usize = 1 << 17;
/// Most entries of the memo.
pub const MEMO_MAX: usize = 1 << 16;
/// Most opcodes.
pub const OPCODES_MAX: usize = 1 << 19;
/// How heavy a message may be once every value that is shared is counted wherever it stands:
/// 1 for each, and its bytes.
pub const WEIGHT_MAX: u64 = 4 << 20;

/// A value's place in its [`Document`].
pub type Id = u32;

/// One value; containers name their members by place.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number beyond those, in decimal digits.
    Big(Box<str>),
    /// A number with a fraction.
    Float(f64),
    /// Text; also a byte string of Python 2 that is UTF-8.
    Text(Box<str>),
    /// Bytes.
    Bytes(Box<[u8]>),
    /// A list.
    List(Vec<Id>),
    /// A tuple.
    Tuple(Vec<Id>),
    /// A set.
    Set(Vec<Id>),
    /// A frozen set.
    Frozen(Vec<Id>),
    /// A dictionary in the order of its making. Of two equal keys the later one holds.
    Dict(Vec<(Id, Id)>),
}

impl Value {
    /// The member at place `n` in the order of reading; a dictionary gives key, value, key, …
    fn member(&self, n: usize) -> Option<Id> {
        match self {
            Self::List(ids) | Self::Tuple(ids) | Self::Set(ids) | Self::Frozen(ids) => ids.get(n).copied(),
            Self::Dict(pairs) => pairs.get(n / 2).map(|(key, value)| if n.is_multiple_of(2) { *key } else { *value }),
            _ => None,
        }
    }

    const fn is_container(&self) -> bool {
        matches!(self, Self::List(_) | Self::Tuple(_) | Self::Set(_) | Self::Frozen(_) | Self::Dict(_))
    }

    /// Its own bytes, without members.
    fn own_bytes(&self) -> usize {
        match self {
            Self::Big(text) | Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            _ => 0,
        }
    }
}

/// Which strings the writer of a message has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strings {
    /// Text and bytes are two kinds, as in Python 3.
    #[default]
    Apart,
    /// Byte strings serve as text: only Python 2 writes those.
    EightBit,
}

/// A message that was decoded: no cycles, no deeper than [`DEPTH_MAX`], no heavier than
/// [`WEIGHT_MAX`], keys that Python could use as keys.
#[derive(Clone, Debug)]
pub struct Document {
    values: Vec<Value>,
    root: Id,
    strings: Strings,
}

impl Document {
    /// The value at a place that a value of this document names.
    pub fn at(&self, id: Id) -> &Value {
        &self.values[id as usize]
    }

    /// The message itself.
    pub fn root(&self) -> &Value {
        self.at(self.root)
    }

    /// Which strings the writer has.
    pub const fn strings(&self) -> Strings {
        self.strings
    }

    /// The value of a key of the dictionary that the message is.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let Value::Dict(pairs) = self.root() else { return None };
        let is = |id: Id| matches!(self.at(id), Value::Text(text) if **text == *key);
        pairs.iter().rev().find(|(id, _)| is(*id)).map(|(_, value)| self.at(*value))
    }
}
