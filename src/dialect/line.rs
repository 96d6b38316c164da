//! The `line` protocol: for people with `nc`, for microcontrollers, for benches.
//!
//! ```text
//! C  PUT 6 /hello.txt\n                     C  GET /hello.txt\n
//! C  hello\n                                S  OK 6 etag=… mtime=…\n
//! S  OK 0 etag=… stored=durable\n           S  hello\n
//! ```
//!
//! One line asks, one line answers, a counted body may follow either. Requests may be pipelined;
//! replies come in order. `wire::line` has the grammar; this file has the meaning. It never
//! guesses where the next request begins: where that is not certain, the connection closes.

mod options;
mod say;
mod upload;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::command::{Answer, Command, Put};
use crate::dialect::protocol::{Action, BodyPart, Context, Finish, Phase, Protocol};
use crate::dialect::spec::{Dialect, Secret, Traits};
use crate::error::{CloseReason, Failure};
use crate::object::{ExpectedKind, Key, Meta, Node};
use crate::wire::key::{self, Path};
use crate::wire::line::{self, Request};
use crate::wire::range::{ByteRange, decimal};
use options::{OnlyIf, Options};
pub(super) use say::refuse;
use say::{say_listing, say_node, say_opened, say_stored};
use upload::{Framing, PutExchange};

pub const TURNED_AWAY: &[u8] = b"ERR 429 retry=1 the server has as many connections as it takes\n";
#[derive(Debug, Default)]
pub struct Listener;

impl Dialect for Listener {
    type Protocol = Line;

    const TRAITS: Traits = Traits {
        turned_away: TURNED_AWAY,
        client_speaks_first: true,
        half_closes_after_request: true,
        secret: Secret::Required,
        ..Traits::named("line")
    };

    fn accept(self: Arc<Self>, _peer: SocketAddr) -> Line {
        Line::default()
    }
}

#[derive(Debug, Default)]
pub struct Line {
    /// The peer has shown the secret.
    is_admitted: bool,
    /// Malformed requests in a row.
    malformed: u32,
    exchange: Exchange,
}

#[derive(Debug, Default)]
enum Exchange {
    #[default]
    None,
    Put(Box<PutExchange>),
    Get(Box<GetExchange>),
    /// STAT, or GET of a name that ends in `/`.
    Stat {
        key: Key,
        verb: StatVerb,
    },
    /// LIST, DELETE, MKDIR, RENAME: nothing to remember but the name, for the message.
    Plain(Key),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StatVerb {
    Get,
    Stat,
    StatDir,
}

#[derive(Debug)]
struct GetExchange {
    key: Key,
    range: Option<ByteRange>,
    only: Option<OnlyIf>,
    has_trailer: bool,
}

impl Line {
    fn request(&mut self, text: &[u8], context: &mut Context<'_>) -> Action {
        if let Some(secret) = text.strip_prefix(b"AUTH ") {
            return self.auth(secret, context);
        }
        let request = match line::request(text) {
            Ok(request) => request,
            // Without a verb it is not known whether a body follows, except after a blank line.
            Err(failure) if text.is_empty() => return refuse(failure, None, context, Action::Next),
            Err(failure) => return refuse(failure, None, context, Action::Close(CloseReason::Malformed)),
        };
        if request.verb == "QUIT" {
            context.out.extend_from_slice(b"OK 0\n");
            return Action::Close(CloseReason::Finished);
        }
        if request.verb == "PUT" {
            return self.put(&request, context);
        }
        if !self.admitted(context) {
            return refuse(Failure::Unauthorized, None, context, Action::Next);
        }
        if context.phase == Phase::Draining {
            return refuse(Failure::Draining, None, context, Action::Close(CloseReason::Drained));
        }
        let decided = match request.verb {
            "GET" => self.get(&request),
            "LIST" => self.list(&request, context),
            "STAT" => self.stat(&request),
            "DELETE" => self.delete(&request),
            "MKDIR" => self.make_dir(&request),
            "RENAME" => self.rename(&request),
            "PING" => {
                context.out.extend_from_slice(b"OK 0\n");
                Ok(Action::Next)
            }
            _ => {
                let failure = Failure::Malformed("unknown verb");
                return refuse(failure, None, context, Action::Close(CloseReason::Malformed));
            }
        };
        decided.unwrap_or_else(|failure| refuse(failure, None, context, Action::Next))
    }

    /// A line of one byte costs a reply and a line of the log: not again and again.
    fn limit_malformed(&mut self, action: Action, context: &Context<'_>) -> Action {
        if !matches!(context.refused, Some(Failure::Malformed(_))) {
            self.malformed = 0;
            return action;
        }
        self.malformed += 1;
        if self.malformed < context.limits.malformed_lines_max { action } else { Action::Close(CloseReason::Malformed) }
    }

    fn admitted(&self, context: &Context<'_>) -> bool {
        self.is_admitted || !context.access.needs_secret()
    }

    fn auth(&mut self, secret: &[u8], context: &mut Context<'_>) -> Action {
        if context.access.admits(secret) {
            self.is_admitted = true;
            context.out.extend_from_slice(b"OK 0\n");
            return Action::Next;
        }
        context.wrong_secret = true;
        refuse(Failure::Unauthorized, None, context, Action::Close(CloseReason::Refused))
    }

    /// A PUT that is refused still has a body on its way; where its end is certain it is thrown
    /// away and the conversation goes on.
    fn put(&mut self, request: &Request<'_>, context: &mut Context<'_>) -> Action {
        let framing = match request.word {
            Some("*") => Framing::ChunkLine,
            size => match size.and_then(decimal) {
                Some(left) => Framing::Counted(left),
                None => {
                    let failure = Failure::Malformed("PUT needs a size or *");
                    return refuse(failure, None, context, Action::Close(CloseReason::Malformed));
                }
            },
        };
        let has_trailer = request.options.contains(&("trailer", "sha256"));
        // With resume= the client sends nothing before it is told GO.
        let waits = request.options.iter().any(|(name, _)| *name == "resume");
        let key = key::absolute(request.path).map_or_else(|_| Key::root(), |path| path.key);
        self.exchange = Exchange::Put(Box::new(PutExchange::new(key, framing, has_trailer)));
        match self.put_command(request, context) {
            Ok(command) => Action::Run(command),
            Err(Failure::Draining) => refuse(Failure::Draining, None, context, Action::Close(CloseReason::Drained)),
            Err(failure) => refuse(failure, None, context, if waits { Action::Next } else { Action::Discard }),
        }
    }

    fn put_command(&mut self, request: &Request<'_>, context: &Context<'_>) -> Result<Command, Failure> {
        if !self.admitted(context) {
            return Err(Failure::Unauthorized);
        }
        context.check_serving()?;
        let options = Options::parse(request, &["if", "mtime", "resume", "sha256", "trailer"])?;
        let path = path_of(request.path)?;
        if path.expected_kind == ExpectedKind::Dir {
            return Err(Failure::Malformed("the path of a PUT must not end in /"));
        }
        if options.resume {
            return Err(Failure::NotImplemented("resume= is not offered"));
        }
        let len = request.word.and_then(decimal);
        if len.is_some_and(|len| len > context.limits.request_bytes_max) {
            return Err(Failure::TooLarge);
        }
        let Exchange::Put(exchange) = &mut self.exchange else { return Err(Failure::Internal) };
        exchange.announced = options.sha256;
        let hash = options.trailer || options.sha256.is_some();
        let precondition = OnlyIf::precondition(options.only)?;
        Ok(Command::Put(Put { precondition, mtime: options.mtime, hash, ..Put::new(path.key, len) }))
    }

    fn get(&mut self, request: &Request<'_>) -> Result<Action, Failure> {
        let (options, Path { key, expected_kind }) = pieces(request, &["if", "range", "trailer"])?;
        if expected_kind == ExpectedKind::Dir {
            self.exchange = Exchange::Stat { key: key.clone(), verb: StatVerb::Get };
            return Ok(Action::Run(Command::Stat { key }));
        }
        if options.only == Some(OnlyIf::Absent) {
            return Err(Failure::Malformed("if=absent makes no sense for GET"));
        }
        let Options { range, only, trailer: has_trailer, .. } = options;
        let exchange = GetExchange { key: key.clone(), range, only, has_trailer };
        self.exchange = Exchange::Get(Box::new(exchange));
        Ok(Action::Run(Command::Get { key }))
    }

    fn list(&mut self, request: &Request<'_>, context: &Context<'_>) -> Result<Action, Failure> {
        let (options, Path { key, .. }) = pieces(request, &["after", "limit"])?;
        self.exchange = Exchange::Plain(key.clone());
        let names_max = context.limits.list_names_max;
        let limit = options.limit.map_or(names_max, |limit| limit.min(names_max));
        Ok(Action::Run(Command::List { key, after: options.after, limit }))
    }

    fn stat(&mut self, request: &Request<'_>) -> Result<Action, Failure> {
        let (_, Path { key, expected_kind }) = pieces(request, &[])?;
        let verb = match expected_kind {
            ExpectedKind::Dir => StatVerb::StatDir,
            ExpectedKind::Either => StatVerb::Stat,
        };
        self.exchange = Exchange::Stat { key: key.clone(), verb };
        Ok(Action::Run(Command::Stat { key }))
    }

    fn delete(&mut self, request: &Request<'_>) -> Result<Action, Failure> {
        let (options, Path { key, expected_kind }) = pieces(request, &["if"])?;
        if key.is_root() {
            return Err(Failure::Denied("the served folder itself cannot be deleted"));
        }
        if options.only == Some(OnlyIf::Absent) {
            return Err(Failure::Malformed("if=absent makes no sense for DELETE"));
        }
        let precondition = OnlyIf::precondition(options.only)?;
        self.exchange = Exchange::Plain(key.clone());
        Ok(Action::Run(Command::Delete { key, expected_kind, precondition }))
    }

    fn make_dir(&mut self, request: &Request<'_>) -> Result<Action, Failure> {
        let (_, Path { key, .. }) = pieces(request, &[])?;
        self.exchange = Exchange::Plain(key.clone());
        Ok(Action::Run(Command::MakeDir { key }))
    }

    fn rename(&mut self, request: &Request<'_>) -> Result<Action, Failure> {
        no_word(request)?;
        let options = Options::parse(request, &["if"])?;
        let (from, to) = request
            .path
            .split_once('\t')
            .ok_or(Failure::Malformed("RENAME needs the old path, a tab and the new path"))?;
        let (from, to) = (path_of(from)?.key, path_of(to)?.key);
        if from.is_root() || to.is_root() {
            return Err(Failure::Denied("the served folder itself cannot be renamed"));
        }
        let precondition = OnlyIf::precondition(options.only)?;
        self.exchange = Exchange::Plain(from.clone());
        Ok(Action::Run(Command::Rename { from, to, precondition }))
    }

    /// The file is open: the reply line, then its bytes.
    fn opened_for_get(&mut self, meta: &Meta, context: &mut Context<'_>) -> Action {
        let Exchange::Get(get) = &self.exchange else { return Action::Close(CloseReason::Internal) };
        if get.only.is_some_and(|only| only != OnlyIf::Version(meta.etag)) {
            return refuse(Failure::PreconditionFailed, Some(&get.key), context, Action::Next);
        }
        let (range, asked) = match get.range.map(|range| range.resolve(meta.len)) {
            None => (0..meta.len, None),
            Some(Ok(range)) => (range.clone(), Some(range)),
            Some(Err(failure)) => return refuse(failure, Some(&get.key), context, Action::Next),
        };
        say_opened(&range, asked.as_ref(), meta, context.out);
        Action::Send { range, hash: get.has_trailer }
    }

    /// An idle connection keeps nothing of the request before.
    fn over(&mut self) -> Action {
        self.exchange = Exchange::None;
        Action::Next
    }

    /// Refuses the request, and decides what becomes of the rest of it.
    fn failed(&mut self, failure: Failure, context: &mut Context<'_>) -> Action {
        let exchange = std::mem::take(&mut self.exchange);
        let (key, then) = match &exchange {
            Exchange::None => (None, Action::Next),
            Exchange::Get(get) => (Some(&get.key), Action::Next),
            Exchange::Plain(key) | Exchange::Stat { key, .. } => (Some(key), Action::Next),
            Exchange::Put(put) if put.framing == Framing::Ended => (Some(&put.key), Action::Next),
            // Broken framing has no end that could be found.
            Exchange::Put(put) if matches!(failure, Failure::Malformed(_)) => {
                (Some(&put.key), Action::Close(CloseReason::Malformed))
            }
            Exchange::Put(put) => (Some(&put.key), Action::Discard),
        };
        let action = match failure {
            Failure::TimedOut => Action::Close(CloseReason::TooSlow),
            _ => then,
        };
        let action = refuse(failure, key, context, action);
        if action == Action::Discard {
            self.exchange = exchange;
        }
        action
    }
}

impl Protocol for Line {
    fn decode(&mut self, input: &[u8], context: &mut Context<'_>) -> (usize, Action) {
        self.exchange = Exchange::None;
        match line::cut(input) {
            Ok(None) => (0, Action::More),
            Ok(Some((text, used))) => {
                let action = self.request(text, context);
                (used, self.limit_malformed(action, context))
            }
            Err(failure) => (0, refuse(failure, None, context, Action::Close(CloseReason::Malformed))),
        }
    }

    fn ended(&mut self, held: &[u8], context: &mut Context<'_>) -> Action {
        if held.is_empty() {
            return Action::Close(CloseReason::PeerClosed);
        }
        let failure = Failure::Malformed("the connection ended in the middle of a request line");
        refuse(failure, None, context, Action::Close(CloseReason::CutShort))
    }

    fn answered(&mut self, answer: Result<Answer, Failure>, context: &mut Context<'_>) -> Action {
        let answer = match answer {
            Ok(answer) => answer,
            Err(failure) => return self.failed(failure, context),
        };
        match answer {
            Answer::Created => return Action::Receive,
            Answer::Opened(meta) => return self.opened_for_get(&meta, context),
            Answer::Listed(listing) => say_listing(&listing, context.out),
            Answer::Found(node) => {
                let Exchange::Stat { key, verb } = &self.exchange else { return Action::Close(CloseReason::Internal) };
                let conflict = match (node, verb) {
                    (Node::Dir { .. }, StatVerb::Get) => Failure::Conflict("that is a folder"),
                    (Node::File(_), StatVerb::Get | StatVerb::StatDir) => Failure::Conflict("that is a file"),
                    (node, _) => {
                        say_node(node, context.out);
                        return self.over();
                    }
                };
                return refuse(conflict, Some(key), context, Action::Next);
            }
            Answer::Stored(stored) => say_stored(&stored, context.out),
            Answer::Done => context.out.extend_from_slice(b"OK 0\n"),
        }
        self.over()
    }

    fn body(&mut self, raw: &[u8], payload_max: usize) -> Result<BodyPart, Failure> {
        let Exchange::Put(put) = &mut self.exchange else { return Err(Failure::Internal) };
        put.body(raw, payload_max)
    }

    fn body_left(&self) -> u64 {
        let Exchange::Put(put) = &self.exchange else { return 0 };
        put.left()
    }

    fn finish(&mut self, digest: Option<[u8; 32]>) -> Result<Finish, Failure> {
        let Exchange::Put(put) = &self.exchange else { return Err(Failure::Internal) };
        put.check(digest).map(|()| Finish::default())
    }

    fn sent(&mut self, digest: Option<[u8; 32]>, context: &mut Context<'_>) -> Action {
        if let Some(digest) = digest {
            context.out.extend_from_slice(b"sha256=");
            context.out.extend_from_slice(line::hex(&digest).as_bytes());
            context.out.push(b'\n');
        }
        self.over()
    }
}

fn path_of(text: &str) -> Result<Path, Failure> {
    if text.is_empty() {
        return Err(Failure::Malformed("the request has no path"));
    }
    key::absolute(text)
}

fn no_word(request: &Request<'_>) -> Result<(), Failure> {
    match request.word {
        Some(_) => Err(Failure::Malformed("a word stands where an option or the path is meant")),
        None => Ok(()),
    }
}

/// The options and the path of a request that has no other words.
fn pieces(request: &Request<'_>, allowed: &[&str]) -> Result<(Options, Path), Failure> {
    no_word(request)?;
    Ok((Options::parse(request, allowed)?, path_of(request.path)?))
}
