//! File content that is known from two numbers, so that any byte of it can be checked and none of
//! it has to be kept.

use std::sync::OnceLock;

/// Length of the pattern that repeats. Odd, so that it never lines up with a buffer.
const PATTERN: usize = (1 << 20) - 3;
/// Longest piece that [`Content::at`] hands out.
const PIECE: usize = 256 << 10;

/// The content of one version of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Content {
    pub seed: u64,
    pub len: u64,
}

impl Content {
    pub const fn new(seed: u64, len: u64) -> Self {
        Self { seed, len }
    }

    /// Bytes from `offset` on: at least one unless the content ends there.
    pub fn at(&self, offset: u64) -> &'static [u8] {
        let left = self.len.saturating_sub(offset).min(PIECE as u64) as usize;
        let start = ((offset + self.seed.wrapping_mul(7919)) % PATTERN as u64) as usize;
        &pattern()[start..start + left]
    }

    /// True if these are the bytes at `offset`.
    pub fn matches(&self, mut offset: u64, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let here = self.at(offset);
            let len = here.len().min(bytes.len());
            if len == 0 || here[..len] != bytes[..len] {
                return false;
            }
            bytes = &bytes[len..];
            offset += len as u64;
        }
        true
    }

    /// All of it.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len as usize);
        while (bytes.len() as u64) < self.len {
            bytes.extend_from_slice(self.at(bytes.len() as u64));
        }
        bytes
    }
}

fn pattern() -> &'static [u8] {
    static PATTERN_TWICE: OnceLock<Vec<u8>> = OnceLock::new();
    PATTERN_TWICE.get_or_init(|| {
        let mut random = Random::new(1);
        let once: Vec<u8> = (0..PATTERN).map(|_| (random.next() >> 32) as u8).collect();
        let again = once[..PIECE].to_vec();
        [once, again].concat()
    })
}

/// A generator of our own, so that a run is the same for ever (xorshift64*).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound.max(1)
    }
}
