//! GET and HEAD of a file: preconditions first, then ranges, then the bytes of one version.

use std::io::Write as _;
use std::ops::Range;

use crate::command::Command;
use crate::dialect::http::media_type;
use crate::dialect::http::response::{Refusal, ResponseMeta, content_length, field, repr_digest, validators};
use crate::dialect::protocol::{Action, Context, Hash};
use crate::error::{CloseReason, Failure};
use crate::object::{Key, Meta};
use crate::wire::http::conditional::{Evaluation, Preconditions, if_range_holds};
use crate::wire::http::head::{Head, Version};
use crate::wire::http::{chunked, digest, target};
use crate::wire::range::Ranges;

/// With `--serve-html`, this file of a directory is sent in place of its listing.
pub(super) const INDEX: &str = "index.html";

/// A GET or HEAD of a file.
#[derive(Clone, Debug)]
pub(crate) struct File {
    key: Key,
    /// Looked up when the head is parsed, so that cached heads do without.
    media_type: &'static str,
    /// For a redirection, which must keep it.
    query: Option<Box<str>>,
    options: Option<Box<RequestOptions>>,
    body: Body,
    /// It is sent in place of the listing of its directory.
    is_index: bool,
}

/// What most requests do not ask for.
#[derive(Clone, Debug)]
struct RequestOptions {
    preconditions: Preconditions,
    range: Option<Box<str>>,
    if_range: Option<Box<str>>,
    digest: DigestWish,
}

/// From `Want-Repr-Digest`. Without it, a digest that is known is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DigestWish {
    IfKnown,
    /// One that is not known is sent in a trailer, when the last byte has left.
    AlsoInTrailer,
    Never,
}

/// What follows the range that is being sent.
#[derive(Clone, Debug)]
enum Body {
    /// Nothing.
    Single,
    /// The last chunk, and the digest in a trailer.
    Digest,
    /// More parts of `multipart/byteranges`, the last one first, and the closing boundary.
    Multipart { left: Vec<Part>, end: Vec<u8> },
}

#[derive(Clone, Debug)]
struct Part {
    head: Vec<u8>,
    range: Range<u64>,
}

impl File {
    pub(crate) fn new(head: &Head<'_>, key: Key) -> Result<Self, Failure> {
        let options = RequestOptions::new(head)?.map(Box::new);
        let media_type = media_type::of(&key);
        Ok(Self { key, media_type, query: head.query.map(Into::into), options, body: Body::Single, is_index: false })
    }

    /// The page that is stored for a directory.
    pub(crate) fn index(head: &Head<'_>, dir: &Key) -> Result<Self, Failure> {
        Ok(Self { is_index: true, ..Self::new(head, dir.child(INDEX))? })
    }

    pub(crate) fn command(&self) -> Command {
        Command::Get { key: self.key.clone() }
    }

    /// True for the whole file without preconditions: answering it changes nothing here, so that it can be shared.
    pub(crate) fn is_plain(&self) -> bool {
        self.options.is_none() && !self.is_index && matches!(self.body, Body::Single)
    }

    /// The file is open: decides in the order of RFC 9110 §13.2.2.
    pub(crate) fn opened(&mut self, meta: &Meta, response: &ResponseMeta, context: &mut Context<'_>) -> Action {
        let Some(options) = self.options.take() else { return self.send_whole(meta, response, context) };
        let without_digest = Meta { sha256: None, ..*meta };
        let meta = if options.digest == DigestWish::Never { &without_digest } else { meta };
        match options.preconditions.evaluate(Some(meta)) {
            Evaluation::Proceed => {}
            Evaluation::NotModified => {
                response.head(304, context);
                validators(meta, context);
                context.out.extend_from_slice(b"\r\n");
                return response.next_action();
            }
            Evaluation::Failed => return response.refuse(Failure::PreconditionFailed, Some(&self.key), context),
        }
        // RFC 9110 §14.2: Range is defined for GET only.
        let range = options.range.filter(|_| !response.head_only && if_range_holds(options.if_range.as_deref(), meta));
        match range.map_or(Ranges::Whole, |range| Ranges::parse(&range, meta.len)) {
            Ranges::Whole
                if options.digest == DigestWish::AlsoInTrailer
                    && meta.sha256.is_none()
                    && meta.len > 0
                    && !response.head_only =>
            {
                self.send_with_digest(meta, response, context)
            }
            Ranges::Whole => self.send_whole(meta, response, context),
            Ranges::Unsatisfiable => {
                let content_range = format!("bytes */{}", meta.len);
                let field: Option<(_, &dyn std::fmt::Display)> = Some(("Content-Range", &content_range));
                let refusal = Refusal { field, ..Failure::RangeUnsatisfiable.into() };
                response.refuse_as(refusal, Some(&self.key), context)
            }
            Ranges::One(range) => {
                self.head(206, meta, response, context);
                content_range(&range, meta.len, context.out);
                content_length(range.end - range.start, context.out);
                Action::Send { range, hash: Hash::None }
            }
            Ranges::Several(ranges) => self.send_multipart(ranges, meta, response, context),
        }
    }

    pub(crate) fn send_whole(&self, meta: &Meta, response: &ResponseMeta, context: &mut Context<'_>) -> Action {
        self.head(200, meta, response, context);
        content_length(meta.len, context.out);
        if response.head_only {
            return response.next_action();
        }
        Action::Send { range: 0..meta.len, hash: Hash::None }
    }

    /// One chunk with everything, so that the digest can follow in a trailer (RFC 9530 §2,
    /// RFC 9112 §7.1.2).
    fn send_with_digest(&mut self, meta: &Meta, response: &ResponseMeta, context: &mut Context<'_>) -> Action {
        self.head(200, meta, response, context);
        context.out.extend_from_slice(b"Trailer: Repr-Digest\r\nTransfer-Encoding: chunked\r\n\r\n");
        chunked::chunk_head(meta.len, context.out);
        self.body = Body::Digest;
        Action::Send { range: 0..meta.len, hash: Hash::Sha256 }
    }

    /// RFC 9110 §14.6.
    fn send_multipart(
        &mut self,
        ranges: Box<[Range<u64>]>,
        meta: &Meta,
        response: &ResponseMeta,
        context: &mut Context<'_>,
    ) -> Action {
        // The etag cannot occur in the content: it is made from the inode and the times of this version.
        let boundary = meta.etag;
        let media_type = self.media_type;
        let mut left = Vec::with_capacity(ranges.len());
        let mut len = 0;
        for range in ranges {
            let mut head = Vec::new();
            let _ = write!(head, "\r\n--{boundary}\r\nContent-Type: {media_type}\r\n");
            content_range(&range, meta.len, &mut head);
            head.extend_from_slice(b"\r\n");
            len += head.len() as u64 + (range.end - range.start);
            left.push(Part { head, range });
        }
        left.reverse();
        let end = format!("\r\n--{boundary}--\r\n").into_bytes();
        len += end.len() as u64;
        response.head(206, context);
        validators(meta, context);
        repr_digest(meta.sha256.as_ref(), context.out);
        field("Content-Type", &format_args!("multipart/byteranges; boundary={boundary}"), context.out);
        content_length(len, context.out);
        self.body = Body::Multipart { left, end };
        self.sent(None, response, context)
    }

    /// The range of the last [`Action::Send`] has left.
    pub(crate) fn sent(
        &mut self,
        digest: Option<[u8; 32]>,
        response: &ResponseMeta,
        context: &mut Context<'_>,
    ) -> Action {
        match (&mut self.body, digest) {
            (Body::Single, _) => {}
            (Body::Digest, Some(digest)) => {
                context.out.extend_from_slice(chunked::CHUNK_END);
                context.out.extend_from_slice(chunked::LAST);
                field("Repr-Digest", &digest::format(&digest), context.out);
                context.out.extend_from_slice(b"\r\n");
            }
            // The trailer was announced, and cannot be sent.
            (Body::Digest, None) => return Action::Reset(CloseReason::Internal),
            (Body::Multipart { left, end }, _) => match left.pop() {
                Some(Part { mut head, range }) => {
                    context.out.append(&mut head);
                    return Action::Send { range, hash: Hash::None };
                }
                None => context.out.append(end),
            },
        }
        response.next_action()
    }

    /// The head of a response that carries the file or one range of it; the length is still to come.
    fn head(&self, code: u16, meta: &Meta, response: &ResponseMeta, context: &mut Context<'_>) {
        response.head(code, context);
        validators(meta, context);
        repr_digest(meta.sha256.as_ref(), context.out);
        media_type::write_fields(self.media_type, self.key.name(), response.serve_active, context.out);
        context.out.extend_from_slice(b"Accept-Ranges: bytes\r\n");
        if self.is_index {
            context.out.extend_from_slice(b"Vary: Accept\r\n");
        }
    }

    /// A directory is redirected to its name with a `/` at the end: links in its page are relative to that.
    pub(crate) fn failed(&self, failure: Failure, response: &ResponseMeta, context: &mut Context<'_>) -> Action {
        let Failure::Conflict(_) = failure else { return response.refuse(failure, Some(&self.key), context) };
        if response.head_only && response.offers_webdav {
            // Clients of WebDAV ask whether a directory is there, and do not follow redirections.
            response.head(200, context);
            context.out.extend_from_slice(b"Content-Type: text/html; charset=utf-8\r\nCache-Control: no-cache\r\n\r\n");
            return response.next_action();
        }
        // Relative to the target: a proxy in front of this server may have removed a prefix of the path.
        let mut location = format!("{}/", target::component(self.key.name()));
        if let Some(query) = &self.query {
            location.push('?');
            location.push_str(query);
        }
        response.text(
            301,
            // Browsers store a 301 for ever without this, and a file may take the name tomorrow.
            &[("Location", &location), ("Cache-Control", &"no-cache")],
            "that is a folder, it is found under this name with a / at its end\n",
            context,
        );
        response.next_action()
    }
}

impl RequestOptions {
    /// `None` for most requests.
    fn new(head: &Head<'_>) -> Result<Option<Self>, Failure> {
        let fields = &head.fields;
        let preconditions = Preconditions::parse_of_read(fields)?;
        // RFC 9110 §6.5.1: trailers are for clients that announce to read them.
        let mut codings = fields.te.lines().iter().flat_map(|line| line.split(','));
        let wish = fields.want_repr_digest.lines();
        let reads_trailers =
            head.version == Version::Http11 && codings.any(|coding| coding.trim().eq_ignore_ascii_case("trailers"));
        let digest = if reads_trailers && digest::wants_sha256(wish) {
            DigestWish::AlsoInTrailer
        } else if digest::declines_sha256(wish) {
            DigestWish::Never
        } else {
            DigestWish::IfKnown
        };
        let (range, if_range) = (fields.range.map(Into::into), fields.if_range.map(Into::into));
        let is_plain = preconditions == Preconditions::default() && range.is_none() && digest == DigestWish::IfKnown;
        Ok((!is_plain).then_some(Self { preconditions, range, if_range, digest }))
    }
}

fn content_range(range: &Range<u64>, len: u64, out: &mut Vec<u8>) {
    let _ = write!(out, "Content-Range: bytes {}-{}/{len}\r\n", range.start, range.end - 1);
}
