//! The ways to tell the count at the front of a request from the name after it.

use std::collections::VecDeque;

use crate::error::Failure;
use crate::object::Key;
use crate::wire::{key, name_choice as wire};

/// One way to tell count and name apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// None where the name stands alone.
    pub(super) count: Option<u16>,
    pub(super) key: Result<Key, Failure>,
}

impl Reading {
    fn of(count: Option<u16>, name: &[u8]) -> Self {
        let name = std::str::from_utf8(name).map_err(|_| Failure::Malformed("the name is not UTF-8"));
        Self { count, key: name.and_then(key::relative) }
    }

    /// A label that is a name and no count.
    pub(super) fn alone(label: &[u8]) -> VecDeque<Self> {
        VecDeque::from([Self::of(None, label)])
    }

    /// Every way to read a label, the likeliest first. `expected` is the count that this peer will announce, `seen`
    /// how many digits have come alone.
    pub(super) fn all(label: &[u8], expected: Option<u16>, seen: Option<usize>) -> VecDeque<Self> {
        let lens = wire::count_lens(label);
        let split = |len: usize| {
            let (count, name) = label.split_at_checked(len).unwrap_or((label, b""));
            Self::of(wire::count(count), name)
        };
        if let Some(len) = lens.clone().find(|len| expected.is_some() && split(*len).count == expected) {
            return VecDeque::from([split(len)]);
        }
        let mut readings: VecDeque<Self> = lens.clone().map(split).collect();
        if let Some(at) = seen.and_then(|seen| lens.into_iter().position(|len| len == seen))
            && let Some(likeliest) = readings.remove(at)
        {
            readings.push_front(likeliest);
        }
        readings
    }
}
