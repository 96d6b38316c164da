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

mod get;
mod options;
mod say;
mod upload;
mod verbs;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::access::{Admission, Caller};
use crate::command::Answer;
use crate::dialect::protocol::{Action, BodyPart, Context, Deferred, Finish, PASSWORD_IN_PLAIN, Phase, Protocol};
use crate::dialect::spec::{Dialect, Secret, Traits};
use crate::error::{CloseReason, Failure};
use crate::object::{Key, Node};
use crate::upload::{UploadStage, UploadState};
use crate::wire::line;
use get::GetExchange;
pub(super) use say::refuse;
use say::{
    say_complete, say_dir_made, say_etag, say_go, say_listing, say_node, say_space, say_stored, say_sum, say_upload,
};
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
pub enum Passwords {
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
        form: ListingForm,
    },
    /// MKDIR that tells whether the directory is new.
    MakeDir(Key),
    /// COPY, DELETE, MKDIR, RENAME, SPACE, TIME: nothing to remember but the name, for the message.
    Plain(Key),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ListingForm {
    Names { digests: bool, exec: bool },
    Sum { exec: bool },
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
            "COPY" => self.copy(&request),
            "DELETE" => self.delete(&request),
            "MKDIR" => self.make_dir(&request),
            "RENAME" => self.rename(&request),
            "SPACE" => self.space(&request),
            "TIME" => self.time(&request),
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
            Exchange::List { key, .. } | Exchange::MakeDir(key) | Exchange::Plain(key) | Exchange::Stat { key, .. } => {
                (Some(key), Action::Next)
            }
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
            Answer::Listed(listing) => match self.exchange {
                Exchange::List { form: ListingForm::Names { digests, exec }, .. } => {
                    say_listing(&listing, (digests, exec), context.out);
                }
                Exchange::List { form: ListingForm::Sum { exec }, .. } => say_sum(&listing, exec, context.out),
                _ => return Action::Close(CloseReason::Internal),
            },
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
            Answer::Saved(_) | Answer::Described(_) | Answer::Locked { .. } | Answer::Unlocked(..) => {
                return Action::Close(CloseReason::Internal);
            }
            Answer::Stored(stored) => {
                if let Exchange::Put(put) = &self.exchange
                    && let Framing::NotBegun(_) = put.framing
                {
                    say_go(stored.meta.len, context.out);
                }
                say_stored(&stored, context.out);
            }
            Answer::DirMade { is_new } if matches!(self.exchange, Exchange::MakeDir(_)) => {
                say_dir_made(is_new, context.out);
            }
            Answer::SpaceLeft { free, quota } => say_space(free, quota, context.out),
            Answer::TimeSet(Node::File(meta)) => say_etag(&meta, context.out),
            Answer::TimeSet(Node::Dir { .. }) | Answer::DirMade { .. } | Answer::Moved(_) | Answer::Done => {
                context.out.extend_from_slice(b"OK 0\n");
            }
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

    fn defer(&mut self) -> Option<Box<dyn Deferred>> {
        match std::mem::take(&mut self.exchange) {
            Exchange::Put(put) => Some(put),
            other => {
                self.exchange = other;
                None
            }
        }
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
