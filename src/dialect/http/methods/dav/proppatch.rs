//! PROPPATCH: sets and removes properties, all of them or none (RFC 4918 §9.2).
//!
//! What follows from the file cannot be set, but for the time of its last change. Of the properties of Windows only that
//! means something here; the others are taken, since Windows gives up an upload otherwise. All else is kept.

use std::fmt::Display;

use crate::command::{Answer, Command, Whole};
use crate::dialect::http::handler::Handler;
use crate::dialect::http::incoming::Incoming;
use crate::dialect::http::methods::dav::body::Body;
use crate::dialect::http::methods::dav::live::{Live, MICROSOFT};
use crate::dialect::http::response::{Refusal, ResponseMeta, field};
use crate::dialect::protocol::{Action, Context};
use crate::error::{CloseReason, Failure};
use crate::object::{Key, Node};
use crate::properties::{Change, Name, UNKEPT};
use crate::wire::dav::DAV;
use crate::wire::dav::multistatus::{self, MEDIA_TYPE};
use crate::wire::dav::proppatch::{self, Instruction};
use crate::wire::http::head::Head;
use crate::wire::http::{date, target};
use crate::wire::range::seconds;
use crate::wire::status;

/// Which of these cannot be set, besides those with a value.
const PROTECTED: [&str; 4] = ["creationdate", "getcontentlanguage", "lockdiscovery", "supportedlock"];

#[derive(Debug)]
pub(super) struct PropPatch {
    body: Body,
    /// The path under which a proxy passes this server on.
    mount: Box<str>,
    key: Option<Key>,
    asked: Vec<(Name, Meaning)>,
}

/// What setting or removing a property does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Ignored,
    /// The value is none of this property.
    Invalid,
    Kept,
    Protected,
    /// Modified at this second.
    Time(i64),
}

impl Meaning {
    fn of(instruction: &Instruction) -> Self {
        let name = instruction.name();
        let time = match (&*name.namespace, &*name.local) {
            (DAV, "getlastmodified") | (MICROSOFT, "Win32LastModifiedTime") => date::parse(instruction.text.trim()),
            (DAV, "lastmodified") => seconds(instruction.text.trim()),
            (MICROSOFT, "Win32CreationTime" | "Win32LastAccessTime" | "Win32FileAttributes") => return Self::Ignored,
            (DAV, local) if PROTECTED.contains(&local) => return Self::Protected,
            _ if Live::of(name).is_some() => return Self::Protected,
            _ => return Self::Kept,
        };
        match (&instruction.change, time) {
            (Change::Remove(_), _) => Self::Protected,
            (Change::Set(..), Some(mtime)) => Self::Time(mtime),
            (Change::Set(..), None) => Self::Invalid,
        }
    }

    /// The status of the property if this alone decides.
    const fn status(self) -> u16 {
        match self {
            Self::Protected => 403,
            Self::Invalid => 409,
            Self::Ignored | Self::Kept | Self::Time(_) => 200,
        }
    }
}

impl PropPatch {
    pub(super) fn new(body: Body) -> Self {
        Self { body, mount: Box::default(), key: None, asked: Vec::new() }
    }

    /// The response, with the status that each property has by its meaning. If one of them has failed, nothing was done.
    fn report(
        &self,
        etag: Option<String>,
        is_dir: bool,
        status: impl Fn(Meaning) -> u16,
        response: &ResponseMeta,
        context: &mut Context<'_>,
    ) -> Action {
        let Some(key) = &self.key else { return Action::Reset(CloseReason::Internal) };
        let statuses: Vec<_> = self.asked.iter().map(|(_, meaning)| status(*meaning)).collect();
        let is_done = statuses.iter().all(|status| *status == 200);
        let status_of = |at: usize| if statuses[at] == 200 && !is_done { 424 } else { statuses[at] };
        let mut text = multistatus::BEGIN.to_owned();
        multistatus::begin_response((&self.mount, key), is_dir, &mut text);
        for code in [200, 403, 409, 424, 507] {
            let mut names = String::new();
            for (at, (name, _)) in self.asked.iter().enumerate().filter(|(at, _)| status_of(*at) == code) {
                let is_first = !self.asked[..at].iter().any(|(before, _)| before == name);
                if is_first {
                    multistatus::empty(name, &mut names);
                }
            }
            if !names.is_empty() {
                multistatus::propstat(&names, code, &mut text);
            }
        }
        multistatus::end_response(&mut text);
        text.push_str(multistatus::END);
        response.head(207, context);
        if let Some(etag) = etag.filter(|_| is_done) {
            field("ETag", &etag, context.out);
        }
        response.content(MEDIA_TYPE, text.as_bytes(), context);
        response.next_action()
    }
}

impl Handler for PropPatch {
    fn command(
        &mut self,
        head: &Head<'_>,
        _response: &mut ResponseMeta,
        _context: &mut Context<'_>,
    ) -> Result<Action, Refusal<'static>> {
        let key = target::path(head.path)?.key;
        self.mount = head.mount.into();
        self.key = Some(key.clone());
        let instructions = proppatch::parse(&self.body.take()?)?;
        self.asked = instructions.iter().map(|one| (one.name().clone(), Meaning::of(one))).collect();
        let (mut mtime, mut changes) = (None, Vec::new());
        // If one is refused, it is only looked whether the file is there and may be changed.
        if self.asked.iter().all(|(_, meaning)| meaning.status() == 200) {
            for (instruction, (_, meaning)) in instructions.into_iter().zip(&self.asked) {
                match meaning {
                    Meaning::Time(time) => mtime = Some(*time),
                    Meaning::Kept => changes.push(instruction.change),
                    _ => {}
                }
            }
        }
        Ok(Action::Run(Command::Run(Whole::SetProperties { key, mtime, changes: changes.into() })))
    }

    fn answered(&mut self, answer: Answer, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        let (etag, is_dir) = match answer {
            Answer::TimeSet(Node::File(meta)) => (Some(format!("\"{}\"", meta.etag)), false),
            Answer::TimeSet(Node::Dir { .. }) => (None, true),
            _ => return Action::Reset(CloseReason::Internal),
        };
        self.report(etag, is_dir, Meaning::status, response, context)
    }

    fn failed(&mut self, failure: Failure, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        let keeps = self.asked.iter().any(|(_, meaning)| *meaning == Meaning::Kept);
        if keeps && (failure == UNKEPT || failure == Failure::NoSpace) {
            let kept =
                |meaning: Meaning| if meaning == Meaning::Kept { status::code(failure) } else { meaning.status() };
            return self.report(None, false, kept, response, context);
        }
        self.refuse(failure.into(), response, context)
    }

    fn name(&self) -> Option<&dyn Display> {
        self.key.as_ref().map(|key| key as &dyn Display)
    }

    fn incoming(&mut self) -> Option<&mut Incoming> {
        self.body.incoming()
    }

    fn body_left(&self) -> u64 {
        self.body.left()
    }
}
