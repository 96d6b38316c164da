//! The `name-choice` protocol: a count, then one file up or down per connection.
//!
//! ```text
//! C  3c.txt:PUT          C  3c.txt:GET          C  3c.txt:GET (no such file)
//! S  Done                S  Done                S  Done
//! C  content, closes     S  content, closes     S  File not found. Try again.   (closes)
//! ```
//!
//! `3` is how many connections the client program will open, one after the other; it is
//! information only. An older client sends no count and waits for no `Done`: content follows
//! `c.txt:PUT` at once, and `c.txt:GET` is answered by the content alone. `wire::name_choice` has
//! the grammar; this file has the meaning.
//!
//! `Done` leaves alone, in one send, and nothing before it. It is said when the file is open or
//! the upload may begin: a client that is refused an upload sees a reset instead and does not take
//! its file for stored. An unknown choice gets `Done` and the end, whereupon its client
//! says by itself what choices there are. An upload ends with the stream; one of exactly the text
//! above is a client that has no such file, and changes nothing.
//!
//! It never ends because some number of clients has been served, never empties a file while its new
//! content does not come, and never makes one client wait for another.
//!
//! One file, although it is long: options, refusals, limits and states of the dialect are read together.

mod body;
mod counts;
mod reading;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::command::{Answer, Command, Put};
use crate::dialect::protocol::{Action, BodyPart, Context, Finish, Hash, Phase, Protocol};
use crate::dialect::spec::{Dialect, Traits};
use crate::error::{CloseReason, Failure};
use crate::object::Key;
use crate::wire::http::opening::{NOT_HTTP, is_path_request};
use crate::wire::name_choice::{self as wire, Choice, Client, Cut};
use body::{Body, MISSING};
use counts::Counts;
use reading::Reading;

/// Sent once the request is understood.
const DONE: &[u8] = b"Done";
/// Digits with nothing after them for this long are a count that came alone: its client sends the
/// name in the next breath.
const COUNT_ALONE: Duration = Duration::from_millis(20);
/// A choice is three letters in one send; what is still none after this long will be none.
const CHOICE_QUIET: Duration = Duration::from_secs(1);
/// The name was typed before the connection was made, so nothing keeps it.
const NAME_QUIET: Duration = Duration::from_secs(10);

/// What the connections of one listener share.
#[derive(Debug, Default)]
pub struct Listener {
    counts: Mutex<Counts>,
}

impl Dialect for Listener {
    type Protocol = NameChoice;

    const TRAITS: Traits =
        Traits { legacy_address: Some("127.0.0.1:50000"), end_means_success: true, ..Traits::named("name-choice") };

    fn accept(self: Arc<Self>, peer: SocketAddr) -> NameChoice {
        // A client reached over both families is the same client.
        let peer = peer.ip().to_canonical();
        NameChoice { listener: self, peer, count: Count::Unknown, exchange: Exchange::Awaiting(Held::Name) }
    }
}

impl Listener {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        // What a thread that panicked has left is still a list of counts.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub struct NameChoice {
    listener: Arc<Listener>,
    peer: IpAddr,
    count: Count,
    exchange: Exchange,
}

/// What is known of the count before the request is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    /// Nothing: it came together with the name, or not at all.
    Unknown,
    /// This many digits were there with nothing after them.
    Seen(usize),
    /// It came alone, and has been used up.
    Alone,
}

#[derive(Debug)]
enum Exchange {
    /// The request is not whole yet.
    Awaiting(Held),
    /// An upload, from the request on.
    Put { client: Client, key: Key, body: Body },
    /// A file is looked for under these names, the likeliest first.
    Get { client: Client, readings: VecDeque<Reading>, source: CountSource },
    /// `Done` was sent; the open file follows.
    Sending { key: Key, len: u64 },
    /// `Done` was sent; that there is no such file follows.
    Missing,
    /// Nothing more is sent.
    Over,
}

/// How count and name were separated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CountSource {
    Certain,
    /// The file that is there will tell.
    ByFile,
}

/// What part of a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// Nothing, or no `:` yet.
    Name,
    /// What may be a count.
    Digits,
    /// A `:`.
    Choice,
}

impl NameChoice {
    fn client(&self, input: &[u8]) -> Client {
        match input.first() {
            _ if self.count == Count::Alone => Client::Waits,
            Some(first) if first.is_ascii_digit() => Client::Waits,
            Some(_) | None => Client::Pushes,
        }
    }

    /// Remembers what has come so far.
    fn keep(&mut self, input: &[u8], part: Held) {
        let digits = wire::digits(input);
        let all_digits = self.count != Count::Alone && digits == input.len() && wire::count(input).is_some();
        self.exchange = Exchange::Awaiting(if all_digits { Held::Digits } else { part });
        if all_digits {
            self.count = Count::Seen(digits);
        }
    }

    fn request(&mut self, label: &[u8], choice: Choice, client: Client, context: &mut Context<'_>) -> Action {
        let readings = match self.count {
            _ if client == Client::Pushes => Reading::alone(label),
            Count::Alone => Reading::alone(label),
            Count::Seen(digits) => Reading::all(label, self.expected_count(), Some(digits)),
            Count::Unknown => Reading::all(label, self.expected_count(), None),
        };
        // The first is certain if it is the only one; digits that came first are as good.
        let certain = readings.len() == 1 || matches!(self.count, Count::Seen(_));
        let source = if certain { CountSource::Certain } else { CountSource::ByFile };
        if let Some(Reading { count: Some(count), .. }) = readings.front().filter(|_| source == CountSource::Certain) {
            self.announce(*count, context);
        }
        match choice {
            _ if context.phase == Phase::Draining => self.refuse(Failure::Draining, context),
            Choice::Get => {
                self.exchange = Exchange::Get { client, readings, source };
                self.look(Failure::Malformed("the request has no name"), context)
            }
            Choice::Put => {
                if source == CountSource::ByFile {
                    context
                        .notes
                        .push("count and name cannot be distinguished: one digit is taken for the count".to_owned());
                }
                match readings.into_iter().next().map(|reading| reading.key) {
                    Some(Ok(key)) => self.put(client, key),
                    Some(Err(failure)) => self.refuse(failure, context),
                    None => self.refuse(Failure::Internal, context),
                }
            }
        }
    }

    fn expected_count(&self) -> Option<u16> {
        self.listener.counts().expected(self.peer)
    }

    fn announce(&self, count: u16, context: &mut Context<'_>) {
        self.listener.counts().announced(self.peer, count);
        context.notes.push(format!("[NEW CONNECTION] one of {count}"));
    }

    fn put(&mut self, client: Client, key: Key) -> Action {
        self.exchange = Exchange::Put { client, key: key.clone(), body: Body::Like(0) };
        Action::Run(Command::Put(Put::new(key, None)))
    }

    /// Looks for the file under the next name. `failure` is what came of the one before.
    fn look(&mut self, mut failure: Failure, context: &mut Context<'_>) -> Action {
        let Exchange::Get { client, readings, .. } = &mut self.exchange else {
            return Action::Reset(CloseReason::Internal);
        };
        while let Some(reading) = readings.front() {
            match &reading.key {
                Ok(key) => return Action::Run(Command::Get { key: key.clone() }),
                Err(bad) => failure = *bad,
            }
            readings.pop_front();
        }
        context.refused = Some(failure);
        match client {
            Client::Waits => {
                context.out.extend_from_slice(DONE);
                self.exchange = Exchange::Missing;
                Action::Pause(Duration::ZERO)
            }
            Client::Pushes => self.missing(context),
        }
    }

    fn missing(&mut self, context: &mut Context<'_>) -> Action {
        context.out.extend_from_slice(MISSING);
        self.exchange = Exchange::Over;
        Action::Close(CloseReason::Refused)
    }

    /// A client that can be sent no error sees a reset, not a success.
    fn refuse(&mut self, failure: Failure, context: &mut Context<'_>) -> Action {
        context.refused = Some(failure);
        self.exchange = Exchange::Over;
        Action::Reset(CloseReason::Refused)
    }

    /// The input has a `:`, and no known choice.
    fn unknown_choice(&mut self, client: Client, context: &mut Context<'_>) -> Action {
        context.refused = Some(Failure::Malformed("the choice is neither PUT nor GET"));
        self.exchange = Exchange::Over;
        context.out.extend_from_slice(match client {
            Client::Waits => DONE,
            Client::Pushes => MISSING,
        });
        Action::Close(CloseReason::Refused)
    }

    fn opened(&mut self, len: u64, context: &mut Context<'_>) -> Action {
        let Exchange::Get { client, readings, source } = &mut self.exchange else {
            return Action::Reset(CloseReason::Internal);
        };
        let (client, source) = (*client, *source);
        let Some(Reading { count, key: Ok(key) }) = readings.pop_front() else {
            return Action::Reset(CloseReason::Internal);
        };
        self.exchange = Exchange::Sending { key, len };
        if let Some(count) = count.filter(|_| source == CountSource::ByFile) {
            self.announce(count, context);
        }
        match client {
            Client::Waits => {
                context.out.extend_from_slice(DONE);
                Action::Pause(Duration::ZERO)
            }
            Client::Pushes => Action::Send { range: 0..len, hash: Hash::None },
        }
    }

    fn failed(&mut self, failure: Failure, context: &mut Context<'_>) -> Action {
        match &mut self.exchange {
            Exchange::Get { readings, .. } => match failure {
                Failure::NotFound | Failure::Conflict(_) | Failure::Denied(_) | Failure::Malformed(_) => {
                    readings.pop_front();
                    self.look(failure, context)
                }
                _ => self.refuse(failure, context),
            },
            Exchange::Put { body, key, .. } if body.is_missing() && failure == Failure::NotFound => {
                context.notes.push(format!("the client has no such file, nothing was stored: {key}"));
                self.exchange = Exchange::Over;
                Action::Close(CloseReason::Finished)
            }
            Exchange::Awaiting(_) => {
                self.exchange = Exchange::Over;
                Action::Close(if failure == Failure::TimedOut {
                    CloseReason::HeadTimeout
                } else {
                    CloseReason::Refused
                })
            }
            Exchange::Put { .. } | Exchange::Sending { .. } | Exchange::Missing | Exchange::Over => {
                self.refuse(failure, context)
            }
        }
    }
}

impl Protocol for NameChoice {
    fn decode(&mut self, input: &[u8], context: &mut Context<'_>) -> (usize, Action) {
        // A path that a page chose may end in `:PUT`, and its body would be the file.
        if self.count != Count::Alone && is_path_request(input) {
            return (0, self.refuse(Failure::Malformed(NOT_HTTP), context));
        }
        let client = self.client(input);
        match wire::cut(input, client) {
            Cut::Name => self.keep(input, Held::Name),
            Cut::Choice => self.keep(input, Held::Choice),
            Cut::Request(label, choice, used) => return (used, self.request(label, choice, client, context)),
            Cut::Mixed => return (input.len(), self.unknown_choice(client, context)),
            Cut::TooLong => {
                let action = self.unknown_choice(client, context);
                context.refused = Some(Failure::Malformed("the request is longer than 4096 bytes"));
                return (input.len(), action);
            }
        }
        (0, Action::More)
    }

    fn ended(&mut self, held: &[u8], context: &mut Context<'_>) -> Action {
        match self.exchange {
            Exchange::Awaiting(Held::Choice) => self.unknown_choice(self.client(held), context),
            _ if held.is_empty() && self.count != Count::Alone => Action::Close(CloseReason::PeerClosed),
            _ => {
                context.refused = Some(Failure::Malformed("the connection ended in the middle of a request"));
                Action::Close(CloseReason::CutShort)
            }
        }
    }

    fn quiet_after(&self) -> Option<Duration> {
        match self.exchange {
            Exchange::Awaiting(Held::Digits) => Some(COUNT_ALONE),
            Exchange::Awaiting(Held::Choice) => Some(CHOICE_QUIET),
            Exchange::Awaiting(Held::Name) => Some(NAME_QUIET),
            Exchange::Put { .. }
            | Exchange::Get { .. }
            | Exchange::Sending { .. }
            | Exchange::Missing
            | Exchange::Over => None,
        }
    }

    fn quiet(&mut self, held: &[u8], context: &mut Context<'_>) -> (usize, Action) {
        match (&self.exchange, wire::count(held)) {
            (Exchange::Awaiting(Held::Digits), Some(count)) => {
                self.count = Count::Alone;
                self.exchange = Exchange::Awaiting(Held::Name);
                self.announce(count, context);
                (held.len(), Action::More)
            }
            (Exchange::Awaiting(Held::Choice), _) => (held.len(), self.unknown_choice(self.client(held), context)),
            _ => {
                self.exchange = Exchange::Over;
                if held.is_empty() && self.count != Count::Alone {
                    return (0, Action::Close(CloseReason::IdleTimeout));
                }
                context.refused = Some(Failure::TimedOut);
                (held.len(), Action::Close(CloseReason::HeadTimeout))
            }
        }
    }

    fn paused(&mut self, context: &mut Context<'_>) -> Action {
        match self.exchange {
            Exchange::Sending { len, .. } => Action::Send { range: 0..len, hash: Hash::None },
            Exchange::Missing => self.missing(context),
            _ => Action::Reset(CloseReason::Internal),
        }
    }

    fn answered(&mut self, answer: Result<Answer, Failure>, context: &mut Context<'_>) -> Action {
        match (answer, &self.exchange) {
            (Err(failure), _) => self.failed(failure, context),
            (Ok(Answer::Created), Exchange::Put { client, .. }) => {
                if *client == Client::Waits {
                    context.out.extend_from_slice(DONE);
                }
                Action::Receive
            }
            (Ok(Answer::Stored(..)), Exchange::Put { key, .. }) => {
                context.notes.push(format!("Successfully got file from client: {key}"));
                self.exchange = Exchange::Over;
                Action::Close(CloseReason::Finished)
            }
            (Ok(Answer::Opened(meta)), Exchange::Get { .. }) => self.opened(meta.len, context),
            (Ok(_), _) => Action::Reset(CloseReason::Internal),
        }
    }

    fn body(&mut self, raw: &[u8], payload_max: usize) -> Result<BodyPart, Failure> {
        let Exchange::Put { body, .. } = &mut self.exchange else { return Err(Failure::Internal) };
        let part = BodyPart::content(raw.len(), payload_max);
        body.add(&raw[..part.payload]);
        Ok(part)
    }

    /// Only the end of the stream ends it.
    fn body_left(&self) -> u64 {
        u64::MAX
    }

    fn body_ended(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn finish(&mut self, _digest: Option<[u8; 32]>) -> Result<Finish, Failure> {
        match &self.exchange {
            Exchange::Put { body, .. } if body.is_missing() => Err(Failure::NotFound),
            _ => Ok(Finish::default()),
        }
    }

    fn sent(&mut self, _digest: Option<[u8; 32]>, context: &mut Context<'_>) -> Action {
        if let Exchange::Sending { key, .. } = &self.exchange {
            context.notes.push(format!("Successfully sent file to client: {key}"));
        }
        self.exchange = Exchange::Over;
        Action::Close(CloseReason::Finished)
    }
}
