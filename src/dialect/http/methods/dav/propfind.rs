//! PROPFIND: the properties of a file, of a directory and what is in it, or of all that is under it (RFC 4918 §9.1).
//!
//! Made in parts like a recursive listing in lines: each from one listing of bounded size, so that it is complete
//! whatever the size of the tree. A failure between two parts resets the connection.

use crate::access::Rights;
use crate::command::{Answer, Command, Whole};
use crate::dialect::http::handler::Handler;
use crate::dialect::http::incoming::Incoming;
use crate::dialect::http::methods::dav::body::Body;
use crate::dialect::http::methods::dav::live::{Facts, Live, Space};
use crate::dialect::http::methods::listing::{content_bytes_max, counts, last_before_more, write_rows};
use crate::dialect::http::response::{Refusal, ResponseMeta};
use crate::dialect::protocol::{Action, Context};
use crate::error::{CloseReason, Failure};
use crate::object::{Details, Entry, ExpectedKind, Listing};
use crate::order::Order;
use crate::properties::{Name, Properties};
use crate::wire::dav::multistatus::{self, MEDIA_TYPE};
use crate::wire::dav::propfind::{self, Selection};
use crate::wire::http::head::Head;
use crate::wire::http::relocation::{self, Depth};
use crate::wire::http::target;
use crate::wire::key::Path;

/// What an entry takes besides its name and the properties that are missing.
const ENTRY_BYTES: usize = 400;

#[derive(Debug)]
pub(super) struct PropFind {
    body: Body,
    /// Once the head was understood.
    run: Option<Run>,
}

#[derive(Debug)]
struct Run {
    /// The path under which a proxy passes this server on.
    mount: Box<str>,
    path: Path,
    depth: Depth,
    asked: Asked,
    itself: Option<Entry>,
    space: Option<Space>,
    awaits: Awaits,
}

/// What the store is waited for.
#[derive(Debug)]
enum Awaits {
    Itself,
    Space,
    Names,
    /// More names; the head was sent.
    MoreNames,
}

/// The properties that are asked for.
#[derive(Debug)]
struct Asked {
    live: Vec<Live>,
    kept: AskedKept,
    /// Without their values.
    names_only: bool,
}

/// Of those that clients keep.
#[derive(Debug)]
enum AskedKept {
    All,
    These(Vec<Name>),
}

impl Asked {
    fn new(body: &str) -> Result<Self, Failure> {
        let usual = || Live::usual().collect::<Vec<_>>();
        Ok(match propfind::parse(body)? {
            Selection::Names => Self { live: usual(), kept: AskedKept::All, names_only: true },
            Selection::All(more) => {
                let mut live = usual();
                let more = more.iter().filter_map(Live::of);
                live.extend(more.filter(|one| !Live::usual().any(|usual| usual == *one)));
                Self { live, kept: AskedKept::All, names_only: false }
            }
            Selection::These(names) => {
                let live = names.iter().filter_map(Live::of).collect();
                let kept = names.into_iter().filter(|name| Live::of(name).is_none()).collect();
                Self { live, kept: AskedKept::These(kept), names_only: false }
            }
        })
    }

    fn is_about_space(&self) -> bool {
        self.live.iter().any(|live| matches!(live, Live::QuotaAvailable | Live::QuotaUsed))
    }

    fn details(&self) -> Details {
        let properties = !matches!(&self.kept, AskedKept::These(names) if names.is_empty());
        Details { digests: self.live.contains(&Live::Checksums), properties }
    }

    /// Names of a part that surely fill no more than it has space for, about.
    fn names_max(&self, context: &Context<'_>) -> usize {
        let missing: usize = match &self.kept {
            AskedKept::All => 0,
            AskedKept::These(names) => names.iter().map(|name| name.namespace.len() + name.local.len() + 16).sum(),
        };
        (content_bytes_max(context) / (ENTRY_BYTES + missing)).clamp(1, context.limits.fixed.list_names_max.max(1))
    }

    /// Writes one response.
    fn write(&self, mount: &str, facts: &Facts<'_>, out: &mut String) {
        let (mut found, mut missing) = (String::new(), String::new());
        for live in &self.live {
            let len = found.len();
            let has_value = live.write(facts, &mut found);
            if self.names_only {
                found.truncate(len);
            }
            match (has_value, &self.kept) {
                (true, _) if self.names_only => multistatus::empty(&live.name(), &mut found),
                (false, AskedKept::These(_)) => multistatus::empty(&live.name(), &mut missing),
                _ => {}
            }
        }
        let kept = || facts.entry.properties.iter().flat_map(Properties::iter);
        match &self.kept {
            AskedKept::All if self.names_only => kept().for_each(|one| {
                multistatus::empty(&Name { namespace: one.namespace.into(), local: one.local.into() }, &mut found);
            }),
            AskedKept::All => kept().for_each(|one| found.push_str(one.xml)),
            AskedKept::These(names) => {
                for name in names {
                    match kept().find(|one| one.is(name)) {
                        Some(one) => found.push_str(one.xml),
                        None => multistatus::empty(name, &mut missing),
                    }
                }
            }
        }
        multistatus::begin_response((mount, facts.key), facts.entry.is_dir, out);
        // RFC 4918 §14.24: at least one.
        if !found.is_empty() || missing.is_empty() {
            multistatus::propstat(&found, 200, out);
        }
        if !missing.is_empty() {
            multistatus::propstat(&missing, 404, out);
        }
        multistatus::end_response(out);
    }
}

impl PropFind {
    pub(super) const fn new(body: Body) -> Self {
        Self { body, run: None }
    }
}

impl Run {
    /// What follows once all is known about the target.
    fn next(&mut self, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        let is_dir = self.itself.as_ref().is_some_and(|entry| entry.is_dir);
        if is_dir && self.depth != Depth::Zero {
            self.awaits = Awaits::Names;
            return Action::Continue(self.list(None, context));
        }
        let nothing = Listing { entries: Vec::new(), more: false, unlisted: 0, total: None };
        self.send(&nothing, response, context)
    }

    fn list(&self, after: Option<Box<str>>, context: &Context<'_>) -> Command {
        let (recursive, limit) = (self.depth == Depth::Infinity, self.asked.names_max(context));
        let details = self.asked.details();
        Command::List { key: self.path.key.clone(), recursive, after, limit, details, order: Order::default() }
    }

    fn send(&mut self, listing: &Listing, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        let (mut text, dir) = (String::new(), &self.path.key);
        let (locks, at) = (context.dav_locks, (&*self.mount, context.wall_clock_s));
        let itself = self.itself.take();
        let is_first = itself.is_some();
        if let Some(entry) = &itself {
            text.push_str(multistatus::BEGIN);
            self.asked.write(&self.mount, &Facts { key: dir, entry, space: self.space, locks, at }, &mut text);
        }
        let fitting = write_rows(&listing.entries, content_bytes_max(context), &mut text, |entry, text| {
            self.asked.write(&self.mount, &Facts { key: &dir.child(&entry.name), entry, space: None, locks, at }, text);
        });
        let next = last_before_more(listing, fitting).map(|last| Order::default().cursor(last).into());
        if next.is_none() {
            text.push_str(multistatus::END);
        }
        if is_first {
            if next.is_some() {
                response.set_length_unknown();
            }
            response.head(207, context);
            counts(listing, context.out);
            match next {
                Some(_) => response.begin_parts(MEDIA_TYPE, context),
                None => response.content(MEDIA_TYPE, text.as_bytes(), context),
            }
        }
        if next.is_some() || !is_first {
            response.part(text.as_bytes(), next.is_none(), context);
        }
        let Some(after) = next else { return response.next_action() };
        self.awaits = Awaits::MoreNames;
        Action::Continue(self.list(Some(after), context))
    }

    /// True if the caller may ask how much space there is.
    fn may_ask_for_space(&self, command: &Command, context: &Context<'_>) -> bool {
        let rights = context.rights(&self.path.key);
        let may_store = rights.has(Rights::CREATE) || rights.has(Rights::REPLACE);
        may_store && context.access.permit_without_rules(command, &context.caller).is_ok()
    }
}

impl Handler for PropFind {
    fn command(
        &mut self,
        head: &Head<'_>,
        _response: &mut ResponseMeta,
        _context: &mut Context<'_>,
    ) -> Result<Action, Refusal<'static>> {
        let asked = Asked::new(&self.body.take()?)?;
        let path = target::path(head.path)?;
        // RFC 4918 §9.1: without the field, all is asked for.
        let depth = relocation::depth(head)?.unwrap_or(Depth::Infinity);
        let key = path.key.clone();
        self.run = Some(Run {
            mount: head.mount.into(),
            path,
            depth,
            asked,
            itself: None,
            space: None,
            awaits: Awaits::Itself,
        });
        Ok(Action::Run(Command::Run(Whole::Describe { key })))
    }

    fn answered(&mut self, answer: Answer, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        let Some(run) = &mut self.run else { return Action::Reset(CloseReason::Internal) };
        match answer {
            Answer::Described(entry) => {
                if run.path.expected_kind == ExpectedKind::Dir && !entry.is_dir {
                    return response.refuse(Failure::NotFound, Some(&run.path.key), context);
                }
                let space = Command::Run(Whole::Space { key: run.path.key.clone(), is_strict: true });
                let asks = entry.is_dir && run.asked.is_about_space() && run.may_ask_for_space(&space, context);
                run.itself = Some(*entry);
                if asks {
                    run.awaits = Awaits::Space;
                    return Action::Continue(space);
                }
                run.next(response, context)
            }
            Answer::SpaceLeft { free, quota } => {
                let left = quota.map(|quota| quota.max.saturating_sub(quota.used));
                let available = left.map_or(free, |left| left.min(free));
                run.space = Some(Space { available, used: quota.map(|quota| quota.used) });
                run.next(response, context)
            }
            Answer::Listed(listing) => run.send(&listing, response, context),
            _ => Action::Reset(CloseReason::Internal),
        }
    }

    fn failed(&mut self, failure: Failure, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        let Some(run) = &mut self.run else { return self.refuse(failure.into(), response, context) };
        match run.awaits {
            // What was sent must not look complete.
            Awaits::MoreNames => Action::Reset(CloseReason::SourceFailed),
            Awaits::Space => run.next(response, context),
            Awaits::Itself | Awaits::Names => {
                // It was a directory when it was looked at.
                let failure = if let Failure::Conflict(_) = failure { Failure::NotFound } else { failure };
                response.refuse(failure, Some(&run.path.key), context)
            }
        }
    }

    fn incoming(&mut self) -> Option<&mut Incoming> {
        self.body.incoming()
    }

    fn body_left(&self) -> u64 {
        self.body.left()
    }
}
