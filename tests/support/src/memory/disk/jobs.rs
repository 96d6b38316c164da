//! What the operations of the store do, step by step. A crash may come between any two steps.
//!
//! A commit is: sync the bytes, rename, sync every directory on the way with names that are not
//! durable yet, and only then the completion. A failed sync degrades the store for good.

use std::collections::{BTreeMap, VecDeque};

use filewharf::buffer::Chunk;
use filewharf::command::{Put, Whole};
use filewharf::dav_locks::{DavLock, LockToken};
use filewharf::error::{Failure, StoreError};
use filewharf::ids::{FileId, GroupId, OpId};
use filewharf::object::{Durability, Key, Precondition};
use filewharf::platform::{Completion, Health, Op, Outcome};
use filewharf::upload::UploadId;

use super::bytes::{full, put_at};
use super::copies::Copied;
use super::tree::{Child, Ino, STAGING, Tree};
use super::uploads::{self, Uploads};
use crate::memory::faults::{Faults, Shape};
use crate::memory::rng::Rng;

/// A file that the server has open.
#[derive(Clone, Debug)]
pub(super) enum Open {
    Staged(Staged),
    Reading { ino: Ino, cold: bool },
    Copied(Copied),
}

#[derive(Clone, Debug)]
pub(super) struct Staged {
    pub(super) ino: Ino,
    /// Where it is until it has its final name.
    pub(super) dir: Ino,
    pub(super) name: Box<str>,
    /// Which upload it is a part of, if it outlives its connection.
    pub(super) upload: Option<UploadId>,
}

/// The disk of one world. It outlives the server.
#[derive(Debug)]
pub struct Disk {
    pub tree: Tree,
    pub(super) files: BTreeMap<FileId, Open>,
    next_file: u64,
    jobs: BTreeMap<u64, Job>,
    next_job: u64,
    next_staged: u64,
    pub(super) uploads: Uploads,
    /// What is kept of the locks of WebDAV.
    pub(super) dav_locks: BTreeMap<LockToken, DavLock>,
    /// Writes on their way, by file.
    pub(super) writing: BTreeMap<Ino, u32>,
    pub done: VecDeque<Completion>,
    /// Whether the server has been woken for what is in `done`.
    pub rung: bool,
    pub degraded: bool,
    pub lagging: bool,
    /// The group of the operation that was queued last.
    pub queued_of: Option<GroupId>,
    pub damage: Damage,
    /// What is reported to the server while no sync failed.
    pub told: Health,
    /// What ended last is reported first.
    pub reversed: bool,
}

/// What has become of the files since they were opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    None,
    /// Cut down to this many bytes.
    Short(usize),
    Unreadable,
    /// Nothing more can be written.
    Full,
}

/// One operation under way.
#[derive(Debug)]
pub struct Job {
    pub(super) id: OpId,
    pub(super) work: Work,
    pub(super) chunk: Option<Chunk>,
}

#[derive(Debug)]
pub(super) enum Work {
    Plain(Op),
    Abort(Staged),
    AbortCopy(Copied),
    Close,
    Flush(Ino),
    Read {
        ino: Ino,
        offset: u64,
        len: usize,
    },
    Warm(FileId),
    Write {
        ino: Ino,
        offset: u64,
    },
    /// The bytes are there: sync them.
    Complete(Box<Commit>),
    /// They are durable: give them their name.
    Publish(Box<Commit>),
    /// Names changed: sync these directories, then say so. The upload that has its final name by that, if there is one.
    Settle(Vec<Ino>, Outcome, Option<UploadId>),
    Upload(uploads::Step),
    /// A lock is in the way; a file that it was for is given up.
    Refuse(Failure, Option<Open>),
}

#[derive(Debug)]
pub(super) struct Commit {
    pub(super) staged: Staged,
    pub(super) key: Key,
    pub(super) len: u64,
    pub(super) prepend: Box<[u8]>,
    pub(super) mtime: Option<i64>,
    pub(super) precondition: Precondition,
    pub(super) digest: Option<Box<[u8; 32]>>,
}

/// What came of one step.
#[derive(Debug)]
pub enum Stepped {
    Again(Job),
    Done(Completion),
}

/// Whether it is over.
pub(super) enum Next {
    Again(Work),
    Done(Outcome),
}

pub(super) type Stepping = Result<Next, StoreError>;

pub(super) fn refused(failure: Failure) -> StoreError {
    StoreError::refused(failure, "memory")
}

impl Job {
    /// For the trace.
    pub fn code(&self) -> u64 {
        match &self.work {
            Work::Plain(op) => match op {
                Op::Create(_) => 1,
                Op::Run(Whole::Delete { .. }) => 2,
                Op::List { .. } => 3,
                Op::Run(Whole::MakeDir { .. }) => 4,
                Op::Open { .. } => 5,
                Op::Run(Whole::Rename { .. }) => 6,
                Op::Run(Whole::Stat { .. } | Whole::Describe { .. }) => 7,
                Op::Store { .. } => 8,
                _ => 9,
            },
            Work::Abort(_) | Work::AbortCopy(_) => 10,
            Work::Close => 11,
            Work::Flush(_) => 12,
            Work::Read { .. } => 13,
            Work::Warm(_) => 14,
            Work::Write { .. } => 15,
            Work::Complete(_) => 16,
            Work::Publish(_) => 17,
            Work::Settle(..) => 18,
            Work::Upload(_) => 19,
            Work::Refuse(..) => 20,
        }
    }
}

impl Disk {
    pub fn new(posix: bool) -> Self {
        Self {
            tree: Tree::new(posix),
            files: BTreeMap::new(),
            next_file: 0,
            jobs: BTreeMap::new(),
            next_job: 0,
            next_staged: 0,
            uploads: Uploads::default(),
            dav_locks: BTreeMap::new(),
            writing: BTreeMap::new(),
            done: VecDeque::new(),
            rung: false,
            degraded: false,
            lagging: false,
            queued_of: None,
            damage: Damage::None,
            told: Health::Good,
            reversed: false,
        }
    }

    /// The server is gone, with everything it had open or under way.
    pub fn forget_server(&mut self) {
        self.files.clear();
        self.jobs.clear();
        self.writing.clear();
        self.done.clear();
        self.degraded = false;
    }

    pub fn health(&self) -> Health {
        if self.degraded { Health::Degraded } else { self.told }
    }

    /// What can still be read of these bytes.
    pub(super) fn undamaged<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], StoreError> {
        match self.damage {
            Damage::None | Damage::Full => Ok(bytes),
            Damage::Short(len) => Ok(&bytes[..len.min(bytes.len())]),
            Damage::Unreadable => Err(refused(Failure::Internal)),
        }
    }

    /// How much younger each file is than the one before.
    pub fn set_mtime_step(&mut self, seconds: i64) {
        self.tree.mtime_step = seconds;
    }

    pub(crate) fn kept_locks(&self, now_s: u64) -> Vec<DavLock> {
        let there = |lock: &&DavLock| lock.expires_s > now_s && self.tree.at(lock.key.as_str()).is_some();
        self.dav_locks.values().filter(there).cloned().collect()
    }

    pub(super) fn forget_locks(&mut self, tokens: &[LockToken]) {
        self.dav_locks.retain(|token, _| !tokens.contains(token));
    }

    /// The content of a file.
    pub fn content(&self, path: &str) -> Option<&[u8]> {
        match self.at(path)? {
            Child::File(ino) => Some(&self.tree.file(ino).bytes),
            Child::Dir(_) => None,
        }
    }

    pub fn at(&self, path: &str) -> Option<Child> {
        self.tree.at(path)
    }

    pub fn open_files(&self) -> usize {
        self.files.len()
    }

    pub fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.done.is_empty()
    }

    /// The process ends and the system lives, or the power is back: what a start does before it serves.
    pub fn recover(&mut self) {
        self.tree.sweep();
        self.recover_uploads();
    }

    /// The power goes. Where nothing was durable, no offset can be believed.
    pub fn cut(&mut self, durable: bool, rng: &mut Rng) {
        self.tree.cut(rng);
        self.uploads.cut(durable, rng);
    }

    pub fn staging_files(&self) -> usize {
        self.tree.names(STAGING).len()
    }

    /// Every file that clients can name.
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        self.tree.visible().into_iter().map(|(path, ino)| (path, self.tree.file(ino).bytes.clone())).collect()
    }

    pub fn park(&mut self, job: Job) -> u64 {
        self.next_job += 1;
        self.jobs.insert(self.next_job, job);
        self.next_job
    }

    /// Runs one step of a parked job; true if there is another.
    pub fn run(&mut self, number: u64, rng: &mut Rng, faults: &Faults, shape: &Shape) -> bool {
        let Some(job) = self.jobs.remove(&number) else { return false };
        match self.step(job, rng, faults, shape) {
            Stepped::Again(job) => {
                self.jobs.insert(number, job);
                true
            }
            Stepped::Done(done) => {
                self.done.push_back(done);
                self.rung = false;
                false
            }
        }
    }

    pub(super) fn staged(&self, file: FileId) -> &Staged {
        match self.files.get(&file) {
            Some(Open::Staged(staged)) => staged,
            other => panic!("{file:?} is no staging file: {other:?}"),
        }
    }

    pub(super) fn open_mut(&mut self, file: FileId) -> Option<&mut Open> {
        self.files.get_mut(&file)
    }

    pub(super) fn forget(&mut self, file: FileId) {
        self.files.remove(&file);
    }

    pub(super) fn take_staged(&mut self, file: FileId) -> Staged {
        let staged = self.staged(file).clone();
        self.files.remove(&file);
        staged
    }

    pub(super) fn reading(&mut self, file: FileId) -> (Ino, &mut bool) {
        match self.files.get_mut(&file) {
            Some(Open::Reading { ino, cold }) => (*ino, cold),
            other => panic!("{file:?} is not open for reading: {other:?}"),
        }
    }

    pub(super) fn admit(&mut self, open: Open) -> FileId {
        self.next_file += 1;
        self.files.insert(FileId(self.next_file), open);
        FileId(self.next_file)
    }

    /// One step.
    pub fn step(&mut self, job: Job, rng: &mut Rng, faults: &Faults, shape: &Shape) -> Stepped {
        let Job { id, work, mut chunk } = job;
        if let Work::Write { ino, .. } = &work
            && let Some(writes) = self.writing.get_mut(ino)
        {
            *writes -= 1;
            if *writes == 0 {
                self.writing.remove(ino);
            }
        }
        let durable = shape.durability == Durability::Durable;
        let result = match work {
            Work::Complete(commit) => self.complete(commit, durable, rng, faults),
            Work::Publish(commit) => self.publish(*commit, durable, rng, faults),
            Work::Settle(dirs, outcome, upload) => self.settle(dirs, outcome, upload, rng, faults),
            Work::Upload(step) => self.upload_step(step, durable, rng, faults),
            work => self.plain(work, chunk.as_mut(), durable, rng, faults),
        };
        match result {
            Ok(Next::Again(work)) => Stepped::Again(Job { id, work, chunk }),
            Ok(Next::Done(outcome)) => Stepped::Done(Completion { id, result: Ok(outcome), chunk }),
            Err(error) => Stepped::Done(Completion { id, result: Err(error), chunk }),
        }
    }

    fn plain(
        &mut self,
        work: Work,
        chunk: Option<&mut Chunk>,
        durable: bool,
        rng: &mut Rng,
        faults: &Faults,
    ) -> Stepping {
        let done = |outcome| Ok(Next::Done(outcome));
        match work {
            Work::Abort(staged) => {
                self.unstage(&staged);
                done(Outcome::Aborted)
            }
            Work::AbortCopy(copied) => {
                self.give_up_copy(&copied);
                done(Outcome::Aborted)
            }
            Work::Close => done(Outcome::Closed),
            Work::Refuse(failure, file) => {
                match file {
                    Some(Open::Staged(staged)) => self.unstage(&staged),
                    Some(Open::Copied(copied)) => self.give_up_copy(&copied),
                    Some(Open::Reading { .. }) | None => {}
                }
                Err(refused(failure))
            }
            Work::Flush(ino) => {
                if rng.chance(faults.sync_error) {
                    return Err(self.sync_failed(Some(ino)));
                }
                done(Outcome::Flushed)
            }
            Work::Read { ino, offset, len } => {
                failing(rng, faults)?;
                let bytes = self.undamaged(&self.tree.file(ino).bytes)?;
                let from = bytes.len().min(offset as usize);
                let mut len = len.min(bytes.len() - from);
                if len > 0 && rng.chance(faults.partial) {
                    len = rng.piece(len);
                }
                if rng.chance(faults.truncated) {
                    len = 0;
                }
                chunk.expect("a read has a chunk").fill(&bytes[from..from + len]);
                done(Outcome::Read)
            }
            Work::Warm(file) => {
                failing(rng, faults)?;
                // The connection may have ended meanwhile, and its file be closed.
                if let Some(Open::Reading { cold, .. }) = self.files.get_mut(&file) {
                    *cold = rng.chance(200);
                }
                done(Outcome::Warmed)
            }
            Work::Write { ino, offset } => {
                full(rng, faults)?;
                let chunk = chunk.expect("a write has a chunk");
                put_at(&mut self.tree.file_mut(ino).bytes, offset, chunk.data());
                done(Outcome::Written)
            }
            Work::Plain(op @ (Op::BeginCopy(_) | Op::Copy { .. } | Op::PlaceCopy { .. })) => {
                self.copied(op, durable, rng, faults)
            }
            Work::Plain(op) => self.named(op, chunk, durable, rng, faults),
            Work::Complete(_) | Work::Publish(_) | Work::Settle(..) | Work::Upload(_) => {
                unreachable!("these are served elsewhere")
            }
        }
    }

    /// Whether the store accepts changes.
    pub(super) fn fit(&self, rng: &mut Rng, faults: &Faults) -> Result<(), StoreError> {
        if self.degraded {
            return Err(refused(Failure::Denied("a sync failed")));
        }
        full(rng, faults)
    }

    pub(super) fn create(&mut self, put: &Put, rng: &mut Rng, faults: &Faults) -> Result<Staged, StoreError> {
        self.fit(rng, faults)?;
        self.may_replace(&put.key, &put.precondition)?;
        let name: Box<str> = self.next_staged().to_string().into();
        let ino = self.tree.create(STAGING, &name);
        self.tree.file_mut(ino).is_executable = put.is_executable;
        Ok(Staged { ino, dir: STAGING, name, upload: None })
    }

    pub(super) fn next_staged(&mut self) -> u64 {
        self.next_staged += 1;
        self.next_staged
    }
}

pub(super) fn failing(rng: &mut Rng, faults: &Faults) -> Result<(), StoreError> {
    if rng.chance(faults.io_error) { Err(refused(Failure::Internal)) } else { Ok(()) }
}
