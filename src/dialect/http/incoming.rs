//! The body of a request: its end, `100-continue`, and what is done with one that is refused.

use crate::dialect::http::response::{Refusal, ResponseMeta};
use crate::dialect::protocol::{Action, BodyPart, Context, Then};
use crate::error::{CloseReason, Failure};
use crate::upload::GoAhead;
use crate::wire::body;
use crate::wire::http::chunked::Chunked;
use crate::wire::http::head::{Expect, Framing, Head, Method};

#[derive(Clone, Debug)]
pub(super) struct Incoming {
    rest: Rest,
    go_ahead: GoAhead,
}

/// What is left of the body.
#[derive(Clone, Debug)]
enum Rest {
    Length(u64),
    Chunked(Chunked),
    End,
    /// The head does not say; what follows may be a body or a request.
    Unknown,
}

impl Incoming {
    /// What the head says about the body, whether or not the request is valid.
    pub(super) fn new(head: &Head<'_>) -> Self {
        let rest = match head.framing {
            Framing::None if head.method == Method::Put => Rest::Unknown,
            Framing::None | Framing::Length(0) => Rest::End,
            Framing::Length(len) => Rest::Length(len),
            Framing::Chunked => Rest::Chunked(Chunked::default()),
        };
        let waits = head.expect == Expect::Continue && !matches!(rest, Rest::End | Rest::Unknown);
        Self { rest, go_ahead: if waits { GoAhead::Awaited } else { GoAhead::NotAwaited } }
    }

    pub(super) const fn go_ahead(&self) -> GoAhead {
        self.go_ahead
    }

    /// True if nothing of it is still to come.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self.rest, Rest::End)
    }

    /// How much is to come, where the head says it.
    pub(super) const fn len(&self) -> Option<u64> {
        match self.rest {
            Rest::Length(len) => Some(len),
            Rest::End => Some(0),
            Rest::Chunked(_) | Rest::Unknown => None,
        }
    }

    /// The store is ready for the body.
    pub(super) fn receive(&mut self, context: &mut Context<'_>) -> Action {
        if self.go_ahead == GoAhead::Awaited {
            context.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            self.go_ahead = GoAhead::NotAwaited;
        }
        Action::Receive
    }

    /// What follows the response to a refused request: the body is discarded where its end is certain and near,
    /// otherwise the connection closes. A client that waits for its go-ahead may send the body or not
    /// (RFC 9110 §10.1.1).
    pub(super) fn after_refusal(&self, failure: Failure, response: &mut ResponseMeta, context: &Context<'_>) -> Action {
        let left = match self.rest {
            Rest::End => 0,
            Rest::Length(left) => left,
            Rest::Chunked(_) | Rest::Unknown => u64::MAX,
        };
        let can_discard = self.go_ahead == GoAhead::NotAwaited && left <= context.limits.live.discard_bytes_max;
        if !can_discard || failure == Failure::Draining {
            response.set_close();
        }
        match response.next_action() {
            Action::Next if left > 0 => Action::Discard,
            Action::Close(_) => Action::Close(CloseReason::Refused),
            next => next,
        }
    }

    /// The same after a request that was served before all of its body had come.
    #[cfg(feature = "page")]
    pub(super) fn after_response(&self, response: &mut ResponseMeta, context: &Context<'_>) -> Action {
        match self.after_refusal(Failure::Internal, response, context) {
            Action::Close(_) => Action::Close(CloseReason::Finished),
            next => next,
        }
    }

    pub(super) fn body(&mut self, raw: &[u8], payload_max: usize) -> Result<BodyPart, Failure> {
        let part = match &mut self.rest {
            Rest::Length(left) => {
                let payload = body::take(left, raw.len(), payload_max);
                let then = match *left {
                    0 => Then::End,
                    _ if payload == raw.len() => Then::Wait,
                    _ => Then::Look,
                };
                BodyPart { skip: 0, payload, then }
            }
            Rest::Chunked(chunked) => chunked.step(raw, payload_max)?,
            Rest::End | Rest::Unknown => BodyPart { skip: 0, payload: 0, then: Then::End },
        };
        if part.then == Then::End {
            self.rest = Rest::End;
        }
        Ok(part)
    }

    pub(super) fn left(&self) -> u64 {
        match &self.rest {
            Rest::Length(left) => *left,
            Rest::Chunked(chunked) => chunked.left_min(),
            Rest::End | Rest::Unknown => 0,
        }
    }
}

/// The body that is gathered after its head.
#[cfg(any(feature = "archives", feature = "webdav"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gathers {
    Nothing,
    #[cfg(feature = "archives")]
    Form,
    #[cfg(feature = "webdav")]
    Xml,
}

/// True if the head announces neither a body nor an expectation.
pub(super) fn is_bodyless(head: &Head<'_>) -> bool {
    (head.framing, head.expect) == (Framing::None, Expect::None)
}

/// Most bytes of a chunked body without content that are waited for.
const EMPTY_BODY_LEN_MAX: usize = 256;

/// What follows a head that announces a chunked body where none is expected. HAProxy sends such requests for clients that
/// end them by an empty frame of HTTP/2.
pub(super) enum EmptyBody {
    Complete(usize),
    Incomplete,
    NotEmpty,
}

/// `room`: bytes after a head that are held at most.
pub(super) fn empty_chunked(after: &[u8], room: usize) -> EmptyBody {
    match Chunked::default().step(after, 1) {
        Ok(BodyPart { skip, payload: 0, then: Then::End }) => EmptyBody::Complete(skip),
        Ok(BodyPart { payload: 0, .. }) if after.len() < EMPTY_BODY_LEN_MAX.min(room) => EmptyBody::Incomplete,
        _ => EmptyBody::NotEmpty,
    }
}

/// Coded content would be served as if it were the file itself (RFC 9110 §15.5.16).
pub(super) fn check_coding(head: &Head<'_>) -> Result<(), Refusal<'static>> {
    if head.fields.content_encoding.lines().iter().all(|coding| coding.eq_ignore_ascii_case("identity")) {
        return Ok(());
    }
    let failure = Failure::NotImplemented("files are stored as they come: send it without Content-Encoding");
    Err(Refusal { status: 415, failure, field: Some(("Accept-Encoding", &"identity")) })
}
