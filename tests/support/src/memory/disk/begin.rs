//! How an operation of the store begins: which file it is for, and what it holds of the server.

use filewharf::buffer::Chunk;
use filewharf::error::Failure;
use filewharf::ids::OpId;
use filewharf::platform::Op;

use super::jobs::{Commit, Disk, Job, Open, Staged, Work};
use super::uploads;

impl Disk {
    /// The server asks: files it gives up are gone from here on.
    pub fn begin(&mut self, id: OpId, op: Op) -> Job {
        let (work, chunk) = match op {
            Op::Abort { file } if matches!(self.files.get(&file), Some(Open::Copied(_))) => {
                (Work::AbortCopy(self.take_copy(file)), None)
            }
            Op::Abort { file } => (Work::Abort(self.take_staged(file)), None),
            Op::Close { file } => {
                let taken = self.files.remove(&file);
                assert!(matches!(taken, Some(Open::Reading { .. })), "{file:?} is closed, and not open for reading");
                (Work::Close, None)
            }
            Op::Commit { file, key, len, prepend, mtime, precondition, digest } => {
                let staged = self.take_staged(file);
                assert!(!self.writing.contains_key(&staged.ino), "a commit while writes are under way");
                (Work::Complete(Box::new(Commit { staged, key, len, prepend, mtime, precondition, digest })), None)
            }
            Op::Flush { file, .. } => (Work::Flush(self.staged(file).ino), None),
            Op::Read { file, offset, len, chunk } => {
                (Work::Read { ino: self.reading(file).0, offset, len }, Some(chunk))
            }
            Op::Warm { file, .. } => {
                let _ = self.reading(file);
                (Work::Warm(file), None)
            }
            Op::Write { file, offset, chunk } => {
                let ino = self.staged(file).ino;
                *self.writing.entry(ino).or_default() += 1;
                (Work::Write { ino, offset }, Some(chunk))
            }
            Op::OpenUpload { upload, len, permit, .. } => {
                (Work::Upload(uploads::Step::Open(upload, len, permit)), None)
            }
            Op::Checkpoint { file, offset, digest } => {
                let Staged { ino, upload, .. } = *self.staged(file);
                let id = upload.expect("only a part of an upload has checkpoints");
                let written = self.tree.file(ino).bytes.len() as u64;
                assert!(written >= offset, "a checkpoint at {offset}, and {written} bytes are written");
                let then = uploads::Then::Saved;
                (Work::Upload(uploads::Step::Sync { id, ino, offset, digest, then }), None)
            }
            Op::Join { file, offset, digest } => {
                let Staged { ino, upload, .. } = *self.staged(file);
                let id = upload.expect("only an upload that outlives its connection is joined");
                (Work::Upload(uploads::Step::Join { id, ino, offset, digest }), None)
            }
            Op::EndPart { file, end } => {
                let staged = self.take_staged(file);
                assert!(!self.writing.contains_key(&staged.ino), "a part ends while writes are under way");
                (Work::Upload(self.end_part(&staged, end)), None)
            }
            Op::FindUpload { id, permit, .. } => (Work::Upload(uploads::Step::Find(id, permit)), None),
            Op::RemoveUpload { id, permit } => (Work::Upload(uploads::Step::Cancel(id, permit)), None),
            Op::Store { put, chunk } => (Work::Plain(Op::Store { put, chunk: Chunk::new(0) }), Some(chunk)),
            op => (Work::Plain(op), None),
        };
        Job { id, work, chunk }
    }

    /// A lock is in the way of it.
    pub(super) fn refuse(&mut self, id: OpId, op: Op, failure: Failure) -> Job {
        let (file, chunk) = match op {
            Op::Commit { file, .. } | Op::PlaceCopy { file, .. } => (self.files.remove(&file), None),
            Op::Store { chunk, .. } => (None, Some(chunk)),
            _ => (None, None),
        };
        Job { id, work: Work::Refuse(failure, file), chunk }
    }
}
