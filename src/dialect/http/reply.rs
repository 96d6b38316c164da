//! Response heads, and short responses whole. Writing to a `Vec` cannot fail.

use std::fmt::Display;
use std::io::Write as _;

use crate::dialect::http::listener::{Listener, Origins};
use crate::dialect::{Action, Context};
use crate::error::{CloseReason, Failure};
use crate::object::{Key, Meta};
use crate::wire::http::date;
use crate::wire::http::head::{Fields, Head, Method, Persistence, Version};
use crate::wire::range::write_decimal;
use crate::wire::status;

/// Room for a head, so that it is made in one piece.
const HEAD_BYTES: usize = 512;

/// Room for what is around a chunk: its length, line ends, the last chunk.
const CHUNK_FRAME_BYTES: usize = 32;

/// How the response to one request must look, whatever it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manner {
    version: Version,
    persistence: Persistence,
    content: Content,
    sharing: Sharing,
}

/// Does the content follow the head?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Follows,
    /// The answer to HEAD: the same head, and no content (RFC 9110 §9.3.2).
    Withheld,
}

/// What a page of another site may see of the response.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sharing {
    /// Nothing.
    None,
    /// All of it, whatever site it is.
    Any,
    /// All of it, if it is this site.
    One(Box<str>),
    /// Nothing, but that depends on the site.
    Refused,
}

/// A field of a response: its name and what is said.
pub(super) type Field<'a> = (&'a str, &'a dyn Display);

/// Said to a connection that comes when no more are taken.
pub(super) const TURNED_AWAY: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 50\r\nConnection: close\r\n\r\n\
    the server has as many connections as it can take\n";

impl Default for Manner {
    /// For a request that was not understood.
    fn default() -> Self {
        Self {
            version: Version::Http11,
            persistence: Persistence::Close,
            content: Content::Follows,
            sharing: Sharing::None,
        }
    }
}

impl Manner {
    pub(super) fn of(head: &Head<'_>, listener: &Listener) -> Self {
        let content = if head.method == Method::Head { Content::Withheld } else { Content::Follows };
        let sharing = Sharing::of(&head.fields, listener);
        Self { version: head.version, persistence: head.persistence, content, sharing }
    }

    /// What follows the response.
    pub(super) const fn then(&self) -> Action {
        match self.persistence {
            Persistence::KeepAlive => Action::Next,
            Persistence::Close => Action::Close(CloseReason::Finished),
        }
    }

    /// Does the connection end behind the response?
    pub(super) fn is_last(&self) -> bool {
        self.persistence == Persistence::Close
    }

    /// Whatever the client wants: this response is the last.
    pub(super) const fn last(&mut self) {
        self.persistence = Persistence::Close;
    }

    /// The length of the content is not known before its end: where it cannot come in chunks, the end of the
    /// connection is the end of it.
    pub(super) fn length_is_unknown(&mut self) {
        if self.version == Version::Http10 {
            self.last();
        }
    }

    /// The rest of a head after [`Manner::length_is_unknown`]; the content follows in parts.
    pub(super) fn begin_parts(&self, kind: &str, context: &mut Context<'_>) {
        field("Content-Type", &kind, context.out);
        field("X-Content-Type-Options", &"nosniff", context.out);
        if self.version == Version::Http11 {
            context.out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        context.out.extend_from_slice(b"\r\n");
    }

    /// A part of the content, perhaps the last (RFC 9112 §7.1).
    pub(super) fn part(&self, content: &[u8], is_last: bool, context: &mut Context<'_>) {
        // In one piece: a buffer that grows by doubling may take twice what it holds.
        context.out.reserve_exact(content.len() + CHUNK_FRAME_BYTES);
        if self.version == Version::Http10 {
            return context.out.extend_from_slice(content);
        }
        if !content.is_empty() {
            let _ = write!(context.out, "{:x}\r\n", content.len());
            context.out.extend_from_slice(content);
            context.out.extend_from_slice(b"\r\n");
        }
        if is_last {
            context.out.extend_from_slice(b"0\r\n\r\n");
        }
    }

    pub(super) const fn content(&self) -> Content {
        self.content
    }

    /// The status line and the fields that every response has. The empty line is still to come.
    pub(super) fn head(&self, code: u16, context: &mut Context<'_>) {
        context.out.reserve(HEAD_BYTES);
        context.out.extend_from_slice(b"HTTP/1.1 ");
        write_decimal(u64::from(code), context.out);
        for part in [" ", status::reason(code), "\r\nDate: "] {
            context.out.extend_from_slice(part.as_bytes());
        }
        date::write(now_s(context), context.out);
        context.out.extend_from_slice(b"\r\n");
        self.sharing.say(context.out);
        match (self.persistence, self.version) {
            (Persistence::Close, _) => context.out.extend_from_slice(b"Connection: close\r\n"),
            // RFC 9112 §9.3: an old client must be told that its wish is granted.
            (Persistence::KeepAlive, Version::Http10) => context.out.extend_from_slice(b"Connection: keep-alive\r\n"),
            (Persistence::KeepAlive, Version::Http11) => {}
        }
    }

    /// A whole response with a short text.
    pub(super) fn text(&self, code: u16, fields: &[Field<'_>], text: &str, context: &mut Context<'_>) {
        self.head(code, context);
        for (name, value) in fields {
            field(name, value, context.out);
        }
        self.content_of("text/plain; charset=utf-8", text.as_bytes(), context);
    }

    /// The rest of a response whose content is there: its type, its length, the content.
    pub(super) fn content_of(&self, kind: &str, content: &[u8], context: &mut Context<'_>) {
        field("Content-Type", &kind, context.out);
        field("X-Content-Type-Options", &"nosniff", context.out);
        content_length(content.len() as u64, context.out);
        if self.content == Content::Follows {
            context.out.reserve_exact(content.len());
            context.out.extend_from_slice(content);
        }
    }

    /// A whole response that has no content by its status (RFC 9110 §6.4.1).
    pub(super) fn empty(&self, code: u16, context: &mut Context<'_>) {
        self.head(code, context);
        context.out.extend_from_slice(b"\r\n");
    }

    /// Says why a request is refused, and hands back what is to be done then. `then` must fit what
    /// [`Manner::then`] says: see [`Manner::last`].
    pub(super) fn refuse(
        &self,
        failure: Failure,
        key: Option<&Key>,
        context: &mut Context<'_>,
        then: Action,
    ) -> Action {
        let name = key.filter(|key| !key.is_root()).map(|key| key as &dyn Display);
        self.refuse_as(status::code(failure), failure, name, None, context);
        then
    }

    /// The same where HTTP has a status that says more.
    pub(super) fn refuse_as(
        &self,
        code: u16,
        failure: Failure,
        name: Option<&dyn Display>,
        more: Option<Field<'_>>,
        context: &mut Context<'_>,
    ) {
        context.refused = Some(failure);
        let text = match name {
            Some(name) => format!("{}: {name}\n", failure.words()),
            None => format!("{}\n", failure.words()),
        };
        let seconds = status::retry_after_s(failure);
        let mut fields: Vec<Field<'_>> = more.into_iter().collect();
        if failure == Failure::Unauthorized {
            // Browsers and curl know Basic; its user may be anything (RFC 7617, RFC 6750).
            fields.push(("WWW-Authenticate", &"Basic realm=\"filewharf\", charset=\"UTF-8\""));
            fields.push(("WWW-Authenticate", &"Bearer"));
        }
        fields.extend(seconds.as_ref().map(|seconds| -> Field<'_> { ("Retry-After", seconds) }));
        self.text(code, &fields, &text, context);
    }

    /// May the page of another site that asked see the response?
    pub(super) const fn shares(&self) -> bool {
        matches!(self.sharing, Sharing::Any | Sharing::One(_))
    }
}

impl Sharing {
    fn of(fields: &Fields<'_>, listener: &Listener) -> Self {
        match &listener.origins {
            Origins::None => Self::None,
            Origins::Any => Self::Any,
            Origins::One(origin) if fields.origin == Some(&**origin) => Self::One(origin.clone()),
            Origins::One(_) => Self::Refused,
        }
    }

    fn say(&self, out: &mut Vec<u8>) {
        let allowed = match self {
            // No site but this one may embed or read what is here.
            Self::None => return out.extend_from_slice(b"Cross-Origin-Resource-Policy: same-origin\r\n"),
            Self::Any => "*",
            Self::One(origin) => origin,
            // A cache must not give this response to a site that may see one.
            Self::Refused => return field("Vary", &"Origin", out),
        };
        field("Access-Control-Allow-Origin", &allowed, out);
        field("Access-Control-Expose-Headers", &"Content-Range, ETag, Link, Repr-Digest, Retry-After", out);
        if let Self::One(_) = self {
            field("Vary", &"Origin", out);
        }
    }
}

/// One field line.
pub(super) fn field(name: &str, value: &dyn Display, out: &mut Vec<u8>) {
    let _ = write!(out, "{name}: {value}\r\n");
}

/// The validators of a version (RFC 9110 §8.8). A cache must ask before it uses what it has:
/// nobody shall see an older version than there is. Nothing is said to change after it is sent
/// (§8.8.2.1).
pub(super) fn validators(meta: &Meta, context: &mut Context<'_>) {
    let last_modified = meta.mtime.min(now_s(context));
    context.out.extend_from_slice(b"ETag: \"");
    context.out.extend_from_slice(&meta.etag.digits());
    context.out.extend_from_slice(b"\"\r\nLast-Modified: ");
    date::write(last_modified, context.out);
    context.out.extend_from_slice(b"\r\nCache-Control: no-cache\r\n");
}

/// The last field and the empty line.
pub(super) fn content_length(len: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Content-Length: ");
    write_decimal(len, out);
    out.extend_from_slice(b"\r\n\r\n");
}

pub(super) fn now_s(context: &Context<'_>) -> i64 {
    i64::try_from(context.wall_clock_s).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Access;
    use crate::dialect::Phase;
    use crate::dialect::testing::talking;
    use crate::object::Etag;

    #[test]
    fn no_file_was_changed_after_the_date_of_its_response() {
        // The clock of that place to speak stands at 1970.
        for mtime in [-5, 0, 3600] {
            let meta = Meta { len: 1, mtime, etag: Etag([0; 16]) };
            let heard = talking(Phase::Serving, &Access::default(), |context| validators(&meta, context));
            let text = String::from_utf8(heard.said).expect("text");
            assert!(text.contains("Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\n"), "{text}");
        }
    }
}
