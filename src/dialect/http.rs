//! HTTP/1.1 (RFC 9110, RFC 9112), for everyone who already has curl or a browser.
//!
//! ```text
//! C  PUT /hello.txt HTTP/1.1              C  GET /hello.txt HTTP/1.1
//! C  Host: …, Content-Length: 6           C  Host: …
//! C                                       C
//! C  hello                                S  HTTP/1.1 200 OK
//! S  HTTP/1.1 201 Created                 S  ETag: "…", Content-Length: 6
//! S  ETag: "…"                            S
//! S                                       S  hello
//! ```
//!
//! `wire::http` has the grammar and all its strictness; this directory has the meaning: `read` the
//! files, `write` the changes, `dir` the listings and their page, `status` what monitoring
//! asks; `known` what need not be found out anew. A head that could be read in two
//! ways is refused and the connection ends, so nothing that hides behind it is ever taken for a
//! request.

mod dir;
mod index;
mod known;
mod listener;
mod media;
mod page;
mod read;
mod reply;
mod status;
mod write;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::command::Answer;
use crate::dialect::protocol::{Action, BodyPart, Context, Finish, Phase, Protocol};
use crate::dialect::spec::{Dialect, OptionError, Options, Secret, Traits};
use crate::error::{CloseReason, Failure};
use crate::object::ExpectedKind;
use crate::wire::http::head::{self, Expect, Framing, Head, HeadError, Method, Persistence};
use crate::wire::http::{basic, target};
use crate::wire::key::Path;
use dir::Dir;
pub use listener::Listener;
use read::Read;
use reply::Manner;
use write::{Remove, Upload};

/// Said to a connection that comes when no more are taken.
pub const TURNED_AWAY: &[u8] = reply::TURNED_AWAY;

/// Bytes of the longest reply that takes a transfer slot, where a slot is smaller than a page of names.
pub const REPLY_BYTES_MIN: usize = dir::REPLY_BYTES_MIN;

impl Dialect for Listener {
    type Protocol = Http;

    const TRAITS: Traits = Traits {
        options: &["serve-html", "cors=ORIGIN", "allow-host=NAME"],
        client_speaks_first: true,
        secret: Secret::Required,
        kept_bytes_max: known::Known::BYTES_MAX,
        ..Traits::named("http")
    };

    fn listen(options: &Options, _started_s: u64) -> Result<Self, OptionError> {
        Self::of(options)
    }

    fn accept(self: Arc<Self>, _peer: SocketAddr) -> Http {
        Http::new(self)
    }

    fn restrict_hosts(&mut self, machine: &str) {
        self.restrict_hosts_to(machine);
    }
}

/// One connection's side of the protocol.
#[derive(Debug)]
pub struct Http {
    listener: Arc<Listener>,
    /// So many bytes of the head that comes were looked at and hold no end.
    scanned: u32,
    promise: Promise,
    /// Shared with those who ask for the same, until it changes.
    exchange: Option<Arc<Exchange>>,
}

/// What may still come from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Promise {
    None,
    /// Nothing: the request had no body, and asked to close the connection (RFC 9112 §9.6).
    Silence,
}

/// The request that is being answered.
#[derive(Clone, Debug)]
struct Exchange {
    manner: Manner,
    asked: Asked,
}

#[derive(Clone, Debug)]
enum Asked {
    Dir(Dir),
    Read(Read),
    Remove(Remove),
    /// Of a method that is not offered, too: its body must be stepped over.
    Upload(Upload),
}

impl Http {
    /// A connection to a listener with these options.
    pub const fn new(listener: Arc<Listener>) -> Self {
        Self { listener, scanned: 0, promise: Promise::None, exchange: None }
    }

    /// Where the next request would begin is not certain any more.
    fn unreadable(error: HeadError, context: &mut Context<'_>) -> Action {
        let failure = match error {
            HeadError::BadRequest(_) | HeadError::Version => Failure::Malformed(error.words()),
            HeadError::NotImplemented(why) => Failure::NotImplemented(why),
            HeadError::TargetTooLong | HeadError::TooLarge => Failure::TooLarge,
        };
        context.refused = Some(failure);
        Manner::default().text(error.status(), &[], &format!("{}\n", error.words()), context);
        Action::Close(CloseReason::Malformed)
    }

    /// Decides what a whole head means.
    fn request(&mut self, head: &Head<'_>, context: &mut Context<'_>) -> Action {
        let mut manner = Manner::of(head, &self.listener);
        if head.persistence == Persistence::Close && head.framing == Framing::None && head.expect == Expect::None {
            self.promise = Promise::Silence;
        }
        if let Method::Put | Method::Post | Method::Other(_) = head.method {
            return self.with_body(head, manner, context);
        }
        // A body of these methods means nothing (RFC 9110 §9.3.1) and is where requests are smuggled: it is not
        // stepped over.
        if !matches!(head.framing, Framing::None | Framing::Length(0)) {
            manner.last();
            let failure = Failure::Malformed("only PUT has a body here");
            return manner.refuse(failure, None, context, Action::Close(CloseReason::Refused));
        }
        if let Expect::Unknown = head.expect {
            return write::unmet_expectation(&manner, context);
        }
        if let Some(action) = status::health(head, &manner, context) {
            return action;
        }
        if let Err(failure) = self.permit(head, &manner, context) {
            let then = manner.then();
            return manner.refuse(failure, None, context, then);
        }
        if head.method == Method::Options {
            return write::options(head, &manner, context);
        }
        if let Some(action) = status::metrics(head, &manner, context) {
            return action;
        }
        if context.phase == Phase::Draining {
            manner.last();
            return manner.refuse(Failure::Draining, None, context, Action::Close(CloseReason::Drained));
        }
        let asked = if head.method == Method::Delete {
            path_of(head)
                .and_then(|path| Remove::of(head, path))
                .map(|(remove, command)| (Asked::Remove(remove), command))
        } else {
            self.get(head, context)
        };
        match asked {
            Ok((asked, command)) => {
                self.exchange = Some(Arc::new(Exchange { manner, asked }));
                Action::Run(command)
            }
            Err(failure) => {
                let then = manner.then();
                manner.refuse(failure, None, context, then)
            }
        }
    }

    /// What must hold of a request whatever it asks for.
    fn permit(&self, head: &Head<'_>, manner: &Manner, context: &mut Context<'_>) -> Result<(), Failure> {
        if !self.listener.answers_for(head.fields.host) {
            return Err(Failure::WrongHost);
        }
        // Before a browser asks for other sites, it asks whether it may, and shows no secret then.
        if head.method == Method::Options {
            return Ok(());
        }
        if !admitted(head, context) {
            return Err(Failure::Unauthorized);
        }
        let is_read = matches!(head.method, Method::Get | Method::Head);
        if !is_read && head.fields.sec_fetch_site == Some("cross-site") && !manner.shares() {
            return Err(Failure::Denied("a page of another site may change nothing here, unless --cors permits it"));
        }
        Ok(())
    }

    fn get(&self, head: &Head<'_>, context: &Context<'_>) -> Result<(Asked, crate::command::Command), Failure> {
        let Path { key, expected_kind } = path_of(head)?;
        if expected_kind == ExpectedKind::Dir {
            let (dir, command) = Dir::of(head, key, context)?;
            return Ok((Asked::Dir(dir), command));
        }
        let (read, command) = Read::of(head, key)?;
        Ok((Asked::Read(read), command))
    }

    /// PUT, and methods that are not offered: where these are refused, a body may still be on its way.
    fn with_body(&mut self, head: &Head<'_>, mut manner: Manner, context: &mut Context<'_>) -> Action {
        let mut upload = Upload::of(head);
        let command = match (self.permit(head, &manner, context), context.phase) {
            (Err(failure), _) => Err(failure),
            (Ok(()), Phase::Draining) => Err(Failure::Draining),
            (Ok(()), Phase::Serving) if head.expect == Expect::Unknown => {
                manner.last();
                return write::unmet_expectation(&manner, context);
            }
            (Ok(()), Phase::Serving) if head.method == Method::Put => {
                path_of(head).and_then(|path| upload.command(head, path, context.limits)).map(Some)
            }
            (Ok(()), Phase::Serving) => Ok(None),
        };
        let action = match command {
            Ok(Some(command)) => Action::Run(command),
            Ok(None) => upload.not_offered(head.method, &mut manner, context),
            Err(failure) => upload.refused(failure, &mut manner, context),
        };
        self.exchange = Some(Arc::new(Exchange { manner, asked: Asked::Upload(upload) }));
        self.over(action)
    }

    /// A failure in the middle of a request, or before one was complete.
    fn failed(&mut self, failure: Failure, context: &mut Context<'_>) -> Action {
        let Some(Exchange { manner, asked }) = self.own() else {
            let reason = if failure == Failure::TimedOut { CloseReason::TooSlow } else { CloseReason::Refused };
            return Manner::default().refuse(failure, None, context, Action::Close(reason));
        };
        let action = match asked {
            _ if failure == Failure::TimedOut => {
                manner.last();
                manner.refuse(failure, None, context, Action::Close(CloseReason::TooSlow))
            }
            Asked::Dir(dir) => dir.failed(failure, manner, context),
            Asked::Read(read) => read.failed(failure, manner, context),
            Asked::Remove(remove) => {
                let then = manner.then();
                manner.refuse(failure, Some(&remove.key), context, then)
            }
            Asked::Upload(upload) => upload.refused(failure, manner, context),
        };
        self.over(action)
    }

    /// Lets go of an exchange that is over: an idle connection must not keep what it last asked.
    fn over(&mut self, action: Action) -> Action {
        if matches!(action, Action::Next | Action::Close(_) | Action::Reset(_)) {
            self.exchange = None;
        }
        action
    }

    /// The exchange, of which nobody else shall see what becomes of it.
    fn own(&mut self) -> Option<&mut Exchange> {
        self.exchange.as_mut().map(Arc::make_mut)
    }

    /// What a head asks that came lately, where that is all it depends on.
    fn known(&mut self, input: &[u8], context: &Context<'_>) -> Option<Action> {
        if context.phase != Phase::Serving || context.access.needs_secret() {
            return None;
        }
        let exchange = self.listener.known.find(input)?;
        let Asked::Read(read) = &exchange.asked else { return None };
        let command = read.command();
        if exchange.manner.is_last() {
            self.promise = Promise::Silence;
        }
        self.exchange = Some(exchange);
        Some(Action::Run(command))
    }

    /// Keeps what a head asks, where [`Http::known`] would find in it all there is to know.
    fn remember(&self, head: &Head<'_>, bytes: &[u8], context: &Context<'_>) {
        if let Some(exchange) = &self.exchange
            && let Asked::Read(read) = &exchange.asked
            && read.is_plain()
            && (head.framing, head.expect) == (Framing::None, Expect::None)
            && !context.access.needs_secret()
        {
            self.listener.known.came(bytes, exchange);
        }
    }

    fn upload(&mut self) -> Result<&mut Upload, Failure> {
        match self.own() {
            Some(Exchange { asked: Asked::Upload(upload), .. }) => Ok(upload),
            _ => Err(Failure::Internal),
        }
    }
}

/// Does the request carry the secret, where one is asked for?
fn admitted(head: &Head<'_>, context: &mut Context<'_>) -> bool {
    if !context.access.needs_secret() {
        return true;
    }
    let Some(secret) = head.fields.authorization.and_then(basic::secret) else { return false };
    context.wrong_secret = !context.access.admits(&secret);
    !context.wrong_secret
}

fn path_of(head: &Head<'_>) -> Result<Path, Failure> {
    target::path(head.path)
}

impl Protocol for Http {
    fn decode(&mut self, input: &[u8], context: &mut Context<'_>) -> (usize, Action) {
        self.exchange = None;
        let scanned = std::mem::take(&mut self.scanned) as usize;
        if let Some(action) = self.known(input, context) {
            return (input.len(), action);
        }
        let len_max = context.limits.head_len_max;
        match head::end(input, scanned) {
            Ok(Some(len)) if len <= len_max => match head::parse_found(&input[..len]) {
                Ok(head) => {
                    let action = self.request(&head, context);
                    self.remember(&head, &input[..len], context);
                    (len, action)
                }
                Err(error) => match head::as_http_1_1(&input[..len]).as_deref().map(head::parse_found) {
                    Some(Ok(head)) => (len, self.request(&head, context)),
                    Some(Err(error)) => (len, Self::unreadable(error, context)),
                    None => (len, Self::unreadable(error, context)),
                },
            },
            Ok(None) if input.len() < len_max => {
                self.scanned = u32::try_from(input.len()).unwrap_or(0);
                (0, Action::More)
            }
            Ok(_) => (0, Self::unreadable(head::overlong(&input[..len_max]), context)),
            Err(error) => (0, Self::unreadable(error, context)),
        }
    }

    fn ended(&mut self, held: &[u8], context: &mut Context<'_>) -> Action {
        if held.is_empty() {
            return Action::Close(CloseReason::PeerClosed);
        }
        let failure = Failure::Malformed("the connection ended in the middle of a head");
        Manner::default().refuse(failure, None, context, Action::Close(CloseReason::CutShort))
    }

    fn answered(&mut self, answer: Result<Answer, Failure>, context: &mut Context<'_>) -> Action {
        let answer = match answer {
            Ok(answer) => answer,
            Err(failure) => return self.failed(failure, context),
        };
        if let (Answer::Opened(meta), Some(Exchange { manner, asked: Asked::Read(read) })) =
            (&answer, self.exchange.as_deref())
            && read.is_plain()
        {
            let action = read.whole(meta, manner, &self.listener, context);
            return self.over(action);
        }
        let Some(Exchange { manner, asked }) = self.exchange.as_mut().map(Arc::make_mut) else {
            return Action::Reset(CloseReason::Internal);
        };
        let action = match (answer, asked) {
            (Answer::Opened(meta), Asked::Read(read)) => read.opened(&meta, manner, &self.listener, context),
            (Answer::Listed(listing), Asked::Dir(dir)) => dir.listed(&listing, manner, context),
            (Answer::Created, Asked::Upload(upload)) => upload.created(context),
            (Answer::Stored(stored), Asked::Upload(upload)) => upload.stored(&stored, manner, context),
            (Answer::Done, Asked::Remove(_)) => {
                manner.empty(204, context);
                manner.then()
            }
            _ => Action::Reset(CloseReason::Internal),
        };
        self.over(action)
    }

    fn body(&mut self, raw: &[u8], payload_max: usize) -> Result<BodyPart, Failure> {
        self.upload()?.body(raw, payload_max)
    }

    fn body_left(&self) -> u64 {
        match self.exchange.as_deref() {
            Some(Exchange { asked: Asked::Upload(upload), .. }) => upload.left(),
            _ => 0,
        }
    }

    fn finish(&mut self, digest: Option<[u8; 32]>) -> Result<Finish, Failure> {
        self.upload()?.finish(digest)
    }

    fn was_last_request(&self) -> bool {
        self.promise == Promise::Silence
    }

    fn sent(&mut self, digest: Option<[u8; 32]>, context: &mut Context<'_>) -> Action {
        let action = match self.exchange.as_deref() {
            Some(Exchange { manner, asked: Asked::Read(read) }) if read.is_plain() => manner.then(),
            _ => match self.own() {
                Some(Exchange { manner, asked: Asked::Read(read) }) => read.sent(digest, manner, context),
                _ => Action::Reset(CloseReason::Internal),
            },
        };
        self.over(action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Access;
    use crate::dialect::testing::talking;
    use crate::object::{Etag, Meta};

    #[test]
    fn a_head_that_is_too_long_is_refused_though_all_of_it_is_there() {
        let mut http = Http::new(Arc::new(Listener::default()));
        talking(Phase::Serving, &Access::default(), |context| {
            let long = "a".repeat(context.limits.head_len_max);
            let (_, action) =
                http.decode(format!("GET /f HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n").as_bytes(), context);
            assert!(matches!(action, Action::Close(_)), "{action:?}");
        });
    }

    /// RFC 9110 §8.8.2.1: what is said of its time must not lie in the future.
    #[test]
    fn a_file_from_the_future_has_the_present_for_its_time() {
        let mut http = Http::new(Arc::new(Listener::default()));
        let meta = Meta { len: 1, mtime: 1_800_000_000, etag: Etag([1; 16]) };
        for (now_s, time) in
            [(1_700_000_000, "Tue, 14 Nov 2023 22:13:20"), (1_700_000_001, "Tue, 14 Nov 2023 22:13:21")]
        {
            let heard = talking(Phase::Serving, &Access::default(), |context| {
                context.wall_clock_s = now_s;
                let _ = http.decode(b"GET /f HTTP/1.1\r\nHost: x\r\n\r\n", context);
                http.answered(Ok(Answer::Opened(meta)), context)
            });
            let said = String::from_utf8_lossy(&heard.said).into_owned();
            assert!(said.contains(&format!("Last-Modified: {time} GMT\r\n")), "{said}");
        }
    }

    #[test]
    fn an_idle_connection_keeps_nothing_of_what_it_last_asked() {
        let mut http = Http::new(Arc::new(Listener::default()));
        let meta = Meta { len: 1, mtime: 0, etag: Etag([0; 16]) };
        for answer in [Ok(Answer::Opened(meta)), Err(Failure::NotFound), Err(Failure::Conflict("a folder"))] {
            talking(Phase::Serving, &Access::default(), |context| {
                let (_, action) = http.decode(b"GET /f?long HTTP/1.1\r\nHost: x\r\n\r\n", context);
                assert!(matches!(action, Action::Run(_)), "{action:?}");
                if let Action::Send { .. } = http.answered(answer, context) {
                    assert_eq!(http.sent(None, context), Action::Next);
                }
            });
            assert!(http.exchange.is_none());
        }
    }
}
