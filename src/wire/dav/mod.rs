//! The bodies of WebDAV (RFC 4918 §9): XML that is read within bounds, and XML that is written by hand.

pub mod condition;
pub mod lock;
pub mod multistatus;
pub mod propfind;
pub mod proppatch;
pub mod xml;

/// The namespace of what RFC 4918 defines.
pub const DAV: &str = "DAV:";

#[cfg(test)]
mod tests;
