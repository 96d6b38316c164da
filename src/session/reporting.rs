//! Closes the report of a request when it ends, and joins the many requests of one download.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::dialect::asked::Asked;
use crate::error::Failure;
use crate::groups::Flow;
use crate::object::Key;
use crate::session::common::Common;
use crate::session::cx::Cx;
use crate::session::report::{Answer, Ended, Report, Request, RequestError, Segment, SentSegments};
use crate::session::state::Name;

impl Common {
    /// The store has said the name of the upload that the request is about.
    pub(super) fn names_upload(&mut self, key: &Key) {
        if let Some(request) = &mut self.data.request {
            request.key = key.clone();
        }
    }

    /// Closes the report of the request under way, if there is one.
    pub(super) fn report(&mut self, result: Result<(), RequestError>, cx: &mut Cx<'_>) {
        let (request, status) = (self.data.request.take(), self.data.status.take());
        if let Some(request) = &request {
            match &result {
                Ok(()) => {
                    cx.counters.count_request(request.word);
                    if let Some(complete) = request.complete {
                        cx.counters.commit_time.observe(cx.now.saturating_duration_since(complete));
                    }
                }
                Err(error) => cx.counters.count_failure(request.word, error.failure),
            }
        }
        if !log::log_enabled!(target: Report::TARGET, log::Level::Info) {
            return;
        }
        let request = request.or_else(|| self.answered_at_once(cx));
        let Some(request) = request else { return };
        match request.segment {
            Some(segment) if result.is_ok() => self.report_segment(request, segment, cx),
            _ => {
                self.report_segments(cx);
                let answer = self.answer(&request, result.is_ok(), status);
                let asked = if answer == Answer::Part { self.data.asked.clone() } else { self.data.asked.take() };
                self.log(request, result, (asked, answer), cx);
            }
        }
    }

    /// A request with a head that was answered without the store.
    fn answered_at_once(&self, cx: &Cx<'_>) -> Option<Request> {
        let is_over = self.data.asked.is_some();
        is_over.then(|| Request::new("request", Key::root(), self.data.caller.clone(), cx.now))
    }

    /// Whether all of the request has been answered, or a part of it.
    fn answer(&mut self, request: &Request, is_ok: bool, status: Option<u16>) -> Answer {
        let data = &mut *self.data;
        if is_ok && status.is_none() && data.asked.is_some() && self.name != Name::Done {
            data.bytes_logged += request.bytes;
            return Answer::Part;
        }
        Answer::Whole { status, bytes_before: std::mem::take(&mut data.bytes_logged) }
    }

    fn log(
        &self,
        request: Request,
        result: Result<(), RequestError>,
        (asked, answer): (Option<Arc<Asked>>, Answer),
        cx: &mut Cx<'_>,
    ) {
        let Request { word, key, caller, bytes, began, .. } = request;
        let (client, dialect) = (self.forwarded_client(), self.dialect.kind());
        let ended = Ended { word, key, caller, bytes, began, client, result, dialect, asked, answer };
        cx.reports.push(Report::Request(ended));
    }

    /// The client of the present request, if it is not the peer.
    fn forwarded_client(&self) -> Option<IpAddr> {
        let client = self.client();
        (client != self.peer.ip()).then_some(client)
    }

    /// Joins a segment to those before it, so that a download of many segments is one line.
    fn report_segment(&mut self, mut request: Request, segment: Segment, cx: &mut Cx<'_>) {
        match &self.data.segments {
            Some(sent)
                if sent.end == segment.first
                    && sent.request.key == request.key
                    && sent.request.caller == request.caller =>
            {
                request.bytes += sent.request.bytes;
                request.began = sent.request.began;
            }
            _ => self.report_segments(cx),
        }
        self.data.segments = Some(Box::new(SentSegments { request, end: segment.end, ended: cx.now }));
        if segment.end == segment.total {
            self.report_segments(cx);
        }
    }

    /// Reports the segments that wait for another one to follow.
    pub(super) fn report_segments(&mut self, cx: &mut Cx<'_>) {
        if self.data.segments.is_none() {
            return; // without making the request data
        }
        let Some(mut segments) = self.data.segments.take() else { return };
        // The log counts from `began` to now; the time since the last segment is not the download's.
        segments.request.began = cx.now - segments.ended.saturating_duration_since(segments.request.began);
        let answer = Answer::Whole { status: None, bytes_before: 0 };
        self.log(segments.request, Ok(()), (None, answer), cx);
    }

    /// Closes the report of the request under way as failed.
    pub(super) fn report_failure(&mut self, failure: Failure, cause: impl Into<Cow<'static, str>>, cx: &mut Cx<'_>) {
        self.report(Err(RequestError { failure, cause: cause.into() }), cx);
    }

    /// The whole body of an upload is here: from now on its peer waits for us.
    pub(super) fn body_is_complete(&mut self, now: Instant) {
        if let Some(request) = &mut self.data.request {
            request.complete = Some(now);
        }
    }

    /// This many bytes of content were received or sent; they count for the rate of the client.
    pub(super) fn moved(&mut self, flow: Flow, n: u64, cx: &mut Cx<'_>) {
        self.count(flow, n, cx);
        self.charge(flow, n, cx);
    }

    /// The same of bytes that count for the rate at another time.
    pub(super) fn count(&mut self, flow: Flow, n: u64, cx: &mut Cx<'_>) {
        if let Some(request) = &mut self.data.request {
            request.bytes += n;
        }
        match flow {
            Flow::Up => cx.counters.bytes_in += n,
            Flow::Down => cx.counters.bytes_out += n,
            Flow::Requests => debug_assert!(false, "a request is no content"),
        }
    }
}
