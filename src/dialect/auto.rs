//! The listener that speaks both `line` and HTTP: the first line of a connection decides.
//!
//! A first line that is not empty and ends in ` HTTP/1.0` or ` HTTP/1.1` is HTTP, any other is the line protocol.
//! Nothing is used up here: the dialect that is chosen is shown the same bytes. Whatever ends the
//! conversation before a line is complete is said as the line protocol says it.

use std::sync::Arc;

use memchr::memchr;

use crate::command::Answer;
use crate::dialect::line::Line;
use crate::dialect::{Act, BodyPart, Finish, Kind, Machine, Talk, http};
use crate::error::Failure;
use crate::wire::http::head::looks_like_http;
use crate::wire::line::LINE_LEN_MAX;

/// A connection whose first line has not come yet.
#[derive(Debug)]
pub struct Auto {
    /// What the HTTP side will know of its listener.
    pub(super) http: Arc<http::Listener>,
}

/// Could this be the beginning of an HTTP request line, whose end has not come?
fn may_be_http(input: &[u8]) -> bool {
    let Some(blank) = memchr(b' ', input) else { return false };
    // RFC 9112 §3.2: the target is a path, an address, or `*`.
    matches!(input.get(blank + 1), Some(b'/' | b'h' | b'H' | b'*'))
}

impl Machine for Auto {
    fn decode(&mut self, input: &[u8], talk: &mut Talk<'_>) -> (usize, Act) {
        let head_max = talk.limits.head_len_max;
        // Either dialect is shown them again: HTTP steps over one (RFC 9112 §2.2), and refuses more.
        let empty_lines = input.as_chunks().0.iter().take_while(|pair| *pair == b"\r\n").count();
        let first = &input[2 * empty_lines..];
        let len_max = if may_be_http(first) { head_max } else { head_max.min(LINE_LEN_MAX + 1) };
        let act = match memchr(b'\n', first) {
            // Too long for either, and the line protocol is the one that refuses it here.
            None if input.len() >= len_max => Act::Speak(Kind::Line),
            None => Act::More,
            Some(end) if looks_like_http(&first[..end]) => Act::Speak(Kind::Http),
            Some(_) => Act::Speak(Kind::Line),
        };
        (0, act)
    }

    fn ended(&mut self, held: &[u8], talk: &mut Talk<'_>) -> Act {
        Line::default().ended(held, talk)
    }

    fn answered(&mut self, answer: Result<Answer, Failure>, talk: &mut Talk<'_>) -> Act {
        Line::default().answered(answer, talk)
    }

    fn body(&mut self, _raw: &[u8], _payload_max: usize) -> Result<BodyPart, Failure> {
        Err(Failure::Internal)
    }

    fn body_left(&self) -> u64 {
        0
    }

    fn finish(&mut self, _digest: Option<[u8; 32]>) -> Result<Finish, Failure> {
        Err(Failure::Internal)
    }

    fn sent(&mut self, digest: Option<[u8; 32]>, talk: &mut Talk<'_>) -> Act {
        Line::default().sent(digest, talk)
    }
}
