//! PUT of a file.

use std::fmt::Display;

use crate::command::{Answer, Command, GoAhead, Put};
use crate::dialect::http::handler::Handler;
use crate::dialect::http::incoming::{Incoming, check_coding};
use crate::dialect::http::methods::resumable::part_digest::PartDigest;
use crate::dialect::http::response::{Refusal, ResponseMeta, field, repr_digest, validators};
use crate::dialect::protocol::{Action, BodyPart, Context, Finish};
use crate::error::{CloseReason, Failure};
use crate::object::{ExpectedKind, Placed, Stored};
use crate::wire::http::conditional::Preconditions;
use crate::wire::http::head::{Framing, Head};
use crate::wire::http::tus::Checksum;
use crate::wire::http::{digest, target};
use crate::wire::key::Path;
use crate::wire::range::seconds;

/// A PUT.
#[derive(Debug)]
pub(super) struct Upload {
    /// What is to be stored, once that is known.
    path: Option<Path>,
    incoming: Incoming,
    /// From `Repr-Digest` or `Content-Digest`.
    digest: Option<[u8; 32]>,
    /// From `Want-Repr-Digest`.
    wants_digest: bool,
    /// From `X-OC-Mtime`.
    mtime: Option<i64>,
    /// From `OC-Checksum`, if that is a SHA-1.
    sha1: PartDigest,
}

impl Upload {
    /// What the head says about the body, whether or not the request is valid.
    pub(crate) fn new(head: &Head<'_>) -> Self {
        let incoming = Incoming::new(head);
        Self { path: None, incoming, digest: None, wants_digest: false, mtime: None, sha1: PartDigest::NONE }
    }

    /// The fields about what was stored.
    fn describe(&self, stored: &Stored, context: &mut Context<'_>) {
        validators(&stored.meta, context);
        repr_digest(stored.meta.sha256.filter(|_| self.wants_digest).as_ref(), context.out);
        if self.mtime.is_some() {
            field("X-OC-MTime", &"accepted", context.out);
        }
    }

    /// The upload is complete under its final name (RFC 9110 §9.3.4).
    fn stored(&self, stored: &Stored, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        // It was there already. Whether the body comes all the same is not known (RFC 9110 §10.1.1).
        if self.incoming.go_ahead() == GoAhead::Awaited {
            response.set_close();
        }
        match stored.placed {
            Placed::New => {
                response.head(201, context);
                if let Some(Path { key, .. }) = &self.path {
                    // Relative to the target: a proxy may have removed a prefix of the path.
                    let key = context.key.unwrap_or(key);
                    field("Location", &target::component(key.name()), context.out);
                }
                self.describe(stored, context);
                context.out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
            }
            Placed::Replaced => {
                response.head(204, context);
                self.describe(stored, context);
                context.out.extend_from_slice(b"\r\n");
            }
        }
        response.next_action()
    }
}

impl Handler for Upload {
    fn command(
        &mut self,
        head: &Head<'_>,
        _response: &mut ResponseMeta,
        context: &mut Context<'_>,
    ) -> Result<Action, Refusal<'static>> {
        let path = target::path(head.path)?;
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
        check_coding(head)?;
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
        if len.is_some_and(|len| len > context.limits.live.request_bytes_max) {
            return Err(Failure::TooLarge.into());
        }
        let precondition = Preconditions::parse(&head.fields)?.for_change();
        let digests = [head.fields.repr_digest.lines(), head.fields.content_digest.lines()].map(digest::sha256);
        // Without a coding, and whole, the content is the representation.
        self.digest = match digests {
            [Ok(Some(one)), Ok(Some(other))] if one != other => return Err(Failure::DigestMismatch.into()),
            [one, other] => one?.or(other?),
        };
        let checksum = head.upload.as_ref().and_then(|fields| fields.oc_checksum).map(digest::oc_checksum);
        match (checksum.transpose()?.flatten(), self.digest) {
            (Some(Checksum::Sha256(one)), Some(other)) if one != other => return Err(Failure::DigestMismatch.into()),
            (Some(Checksum::Sha256(one)), _) => self.digest = Some(one),
            (Some(sha1), _) => self.sha1 = PartDigest::of(sha1),
            (None, _) => {}
        }
        let mtime =
            head.upload.as_ref().and_then(|fields| fields.x_oc_mtime).map(|text| {
                seconds(text).ok_or(Failure::Malformed("X-OC-Mtime is not a number of seconds since 1970"))
            });
        self.mtime = mtime.transpose()?;
        self.wants_digest = digest::wants_sha256(head.fields.want_repr_digest.lines());
        let hash = self.digest.is_some() || self.wants_digest;
        // The body of a client that does not wait is on its way.
        let sha256 =
            self.digest.filter(|_| self.incoming.go_ahead() == GoAhead::Awaited && len.is_some()).map(Box::new);
        let go_ahead = self.incoming.go_ahead();
        Ok(Action::Run(Command::Put(Put {
            precondition,
            mtime: self.mtime,
            hash,
            sha256,
            go_ahead,
            ..Put::new(key, len)
        })))
    }

    fn answered(&mut self, answer: Answer, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        match answer {
            Answer::Created => self.incoming.receive(context),
            Answer::Stored(stored) => self.stored(&stored, response, context),
            _ => Action::Reset(CloseReason::Internal),
        }
    }

    fn name(&self) -> Option<&dyn Display> {
        self.path.as_ref().map(|path| path as &dyn Display)
    }

    fn incoming(&mut self) -> Option<&mut Incoming> {
        Some(&mut self.incoming)
    }

    fn body_left(&self) -> u64 {
        self.incoming.left()
    }

    fn body(&mut self, raw: &[u8], payload_max: usize) -> Result<BodyPart, Failure> {
        let part = self.incoming.body(raw, payload_max)?;
        self.sha1.update(&raw[part.skip..][..part.payload]);
        Ok(part)
    }

    fn finish(&mut self, digest: Option<[u8; 32]>) -> Result<Finish, Failure> {
        match self.digest {
            _ if !self.sha1.agrees() => Err(Failure::DigestMismatch),
            Some(_) if self.digest != digest => Err(Failure::DigestMismatch),
            _ => Ok(Finish::default()),
        }
    }

    fn may_defer(&self) -> bool {
        true
    }
}
