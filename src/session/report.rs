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
    /// The part of a file that is sent with its digest.
    pub(super) segment: Option<Segment>,
}

/// A range of a file, as a download by our client consists of many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) first: u64,
    pub(super) end: u64,
    /// Bytes of the whole file.
    pub(super) total: u64,
}

/// Segments of one file that were sent one after the other, and are not in the log yet.
#[derive(Debug)]
pub(super) struct Segments {
    request: Request,
    end: u64,
    ended: Instant,
}

impl Request {
    pub(super) const fn new(word: &'static str, key: Key, began: Instant) -> Self {
        Self { word, key, bytes: 0, began, complete: None, segment: None }
    }
}

impl Session {
    /// Closes the report of the request under way, if there is one.
    pub(super) fn report(&mut self, result: Result<(), Trouble>, cx: &mut Cx<'_>) {
        let Some(request) = self.work.request.take() else { return };
        match &result {
            Ok(()) => {
                cx.counters.count_request(request.word);
                if let Some(complete) = request.complete {
                    cx.counters.commit_time.observe(cx.now.saturating_duration_since(complete));
                }
            }
            Err(trouble) => cx.counters.count_failure(request.word, trouble.failure),
        }
        if log::log_enabled!(target: Report::TARGET, log::Level::Info) {
            match request.segment {
                Some(segment) if result.is_ok() => self.report_segment(request, segment, cx),
                _ => {
                    self.report_segments(cx);
                    let Request { word, key, bytes, began, .. } = request;
                    cx.reports.push(Report::Request { word, key, bytes, began, result });
                }
            }
        }
    }

    /// Joins a segment to those before it, so that a download of many segments is one line.
    fn report_segment(&mut self, request: Request, segment: Segment, cx: &mut Cx<'_>) {
        let mut segments = match self.work.segments.take() {
            Some(mut before) if before.end == segment.first && before.request.key == request.key => {
                before.request.bytes += request.bytes;
                before
            }
            before => {
                self.work.segments = before;
                self.report_segments(cx);
                Box::new(Segments { request, end: 0, ended: cx.now })
            }
        };
        (segments.end, segments.ended) = (segment.end, cx.now);
        self.work.segments = Some(segments);
        if segment.end == segment.total {
            self.report_segments(cx);
        }
    }

    /// Reports the segments that wait for another one to follow.
    pub(super) fn report_segments(&mut self, cx: &mut Cx<'_>) {
        if self.work.segments.is_none() {
            return; // and makes no room to find that out
        }
        let Some(segments) = self.work.segments.take() else { return };
        let Segments { request: Request { word, key, bytes, began, .. }, ended, .. } = *segments;
        // The log counts from `began` to now; the time since the last segment is not the download's.
        let began = cx.now - ended.saturating_duration_since(began);
        cx.reports.push(Report::Request { word, key, bytes, began, result: Ok(()) });
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
