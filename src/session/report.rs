//! What the log and the counters get of each request, once it has ended. Writes nothing itself.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::access::Caller;
use crate::config::LogFormat;
use crate::dialect::Kind;
use crate::dialect::asked::Asked;
use crate::error::Failure;
use crate::object::Key;

/// One line for the log.
#[derive(Debug)]
pub enum Report {
    /// What a dialect reports about its peer.
    Note(String),
    /// One request that ended, or a part of one.
    Request(Ended),
}

/// What is known of a request once it has ended.
#[derive(Debug)]
pub struct Ended {
    /// Its kind: `put`, `get`, …
    pub word: &'static str,
    pub key: Key,
    pub caller: Caller,
    /// Bytes of content that moved.
    pub bytes: u64,
    pub began: Instant,
    /// The client, where a trusted proxy named it.
    pub client: Option<IpAddr>,
    pub result: Result<(), RequestError>,
    pub dialect: Kind,
    /// What its head was, where the dialect has heads.
    pub asked: Option<Arc<Asked>>,
    pub answer: Answer,
}

/// What the peer was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing yet: this was a part of a request, as one file of a form.
    Part,
    /// The last of it, after parts with this many bytes of content; and the status, where the dialect has one.
    Whole { status: Option<u16>, bytes_before: u64 },
}

impl Report {
    /// Where in the log they are found.
    pub const TARGET: &str = LogFormat::TEXT_TARGET;
}

/// Why a request did not succeed.
#[derive(Debug)]
pub struct RequestError {
    /// What the peer was sent, or would have been sent.
    pub failure: Failure,
    /// What really happened, for the operator.
    pub cause: Cow<'static, str>,
}

/// The request under way, for its report.
#[derive(Debug)]
pub(super) struct Request {
    pub word: &'static str,
    pub key: Key,
    pub caller: Caller,
    pub bytes: u64,
    pub began: Instant,
    /// When the whole body of an upload had come.
    pub complete: Option<Instant>,
    /// Set for a part of a file that is sent with its digest: our client downloads a file in many of them.
    pub segment: Option<Segment>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub first: u64,
    pub end: u64,
    /// Bytes of the whole file.
    pub total: u64,
}

/// Segments of one file that were sent one after the other, joined to one request that is not in the log yet.
#[derive(Debug)]
pub(super) struct SentSegments {
    pub request: Request,
    pub end: u64,
    pub ended: Instant,
}

/// The client that a trusted proxy sends the present request of.
#[derive(Debug)]
pub(super) struct Forwarded(pub IpAddr);

impl Request {
    pub(super) const fn new(word: &'static str, key: Key, caller: Caller, began: Instant) -> Self {
        Self { word, key, caller, bytes: 0, began, complete: None, segment: None }
    }
}
