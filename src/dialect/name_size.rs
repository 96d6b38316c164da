//! `name-size`: uploads of one classroom system: its client says a name and a size, then the
//! content, and closes.
//!
//! ```text
//! C  1.csv 6          one send: name, blank, size; no end mark
//! C  1,2,3\n          the content; it may begin with digits, and arrives glued to the size
//! C  closes           that is the end of the file; the client never reads
//! ```
//!
//! An early version keeps the connection and sends the next file after two and a half seconds.
//!
//! `wire::name_size` tells where the number ends and the content begins, once the length is known.
//! Until the head cannot grow any more, and while everything fits one chunk, the bytes are held;
//! then they are streamed, and what turns out to be content at the end of the head is put before
//! them. A file is complete when the stream ends, or after a second of silence if the equation
//! holds by then and something follows the digits (or the size is 0).
//!
//! It never speaks: a byte the client did not read would turn its close into a reset, which may
//! cost the end of the upload. What is refused while the client still sends is reset. An upload
//! that is shorter or longer than announced never replaces a file: it is kept as `NAME.part`.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::command::{Answer, Command, Put};
use crate::dialect::protocol::{Action, BodyPart, Context, Finish, Phase, Protocol, Then};
use crate::dialect::spec::{Dialect, Traits};
use crate::error::{CloseReason, Failure};
use crate::object::Key;
use crate::wire::http::opening::{NOT_HTTP, has_request_line};
use crate::wire::key;
use crate::wire::name_size::{Edge, FAREWELL, Fit, HEAD_LEN_MAX, Head, chain};

/// A silence that may end a file: its client waits 2.5 seconds before the next.
const SILENCE: Duration = Duration::from_secs(1);
/// Uploads up to this are held and stored at once, if a chunk takes as much.
const HELD_LEN_MAX: usize = 4096;
/// After the name of an upload that is not whole.
const PART: &str = ".part";
const CUT_SHORT: Failure = Failure::Malformed("the upload is not as long as announced");

#[derive(Debug, Default)]
pub struct Listener;

impl Dialect for Listener {
    type Protocol = NameSize;

    const TRAITS: Traits =
        Traits { legacy_address: Some("127.0.1.1:5010"), end_means_success: true, ..Traits::named("name-size") };

    fn accept(self: Arc<Self>, peer: SocketAddr) -> NameSize {
        NameSize { peer, exchange: Exchange::Held(HeldInput::Unsure) }
    }
}

#[derive(Debug)]
pub struct NameSize {
    peer: SocketAddr,
    exchange: Exchange,
}

#[derive(Debug)]
enum Exchange {
    /// Its bytes are held by the session.
    Held(HeldInput),
    /// Its content is streamed; the store is making room, under the name of the reading with this
    /// number.
    Opening(Box<Upload>, usize),
    Streaming(Box<Upload>),
    /// It is being stored; these follow.
    Storing(UploadResult, VecDeque<(Key, Vec<u8>)>),
}

/// What a silence would mean for the bytes that are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeldInput {
    Unsure,
    Complete,
    Farewell,
}

#[derive(Debug)]
struct Upload {
    head: Head,
    /// Bytes after the head.
    came: u64,
    /// The most that is taken.
    len_max: u64,
}

/// How a file ended, for the log.
#[derive(Debug)]
enum UploadResult {
    Whole { key: Key, size: u64, notes: Vec<String> },
    Part { key: Key, announced: u64, came: u64 },
}

impl NameSize {
    /// Makes room under the name of the reading with this number. If a directory has that name, the
    /// name may still continue after the blank: then the next is tried.
    fn open(&mut self, upload: Box<Upload>, number: usize) -> Action {
        let Some(key) = upload.head.key(number).cloned() else { return Action::Reset(CloseReason::Refused) };
        self.exchange = Exchange::Opening(upload, number);
        Action::Run(Command::Put(Put::new(key, None)))
    }

    /// Everything of a small file is here.
    fn store(&mut self, fit: &Fit, held: &[u8], context: &mut Context<'_>) -> Action {
        let content = held.get(fit.content..).unwrap_or_default().to_vec();
        self.store_as(fit.key.clone(), content, UploadResult::whole(fit), VecDeque::new(), context)
    }

    fn store_as(
        &mut self,
        key: Key,
        content: Vec<u8>,
        verdict: UploadResult,
        then: VecDeque<(Key, Vec<u8>)>,
        context: &mut Context<'_>,
    ) -> Action {
        if content.len() as u64 > context.limits.live.request_bytes_max {
            return refuse(Failure::TooLarge, Action::Reset(CloseReason::Refused), context);
        }
        self.exchange = Exchange::Storing(verdict, then);
        Action::Store(Put::new(key, Some(content.len() as u64)), content)
    }

    /// The stream ended and the equation holds for no reading of it.
    fn ended_oddly(&mut self, head: &Head, held: &[u8], context: &mut Context<'_>) -> Action {
        if let Some(mut files) = chain(held).map(VecDeque::from)
            && let Some((key, content)) = files.pop_front()
        {
            context.notes.push(format!("{} files arrived without a silence between them", files.len() + 1));
            let verdict = UploadResult::Whole { key: key.clone(), size: content.len() as u64, notes: Vec::new() };
            return self.store_as(key, content, verdict, files, context);
        }
        let total = held.len() as u64;
        let Some(fit) = head.guess(total) else { return refuse(head.fault(), GONE, context) };
        let content = held.get(fit.content..).unwrap_or_default().to_vec();
        match part_of(&fit.key) {
            Ok(key) if !content.is_empty() => {
                let verdict = UploadResult::part(&fit, key.clone(), total);
                self.store_as(key, content, verdict, VecDeque::new(), context)
            }
            _ => refuse(CUT_SHORT, GONE, context),
        }
    }
}

/// For a peer that has closed already.
const GONE: Action = Action::Close(CloseReason::CutShort);

fn refuse(failure: Failure, action: Action, context: &mut Context<'_>) -> Action {
    context.refused = Some(failure);
    action
}

fn part_of(key: &Key) -> Result<Key, Failure> {
    key::relative(&format!("{}{PART}", key.as_str()))
}

/// The fit, if a silence ends this file. A head with nothing after its digits would too often be taken
/// for a whole file of digits.
fn is_whole(head: &Head, total: u64) -> Option<Fit> {
    head.fit(total).filter(|fit| fit.size == 0 || total > fit.digits_end as u64)
}

impl UploadResult {
    fn whole(fit: &Fit) -> Self {
        let mut notes = Vec::new();
        if fit.rival {
            notes.push(format!("{} is the first of several names that fit", fit.key));
        }
        if fit.size > 0 && fit.content as u64 + fit.size == fit.digits_end as u64 {
            notes.push(format!("{} holds digits only: a longer upload cut after its head looks the same", fit.key));
        }
        Self::Whole { key: fit.key.clone(), size: fit.size, notes }
    }

    fn part(fit: &Fit, key: Key, total: u64) -> Self {
        Self::Part { key, announced: fit.size, came: total.saturating_sub(fit.content as u64) }
    }

    /// The file is stored: writes that to the log.
    fn tell(self, context: &mut Context<'_>) {
        match self {
            Self::Whole { key, size, notes } => {
                context.notes.push(format!("File written {key} ({size} bytes)"));
                context.notes.extend(notes);
            }
            Self::Part { key, announced, came } => {
                context.refused = Some(CUT_SHORT);
                context.notes.push(format!("{announced} bytes were announced, {came} came: kept as {key}"));
            }
        }
    }
}

impl Upload {
    fn total(&self) -> u64 {
        self.came.saturating_add(self.head.kept_len() as u64)
    }

    /// The final name, and what of the head is content.
    fn finish(&self) -> Result<(UploadResult, Finish), Failure> {
        let total = self.total();
        let (verdict, key, content) = match self.head.fit(total) {
            Some(fit) => (UploadResult::whole(&fit), fit.key, fit.content),
            None => {
                let fit = self.head.guess(total).ok_or(Failure::Internal)?;
                let key = part_of(&fit.key)?;
                (UploadResult::part(&fit, key.clone(), total), key, fit.content)
            }
        };
        if total - content as u64 > self.len_max {
            return Err(Failure::TooLarge);
        }
        let prepend = self.head.kept_from(content).to_vec();
        Ok((verdict, Finish { key: Some(key), prepend }))
    }
}

impl Protocol for NameSize {
    fn opened(&mut self, context: &mut Context<'_>) -> Action {
        context.notes.push(format!("[NEW CONNECTION] {} connected.", self.peer));
        Action::More
    }

    fn decode(&mut self, input: &[u8], context: &mut Context<'_>) -> (usize, Action) {
        // Without this, `CONNECT 127.0.0.1:443 HTTP/1.1` would be a name and a size.
        if has_request_line(input) {
            return (0, refuse(Failure::Malformed(NOT_HTTP), Action::Reset(CloseReason::Malformed), context));
        }
        let front = &input[..input.len().min(HEAD_LEN_MAX)];
        let (mut head, edge) = Head::scan(front);
        if edge == Edge::Closed && !head.is_readable() {
            return (0, refuse(head.fault(), Action::Reset(CloseReason::Malformed), context));
        }
        let held_max = HELD_LEN_MAX.min(context.limits.fixed.chunk_bytes).min(context.limits.fixed.head_len_max - 1);
        if edge == Edge::Open || input.len() <= held_max {
            self.exchange = Exchange::Held(match is_whole(&head, input.len() as u64) {
                Some(_) => HeldInput::Complete,
                None if input == FAREWELL => HeldInput::Farewell,
                None => HeldInput::Unsure,
            });
            return (0, Action::More);
        }
        if context.phase == Phase::Draining {
            return (0, refuse(Failure::Draining, Action::Reset(CloseReason::Drained), context));
        }
        let used = head.cut();
        let upload = Upload { head, came: 0, len_max: context.limits.live.request_bytes_max };
        (used, self.open(Box::new(upload), 0))
    }

    fn quiet_after(&self) -> Option<Duration> {
        let ends = match &self.exchange {
            Exchange::Held(front) => *front != HeldInput::Unsure,
            Exchange::Streaming(upload) => is_whole(&upload.head, upload.total()).is_some(),
            Exchange::Opening(..) | Exchange::Storing(..) => false,
        };
        ends.then_some(SILENCE)
    }

    fn quiet(&mut self, held: &[u8], context: &mut Context<'_>) -> (usize, Action) {
        if held == FAREWELL {
            return (held.len(), Action::Close(CloseReason::PeerClosed));
        }
        let (head, _) = Head::scan(held);
        match is_whole(&head, held.len() as u64) {
            Some(fit) => (held.len(), self.store(&fit, held, context)),
            None => (0, Action::More),
        }
    }

    fn body_quiet(&mut self) -> Then {
        match self.quiet_after() {
            Some(_) => Then::End,
            None => Then::Wait,
        }
    }

    fn ended(&mut self, held: &[u8], context: &mut Context<'_>) -> Action {
        // A client that does not find its file has connected before it looked for it.
        if held.is_empty() || held == FAREWELL {
            return Action::Close(CloseReason::PeerClosed);
        }
        let (head, _) = Head::scan(held);
        match head.fit(held.len() as u64) {
            Some(fit) => self.store(&fit, held, context),
            None => self.ended_oddly(&head, held, context),
        }
    }

    fn answered(&mut self, answer: Result<Answer, Failure>, context: &mut Context<'_>) -> Action {
        let exchange = std::mem::replace(&mut self.exchange, Exchange::Held(HeldInput::Unsure));
        match (exchange, answer) {
            (Exchange::Opening(upload, _), Ok(Answer::Created)) => {
                self.exchange = Exchange::Streaming(upload);
                Action::Receive
            }
            (Exchange::Opening(upload, number), Err(Failure::Conflict(_))) => self.open(upload, number + 1),
            (Exchange::Storing(verdict, mut then), Ok(Answer::Stored(..))) => {
                verdict.tell(context);
                match then.pop_front() {
                    Some((key, content)) => {
                        let verdict =
                            UploadResult::Whole { key: key.clone(), size: content.len() as u64, notes: Vec::new() };
                        self.store_as(key, content, verdict, then, context)
                    }
                    None => Action::Next,
                }
            }
            (Exchange::Held(_), Err(Failure::TimedOut)) => Action::Reset(CloseReason::HeadTimeout),
            (_, Err(Failure::TimedOut)) => Action::Reset(CloseReason::TooSlow),
            (_, Err(_)) => Action::Reset(CloseReason::Refused),
            (_, Ok(_)) => Action::Reset(CloseReason::Internal),
        }
    }

    fn body(&mut self, raw: &[u8], payload_max: usize) -> Result<BodyPart, Failure> {
        let Exchange::Streaming(upload) = &mut self.exchange else { return Err(Failure::Internal) };
        let part = BodyPart::content(raw.len(), payload_max);
        upload.came = upload.came.checked_add(part.payload as u64).ok_or(Failure::TooLarge)?;
        Ok(part)
    }

    fn body_left(&self) -> u64 {
        u64::MAX
    }

    fn body_ended(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn finish(&mut self, _digest: Option<[u8; 32]>) -> Result<Finish, Failure> {
        let Exchange::Streaming(upload) = &self.exchange else { return Err(Failure::Internal) };
        let (verdict, finish) = upload.finish()?;
        self.exchange = Exchange::Storing(verdict, VecDeque::new());
        Ok(finish)
    }
}
