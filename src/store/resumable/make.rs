//! New uploads.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rustix::fs::fchmod;
use rustix::io::Errno;

use crate::error::{Failure, StoreError};
use crate::ids::ClientAddress;
use crate::os::process::{clock, random};
use crate::store::mutex::lock;
use crate::store::resumable::attachment::{Attachment, Part};
use crate::store::resumable::checkpoint::{Checkpoint, Status};
use crate::store::resumable::folder::{Folder, part_name, write_at};
use crate::store::resumable::found::state;
use crate::store::resumable::index::Share;
use crate::store::resumable::journal::{durability, share_of};
use crate::store::resumable::open::Opened;
use crate::store::resumable::record::Header;
use crate::store::resumable::uploads::ResumableUploads;
use crate::store::staging::gifts::Target;
use crate::store::staging::pending_syncs::PendingSyncs;
use crate::upload::{NewUpload, Role, UploadId, UploadStage};

impl ResumableUploads {
    /// Makes an upload. Nothing but its directory is left to sync.
    pub(crate) fn make_upload(
        &self,
        new: &NewUpload,
        joins: Box<[(UploadId, u64)]>,
        client: ClientAddress,
    ) -> Result<(Opened, PendingSyncs), StoreError> {
        let (put, path) = (&new.put, new.put.key.as_str());
        // A partial upload never gets the name.
        if new.role != Role::Partial {
            let refused = self.names.refuse_early(&put.key, &put.precondition);
            refused.inspect_err(|error| self.fs.health.commit_ended(Some(error.failure)))?;
        }
        self.names.staging.space.check(&self.fs, put.len)?;
        let id = match new.id {
            Some(id) => id,
            None => UploadId(random().map_err(|error| StoreError {
                failure: Failure::Internal,
                site: "getrandom",
                source: Some(error),
            })?),
        };
        let folder = self.make_folder(path)?;
        let (header, checkpoint) = self.first_record(new, client, &folder)?;
        let holding = self.names.quotas.announce(&put.key, put.len, &self.holdings(&joins))?;
        let forgotten = {
            let mut index = lock(&self.index);
            let share = share_of(&checkpoint, client);
            index.check_bytes(id, Share { bytes: put.len.unwrap_or(0), ..share })?;
            let forgotten = index.admit(id, share)?;
            index.hold(id, holding.clone());
            forgotten
        };
        if let Some(forgotten) = forgotten {
            self.forget_ended(&folder, forgotten)?;
        }
        let made = self.make_files(id, &header, (&checkpoint, joins), &folder);
        match made.map(|part| part.holding(holding)) {
            Ok(part) => {
                let syncs = if self.fs.durable { vec![self.names.parents.synced_for(&folder.dir)] } else { Vec::new() };
                let state = state(id, &header, &checkpoint, UploadStage::Unfinished);
                let syncs = PendingSyncs { dirs: syncs, ..PendingSyncs::default() };
                Ok((Opened { state, part: Some(part), digest: None }, syncs))
            }
            Err(error) => {
                lock(&self.index).remove(id);
                Err(error)
            }
        }
    }

    fn first_record(
        &self,
        new: &NewUpload,
        client: ClientAddress,
        folder: &Folder,
    ) -> Result<(Header, Checkpoint), StoreError> {
        let now_ns = self.now_ns(folder, new.put.key.as_str())?;
        let created_s = now_ns / 1_000_000_000;
        let (put, metadata, role) = (new.put.clone(), new.metadata.clone(), new.role.clone());
        let header = Header { put, metadata, client, created_s, role };
        let mut checkpoint = Checkpoint {
            sequence: 1,
            generation: 1,
            status: Status::Unfinished,
            durability: durability(self.fs.durable),
            offset: 0,
            len: new.put.len,
            expires_s: 0,
            lease_until_ns: 0,
            owner: self.owner,
            inode: 0,
            digest: None,
            stored: None,
        };
        self.stamp(&mut checkpoint, folder, new.put.key.as_str())?;
        Ok((header, checkpoint))
    }

    fn make_files(
        &self,
        id: UploadId,
        header: &Header,
        (checkpoint, joins): (&Checkpoint, Box<[(UploadId, u64)]>),
        folder: &Arc<Folder>,
    ) -> Result<Part, StoreError> {
        let path = header.put.key.as_str();
        let Some(content) = header.info(id, checkpoint) else {
            return Err(StoreError::refused(Failure::TooLarge, "record"));
        };
        let making = self.clear_place(id, header, folder)?;
        let made = self.make_cleared(id, header, &content, folder).and_then(|(part, info, now)| {
            // From here on other processes see a whole record.
            drop(making);
            self.sync_part(&part, path)?;
            self.sync_record((id, &info), checkpoint.sequence, path)?;
            Ok((part, info, now))
        });
        let (part, info, now) = made.inspect_err(|_| {
            let _ = folder.remove(id);
        })?;
        let attachment = Attachment::new((id, Arc::clone(folder)), info, checkpoint.clone(), now);
        let attachment = Arc::new(attachment.joining(joins));
        lock(&self.index).attach(id, share_of(checkpoint, header.client), &attachment);
        self.is_used.store(true, Ordering::Relaxed);
        Ok(Part::new(part, attachment, path, checkpoint.len).executable(header.put.is_executable))
    }

    /// Removes what another upload of this id has left. Until the result is dropped, no other process makes an upload.
    fn clear_place(&self, id: UploadId, header: &Header, folder: &Folder) -> Result<Option<OwnedFd>, StoreError> {
        let failed = |site| move |errno| self.kept_error(site, header.put.key.as_str(), errno);
        let making = self.fs.is_shared().then(|| folder.lock_making()).transpose().map_err(failed("flock CLOCK"))?;
        let cleared = self.with_record(folder, id, |found| {
            // Since this process has looked, another may have made the very same, and reported it.
            if self.fs.is_shared() && self.is_wanted(&found, &header.put) {
                return Err(StoreError::refused(Failure::Locked, "made by another process"));
            }
            self.check_unowned(folder, id, &found)?;
            folder.remove(id).map_err(failed("unlinkat"))
        })?;
        if cleared.is_none() {
            // A record that is torn, or a part without one.
            folder.remove(id).map_err(failed("unlinkat"))?;
        }
        Ok(making)
    }

    /// The files of an upload, not synced yet: its part, its record, and when its lease began.
    fn make_cleared(
        &self,
        id: UploadId,
        header: &Header,
        content: &[u8],
        folder: &Arc<Folder>,
    ) -> Result<(OwnedFd, OwnedFd, Option<Instant>), StoreError> {
        let path = header.put.key.as_str();
        let target =
            if header.role == Role::Partial { None } else { self.names.parents.nearest_dir(header.put.key.parent()) };
        let target = target.map(Target::from);
        let made = self.names.staging.make_file((folder.dir.fd.as_fd(), &part_name(id)), target.as_ref());
        let part = made.inspect_err(|errno| {
            if *errno == Errno::NOENT {
                self.forget_folder(folder);
            }
        });
        let part = part.map_err(|e| self.kept_error("openat part", path, e))?;
        if let Some(mode) = self.names.staging.file_mode {
            fchmod(&part, mode).map_err(|e| self.fs.change_error("fchmod", path, e))?;
        }
        let now = self.fs.is_shared().then(clock);
        self.own_part(&part, path)?;
        let info = folder.make_info(id).map_err(|e| self.kept_error("openat info", path, e))?;
        write_at(&info, content, 0).map_err(|e| self.kept_error("pwrite info", path, e))?;
        Ok((part, info, now))
    }
}
