//! The interface between a connection and what answers the request on it: one [`Handler`] for each method.

use std::fmt::{self, Debug, Display, Formatter};
use std::sync::Arc;

use crate::command::Answer;
use crate::dialect::http::file::File;
use crate::dialect::http::incoming::Incoming;
use crate::dialect::http::response::{Refusal, ResponseMeta};
use crate::dialect::protocol::{Action, BodyPart, Context, Deferred, Finish};
use crate::error::{CloseReason, Failure};
use crate::wire::http::head::Head;

/// A request that is being answered. Only an exchange whose handler is a [plain file](Handler::plain) is ever shared.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) response: ResponseMeta,
    pub(super) handler: Box<dyn Handler>,
}

impl Exchange {
    pub(super) fn new(response: ResponseMeta, handler: impl Handler + 'static) -> Arc<Self> {
        Arc::new(Self { response, handler: Box::new(handler) })
    }
}

impl Deferred for Arc<Exchange> {
    fn answered(&mut self, answer: Result<Answer, Failure>, context: &mut Context<'_>) -> Action {
        let Some(Exchange { response, handler }) = Self::get_mut(self) else {
            return Action::Reset(CloseReason::Internal);
        };
        match answer {
            Ok(answer) => handler.answered(answer, response, context),
            Err(failure) => handler.failed(failure, response, context),
        }
    }
}

/// Not what is in it: that would be the text of every method in each binary.
impl Debug for dyn Handler {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Handler")
    }
}

/// Answers the requests of one method. The defaults are those of a request without a body.
///
/// The gate asks [`Handler::respond`] and then, while the server takes requests, [`Handler::command`]. What follows is
/// as in `Protocol`.
pub(super) trait Handler: Send + Sync {
    /// The response to a request that needs neither a disk nor a server that takes new requests.
    fn respond(
        &mut self,
        _head: &Head<'_>,
        _response: &mut ResponseMeta,
        _context: &mut Context<'_>,
    ) -> Result<Option<Action>, Failure> {
        Ok(None)
    }

    /// What the head asks the store for. Not asked where [`Handler::respond`] always responds.
    fn command(
        &mut self,
        _head: &Head<'_>,
        _response: &mut ResponseMeta,
        _context: &mut Context<'_>,
    ) -> Result<Action, Refusal<'static>> {
        Err(Failure::Internal.into())
    }

    /// Reads on in the body after [`Action::Proceed`]; `None` if the request is over.
    fn proceed(
        &mut self,
        _input: &[u8],
        _response: &mut ResponseMeta,
        _context: &mut Context<'_>,
    ) -> Option<(usize, Action)> {
        None
    }

    /// The store answered.
    fn answered(&mut self, _answer: Answer, _response: &mut ResponseMeta, _context: &mut Context<'_>) -> Action {
        Action::Reset(CloseReason::Internal)
    }

    /// The store refused, or the body broke off.
    fn failed(&mut self, failure: Failure, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        self.refuse(failure.into(), response, context)
    }

    /// The request or its body did not come in time.
    fn timed_out(&mut self, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        response.refuse_and_close(Failure::TimedOut, CloseReason::TooSlow, context)
    }

    /// Says why the request is not served. Where a body may follow, it is discarded or the connection closed.
    fn refuse(&mut self, refusal: Refusal<'static>, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        if let Some(incoming) = self.incoming() {
            let then = incoming.after_refusal(refusal.failure, response, context);
            response.refuse_as(refusal, self.name(), context);
            return then;
        }
        response.refuse_as(refusal, self.name(), context)
    }

    /// What a refusal names.
    fn name(&self) -> Option<&dyn Display> {
        None
    }

    /// The body; `None` for a method that has none.
    fn incoming(&mut self) -> Option<&mut Incoming> {
        None
    }

    /// See `Protocol::body_left`.
    fn body_left(&self) -> u64 {
        0
    }

    /// The next piece of the body.
    fn body(&mut self, raw: &[u8], payload_max: usize) -> Result<BodyPart, Failure> {
        self.incoming().ok_or(Failure::Internal)?.body(raw, payload_max)
    }

    /// The body is complete: whether it may become visible.
    fn finish(&mut self, _digest: Option<[u8; 32]>) -> Result<Finish, Failure> {
        Err(Failure::Internal)
    }

    /// True for a request that ends with its body, so that the next one may be decoded before it is answered.
    fn may_defer(&self) -> bool {
        false
    }

    /// This number of bytes of the upload are safe, while its body is received.
    fn saved(&mut self, _offset: u64, _response: &ResponseMeta, _context: &mut Context<'_>) {}

    /// The range of the last [`Action::Send`] was sent.
    fn sent(&mut self, _digest: Option<[u8; 32]>, _response: &mut ResponseMeta, _context: &mut Context<'_>) -> Action {
        Action::Reset(CloseReason::Internal)
    }

    /// The file, if it is sent whole and without preconditions: answering that changes nothing here.
    fn plain(&self) -> Option<&File> {
        None
    }
}
