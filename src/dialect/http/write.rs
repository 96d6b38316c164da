//! Changes: PUT and DELETE, what OPTIONS tells about them, and methods that are not offered.

use std::fmt::Display;

use crate::command::{Command, GoAhead, Put};
use crate::config::Limits;
use crate::dialect::http::reply::{Field, Manner, field, validators};
use crate::dialect::{Action, BodyPart, Context, Finish, Then};
use crate::error::{CloseReason, Failure};
use crate::object::{ExpectedKind, Key, Placed, Stored};
use crate::wire::body;
use crate::wire::http::chunked::Chunked;
use crate::wire::http::conditional::Conditions;
use crate::wire::http::head::{Expect, Framing, Head, Method};
use crate::wire::http::{digest, target};
use crate::wire::key::Path;
use crate::wire::status;

const LENGTH_NEEDED: Failure = Failure::Malformed("PUT needs a Content-Length or chunks");
const METHODS: &str = "GET, HEAD, PUT, DELETE, OPTIONS";
const METHODS_READ_ONLY: &str = "GET, HEAD, OPTIONS";
/// How long a browser may remember what it was told about other sites, in seconds.
const PREFLIGHT_AGE_S: u32 = 600;

/// A PUT, or a request of a method that is not offered and may have a body, too.
#[derive(Clone, Debug)]
pub(super) struct Upload {
    /// What is to be stored, once that is known.
    path: Option<Path>,
    body: Body,
    /// From `Repr-Digest`.
    announced: Option<[u8; 32]>,
    go_ahead: GoAhead,
}

/// Where we are in the body.
#[derive(Clone, Debug)]
enum Body {
    /// So many bytes are left.
    Counted(u64),
    Chunked(Chunked),
    Ended,
    /// The head does not say; what follows may be a body or a request.
    Unsaid,
}

impl Upload {
    /// What the head says about the body, whether or not the request is good.
    pub(super) fn of(head: &Head<'_>) -> Self {
        let body = match head.framing {
            Framing::None if head.method == Method::Put => Body::Unsaid,
            Framing::None | Framing::Length(0) => Body::Ended,
            Framing::Length(len) => Body::Counted(len),
            Framing::Chunked => Body::Chunked(Chunked::default()),
        };
        let waits = head.expect == Expect::Continue && !matches!(body, Body::Ended | Body::Unsaid);
        let go_ahead = if waits { GoAhead::Awaited } else { GoAhead::NotAwaited };
        Self { path: None, body, announced: None, go_ahead }
    }

    pub(super) fn command(&mut self, head: &Head<'_>, path: Path, limits: &Limits) -> Result<Command, Failure> {
        let Path { key, expected_kind } = path.clone();
        self.path = Some(path);
        if expected_kind == ExpectedKind::Dir {
            return Err(Failure::Malformed("a PUT stores a file, so its path must not end in /"));
        }
        // RFC 9110 §14.4: a server that stores parts would take it for the whole.
        if head.fields.content_range.is_some() {
            return Err(Failure::Malformed("a part of a file cannot be stored: PUT it whole, without Content-Range"));
        }
        // What was coded would be given out as if it were the file itself.
        if head.fields.content_encoding.lines().iter().any(|coding| !coding.eq_ignore_ascii_case("identity")) {
            return Err(Failure::NotImplemented("files are stored as they come: send it without Content-Encoding"));
        }
        let len = match head.framing {
            Framing::Length(len) => Some(len),
            Framing::Chunked => None,
            // RFC 9112 §6.3: no length and no coding is a body of no bytes, which a client that
            // forgot to say its length did not mean; or its length was in a field that somebody
            // before us reads and we do not.
            Framing::None => return Err(LENGTH_NEEDED),
        };
        if len.is_some_and(|len| len > limits.request_bytes_max) {
            return Err(Failure::TooLarge);
        }
        let precondition = Conditions::parse(&head.fields)?.write();
        self.announced = digest::sha256(head.fields.repr_digest.lines())?;
        let hash = self.announced.is_some();
        Ok(Command::Put(Put { precondition, hash, go_ahead: self.go_ahead, ..Put::new(key, len) }))
    }

    /// The store is ready for the body.
    pub(super) fn created(&mut self, context: &mut Context<'_>) -> Action {
        if self.go_ahead == GoAhead::Awaited {
            context.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            self.go_ahead = GoAhead::NotAwaited;
        }
        Action::Receive
    }

    /// Says why nothing was stored. The body is stepped over where its end is certain and near, or
    /// else the connection ends: a client that waits for its go-ahead may send the body or not
    /// (RFC 9110 §10.1.1).
    pub(super) fn refused(&self, failure: Failure, manner: &mut Manner, context: &mut Context<'_>) -> Action {
        let then = self.behind_refusal(failure, manner, context);
        let (code, more): (u16, Option<Field<'_>>) = match failure {
            // RFC 9110 §15.5.16: of an upload, only its coding can be what is not offered.
            Failure::NotImplemented(_) => (415, Some(("Accept-Encoding", &"identity"))),
            LENGTH_NEEDED => (411, None),
            failure => (status::code(failure), None),
        };
        let name = self.path.as_ref().map(|path| path as &dyn Display);
        manner.refuse_as(code, failure, name, more, context);
        then
    }

    /// The same where the method is what is not offered (RFC 9110 §15.5.6, §15.6.2).
    pub(super) fn not_offered(&self, method: Method<'_>, manner: &mut Manner, context: &mut Context<'_>) -> Action {
        let failure = Failure::NotImplemented("this method is not offered");
        let then = self.behind_refusal(failure, manner, context);
        let known = matches!(
            method,
            Method::Post
                | Method::Other("PATCH" | "TRACE" | "PROPFIND" | "PROPPATCH" | "MKCOL" | "COPY" | "MOVE" | "LOCK")
        );
        let methods: &dyn Display = &allowed(context);
        let (code, more) = if known { (405, Some(("Allow", methods))) } else { (501, None) };
        manner.refuse_as(code, failure, None, more, context);
        then
    }

    /// What follows the response to a request that is refused.
    fn behind_refusal(&self, failure: Failure, manner: &mut Manner, context: &Context<'_>) -> Action {
        let near = match self.body {
            Body::Ended => 0,
            Body::Counted(left) => left,
            Body::Chunked(_) | Body::Unsaid => u64::MAX,
        };
        let certain = self.go_ahead == GoAhead::NotAwaited && near <= context.limits.discard_bytes_max;
        if !certain || failure == Failure::Draining {
            manner.last();
        }
        match manner.then() {
            Action::Next if near > 0 => Action::Discard,
            Action::Close(_) => Action::Close(CloseReason::Refused),
            then => then,
        }
    }

    /// The upload is complete under its final name (RFC 9110 §9.3.4).
    pub(super) fn stored(&self, stored: &Stored, manner: &Manner, context: &mut Context<'_>) -> Action {
        match stored.placed {
            Placed::New => {
                manner.head(201, context);
                if let Some(Path { key, .. }) = &self.path {
                    // Relative to the target, as a proxy may have taken something off the path.
                    field("Location", &target::component(key.name()), context.out);
                }
                validators(&stored.meta, context);
                context.out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
            }
            Placed::Replaced => {
                manner.head(204, context);
                validators(&stored.meta, context);
                context.out.extend_from_slice(b"\r\n");
            }
        }
        manner.then()
    }

    pub(super) fn body(&mut self, raw: &[u8], payload_max: usize) -> Result<BodyPart, Failure> {
        match &mut self.body {
            Body::Counted(left) => {
                let payload = body::take(left, raw.len(), payload_max);
                let then = if *left == 0 {
                    self.body = Body::Ended;
                    Then::End
                } else if payload == raw.len() {
                    Then::Wait
                } else {
                    Then::Look
                };
                Ok(BodyPart { skip: 0, payload, then })
            }
            Body::Chunked(chunks) => {
                let part = chunks.step(raw, payload_max)?;
                if part.then == Then::End {
                    self.body = Body::Ended;
                }
                Ok(part)
            }
            Body::Ended | Body::Unsaid => Ok(BodyPart { skip: 0, payload: 0, then: Then::End }),
        }
    }

    pub(super) fn left(&self) -> u64 {
        match &self.body {
            Body::Counted(left) => *left,
            Body::Chunked(chunks) => chunks.left_min(),
            Body::Ended | Body::Unsaid => 0,
        }
    }

    pub(super) fn finish(&self, digest: Option<[u8; 32]>) -> Result<Finish, Failure> {
        match self.announced {
            Some(_) if self.announced != digest => Err(Failure::DigestMismatch),
            _ => Ok(Finish::default()),
        }
    }
}

/// A DELETE.
#[derive(Clone, Debug)]
pub(super) struct Remove {
    pub(super) key: Key,
}

impl Remove {
    pub(super) fn of(head: &Head<'_>, path: Path) -> Result<(Self, Command), Failure> {
        let Path { key, expected_kind } = path;
        if key.is_root() {
            return Err(Failure::Denied("the served folder itself cannot be deleted"));
        }
        let precondition = Conditions::parse(&head.fields)?.write();
        Ok((Self { key: key.clone() }, Command::Delete { key, expected_kind, precondition }))
    }
}

/// What can be done here; asked by people, and by browsers on behalf of other sites.
pub(super) fn options(head: &Head<'_>, manner: &Manner, context: &mut Context<'_>) -> Action {
    let methods = allowed(context);
    manner.head(204, context);
    field("Allow", &methods, context.out);
    let asked = &head.fields;
    if manner.shares() && asked.access_control_request_method.is_some() {
        field("Access-Control-Allow-Methods", &methods, context.out);
        for names in asked.access_control_request_headers.lines() {
            field("Access-Control-Allow-Headers", names, context.out);
        }
        field("Access-Control-Max-Age", &PREFLIGHT_AGE_S, context.out);
    }
    context.out.extend_from_slice(b"\r\n");
    manner.then()
}

fn allowed(context: &Context<'_>) -> &'static str {
    if context.access.is_read_only() { METHODS_READ_ONLY } else { METHODS }
}

/// RFC 9110 §10.1.1.
pub(super) fn unmet_expectation(manner: &Manner, context: &mut Context<'_>) -> Action {
    let failure = Failure::Malformed("the only expectation that can be met is 100-continue");
    manner.refuse_as(417, failure, None, None, context);
    manner.then()
}
