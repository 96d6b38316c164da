//! Opening an upload to continue with it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::ftruncate;

use crate::command::Put;
use crate::error::{Failure, StoreError};
use crate::ids::ClientAddress;
use crate::object::{Durability, Stored};
use crate::os::process::clock;
use crate::platform::{Outcome, Permit};
use crate::store::mutex::lock;
use crate::store::resumable::attachment::{Attachment, Part};
use crate::store::resumable::checkpoint::{Checkpoint, Status};
use crate::store::resumable::folder::Folder;
use crate::store::resumable::found::{Found, Stage, not_found, state};
use crate::store::resumable::index::Share;
use crate::store::resumable::journal::{durability, share_of};
use crate::store::resumable::uploads::ResumableUploads;
use crate::store::staging::pending_syncs::{Change, PendingSyncs};
use crate::upload::{
    DigestState, JOINED, LONGER_ALREADY, NewUpload, OTHER_LENGTH, Role, UploadId, UploadRef, UploadStage, UploadState,
};

/// What a connection is sent, and what it writes to.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) state: UploadState,
    /// `None` for an upload that is complete.
    pub(crate) part: Option<Part>,
    pub(crate) digest: Option<DigestState>,
}

impl ResumableUploads {
    pub(crate) fn open_upload(
        &self,
        upload: &UploadRef,
        len: Option<u64>,
        client: ClientAddress,
        permit: &Permit,
    ) -> Result<(Opened, PendingSyncs), StoreError> {
        self.fs.health.check_writable()?;
        let nothing_to_sync = |opened| (opened, PendingSyncs::default());
        match upload {
            UploadRef::Existing(id) => {
                let opened = self.resume((*id, permit), len, None)?;
                opened.map(nothing_to_sync).ok_or_else(not_found)
            }
            UploadRef::New(new) if matches!(new.role, Role::Final(_)) => self.begin_join(new, client, permit),
            UploadRef::New(new) => {
                if let Some(Change { outcome: Outcome::Committed(stored), syncs, .. }) =
                    self.names.find_same(&new.put)?.map(|same| *same)
                {
                    return Ok((there_already(new, stored), syncs));
                }
                let there = match new.id {
                    Some(id) => self.resume((id, permit), None, Some(&new.put))?,
                    None => None,
                };
                let make = || self.make_upload(new, Box::default(), client);
                there.map_or_else(make, |opened| Ok(nothing_to_sync(opened)))
            }
        }
    }

    /// `None` if there is no such upload, or none that is as `wanted`.
    fn resume(
        &self,
        (id, permit): (UploadId, &Permit),
        len: Option<u64>,
        wanted: Option<&Put>,
    ) -> Result<Option<Opened>, StoreError> {
        let Some(folder) = self.existing_folder("")? else { return Ok(None) };
        let opened = self.with_record(&folder, id, |mut found| {
            permit.check(&found.header.put.key, len)?;
            if let Some(wanted) = wanted
                && !self.is_wanted(&found, wanted)
            {
                self.check_unowned(&folder, id, &found)?;
                return Ok(None);
            }
            if let Role::Final(_) = found.header.role {
                return Err(StoreError::refused(JOINED, "upload"));
            }
            match found.stage {
                Stage::Expired | Stage::Lost => Err(StoreError::refused(Failure::Gone, "upload")),
                Stage::Complete => {
                    self.believe(&folder, id, &mut found)?;
                    Ok(Some(Opened { state: self.complete_state(id, &found), part: None, digest: None }))
                }
                Stage::Unfinished => {
                    let mut opened = self.attach(&folder, id, len, found)?;
                    if let Some(wanted) = wanted {
                        // What must hold at the commit is what was asked last.
                        opened.state.put.precondition = wanted.precondition.clone();
                        opened.state.put.mtime = wanted.mtime;
                        opened.part = opened.part.map(|part| part.executable(wanted.is_executable));
                    }
                    Ok(Some(opened))
                }
            }
        });
        opened.map(Option::flatten)
    }

    /// True if this is an upload of the same content to the same name, as far as that can be told.
    pub(crate) fn is_wanted(&self, found: &Found, wanted: &Put) -> bool {
        let (put, len) = (&found.header.put, found.checkpoint.len);
        let is_same = (&put.key, put.hash) == (&wanted.key, wanted.hash) && found.header.role == Role::Whole;
        match found.stage {
            Stage::Unfinished => is_same && len == wanted.len,
            // Another content may come with the same token, and the file may be another by now.
            Stage::Complete | Stage::Expired | Stage::Lost => false,
        }
    }

    /// Attaches the caller, under the lock of the record: what was attached before can record nothing any more.
    fn attach(&self, folder: &Arc<Folder>, id: UploadId, len: Option<u64>, found: Found) -> Result<Opened, StoreError> {
        let Found { info, header, checkpoint: newest, .. } = found;
        let path = header.put.key.as_str();
        let now = self.fs.is_shared().then(clock);
        let part = folder.open_part(id).map_err(|e| self.kept_error("openat part", path, e))?;
        let part = part.ok_or_else(not_found)?;
        self.own_part(&part, path)?;
        self.check_lease_of(&newest, folder)?;
        let mut checkpoint = Checkpoint { len: learned(newest.len, len, newest.offset)?, ..newest.clone() };
        let holding = self.hold(id, &header.put.key, share_of(&newest, header.client));
        if checkpoint.len != newest.len {
            let bytes = checkpoint.len.unwrap_or(checkpoint.offset);
            lock(&self.index).check_bytes(id, Share { bytes, ..share_of(&checkpoint, header.client) })?;
            holding.iter().try_for_each(|holding| holding.admit(bytes))?;
        }
        if self.fs.durable && newest.durability == Durability::Written {
            self.sync_part(&part, path)?;
        }
        if self.fs.durable && self.durable_up_to(id, &newest) == 0 {
            // The process that made it may have been killed before these names were durable.
            let folder = self.make_folder(path)?;
            self.names
                .parents
                .sync_dir(&self.names.parents.synced_for(&folder.dir), 1)
                .map_err(|e| self.kept_error("fsync .filewharf/uploads", path, e))?;
        }
        self.is_had(folder, id);
        checkpoint.status = Status::Unfinished;
        checkpoint.durability = durability(self.fs.durable);
        checkpoint.generation += 1;
        self.stamp(&mut checkpoint, folder, path)?;
        self.write_next((id, &info), &newest, &mut checkpoint, path)?;
        self.sync_record((id, &info), checkpoint.sequence, path)?;
        ftruncate(&part, checkpoint.offset).map_err(|e| self.fs.change_error("ftruncate", path, e))?;
        let digest = checkpoint.digest.clone();
        let state = state(id, &header, &checkpoint, UploadStage::Unfinished);
        let attachment = Arc::new(Attachment::new((id, Arc::clone(folder)), info, checkpoint.clone(), now));
        let older = lock(&self.index).attached(id);
        older.inspect(|older| older.supersede());
        let holding = {
            let mut index = lock(&self.index);
            index.attach(id, share_of(&checkpoint, header.client), &attachment);
            index.hold(id, holding.clone());
            holding
        };
        self.is_used.store(true, Ordering::Relaxed);
        let part = Part::new(part, attachment, path, checkpoint.len).holding(holding);
        let part = part.executable(header.put.is_executable);
        Ok(Opened { state, part: Some(part), digest })
    }
}

/// An upload of what is stored under its name: complete, and nothing of it is kept.
fn there_already(new: &NewUpload, stored: Stored) -> Opened {
    let state = UploadState {
        id: new.id.unwrap_or(UploadId([0; 16])),
        put: new.put.clone(),
        metadata: new.metadata.clone(),
        offset: stored.meta.len,
        stage: UploadStage::Complete(Some(stored)),
        role: new.role.clone(),
        expires_s: 0,
    };
    Opened { state, part: None, digest: None }
}

/// The length that an upload has from now on.
fn learned(known: Option<u64>, told: Option<u64>, offset: u64) -> Result<Option<u64>, StoreError> {
    let refused = |failure| Err(StoreError::refused(failure, "length"));
    match (known, told) {
        (Some(known), Some(told)) if known != told => refused(OTHER_LENGTH),
        (None, Some(told)) if told < offset => refused(LONGER_ALREADY),
        (known, told) => Ok(known.or(told)),
    }
}
