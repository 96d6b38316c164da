//! How much of each work is done: all of it to be measured, a part to see that every server still takes part.

use std::ops::Div;

/// Numbers of a work are divided by this.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Extent(u32);

impl Extent {
    pub const WHOLE: Self = Self(1);
    pub const SHORT: Self = Self(20);

    /// A count, of which one at least is left.
    pub fn count(self, whole: usize) -> usize {
        whole.div_ceil(self.0 as usize)
    }

    /// A length or a time.
    pub fn part<T: Div<u32, Output = T>>(self, whole: T) -> T {
        whole / self.0
    }

    pub fn bytes(self, whole: u64) -> u64 {
        whole.div_ceil(u64::from(self.0))
    }
}
