//! What the log and the counters get of each request, once it has ended. Writes nothing itself.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Instant;

use crate::access::Caller;
use crate::error::Failure;
use crate::object::Key;

/// One line for the log.
#[derive(Debug)]
pub enum Report {
    /// What a dialect reports about its peer.
    Note(String),
    /// One request that ended.
    Request {
        /// Its kind: `put`, `get`, …
        word: &'static str,
        key: Key,
        caller: Caller,
        /// Bytes of content that moved.
        bytes: u64,
        began: Instant,
        /// The client, where a trusted proxy named it.
        client: Option<IpAddr>,
        result: Result<(), RequestError>,
    },
}

impl Report {
    /// Where in the log they are found.
    pub const TARGET: &str = "filewharf::transfer";
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

impl Request {
    pub(super) const fn new(word: &'static str, key: Key, caller: Caller, began: Instant) -> Self {
        Self { word, key, caller, bytes: 0, began, complete: None, segment: None }
    }

    pub(super) fn report(self, result: Result<(), RequestError>, client: Option<IpAddr>, reports: &mut Vec<Report>) {
        let Self { word, key, caller, bytes, began, .. } = self;
        reports.push(Report::Request { word, key, caller, bytes, began, client, result });
    }
}
