//! Byte grammars: pure functions from bytes to values and back. No state, no meaning, no I/O.

pub mod body;
#[cfg(feature = "webdav")]
pub mod dav;
pub mod folding;
pub mod frames;
pub mod http;
pub mod json;
pub mod key;
pub mod line;
pub mod listing_sum;
pub mod menu;
pub mod metrics;
pub mod name_choice;
pub mod name_size;
pub mod percent;
pub mod pickle;
pub mod proxy_header;
pub mod range;
pub mod status;
#[cfg(feature = "archives")]
pub mod tar;
#[cfg(feature = "archives")]
pub mod zip;
