//! What a command needs: the rights of the caller at its names decide whether it runs, and how. One decision for all
//! dialects.
//!
//! A name where a caller may create and nothing else is a drop box: an upload gets a name of its own there, so that no
//! answer tells what is there already.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::{fmt, io};

use sha2::{Digest as _, Sha256};

use crate::access::caller::{Caller, Identity};
use crate::access::control::Access;
use crate::access::names::parent;
use crate::access::rights::Rights;
use crate::access::rules::Rules;
use crate::command::{Append, Command, Copying, DirCopy, LockRights, Put, Whole};
use crate::error::{Failure, StoreError};
use crate::object::{Entry, Key, Listing, Meta, Node, Precondition};
use crate::upload::{UploadId, UploadRef};
use crate::wire::key::{self, UNNAMED};
use crate::wire::line::hex;

/// The rules do not permit it.
pub const DENIED: Failure = Failure::Denied("this is not permitted here");
/// The failure that a caller which could prove itself is sent in its place.
pub fn denied(caller: &Caller) -> Failure {
    if caller.is_anybody() { Failure::Unauthorized } else { DENIED }
}
const READ_ONLY: Failure = Failure::Denied("this server is read-only");
const READ_SECRET: Failure = Failure::Denied("this secret permits reading only");

/// The caller of a request, and what makes the request different from all others.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    pub caller: &'a Caller,
    /// The address of the client.
    pub from: IpAddr,
    /// The other end of the connection.
    pub peer: SocketAddr,
    pub wall_clock_s: u64,
    /// Requests that have ended.
    pub requests: u64,
}

/// Whether a caller may store under the name of an upload that only the store knows by name: returns how long the upload
/// may be, or what the caller is answered. `None` permits everything.
#[derive(Clone, Default)]
pub struct Permit(pub Option<Arc<Permits>>);

type Permits = dyn Fn(&Key) -> Result<u64, Failure> + Send + Sync;

impl Permit {
    /// Refuses an upload of this name, and one that is to have this length.
    pub fn check(&self, key: &Key, len: Option<u64>) -> Result<(), StoreError> {
        let Some(permits) = &self.0 else { return Ok(()) };
        let refused =
            |failure, site| StoreError { failure, site, source: Some(io::Error::other(key.as_str().to_owned())) };
        let len_max = permits(key).map_err(|failure| refused(failure, "not permitted by the rules"))?;
        if len > Some(len_max) { Err(refused(Failure::TooLarge, Failure::TooLarge.words())) } else { Ok(()) }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}

impl Access {
    /// Whether the command may run, as far as no rules decide.
    pub fn permit_without_rules(&self, command: &Command, caller: &Caller) -> Result<(), Failure> {
        if command.is_change() || matches!(command, Command::Run(Whole::Space { .. })) {
            if self.is_read_only() {
                return Err(READ_ONLY);
            }
            if caller.identity() == Some(&Identity::ReadSecret) {
                return Err(READ_SECRET);
            }
        }
        Ok(())
    }

    /// The command as it may run by the rules. An upload that only the store knows by name is checked there, with
    /// [`Rules::upload_bound`].
    pub fn permit(&self, command: Command, rules: &Rules, asking: &Asking<'_>) -> Result<Command, Failure> {
        self.permit_without_rules(&command, asking.caller)?;
        if !rules.is_current(asking.caller, asking.wall_clock_s) {
            return Err(Failure::WrongSecret);
        }
        rules.permit(command, asking)
    }

    /// What must hold where an upload gets its name, in place of `precondition`. The rules are asked again: they may be
    /// others than at its start. That what proved the caller has expired meanwhile does not matter.
    pub fn permit_commit(
        &self,
        key: Key,
        precondition: Precondition,
        is_new_name: bool,
        asking: &Asking<'_>,
    ) -> Result<(Key, Precondition), Failure> {
        let Some(rules) = self.rules() else { return Ok((key, precondition)) };
        // Also where anybody may store: the entry that its rules were for is gone.
        if !rules.knows(asking.caller) {
            return Err(DENIED);
        }
        match rules.upload_way(&key, asking)? {
            Way::Drop if is_new_name => Ok((drop_name(&key, &asking.seed())?, and(precondition, Precondition::Absent))),
            Way::Drop | Way::Create => Ok((key, and(precondition, Precondition::Absent))),
            Way::Replace => Ok((key, and(precondition, Precondition::Present))),
            Way::Either => Ok((key, precondition)),
        }
    }

    /// True if a caller may learn what was found under this name.
    pub fn permits_found(&self, key: &Key, node: &Node, asking: &Asking<'_>) -> bool {
        let may_list = || self.rules().is_none_or(|rules| rules.may_list(asking.caller, asking.from, key));
        self.rights(asking.caller, asking.from, key).has(Rights::READ) || matches!(node, Node::Dir { .. }) && may_list()
    }

    /// Removes from a listing what the caller may not list, and the digests of what it may not read; false if it may not
    /// have the listing.
    pub fn filter(&self, dir: &Key, recursive: bool, listing: &mut Listing, asking: &Asking<'_>) -> bool {
        if let Some(rules) = self.rules().filter(|_| recursive) {
            let lists = |entry: &Entry| {
                let key = dir.child(&entry.name);
                let above = Key::checked(key.parent());
                rules.may_list(asking.caller, asking.from, &above) && rules.lists(asking.caller, asking.from, &key)
            };
            // A name that is left out would leave out those in it.
            if !rules.may_list(asking.caller, asking.from, dir) || !listing.entries.iter().all(lists) {
                return false;
            }
        } else if let Some(rules) = self.rules()
            && !rules.rights(asking.caller, asking.from, dir).has(Rights::LIST)
        {
            if !rules.may_list(asking.caller, asking.from, dir) {
                return false;
            }
            let leads_on = |name: &str| rules.may_list(asking.caller, asking.from, &dir.child(name));
            listing.entries.retain(|entry| leads_on(&entry.name));
        }
        for entry in &mut listing.entries {
            if is_detailed(entry) {
                self.filter_details(&dir.child(&entry.name), entry, asking);
            }
        }
        true
    }

    /// Removes what was looked up of something that the caller may not read.
    pub fn filter_details(&self, key: &Key, entry: &mut Entry, asking: &Asking<'_>) {
        if self.rights(asking.caller, asking.from, key).has(Rights::READ) {
            return;
        }
        entry.properties = None;
        if let Some(Node::File(meta)) = &mut entry.node {
            meta.sha256 = None;
        }
    }

    /// Bytes that an upload of this name may have; `None`: no bound here.
    pub fn upload_len_max(&self, key: &Key, asking: &Asking<'_>) -> Option<u64> {
        self.rules()?.upload_len_max(asking.caller, asking.from, key)
    }
}

fn is_detailed(entry: &Entry) -> bool {
    entry.properties.is_some() || matches!(entry.node, Some(Node::File(Meta { sha256: Some(_), .. })))
}

/// How an upload may get its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Where nothing is, and nothing is reported.
    Drop,
    /// Where nothing is.
    Create,
    /// Where something is.
    Replace,
    Either,
}

impl Rules {
    /// Bytes that an upload of this name may have; `None` if the caller may not continue it, ask about it or give it up.
    pub fn upload_bound(&self, caller: &Caller, from: IpAddr, key: &Key) -> Option<u64> {
        let rights = self.rights(caller, from, key);
        let may_store = rights.has(Rights::CREATE) || rights.has(Rights::REPLACE);
        may_store.then(|| self.upload_len_max(caller, from, key).unwrap_or(u64::MAX))
    }

    fn permit(&self, command: Command, asking: &Asking<'_>) -> Result<Command, Failure> {
        match &command {
            Command::Copy(_) | Command::Run(Whole::Rename { .. }) => self.permit_relocation(command, asking),
            Command::Put(_) | Command::Append(_) => self.permit_new(command, asking),
            Command::CancelUpload { .. } | Command::StatUpload { .. } => Ok(command),
            Command::Get { .. } | Command::List { .. } | Command::Run(_) => {
                let Some(key) = command.key() else { return Err(Failure::Internal) };
                let rights = self.rights(asking.caller, asking.from, key);
                if is_permitted(&command, rights, self.may_list(asking.caller, asking.from, key)) {
                    return match command {
                        // What is in a directory goes with it, so no other rule may lie under it.
                        Command::Run(Whole::Delete { ref key, is_recursive: true, .. }) if self.has_rule_under(key) => {
                            Err(DENIED)
                        }
                        Command::Run(Whole::KeepLock { ref lock, is_renewal: false, .. })
                            if lock.is_deep && self.has_rule_under(key) =>
                        {
                            Err(DENIED)
                        }
                        Command::Run(Whole::KeepLock { lock, client, is_renewal, .. }) => {
                            let right = |right| if rights.has(right) { Ok(()) } else { Err(denied(asking.caller)) };
                            let rights = LockRights { existing: right(Rights::REPLACE), new: right(Rights::CREATE) };
                            Ok(Command::Run(Whole::KeepLock { lock, client, rights, is_renewal }))
                        }
                        // In a drop box, no answer says whether a directory is there.
                        Command::Run(Whole::Space { key, .. }) if rights == Rights::CREATE => {
                            Ok(Command::Run(Whole::Space { key, is_strict: false }))
                        }
                        command => Ok(command),
                    };
                }
                let above = self.rights_above(asking.caller, asking.from, key);
                let is_hidden = rights.is_none()
                    && !matches!(command, Command::Run(Whole::MakeDir { .. }))
                    && is_permitted(&command, above, above.has(Rights::LIST));
                Err(if is_hidden { Failure::NotFound } else { DENIED })
            }
        }
    }

    fn permit_new(&self, command: Command, asking: &Asking<'_>) -> Result<Command, Failure> {
        match command {
            Command::Put(put) => Ok(Command::Put(self.permit_put(put, None, asking)?)),
            Command::Append(mut append) => {
                if let Append { upload: UploadRef::New(new), .. } = &mut *append {
                    new.put = self.permit_put(new.put.clone(), new.id, asking)?;
                }
                Ok(Command::Append(append))
            }
            other => Ok(other),
        }
    }

    /// `id`: that of an upload that may be resumed.
    fn permit_put(&self, mut put: Put, id: Option<UploadId>, asking: &Asking<'_>) -> Result<Put, Failure> {
        let way = self.upload_way(&put.key, asking)?;
        if put.len.zip(self.upload_len_max(asking.caller, asking.from, &put.key)).is_some_and(|(len, max)| len > max) {
            return Err(Failure::TooLarge);
        }
        // That the content is there already would tell what it is, but for a name that only the upload's token gives.
        let is_own = way == Way::Drop && id.is_some();
        if !is_own && !self.rights(asking.caller, asking.from, &put.key).has(Rights::READ) {
            put.sha256 = None;
        }
        match way {
            // That nothing has this name is checked when it gets it: one that can be resumed may be complete already.
            Way::Drop => {
                // The same upload has the same name whenever it is resumed.
                let seed = id.map_or_else(|| asking.seed(), |UploadId(id)| id.to_vec());
                put.key = drop_name(&put.key, &seed)?;
                // What permits the name that was asked for may be for that alone.
                if self.rights(asking.caller, asking.from, &put.key) != Rights::CREATE {
                    return Err(DENIED);
                }
            }
            Way::Create => put.precondition = and(put.precondition, Precondition::Absent),
            Way::Replace => put.precondition = and(put.precondition, Precondition::Present),
            Way::Either => {}
        }
        Ok(put)
    }

    /// True if the caller may upload into a directory.
    pub fn takes_uploads(&self, caller: &Caller, from: IpAddr, dir: &Key) -> bool {
        self.way_of(&dir.child(UNNAMED), caller, from).is_ok()
    }

    fn upload_way(&self, key: &Key, asking: &Asking<'_>) -> Result<Way, Failure> {
        self.way_of(key, asking.caller, asking.from)
    }

    fn way_of(&self, key: &Key, caller: &Caller, from: IpAddr) -> Result<Way, Failure> {
        let rights = self.rights(caller, from, key);
        match (rights.has(Rights::CREATE), rights.has(Rights::REPLACE)) {
            (true, true) => Ok(Way::Either),
            // Deeper, the answer would distinguish a directory that is there from a file.
            (true, false) if rights == Rights::CREATE => match parent(key.as_str()) {
                // The directory of the rule itself has its name in another.
                Some(dir) if !self.is_prefix(key.as_str()) && (self.is_prefix(dir) || is_linked(caller, dir)) => {
                    Ok(Way::Drop)
                }
                _ => Err(DENIED),
            },
            (true, false) => Ok(Way::Create),
            (false, true) => Ok(Way::Replace),
            (false, false) => Err(DENIED),
        }
    }

    /// A directory moves with all that is in it, so no rule may lie under either name; and nothing becomes readable by
    /// it that was not. The same holds of a copy.
    fn permit_relocation(&self, command: Command, asking: &Asking<'_>) -> Result<Command, Failure> {
        match command {
            Command::Run(Whole::Rename { from, to, precondition, parents, replaces_dir, .. }) => {
                let needed = |gained| Rights::DELETE.with(gained);
                let Relocated { precondition, may_remove, len_max, .. } =
                    self.relocated((&from, &to), precondition, needed, asking)?;
                // With a directory, all that is in it is removed.
                let replaces_dir = replaces_dir && may_remove;
                Ok(Command::Run(Whole::Rename { from, to, precondition, parents, replaces_dir, len_max }))
            }
            Command::Copy(copying) => {
                let Copying { from, to, precondition, parents, dir, replaces_dir, .. } = *copying;
                let Relocated { source, precondition, may_remove, len_max } =
                    self.relocated((&from, &to), precondition, |_| Rights::READ, asking)?;
                let dir = if source.has(Rights::LIST) { dir } else { DirCopy::Refused(denied(asking.caller)) };
                let replaces_dir = replaces_dir && may_remove;
                Ok(Command::Copy(Box::new(Copying { from, to, precondition, parents, dir, replaces_dir, len_max })))
            }
            other => Ok(other),
        }
    }

    /// What may become of a source at a target. `needed` are the rights at the source, with those to see it that the
    /// caller has at the target.
    fn relocated(
        &self,
        (from, to): (&Key, &Key),
        precondition: Precondition,
        needed: impl FnOnce(Rights) -> Rights,
        asking: &Asking<'_>,
    ) -> Result<Relocated, Failure> {
        let mut source = self.rights(asking.caller, asking.from, from);
        let is_hidden = source.is_none();
        if is_hidden {
            source = self.rights_above(asking.caller, asking.from, from);
        }
        let target = self.rights(asking.caller, asking.from, to);
        let gained = target.and(Rights::READ.with(Rights::LIST));
        if !source.has(needed(gained))
            || target == Rights::CREATE
            || self.has_rule_under(from)
            || self.has_rule_under(to)
        {
            return Err(DENIED);
        }
        let precondition = match (target.has(Rights::CREATE), target.has(Rights::REPLACE)) {
            (true, true) => precondition,
            (true, false) => and(precondition, Precondition::Absent),
            (false, true) => and(precondition, Precondition::Present),
            (false, false) => return Err(DENIED),
        };
        // What is under the same prefix has met its bounds.
        let is_within = self.is_same_prefix(from, to);
        let len_max = self.upload_len_max(asking.caller, asking.from, to).filter(|_| !is_within);
        if is_hidden {
            return Err(Failure::NotFound);
        }
        Ok(Relocated { source, precondition, may_remove: target.has(Rights::DELETE), len_max })
    }
}

/// What may become of a source at a target.
struct Relocated {
    /// The rights of the caller at the source.
    source: Rights,
    precondition: Precondition,
    /// What the target was may be removed with all that is in it.
    may_remove: bool,
    /// Bytes that a file may have there.
    len_max: Option<u64>,
}

/// Whether these rights at its name permit a command that is about one name.
fn is_permitted(command: &Command, rights: Rights, may_list: bool) -> bool {
    match command {
        Command::Get { .. } => rights.has(Rights::READ),
        // What is there decides whether it may be shown.
        Command::Run(Whole::Stat { .. } | Whole::Describe { .. }) => rights.has(Rights::READ) || may_list,
        Command::List { .. } => may_list,
        Command::Run(Whole::Delete { .. }) => rights.has(Rights::DELETE),
        Command::Run(Whole::SetTime { .. } | Whole::SetProperties { .. }) => rights.has(Rights::REPLACE),
        // In a drop box, the answer would say whether something is there.
        Command::Run(Whole::KeepLock { .. } | Whole::EndLock { .. }) => {
            rights.has(Rights::REPLACE) || rights.has(Rights::CREATE) && rights != Rights::CREATE
        }
        Command::Run(Whole::Space { .. }) => rights.has(Rights::CREATE) || rights.has(Rights::REPLACE),
        // The answer would say whether it is there already.
        Command::Run(Whole::MakeDir { .. }) => rights.has(Rights::CREATE) && rights != Rights::CREATE,
        _ => false,
    }
}

/// True if this is the directory that a link is for.
fn is_linked(caller: &Caller, dir: &str) -> bool {
    caller.link().is_some_and(|link| link.prefix.as_str() == dir)
}

impl Asking<'_> {
    /// Of this request and of no other.
    fn seed(&self) -> Vec<u8> {
        format!("{} {} {}", self.peer, self.wall_clock_s, self.requests).into_bytes()
    }
}

fn and(asked: Precondition, besides: Precondition) -> Precondition {
    match asked {
        Precondition::None => besides,
        asked if asked == besides => asked,
        asked => Precondition::All(Box::new([asked, besides])),
    }
}

/// Hex digits in the names of a drop box.
const DROP_DIGITS: usize = 16;

/// The name with a part that no other upload has, before its extension.
fn drop_name(key: &Key, seed: &[u8]) -> Result<Key, Failure> {
    let digest = Sha256::new().chain_update(key.as_str()).chain_update(b"\0").chain_update(seed).finalize();
    let digits = hex(&digest[..DROP_DIGITS / 2]);
    let (stem, extension) = match key.name().rfind('.') {
        Some(dot) if dot > 0 && key.name().len() - dot <= DROP_DIGITS => key.name().split_at(dot),
        _ => (key.name(), ""),
    };
    // A long name is cut, so that the new one is a name too.
    let mut len = stem.len().min(key::COMPONENT_LEN_MAX - DROP_DIGITS - 1 - extension.len());
    while !stem.is_char_boundary(len) {
        len -= 1;
    }
    let slash = if key.parent().is_empty() { "" } else { "/" };
    key::relative(&format!("{}{slash}{}-{digits}{extension}", key.parent(), &stem[..len]))
}
