//! Uploads: as announced, and those that outlive their connections. Plain data that every layer may hold.
//!
//! One that can be resumed is a file that is not visible yet and a record beside it. A connection that sends a part of it is
//! attached to it; at most one is. Nothing here touches a disk.

use std::fmt;

use sha2::digest::common::hazmat::SerializableState as _;
use sha2::{Digest as _, Sha256};

use crate::error::Failure;
use crate::object::{Key, Precondition, Stored};

/// What is to be stored would replace a directory.
pub const NAME_IS_DIR: Failure = Failure::Conflict("a folder has that name");

/// An upload has one length.
pub const OTHER_LENGTH: Failure = Failure::Malformed("the length of an upload cannot change");
/// It has come further than the length that is announced now.
pub const LONGER_ALREADY: Failure = Failure::Malformed("the upload is longer than that already");

/// A newer request took the upload over.
pub const TAKEN_OVER: Failure = Failure::Conflict("another request resumed this upload");

/// An upload that is concatenated from others takes no bytes of its own.
pub const JOINED: Failure = Failure::Denied("the upload is joined from others: nothing can be added to it");
/// What is to be joined is not there.
pub const NO_PART: Failure = Failure::Conflict("one of the partial uploads is not there");
/// What is to be joined would get a name of its own.
pub const NOT_PARTIAL: Failure = Failure::Conflict("one of the uploads to be joined is not a partial one");
/// What is to be joined is still to come.
pub const PART_UNFINISHED: Failure = Failure::Conflict("one of the partial uploads is not complete");

/// An upload as announced by its head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    pub key: Key,
    /// The length, where the head tells it.
    pub len: Option<u64>,
    /// What must hold when it becomes visible.
    pub precondition: Precondition,
    /// Modification time to set, seconds since 1970.
    pub mtime: Option<i64>,
    /// The file can be executed where it can be read.
    pub is_executable: bool,
    /// Compute the SHA-256 of the body on the way.
    pub hash: bool,
    /// The SHA-256 of its content, where that is known. Announced by a peer that waits: where the file of this
    /// name has it already, and the length, nothing is received. Once all was received, it is kept with the file.
    pub sha256: Option<Box<[u8; 32]>>,
    /// Whether the peer waits for a reply before it sends the body.
    pub go_ahead: GoAhead,
}

impl Put {
    /// An upload with nothing asked besides; a head that asks more sets it.
    pub const fn new(key: Key, len: Option<u64>) -> Self {
        Self {
            key,
            len,
            precondition: Precondition::None,
            mtime: None,
            is_executable: false,
            hash: false,
            sha256: None,
            go_ahead: GoAhead::NotAwaited,
        }
    }
}

/// Whether the peer waits for a reply before it sends the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoAhead {
    /// No: it is on its way already.
    NotAwaited,
    /// Yes: whatever can be refused is refused before the body moves, however small it is.
    Awaited,
}

/// Names one upload. 32 hex digits on the wire and on the disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadId(pub [u8; 16]);

impl UploadId {
    /// Reads what [`fmt::Display`] wrote, and nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 32 || !text.as_bytes().iter().all(is_digit) {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(|number| Self(number.to_be_bytes()))
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Knowing the id is the right to continue with the upload: a log gets a part of it.
        write!(f, "UploadId({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

/// What becomes of a request that is attached to an upload when another asks how far the upload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inquiry {
    /// It continues. The offset that is said is safe, but may be out of date at once.
    Aside,
    /// It ends, and what it received is saved first: the next request can continue at the offset that is said.
    Final,
}

/// A hash in the middle of its content.
#[derive(Clone, PartialEq, Eq)]
pub struct DigestState(pub Box<[u8]>);

impl DigestState {
    /// Longest state, in bytes: SHA-256 with a block that is not full.
    pub const LEN_MAX: usize = 128;

    /// The state after these bytes too; `None` if this is none.
    pub fn after(&self, bytes: &[u8]) -> Option<Self> {
        let mut hasher = Sha256::deserialize(self.0.as_ref().try_into().ok()?).ok()?;
        hasher.update(bytes);
        Some(Self(hasher.serialize().as_slice().into()))
    }
}

impl fmt::Debug for DigestState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DigestState({} bytes)", self.0.len())
    }
}

/// What becomes of an upload once all of it has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It gets its final name.
    #[default]
    Whole,
    /// It is kept until another is concatenated from it.
    Partial,
    /// It is concatenated from these, in this order; no request adds to it.
    Final(Box<[UploadId]>),
}

/// An upload to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewUpload {
    /// `None`: the store makes one that cannot be guessed. An id that is there already is resumed, if its name,
    /// its length and its wish for a digest are these, and made again if not.
    pub id: Option<UploadId>,
    /// Of this, `go_ahead` and `sha256` are not kept.
    pub put: Put,
    /// What the client wants to be sent again with the state of the upload, as it was written on the wire; at most
    /// [`NewUpload::METADATA_LEN_MAX`] bytes.
    pub metadata: Box<str>,
    /// One that is [`Role::Final`] has no length of its own: the store adds up those of its parts.
    pub role: Role,
}

impl NewUpload {
    /// Three times as many for one that is [`Role::Final`], which names its parts.
    pub const METADATA_LEN_MAX: usize = 2048;
}

/// Which upload a request continues with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UploadRef {
    Existing(UploadId),
    New(Box<NewUpload>),
}

impl UploadRef {
    /// `None` where the store is to choose one.
    pub const fn id(&self) -> Option<UploadId> {
        match self {
            Self::Existing(id) => Some(*id),
            Self::New(new) => new.id,
        }
    }
}

/// How far an upload is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadState {
    pub id: UploadId,
    /// As it was made; `len` may have been learned since.
    pub put: Put,
    pub metadata: Box<str>,
    /// Bytes that need never be sent again: they are as durable as the store makes things. Never falls.
    pub offset: u64,
    pub stage: UploadStage,
    pub role: Role,
    /// When it is removed if nothing happens to it, in seconds since 1970.
    pub expires_s: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadStage {
    Unfinished,
    /// It has its final name. What was stored, where that is still known.
    Complete(Option<Stored>),
}

/// What becomes of an upload when a connection is done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartEnd {
    /// What was written up to this offset is made durable, with the state of its digest, if there is one.
    Save { offset: u64, digest: Option<DigestState> },
    /// It stays as it was last saved.
    Keep,
    /// It is removed.
    Remove,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_what_it_wrote_and_nothing_else() {
        let id = UploadId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 254, 255]);
        assert_eq!(UploadId::parse(&id.to_string()), Some(id));
        for bad in ["", "00", "+0010203040506070809000000000000", "000102030405060708090A0B0C0DFEFF", "../../etc"] {
            assert_eq!(UploadId::parse(bad), None, "{bad}");
        }
        assert!(!format!("{id:?}").contains("0203"), "a log must not say how to resume an upload");
    }
}
