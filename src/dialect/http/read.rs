//! GET and HEAD of a file: conditions first, then ranges, then the bytes of one version.

use std::io::Write as _;
use std::ops::Range;

use crate::command::Command;
use crate::dialect::http::listener::Listener;
use crate::dialect::http::media;
use crate::dialect::http::reply::{Content, Manner, content_length, field, validators};
use crate::dialect::{Action, Context};
use crate::error::Failure;
use crate::object::{Key, Meta};
use crate::wire::http::conditional::{Conditions, Verdict, range_counts};
use crate::wire::http::head::{Head, Version};
use crate::wire::http::{chunked, digest, target};
use crate::wire::range::Ranges;

/// A GET or HEAD of a file.
#[derive(Clone, Debug)]
pub(super) struct Read {
    key: Key,
    /// Where the query of the request must be kept: for a redirection.
    query: Option<Box<str>>,
    wishes: Option<Box<Wishes>>,
    stage: Stage,
}

/// What most requests do not have.
#[derive(Clone, Debug)]
struct Wishes {
    conditions: Conditions,
    range: Option<Box<str>>,
    if_range: Option<Box<str>>,
    digest: Digest,
}

/// Is the digest of what is sent wanted, and where?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Digest {
    No,
    /// In a trailer: it is known when the last byte has left.
    Trailer,
}

/// What follows what is on its way.
#[derive(Clone, Debug)]
enum Stage {
    /// The head, or the only range, is all there is to say.
    Plain,
    /// The only chunk is on its way, and the digest follows it.
    Digested,
    /// Parts of a `multipart/byteranges` follow.
    Parts(Box<Parts>),
}

/// The parts that are left, last one first.
#[derive(Clone, Debug)]
struct Parts {
    left: Vec<Part>,
    end: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Part {
    head: Vec<u8>,
    range: Range<u64>,
}

impl Read {
    pub(super) fn of(head: &Head<'_>, key: Key) -> Result<(Self, Command), Failure> {
        let wishes = Wishes::of(head)?.map(Box::new);
        let query = head.query.map(Into::into);
        let read = Self { key, query, wishes, stage: Stage::Plain };
        let command = read.command();
        Ok((read, command))
    }

    /// What the store is to do.
    pub(super) fn command(&self) -> Command {
        Command::Get { key: self.key.clone() }
    }

    /// Is nothing asked for but the file, or nothing more to come?
    pub(super) fn is_plain(&self) -> bool {
        self.wishes.is_none() && matches!(self.stage, Stage::Plain)
    }

    /// The file is open: decides in the order of RFC 9110 §13.2.2.
    pub(super) fn opened(
        &mut self,
        meta: &Meta,
        manner: &mut Manner,
        listener: &Listener,
        context: &mut Context<'_>,
    ) -> Action {
        let Some(wishes) = self.wishes.take() else { return self.whole(meta, manner, listener, context) };
        match wishes.conditions.read(Some(meta)) {
            Verdict::Proceed => {}
            Verdict::NotModified => {
                manner.head(304, context);
                validators(meta, context);
                context.out.extend_from_slice(b"\r\n");
                return manner.then();
            }
            Verdict::Failed => {
                return manner.refuse(Failure::PreconditionFailed, Some(&self.key), context, manner.then());
            }
        }
        // A range means something to GET only (RFC 9110 §14.2).
        let range = wishes.range.filter(|_| manner.content() == Content::Follows);
        let range = range.filter(|_| range_counts(wishes.if_range.as_deref(), meta));
        match range.map_or(Ranges::Whole, |range| Ranges::parse(&range, meta.len)) {
            Ranges::Whole
                if wishes.digest == Digest::Trailer && meta.len > 0 && manner.content() == Content::Follows =>
            {
                self.digested(meta, manner, listener, context)
            }
            Ranges::Whole => self.whole(meta, manner, listener, context),
            Ranges::Unsatisfiable => {
                let all = format!("bytes */{}", meta.len);
                let failure = Failure::RangeUnsatisfiable;
                manner.refuse_as(416, failure, Some(&self.key), Some(("Content-Range", &all)), context);
                manner.then()
            }
            Ranges::One(range) => self.part(range, meta, manner, listener, context),
            Ranges::Several(ranges) => self.parts(ranges, meta, manner, context),
        }
    }

    /// The file is open, and all of it is wanted.
    pub(super) fn whole(&self, meta: &Meta, manner: &Manner, listener: &Listener, context: &mut Context<'_>) -> Action {
        manner.head(200, context);
        self.describe(meta, listener, context);
        content_length(meta.len, context.out);
        if manner.content() == Content::Withheld {
            return manner.then();
        }
        Action::Send { range: 0..meta.len, hash: false }
    }

    /// One chunk with everything, so that the digest can follow in a trailer (RFC 9530 §2,
    /// RFC 9112 §7.1.2).
    fn digested(&mut self, meta: &Meta, manner: &Manner, listener: &Listener, context: &mut Context<'_>) -> Action {
        manner.head(200, context);
        self.describe(meta, listener, context);
        context.out.extend_from_slice(b"Trailer: Repr-Digest\r\nTransfer-Encoding: chunked\r\n\r\n");
        chunked::chunk_head(meta.len, context.out);
        self.stage = Stage::Digested;
        Action::Send { range: 0..meta.len, hash: true }
    }

    fn part(
        &self,
        range: Range<u64>,
        meta: &Meta,
        manner: &Manner,
        listener: &Listener,
        context: &mut Context<'_>,
    ) -> Action {
        manner.head(206, context);
        self.describe(meta, listener, context);
        content_range(&range, meta.len, context.out);
        content_length(range.end - range.start, context.out);
        Action::Send { range, hash: false }
    }

    /// RFC 9110 §14.6.
    fn parts(&mut self, ranges: Box<[Range<u64>]>, meta: &Meta, manner: &Manner, context: &mut Context<'_>) -> Action {
        // The etag is made of what the kernel says about this version, and so not in its content.
        let boundary = meta.etag;
        let kind = media::of(&self.key);
        let mut left = Vec::with_capacity(ranges.len());
        let mut len = 0;
        for range in ranges {
            let mut head = Vec::new();
            let _ = write!(head, "\r\n--{boundary}\r\nContent-Type: {kind}\r\n");
            content_range(&range, meta.len, &mut head);
            head.extend_from_slice(b"\r\n");
            len += head.len() as u64 + (range.end - range.start);
            left.push(Part { head, range });
        }
        left.reverse();
        let end = format!("\r\n--{boundary}--\r\n").into_bytes();
        len += end.len() as u64;
        manner.head(206, context);
        validators(meta, context);
        field("Content-Type", &format_args!("multipart/byteranges; boundary={boundary}"), context.out);
        content_length(len, context.out);
        self.stage = Stage::Parts(Box::new(Parts { left, end }));
        self.next_part(manner, context)
    }

    fn next_part(&mut self, manner: &Manner, context: &mut Context<'_>) -> Action {
        let Stage::Parts(parts) = &mut self.stage else { return manner.then() };
        match parts.left.pop() {
            Some(Part { mut head, range }) => {
                context.out.append(&mut head);
                Action::Send { range, hash: false }
            }
            None => {
                context.out.append(&mut parts.end);
                manner.then()
            }
        }
    }

    /// The range asked for has left.
    pub(super) fn sent(&mut self, digest: Option<[u8; 32]>, manner: &Manner, context: &mut Context<'_>) -> Action {
        match (&self.stage, digest) {
            (Stage::Digested, Some(digest)) => {
                context.out.extend_from_slice(chunked::CHUNK_END);
                context.out.extend_from_slice(chunked::LAST);
                field("Repr-Digest", &digest::format(&digest), context.out);
                context.out.extend_from_slice(b"\r\n");
                manner.then()
            }
            _ => self.next_part(manner, context),
        }
    }

    fn describe(&self, meta: &Meta, listener: &Listener, context: &mut Context<'_>) {
        validators(meta, context);
        media::describe(&self.key, listener.active, context.out);
        context.out.extend_from_slice(b"Accept-Ranges: bytes\r\n");
    }

    /// A directory is found under its name with a `/` behind: links in its page are relative to that.
    pub(super) fn failed(&self, failure: Failure, manner: &Manner, context: &mut Context<'_>) -> Action {
        let Failure::Conflict(_) = failure else {
            return manner.refuse(failure, Some(&self.key), context, manner.then());
        };
        // Relative to the target: in front of this server a proxy may have taken something off the path.
        let mut place = Vec::new();
        target::encode_component(self.key.name(), &mut place);
        place.push(b'/');
        if let Some(query) = &self.query {
            place.push(b'?');
            place.extend_from_slice(query.as_bytes());
        }
        let place = String::from_utf8_lossy(&place);
        manner.text(
            301,
            // A file may stand there tomorrow; without this, browsers would remember for ever.
            &[("Location", &place), ("Cache-Control", &"no-cache")],
            "that is a folder, it is found under this name with / behind\n",
            context,
        );
        manner.then()
    }
}

impl Wishes {
    /// `None` for most requests.
    fn of(head: &Head<'_>) -> Result<Option<Self>, Failure> {
        let fields = &head.fields;
        let conditions = Conditions::parse(fields)?;
        // RFC 9110 §6.5.1: a trailer is for who says that it reads them.
        let mut codings = fields.te.lines().iter().flat_map(|line| line.split(','));
        let reads_trailers =
            head.version == Version::Http11 && codings.any(|coding| coding.trim().eq_ignore_ascii_case("trailers"));
        let wanted = reads_trailers && digest::wants_sha256(fields.want_repr_digest.lines());
        let digest = if wanted { Digest::Trailer } else { Digest::No };
        let (range, if_range) = (fields.range.map(Into::into), fields.if_range.map(Into::into));
        let none = conditions == Conditions::default() && range.is_none() && digest == Digest::No;
        Ok((!none).then_some(Self { conditions, range, if_range, digest }))
    }
}

fn content_range(range: &Range<u64>, len: u64, out: &mut Vec<u8>) {
    let _ = write!(out, "Content-Range: bytes {}-{}/{len}\r\n", range.start, range.end - 1);
}
