//! Uploads that outlive their connections: a part that no name leads to, and a record beside it.
//!
//! A record is seen at once and durable one step later; a power cut keeps either. The bytes it speaks of are synced a
//! step before it is written. Clients are sent durable records only, as by the product's store: one that a process left
//! without a sync is synced first. A record without its part stands for an upload that has its final name.

use std::collections::BTreeMap;

use filewharf::error::{Failure, StoreError};
use filewharf::object::{Key, Stored};
use filewharf::platform::{Outcome, Permit};
use filewharf::transfer::Hasher;
use filewharf::upload::{
    DigestState, JOINED, LONGER_ALREADY, NO_PART, NOT_PARTIAL, NewUpload, OTHER_LENGTH, PART_UNFINISHED, PartEnd, Put,
    Role, UploadId, UploadRef, UploadStage, UploadState,
};

use super::jobs::{Disk, Next, Open, Staged, Stepping, Work, failing, refused};
use super::tree::{Ino, UPLOADS};
use crate::memory::faults::Faults;
use crate::memory::rng::Rng;
use crate::memory::{EXPIRY_S, STARTED_S};

/// Bytes that one step of a join copies: few, so that even small ones take several.
const JOIN_STEP: usize = 7;

/// What is known of one upload.
#[derive(Clone, Debug)]
pub(super) struct Record {
    put: Put,
    metadata: Box<str>,
    role: Role,
    offset: u64,
    digest: Option<DigestState>,
}

/// A record as calls see it, and as a power cut leaves it.
#[derive(Debug, Default)]
struct Kept {
    seen: Option<Record>,
    durable: Option<Record>,
    /// A server may write to its part.
    is_attached: bool,
    /// Its name is as durable as it gets.
    complete: Option<Option<Stored>>,
}

#[derive(Debug, Default)]
pub(super) struct Uploads {
    kept: BTreeMap<UploadId, Kept>,
    /// How many were named here.
    named: u128,
}

/// A step of an operation on uploads.
#[derive(Debug)]
pub(super) enum Step {
    Open(UploadRef, Option<u64>, Permit),
    /// The part and its record are there: make them durable.
    Made(UploadId, Ino),
    /// Make the record and the names durable, which a process that was killed may have left, then open the upload.
    Attach(UploadId, Ino),
    /// Copy the next bytes of its parts.
    Join {
        id: UploadId,
        ino: Ino,
        offset: u64,
        digest: Option<DigestState>,
    },
    /// Make the bytes durable.
    Sync {
        id: UploadId,
        ino: Ino,
        offset: u64,
        digest: Option<DigestState>,
        then: Then,
    },
    /// They are: record that.
    Record {
        id: UploadId,
        offset: u64,
        digest: Option<DigestState>,
        then: Then,
    },
    /// Make the record durable.
    Seal(UploadId, Then),
    Keep(UploadId),
    /// Removes it for a request.
    Cancel(UploadId, Permit),
    /// Removes the record, then the part.
    Remove(UploadId, Removed),
    RemovePart(UploadId, Removed),
    Find(UploadId, Permit),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Then {
    Saved,
    PartEnded,
}

#[derive(Debug)]
pub(super) enum Removed {
    ByRequest(Key),
    ByConnection(Box<UploadState>),
    /// To be made again.
    ForAnother(Box<NewUpload>),
}

impl Uploads {
    fn seen(&self, id: UploadId) -> Result<&Record, StoreError> {
        self.kept.get(&id).and_then(|kept| kept.seen.as_ref()).ok_or(refused(Failure::NotFound))
    }

    fn kept_mut(&mut self, id: UploadId) -> &mut Kept {
        self.kept.entry(id).or_default()
    }

    /// What it is concatenated from.
    fn parts(&self, id: UploadId) -> Box<[UploadId]> {
        match self.kept.get(&id).and_then(|kept| kept.seen.as_ref()) {
            Some(Record { role: Role::Final(parts), .. }) => parts.clone(),
            _ => Box::default(),
        }
    }

    pub(super) fn is_joined(&self, id: UploadId) -> bool {
        !self.parts(id).is_empty()
    }

    /// The record is durable as it is seen.
    fn seal(&mut self, id: UploadId) {
        let kept = self.kept_mut(id);
        kept.durable.clone_from(&kept.seen);
    }

    /// The connection is detached.
    pub(super) fn detach(&mut self, id: UploadId) {
        self.kept_mut(id).is_attached = false;
    }

    /// It has its final name, for good.
    pub(super) fn completed(&mut self, id: UploadId, stored: Option<Stored>) {
        let kept = self.kept_mut(id);
        kept.is_attached = false;
        kept.complete = Some(stored);
    }

    /// The power goes: of each record stays what it was, or what was being written.
    pub(super) fn cut(&mut self, durable: bool, rng: &mut Rng) {
        for kept in self.kept.values_mut() {
            if rng.chance(500) {
                kept.seen.clone_from(&kept.durable);
            }
            if let Some(record) = kept.seen.as_mut().filter(|_| !durable) {
                (record.offset, record.digest) = (0, None);
            }
            kept.durable.clone_from(&kept.seen);
        }
    }
}

impl Disk {
    pub(super) fn upload_step(&mut self, step: Step, durable: bool, rng: &mut Rng, faults: &Faults) -> Stepping {
        let again = |step| Ok(Next::Again(Work::Upload(step)));
        match step {
            Step::Open(upload, len, permit) => self.open_upload((upload, permit), len, durable, rng, faults),
            Step::Made(id, ino) => {
                if durable {
                    if rng.chance(faults.sync_error) {
                        return Err(self.sync_failed(None));
                    }
                    self.tree.sync_dir(UPLOADS);
                    self.uploads.seal(id);
                }
                Ok(Next::Done(self.opened_upload(id, Some(ino))))
            }
            Step::Attach(id, ino) => {
                if durable {
                    self.tree.sync_dir(UPLOADS);
                }
                self.uploads.seal(id);
                Ok(Next::Done(self.opened_upload(id, Some(ino))))
            }
            Step::Join { id, ino, offset, digest } => {
                self.fit(rng, faults)?;
                let mut whole = Vec::new();
                for part in &self.uploads.parts(id) {
                    let Some(super::Child::File(ino)) = self.tree.child(UPLOADS, &part.to_string()) else {
                        return Err(refused(NO_PART));
                    };
                    whole.extend_from_slice(&self.tree.file(ino).bytes);
                }
                let from = usize::try_from(offset).expect("small");
                let bytes = &whole[from..whole.len().min(from + JOIN_STEP)];
                let digest = digest.map(|state| {
                    let mut hasher = Hasher::resume(&state).expect("the state of a hasher");
                    hasher.update(bytes);
                    hasher.state().expect("it hashes")
                });
                self.tree.file_mut(ino).bytes.truncate(from);
                self.tree.file_mut(ino).bytes.extend_from_slice(bytes);
                Ok(Next::Done(Outcome::Joined { len: bytes.len() as u64, digest }))
            }
            Step::Sync { id, ino, offset, digest, then } => {
                let synced = self.fit(rng, faults).and_then(|()| match durable {
                    true if rng.chance(faults.sync_error) => Err(self.sync_failed(Some(ino))),
                    true => {
                        self.tree.sync_file(ino);
                        Ok(())
                    }
                    false => Ok(()),
                });
                if let Err(error) = synced {
                    self.end_if_last(id, then);
                    return Err(error);
                }
                again(Step::Record { id, offset, digest, then })
            }
            Step::Record { id, offset, digest, then } => {
                let record = self.uploads.kept_mut(id).seen.as_mut().expect("an upload that is open has a record");
                assert!(offset >= record.offset, "an offset falls");
                (record.offset, record.digest) = (offset, digest);
                again(Step::Seal(id, then))
            }
            Step::Seal(id, then) => {
                self.uploads.seal(id);
                self.end_if_last(id, then);
                let state = self.upload_state(id)?;
                Ok(Next::Done(match then {
                    Then::Saved => Outcome::Saved(state.offset),
                    Then::PartEnded => Outcome::PartEnded(state),
                }))
            }
            Step::Keep(id) => {
                self.uploads.detach(id);
                Ok(Next::Done(Outcome::PartEnded(self.upload_state(id)?)))
            }
            Step::Cancel(id, permit) => {
                let key = self.uploads.seen(id)?.put.key.clone();
                permit.check(&key, None)?;
                self.upload_step(Step::Remove(id, Removed::ByRequest(key)), durable, rng, faults)
            }
            Step::Remove(id, removed) => {
                self.uploads.seen(id)?;
                *self.uploads.kept_mut(id) = Kept::default();
                again(Step::RemovePart(id, removed))
            }
            Step::RemovePart(id, removed) => {
                let name = id.to_string();
                if self.tree.child(UPLOADS, &name).is_some() {
                    self.tree.remove(UPLOADS, &name);
                }
                match removed {
                    Removed::ByRequest(key) => Ok(Next::Done(Outcome::UploadRemoved(key))),
                    Removed::ByConnection(state) => Ok(Next::Done(Outcome::PartEnded(state))),
                    Removed::ForAnother(new) => again(Step::Open(UploadRef::New(new), None, Permit::default())),
                }
            }
            Step::Find(id, permit) => {
                failing(rng, faults)?;
                permit.check(&self.uploads.seen(id)?.put.key, None)?;
                let mut state = self.upload_state(id)?;
                match self.uploads.kept_mut(id) {
                    // A save may be under way.
                    Kept { is_attached: true, durable: Some(durable), .. } => state.offset = durable.offset,
                    _ => self.uploads.seal(id),
                }
                Ok(Next::Done(Outcome::UploadFound(state)))
            }
        }
    }

    fn end_if_last(&mut self, id: UploadId, then: Then) {
        if let Then::PartEnded = then {
            self.uploads.detach(id);
        }
    }

    fn open_upload(
        &mut self,
        (upload, permit): (UploadRef, Permit),
        len: Option<u64>,
        durable: bool,
        rng: &mut Rng,
        faults: &Faults,
    ) -> Stepping {
        self.fit(rng, faults)?;
        if let UploadRef::New(new) = &upload
            && let Some(same) = self.find_same(&new.put, durable, rng, faults)?
        {
            return Ok(as_upload(new, same));
        }
        if let UploadRef::New(new) = &upload
            && let Role::Final(parts) = &new.role
        {
            let put = Put { len: Some(self.len_of_parts(parts, &permit)?), ..new.put.clone() };
            return self.make_upload(NewUpload { put, ..NewUpload::clone(new) }, None);
        }
        let id = match upload {
            UploadRef::Existing(id) if self.uploads.is_joined(id) => return Err(refused(JOINED)),
            UploadRef::Existing(id) => id,
            UploadRef::New(new) => match new.id.filter(|id| self.uploads.seen(*id).is_ok()) {
                None => return self.make_upload(*new, len),
                Some(id) => {
                    let old = self.uploads.seen(id)?.put.clone();
                    let is_same = (&old.key, old.len, old.hash) == (&new.put.key, new.put.len, new.put.hash);
                    // What is complete may have been replaced or removed since: the token alone proves nothing.
                    if !is_same || self.uploads.kept_mut(id).complete.is_some() {
                        return Ok(Next::Again(Work::Upload(Step::Remove(id, Removed::ForAnother(new)))));
                    }
                    id
                }
            },
        };
        let record = self.uploads.seen(id)?.clone();
        permit.check(&record.put.key, len)?;
        if self.uploads.kept_mut(id).complete.is_some() {
            return Ok(Next::Done(self.opened_upload(id, None)));
        }
        match (record.put.len, len) {
            (Some(known), Some(new)) if known != new => return Err(refused(OTHER_LENGTH)),
            (None, Some(new)) if new < record.offset => return Err(refused(LONGER_ALREADY)),
            _ => {}
        }
        let Some(super::Child::File(ino)) = self.tree.child(UPLOADS, &id.to_string()) else {
            return Err(refused(Failure::Conflict("it is being given its name")));
        };
        self.tree.truncate(ino, record.offset);
        if record.put.len.is_none() && len.is_some() {
            self.uploads.kept_mut(id).seen.as_mut().expect("it was there above").put.len = len;
        }
        Ok(Next::Again(Work::Upload(Step::Attach(id, ino))))
    }

    fn len_of_parts(&self, parts: &[UploadId], permit: &Permit) -> Result<u64, StoreError> {
        let seen = |id: &UploadId| self.uploads.seen(*id).map_err(|_| refused(NO_PART));
        let permitted = |record: &Record| permit.check(&record.put.key, None);
        let len = |id: &UploadId| match seen(id).and_then(|record| permitted(record).map(|()| record)) {
            Ok(Record { role: Role::Partial, put, offset, .. }) if put.len == Some(*offset) => Ok(*offset),
            Ok(Record { role: Role::Partial, .. }) => Err(refused(PART_UNFINISHED)),
            Ok(_) => Err(refused(NOT_PARTIAL)),
            Err(error) => Err(error),
        };
        parts.iter().map(len).sum()
    }

    /// It has its final name, for good: what it was concatenated from is not needed any more.
    pub(super) fn upload_completed(&mut self, id: UploadId, stored: Option<Stored>) {
        self.uploads.completed(id, stored);
        self.uploads.parts(id).iter().for_each(|part| self.forget_upload(*part));
    }

    /// Removes record and part.
    pub(super) fn forget_upload(&mut self, id: UploadId) {
        *self.uploads.kept_mut(id) = Kept::default();
        let name = id.to_string();
        if self.tree.child(UPLOADS, &name).is_some() {
            self.tree.remove(UPLOADS, &name);
        }
    }

    fn make_upload(&mut self, new: NewUpload, len: Option<u64>) -> Stepping {
        if new.role != Role::Partial {
            self.may_replace(&new.put.key, &new.put.precondition)?;
        }
        let id = new.id.unwrap_or_else(|| {
            self.uploads.named += 1;
            UploadId(self.uploads.named.to_be_bytes())
        });
        let put = Put { len: new.put.len.or(len), ..new.put };
        let ino = self.tree.create(UPLOADS, &id.to_string());
        self.tree.file_mut(ino).is_executable = put.is_executable;
        let digest = None;
        let record = Record { put, metadata: new.metadata, role: new.role, offset: 0, digest };
        *self.uploads.kept_mut(id) = Kept { seen: Some(record), ..Kept::default() };
        Ok(Next::Again(Work::Upload(Step::Made(id, ino))))
    }

    fn opened_upload(&mut self, id: UploadId, ino: Option<Ino>) -> Outcome {
        let upload = self.upload_state(id).expect("an upload that is opened has a record");
        let digest = self.uploads.seen(id).ok().and_then(|record| record.digest.clone());
        let file = ino.map(|ino| {
            let kept = self.uploads.kept_mut(id);
            assert!(!kept.is_attached, "two connections write to {id:?}");
            kept.is_attached = true;
            let staged = Staged { ino, dir: UPLOADS, name: id.to_string().into(), upload: Some(id) };
            self.admit(Open::Staged(staged))
        });
        Outcome::UploadOpened { upload, file, digest }
    }

    fn upload_state(&self, id: UploadId) -> Result<Box<UploadState>, StoreError> {
        let Record { put, metadata, role, offset, .. } = self.uploads.seen(id)?.clone();
        let stage = self.uploads.kept[&id].complete.map_or(UploadStage::Unfinished, UploadStage::Complete);
        let offset = match (stage, put.len) {
            (UploadStage::Complete(_), Some(len)) => len,
            _ => offset,
        };
        Ok(Box::new(UploadState { id, put, metadata, role, offset, stage, expires_s: STARTED_S + EXPIRY_S }))
    }

    /// What a connection asks when it is done with an upload.
    pub(super) fn end_part(&self, staged: &Staged, end: PartEnd) -> Step {
        let id = staged.upload.expect("only a part of an upload ends");
        match end {
            _ if self.uploads.is_joined(id) => {
                let state = self.upload_state(id).expect("an upload that is open has a record");
                Step::Remove(id, Removed::ByConnection(state))
            }
            PartEnd::Save { offset, digest } => {
                Step::Sync { id, ino: staged.ino, offset, digest, then: Then::PartEnded }
            }
            PartEnd::Keep => Step::Keep(id),
            PartEnd::Remove => {
                let state = self.upload_state(id).expect("an upload that is open has a record");
                Step::Remove(id, Removed::ByConnection(state))
            }
        }
    }

    /// A start looks at what was left: parts without a record go; what has its final name says so, once that is
    /// durable.
    // covers: machine-power-cut
    pub fn recover_uploads(&mut self) {
        let ids: Vec<UploadId> = self.uploads.kept.keys().copied().collect();
        self.uploads.kept.retain(|_, kept| kept.seen.is_some());
        for name in Vec::from_iter(self.tree.names(UPLOADS).keys().cloned()) {
            if ids.iter().all(|id| id.to_string() != *name || self.uploads.seen(*id).is_err()) {
                self.tree.remove(UPLOADS, &name);
            }
        }
        for id in ids {
            let Some(kept) = self.uploads.kept.get_mut(&id) else { continue };
            kept.is_attached = false;
            let record = kept.seen.clone().expect("those without one are gone");
            match self.tree.child(UPLOADS, &id.to_string()) {
                // Its parts are all there.
                Some(_) if matches!(record.role, Role::Final(_)) => self.forget_upload(id),
                Some(super::Child::File(ino)) => {
                    let held = self.tree.file(ino).bytes.len() as u64;
                    assert!(
                        held >= record.offset,
                        "{id:?}: {held} bytes are left, and {} were promised",
                        record.offset
                    );
                }
                _ if kept.complete.is_some() => {}
                _ => {
                    kept.complete = Some(None);
                    let parent = record.put.key.parent().to_owned();
                    self.secure(&parent);
                    if let Ok(Some(dir)) = self.tree.dir_at(&parent) {
                        self.tree.sync_dir(dir);
                    }
                    self.tree.sync_dir(UPLOADS);
                    self.upload_completed(id, None);
                }
            }
        }
    }

    /// Uploads that a connection may write to.
    pub fn attached_uploads(&self) -> usize {
        self.uploads.kept.values().filter(|kept| kept.is_attached).count()
    }
}

/// The file that an upload announced is there: the upload is complete before it began.
fn as_upload(new: &NewUpload, same: Next) -> Next {
    let opened = |outcome| {
        let Outcome::Committed(stored) = outcome else { return outcome };
        let upload = Box::new(UploadState {
            id: new.id.unwrap_or(UploadId([0; 16])),
            put: new.put.clone(),
            metadata: new.metadata.clone(),
            role: new.role.clone(),
            offset: stored.meta.len,
            stage: UploadStage::Complete(Some(stored)),
            expires_s: STARTED_S,
        });
        Outcome::UploadOpened { upload, file: None, digest: None }
    };
    match same {
        Next::Again(Work::Settle(dirs, outcome, upload)) => Next::Again(Work::Settle(dirs, opened(outcome), upload)),
        Next::Done(outcome) => Next::Done(opened(outcome)),
        other => other,
    }
}
