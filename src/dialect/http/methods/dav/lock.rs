//! LOCK and UNLOCK (RFC 4918 §9.10, §9.11): locks that bind the writes of every dialect.

use std::fmt::Display;

use crate::command::{Answer, Command, LockRights, Whole};
use crate::dav_locks::{DavLock, LockToken};
use crate::dialect::http::handler::Handler;
use crate::dialect::http::incoming::Incoming;
use crate::dialect::http::methods::dav::body::Body;
use crate::dialect::http::response::{Refusal, ResponseMeta, field};
use crate::dialect::protocol::{Action, Context, Phase};
use crate::error::{CloseReason, Failure};
use crate::ids::ClientAddress;
use crate::object::Key;
use crate::wire::dav::lock::{self, LockInfo};
use crate::wire::dav::multistatus::MEDIA_TYPE;
use crate::wire::http::head::Head;
use crate::wire::http::relocation::{self, Depth};
use crate::wire::http::target;

const NOT_OFFERED: Failure = Failure::NotImplemented("no locks are offered: other servers use this folder too");
const NO_TOKEN: Failure = Failure::Malformed("a LOCK without a body needs the token of a lock of this name in If");

/// A LOCK, with the lock once that is known.
#[derive(Debug)]
pub(super) struct Lock {
    body: Body,
    /// The path under which a proxy passes this server on.
    mount: Box<str>,
    lock: Option<DavLock>,
    is_renewal: bool,
}

impl Lock {
    pub(super) fn new(body: Body) -> Self {
        Self { body, mount: Box::default(), lock: None, is_renewal: false }
    }

    /// A lock that is new, or one that has its time from now on again.
    fn asked(&mut self, head: &Head<'_>, context: &Context<'_>) -> Result<DavLock, Refusal<'static>> {
        let key = target::path(head.path)?.key;
        let timeout_s = lock::timeout_s(head.upload.as_ref().and_then(|fields| fields.timeout));
        let expires_s = context.wall_clock_s + timeout_s;
        let user = context.caller.name().unwrap_or_default();
        let body = self.body.take()?;
        if body.is_empty() {
            self.is_renewal = true;
            let tokens = context.lock_tokens.as_deref().unwrap_or_default();
            let found = tokens.iter().find_map(|token| context.dav_locks.find(&key, *token, user));
            let found = found.ok_or(if tokens.is_empty() { NO_TOKEN } else { Failure::PreconditionFailed })?;
            return Ok(DavLock { expires_s, ..found.clone() });
        }
        let LockInfo { scope, owner } = LockInfo::parse(&body)?;
        let is_deep = match relocation::depth(head)?.unwrap_or(Depth::Infinity) {
            Depth::Zero => false,
            Depth::Infinity => true,
            Depth::One => return Err(Failure::Malformed("the Depth of a LOCK is 0 or infinity").into()),
        };
        // Another is given where it is granted.
        let token = LockToken::default();
        Ok(DavLock { token, key, scope, is_deep, owner, user: user.into(), expires_s })
    }
}

impl Handler for Lock {
    fn command(
        &mut self,
        head: &Head<'_>,
        _response: &mut ResponseMeta,
        context: &mut Context<'_>,
    ) -> Result<Action, Refusal<'static>> {
        self.mount = head.mount.into();
        if !context.dav_locks.are_offered() {
            return Err(Refusal { status: 405, failure: NOT_OFFERED, field: None });
        }
        if context.phase == Phase::HandingOver {
            // Another process has the table of locks; the next connection will be there.
            return Err(Failure::Draining.into());
        }
        let lock = self.asked(head, context)?;
        self.lock = Some(lock.clone());
        let client = context.caller.name().map_or_else(|| ClientAddress::of_ip(context.client), ClientAddress::of_name);
        let rights = LockRights { existing: Ok(()), new: Ok(()) };
        let is_renewal = self.is_renewal;
        Ok(Action::Run(Command::Run(Whole::KeepLock { lock: Box::new(lock), client, rights, is_renewal })))
    }

    fn answered(&mut self, answer: Answer, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        let (Some(lock), Answer::Locked { token, is_new }) = (&mut self.lock, answer) else {
            return Action::Reset(CloseReason::Internal);
        };
        lock.token = token;
        let mut text = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:prop xmlns:D=\"DAV:\">".to_owned();
        lock::write_discovery([&*lock].into_iter(), (&self.mount, context.wall_clock_s), &mut text);
        text.push_str("</D:prop>\n");
        response.head(if is_new { 201 } else { 200 }, context);
        if !self.is_renewal {
            field("Lock-Token", &format_args!("<{}>", lock.token), context.out);
        }
        response.content(MEDIA_TYPE, text.as_bytes(), context);
        response.next_action()
    }

    fn name(&self) -> Option<&dyn Display> {
        self.lock.as_ref().map(|lock| &lock.key as &dyn Display)
    }

    fn incoming(&mut self) -> Option<&mut Incoming> {
        self.body.incoming()
    }

    fn body_left(&self) -> u64 {
        self.body.left()
    }
}

/// An UNLOCK, with the name once that is known.
#[derive(Debug, Default)]
pub(crate) struct Unlock(Option<Key>);

impl Handler for Unlock {
    fn command(
        &mut self,
        head: &Head<'_>,
        _response: &mut ResponseMeta,
        _context: &mut Context<'_>,
    ) -> Result<Action, Refusal<'static>> {
        let key = target::path(head.path)?.key;
        self.0 = Some(key.clone());
        let token = lock::token(head.upload.as_ref().and_then(|fields| fields.lock_token))?;
        Ok(Action::Run(Command::Run(Whole::EndLock { key, token })))
    }

    fn answered(&mut self, _answer: Answer, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        response.no_content(context)
    }

    fn name(&self) -> Option<&dyn Display> {
        self.0.as_ref().map(|key| key as &dyn Display)
    }
}
