//! The listener that speaks both `line` and HTTP: the first line of a connection decides.
//!
//! A first line that is not empty and ends in ` HTTP/1.0` or ` HTTP/1.1` is HTTP, any other is the line protocol.
//! Nothing is used up here: the dialect that is chosen is shown the same bytes. Whatever ends the
//! conversation before a line is complete is said as the line protocol says it.

use std::sync::Arc;
use std::time::Duration;

use memchr::memchr;

use crate::command::Answer;
use crate::dialect::line::Line;
use crate::dialect::{Action, BodyPart, Context, Finish, Kind, Protocol, http, line};
use crate::error::{CloseReason, Failure};
use crate::wire::http::head::looks_like_http;
use crate::wire::line::LINE_LEN_MAX;

/// A connection whose first line has not come yet.
#[derive(Debug)]
pub struct Auto {
    /// What the HTTP side will know of its listener.
    pub(super) http: Arc<http::Listener>,
    pub(super) turned_away: Option<TurnedAway>,
}

/// There is no room for the connection: its first line only tells in which words to say so.
#[derive(Clone, Copy, Debug)]
pub(super) struct TurnedAway {
    /// What its listener speaks.
    pub(super) kind: Kind,
    /// How long its first line is awaited.
    pub(super) wait_ms: u32,
}

impl TurnedAway {
    fn answer(self, spoken: Kind, context: &mut Context<'_>) -> Action {
        let is_http = spoken == Kind::Http || self.kind == Kind::Http;
        context.out.extend_from_slice(if is_http { http::TURNED_AWAY } else { line::TURNED_AWAY });
        Action::Close(CloseReason::Refused)
    }

    /// No more of its first line is awaited.
    fn answer_part(self, held: &[u8], context: &mut Context<'_>) -> Action {
        match held {
            b"" => Action::Close(CloseReason::Refused),
            held => self.answer(if may_be_http(held) { Kind::Http } else { Kind::Line }, context),
        }
    }
}

/// Could this be the beginning of an HTTP request line, whose end has not come?
fn may_be_http(input: &[u8]) -> bool {
    let Some(blank) = memchr(b' ', input) else { return false };
    // RFC 9112 §3.2: the target is a path, an address, or `*`.
    matches!(input.get(blank + 1), Some(b'/' | b'h' | b'H' | b'*'))
}

impl Protocol for Auto {
    fn decode(&mut self, input: &[u8], context: &mut Context<'_>) -> (usize, Action) {
        let head_max = context.limits.head_len_max;
        // Either dialect is shown them again: HTTP steps over one (RFC 9112 §2.2), and refuses more.
        let empty_lines = input.as_chunks().0.iter().take_while(|pair| *pair == b"\r\n").count();
        let first = &input[2 * empty_lines..];
        let len_max = if may_be_http(first) { head_max } else { head_max.min(LINE_LEN_MAX + 1) };
        let action = match memchr(b'\n', first) {
            // Too long for either, and the line protocol is the one that refuses it here.
            None if input.len() >= len_max => Action::Speak(Kind::Line),
            None => Action::More,
            Some(end) if looks_like_http(&first[..end]) => Action::Speak(Kind::Http),
            Some(_) => Action::Speak(Kind::Line),
        };
        match (action, self.turned_away) {
            (Action::Speak(kind), Some(turned_away)) => (input.len(), turned_away.answer(kind, context)),
            (action, _) => (0, action),
        }
    }

    fn quiet_after(&self) -> Option<Duration> {
        self.turned_away.map(|turned_away| Duration::from_millis(turned_away.wait_ms.into()))
    }

    fn quiet(&mut self, held: &[u8], context: &mut Context<'_>) -> (usize, Action) {
        (held.len(), self.turned_away.map_or(Action::More, |turned_away| turned_away.answer_part(held, context)))
    }

    fn ended(&mut self, held: &[u8], context: &mut Context<'_>) -> Action {
        if let Some(turned_away) = self.turned_away {
            return turned_away.answer_part(held, context);
        }
        Line::default().ended(held, context)
    }

    fn answered(&mut self, answer: Result<Answer, Failure>, context: &mut Context<'_>) -> Action {
        Line::default().answered(answer, context)
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

    fn sent(&mut self, digest: Option<[u8; 32]>, context: &mut Context<'_>) -> Action {
        Line::default().sent(digest, context)
    }
}
