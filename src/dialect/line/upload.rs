//! The body of a PUT: where its framing is and where its content.

use super::say::{refuse, say_stored};
use crate::command::Answer;
use crate::dialect::protocol::{Action, BodyPart, Context, Deferred, Then};
use crate::error::{CloseReason, Failure};
use crate::object::Key;
use crate::wire::body;
use crate::wire::line::{self, LINE_LEN_MAX};

/// Longest trailer line with its end: `sha256=` and 64 digits and CRLF.
const TRAILER_LEN_MAX: usize = 7 + 64 + 2;
/// Longest line before a chunk, with its end.
const CHUNK_LINE_LEN_MAX: usize = 16 + 2;

#[derive(Debug)]
pub(super) struct PutExchange {
    pub(super) key: Key,
    pub(super) framing: Framing,
    /// `trailer=sha256`: a digest comes after the body.
    pub(super) has_trailer: bool,
    /// The digest in the trailer, once that was read.
    trailer: Option<[u8; 32]>,
    /// From `sha256=` in the head.
    pub(super) announced: Option<[u8; 32]>,
}

/// What comes next of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// This many bytes are left of the body.
    Counted(u64),
    /// This many bytes are left of one chunk of a `PUT *`.
    Chunk(u64),
    /// A line with a chunk length.
    ChunkLine,
    TrailerLine,
    /// Nothing: all was read.
    Ended,
    /// Nothing before the client was sent `GO`; then a body of this many bytes, or of chunks.
    NotBegun(Option<u64>),
}

impl PutExchange {
    pub(super) fn new(key: Key, framing: Framing, has_trailer: bool) -> Self {
        let mut this = Self { key, framing, has_trailer, trailer: None, announced: None };
        if framing == Framing::Counted(0) {
            this.framing = this.after_content();
        }
        this
    }

    /// What comes after the last byte of content.
    const fn after_content(&self) -> Framing {
        if self.has_trailer { Framing::TrailerLine } else { Framing::Ended }
    }

    /// The client was sent `GO` with this offset.
    pub(super) fn go(&mut self, offset: u64) {
        self.framing = match self.framing {
            Framing::NotBegun(None) => Framing::ChunkLine,
            Framing::NotBegun(Some(len)) if len > offset => Framing::Counted(len - offset),
            _ => self.after_content(),
        };
    }

    /// True if nothing of the body is on its way.
    pub(super) const fn is_read(&self) -> bool {
        matches!(self.framing, Framing::Ended | Framing::NotBegun(_))
    }

    /// Bytes of content that come next.
    pub(super) const fn left(&self) -> u64 {
        match self.framing {
            Framing::Counted(left) | Framing::Chunk(left) => left,
            Framing::ChunkLine | Framing::TrailerLine | Framing::Ended | Framing::NotBegun(_) => 0,
        }
    }

    /// Compares the digest of the content with those that the client has sent.
    pub(super) fn check(&self, digest: Option<[u8; 32]>) -> Result<(), Failure> {
        let agrees = |wanted: Option<[u8; 32]>| wanted.is_none() || wanted == digest;
        if agrees(self.announced) && agrees(self.trailer) { Ok(()) } else { Err(Failure::DigestMismatch) }
    }

    pub(super) fn body(&mut self, raw: &[u8], payload_max: usize) -> Result<BodyPart, Failure> {
        match self.framing {
            Framing::Counted(mut left) | Framing::Chunk(mut left) => {
                let payload = body::take(&mut left, raw.len(), payload_max);
                self.framing = match self.framing {
                    Framing::Chunk(_) if left == 0 => Framing::ChunkLine,
                    Framing::Chunk(_) => Framing::Chunk(left),
                    _ if left == 0 => self.after_content(),
                    _ => Framing::Counted(left),
                };
                let then = match self.framing {
                    Framing::Ended => Then::End,
                    _ if payload == raw.len() => Then::Wait,
                    _ => Then::Look,
                };
                Ok(BodyPart { skip: 0, payload, then })
            }
            Framing::ChunkLine => {
                let Some((text, skip)) = cut_short(raw, CHUNK_LINE_LEN_MAX)? else { return Ok(WAIT) };
                self.framing = match line::chunk_len(text)? {
                    0 => self.after_content(),
                    left => Framing::Chunk(left),
                };
                let then = if self.framing == Framing::Ended { Then::End } else { Then::Look };
                Ok(BodyPart { skip, payload: 0, then })
            }
            Framing::TrailerLine => {
                let Some((text, skip)) = cut_short(raw, TRAILER_LEN_MAX)? else { return Ok(WAIT) };
                self.trailer = Some(line::trailer(text)?);
                self.framing = Framing::Ended;
                Ok(BodyPart { skip, payload: 0, then: Then::End })
            }
            Framing::Ended | Framing::NotBegun(_) => Ok(BodyPart { skip: 0, payload: 0, then: Then::End }),
        }
    }
}

impl Deferred for PutExchange {
    fn answered(&mut self, answer: Result<Answer, Failure>, context: &mut Context<'_>) -> Action {
        match answer {
            Ok(Answer::Stored(stored)) => {
                say_stored(&stored, context.out);
                Action::Next
            }
            Ok(_) => Action::Close(CloseReason::Internal),
            Err(failure) => refuse(failure, Some(&self.key), context, Action::Next),
        }
    }
}

const WAIT: BodyPart = BodyPart { skip: 0, payload: 0, then: Then::Wait };

/// A line inside a body, which is much shorter than a request line may be.
fn cut_short(raw: &[u8], len_max: usize) -> Result<Option<(&[u8], usize)>, Failure> {
    debug_assert!(len_max <= LINE_LEN_MAX);
    match line::cut(&raw[..raw.len().min(len_max)])? {
        None if raw.len() >= len_max => Err(Failure::Malformed("a line inside the body is too long")),
        found => Ok(found),
    }
}
