//! The grammar of HTTP/1.1: heads, targets, chunked bodies and the field values that matter here.
//!
//! Where RFC 9110 and RFC 9112 let a recipient choose between lenient and strict, these modules are strict: input
//! that two parsers could read in two ways is refused. They keep no state of a connection; what a request means is
//! decided in the dialect.

pub mod accept;
#[cfg(feature = "archives")]
pub mod archive_query;
pub mod basic;
pub mod chunked;
pub mod conditional;
pub mod date;
pub mod digest;
pub mod forwarded;
pub mod head;
#[cfg(feature = "page")]
pub mod multipart;
pub mod opening;
pub mod relocation;
pub mod structured;
mod syntax;
pub mod target;
pub mod tus;
