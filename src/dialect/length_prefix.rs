//! Messages behind a 64-byte decimal length, as a classroom chat sends them.
//!
//! ```text
//! C  15 (and 62 blanks)                     C  20 (and 62 blanks)
//! C  Hello Server!**                        C  PUT 6 /notes/hi.txt
//! S  13 (and 62 blanks)                     C  6 (and 63 blanks) hello\n
//! S  Hello Client!                          S  64 bytes, OK 0 etag=… stored=durable
//! ```
//!
//! A text with `Hello Server!` in it is greeted; a text that is a request of the `line` protocol is
//! answered as there, each line and each MiB of content a message of its own; any other text is a
//! message. With `inbox=FOLDER` every message is kept there as one file, else it is only logged:
//! neither is answered. `wire::frames` finds where a message ends.
//!
//! It never holds more of a message than a request may have, never stores a part of one, never
//! closes while it understands its peer (the old client then spins), and goes on no further once
//! a header is none: then the peer is told why, and the connection ends.

mod text;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::command::{Answer, Command, Put};
use crate::dialect::line::{self, Line};
use crate::dialect::{Act, BodyPart, Finish, Kind, Machine, Options, Phase, Talk, Then, refuse_http};
use crate::error::{CloseReason, Failure};
use crate::object::{Key, Precondition};
use crate::wire::frames::{self, Decided, HEADER_LEN, Header, PIECE_LEN_MAX, Step};
use crate::wire::{key, line as grammar};
use text::{Purpose, SHOWN_LEN_MAX, Text, needs_framing, request_in};

/// Said to a connection that comes when no more are taken.
pub const TURNED_AWAY: &[u8] =
    b"52                                                              ERROR the server has as many connections as it takes";
/// How long the tail of a text may be behind the rest: both leave the client in one send.
const GRACE: Duration = Duration::from_millis(200);
/// So many names that are taken are stepped over for one message.
const TAKEN_MAX: u32 = 100;

/// What the connections of one listener share.
#[derive(Debug)]
pub struct Listener {
    inbox: Option<Key>,
    started: u64,
    kept: AtomicU64,
}

impl Listener {
    /// Reads the options of the address: `inbox=FOLDER`.
    pub fn new(options: &Options, started: u64) -> Result<Self, String> {
        let mut inbox = None;
        for (name, value) in options {
            if name != "inbox" {
                return Err(format!("{} knows no option {name:?}, only inbox=FOLDER", Kind::LengthPrefix));
            }
            if inbox.is_some() {
                return Err("inbox= is given twice".to_owned());
            }
            let folder = value.strip_suffix('/').unwrap_or(value);
            inbox = Some(key::relative(folder).map_err(|failure| format!("inbox={value}: {failure}"))?);
        }
        Ok(Self { inbox, started, kept: AtomicU64::new(0) })
    }

    /// The next name for a message of `peer`; `None` where messages are not kept.
    fn name(&self, peer: SocketAddr) -> Option<Result<Key, Failure>> {
        let folder = self.inbox.as_ref()?;
        let number = self.kept.fetch_add(1, Ordering::Relaxed) + 1;
        let address = peer.ip().to_canonical().to_string().replace(':', ".");
        Some(key::relative(&format!("{}/{}-{number:06}-{address}-{}.txt", folder.as_str(), self.started, peer.port())))
    }
}

/// One connection's side.
#[derive(Debug)]
pub struct LengthPrefix {
    listener: Arc<Listener>,
    peer: SocketAddr,
    line: Line,
    stage: Stage,
}

/// Where the conversation is.
#[derive(Debug, Default)]
enum Stage {
    /// A header is awaited.
    #[default]
    Header,
    /// A text is coming.
    Text(Box<Text>),
    /// A long text is coming, straight into the inbox.
    Streaming(Box<Streaming>),
    /// A short text is on its way into the inbox; so many names were taken.
    Keeping(Box<Text>, Key, u32),
    /// A request is at the store.
    Asking,
    /// The content of a PUT is coming; so much of its present message is left.
    Receiving(u64),
    /// A part of a file is leaving; this is what follows it.
    Sending(Range<u64>),
}

/// A text that goes into the inbox as it comes.
#[derive(Debug)]
struct Streaming {
    text: Box<Text>,
    key: Key,
    /// Bytes of it that came before the file was opened.
    before: Vec<u8>,
}

impl LengthPrefix {
    /// A connection from `peer`.
    pub fn new(listener: Arc<Listener>, peer: SocketAddr) -> Self {
        Self { listener, peer, line: Line::default(), stage: Stage::Header }
    }

    fn head(&mut self, input: &[u8], talk: &mut Talk<'_>) -> (usize, Act) {
        if let Some(act) = refuse_http(input, talk) {
            return (0, act);
        }
        match frames::header(input) {
            Ok(Header::Partial) => (0, Act::More),
            Ok(Header::Len(0)) => (HEADER_LEN, Act::Next),
            Ok(Header::Len(len)) => {
                let text = Box::new(Text::new(len));
                let act = match text.purpose {
                    Purpose::Shown => self.stream(text, talk),
                    Purpose::Whole | Purpose::Lost => self.read_on(text),
                };
                (HEADER_LEN, act)
            }
            Err(failure) => (0, refuse(failure, talk, Act::Close(CloseReason::Malformed))),
        }
    }

    /// A text may take its time, as a header may not: nothing before it is awaited any more.
    fn read_on(&mut self, text: Box<Text>) -> Act {
        self.stage = Stage::Text(text);
        Act::Next
    }

    /// From here on the text goes straight into the inbox, if there is one.
    fn stream(&mut self, mut text: Box<Text>, talk: &mut Talk<'_>) -> Act {
        let key = match self.listener.name(self.peer) {
            None => return self.read_on(text),
            Some(Ok(key)) if talk.phase == Phase::Serving => key,
            Some(named) => return stop(named.err().unwrap_or(Failure::Draining), talk),
        };
        let before = text.kept.clone();
        text.kept.truncate(SHOWN_LEN_MAX);
        self.stage = Stage::Streaming(Box::new(Streaming { text, key: key.clone(), before }));
        Act::Run(Command::Put(absent(key, None)))
    }

    /// A text that is whole goes into the inbox, if there is one; so many names were taken.
    fn keep(&mut self, text: Box<Text>, taken: u32, talk: &mut Talk<'_>) -> Act {
        let key = match self.listener.name(self.peer) {
            None => return text.done(None, talk),
            Some(Ok(key)) if talk.phase == Phase::Serving => key,
            Some(named) => return stop(named.err().unwrap_or(Failure::Draining), talk),
        };
        let content = text.kept.clone();
        self.stage = Stage::Keeping(text, key.clone(), taken);
        Act::Store(absent(key, Some(content.len() as u64)), content)
    }

    /// More of a text.
    fn text(&mut self, mut text: Box<Text>, input: &[u8], talk: &mut Talk<'_>) -> (usize, Act) {
        let room = text.room();
        match text.extent.step(input, room) {
            Ok(Step::Part(0)) if room == 0 => {
                text.purpose = Purpose::Shown;
                (0, self.stream(text, talk))
            }
            Ok(Step::Part(n)) => {
                text.take(&input[..n]);
                self.stage = Stage::Text(text);
                (n, Act::More)
            }
            Ok(Step::Look) => {
                self.stage = Stage::Text(text);
                (0, Act::More)
            }
            Ok(Step::Last(n)) => {
                text.take(&input[..n]);
                (n, self.complete(text, talk))
            }
            Err(failure) => (0, refuse(failure, talk, Act::Close(CloseReason::Malformed))),
        }
    }

    /// The text is whole: what is it?
    fn complete(&mut self, text: Box<Text>, talk: &mut Talk<'_>) -> Act {
        match text.purpose {
            Purpose::Lost => Act::Next,
            Purpose::Shown => text.done(None, talk),
            Purpose::Whole => match request_in(&text.kept, talk) {
                Some(request) => self.request(request, talk),
                None => self.keep(text, 0, talk),
            },
        }
    }

    fn request(&mut self, request: &[u8], talk: &mut Talk<'_>) -> Act {
        if grammar::request(request).is_ok_and(|request| needs_framing(&request)) {
            let failure = Failure::NotImplemented("PUT * and trailer= are not offered in messages");
            return self.framed(talk, |_, talk| line::refuse(failure, None, talk, Act::Next));
        }
        let request = [request, b"\n"].concat();
        self.framed(talk, |line, talk| line.decode(&request, talk).1)
    }

    /// Lets the `line` protocol speak, in messages, and does what it wants.
    fn framed(&mut self, talk: &mut Talk<'_>, run: impl FnOnce(&mut Line, &mut Talk<'_>) -> Act) -> Act {
        let mut said = Vec::new();
        let mut inner = Talk {
            out: &mut said,
            limits: talk.limits,
            access: talk.access,
            phase: talk.phase,
            wall_clock_s: talk.wall_clock_s,
            counters: talk.counters,
            refused: None,
            wrong_secret: false,
            notes: &mut *talk.notes,
        };
        let act = run(&mut self.line, &mut inner);
        (talk.refused, talk.wrong_secret) = (inner.refused, inner.wrong_secret);
        let end = said.iter().position(|byte| *byte == b'\n').unwrap_or(said.len());
        frames::say(&said[..end], talk.out);
        frames::say(said.get(end + 1..).unwrap_or_default(), talk.out);
        self.stage = match (&act, &self.stage) {
            (Act::Send { range, .. }, _) => return self.piece(range.clone(), talk),
            // In the middle of a message of the body, or before its first.
            (Act::Receive | Act::Discard, Stage::Receiving(left)) => Stage::Receiving(*left),
            (Act::Run(Command::Put(_)) | Act::Receive | Act::Discard, _) => Stage::Receiving(0),
            (Act::Run(_), _) => Stage::Asking,
            _ => Stage::Header,
        };
        act
    }

    /// Sends the first of these bytes as one message; the others follow it.
    fn piece(&mut self, range: Range<u64>, talk: &mut Talk<'_>) -> Act {
        let end = range.end.min(range.start.saturating_add(PIECE_LEN_MAX));
        if range.start < end {
            frames::announce(end - range.start, talk.out);
        }
        self.stage = Stage::Sending(end..range.end);
        Act::Send { range: range.start..end, hash: false }
    }

    /// The content of a PUT, in messages whose length counts bytes.
    fn content(&mut self, raw: &[u8], payload_max: usize) -> Result<BodyPart, Failure> {
        let Stage::Receiving(left) = &mut self.stage else { return Err(Failure::Internal) };
        let mut skip = 0;
        while *left == 0 && self.line.body_left() > 0 {
            match frames::header(&raw[skip..])? {
                Header::Partial => return Ok(BodyPart { skip, payload: 0, then: Then::Wait }),
                Header::Len(len) if len > self.line.body_left() => {
                    return Err(Failure::Malformed("a message has more bytes than are left of the file"));
                }
                Header::Len(len) => *left = len,
            }
            skip += HEADER_LEN;
        }
        let most = usize::try_from(*left).unwrap_or(usize::MAX).min(raw.len() - skip);
        let part = self.line.body(&raw[skip..skip + most], payload_max)?;
        *left -= part.payload as u64;
        let then = match part.then {
            Then::End => Then::End,
            Then::Look | Then::Wait if skip + part.payload == raw.len() => Then::Wait,
            Then::Look | Then::Wait => Then::Look,
        };
        Ok(BodyPart { skip, payload: part.payload, then })
    }

    /// A long text went into the inbox, or could not.
    fn streamed(&mut self, mut streaming: Box<Streaming>, answer: Result<Answer, Failure>, talk: &mut Talk<'_>) -> Act {
        match answer {
            Ok(Answer::Created) => {
                self.stage = Stage::Streaming(streaming);
                Act::Receive
            }
            Ok(_) => streaming.text.done(Some(&streaming.key), talk),
            Err(failure @ (Failure::TimedOut | Failure::Malformed(_))) => stop(failure, talk),
            Err(failure) => {
                let over = streaming.text.extent.is_over();
                streaming.text.purpose = Purpose::Lost;
                let then = if over { Act::Next } else { self.read_on(streaming.text) };
                refuse(failure, talk, then)
            }
        }
    }
}

impl Machine for LengthPrefix {
    fn opened(&mut self, talk: &mut Talk<'_>) -> Act {
        talk.notes.push("[NEW CONNECTION]".to_owned());
        Act::More
    }

    fn decode(&mut self, input: &[u8], talk: &mut Talk<'_>) -> (usize, Act) {
        match std::mem::take(&mut self.stage) {
            Stage::Text(text) => self.text(text, input, talk),
            _ => self.head(input, talk),
        }
    }

    fn ended(&mut self, held: &[u8], talk: &mut Talk<'_>) -> Act {
        let act = match std::mem::take(&mut self.stage) {
            Stage::Text(mut text) => match text.extent.silence() {
                Decided::Over => self.complete(text, talk),
                Decided::LookAgain => self.text(text, held, talk).1,
                Decided::Nothing => Act::More,
            },
            _ if held.is_empty() => {
                talk.notes.push("[CLIENT_DISCONNECTED]".to_owned());
                return Act::Close(CloseReason::PeerClosed);
            }
            _ => Act::More,
        };
        match act {
            Act::More => refuse(CUT_SHORT, talk, Act::Close(CloseReason::CutShort)),
            act => act,
        }
    }

    fn quiet_after(&self) -> Option<Duration> {
        let extent = match &self.stage {
            Stage::Text(text) => &text.extent,
            Stage::Streaming(streaming) => &streaming.text.extent,
            _ => return None,
        };
        extent.awaits_silence().then_some(GRACE)
    }

    fn quiet(&mut self, held: &[u8], talk: &mut Talk<'_>) -> (usize, Act) {
        match std::mem::take(&mut self.stage) {
            Stage::Text(mut text) => match text.extent.silence() {
                Decided::Over => (0, self.complete(text, talk)),
                Decided::LookAgain => self.text(text, held, talk),
                Decided::Nothing => {
                    self.stage = Stage::Text(text);
                    (0, Act::More)
                }
            },
            stage => {
                self.stage = stage;
                (0, Act::More)
            }
        }
    }

    fn body_quiet(&mut self) -> Then {
        let Stage::Streaming(streaming) = &mut self.stage else { return Then::Wait };
        match streaming.text.extent.silence() {
            Decided::Over => Then::End,
            Decided::LookAgain => Then::Look,
            Decided::Nothing => Then::Wait,
        }
    }

    fn answered(&mut self, answer: Result<Answer, Failure>, talk: &mut Talk<'_>) -> Act {
        match std::mem::take(&mut self.stage) {
            Stage::Keeping(text, key, taken) => match answer {
                Ok(_) => text.done(Some(&key), talk),
                Err(Failure::PreconditionFailed) if taken < TAKEN_MAX => self.keep(text, taken + 1, talk),
                Err(failure) => refuse(failure, talk, Act::Next),
            },
            Stage::Streaming(streaming) => self.streamed(streaming, answer, talk),
            // The engine gave up waiting.
            Stage::Header | Stage::Text(_) => stop(answer.err().unwrap_or(Failure::Internal), talk),
            stage => {
                self.stage = stage;
                self.framed(talk, |line, talk| line.answered(answer, talk))
            }
        }
    }

    fn body(&mut self, raw: &[u8], payload_max: usize) -> Result<BodyPart, Failure> {
        let Stage::Streaming(streaming) = &mut self.stage else { return self.content(raw, payload_max) };
        let (payload, then) = match streaming.text.extent.step(raw, payload_max)? {
            Step::Last(n) => (n, Then::End),
            Step::Part(n) if n < raw.len() => (n, Then::Look),
            Step::Part(n) => (n, Then::Wait),
            Step::Look => (0, Then::Wait),
        };
        streaming.text.take(&raw[..payload]);
        Ok(BodyPart { skip: 0, payload, then })
    }

    fn body_left(&self) -> u64 {
        match &self.stage {
            Stage::Streaming(streaming) => streaming.text.extent.left_min(),
            _ => self.line.body_left(),
        }
    }

    fn body_ended(&mut self) -> Result<(), Failure> {
        match &mut self.stage {
            Stage::Streaming(streaming) => match streaming.text.extent.silence() {
                Decided::Over => Ok(()),
                Decided::LookAgain | Decided::Nothing => Err(CUT_SHORT),
            },
            _ => Err(CUT_SHORT),
        }
    }

    fn finish(&mut self, digest: Option<[u8; 32]>) -> Result<Finish, Failure> {
        match &mut self.stage {
            Stage::Streaming(streaming) => Ok(Finish { key: None, prepend: std::mem::take(&mut streaming.before) }),
            _ => self.line.finish(digest),
        }
    }

    fn sent(&mut self, digest: Option<[u8; 32]>, talk: &mut Talk<'_>) -> Act {
        match std::mem::take(&mut self.stage) {
            Stage::Sending(rest) if !rest.is_empty() => self.piece(rest, talk),
            _ => self.framed(talk, |line, talk| line.sent(digest, talk)),
        }
    }
}

const CUT_SHORT: Failure = Failure::Malformed("the connection ended in the middle of a message");

/// Says `ERROR …`, and hands back what is to be done then.
fn refuse(failure: Failure, talk: &mut Talk<'_>, then: Act) -> Act {
    talk.refused = Some(failure);
    frames::say(format!("ERROR {failure}").as_bytes(), talk.out);
    then
}

/// As [`refuse`], where the conversation cannot go on.
fn stop(failure: Failure, talk: &mut Talk<'_>) -> Act {
    let reason = match failure {
        Failure::TimedOut => CloseReason::TooSlow,
        Failure::Draining => CloseReason::Drained,
        Failure::Malformed(_) => CloseReason::Malformed,
        _ => CloseReason::Refused,
    };
    refuse(failure, talk, Act::Close(reason))
}

/// A new file in the inbox.
fn absent(key: Key, len: Option<u64>) -> Put {
    Put { precondition: Precondition::Absent, ..Put::new(key, len) }
}
