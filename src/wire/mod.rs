//! Byte grammars: pure functions from bytes to values and back. No state, no meaning, no I/O.

pub mod json;
pub mod key;
pub mod line;
pub mod pickle;
pub mod range;
