//! Python's pickle format, all protocols from 0 to 5, as plain data only: `None`, booleans,
//! numbers, text, bytes, lists, tuples, sets and dictionaries. Whatever would name a class, call
//! something or reach outside of the message is refused by its opcode.
//!
//! `scan` finds the end of a message while it arrives, `decode` builds its values, `encode`
//! writes the few shapes that are ever answered. A message may be hostile: every bound is here,
//! nothing recurses over what a peer nested, and values are held flat, so that neither building
//! nor dropping them can run out of stack.

mod decode;
mod document;
mod encode;
mod number;
mod scan;
#[cfg(test)]
mod tests;

pub use decode::{decode, decode_counted};
pub use document::{DEPTH_MAX, Document, ITEMS_MAX, Id, MEMO_MAX, OPCODES_MAX, Strings, Value, WEIGHT_MAX};
pub use encode::{BytesHead, Item, NONE, bytes_entry, dict, text};
pub use scan::Scanner;
