//! HTTP/1.1 (RFC 9110, RFC 9112), for curl, browsers and every other client.
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
//! `wire::http` has the grammar and all its strictness; this directory has the meaning. `gate` checks what must hold of
//! every request, a file of `methods` answers those of one method, and `response` writes heads. A head that could be read in two ways
//! is refused and the connection closes, so that nothing hidden behind it is taken for a request.

mod file;
mod gate;
mod handler;
mod head_cache;
mod html;
mod incoming;
mod index;
mod login;
mod may;
mod media_type;
mod methods;
mod monitoring;
mod mount;
#[cfg(feature = "page")]
mod notice;
mod page;
mod policy;
mod response;
mod sharing;
#[cfg(test)]
mod tests;
mod unserved;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::access::Caller;
use crate::command::Answer;
use crate::dialect::protocol::{Action, BodyPart, Context, Deferred, Finish, Phase, Protocol};
use crate::dialect::spec::{Dialect, OptionError, Options, Secret, Traits};
use crate::error::{CloseReason, Failure};
#[cfg(feature = "archives")]
use crate::wire::http::archive_query::FORM_LEN_MAX;
use crate::wire::http::forwarded;
use crate::wire::http::head::{self, Expect, Framing, Head, HeadError, Sender};
use file::File;
use handler::Exchange;
use head_cache::HeadCache;
#[cfg(any(feature = "archives", feature = "webdav"))]
use incoming::Gathers;
use incoming::{EmptyBody, empty_chunked, is_bodyless};
#[cfg(feature = "archives")]
use methods::archive::{self, Archive, places::Archives};
#[cfg(feature = "webdav")]
use methods::dav::{self, body::Body, condition};
use methods::get::Get;
pub use methods::listing::REPLY_BYTES_MIN;
use monitoring::Metrics;
use policy::Policy;
use response::ResponseMeta;
pub use response::TURNED_AWAY;
use unserved::Unserved;

#[cfg(feature = "archives")]
const ARCHIVES_BYTES_MAX: usize = Archives::BYTES_MAX;
#[cfg(not(feature = "archives"))]
const ARCHIVES_BYTES_MAX: usize = 0;
/// Longest form that is gathered after a head.
#[cfg(feature = "archives")]
pub const FORM_BYTES_MAX: usize = FORM_LEN_MAX;
#[cfg(not(feature = "archives"))]
pub const FORM_BYTES_MAX: usize = 0;

/// What the connections of one listener share.
#[derive(Debug, Default)]
pub struct Listener {
    policy: Policy,
    head_cache: HeadCache,
    #[cfg(feature = "archives")]
    archives: Arc<Archives>,
}

impl Listener {
    /// What is permitted here.
    pub(super) const fn policy(&self) -> &Policy {
        &self.policy
    }
}

impl Dialect for Listener {
    type Protocol = Http;

    const TRAITS: Traits = Traits {
        options: &[
            "serve-html",
            "cors=ORIGIN",
            "allow-host=NAME",
            "no-webdav",
            "trust=NETWORK,…",
            "remote-user",
            "path-prefix=PATH",
            #[cfg(feature = "admin")]
            "admin",
        ],
        client_speaks_first: true,
        secret: Secret::Required,
        kept_bytes_max: HeadCache::BYTES_MAX + ARCHIVES_BYTES_MAX,
        ..Traits::named("http")
    };

    fn listen(options: &Options, _started_s: u64) -> Result<Self, OptionError> {
        Ok(Self { policy: Policy::new(options)?, ..Self::default() })
    }

    fn accept(self: Arc<Self>, _peer: SocketAddr) -> Http {
        Http::new(self)
    }

    fn restrict_hosts(&mut self, machine: &str) {
        self.policy.restrict_hosts(machine);
    }

    fn refuse_passwords(&mut self) {
        self.policy.refuse_passwords();
    }
}

/// One connection's side of the protocol.
#[derive(Debug)]
pub struct Http {
    listener: Arc<Listener>,
    /// Bytes of the head that were searched for its end already.
    scanned: u32,
    /// The request had no body, and asked to close the connection (RFC 9112 §9.6): nothing more will come.
    is_last_request: bool,
    #[cfg(any(feature = "archives", feature = "webdav"))]
    gathers: Gathers,
    /// One of a plain file may be shared with the head cache and other connections; it is copied when it changes.
    exchange: Option<Arc<Exchange>>,
}

impl Http {
    pub const fn new(listener: Arc<Listener>) -> Self {
        Self {
            listener,
            scanned: 0,
            is_last_request: false,
            #[cfg(any(feature = "archives", feature = "webdav"))]
            gathers: Gathers::Nothing,
            exchange: None,
        }
    }

    /// Bytes after a head that must be seen together with it.
    pub(super) const fn form_len_max(&self) -> usize {
        #[cfg(feature = "archives")]
        if let Gathers::Form = self.gathers {
            return FORM_LEN_MAX;
        }
        0
    }

    /// Finds out for which client and user a trusted proxy sends this head.
    fn identify(&self, head: &Head<'_>, context: &mut Context<'_>) -> Result<(), HeadError> {
        let (Some(proxy), Some(fields)) = (&mut context.proxy, &head.forwarded) else { return Ok(()) };
        if let Some(client) = forwarded::client(fields, |address| self.listener.policy.trusts(address))? {
            context.client = client;
        }
        if self.listener.policy.trusts_users {
            // What the connection proves is the proxy's.
            context.caller = Caller::ANYBODY;
            let user = forwarded::remote_user(fields)?;
            let known = user.map(|user| context.access.named_by_proxy(user, context.wall_clock_s));
            proxy.user = known.map(|caller| caller.ok_or(Failure::Denied("the access file has no such user")));
        }
        Ok(())
    }

    /// The action for a head that was found, and how much of the input it used.
    fn decode_head(
        &mut self,
        bytes: &[u8],
        after: &[u8],
        context: &mut Context<'_>,
    ) -> Result<(usize, Action), HeadError> {
        let sender = if context.proxy.is_some() { Sender::Proxy } else { Sender::Client };
        match head::parse_found(bytes, sender) {
            Ok(mut head) if head.framing == Framing::Chunked && head.method.is_without_body() => {
                let mut len = bytes.len();
                match empty_chunked(after, context.limits.fixed.head_len_max.saturating_sub(len)) {
                    // A client that waits for permission to send gets its answer at once.
                    EmptyBody::Incomplete if head.expect == Expect::None => return Ok((0, Action::More)),
                    EmptyBody::Complete(body_len) => {
                        head.framing = Framing::None;
                        len += body_len;
                    }
                    EmptyBody::Incomplete | EmptyBody::NotEmpty => {}
                }
                // Not to be cached: the head alone is not the request.
                self.begin(&mut head, len, Content::Apart, context)
            }
            #[cfg(feature = "archives")]
            Ok(head) if archive::form_len(&head).is_some() => self.begin_form(head, bytes.len(), after, context),
            #[cfg(feature = "webdav")]
            Ok(head) if dav::concerns(&head, &self.listener.policy) => {
                self.begin_dav(head, bytes.len(), after, context)
            }
            Ok(mut head) => {
                let decided = self.begin(&mut head, bytes.len(), Content::Apart, context)?;
                self.cache(&head, bytes, context);
                Ok(decided)
            }
            Err(error) => {
                let as_http_1_1 = head::as_http_1_1(bytes).ok_or(error)?;
                self.begin(&mut head::parse_found(&as_http_1_1, sender)?, bytes.len(), Content::Apart, context)
            }
        }
    }

    /// Begins a request with a head of this length, unless a password in it has to be checked first.
    fn begin(
        &mut self,
        head: &mut Head<'_>,
        len: usize,
        content: Content,
        context: &mut Context<'_>,
    ) -> Result<(usize, Action), HeadError> {
        let mount = mount::take_off(&self.listener.policy.prefix, head);
        let response = ResponseMeta::new(head, &self.listener.policy);
        let answer = mount.answer(head).or(self.listener.policy.is_admin.then_some(Err(Failure::NotFound)));
        #[cfg(feature = "webdav")]
        let answer = answer.or_else(|| condition::unmet(head, &self.listener.policy, context).map(Err));
        let exchange = match (answer, content) {
            _ if Metrics::concern(head, &self.listener.policy) => Exchange::new(response, Metrics::default()),
            (Some(answer), _) => Exchange::new(response, Unserved::new(head, answer)),
            #[cfg(feature = "archives")]
            (_, Content::Form(form)) => {
                Exchange::new(response, Archive::new(head, Some(&form), &self.listener.archives))
            }
            #[cfg(feature = "webdav")]
            (_, Content::Xml(body)) => dav::exchange(head, body, response),
            #[cfg(feature = "archives")]
            (_, Content::Apart) if archive::concerns(head) => {
                Exchange::new(response, Archive::new(head, None, &self.listener.archives))
            }
            (_, Content::Apart) => methods::exchange(head, response),
        };
        self.begin_exchange(head, exchange, len, context)
    }

    /// Begins a request with a form, once all of that is there.
    #[cfg(feature = "archives")]
    fn begin_form(
        &mut self,
        mut head: Head<'_>,
        head_len: usize,
        after: &[u8],
        context: &mut Context<'_>,
    ) -> Result<(usize, Action), HeadError> {
        let Some(form) = after.get(..archive::form_len(&head).unwrap_or(0)) else {
            return Ok(self.gather(Gathers::Form, &head, context));
        };
        self.gathers = Gathers::Nothing;
        (head.framing, head.expect) = (Framing::None, Expect::None);
        let form = str::from_utf8(form).map_err(|_| HeadError::BadRequest("the form is not UTF-8"))?;
        self.begin(&mut head, head_len + form.len(), Content::Form(form.to_owned()), context)
    }

    /// Begins a request of WebDAV, once all of its body is there.
    #[cfg(feature = "webdav")]
    fn begin_dav(
        &mut self,
        mut head: Head<'_>,
        head_len: usize,
        after: &[u8],
        context: &mut Context<'_>,
    ) -> Result<(usize, Action), HeadError> {
        let room = context.limits.fixed.head_len_max.saturating_sub(head_len);
        let Some((len, body)) = Body::gather(&mut head, after, room)? else {
            return Ok(self.gather(Gathers::Xml, &head, context));
        };
        self.gathers = Gathers::Nothing;
        self.begin(&mut head, head_len + len, Content::Xml(body), context)
    }

    /// Waits for more of the body. A client that asks may send it.
    #[cfg(any(feature = "archives", feature = "webdav"))]
    fn gather(&mut self, what: Gathers, head: &Head<'_>, context: &mut Context<'_>) -> (usize, Action) {
        if head.expect == Expect::Continue && self.gathers == Gathers::Nothing {
            context.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        self.gathers = what;
        (0, Action::More)
    }

    fn begin_exchange(
        &mut self,
        head: &Head<'_>,
        mut exchange: Arc<Exchange>,
        len: usize,
        context: &mut Context<'_>,
    ) -> Result<(usize, Action), HeadError> {
        context.asked.clone_from(&exchange.response.asked);
        self.identify(head, context)?;
        let action = match Arc::get_mut(&mut exchange) {
            Some(exchange) => gate::begin(head, &self.listener.policy, exchange, context),
            None => Action::Reset(CloseReason::Internal),
        };
        if let Action::Verify(_) | Action::More = action {
            return Ok((0, action));
        }
        self.is_last_request |= !head.keep_alive && is_bodyless(head);
        self.exchange = Some(exchange);
        Ok((len, self.end_if_over(action)))
    }

    /// A failure in the middle of a request, or before one was complete.
    fn failed(&mut self, failure: Failure, context: &mut Context<'_>) -> Action {
        let is_timeout = failure == Failure::TimedOut;
        let Some(Exchange { response, handler }) = self.exchange() else {
            let reason = if is_timeout { CloseReason::TooSlow } else { CloseReason::Refused };
            return ResponseMeta::default().refuse_and_close(failure, reason, context);
        };
        let action =
            if is_timeout { handler.timed_out(response, context) } else { handler.failed(failure, response, context) };
        self.end_if_over(action)
    }

    /// The exchange, to be changed: a shared one is copied.
    fn exchange(&mut self) -> Option<&mut Exchange> {
        let exchange = self.exchange.as_mut()?;
        if Arc::get_mut(exchange).is_none() {
            let file = exchange.handler.plain()?.clone();
            *exchange = Exchange::new(exchange.response.clone(), Get::File(file));
        }
        Arc::get_mut(exchange)
    }

    /// What answering a plain file takes: nothing of it changes, so that it may be shared.
    fn plain(&self) -> Option<(&ResponseMeta, &File)> {
        let exchange = self.exchange.as_deref()?;
        Some((&exchange.response, exchange.handler.plain()?))
    }

    /// Frees an exchange that is over: an idle connection keeps none.
    fn end_if_over(&mut self, action: Action) -> Action {
        if matches!(action, Action::Next | Action::Close(_) | Action::Reset(_)) {
            self.exchange = None;
        }
        action
    }

    /// The command of a head that came before, byte for byte, where that is all that it depends on.
    fn begin_cached(&mut self, input: &[u8], context: &mut Context<'_>) -> Option<Action> {
        if context.proxy.is_some() || context.phase != Phase::Serving || context.access.takes_credentials() {
            return None;
        }
        let exchange = self.listener.head_cache.find(input)?;
        let command = exchange.handler.plain()?.command();
        context.asked.clone_from(&exchange.response.asked);
        self.is_last_request |= !exchange.response.keep_alive();
        self.exchange = Some(exchange);
        Some(Action::Run(command))
    }

    /// Caches a head for which [`Http::begin_cached`] would decide the same.
    fn cache(&self, head: &Head<'_>, bytes: &[u8], context: &Context<'_>) {
        if let Some(exchange) = &self.exchange
            && exchange.handler.plain().is_some()
            && is_bodyless(head)
            && context.proxy.is_none()
            && context.phase == Phase::Serving
            && !context.access.takes_credentials()
        {
            self.listener.head_cache.record(bytes, exchange);
        }
    }
}

/// The body of a request, where it was found together with the head.
enum Content {
    /// It follows, if there is one.
    Apart,
    #[cfg(feature = "archives")]
    Form(String),
    #[cfg(feature = "webdav")]
    Xml(Body),
}

impl Protocol for Http {
    fn decode(&mut self, input: &[u8], context: &mut Context<'_>) -> (usize, Action) {
        if let Some(Exchange { response, handler }) = self.exchange.as_mut().and_then(Arc::get_mut)
            && let Some((used, action)) = handler.proceed(input, response, context)
        {
            return (used, self.end_if_over(action));
        }
        self.exchange = None;
        if let Some(proxy) = &context.proxy {
            context.client = proxy.address;
        }
        let scanned = std::mem::take(&mut self.scanned) as usize;
        if let Some(action) = self.begin_cached(input, context) {
            return (input.len(), action);
        }
        let len_max = context.limits.fixed.head_len_max;
        match head::end(input, scanned) {
            Ok(Some(len)) if len <= len_max => {
                let (head, after) = input.split_at(len);
                let decided = self.decode_head(head, after, context);
                decided.unwrap_or_else(|error| (len, unserved::refuse_head(error, context)))
            }
            Ok(None) if input.len() < len_max => {
                self.scanned = u32::try_from(input.len()).unwrap_or(0);
                (0, Action::More)
            }
            Ok(_) => (0, unserved::refuse_head(head::overlong(&input[..len_max]), context)),
            Err(error) => (0, unserved::refuse_head(error, context)),
        }
    }

    fn ended(&mut self, held: &[u8], context: &mut Context<'_>) -> Action {
        if held.is_empty() {
            return Action::Close(CloseReason::PeerClosed);
        }
        let failure = Failure::Malformed("the connection ended in the middle of a head");
        ResponseMeta::default().refuse_and_close(failure, CloseReason::CutShort, context)
    }

    fn answered(&mut self, answer: Result<Answer, Failure>, context: &mut Context<'_>) -> Action {
        let answer = match answer {
            Ok(answer) => answer,
            Err(failure) => return self.failed(failure, context),
        };
        let action = match (&answer, self.plain()) {
            (Answer::Opened(meta), Some((response, file))) => file.send_whole(meta, response, context),
            _ => match self.exchange() {
                Some(Exchange { response, handler }) => handler.answered(answer, response, context),
                None => Action::Reset(CloseReason::Internal),
            },
        };
        self.end_if_over(action)
    }

    fn body(&mut self, raw: &[u8], payload_max: usize) -> Result<BodyPart, Failure> {
        self.exchange().ok_or(Failure::Internal)?.handler.body(raw, payload_max)
    }

    fn body_left(&self) -> u64 {
        self.exchange.as_ref().map_or(0, |exchange| exchange.handler.body_left())
    }

    fn finish(&mut self, digest: Option<[u8; 32]>) -> Result<Finish, Failure> {
        self.exchange().ok_or(Failure::Internal)?.handler.finish(digest)
    }

    fn defer(&mut self) -> Option<Box<dyn Deferred>> {
        let may_defer = |exchange: &mut Arc<Exchange>| exchange.response.keep_alive() && exchange.handler.may_defer();
        self.exchange.take_if(may_defer).map(|exchange| Box::new(exchange) as _)
    }

    fn saved(&mut self, offset: u64, context: &mut Context<'_>) {
        if let Some(Exchange { response, handler }) = self.exchange() {
            handler.saved(offset, response, context);
        }
    }

    fn was_last_request(&self) -> bool {
        self.is_last_request
    }

    fn sent(&mut self, digest: Option<[u8; 32]>, context: &mut Context<'_>) -> Action {
        let action = match self.plain() {
            Some((response, _)) => response.next_action(),
            None => match self.exchange() {
                Some(Exchange { response, handler }) => handler.sent(digest, response, context),
                None => Action::Reset(CloseReason::Internal),
            },
        };
        self.end_if_over(action)
    }
}
