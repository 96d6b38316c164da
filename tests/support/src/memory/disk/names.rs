//! Operations on names: what stands where, conditions, directories, listings.

use filewharf::access::password::WorkMemory;
use filewharf::buffer::Chunk;
use filewharf::command::{Answer, Put, Whole};
use filewharf::error::{Failure, StoreError};
use filewharf::object::{
    Durability, Entry, Etag, ExpectedKind, Key, Listing, Meta, MissingParents, Node, Placed, Precondition, Stored,
};
use filewharf::order::{By, Order};
use filewharf::platform::{Hides, Op, Outcome, Source};
use filewharf::properties::{Change, Properties};
use filewharf::upload::NAME_IS_DIR;
use filewharf::wire::key::relative;

use super::jobs::{Commit, Disk, Next, Open, Stepping, Work, failing, refused};
use super::tree::{Child, Ino, ROOT};
use crate::memory::faults::Faults;
use crate::memory::rng::Rng;

/// What every directory has.
const SPACE_FREE: u64 = 1 << 30;

impl Disk {
    /// Operations on names.
    pub(super) fn named(
        &mut self,
        op: Op,
        chunk: Option<&mut Chunk>,
        durable: bool,
        rng: &mut Rng,
        faults: &Faults,
    ) -> Stepping {
        match op {
            Op::Create(put) => {
                if let Some(same) = self.find_same(&put, durable, rng, faults)? {
                    return Ok(same);
                }
                let staged = self.create(&put, rng, faults)?;
                Ok(Next::Done(Outcome::Created(self.admit(Open::Staged(staged)))))
            }
            Op::Store { put, .. } => {
                let staged = self.create(&put, rng, faults)?;
                let bytes = chunk.expect("a small upload has a chunk").data();
                self.tree.file_mut(staged.ino).bytes = bytes.to_vec();
                let Put { key, mtime, precondition, sha256: digest, .. } = *put;
                let len = bytes.len() as u64;
                let commit = Commit { staged, key, len, prepend: Box::default(), mtime, precondition, digest };
                Ok(Next::Again(Work::Complete(Box::new(commit))))
            }
            Op::Open { key } => {
                failing(rng, faults)?;
                let Some(Child::File(ino)) = self.tree.at(key.as_str()) else {
                    return Err(refused(match self.tree.at(key.as_str()) {
                        Some(_) => Failure::Conflict("that is a folder"),
                        None => Failure::NotFound,
                    }));
                };
                let source = if rng.chance(faults.held) { Source::Held } else { Source::Direct };
                let cold = rng.chance(faults.cold);
                Ok(Next::Done(self.opened(ino, cold, source)))
            }
            Op::Run(Whole::Stat { key }) => {
                failing(rng, faults)?;
                let child = self.tree.at(key.as_str()).ok_or(refused(Failure::NotFound))?;
                Ok(Next::Done(Outcome::Answered(Answer::Found(self.node(child)))))
            }
            Op::Run(Whole::Describe { key }) => {
                failing(rng, faults)?;
                let child = self.tree.at(key.as_str()).ok_or(refused(Failure::NotFound))?;
                let entry = Entry::new(key.name(), self.node(child));
                let entry = Entry { properties: self.properties(&key), ..entry };
                Ok(Next::Done(Outcome::Answered(Answer::Described(Box::new(entry)))))
            }
            Op::List { key, recursive, after, limit, bytes_max, details, hides, order } => {
                failing(rng, faults)?;
                self.undamaged(&[])?;
                if let (true, Some(after)) = (recursive, &after) {
                    relative(after.trim_end_matches('/'))
                        .map_err(|_| refused(Failure::Malformed("after= is no such name")))?;
                }
                let asked = (after.as_deref(), limit, bytes_max, &order);
                let mut page = self.list((&key, recursive), asked, hides.as_ref())?;
                for entry in page.entries.iter_mut().filter(|_| !details.digests) {
                    if let Some(Node::File(meta)) = &mut entry.node {
                        meta.sha256 = None;
                    }
                }
                for entry in page.entries.iter_mut().filter(|_| details.properties) {
                    entry.properties = self.properties(&key.child(&entry.name));
                }
                Ok(Next::Done(Outcome::Listed(page)))
            }
            Op::Run(Whole::Delete { key, is_recursive, expected_kind, precondition }) => {
                self.fit(rng, faults)?;
                let (child, parent) = self.source(&key)?;
                let holds = match self.node(child) {
                    Node::File(_) if expected_kind == ExpectedKind::Dir => {
                        return Err(refused(Failure::Conflict("that is a file")));
                    }
                    Node::File(meta) => precondition.holds(Some(&meta)),
                    Node::Dir { .. } => matches!(precondition, Precondition::None | Precondition::Present),
                };
                if !holds {
                    return Err(refused(Failure::PreconditionFailed));
                }
                if let Child::Dir(ino) = child
                    && !is_recursive
                    && !self.tree.names(ino).is_empty()
                {
                    return Err(refused(Failure::Conflict("the folder is not empty")));
                }
                self.tree.remove(parent, key.name());
                Ok(self.owing(&[key.parent()], Outcome::Answered(Answer::Done), durable))
            }
            Op::VerifyPassword(check) => {
                Ok(Next::Done(Outcome::PasswordVerified(Box::new(check.run(&mut WorkMemory::default())))))
            }
            Op::Run(Whole::SetProperties { key, mtime, changes }) => {
                self.set_kept(&key, (mtime, &changes), durable, rng, faults)
            }
            Op::Run(Whole::KeepLock { lock, rights, .. }) => {
                self.fit(rng, faults)?;
                let is_new = self.tree.at(lock.key.as_str()).is_none();
                if is_new {
                    rights.new.map_err(refused)?;
                    self.need_dir(lock.key.parent())?;
                    let dir = self.make_way(lock.key.parent())?;
                    let ino = self.tree.create(dir, lock.key.name());
                    self.tree.touch(ino);
                } else {
                    rights.existing.map_err(refused)?;
                }
                let above = lock.key.parent().to_owned();
                let token = lock.token;
                self.dav_locks.insert(token, *lock);
                Ok(self.owing(&[&above], Outcome::Answered(Answer::Locked { token, is_new }), durable))
            }
            Op::Run(Whole::EndLock { key, token }) => {
                self.fit(rng, faults)?;
                self.dav_locks.remove(&token);
                Ok(Next::Done(Outcome::Answered(Answer::Unlocked(key, token))))
            }
            Op::Run(Whole::SetTime { key, mtime }) => self.set_kept(&key, (Some(mtime), &[]), durable, rng, faults),
            Op::Run(Whole::Space { key, is_strict }) => {
                failing(rng, faults)?;
                match self.tree.at(key.as_str()) {
                    None if is_strict => return Err(refused(Failure::NotFound)),
                    Some(Child::File(_)) if is_strict => return Err(refused(Failure::Conflict("that is a file"))),
                    _ => {}
                }
                Ok(Next::Done(Outcome::Answered(Answer::SpaceLeft { free: SPACE_FREE, quota: None })))
            }
            Op::Run(Whole::MakeDir { key, parents }) => {
                self.fit(rng, faults)?;
                let is_new = self.tree.at(key.as_str()).is_none();
                if parents == MissingParents::Refuse {
                    self.need_dir(key.parent())?;
                    if !is_new {
                        return Err(refused(Failure::PreconditionFailed));
                    }
                }
                self.make_way(key.as_str())?;
                Ok(self.owing(&[key.as_str()], Outcome::Answered(Answer::DirMade { is_new }), durable))
            }
            Op::Run(Whole::Rename { from, to, precondition, parents, replaces_dir, len_max }) => {
                self.fit(rng, faults)?;
                match (len_max, self.tree.at(from.as_str())) {
                    (Some(len_max), Some(Child::File(ino))) if self.meta(ino).len > len_max => {
                        return Err(StoreError::refused(Failure::TooLarge, "rename"));
                    }
                    (Some(_), Some(Child::Dir(_))) => {
                        return Err(StoreError::refused(Failure::Conflict("a bound"), "rename"));
                    }
                    _ => {}
                }
                self.source(&from)?;
                if parents == MissingParents::Refuse {
                    self.need_dir(to.parent())?;
                }
                self.rename((&from, &to), (&precondition, replaces_dir), durable)
            }
            other => unreachable!("{other:?} is served elsewhere"),
        }
    }

    /// Only files keep properties here.
    fn set_kept(
        &mut self,
        key: &Key,
        (mtime, changes): (Option<i64>, &[Change]),
        durable: bool,
        rng: &mut Rng,
        faults: &Faults,
    ) -> Stepping {
        self.fit(rng, faults)?;
        if key.is_root() {
            return Err(refused(Failure::Denied("the served folder itself keeps its time")));
        }
        let (child, _) = self.source(key)?;
        if let Child::File(ino) = child
            && (mtime.is_some() || !changes.is_empty())
        {
            let file = self.tree.file(ino);
            let (sha256, properties) = (file.sha256, file.properties.changed(changes));
            let properties = properties.ok_or(refused(Failure::NoSpace))?;
            self.tree.touch(ino);
            let file = self.tree.file_mut(ino);
            (file.mtime, file.sha256, file.properties) = (mtime.unwrap_or(file.mtime), sha256, properties);
            if durable && rng.chance(faults.sync_error) {
                return Err(self.sync_failed(Some(ino)));
            }
            if durable {
                self.tree.sync_file(ino);
            }
        }
        Ok(self.owing(&[key.parent()], Outcome::Answered(Answer::TimeSet(self.node(child))), durable))
    }

    fn properties(&self, key: &Key) -> Option<Properties> {
        let Some(Child::File(ino)) = self.tree.at(key.as_str()) else { return None };
        Some(self.tree.file(ino).properties.clone()).filter(|properties| !properties.bytes().is_empty())
    }

    /// The file that an upload announced, if it has the name already; made durable before that is said.
    pub(super) fn find_same(
        &mut self,
        put: &Put,
        durable: bool,
        rng: &mut Rng,
        faults: &Faults,
    ) -> Result<Option<Next>, StoreError> {
        let Some(Child::File(ino)) = self.tree.at(put.key.as_str()) else { return Ok(None) };
        let meta = self.meta(ino);
        let is_same =
            put.sha256.is_some() && meta.sha256.as_ref() == put.sha256.as_deref() && put.len == Some(meta.len);
        let has_mode = !put.is_executable || meta.is_executable;
        if !is_same || !has_mode || put.mtime.is_some_and(|mtime| mtime != meta.mtime) {
            return Ok(None);
        }
        self.fit(rng, faults)?;
        self.may_replace(&put.key, &put.precondition)?;
        if durable {
            if rng.chance(faults.sync_error) {
                return Err(self.sync_failed(Some(ino)));
            }
            self.tree.sync_file(ino);
        }
        let durability = if durable { Durability::Durable } else { Durability::Written };
        let stored = Stored { meta, durability, placed: Placed::Replaced };
        Ok(Some(self.owing(&[put.key.parent()], Outcome::Committed(stored), durable)))
    }

    /// Another open file.
    pub fn opened(&mut self, ino: Ino, cold: bool, source: Source) -> Outcome {
        let file = self.admit(Open::Reading { ino, cold });
        Outcome::Opened { file, meta: self.meta(ino), source }
    }

    /// Makes a directory and its parents, as others than the server do.
    pub fn place_dir(&mut self, path: &str) {
        self.make_way(path).expect("no file on the way");
    }

    /// Puts a file there, as others than the server do.
    pub fn place(&mut self, path: &str, bytes: &[u8], mtime: Option<i64>) {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let dir = self.make_way(parent).expect("a way to the file");
        let ino = self.tree.create(dir, name);
        let file = self.tree.file_mut(ino);
        file.bytes = bytes.to_vec();
        file.mtime = mtime.unwrap_or(file.mtime);
        self.tree.touch(ino);
    }

    fn rename(
        &mut self,
        (from, to): (&Key, &Key),
        (precondition, replaces_dir): (&Precondition, bool),
        durable: bool,
    ) -> Stepping {
        let (child, parent) = self.source(from)?;
        let target = self.make_way(to.parent())?;
        let there = self.tree.at(to.as_str());
        if precondition.wants_absent() && matches!(there, Some(Child::Dir(_))) {
            return Err(refused(Failure::PreconditionFailed));
        }
        let placed = if there.is_some() { Placed::Replaced } else { Placed::New };
        let is_exchanged =
            replaces_dir && from != to && matches!((child, there), (Child::Dir(_), Some(_)) | (_, Some(Child::Dir(_))));
        if is_exchanged {
            let is_inside = |one: &Key, other: &Key| one.as_str().starts_with(&format!("{other}/"));
            if is_inside(from, to) || is_inside(to, from) {
                return Err(refused(Failure::Conflict("a folder cannot move into itself")));
            }
            if !matches!(precondition, Precondition::None | Precondition::Present) {
                return Err(refused(Failure::PreconditionFailed));
            }
        } else {
            self.may_replace(to, precondition)?;
        }
        if !is_exchanged && matches!(child, Child::Dir(_)) && self.tree.at(to.as_str()).is_some() {
            return Err(refused(Failure::Conflict("a file has that name")));
        }
        if from != to {
            if durable {
                self.secure(to.parent());
            }
            self.tree.rename((parent, from.name()), (target, to.name()));
            if let Child::File(ino) = child {
                let sha256 = self.tree.file(ino).sha256;
                self.tree.touch(ino);
                self.tree.file_mut(ino).sha256 = sha256;
            }
        }
        Ok(self.owing(&[from.parent(), to.parent()], Outcome::Answered(Answer::Moved(placed)), durable))
    }

    /// What is moved must not go where a power cut could leave no way to it.
    pub(super) fn secure(&mut self, path: &str) {
        let mut at = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            self.tree.sync_dir(at);
            match self.tree.child(at, name) {
                Some(Child::Dir(ino)) => at = ino,
                _ => break,
            }
        }
    }

    pub(super) fn need_dir(&self, path: &str) -> Result<(), StoreError> {
        match self.tree.dir_at(path) {
            Ok(Some(_)) => Ok(()),
            Err(_) => Err(refused(Failure::Conflict("a file is in the way"))),
            Ok(None) => Err(refused(Failure::Conflict("the folder for it is not there: make that first"))),
        }
    }

    pub(super) fn make_way(&mut self, path: &str) -> Result<Ino, StoreError> {
        let mut at = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            at = match self.tree.child(at, name) {
                Some(Child::Dir(ino)) => ino,
                Some(Child::File(_)) => return Err(refused(Failure::Conflict("a file is on the way"))),
                None => self.tree.make_dir(at, name),
            };
        }
        Ok(at)
    }

    fn source(&self, key: &Key) -> Result<(Child, Ino), StoreError> {
        let child = self.tree.at(key.as_str()).ok_or(refused(Failure::NotFound))?;
        let parent = self.tree.dir_at(key.parent()).ok().flatten().ok_or(refused(Failure::NotFound))?;
        Ok((child, parent))
    }

    pub(super) fn may_replace(&self, key: &Key, precondition: &Precondition) -> Result<(), StoreError> {
        let there = self.tree.at(key.as_str());
        let file = match there.map(|child| self.node(child)) {
            None => None,
            Some(Node::File(meta)) => Some(meta),
            Some(Node::Dir { .. }) => return Err(refused(NAME_IS_DIR)),
        };
        if precondition.holds(file.as_ref()) { Ok(()) } else { Err(refused(Failure::PreconditionFailed)) }
    }

    pub(super) fn meta(&self, ino: Ino) -> Meta {
        let file = self.tree.file(ino);
        let etag = Etag(u128::from(file.version).to_be_bytes());
        Meta {
            len: file.bytes.len() as u64,
            mtime: file.mtime,
            etag,
            sha256: file.sha256,
            is_executable: file.is_executable,
        }
    }

    fn node(&self, child: Child) -> Node {
        match child {
            Child::File(ino) => Node::File(self.meta(ino)),
            Child::Dir(_) => Node::Dir { mtime: 1_600_000_000 },
        }
    }

    fn list(
        &self,
        (key, recursive): (&Key, bool),
        (after, limit, bytes_max, order): (Option<&str>, usize, usize, &Order),
        hides: Option<&Hides>,
    ) -> Result<Listing, StoreError> {
        let dir = match self.tree.at(key.as_str()) {
            Some(Child::Dir(ino)) => ino,
            Some(Child::File(_)) => return Err(refused(Failure::Conflict("that is a file"))),
            None => return Err(refused(Failure::NotFound)),
        };
        let mut names = Vec::new();
        self.gather(dir, "", recursive, hides, &mut names);
        names.retain(|(name, _)| order.has(name));
        let total = (!order.is_plain() && hides.is_none()).then_some(names.len() as u64);
        let (mut listing, mut bytes) = (Listing { entries: Vec::new(), more: false, unlisted: 0, total }, 0);
        // No name has a control character.
        let place = |path: &str| path.replace('/', "\0").into_bytes();
        let rank = |child: &Child| order.rank(Some(&self.node(*child)));
        let key = |(name, child): &(String, Child)| match order.by {
            By::Bytes => place(name),
            _ => order.key(name, matches!(child, Child::Dir(_)), rank(child)),
        };
        names.sort_by_cached_key(key);
        let after = match (order.by, after) {
            (_, None) => None,
            (By::Bytes, Some(after)) => Some(place(after)),
            (_, Some(after)) => Some(order.place(after).ok_or(refused(Failure::Malformed("after= is no such place")))?),
        };
        for named @ (name, child) in &names {
            if after.as_ref().is_some_and(|after| key(named) <= *after) {
                continue;
            }
            bytes += name.len() + 96;
            if listing.entries.len() == limit || bytes > bytes_max && !listing.entries.is_empty() {
                listing.more = true;
                break;
            }
            listing.entries.push(Entry { rank: rank(child), ..Entry::new(name, self.node(*child)) });
        }
        Ok(listing)
    }

    /// The names in a directory after this front of their paths, each directory before what is in it.
    fn gather(&self, dir: Ino, front: &str, recursive: bool, hides: Option<&Hides>, names: &mut Vec<(String, Child)>) {
        let is_hidden = |path: &str| hides.is_some_and(|hides| hides.hides(path));
        for (name, child) in self.tree.names(dir) {
            let path = format!("{front}{name}");
            if is_hidden(&path) {
                continue;
            }
            names.push((path.clone(), *child));
            let inside = format!("{path}/");
            if let Child::Dir(ino) = child
                && recursive
                && !is_hidden(&inside)
            {
                self.gather(*ino, &inside, recursive, hides, names);
            }
        }
    }
}
