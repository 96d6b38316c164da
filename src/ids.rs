//! Names for things that outlive one call: connections, files and listeners.
//!
//! A slot is reused, a generation is not: a late event, timer or completion that carries an old
//! generation can never reach the next user of the slot. This file never looks anything up.

use std::fmt;

/// One TCP connection: its slot in the slab and which use of that slot it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    slot: u32,
    generation: u32,
}

impl ConnId {
    /// Slots are `u32`: the slab is capped far below that by `Limits::connections_max`.
    pub const fn new(slot: u32, generation: u32) -> Self {
        Self { slot, generation }
    }

    /// Index in the slab.
    pub const fn slot(self) -> usize {
        self.slot as usize
    }

    /// Which use of the slot this is.
    pub const fn generation(self) -> u32 {
        self.generation
    }

    /// Packs both halves into one word, as `mio::Token` wants it.
    pub const fn to_token(self) -> usize {
        ((self.generation as usize) << 32) | self.slot as usize
    }

    /// The inverse of [`ConnId::to_token`].
    pub const fn from_token(token: usize) -> Self {
        Self { slot: (token & 0xFFFF_FFFF) as u32, generation: (token >> 32) as u32 }
    }
}

const _: () = assert!(usize::BITS == 64, "a mio token packs slot and generation");

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}

/// One open file of the store. Made by the store, meaningful only to it, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u64);

/// One listening address, in the order the addresses were configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(pub u16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_gives_back_the_id_it_was_made_from() {
        for id in [ConnId::new(0, 0), ConnId::new(u32::MAX, 7), ConnId::new(3, u32::MAX)] {
            assert_eq!(ConnId::from_token(id.to_token()), id);
        }
    }
}
