//! The real store, its versions named by their numbers: the first one stored is `…1`. What a tag is
//! made of differs from run to run, and so does the time of what is stored without one; everything
//! else, conditions among it, is decided by the real store.

use filewharf::command::{Answer, Put, Whole};
use filewharf::dav_locks::{DavLock, LockToken, Shown};
use filewharf::error::StoreError;
use filewharf::ids::{ConnId, FileId, GroupId, OpId};
use filewharf::object::{Etag, Key, Meta, Node, Precondition, Stored};
use filewharf::platform::{Completion, Health, Op, Outcome, Platform as _, Queued, ReadNow, Store};
use filewharf::upload::{Role, UploadId, UploadRef, UploadStage, UploadState};

use super::StillPlatform;
use support::client::wait_until;
use support::memory::EXPIRY_S;
use support::rig::STARTED_S;

/// When every directory was changed.
const FOLDER_MTIME: i64 = 1_600_000_000;
/// No connection: operations of the test itself.
const NO_CONNECTION: OpId = OpId { conn: ConnId::new(0, 0), number: 0 };

impl StillPlatform {
    /// Gives the version that stands at `key` its number.
    pub(super) fn know(&mut self, key: &Key) {
        self.os.get_mut().store().submit(NO_CONNECTION, None, Op::Run(Whole::Stat { key: key.clone() }));
        let mut found = None;
        wait_until("the version of a file", || {
            found = self.os.get_mut().store().next_completion();
            found.is_some()
        });
        let Some(Ok(Outcome::Answered(Answer::Found(Node::File(meta))))) = found.map(|done| done.result) else {
            panic!("{key} was just written");
        };
        self.numbered(meta);
    }

    /// A version not seen before is the next one.
    fn numbered(&mut self, meta: Meta) -> Meta {
        let place = self.versions.iter().position(|version| *version == meta.etag).unwrap_or_else(|| {
            self.versions.push(meta.etag);
            self.versions.len() - 1
        });
        Meta { etag: Etag((place as u128 + 1).to_be_bytes()), ..meta }
    }

    fn numbered_node(&mut self, node: Node) -> Node {
        match node {
            Node::File(meta) => Node::File(self.numbered(meta)),
            Node::Dir { .. } => Node::Dir { mtime: FOLDER_MTIME },
        }
    }

    /// A number that stands for no version matches none.
    fn real(&self, etag: Etag) -> Etag {
        let number = usize::try_from(u128::from_be_bytes(etag.0)).unwrap_or(usize::MAX);
        number.checked_sub(1).and_then(|place| self.versions.get(place)).copied().unwrap_or(etag)
    }

    fn real_precondition(&self, precondition: Precondition) -> Precondition {
        let all = |etags: Box<[Etag]>| etags.iter().map(|etag| self.real(*etag)).collect();
        match precondition {
            Precondition::All(parts) => {
                Precondition::All(parts.into_iter().map(|part| self.real_precondition(part)).collect())
            }
            Precondition::AnyOf(etags) => Precondition::AnyOf(all(etags)),
            Precondition::NoneOf(etags) => Precondition::NoneOf(all(etags)),
            Precondition::Matches(etag) => Precondition::Matches(self.real(etag)),
            Precondition::Absent | Precondition::None | Precondition::Present | Precondition::UnmodifiedSince(_) => {
                precondition
            }
        }
    }

    /// An upload that the store has named is called by a number, as in memory; those named by others keep their names.
    fn numbered_upload(&mut self, mut upload: Box<UploadState>) -> Box<UploadState> {
        upload.id = self.number_of(upload.id);
        if let UploadStage::Complete(Some(stored)) = &mut upload.stage {
            stored.meta = self.numbered(stored.meta);
        }
        upload.expires_s = STARTED_S + EXPIRY_S;
        upload
    }

    fn number_of(&mut self, id: UploadId) -> UploadId {
        if self.named_uploads.contains(&id) {
            return id;
        }
        let place = self.uploads.iter().position(|real| *real == id).unwrap_or_else(|| {
            self.uploads.push(id);
            self.uploads.len() - 1
        });
        UploadId((place as u128 + 1).to_be_bytes())
    }

    fn real_upload(&mut self, id: UploadId) -> UploadId {
        self.known_upload(id).unwrap_or_else(|| {
            self.named_uploads.push(id);
            id
        })
    }

    fn known_upload(&self, id: UploadId) -> Option<UploadId> {
        let number = usize::try_from(u128::from_be_bytes(id.0)).unwrap_or(usize::MAX);
        number.checked_sub(1).and_then(|place| self.uploads.get(place)).copied()
    }

    fn make_put_real(&mut self, put: &mut Put) {
        put.mtime = put.mtime.or(Some(started()));
        put.precondition = self.real_precondition(put.precondition.clone());
    }

    fn real_op(&mut self, mut op: Op) -> Op {
        match &mut op {
            Op::Commit { mtime, precondition, .. } => {
                *mtime = mtime.or(Some(started()));
                *precondition = self.real_precondition(precondition.clone());
            }
            Op::Create(put) => self.make_put_real(put),
            Op::Store { put, .. } => self.make_put_real(put),
            Op::Run(Whole::Delete { precondition, .. }) | Op::Run(Whole::Rename { precondition, .. }) => {
                *precondition = self.real_precondition(precondition.clone());
            }
            Op::FindUpload { id, .. }
            | Op::RemoveUpload { id, .. }
            | Op::OpenUpload { upload: UploadRef::Existing(id), .. } => {
                *id = self.real_upload(*id);
            }
            Op::OpenUpload { upload: UploadRef::New(new), .. } => {
                new.id = new.id.map(|id| self.real_upload(id));
                if let Role::Final(parts) = &mut new.role {
                    parts.iter_mut().for_each(|id| *id = self.known_upload(*id).unwrap_or(*id));
                }
            }
            _ => {}
        }
        op
    }

    fn seen(&mut self, done: Completion) -> Completion {
        let result = done.result.map(|outcome| match outcome {
            Outcome::Committed(stored) => Outcome::Committed(Stored { meta: self.numbered(stored.meta), ..stored }),
            Outcome::Opened { file, meta, source } => Outcome::Opened { file, meta: self.numbered(meta), source },
            Outcome::Answered(Answer::Found(node)) => Outcome::Answered(Answer::Found(self.numbered_node(node))),
            Outcome::Answered(Answer::Described(mut entry)) => {
                entry.node = entry.node.map(|node| self.numbered_node(node));
                Outcome::Answered(Answer::Described(entry))
            }
            Outcome::Answered(Answer::TimeSet(node)) => Outcome::Answered(Answer::TimeSet(self.numbered_node(node))),
            Outcome::Listed(mut listing) => {
                for entry in &mut listing.entries {
                    entry.node = entry.node.map(|node| self.numbered_node(node));
                }
                Outcome::Listed(listing)
            }
            Outcome::UploadFound(upload) => Outcome::UploadFound(self.numbered_upload(upload)),
            Outcome::UploadOpened { upload, file, digest } => {
                Outcome::UploadOpened { upload: self.numbered_upload(upload), file, digest }
            }
            Outcome::PartEnded(upload) => Outcome::PartEnded(self.numbered_upload(upload)),
            other => other,
        });
        Completion { result, ..done }
    }
}

impl Store for StillPlatform {
    fn try_now(&mut self, id: OpId, op: Op) -> Result<Completion, Op> {
        let op = self.real_op(op);
        let done = self.os.get_mut().store().try_now(id, op)?;
        Ok(self.seen(done))
    }

    fn submit(&mut self, id: OpId, client: Option<GroupId>, op: Op) {
        let op = self.real_op(op);
        self.os.get_mut().store().submit(id, client, op);
    }

    fn submit_unlocked(&mut self, id: OpId, client: Option<GroupId>, op: Op, shown: Shown) {
        let op = self.real_op(op);
        self.os.get_mut().store().submit_unlocked(id, client, op, shown);
    }

    fn next_wanted(&mut self) -> Option<UploadId> {
        let id = self.os.get_mut().store().next_wanted()?;
        Some(self.number_of(id))
    }

    fn set_superseded(&mut self, is_superseded: bool) {
        self.os.get_mut().store().set_superseded(is_superseded);
    }

    fn next_completion(&mut self) -> Option<Completion> {
        let done = self.os.get_mut().store().next_completion()?;
        Some(self.seen(done))
    }

    fn is_lagging(&self) -> bool {
        self.os.borrow_mut().store().is_lagging()
    }

    fn write_now(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.os.get_mut().store().write_now(file, offset, bytes)
    }

    fn read_now(&mut self, file: FileId, offset: u64, buf: &mut [u8]) -> Result<ReadNow, StoreError> {
        self.os.get_mut().store().read_now(file, offset, buf)
    }

    fn check_version(&self, file: FileId) -> Result<(), StoreError> {
        self.os.borrow_mut().store().check_version(file)
    }

    fn flush_window(&self) -> Option<u64> {
        self.os.borrow_mut().store().flush_window()
    }

    fn kept_locks(&mut self, now_s: u64) -> Option<Vec<DavLock>> {
        self.os.get_mut().store().kept_locks(now_s)
    }

    fn forget_locks(&mut self, tokens: &[LockToken]) {
        self.os.get_mut().store().forget_locks(tokens);
    }

    fn received(&mut self) {
        self.os.get_mut().store().received();
    }

    fn health(&self) -> Health {
        self.os.borrow_mut().store().health()
    }

    fn queued(&self) -> Queued {
        self.os.borrow_mut().store().queued()
    }
}

/// When the simulated server starts, as a modification time.
fn started() -> i64 {
    i64::try_from(STARTED_S).expect("it is not so late")
}
