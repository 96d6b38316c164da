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
//!
//! One file, although it is long: options, refusals, limits and states of the dialect are read together.

mod get;
mod options;
mod say;
mod upload;

use std::net::SocketAddr;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::access::{Admission, Caller};
use crate::command::{Answer, Append, Command, Ends, Put, Whole};
use crate::dialect::protocol::{Action, BodyPart, Context, Finish, PASSWORD_IN_PLAIN, Phase, Protocol};
use crate::dialect::spec::{Dialect, Secret, Traits};
use crate::error::{CloseReason, Failure};
use crate::object::{ExpectedKind, Key, Node};
use crate::upload::{GoAhead, Inquiry, NewUpload, Role, UploadId, UploadRef, UploadStage, UploadState};
use crate::wire::key::{self, Path};
use crate::wire::line::{self, Request};
use crate::wire::range::decimal;
use get::{GetExchange, Trailer};
use options::{OnlyIf, Options};
pub(super) use say::refuse;
use say::{say_complete, say_go, say_listing, say_node, say_stored, say_upload};
use upload::{Framing, PutExchange};

const PASSWORD_IN_MESSAGE: Failure =
    Failure::Denied("messages take no passwords: use a token here, or the line protocol or HTTP");
pub const TURNED_AWAY: &[u8] = b"ERR 429 retry=1 too many connections: of this address, or of all together\n";
#[derive(Debug, Default)]
pub struct Listener {
    passwords: Passwords,
}

/// Whether passwords are taken. A token is: it can be removed alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Passwords {
    #[default]
    Taken,
    /// The connection is neither encrypted nor on the loopback interface.
    RefusedInPlain,
    /// The requests come in messages of another dialect; its clients have none.
    RefusedInMessages,
}

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
        Line::new(self.passwords)
    }

    fn refuse_passwords(&mut self) {
        self.passwords = Passwords::RefusedInPlain;
    }
}

#[derive(Debug, Default)]
pub struct Line {
    /// `None` for most connections.
    kept: Option<Box<Kept>>,
    exchange: Exchange,
}

/// What is kept from one request to the next.
#[derive(Debug, Default)]
struct Kept {
    /// The caller that the peer has proved to be.
    caller: Caller,
    /// Malformed requests in a row.
    malformed: u32,
    passwords: Passwords,
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
        tells_digest: bool,
    },
    List {
        key: Key,
        digests: bool,
    },
    /// DELETE, MKDIR, RENAME: nothing to remember but the name, for the message.
    Plain(Key),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StatVerb {
    Get,
    Stat,
    StatDir,
}

impl Line {
    pub(super) fn new(passwords: Passwords) -> Self {
        let kept = (passwords != Passwords::Taken).then(|| Box::new(Kept { passwords, ..Kept::default() }));
        Self { kept, ..Self::default() }
    }

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
        if let Some(kept) = self.kept.as_ref().filter(|kept| !kept.caller.is_anybody()) {
            context.caller = kept.caller.clone();
        }
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
            if let Some(kept) = &mut self.kept {
                kept.malformed = 0;
            }
            return action;
        }
        let kept = self.kept.get_or_insert_default();
        kept.malformed += 1;
        if kept.malformed < context.limits.live.malformed_lines_max {
            action
        } else {
            Action::Close(CloseReason::Malformed)
        }
    }

    fn admitted(&self, context: &Context<'_>) -> bool {
        !context.access.needs_secret() || self.kept.as_ref().is_some_and(|kept| !kept.caller.is_anybody())
    }

    fn auth(&mut self, secret: &[u8], context: &mut Context<'_>) -> Action {
        if context.verdict.is_none()
            && let Err(failure) = context.check_guesses()
        {
            return refuse(failure, None, context, Action::Next);
        }
        let admission = match context.access.admit(secret, context.wall_clock_s) {
            Some(caller) => Admission::Caller(caller),
            None => match self.password(secret, context) {
                Ok(admission) => admission,
                Err(failure) => return refuse(failure, None, context, Action::Next),
            },
        };
        match admission {
            Admission::Caller(caller) => {
                self.kept.get_or_insert_default().caller = caller;
                context.out.extend_from_slice(b"OK 0\n");
                Action::Next
            }
            Admission::Check(check) => Action::Verify(check),
            Admission::Busy => refuse(Failure::Busy, None, context, Action::Next),
            Admission::TooManyGuesses(seconds) => {
                context.retry_after_s = Some(seconds);
                refuse(Failure::GuessLimit, None, context, Action::Next)
            }
            Admission::Wrong => {
                context.wrong_secret = true;
                refuse(Failure::WrongSecret, None, context, Action::Close(CloseReason::Refused))
            }
        }
    }

    /// `USER PASSWORD`, where users have passwords. The password may have blanks.
    fn password(&self, shown: &[u8], context: &Context<'_>) -> Result<Admission, Failure> {
        let Some(rules) = context.access.rules().filter(|rules| !rules.passwords().is_empty()) else {
            return Ok(Admission::Wrong);
        };
        let blank = memchr::memchr(b' ', shown);
        let Some((user, blank)) = blank.and_then(|at| Some((std::str::from_utf8(&shown[..at]).ok()?, at))) else {
            return Ok(Admission::Wrong);
        };
        match self.kept.as_ref().map_or(Passwords::Taken, |kept| kept.passwords) {
            Passwords::Taken => {}
            Passwords::RefusedInPlain => return Err(PASSWORD_IN_PLAIN),
            Passwords::RefusedInMessages => return Err(PASSWORD_IN_MESSAGE),
        }
        Ok(rules.password(user, &shown[blank + 1..], context.verdict.as_deref(), context.wall_clock_s))
    }

    /// A PUT that is refused still has a body on its way; where its end is certain it is thrown
    /// away and the conversation continues.
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
        // With these the client sends nothing before it is told GO.
        let waits = request.options.iter().any(|(name, _)| matches!(*name, "resume" | "if-differs"));
        let framing = match framing {
            Framing::Counted(len) if waits => Framing::NotBegun(Some(len)),
            _ if waits => Framing::NotBegun(None),
            framing => framing,
        };
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
        let options = Options::parse(request, &["if", "if-differs", "mtime", "resume", "sha256", "trailer"])?;
        let path = path_of(request.path)?;
        if path.expected_kind == ExpectedKind::Dir {
            return Err(Failure::Malformed("the path of a PUT must not end in /"));
        }
        let len = request.word.and_then(decimal);
        if len.is_some_and(|len| len > context.limits.live.request_bytes_max) {
            return Err(Failure::TooLarge);
        }
        let Exchange::Put(exchange) = &mut self.exchange else { return Err(Failure::Internal) };
        exchange.announced = options.sha256;
        let hash = options.trailer || options.sha256.is_some();
        let precondition = OnlyIf::precondition(options.only)?;
        if options.if_differs && (len.is_none() || options.sha256.is_none()) {
            return Err(Failure::Malformed("if-differs=1 needs a size and sha256="));
        }
        let waits = options.if_differs || options.resume.is_some();
        let sha256 = options.sha256.filter(|_| waits && len.is_some()).map(Box::new);
        let go_ahead = if options.if_differs { GoAhead::Awaited } else { GoAhead::NotAwaited };
        let put = Put { precondition, mtime: options.mtime, hash, sha256, go_ahead, ..Put::new(path.key, len) };
        let Some(token) = options.resume else { return Ok(Command::Put(put)) };
        let id = Some(upload_id(&token, &put.key));
        let upload = UploadRef::New(Box::new(NewUpload { id, put, metadata: "".into(), role: Role::Whole }));
        Ok(Command::Append(Box::new(Append { upload, len: None, ends: Ends::WithThisPart, is_verified: false })))
    }

    fn get(&mut self, request: &Request<'_>) -> Result<Action, Failure> {
        let (options, Path { key, expected_kind }) = pieces(request, &["digest", "if", "range", "trailer"])?;
        if expected_kind == ExpectedKind::Dir {
            self.exchange = Exchange::Stat { key: key.clone(), verb: StatVerb::Get, tells_digest: false };
            return Ok(Action::Run(Command::Run(Whole::Stat { key })));
        }
        if options.only == Some(OnlyIf::Absent) {
            return Err(Failure::Malformed("if=absent makes no sense for GET"));
        }
        let Options { range, only, trailer, digest: tells_digest, .. } = options;
        let trailer = if trailer { Trailer::Computed } else { Trailer::None };
        let exchange = GetExchange { key: key.clone(), range, only, tells_digest, trailer };
        self.exchange = Exchange::Get(Box::new(exchange));
        Ok(Action::Run(Command::Get { key }))
    }

    fn list(&mut self, request: &Request<'_>, context: &Context<'_>) -> Result<Action, Failure> {
        let (options, Path { key, .. }) = pieces(request, &["after", "digest", "limit"])?;
        self.exchange = Exchange::List { key: key.clone(), digests: options.digest };
        let names_max = context.limits.fixed.list_names_max;
        let limit = options.limit.map_or(names_max, |limit| limit.min(names_max));
        Ok(Action::Run(Command::List { key, after: options.after, limit, digests: options.digest }))
    }

    fn stat(&mut self, request: &Request<'_>) -> Result<Action, Failure> {
        let (options, Path { key, expected_kind }) = pieces(request, &["digest", "resume"])?;
        if let Some(token) = options.resume {
            let id = upload_id(&token, &key);
            self.exchange = Exchange::Plain(key.clone());
            return Ok(Action::Run(Command::StatUpload { id, inquiry: Inquiry::Aside, key: Some(key) }));
        }
        let verb = match expected_kind {
            ExpectedKind::Dir => StatVerb::StatDir,
            ExpectedKind::Either => StatVerb::Stat,
        };
        self.exchange = Exchange::Stat { key: key.clone(), verb, tells_digest: options.digest };
        Ok(Action::Run(Command::Run(Whole::Stat { key })))
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
        Ok(Action::Run(Command::Run(Whole::Delete { key, expected_kind, precondition })))
    }

    fn make_dir(&mut self, request: &Request<'_>) -> Result<Action, Failure> {
        let (_, Path { key, .. }) = pieces(request, &[])?;
        self.exchange = Exchange::Plain(key.clone());
        Ok(Action::Run(Command::Run(Whole::MakeDir { key })))
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
        Ok(Action::Run(Command::Run(Whole::Rename { from, to, precondition, len_max: None })))
    }

    /// The body may come, from its first byte on.
    fn go_from_start(&mut self, context: &mut Context<'_>) -> Action {
        if let Exchange::Put(put) = &mut self.exchange
            && let Framing::NotBegun(_) = put.framing
        {
            say_go(0, context.out);
            put.go(0);
        }
        Action::Receive
    }

    /// An upload with `resume=` is open: the client continues after what is safe.
    fn resumed(&mut self, upload: &UploadState, context: &mut Context<'_>) -> Action {
        let Exchange::Put(put) = &mut self.exchange else { return Action::Close(CloseReason::Internal) };
        say_go(upload.offset, context.out);
        match upload.stage {
            UploadStage::Unfinished => {
                put.go(upload.offset);
                Action::Receive
            }
            UploadStage::Complete(stored) => {
                say_complete(stored.as_ref(), context.out);
                self.over()
            }
        }
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
            Exchange::List { key, .. } | Exchange::Plain(key) | Exchange::Stat { key, .. } => (Some(key), Action::Next),
            Exchange::Put(put) if put.is_read() => (Some(&put.key), Action::Next),
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
                // A line with a password that has to be checked is shown again.
                let used = if let Action::Verify(_) = action { 0 } else { used };
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
            Answer::Created => return self.go_from_start(context),
            Answer::Opened(meta) => {
                let Exchange::Get(get) = &mut self.exchange else { return Action::Close(CloseReason::Internal) };
                return get.opened(&meta, context);
            }
            Answer::Listed(listing) => {
                let digests = matches!(self.exchange, Exchange::List { digests: true, .. });
                say_listing(&listing, digests, context.out);
            }
            Answer::Found(node) => {
                let Exchange::Stat { key, verb, tells_digest } = &self.exchange else {
                    return Action::Close(CloseReason::Internal);
                };
                let conflict = match (node, verb) {
                    (Node::Dir { .. }, StatVerb::Get) => Failure::Conflict("that is a folder"),
                    (Node::File(_), StatVerb::Get | StatVerb::StatDir) => Failure::Conflict("that is a file"),
                    (node, _) => {
                        say_node(node, *tells_digest, context.out);
                        return self.over();
                    }
                };
                return refuse(conflict, Some(key), context, Action::Next);
            }
            Answer::Resumed(upload) => return self.resumed(&upload, context),
            Answer::UploadFound(upload) => say_upload(&upload, context.out),
            Answer::Saved(_) => return Action::Close(CloseReason::Internal),
            Answer::Stored(stored) => {
                if let Exchange::Put(put) = &self.exchange
                    && let Framing::NotBegun(_) = put.framing
                {
                    say_go(stored.meta.len, context.out);
                }
                say_stored(&stored, context.out);
            }
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
        let Exchange::Get(get) = &self.exchange else { return Action::Close(CloseReason::Internal) };
        if let Some(digest) = get.digest(digest) {
            context.out.extend_from_slice(b"sha256=");
            context.out.extend_from_slice(line::hex(&digest).as_bytes());
            context.out.push(b'\n');
        }
        self.over()
    }
}

/// The upload that the token of a client names: the same token may stand for several names.
fn upload_id(token: &str, key: &Key) -> UploadId {
    let digest = Sha256::new().chain_update("line ").chain_update(token).chain_update(key.to_string()).finalize();
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    UploadId(id)
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
