//! A set of rights. Plain data: what a right permits is decided in `permission`.

use std::fmt;
use std::ops::BitOr;

/// A set of rights, written as the letters of those that are in it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Rights(u8);

impl Rights {
    pub const NONE: Self = Self(0);
    /// Read files.
    pub const READ: Self = Self(1);
    /// List directories.
    pub const LIST: Self = Self(1 << 1);
    /// Create files and directories where nothing is.
    pub const CREATE: Self = Self(1 << 2);
    /// Replace files.
    pub const REPLACE: Self = Self(1 << 3);
    /// Delete files and empty directories, and rename what is there.
    pub const DELETE: Self = Self(1 << 4);
    pub const ALL: Self = Self(0b1_1111);

    /// Each right with its letter, in the order in which they are written.
    pub const LETTERS: [(char, Self); 5] =
        [('r', Self::READ), ('l', Self::LIST), ('c', Self::CREATE), ('w', Self::REPLACE), ('d', Self::DELETE)];

    /// Reads letters, each at most once and at least one, or `-` for none.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "-" {
            return Some(Self::NONE);
        }
        let mut rights = Self::NONE;
        for letter in text.chars() {
            let (_, right) = Self::LETTERS.into_iter().find(|(known, _)| *known == letter)?;
            if rights.has(right) {
                return None;
            }
            rights = rights | right;
        }
        (rights != Self::NONE).then_some(rights)
    }

    /// True if all of these are in it.
    pub const fn has(self, these: Self) -> bool {
        self.0 & these.0 == these.0
    }

    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are in both.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Rights {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.with(other)
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_none() {
            return f.write_str("-");
        }
        Self::LETTERS.iter().filter(|(_, right)| self.has(*right)).try_for_each(|(letter, _)| write!(f, "{letter}"))
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_is_read_as_it_was_written() {
        for bits in 0..=Rights::ALL.0 {
            assert_eq!(Rights::parse(&Rights(bits).to_string()), Some(Rights(bits)));
        }
        for bad in ["", "x", "rr", "r-", "R", "rlcwdr"] {
            assert_eq!(Rights::parse(bad), None, "{bad}");
        }
    }
}
