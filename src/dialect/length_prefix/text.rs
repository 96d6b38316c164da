//! A text while it comes, and what it turns out to be.

use crate::dialect::protocol::{Action, Context};
use crate::object::Key;
use crate::wire::frames::{self, Extent};
use crate::wire::line as grammar;
use crate::wire::range::decimal;

/// The text that is greeted, and the greeting.
const GREETED: &[u8] = b"Hello Server!";
const GREETING: &[u8] = b"Hello Client!";
/// The longest text that can be a request: its line ends with one byte more.
const REQUEST_LEN_MAX: usize = grammar::LINE_LEN_MAX - 1;
/// This much of a message is shown in the log, in bytes.
pub(super) const SHOWN_LEN_MAX: usize = 120;

#[derive(Debug)]
pub(super) struct Text {
    pub(super) extent: Extent,
    greeting: Greeting,
    pub(super) kept: Vec<u8>,
    pub(super) purpose: Purpose,
}

/// What is done with a text besides looking for the greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It may be a request, or is kept when it is whole: all of it is held.
    Whole,
    /// It is too long for that: only its beginning is held.
    Shown,
    /// It could not be kept, and its peer has been sent an error.
    Lost,
}

/// Looks for the text that is greeted, whatever its pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Greeting {
    /// This many bytes of it have just come.
    Matched(usize),
    Found,
}

impl Greeting {
    pub(super) fn look(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let Self::Matched(n) = *self else { return };
            *self = match n {
                n if GREETED[n] != *byte => Self::Matched(usize::from(GREETED[0] == *byte)),
                n if n + 1 == GREETED.len() => Self::Found,
                n => Self::Matched(n + 1),
            };
        }
    }
}

impl Text {
    pub(super) fn new(len: u64) -> Self {
        let purpose = if len > REQUEST_LEN_MAX as u64 { Purpose::Shown } else { Purpose::Whole };
        Self { extent: Extent::new(len), greeting: Greeting::Matched(0), kept: Vec::new(), purpose }
    }

    /// These bytes are the next of it.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.greeting.look(bytes);
        let most = match self.purpose {
            Purpose::Whole => REQUEST_LEN_MAX,
            Purpose::Shown => SHOWN_LEN_MAX,
            Purpose::Lost => 0,
        };
        let room = most.saturating_sub(self.kept.len()).min(bytes.len());
        self.kept.extend_from_slice(&bytes[..room]);
    }

    /// How many bytes may come before it must be given another purpose.
    pub(super) fn room(&self) -> usize {
        match self.purpose {
            Purpose::Whole => REQUEST_LEN_MAX.saturating_sub(self.kept.len()),
            Purpose::Shown | Purpose::Lost => usize::MAX,
        }
    }

    /// For the log: how long it was and how it begins.
    fn note(&self, kept_as: Option<&Key>, context: &mut Context<'_>) {
        let shown = &self.kept[..self.kept.len().min(SHOWN_LEN_MAX)];
        let (text, len) = (String::from_utf8_lossy(shown), self.extent.bytes());
        let more = if len > shown.len() as u64 { "…" } else { "" };
        let place = kept_as.map(|key| format!(" kept as {key}")).unwrap_or_default();
        context.notes.push(format!("[MESSAGE] {len} bytes{place}: {text}{more}"));
    }

    /// It was read to its end, and kept there if anywhere.
    pub(super) fn done(&self, kept_as: Option<&Key>, context: &mut Context<'_>) -> Action {
        self.note(kept_as, context);
        if self.greeting == Greeting::Found {
            frames::write_message(GREETING, context.out);
        }
        Action::Next
    }
}

/// The request line that a text is, if it is one. What only resembles a request is a message:
/// people talk here.
pub(super) fn request_in<'a>(text: &'a [u8], context: &Context<'_>) -> Option<&'a [u8]> {
    let line = text.strip_suffix(b"\n").unwrap_or(text);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.contains(&b'\n') {
        return None;
    }
    if line.starts_with(b"AUTH ") {
        return context.access.takes_credentials().then_some(line);
    }
    let request = grammar::request(line).ok()?;
    let is_request = match (request.verb, request.word) {
        ("PING", None) => line == b"PING",
        ("GET" | "LIST" | "STAT" | "DELETE" | "MKDIR" | "RENAME" | "SPACE" | "TIME", None) => !request.path.is_empty(),
        ("PUT", Some(size)) => !request.path.is_empty() && (size == "*" || decimal(size).is_some()),
        _ => false,
    };
    is_request.then_some(line)
}

/// True where its body, or what follows it, would not be messages of a known length.
pub(super) fn needs_framing(request: &grammar::Request<'_>) -> bool {
    request.word == Some("*") || request.options.iter().any(|(name, _)| matches!(*name, "trailer" | "if-differs"))
}
