//! The listener that speaks both `line` and HTTP: the first line of a connection decides.
//!
//! A first line that is not empty and ends in ` HTTP/1.0` or ` HTTP/1.1` is HTTP, any other is the line protocol.
//! Nothing is used up here: the dialect that is chosen is shown the same bytes. Whatever ends the
//! conversation before a line is complete is said as the line protocol says it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use memchr::memchr;

use crate::command::Answer;
use crate::dialect::line::{Line, Passwords};
use crate::dialect::protocol::{Action, Context, Protocol};
use crate::dialect::spec::{Dialect, OptionError, Options, Secret, Traits};
use crate::dialect::{http, line};
use crate::error::{CloseReason, Failure};
use crate::wire::http::head::looks_like_http;
use crate::wire::line::LINE_LEN_MAX;

#[derive(Debug, Default)]
pub struct Listener {
    /// What the HTTP side will know of its listener.
    pub(super) http: Arc<http::Listener>,
}

impl Dialect for Listener {
    type Protocol = Auto;

    const TRAITS: Traits = Traits {
        options: http::Listener::TRAITS.options,
        client_speaks_first: true,
        secret: Secret::Required,
        kept_bytes_max: http::Listener::TRAITS.kept_bytes_max,
        ..Traits::named("auto")
    };

    fn listen(options: &Options, started_s: u64) -> Result<Self, OptionError> {
        Ok(Self { http: Arc::new(http::Listener::listen(options, started_s)?) })
    }

    fn accept(self: Arc<Self>, _peer: SocketAddr) -> Auto {
        Auto { http: Arc::clone(&self.http), is_http: false, turned_away: None }
    }

    fn restrict_hosts(&mut self, machine: &str) {
        if let Some(http) = Arc::get_mut(&mut self.http) {
            http.restrict_hosts(machine);
        }
    }

    fn refuse_passwords(&mut self) {
        if let Some(http) = Arc::get_mut(&mut self.http) {
            http.refuse_passwords();
        }
    }
}

/// A connection before its first line.
#[derive(Debug)]
pub struct Auto {
    http: Arc<http::Listener>,
    /// What the first line has shown, or what its listener speaks.
    is_http: bool,
    /// Above the limit of connections: its first line only tells in which words to say so, and is awaited this many
    /// milliseconds.
    turned_away: Option<u32>,
}

impl Auto {
    /// For a connection above the limit, to a listener that speaks nothing but HTTP or decides.
    pub(super) const fn turning_away(http: Arc<http::Listener>, is_http: bool, wait_ms: u32) -> Self {
        Self { http, is_http, turned_away: Some(wait_ms) }
    }

    pub(super) const fn is_turned_away(&self) -> bool {
        self.turned_away.is_some()
    }

    /// For a first line that was not HTTP.
    pub(super) fn found_line(&self) -> Line {
        Line::new(if self.http.policy().refuses_passwords() { Passwords::RefusedInPlain } else { Passwords::Taken })
    }

    /// What the listener knows of HTTP, if the first line was HTTP.
    pub(super) fn found_http(&self) -> Option<Arc<http::Listener>> {
        self.is_http.then(|| Arc::clone(&self.http))
    }

    fn turn_away(&self, is_http: bool, context: &mut Context<'_>) -> Action {
        let words = if is_http || self.is_http { http::TURNED_AWAY } else { line::TURNED_AWAY };
        context.out.extend_from_slice(words);
        Action::Close(CloseReason::Refused)
    }

    /// No more of the first line is awaited.
    fn turn_away_early(&self, held: &[u8], context: &mut Context<'_>) -> Action {
        match held {
            b"" => Action::Close(CloseReason::Refused),
            held => self.turn_away(may_be_http(held), context),
        }
    }
}

/// True where this may be the beginning of an HTTP request line without its end yet.
fn may_be_http(input: &[u8]) -> bool {
    let Some(blank) = memchr(b' ', input) else { return false };
    // RFC 9112 §3.2: the target is a path, an address, or `*`.
    matches!(input.get(blank + 1), Some(b'/' | b'h' | b'H' | b'*'))
}

impl Protocol for Auto {
    fn decode(&mut self, input: &[u8], context: &mut Context<'_>) -> (usize, Action) {
        let head_max = context.limits.fixed.head_len_max;
        // Either dialect is shown them again: HTTP steps over one (RFC 9112 §2.2), and refuses more.
        let empty_lines = input.as_chunks().0.iter().take_while(|pair| *pair == b"\r\n").count();
        let first = &input[2 * empty_lines..];
        let len_max = if may_be_http(first) { head_max } else { head_max.min(LINE_LEN_MAX + 1) };
        let is_http = match memchr(b'\n', first) {
            // Too long for either, and the line protocol is the one that refuses it here.
            None if input.len() >= len_max => false,
            None => return (0, Action::More),
            Some(end) => looks_like_http(&first[..end]),
        };
        if self.is_turned_away() {
            return (input.len(), self.turn_away(is_http, context));
        }
        self.is_http = is_http;
        (0, Action::Speak)
    }

    fn quiet_after(&self) -> Option<Duration> {
        self.turned_away.map(|wait_ms| Duration::from_millis(wait_ms.into()))
    }

    fn quiet(&mut self, held: &[u8], context: &mut Context<'_>) -> (usize, Action) {
        (held.len(), self.turn_away_early(held, context))
    }

    fn ended(&mut self, held: &[u8], context: &mut Context<'_>) -> Action {
        if self.is_turned_away() {
            return self.turn_away_early(held, context);
        }
        Line::default().ended(held, context)
    }

    fn answered(&mut self, answer: Result<Answer, Failure>, context: &mut Context<'_>) -> Action {
        Line::default().answered(answer, context)
    }
}
