//! Messages after a 64-byte decimal length, as a classroom chat sends them.
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
//! closes while it understands its peer (the old client then spins), and continues no further once
//! a header is none: then the peer is sent the reason, and the connection ends.
//!
//! One file, although it is long: options, refusals, limits and states of the dialect are read together.

mod text;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::command::{Answer, Command, Put};
use crate::dialect::legacy::{Inbox, close_reason, refuse_http};
use crate::dialect::line::{self, Line, Passwords};
use crate::dialect::protocol::{Action, BodyPart, Context, Finish, GuessLimit, Hash, Protocol, Then};
use crate::dialect::spec::{Dialect, OptionError, Options, Secret, Traits};
use crate::error::{CloseReason, Failure};
use crate::object::{Key, Precondition};
use crate::wire::frames::{self, Decided, HEADER_LEN, Header, PIECE_LEN_MAX, Step};
use crate::wire::line as grammar;
use text::{Purpose, SHOWN_LEN_MAX, Text, needs_framing, request_in};

pub const TURNED_AWAY: &[u8] =
    b"63                                                              ERROR too many connections: of this address, or of all together";
/// How long the tail of a text may be after the rest: both leave the client in one send.
const GRACE: Duration = Duration::from_millis(200);
/// This many names that are taken are stepped over for one message.
const TAKEN_MAX: u32 = 100;

/// What the connections of one listener share.
#[derive(Debug, Default)]
pub struct Listener {
    inbox: Inbox,
}

impl Dialect for Listener {
    type Protocol = LengthPrefix;

    const TRAITS: Traits = Traits {
        legacy_address: Some("127.0.0.1:8000"),
        options: &[Inbox::OPTION],
        turned_away: TURNED_AWAY,
        // Only of a text that is a request of the `line` protocol.
        secret: Secret::Accepted,
        ..Traits::named("length-prefix")
    };

    fn listen(options: &Options, started_s: u64) -> Result<Self, OptionError> {
        Ok(Self { inbox: Inbox::of(options, started_s, 1)? })
    }

    fn accept(self: Arc<Self>, peer: SocketAddr) -> LengthPrefix {
        LengthPrefix { listener: self, peer, line: Line::new(Passwords::RefusedInMessages), exchange: Exchange::Header }
    }
}

#[derive(Debug)]
pub struct LengthPrefix {
    listener: Arc<Listener>,
    peer: SocketAddr,
    line: Line,
    exchange: Exchange,
}

#[derive(Debug, Default)]
enum Exchange {
    #[default]
    Header,
    Text(Box<Text>),
    /// A long text is coming, straight into the inbox.
    Streaming(Box<Streaming>),
    /// A short text is on its way into the inbox; this many names were taken.
    Keeping(Box<Text>, Key, u32),
    Asking,
    /// The content of a PUT is coming; this much of its present message is left.
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
    /// The name in the inbox for the next message; `None` where messages are not kept.
    fn name(&self, context: &Context<'_>) -> Option<Result<Key, Failure>> {
        let address = self.peer.ip().to_canonical().to_string().replace(':', ".");
        let name = self.listener.inbox.name(format_args!("{address}-{}.txt", self.peer.port()))?;
        Some(name.and_then(|key| context.check_serving().map(|()| key)))
    }

    fn head(&mut self, input: &[u8], context: &mut Context<'_>) -> (usize, Action) {
        if let Some(action) = refuse_http(input, context) {
            return (0, action);
        }
        match frames::header(input) {
            Ok(Header::Partial) => (0, Action::More),
            Ok(Header::Len(0)) => (HEADER_LEN, Action::Next),
            Ok(Header::Len(len)) => {
                let text = Box::new(Text::new(len));
                let action = match text.purpose {
                    Purpose::Shown => self.stream(text, context),
                    Purpose::Whole | Purpose::Lost => self.read_on(text),
                };
                (HEADER_LEN, action)
            }
            Err(failure) => (0, refuse(failure, context, Action::Close(CloseReason::Malformed))),
        }
    }

    /// A text may take its time, as a header may not: nothing before it is awaited any more.
    fn read_on(&mut self, text: Box<Text>) -> Action {
        self.exchange = Exchange::Text(text);
        Action::Proceed
    }

    /// From here on the text goes straight into the inbox, if there is one.
    fn stream(&mut self, mut text: Box<Text>, context: &mut Context<'_>) -> Action {
        let key = match self.name(context) {
            None => return self.read_on(text),
            Some(Ok(key)) => key,
            Some(Err(failure)) => return stop(failure, context),
        };
        let before = text.kept.clone();
        text.kept.truncate(SHOWN_LEN_MAX);
        self.exchange = Exchange::Streaming(Box::new(Streaming { text, key: key.clone(), before }));
        Action::Run(Command::Put(absent(key, None)))
    }

    /// A text that is whole goes into the inbox, if there is one; this many names were taken.
    fn keep(&mut self, text: Box<Text>, taken: u32, context: &mut Context<'_>) -> Action {
        let key = match self.name(context) {
            None => return text.done(None, context),
            Some(Ok(key)) => key,
            Some(Err(failure)) => return stop(failure, context),
        };
        let content = text.kept.clone();
        self.exchange = Exchange::Keeping(text, key.clone(), taken);
        Action::Store(absent(key, Some(content.len() as u64)), content)
    }

    fn text(&mut self, mut text: Box<Text>, input: &[u8], context: &mut Context<'_>) -> (usize, Action) {
        let room = text.room();
        match text.extent.step(input, room) {
            Ok(Step::Part(0)) if room == 0 => {
                text.purpose = Purpose::Shown;
                (0, self.stream(text, context))
            }
            Ok(Step::Part(n)) => {
                text.take(&input[..n]);
                self.exchange = Exchange::Text(text);
                (n, Action::More)
            }
            Ok(Step::Look) => {
                self.exchange = Exchange::Text(text);
                (0, Action::More)
            }
            Ok(Step::Last(n)) => {
                text.take(&input[..n]);
                (n, self.complete(text, context))
            }
            Err(failure) => (0, refuse(failure, context, Action::Close(CloseReason::Malformed))),
        }
    }

    /// Interprets a complete text.
    fn complete(&mut self, text: Box<Text>, context: &mut Context<'_>) -> Action {
        match text.purpose {
            Purpose::Lost => Action::Next,
            Purpose::Shown => text.done(None, context),
            Purpose::Whole => match request_in(&text.kept, context) {
                Some(request) => self.request(request, context),
                None => self.keep(text, 0, context),
            },
        }
    }

    fn request(&mut self, request: &[u8], context: &mut Context<'_>) -> Action {
        if grammar::request(request).is_ok_and(|request| needs_framing(&request)) {
            let failure = Failure::NotImplemented("PUT *, trailer= and if-differs= are not offered in messages");
            return self.framed(context, |_, context| line::refuse(failure, None, context, Action::Next));
        }
        let request = [request, b"\n"].concat();
        self.framed(context, |line, context| line.decode(&request, context).1)
    }

    /// Lets the `line` protocol speak, in messages, and does what it wants.
    fn framed(&mut self, context: &mut Context<'_>, run: impl FnOnce(&mut Line, &mut Context<'_>) -> Action) -> Action {
        let mut said = Vec::new();
        let mut inner = Context {
            out: &mut said,
            limits: context.limits,
            access: context.access,
            caller: context.caller.clone(),
            dav_locks: context.dav_locks,
            lock_tokens: None,
            key: context.key,
            client: context.client,
            proxy: None,
            guesses: context.guesses.as_mut().map(|limit| GuessLimit { guesses: &mut *limit.guesses, now: limit.now }),
            phase: context.phase,
            wall_clock_s: context.wall_clock_s,
            counters: context.counters,
            connections: None,
            wants_connections: false,
            refused: None,
            wrong_secret: false,
            verdict: context.verdict.take(),
            retry_after_s: None,
            asked: None,
            status: None,
            notes: &mut *context.notes,
        };
        let action = run(&mut self.line, &mut inner);
        (context.refused, context.wrong_secret) = (inner.refused, inner.wrong_secret);
        context.caller = inner.caller;
        let end = said.iter().position(|byte| *byte == b'\n').unwrap_or(said.len());
        frames::write_message(&said[..end], context.out);
        frames::write_message(said.get(end + 1..).unwrap_or_default(), context.out);
        self.exchange = match (&action, &self.exchange) {
            (Action::Send { range, .. }, _) => return self.piece(range.clone(), context),
            // In the middle of a message of the body, or before its first.
            (Action::Receive | Action::Discard, Exchange::Receiving(left)) => Exchange::Receiving(*left),
            (Action::Run(Command::Put(_)) | Action::Receive | Action::Discard, _) => Exchange::Receiving(0),
            (Action::Run(_), _) => Exchange::Asking,
            _ => Exchange::Header,
        };
        action
    }

    /// Sends the first of these bytes as one message; the others follow it.
    fn piece(&mut self, range: Range<u64>, context: &mut Context<'_>) -> Action {
        let end = range.end.min(range.start.saturating_add(PIECE_LEN_MAX));
        if range.start < end {
            frames::write_header(end - range.start, context.out);
        }
        self.exchange = Exchange::Sending(end..range.end);
        Action::Send { range: range.start..end, hash: Hash::None }
    }

    /// The content of a PUT, in messages with a length that counts bytes.
    fn content(&mut self, raw: &[u8], payload_max: usize) -> Result<BodyPart, Failure> {
        let Exchange::Receiving(left) = &mut self.exchange else { return Err(Failure::Internal) };
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
    fn streamed(
        &mut self,
        mut streaming: Box<Streaming>,
        answer: Result<Answer, Failure>,
        context: &mut Context<'_>,
    ) -> Action {
        match answer {
            Ok(Answer::Created) => {
                self.exchange = Exchange::Streaming(streaming);
                Action::Receive
            }
            Ok(_) => streaming.text.done(Some(&streaming.key), context),
            Err(failure @ (Failure::TimedOut | Failure::Malformed(_))) => stop(failure, context),
            Err(failure) => {
                let over = streaming.text.extent.is_over();
                streaming.text.purpose = Purpose::Lost;
                let then = if over { Action::Next } else { self.read_on(streaming.text) };
                refuse(failure, context, then)
            }
        }
    }
}

impl Protocol for LengthPrefix {
    fn opened(&mut self, context: &mut Context<'_>) -> Action {
        context.notes.push("[NEW CONNECTION]".to_owned());
        Action::More
    }

    fn decode(&mut self, input: &[u8], context: &mut Context<'_>) -> (usize, Action) {
        match std::mem::take(&mut self.exchange) {
            Exchange::Text(text) => self.text(text, input, context),
            _ => self.head(input, context),
        }
    }

    fn ended(&mut self, held: &[u8], context: &mut Context<'_>) -> Action {
        let action = match std::mem::take(&mut self.exchange) {
            Exchange::Text(mut text) => match text.extent.silence() {
                Decided::Over => self.complete(text, context),
                Decided::LookAgain => self.text(text, held, context).1,
                Decided::Nothing => Action::More,
            },
            _ if held.is_empty() => {
                context.notes.push("[CLIENT_DISCONNECTED]".to_owned());
                return Action::Close(CloseReason::PeerClosed);
            }
            _ => Action::More,
        };
        match action {
            Action::More => refuse(CUT_SHORT, context, Action::Close(CloseReason::CutShort)),
            action => action,
        }
    }

    fn quiet_after(&self) -> Option<Duration> {
        let extent = match &self.exchange {
            Exchange::Text(text) => &text.extent,
            Exchange::Streaming(streaming) => &streaming.text.extent,
            _ => return None,
        };
        extent.awaits_silence().then_some(GRACE)
    }

    fn quiet(&mut self, held: &[u8], context: &mut Context<'_>) -> (usize, Action) {
        match std::mem::take(&mut self.exchange) {
            Exchange::Text(mut text) => match text.extent.silence() {
                Decided::Over => (0, self.complete(text, context)),
                Decided::LookAgain => self.text(text, held, context),
                Decided::Nothing => {
                    self.exchange = Exchange::Text(text);
                    (0, Action::More)
                }
            },
            exchange => {
                self.exchange = exchange;
                (0, Action::More)
            }
        }
    }

    fn body_quiet(&mut self) -> Then {
        let Exchange::Streaming(streaming) = &mut self.exchange else { return Then::Wait };
        match streaming.text.extent.silence() {
            Decided::Over => Then::End,
            Decided::LookAgain => Then::Look,
            Decided::Nothing => Then::Wait,
        }
    }

    fn answered(&mut self, answer: Result<Answer, Failure>, context: &mut Context<'_>) -> Action {
        match std::mem::take(&mut self.exchange) {
            Exchange::Keeping(text, key, taken) => match answer {
                Ok(_) => text.done(Some(&key), context),
                Err(Failure::PreconditionFailed) if taken < TAKEN_MAX => self.keep(text, taken + 1, context),
                Err(failure) => refuse(failure, context, Action::Next),
            },
            Exchange::Streaming(streaming) => self.streamed(streaming, answer, context),
            // The engine gave up waiting.
            Exchange::Header | Exchange::Text(_) => stop(answer.err().unwrap_or(Failure::Internal), context),
            exchange => {
                self.exchange = exchange;
                self.framed(context, |line, context| line.answered(answer, context))
            }
        }
    }

    fn body(&mut self, raw: &[u8], payload_max: usize) -> Result<BodyPart, Failure> {
        let Exchange::Streaming(streaming) = &mut self.exchange else { return self.content(raw, payload_max) };
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
        match &self.exchange {
            Exchange::Streaming(streaming) => streaming.text.extent.left_min(),
            _ => self.line.body_left(),
        }
    }

    fn body_ended(&mut self) -> Result<(), Failure> {
        match &mut self.exchange {
            Exchange::Streaming(streaming) => match streaming.text.extent.silence() {
                Decided::Over => Ok(()),
                Decided::LookAgain | Decided::Nothing => Err(CUT_SHORT),
            },
            _ => Err(CUT_SHORT),
        }
    }

    fn finish(&mut self, digest: Option<[u8; 32]>) -> Result<Finish, Failure> {
        match &mut self.exchange {
            Exchange::Streaming(streaming) => Ok(Finish { key: None, prepend: std::mem::take(&mut streaming.before) }),
            _ => self.line.finish(digest),
        }
    }

    fn sent(&mut self, digest: Option<[u8; 32]>, context: &mut Context<'_>) -> Action {
        match std::mem::take(&mut self.exchange) {
            Exchange::Sending(rest) if !rest.is_empty() => self.piece(rest, context),
            _ => self.framed(context, |line, context| line.sent(digest, context)),
        }
    }
}

const CUT_SHORT: Failure = Failure::Malformed("the connection ended in the middle of a message");

/// Says `ERROR …`, and hands back what is to be done then.
fn refuse(failure: Failure, context: &mut Context<'_>, then: Action) -> Action {
    context.refused = Some(failure);
    frames::write_message(format!("ERROR {failure}").as_bytes(), context.out);
    then
}

/// As [`refuse`], where the conversation cannot continue.
fn stop(failure: Failure, context: &mut Context<'_>) -> Action {
    refuse(failure, context, Action::Close(close_reason(failure)))
}

/// A new file in the inbox.
fn absent(key: Key, len: Option<u64>) -> Put {
    Put { precondition: Precondition::Absent, ..Put::new(key, len) }
}
