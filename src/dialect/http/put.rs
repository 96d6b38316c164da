//! PUT, and the bodies of requests that are refused.

use std::fmt::Display;

use crate::command::{Command, GoAhead, Put};
use crate::config::Limits;
use crate::dialect::http::options;
use crate::dialect::http::response::{Field, Refusal, ResponseMeta, field, repr_digest, validators};
use crate::dialect::protocol::{Action, BodyPart, Context, Finish, Then};
use crate::error::{CloseReason, Failure};
use crate::object::{ExpectedKind, Placed, Stored};
use crate::wire::body;
use crate::wire::http::chunked::Chunked;
use crate::wire::http::conditional::Preconditions;
use crate::wire::http::head::{Expect, Framing, Head, Method};
use crate::wire::http::{digest, target};
use crate::wire::key::Path;

/// A PUT; or a request of a method that is not offered, whose body must be discarded.
#[derive(Clone, Debug)]
pub(super) struct Upload {
    /// What is to be stored, once that is known.
    path: Option<Path>,
    body: Body,
    /// From `Repr-Digest` or `Content-Digest`.
    digest: Option<[u8; 32]>,
    /// From `Want-Repr-Digest`.
    wants_digest: bool,
    go_ahead: GoAhead,
}

/// What is left of the body.
#[derive(Clone, Debug)]
enum Body {
    Length(u64),
    Chunked(Chunked),
    End,
    /// The head does not say; what follows may be a body or a request.
    Unknown,
}

impl Upload {
    /// What the head says about the body, whether or not the request is valid.
    pub(super) fn new(head: &Head<'_>) -> Self {
        let body = match head.framing {
            Framing::None if head.method == Method::Put => Body::Unknown,
            Framing::None | Framing::Length(0) => Body::End,
            Framing::Length(len) => Body::Length(len),
            Framing::Chunked => Body::Chunked(Chunked::default()),
        };
        let waits = head.expect == Expect::Continue && !matches!(body, Body::End | Body::Unknown);
        let go_ahead = if waits { GoAhead::Awaited } else { GoAhead::NotAwaited };
        Self { path: None, body, digest: None, wants_digest: false, go_ahead }
    }

    pub(super) fn command(
        &mut self,
        head: &Head<'_>,
        path: Path,
        limits: &Limits,
    ) -> Result<Command, Refusal<'static>> {
        let Path { key, expected_kind } = path.clone();
        self.path = Some(path);
        if expected_kind == ExpectedKind::Dir {
            return Err(Failure::Malformed("a PUT stores a file, so its path must not end in /").into());
        }
        // RFC 9110 §14.4: a server that ignores Content-Range would store the part as the whole.
        if head.fields.content_range.is_some() {
            let words = "a part of a file cannot be stored: PUT it whole, without Content-Range";
            return Err(Failure::Malformed(words).into());
        }
        // Coded content would be served as if it were the file itself (RFC 9110 §15.5.16).
        if head.fields.content_encoding.lines().iter().any(|coding| !coding.eq_ignore_ascii_case("identity")) {
            let failure = Failure::NotImplemented("files are stored as they come: send it without Content-Encoding");
            return Err(Refusal { status: 415, failure, field: Some(("Accept-Encoding", &"identity")) });
        }
        let len = match head.framing {
            Framing::Length(len) => Some(len),
            Framing::Chunked => None,
            // RFC 9112 §6.3: neither a length nor a coding means an empty body. The client more likely forgot its
            // length, or a proxy understood a field that is unknown here.
            Framing::None => {
                let failure = Failure::Malformed("PUT needs a Content-Length or chunks");
                return Err(Refusal { status: 411, failure, field: None });
            }
        };
        if len.is_some_and(|len| len > limits.request_bytes_max) {
            return Err(Failure::TooLarge.into());
        }
        let precondition = Preconditions::parse(&head.fields)?.for_change();
        let digests = [head.fields.repr_digest.lines(), head.fields.content_digest.lines()].map(digest::sha256);
        // Without a coding, and whole, the content is the representation.
        self.digest = match digests {
            [Ok(Some(one)), Ok(Some(other))] if one != other => return Err(Failure::DigestMismatch.into()),
            [one, other] => one?.or(other?),
        };
        self.wants_digest = digest::wants_sha256(head.fields.want_repr_digest.lines());
        let hash = self.digest.is_some() || self.wants_digest;
        // The body of a client that does not wait is on its way.
        let sha256 = self.digest.filter(|_| self.go_ahead == GoAhead::Awaited && len.is_some()).map(Box::new);
        Ok(Command::Put(Put { precondition, hash, sha256, go_ahead: self.go_ahead, ..Put::new(key, len) }))
    }

    /// The store is ready for the body.
    pub(super) fn created(&mut self, context: &mut Context<'_>) -> Action {
        if self.go_ahead == GoAhead::Awaited {
            context.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            self.go_ahead = GoAhead::NotAwaited;
        }
        Action::Receive
    }

    /// Says why nothing was stored.
    pub(super) fn refuse(
        &self,
        refusal: impl Into<Refusal<'static>>,
        response: &mut ResponseMeta,
        context: &mut Context<'_>,
    ) -> Action {
        let refusal = refusal.into();
        let then = self.after_refusal(refusal.failure, response, context);
        let name = self.path.as_ref().map(|path| path as &dyn Display);
        response.refuse_as(refusal, name, context);
        then
    }

    /// The method is known and not offered, or not known at all (RFC 9110 §15.5.6, §15.6.2).
    pub(super) fn refuse_method(
        &self,
        method: Method<'_>,
        response: &mut ResponseMeta,
        context: &mut Context<'_>,
    ) -> Action {
        let failure = Failure::NotImplemented("this method is not offered");
        let then = self.after_refusal(failure, response, context);
        let allowed: Field<'_> = ("Allow", &options::allowed(context));
        let (status, field) = match method {
            Method::Post
            | Method::Other("PATCH" | "TRACE" | "PROPFIND" | "PROPPATCH" | "MKCOL" | "COPY" | "MOVE" | "LOCK") => {
                (405, Some(allowed))
            }
            _ => (501, None),
        };
        response.refuse_as(Refusal { status, failure, field }, None, context);
        then
    }

    /// What follows the response to a refused request: the body is discarded where its end is certain and near,
    /// otherwise the connection closes. A client that waits for its go-ahead may send the body or not
    /// (RFC 9110 §10.1.1).
    fn after_refusal(&self, failure: Failure, response: &mut ResponseMeta, context: &Context<'_>) -> Action {
        let left = match self.body {
            Body::End => 0,
            Body::Length(left) => left,
            Body::Chunked(_) | Body::Unknown => u64::MAX,
        };
        let can_discard = self.go_ahead == GoAhead::NotAwaited && left <= context.limits.discard_bytes_max;
        if !can_discard || failure == Failure::Draining {
            response.set_close();
        }
        match response.next_action() {
            Action::Next if left > 0 => Action::Discard,
            Action::Close(_) => Action::Close(CloseReason::Refused),
            next => next,
        }
    }

    /// The upload is complete under its final name (RFC 9110 §9.3.4).
    pub(super) fn stored(&self, stored: &Stored, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        // It was there already. Whether the body comes all the same is not known (RFC 9110 §10.1.1).
        if self.go_ahead == GoAhead::Awaited {
            response.set_close();
        }
        let digest = stored.meta.sha256.filter(|_| self.wants_digest);
        match stored.placed {
            Placed::New => {
                response.head(201, context);
                if let Some(Path { key, .. }) = &self.path {
                    // Relative to the target: a proxy may have removed a prefix of the path.
                    field("Location", &target::component(key.name()), context.out);
                }
                validators(&stored.meta, context);
                repr_digest(digest.as_ref(), context.out);
                context.out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
            }
            Placed::Replaced => {
                response.head(204, context);
                validators(&stored.meta, context);
                repr_digest(digest.as_ref(), context.out);
                context.out.extend_from_slice(b"\r\n");
            }
        }
        response.next_action()
    }

    pub(super) fn body(&mut self, raw: &[u8], payload_max: usize) -> Result<BodyPart, Failure> {
        let part = match &mut self.body {
            Body::Length(left) => {
                let payload = body::take(left, raw.len(), payload_max);
                let then = match *left {
                    0 => Then::End,
                    _ if payload == raw.len() => Then::Wait,
                    _ => Then::Look,
                };
                BodyPart { skip: 0, payload, then }
            }
            Body::Chunked(chunked) => chunked.step(raw, payload_max)?,
            Body::End | Body::Unknown => BodyPart { skip: 0, payload: 0, then: Then::End },
        };
        if part.then == Then::End {
            self.body = Body::End;
        }
        Ok(part)
    }

    pub(super) fn left(&self) -> u64 {
        match &self.body {
            Body::Length(left) => *left,
            Body::Chunked(chunked) => chunked.left_min(),
            Body::End | Body::Unknown => 0,
        }
    }

    pub(super) fn finish(&self, digest: Option<[u8; 32]>) -> Result<Finish, Failure> {
        match self.digest {
            Some(_) if self.digest != digest => Err(Failure::DigestMismatch),
            _ => Ok(Finish::default()),
        }
    }
}
