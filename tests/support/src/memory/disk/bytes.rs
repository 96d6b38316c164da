//! Bytes of open files, read and written at once.

use filewharf::error::{Failure, StoreError};
use filewharf::ids::FileId;
use filewharf::platform::ReadNow;

use super::jobs::{Damage, Disk, failing, refused};
use crate::memory::faults::Faults;
use crate::memory::rng::Rng;

impl Disk {
    pub fn write_now(
        &mut self,
        file: FileId,
        offset: u64,
        bytes: &[u8],
        rng: &mut Rng,
        faults: &Faults,
    ) -> Result<(), StoreError> {
        let ino = self.staged(file).ino;
        full(rng, faults)?;
        if self.damage == Damage::Full {
            return Err(refused(Failure::NoSpace));
        }
        put_at(&mut self.tree.file_mut(ino).bytes, offset, bytes);
        Ok(())
    }

    pub fn read_now(
        &mut self,
        file: FileId,
        offset: u64,
        buf: &mut [u8],
        rng: &mut Rng,
        faults: &Faults,
    ) -> Result<ReadNow, StoreError> {
        failing(rng, faults)?;
        let (ino, cold) = self.reading(file);
        if rng.chance(faults.cold / 4) {
            *cold = true;
        }
        if *cold {
            return Ok(ReadNow::Cold);
        }
        if rng.chance(faults.truncated) {
            return Ok(ReadNow::Bytes(0));
        }
        let bytes = self.undamaged(&self.tree.file(ino).bytes)?;
        let from = bytes.len().min(offset as usize);
        let mut len = buf.len().min(bytes.len() - from);
        if len > 0 && rng.chance(faults.partial) {
            len = rng.piece(len);
        }
        buf[..len].copy_from_slice(&bytes[from..from + len]);
        Ok(ReadNow::Bytes(len))
    }
}

pub(super) fn put_at(file: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let at = offset as usize;
    file.resize(file.len().max(at + bytes.len()), 0);
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

pub(super) fn full(rng: &mut Rng, faults: &Faults) -> Result<(), StoreError> {
    if rng.chance(faults.no_space) {
        return Err(refused(Failure::NoSpace));
    }
    failing(rng, faults)
}
