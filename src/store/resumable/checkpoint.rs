//! One checkpoint of an upload: what its record holds that changes while it grows. `record` describes the file.
//!
//! All numbers are little-endian.
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `FWSLOT01` |
//! | 8 | 8 | sequence number; 1 is the first |
//! | 16 | 8 | generation: how often the upload was opened to be written |
//! | 24 | 1 | status: 1 unfinished, 2 being committed, 3 complete, 4 expired |
//! | 25 | 1 | 1 if the bytes before the offset were synced before this was written, 0 if not |
//! | 26 | 1 | 1 if a digest state follows, 0 if not |
//! | 27 | 1 | 0 if nothing is known of what was stored, 1 if a new file, 2 if another was replaced |
//! | 28 | 4 | length of the digest state |
//! | 32 | 8 | offset: bytes that need not be sent again |
//! | 40 | 8 | length of the upload, 2^64-1 if unknown |
//! | 48 | 8 | when it expires, in seconds since 1970 by the clock of the file system |
//! | 56 | 8 | until when its owner may write, in nanoseconds of the same clock; 0 if it has none |
//! | 64 | 48 | owner: machine id, boot id, process id, process start |
//! | 112 | 8 | inode number of the part, from status 2 on |
//! | 120 | 128 | digest state of the bytes before the offset |
//! | 248 | 32 | what was stored: length, modification time, etag |
//! | 280 | 1 | 1 if that was stored durably |
//! | 480 | 32 | SHA-256 of the id of the upload and the 480 bytes before this |

use sha2::{Digest as _, Sha256};

use crate::object::{Durability, Etag, Meta, Placed, Stored};
use crate::store::resumable::owner::Owner;
use crate::upload::{DigestState, UploadId};

pub(crate) const CHECKPOINT_LEN: usize = 512;

const MAGIC: &[u8; 8] = b"FWSLOT01";
const CHECKSUM_AT: usize = CHECKPOINT_LEN - 32;
const UNKNOWN: u64 = u64::MAX;
const DIGEST_AT: usize = 120;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Unfinished = 1,
    /// Its part is about to get its final name, or has it.
    Committing = 2,
    Complete = 3,
    Expired = 4,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) sequence: u64,
    pub(crate) generation: u64,
    pub(crate) status: Status,
    pub(crate) durability: Durability,
    pub(crate) offset: u64,
    pub(crate) len: Option<u64>,
    pub(crate) expires_s: u64,
    pub(crate) lease_until_ns: u64,
    pub(crate) owner: Owner,
    pub(crate) inode: u64,
    pub(crate) digest: Option<DigestState>,
    pub(crate) stored: Option<Stored>,
}

impl Checkpoint {
    pub(crate) fn encode(&self, id: UploadId) -> [u8; CHECKPOINT_LEN] {
        let mut bytes = [0; CHECKPOINT_LEN];
        bytes[..8].copy_from_slice(MAGIC);
        put(&mut bytes, 8, self.sequence);
        put(&mut bytes, 16, self.generation);
        bytes[24] = self.status as u8;
        bytes[25] = u8::from(self.durability == Durability::Durable);
        put(&mut bytes, 32, self.offset);
        put(&mut bytes, 40, self.len.unwrap_or(UNKNOWN));
        put(&mut bytes, 48, self.expires_s);
        put(&mut bytes, 56, self.lease_until_ns);
        bytes[64..80].copy_from_slice(&self.owner.machine);
        bytes[80..96].copy_from_slice(&self.owner.boot);
        put(&mut bytes, 96, self.owner.process);
        put(&mut bytes, 104, self.owner.started);
        put(&mut bytes, 112, self.inode);
        if let Some(DigestState(state)) = &self.digest {
            debug_assert!(state.len() <= DigestState::LEN_MAX, "a digest state is longer than its field");
            let len = state.len().min(DigestState::LEN_MAX);
            bytes[26] = 1;
            bytes[28..32].copy_from_slice(&u32::try_from(len).unwrap_or(0).to_le_bytes());
            bytes[DIGEST_AT..DIGEST_AT + len].copy_from_slice(&state[..len]);
        }
        if let Some(stored) = &self.stored {
            bytes[27] = if stored.placed == Placed::New { 1 } else { 2 };
            put(&mut bytes, 248, stored.meta.len);
            put(&mut bytes, 256, stored.meta.mtime.cast_unsigned());
            bytes[264..280].copy_from_slice(&stored.meta.etag.0);
            bytes[280] = u8::from(stored.durability == Durability::Durable);
        }
        let checksum = checksum(id, &bytes);
        bytes[CHECKSUM_AT..].copy_from_slice(&checksum);
        bytes
    }

    /// `None` for a checkpoint that was not written as a whole, or for another upload.
    pub(crate) fn decode(bytes: &[u8; CHECKPOINT_LEN], id: UploadId) -> Option<Self> {
        if bytes[..8] != *MAGIC || bytes[CHECKSUM_AT..] != checksum(id, bytes) {
            return None;
        }
        let array = |at: usize| -> [u8; 16] { bytes[at..at + 16].try_into().expect("16 bytes of 512") };
        let status = [Status::Unfinished, Status::Committing, Status::Complete, Status::Expired];
        let digest_len = usize::try_from(get(bytes, 24) >> 32).ok()?;
        let digest = match bytes[26] {
            0 => None,
            _ => Some(DigestState(bytes[DIGEST_AT..CHECKSUM_AT].get(..digest_len)?.into())),
        };
        let durability = |byte: u8| if byte == 1 { Durability::Durable } else { Durability::Written };
        let placed = [None, Some(Placed::New), Some(Placed::Replaced)].get(usize::from(bytes[27])).copied()?;
        let (len, mtime, etag) = (get(bytes, 248), get(bytes, 256).cast_signed(), Etag(array(264)));
        let meta = Meta { len, mtime, etag, sha256: None, is_executable: false };
        Some(Self {
            sequence: get(bytes, 8),
            generation: get(bytes, 16),
            status: status.into_iter().find(|status| *status as u8 == bytes[24])?,
            durability: durability(bytes[25]),
            offset: get(bytes, 32),
            len: Some(get(bytes, 40)).filter(|len| *len != UNKNOWN),
            expires_s: get(bytes, 48),
            lease_until_ns: get(bytes, 56),
            owner: Owner { machine: array(64), boot: array(80), process: get(bytes, 96), started: get(bytes, 104) },
            inode: get(bytes, 112),
            digest,
            stored: placed.map(|placed| Stored { meta, durability: durability(bytes[280]), placed }),
        })
    }
}

fn put(bytes: &mut [u8; CHECKPOINT_LEN], at: usize, number: u64) {
    bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
}

fn get(bytes: &[u8; CHECKPOINT_LEN], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes of 512"))
}

fn checksum(id: UploadId, bytes: &[u8; CHECKPOINT_LEN]) -> [u8; 32] {
    Sha256::new().chain_update(id.0).chain_update(&bytes[..CHECKSUM_AT]).finalize().into()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const ID: UploadId = UploadId([7; 16]);

    pub(crate) fn checkpoint(sequence: u64, offset: u64) -> Checkpoint {
        Checkpoint {
            sequence,
            generation: 3,
            status: Status::Unfinished,
            durability: Durability::Durable,
            offset,
            len: Some(1000),
            expires_s: 5,
            lease_until_ns: 6,
            owner: Owner { machine: [1; 16], boot: [2; 16], process: 3, started: 4 },
            inode: 9,
            digest: Some(DigestState((0..105).collect())),
            stored: None,
        }
    }

    #[test]
    fn a_checkpoint_reads_what_it_wrote() {
        let meta = Meta { len: 7, mtime: -1, etag: Etag([9; 16]), sha256: None, is_executable: false };
        let stored = |durability, placed| Some(Stored { meta, durability, placed });
        let other = Checkpoint {
            status: Status::Complete,
            durability: Durability::Written,
            len: None,
            digest: None,
            stored: stored(Durability::Written, Placed::Replaced),
            ..checkpoint(1, 0)
        };
        let new = Checkpoint { stored: stored(Durability::Durable, Placed::New), ..checkpoint(1, u64::MAX) };
        for checkpoint in [checkpoint(2, 3), other, new, Checkpoint { status: Status::Expired, ..checkpoint(4, 5) }] {
            assert_eq!(Checkpoint::decode(&checkpoint.encode(ID), ID), Some(checkpoint));
        }
    }

    #[test]
    fn a_checkpoint_that_is_torn_changed_or_of_another_upload_is_none() {
        let (old, new) = (checkpoint(1, 10).encode(ID), checkpoint(3, 990).encode(ID));
        assert_eq!(Checkpoint::decode(&new, UploadId([8; 16])), None);
        assert_eq!(Checkpoint::decode(&[0; CHECKPOINT_LEN], ID), None);
        for at in 1..CHECKPOINT_LEN {
            let mut torn = old;
            torn[..at].copy_from_slice(&new[..at]);
            let whole = Checkpoint::decode(&torn, ID);
            assert!(whole.is_none() || torn == old || torn == new, "torn at {at}");
            let mut changed = new;
            changed[at] ^= 0x10;
            assert_eq!(Checkpoint::decode(&changed, ID), None, "changed at {at}");
        }
    }
}
