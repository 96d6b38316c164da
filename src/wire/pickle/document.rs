//! What a message holds: plain data, flat, and its bounds.

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
    None,
    Bool(bool),
    Int(i64),
    /// A whole number beyond those, in decimal digits.
    Big(Box<str>),
    Float(f64),
    /// Text; also a byte string of Python 2 that is UTF-8.
    Text(Box<str>),
    Bytes(Box<[u8]>),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Set(Vec<Id>),
    Frozen(Vec<Id>),
    /// In the order of its making. Of two equal keys the later one holds.
    Dict(Vec<(Id, Id)>),
}

impl Value {
    /// The member at place `n` in the order of reading; a dictionary gives key, value, key, …
    pub(super) fn member(&self, n: usize) -> Option<Id> {
        match self {
            Self::List(ids) | Self::Tuple(ids) | Self::Set(ids) | Self::Frozen(ids) => ids.get(n).copied(),
            Self::Dict(pairs) => pairs.get(n / 2).map(|(key, value)| if n.is_multiple_of(2) { *key } else { *value }),
            _ => None,
        }
    }

    pub(super) const fn is_container(&self) -> bool {
        matches!(self, Self::List(_) | Self::Tuple(_) | Self::Set(_) | Self::Frozen(_) | Self::Dict(_))
    }

    /// Its own bytes, without members.
    pub(super) fn own_bytes(&self) -> usize {
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
    pub(super) values: Vec<Value>,
    pub(super) root: Id,
    pub(super) strings: Strings,
}

impl Document {
    /// The value at a place that a value of this document names.
    pub fn at(&self, id: Id) -> &Value {
        &self.values[id as usize]
    }

    pub fn root(&self) -> &Value {
        self.at(self.root)
    }

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
