//! Pickled dictionaries: the dialect of a classroom server that gives every client an id.
//!
//! ```text
//! S  {'clientid': 50851}                    right after accept
//! C  {'student_name': 'Ada', 'github_username': 'ada', 'sid': 1}
//! S  'server got the data'                  the client then only listens
//!
//! C  {'put': 'notes.txt', 'data': b'hello'} C  {'get': 'notes.txt'}
//! S  {'stored': 'notes.txt', 'size': 5}     S  {'name': 'notes.txt', 'data': b'hello'}
//!
//! C  (anything that is refused)             C  (nothing, for as long as is allowed)
//! S  {'error': 'no such file or directory: x'}
//!    (100 ms after the peer has that)
//! S  None, end                              S  None, end
//! ```
//!
//! The clients take whatever one `recv` gives them for one message, so every answer leaves in one
//! send (a file that is fetched may need more), and no answer follows another that may still be
//! unread: between answers to messages that came together there is a pause. `None` makes a client
//! leave its loop; an end alone would make it fail.
//!
//! `wire::pickle` has the format. Nothing but plain data is ever decoded: a pickle that names a
//! class or calls something is refused by its opcode. A message has to fit into the message limit.
//! With `inbox=FOLDER` a dictionary that is no request is kept there as JSON before the answer.

mod request;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::command::{Answer, Command, Put};
use crate::config::Limits;
use crate::dialect::legacy::{Inbox, close_reason, refuse_http};
use crate::dialect::protocol::{Action, Context, Hash, Protocol};
use crate::dialect::spec::{Dialect, OptionError, Options, Traits};
use crate::error::{CloseReason, Failure};
use crate::object::{Key, Meta, Precondition, Stored};
use crate::wire::pickle::{self, BytesHead, Item, Scanner, Strings};
use crate::wire::{json, key};
use request::{Request, request, shown};

/// Between two answers that a client could otherwise read as one.
const GAP: Duration = Duration::from_millis(100);
/// The answer to a dictionary that is no request.
const GOT_IT: &str = "server got the data";
/// What the connections of one listener share.
#[derive(Debug, Default)]
pub struct Listener {
    inbox: Inbox,
}

impl Dialect for Listener {
    type Protocol = Pickle;

    const TRAITS: Traits = Traits {
        legacy_address: Some("127.0.0.1:12000"),
        options: &[Inbox::OPTION],
        decodes_slowly: true,
        holds_messages: true,
        ..Traits::named("pickle")
    };

    fn listen(options: &Options, started_s: u64) -> Result<Self, OptionError> {
        Ok(Self { inbox: Inbox::of(options, started_s, 0)? })
    }

    fn accept(self: Arc<Self>, peer: SocketAddr) -> Pickle {
        Pickle {
            listener: self,
            client: peer.port(),
            idle_after: Limits::default().live.idle_timeout,
            exchange: Exchange::Listening(Scanner::default()),
            has_more: false,
            work: 0,
        }
    }
}

#[derive(Debug)]
pub struct Pickle {
    listener: Arc<Listener>,
    /// The peer's port.
    client: u16,
    idle_after: Duration,
    exchange: Exchange,
    /// More had arrived when the last message was taken.
    has_more: bool,
    /// See [`Protocol::take_work`].
    work: usize,
}

#[derive(Debug)]
enum Exchange {
    Listening(Scanner),
    Storing(Key),
    Keeping,
    /// A file is opened, or on its way.
    Fetching(Box<Fetch>),
    /// An answer is given time to be read.
    Answered,
    /// The last answer is given time to be read.
    Parting(CloseReason),
}

#[derive(Debug)]
struct Fetch {
    key: Key,
    strings: Strings,
    /// Output after the content.
    trailer: Vec<u8>,
}

impl Pickle {
    fn message(&mut self, message: &[u8], context: &mut Context<'_>) -> Result<Action, Failure> {
        let (document, work) = pickle::decode_counted(message);
        self.work += work;
        let document = document?;
        match request(&document)? {
            Request::Put { name, data } => {
                let key = open_for_change(name, data.len(), context)?;
                self.exchange = Exchange::Storing(key.clone());
                Ok(store(key, Precondition::None, data.to_vec()))
            }
            Request::Get { name } => {
                let key = key::relative(name)?;
                context.check_serving()?;
                let fetch = Fetch { key: key.clone(), strings: document.strings(), trailer: Vec::new() };
                self.exchange = Exchange::Fetching(Box::new(fetch));
                Ok(Action::Run(Command::Get { key }))
            }
            Request::Message => {
                context.notes.push(shown(&document));
                let Some(key) = self.listener.inbox.name(format_args!("{}.json", self.client)) else {
                    context.out.append(&mut pickle::text(GOT_IT));
                    return Ok(self.done());
                };
                let kept = json::line(&document, context.limits.fixed.message_bytes_max)?;
                let key = open_for_change(key?.as_str(), kept.len(), context)?;
                self.exchange = Exchange::Keeping;
                Ok(store(key, Precondition::Absent, kept.into_bytes()))
            }
        }
    }

    /// An answer is complete. If the next message had come with this one, the next answer must
    /// not reach the client together with this one.
    fn done(&mut self) -> Action {
        if self.has_more {
            self.exchange = Exchange::Answered;
            return Action::Pause(GAP);
        }
        self.exchange = Exchange::Listening(Scanner::default());
        Action::Next
    }

    /// Sends the reason and, once that can have been read, `None`.
    fn part(&mut self, failure: Failure, context: &mut Context<'_>) -> Action {
        let words = match &self.exchange {
            Exchange::Storing(key) => format!("{failure}: {}", key.as_str()),
            Exchange::Fetching(fetch) => format!("{failure}: {}", fetch.key.as_str()),
            Exchange::Listening(_) | Exchange::Keeping | Exchange::Answered | Exchange::Parting(_) => {
                failure.to_string()
            }
        };
        context.out.append(&mut pickle::dict(&[("error", Item::Text(&words))]));
        self.exchange = Exchange::Parting(match failure {
            Failure::TimedOut => CloseReason::HeadTimeout,
            failure => close_reason(failure),
        });
        Action::Pause(GAP)
    }

    fn refuse(&mut self, failure: Failure, context: &mut Context<'_>) -> Action {
        context.refused = Some(failure);
        self.part(failure, context)
    }

    /// The file is open: its content goes between what is said before and after it.
    fn fetched(&mut self, meta: &Meta, context: &mut Context<'_>) -> Action {
        let Exchange::Fetching(fetch) = &mut self.exchange else { return Action::Close(CloseReason::Internal) };
        let most = context.limits.fixed.message_bytes_max as u64;
        let head = u32::try_from(meta.len).ok().filter(|_| meta.len <= most);
        let head = head.map(|len| pickle::bytes_entry("name", fetch.key.as_str(), "data", len, fetch.strings));
        let fits = |head: &BytesHead| meta.len + (head.before.len() + head.trailer.len()) as u64 <= most;
        let Some(mut head) = head.filter(fits) else {
            return self.refuse(Failure::TooLarge, context);
        };
        context.out.append(&mut head.before);
        fetch.trailer = head.trailer;
        Action::Send { range: 0..meta.len, hash: Hash::None }
    }
}

fn store(key: Key, precondition: Precondition, content: Vec<u8>) -> Action {
    let put = Put { precondition, ..Put::new(key, Some(content.len() as u64)) };
    Action::Store(put, content)
}

/// Checks that this many bytes may be stored under this name.
fn open_for_change(name: &str, len: usize, context: &Context<'_>) -> Result<Key, Failure> {
    let key = key::relative(name)?;
    context.check_serving()?;
    if len as u64 > context.limits.live.request_bytes_max {
        return Err(Failure::TooLarge);
    }
    Ok(key)
}

impl Protocol for Pickle {
    fn opened(&mut self, context: &mut Context<'_>) -> Action {
        self.idle_after = context.limits.live.idle_timeout;
        context.notes.push(format!("[NEW CONNECTION] client id {}", self.client));
        context.out.append(&mut pickle::dict(&[("clientid", Item::Int(self.client.into()))]));
        Action::More
    }

    fn decode(&mut self, input: &[u8], context: &mut Context<'_>) -> (usize, Action) {
        let Exchange::Listening(scanner) = &mut self.exchange else { return (0, Action::Close(CloseReason::Internal)) };
        // No dictionary begins so.
        if let Some(action) = refuse_http(input, context) {
            return (0, action);
        }
        match scanner.find(input, context.limits.fixed.message_bytes_max) {
            Ok(None) => (0, Action::More),
            Ok(Some(len)) => {
                self.has_more = input.len() > len;
                let action = self.message(&input[..len], context);
                (len, action.unwrap_or_else(|failure| self.refuse(failure, context)))
            }
            Err(failure) => (0, self.refuse(failure, context)),
        }
    }

    fn take_work(&mut self) -> usize {
        std::mem::take(&mut self.work)
    }

    fn ended(&mut self, held: &[u8], context: &mut Context<'_>) -> Action {
        if held.is_empty() {
            return Action::Close(CloseReason::PeerClosed);
        }
        self.refuse(Failure::Malformed("the connection ended in the middle of a message"), context)
    }

    /// Only the silence between messages; one that stops half-way is a matter of the limits.
    fn quiet_after(&self) -> Option<Duration> {
        matches!(self.exchange, Exchange::Listening(_)).then_some(self.idle_after)
    }

    fn quiet(&mut self, held: &[u8], context: &mut Context<'_>) -> (usize, Action) {
        if !held.is_empty() {
            return (0, self.refuse(Failure::TimedOut, context));
        }
        context.out.extend_from_slice(pickle::NONE);
        (0, Action::Close(CloseReason::IdleTimeout))
    }

    fn paused(&mut self, context: &mut Context<'_>) -> Action {
        let Exchange::Parting(reason) = self.exchange else {
            self.exchange = Exchange::Listening(Scanner::default());
            return Action::Next;
        };
        context.out.extend_from_slice(pickle::NONE);
        Action::Close(reason)
    }

    fn answered(&mut self, answer: Result<Answer, Failure>, context: &mut Context<'_>) -> Action {
        match (answer, &self.exchange) {
            (Err(failure), _) => self.part(failure, context),
            (Ok(Answer::Stored(Stored { meta, .. })), Exchange::Storing(key)) => {
                context.notes.push(format!("File written {}", key.as_str()));
                let stored = [("stored", Item::Text(key.as_str())), ("size", Item::Int(meta.len))];
                context.out.append(&mut pickle::dict(&stored));
                self.done()
            }
            (Ok(Answer::Stored(..)), Exchange::Keeping) => {
                context.out.append(&mut pickle::text(GOT_IT));
                self.done()
            }
            (Ok(Answer::Opened(meta)), Exchange::Fetching(_)) => self.fetched(&meta, context),
            (Ok(_), _) => Action::Close(CloseReason::Internal),
        }
    }

    fn sent(&mut self, _digest: Option<[u8; 32]>, context: &mut Context<'_>) -> Action {
        let Exchange::Fetching(fetch) = &mut self.exchange else { return Action::Close(CloseReason::Internal) };
        context.out.append(&mut fetch.trailer);
        self.done()
    }
}
