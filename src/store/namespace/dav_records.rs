//! The locks of WebDAV on the disk: a file for each in `.filewharf/dav`, synced before the lock is answered and read at
//! the start. What has no such file is not locked.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir as Names, FlockOperation, Mode, OFlags, flock, openat, renameat, unlinkat};
use rustix::io::{Errno, retry_on_intr};

use crate::command::{Answer, LockRights, Put};
use crate::dav_locks::{DavLock, LOCKS_MAX, LockToken, OWNER_LEN_MAX, Scope, Shown};
use crate::error::{Failure, StoreError};
use crate::object::{Key, MissingParents, Precondition};
use crate::os::process::unix_time;
use crate::platform::Outcome;
use crate::store::fs::errno::{SiteErrno, TARGET};
use crate::store::fs::resolve::dir_flags;
use crate::store::fs::root::Dir;
use crate::store::fs::stat::{self, Kind, standing};
use crate::store::namespace::Namespace;
use crate::store::staging::locks::private_dir;
use crate::store::staging::pending_syncs::{Change, PendingSyncs};
use crate::wire::key::{self, KEY_LEN_MAX, RESERVED};

const FOLDER: &str = "dav";
const LAYOUT: &str = "filewharf lock 1";
/// Longest record.
const RECORD_LEN_MAX: u64 = (KEY_LEN_MAX + OWNER_LEN_MAX + 1024) as u64;

fn record_name(token: LockToken) -> String {
    token.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn encode(lock: &DavLock) -> String {
    let scope = if lock.scope == Scope::Exclusive { "exclusive" } else { "shared" };
    let depth = if lock.is_deep { "infinity" } else { "0" };
    let DavLock { key, owner, user, expires_s, .. } = lock;
    // No name has a line break; the owner is last.
    format!("{LAYOUT}\n{}\n{scope} {depth} {expires_s}\n{user}\n{owner}", key.as_str())
}

fn decode(name: &str, text: &str) -> Option<DavLock> {
    let mut token = [0; 16];
    for (place, byte) in token.iter_mut().enumerate() {
        *byte = u8::from_str_radix(name.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    let mut lines = text.splitn(5, '\n');
    let (layout, path, how) = (lines.next()?, lines.next()?, lines.next()?);
    let (user, owner) = (lines.next()?, lines.next()?);
    let mut how = how.split(' ');
    let scope = match how.next()? {
        "exclusive" => Scope::Exclusive,
        "shared" => Scope::Shared,
        _ => return None,
    };
    let is_deep = how.next()? == "infinity";
    let expires_s = how.next()?.parse().ok()?;
    let key = key::absolute(&format!("/{path}")).ok()?.key;
    let (token, owner, user) = (LockToken(token), owner.into(), user.into());
    (layout == LAYOUT && name.len() == 32).then_some(DavLock { token, key, scope, is_deep, owner, user, expires_s })
}

impl Namespace {
    /// Makes a lock durable; an empty file is made where nothing is.
    pub(crate) fn keep_lock(&self, lock: &DavLock, rights: &LockRights) -> Result<Change, StoreError> {
        self.fs.health.check_writable()?;
        let path = lock.key.as_str();
        let refused = |failure| StoreError::refused(failure, "lock");
        let is_new = !lock.key.is_root() && !self.is_there(lock)?;
        let mut syncs = PendingSyncs::default();
        if is_new {
            rights.new.map_err(refused)?;
            self.parents.resolve(lock.key.parent(), MissingParents::Refuse)?;
            let put = Put { precondition: Precondition::Absent, ..Put::new(lock.key.clone(), Some(0)) };
            syncs = self.store(&put, b"")?.syncs;
        } else {
            rights.existing.map_err(refused)?;
        }
        let written = self.write_record(lock);
        written.map_err(|(site, errno)| self.fs.change_error(site, path, errno))?;
        Ok(Change { outcome: Outcome::Answered(Answer::Locked { token: lock.token, is_new }), syncs, displaced: None })
    }

    fn is_there(&self, lock: &DavLock) -> Result<bool, StoreError> {
        let failed = |site, errno| self.fs.change_error(site, lock.key.as_str(), errno);
        let dir = match self.fs.dir(lock.key.parent()) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => return Ok(false),
            Err(errno) => return Err(failed("open folder", errno)),
        };
        let there = standing(dir.fd.as_fd(), lock.key.name()).map_err(|errno| failed("fstatat", errno))?;
        match there.as_ref().map(stat::kind) {
            None => Ok(false),
            Some(Kind::Other) => Err(StoreError::refused(Failure::NotFound, "lock")),
            Some(_) => Ok(true),
        }
    }

    /// False if that is not known.
    fn is_gone(&self, lock: &DavLock) -> bool {
        self.fs.stat(lock.key.as_str()).is_err_and(|error| error.failure == Failure::NotFound)
    }

    fn write_record(&self, lock: &DavLock) -> Result<(), SiteErrno> {
        let root = self.fs.root();
        let ours = private_dir(root.fd.as_fd(), RESERVED)?;
        let dir = Dir::of(private_dir(ours.as_fd(), FOLDER)?, FOLDER).map_err(|e| ("fstat .filewharf/dav", e))?;
        let (name, failed) = (record_name(lock.token), |errno| ("write a lock", errno));
        let made = format!("{name}.new");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&dir.fd, &*made, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
        let mut file = std::fs::File::from(file);
        let written = file.write_all(encode(lock).as_bytes());
        written.map_err(|error| failed(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
        if self.fs.durable {
            (self.fs.sync.content)(file.as_fd(), true).map_err(|e| ("fsync a lock", e))?;
        }
        if self.fs.is_shared() {
            // After the changes of an older process that has found no lock.
            retry_on_intr(|| flock(&dir.fd, FlockOperation::LockExclusive)).map_err(failed)?;
        }
        renameat(&dir.fd, &*made, &dir.fd, &*name).map_err(failed)?;
        if self.fs.durable {
            for synced in [&dir, &Dir::of(ours, RESERVED).map_err(failed)?] {
                self.parents.sync_dir(synced, 1).map_err(|e| ("fsync .filewharf/dav", e))?;
            }
        }
        Ok(())
    }

    /// A lock has ended for good.
    pub(crate) fn end_lock(&self, key: &Key, token: LockToken) -> Result<Change, StoreError> {
        let removed = self.forget_locks(&[token]);
        removed.map_err(|(site, errno)| self.fs.change_error(site, key.as_str(), errno))?;
        let outcome = Outcome::Answered(Answer::Unlocked(key.clone(), token));
        Ok(Change { outcome, syncs: PendingSyncs::default(), displaced: None })
    }

    /// What they were for is gone, or their time is over.
    pub(crate) fn forget_locks(&self, tokens: &[LockToken]) -> Result<(), SiteErrno> {
        let Some(dir) = open_folder(self.fs.root().fd.as_fd()) else { return Ok(()) };
        for token in tokens {
            match unlinkat(&dir.fd, record_name(*token), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(("unlinkat a lock", errno)),
            }
        }
        if self.fs.durable {
            self.parents.sync_dir(&dir, tokens.len()).map_err(|e| ("fsync .filewharf/dav", e))?;
        }
        Ok(())
    }

    /// For a process that does not know the locks: refuses what one of them is in the way of. Until the result is
    /// dropped, none becomes durable.
    pub(crate) fn keep_unlocked(&self, shown: &Shown) -> Result<Arc<Dir>, StoreError> {
        let failed = |(site, errno)| self.fs.change_error(site, "", errno);
        let ours = private_dir(self.fs.root().fd.as_fd(), RESERVED).map_err(failed)?;
        let dir = Dir::of(private_dir(ours.as_fd(), FOLDER).map_err(failed)?, FOLDER);
        let dir = dir.map_err(|errno| failed(("fstat .filewharf/dav", errno)))?;
        retry_on_intr(|| flock(&dir.fd, FlockOperation::LockShared)).map_err(|errno| failed(("flock locks", errno)))?;
        let now_s = unix_time();
        // One that cannot be read is not known to the process that grants them either.
        let locks = names_in(&dir).filter_map(|name| read_record(&dir, &name).ok().flatten());
        let checked = shown.check(locks.filter(|lock| lock.expires_s > now_s).collect());
        checked.map(|()| dir).map_err(|failure| StoreError::refused(failure, "lock"))
    }

    /// The locks that earlier processes have answered, of what is there still. The others are forgotten.
    pub(crate) fn kept_locks(&self, now_s: u64) -> Vec<DavLock> {
        let Some(dir) = open_folder(self.fs.root().fd.as_fd()) else { return Vec::new() };
        let (mut kept, mut over) = (Vec::new(), Vec::new());
        for name in names_in(&dir) {
            match read_record(&dir, &name) {
                Ok(Some(lock)) if lock.expires_s > now_s && !self.is_gone(&lock) => kept.push(lock),
                Ok(Some(lock)) => over.push(lock.token),
                // What a process was about to write when it ended was not answered.
                Ok(None) => drop(unlinkat(&dir.fd, &*name, AtFlags::empty())),
                Err(error) => log::warn!(target: TARGET, "a lock is not known: .filewharf/dav/{name}: {error}"),
            }
        }
        if let Err((site, cause)) = self.forget_locks(&over) {
            log::warn!(target: TARGET, "locks that are over could not be removed: {site}: {cause}");
        }
        kept
    }
}

fn names_in(dir: &Dir) -> impl Iterator<Item = String> {
    let entries = Names::read_from(&dir.fd).into_iter().flatten().filter_map(Result::ok).take(2 * LOCKS_MAX);
    let names = entries.filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned));
    names.filter(|name| !matches!(&**name, "." | ".."))
}

fn open_folder(root: BorrowedFd<'_>) -> Option<Arc<Dir>> {
    let ours = openat(root, RESERVED, dir_flags(), Mode::empty()).ok()?;
    let dir: OwnedFd = openat(&ours, FOLDER, dir_flags(), Mode::empty()).ok()?;
    Dir::of(dir, FOLDER).ok()
}

/// `None` if the file is no record.
fn read_record(dir: &Dir, name: &str) -> io::Result<Option<DavLock>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = std::fs::File::from(openat(&dir.fd, name, flags, Mode::empty())?);
    let mut bytes = Vec::new();
    file.take(RECORD_LEN_MAX).read_to_end(&mut bytes)?;
    Ok(str::from_utf8(&bytes).ok().and_then(|text| decode(name, text)))
}
