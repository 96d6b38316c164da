//! What the log and the counters are told of each request, once it has ended. Writes nothing itself.

use std::time::Instant;

use crate::error::Failure;
use crate::object::Key;
use crate::session::{Cx, Session};

/// One line for the log.
#[derive(Debug)]
pub enum Report {
    /// What a dialect has to tell about its peer.
    Note(String),
    /// One request that ended.
    Request {
        /// Its kind: `put`, `get`, …
        word: &'static str,
        /// What it was about.
        key: Key,
        /// Bytes of content that moved.
        bytes: u64,
        /// When it began.
        began: Instant,
        /// How it ended.
        result: Result<(), Trouble>,
    },
}

impl Report {
    /// Where in the log they are found.
    pub const TARGET: &str = "filewharf::transfer";
}

/// Why a request did not succeed.
#[derive(Debug)]
pub struct Trouble {
    /// What the peer was told, or would have been told.
    pub failure: Failure,
    /// What really happened, for the operator.
    pub cause: String,
}

/// The request under way, for its report.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) word: &'static str,
    pub(super) key: Key,
    pub(super) bytes: u64,
    pub(super) began: Instant,
    /// When the whole body of an upload had come.
    pub(super) complete: Option<Instant>,
}

impl Session {
    /// Closes the report of the request under way, if there is one.
    pub(super) fn report(&mut self, result: Result<(), Trouble>, cx: &mut Cx<'_>) {
        let Some(request) = self.work.request.take() else { return };
        let Request { word, key, bytes, began, complete } = request;
        match &result {
            Ok(()) => {
                cx.counters.count_request(word);
                if let Some(complete) = complete {
                    cx.counters.commit_time.observe(cx.now.saturating_duration_since(complete));
                }
            }
            Err(trouble) => cx.counters.count_failure(word, trouble.failure),
        }
        if log::log_enabled!(target: Report::TARGET, log::Level::Info) {
            cx.reports.push(Report::Request { word, key, bytes, began, result });
        }
    }

    /// Closes the report with a failure that the peer is told in so many words.
    pub(super) fn report_failure(&mut self, failure: Failure, cause: impl Into<String>, cx: &mut Cx<'_>) {
        self.report(Err(Trouble { failure, cause: cause.into() }), cx);
    }

    /// The whole body of an upload is here: from now on its peer waits for us.
    pub(super) fn body_came(&mut self, now: Instant) {
        if let Some(request) = &mut self.work.request {
            request.complete = Some(now);
        }
    }

    pub(super) fn count_bytes(&mut self, n: u64) {
        if let Some(request) = &mut self.work.request {
            request.bytes += n;
        }
    }
}
