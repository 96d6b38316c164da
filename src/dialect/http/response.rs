//! Response heads, and short responses whole. Writing to a `Vec` cannot fail.

use std::fmt::Display;
use std::io::Write as _;
use std::sync::Arc;

use crate::dialect::asked::Asked;
#[cfg(feature = "page")]
use crate::dialect::http::notice::{self, Place};
use crate::dialect::http::policy::{Origins, Policy};
use crate::dialect::protocol::{Action, Context};
use crate::error::{CloseReason, Failure};
use crate::object::{Key, Meta};
use crate::wire::http::head::{Fields, Head, Method, Version};
use crate::wire::http::{chunked, date, digest};
use crate::wire::range::write_decimal;
use crate::wire::status;

/// Capacity reserved for a head, so that it is allocated in one piece.
const HEAD_BYTES: usize = 512;
/// What a permitted page of another site may read, beside what every page may: clients of tus are such pages.
const EXPOSED: &str = "Accept-Patch, Accept-Ranges, Content-Disposition, Content-Range, DAV, ETag, Link, Location, Repr-Digest, Retry-After, \
    Tus-Checksum-Algorithm, Tus-Extension, Tus-Max-Size, Tus-Resumable, Tus-Version, Unlisted-Names, \
    Upload-Complete, \
    Upload-Concat, Upload-Defer-Length, Upload-Expires, Upload-Length, Upload-Limit, Upload-Metadata, Upload-Offset, X-OC-MTime";

/// Capacity reserved around a chunk: its length, line ends, the last chunk.
const CHUNK_FRAME_BYTES: usize = 32;

/// Sent to a connection that is accepted above the limit, and closed.
pub const TURNED_AWAY: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 58\r\nConnection: close\r\n\r\n\
    too many connections: of this address, or of all together\n";

/// A response field: its name and its value.
pub(super) type Field<'a> = (&'a str, &'a dyn Display);

/// What the request head decides about the response, whatever its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ResponseMeta {
    version: Version,
    keep_alive: bool,
    /// The response to HEAD: the same head, and no content (RFC 9110 §9.3.2).
    pub(super) head_only: bool,
    /// Active content is not confined to a download: see [`Policy::serve_active`].
    pub(super) serve_active: bool,
    /// Directories can be mounted: see [`Policy::offers_webdav`].
    pub(super) offers_webdav: bool,
    cors: Cors,
    /// What was asked, for the log.
    pub(super) asked: Option<Arc<Asked>>,
    /// Where a browser is shown a page in place of one line of text.
    #[cfg(feature = "page")]
    place: Option<Place>,
}

/// What a page of another site may read of the response (CORS, the Fetch standard).
#[derive(Clone, Debug, PartialEq, Eq)]
enum Cors {
    Off,
    Any,
    Origin(Box<str>),
    /// Not this origin, but another.
    Refused,
}

/// Why a request is refused, where HTTP has a more specific status than [`status::code`].
pub(super) struct Refusal<'a> {
    pub(super) status: u16,
    pub(super) failure: Failure,
    pub(super) field: Option<Field<'a>>,
}

impl From<Failure> for Refusal<'_> {
    fn from(failure: Failure) -> Self {
        Self { status: status::code(failure), failure, field: None }
    }
}

impl Default for ResponseMeta {
    /// For a request that could not be parsed.
    fn default() -> Self {
        Self {
            version: Version::Http11,
            keep_alive: false,
            head_only: false,
            serve_active: false,
            offers_webdav: false,
            cors: Cors::Off,
            asked: None,
            #[cfg(feature = "page")]
            place: None,
        }
    }
}

impl ResponseMeta {
    pub(super) fn new(head: &Head<'_>, policy: &Policy) -> Self {
        Self {
            version: head.version,
            keep_alive: head.keep_alive,
            head_only: head.method == Method::Head,
            serve_active: policy.serve_active,
            offers_webdav: policy.offers_webdav(),
            cors: Cors::new(&head.fields, policy),
            asked: Asked::log(head),
            #[cfg(feature = "page")]
            place: Place::of(head, &policy.prefix),
        }
    }

    /// What follows the response.
    pub(super) const fn next_action(&self) -> Action {
        if self.keep_alive { Action::Next } else { Action::Close(CloseReason::Finished) }
    }

    pub(super) const fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// HTTP/1.0 has no interim responses.
    pub(super) fn may_be_interim(&self) -> bool {
        self.version == Version::Http11
    }

    /// Closes the connection after this response, whatever the client asked for.
    pub(super) const fn set_close(&mut self) {
        self.keep_alive = false;
    }

    /// Prepares for content of a length not known before its end: HTTP/1.0 has no chunks, so there the end of
    /// the connection is the end of the content.
    pub(super) fn set_length_unknown(&mut self) {
        if self.version == Version::Http10 {
            self.set_close();
        }
    }

    /// The rest of a head after [`ResponseMeta::set_length_unknown`]; the content follows in parts.
    pub(super) fn begin_parts(&self, media_type: &str, context: &mut Context<'_>) {
        content_type(media_type, context.out);
        if self.version == Version::Http11 {
            context.out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        context.out.extend_from_slice(b"\r\n");
    }

    /// One part of the content as a chunk, perhaps the last (RFC 9112 §7.1).
    pub(super) fn part(&self, content: &[u8], is_last: bool, context: &mut Context<'_>) {
        // Exactly: a buffer that grows by doubling may take twice what it holds.
        context.out.reserve_exact(content.len() + CHUNK_FRAME_BYTES);
        if self.version == Version::Http10 {
            return context.out.extend_from_slice(content);
        }
        if !content.is_empty() {
            chunked::chunk_head(content.len() as u64, context.out);
            context.out.extend_from_slice(content);
            context.out.extend_from_slice(chunked::CHUNK_END);
        }
        if is_last {
            context.out.extend_from_slice(chunked::END);
        }
    }

    /// Begins a chunk of this length, which is sent in pieces.
    #[cfg(feature = "archives")]
    pub(super) fn chunk_head(&self, len: u64, context: &mut Context<'_>) {
        if self.version == Version::Http11 {
            chunked::chunk_head(len, context.out);
        }
    }

    #[cfg(feature = "archives")]
    pub(super) fn chunk_end(&self, context: &mut Context<'_>) {
        if self.version == Version::Http11 {
            context.out.extend_from_slice(chunked::CHUNK_END);
        }
    }

    #[cfg(feature = "archives")]
    pub(super) fn last_chunk(&self, context: &mut Context<'_>) {
        self.part(&[], true, context);
    }

    /// The status line and the fields that every response has. The empty line is still to come.
    pub(super) fn head(&self, code: u16, context: &mut Context<'_>) {
        context.status = Some(code);
        context.out.reserve(HEAD_BYTES);
        context.out.extend_from_slice(b"HTTP/1.1 ");
        write_decimal(u64::from(code), context.out);
        for part in [" ", status::reason(code), "\r\nDate: "] {
            context.out.extend_from_slice(part.as_bytes());
        }
        date::write(now_s(context), context.out);
        context.out.extend_from_slice(b"\r\n");
        self.cors.write(context.out);
        match (self.keep_alive, self.version) {
            (false, _) => context.out.extend_from_slice(b"Connection: close\r\n"),
            // RFC 9112 §9.3: the reply must say to an HTTP/1.0 client that its keep-alive is granted.
            (true, Version::Http10) => context.out.extend_from_slice(b"Connection: keep-alive\r\n"),
            (true, Version::Http11) => {}
        }
    }

    /// A whole response with a short text.
    pub(super) fn text(&self, code: u16, fields: &[Field<'_>], text: &str, context: &mut Context<'_>) {
        self.head(code, context);
        for (name, value) in fields {
            field(name, value, context.out);
        }
        self.content("text/plain; charset=utf-8", text.as_bytes(), context);
    }

    /// The rest of a response with complete content: its type, its length, the content.
    pub(super) fn content(&self, media_type: &str, content: &[u8], context: &mut Context<'_>) {
        content_type(media_type, context.out);
        content_length(content.len() as u64, context.out);
        if !self.head_only {
            context.out.reserve_exact(content.len());
            context.out.extend_from_slice(content);
        }
    }

    /// A whole 201 response; the target of the request names what was made, or its `Destination`.
    pub(super) fn created(&self, context: &mut Context<'_>) -> Action {
        self.head(201, context);
        content_length(0, context.out);
        self.next_action()
    }

    /// A whole 204 response (RFC 9110 §15.3.5).
    pub(super) fn no_content(&self, context: &mut Context<'_>) -> Action {
        self.head(204, context);
        context.out.extend_from_slice(b"\r\n");
        self.next_action()
    }

    /// Refuses the request and returns what follows. `key` is named in the text.
    pub(super) fn refuse(&self, failure: Failure, key: Option<&Key>, context: &mut Context<'_>) -> Action {
        let name = key.filter(|key| !key.is_root()).map(|key| key as &dyn Display);
        self.refuse_as(failure.into(), name, context)
    }

    /// Refuses the request, and closes the connection with this reason.
    pub(super) fn refuse_and_close(
        &mut self,
        failure: Failure,
        reason: CloseReason,
        context: &mut Context<'_>,
    ) -> Action {
        self.set_close();
        self.refuse(failure, None, context);
        Action::Close(reason)
    }

    /// As [`ResponseMeta::refuse`], with a status and a field of its own.
    pub(super) fn refuse_as(
        &self,
        refusal: Refusal<'_>,
        name: Option<&dyn Display>,
        context: &mut Context<'_>,
    ) -> Action {
        self.refuse_with(refusal, name, &[], context)
    }

    /// The same with more fields.
    pub(super) fn refuse_with(
        &self,
        refusal: Refusal<'_>,
        name: Option<&dyn Display>,
        more: &[Field<'_>],
        context: &mut Context<'_>,
    ) -> Action {
        let Refusal { status, failure, field } = refusal;
        context.refused = Some(failure);
        let text = match name {
            Some(name) => format!("{}: {name}\n", failure.words()),
            None => format!("{}\n", failure.words()),
        };
        let mut fields: Vec<Field<'_>> = field.into_iter().chain(more.iter().copied()).collect();
        if matches!(failure, Failure::Unauthorized | Failure::WrongSecret) {
            // Browsers and curl know Basic; its user may be anything (RFC 7617, RFC 6750).
            fields.push(("WWW-Authenticate", &"Basic realm=\"filewharf\", charset=\"UTF-8\""));
            fields.push(("WWW-Authenticate", &"Bearer"));
        }
        let retry_after_s = context.retry_after_s.or(status::retry_after_s(failure));
        fields.extend(retry_after_s.as_ref().map(|seconds| -> Field<'_> { ("Retry-After", seconds) }));
        self.say(status, &fields, &text, context);
        self.next_action()
    }

    /// A short text; a browser is shown it on a page.
    fn say(&self, code: u16, fields: &[Field<'_>], text: &str, context: &mut Context<'_>) {
        #[cfg(feature = "page")]
        if let Some(place) = &self.place {
            let document = notice::refusal(place, code, text, context);
            return self.notice(code, fields, &document, context);
        }
        self.text(code, fields, text, context);
    }

    /// A whole response that names the files which were stored, each on a line of its own, and says how many more there
    /// are. `query` is that of the directory.
    #[cfg(feature = "page")]
    pub(super) fn receipt(&self, (names, others): (&str, usize), query: &str, context: &mut Context<'_>) {
        if self.place.is_some() {
            return self.notice(200, &[], &notice::receipt(names, others, query), context);
        }
        let others = if others > 0 { format!("and {others} more\n") } else { String::new() };
        self.text(200, &[("Cache-Control", &"no-store")], &format!("stored:\n{names}{others}"), context);
    }

    /// A whole response with a page of its own.
    #[cfg(feature = "page")]
    fn notice(&self, code: u16, fields: &[Field<'_>], document: &str, context: &mut Context<'_>) {
        self.head(code, context);
        let policy = notice::content_security_policy();
        let own: [Field<'_>; 4] = [
            ("Content-Security-Policy", &policy),
            ("Referrer-Policy", &"same-origin"),
            ("Vary", &"Accept"),
            ("Cache-Control", &"no-store"),
        ];
        for (name, value) in fields.iter().chain(&own) {
            field(name, value, context.out);
        }
        self.content("text/html; charset=utf-8", document.as_bytes(), context);
    }

    /// True if a page of the requesting origin may read the response.
    pub(super) const fn permits_origin(&self) -> bool {
        matches!(self.cors, Cors::Any | Cors::Origin(_))
    }
}

impl Cors {
    fn new(fields: &Fields<'_>, policy: &Policy) -> Self {
        match &policy.origins {
            Origins::None => Self::Off,
            Origins::Any => Self::Any,
            Origins::One(origin) if fields.origin == Some(&**origin) => Self::Origin(origin.clone()),
            Origins::One(_) => Self::Refused,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let allowed = match self {
            // No other site may embed or read the response.
            Self::Off => return out.extend_from_slice(b"Cross-Origin-Resource-Policy: same-origin\r\n"),
            Self::Any => "*",
            Self::Origin(origin) => origin,
            // A cache must not give this response to an origin that may read one.
            Self::Refused => return field("Vary", &"Origin", out),
        };
        field("Access-Control-Allow-Origin", &allowed, out);
        field("Access-Control-Expose-Headers", &EXPOSED, out);
        if let Self::Origin(_) = self {
            field("Vary", &"Origin", out);
        }
    }
}

/// One field line.
pub(super) fn field(name: &str, value: &dyn Display, out: &mut Vec<u8>) {
    let _ = write!(out, "{name}: {value}\r\n");
}

/// The type of content written by the server itself.
fn content_type(media_type: &str, out: &mut Vec<u8>) {
    field("Content-Type", &media_type, out);
    field("X-Content-Type-Options", &"nosniff", out);
}

/// The validators of a version (RFC 9110 §8.8). A cache must revalidate, so that no client sees an outdated
/// version. Last-Modified is never later than Date (§8.8.2.1).
pub(super) fn validators(meta: &Meta, context: &mut Context<'_>) {
    let last_modified = meta.mtime.min(now_s(context));
    context.out.extend_from_slice(b"ETag: \"");
    context.out.extend_from_slice(&meta.etag.digits());
    context.out.extend_from_slice(b"\"\r\nLast-Modified: ");
    date::write(last_modified, context.out);
    context.out.extend_from_slice(b"\r\nCache-Control: no-cache\r\n");
}

/// The SHA-256 of the whole file, where it is known (RFC 9530 §3).
pub(super) fn repr_digest(sha256: Option<&[u8; 32]>, out: &mut Vec<u8>) {
    if let Some(sha256) = sha256 {
        out.extend_from_slice(b"Repr-Digest: ");
        digest::write(sha256, out);
        out.extend_from_slice(b"\r\n");
    }
}

/// The last field and the empty line.
pub(super) fn content_length(len: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Content-Length: ");
    write_decimal(len, out);
    out.extend_from_slice(b"\r\n\r\n");
}

fn now_s(context: &Context<'_>) -> i64 {
    i64::try_from(context.wall_clock_s).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Access;
    use crate::dialect::protocol::Phase;
    use crate::dialect::testing::call_protocol;
    use crate::object::Etag;

    #[test]
    fn last_modified_is_never_later_than_the_date_of_the_response() {
        // The clock of this context stands at 1970.
        for (mtime, second) in
            [(-5, "31 Dec 1969 23:59:55"), (0, "01 Jan 1970 00:00:00"), (3600, "01 Jan 1970 00:00:00")]
        {
            let meta = Meta { len: 1, mtime, etag: Etag([0; 16]), sha256: None, is_executable: false };
            let heard = call_protocol(Phase::Serving, &Access::default(), |context| validators(&meta, context));
            let text = String::from_utf8(heard.said).expect("text");
            assert!(text.contains(&format!(", {second} GMT\r\n")), "{text}");
        }
    }
}
