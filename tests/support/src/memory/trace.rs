//! What happened, as one number, and readable when one seed is replayed.
#![allow(clippy::print_stdout, reason = "a replay is there to be read")]

use std::fmt;

/// Everything that happens in a run is noted here, in order.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    notes: u64,
    verbose: bool,
    off: bool,
}

impl Trace {
    pub const fn new(verbose: bool) -> Self {
        Self { hash: 0xCBF2_9CE4_8422_2325, notes: 0, verbose, off: false }
    }

    /// Notes nothing.
    pub const fn off() -> Self {
        Self { off: true, ..Self::new(false) }
    }

    /// Notes one happening: a word, and the numbers that tell it from others.
    pub fn note(&mut self, now_us: u64, word: &str, numbers: &[u64]) {
        if self.off {
            return;
        }
        self.notes += 1;
        for byte in word.bytes() {
            self.add(u64::from(byte));
        }
        self.add(now_us);
        numbers.iter().for_each(|number| self.add(*number));
        if self.verbose {
            println!("{:>12.6} {word} {numbers:?}", now_us as f64 / 1e6);
        }
    }

    /// Something for the reader only.
    pub fn say(&self, now_us: u64, words: fmt::Arguments<'_>) {
        if self.verbose {
            println!("{:>12.6} {words}", now_us as f64 / 1e6);
        }
    }

    fn add(&mut self, number: u64) {
        self.hash = (self.hash ^ number).wrapping_mul(0x0000_0100_0000_01B3).rotate_left(5);
    }

    /// The same run has the same number.
    pub const fn hash(&self) -> u64 {
        self.hash ^ self.notes
    }
}
