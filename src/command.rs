//! The neutral vocabulary between dialects and the engine: a dialect asks with a [`Command`] and
//! is told an [`Answer`]. No status code, path or byte of a wire grammar appears here.

use crate::dav_locks::{DavLock, LockToken};
use crate::error::Failure;
use crate::ids::ClientAddress;
use crate::object::{
    Details, Entry, ExpectedKind, Key, Listing, Meta, MissingParents, Node, Placed, Precondition, Stored, Usage,
};
use crate::order::Order;
use crate::properties::Change;
use crate::upload::{Inquiry, UploadId, UploadRef, UploadState};

pub use crate::upload::{GoAhead, Put};

/// One request, whatever dialect it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Continue with an upload, or begin one that can be resumed; a part of its body follows.
    Append(Box<Append>),
    /// Give up an upload: nothing of it stays.
    CancelUpload { id: UploadId },
    /// Copy a file or a directory.
    Copy(Box<Copying>),
    /// Open a file for sending.
    Get { key: Key },
    /// One page of a directory.
    List {
        key: Key,
        /// With all that is under it.
        recursive: bool,
        /// Start after this name.
        after: Option<Box<str>>,
        /// At most this many names.
        limit: usize,
        details: Details,
        /// Not with `recursive`. But for the order by bytes, `after` is a cursor.
        order: Order,
    },
    /// Store a file; its body follows.
    Put(Put),
    /// What the store does whole.
    Run(Whole),
    /// How far an upload is.
    StatUpload {
        id: UploadId,
        inquiry: Inquiry,
        /// Its final name, where the client says it.
        key: Option<Key>,
    },
}

impl Command {
    /// The name it is about, for the log; `None` where only the store knows it.
    pub fn key(&self) -> Option<&Key> {
        Some(match self {
            Self::Copy(copying) => &copying.from,
            Self::Get { key } | Self::List { key, .. } => key,
            Self::Put(put) => &put.key,
            Self::Run(whole) => whole.key(),
            Self::Append(append) => match &append.upload {
                UploadRef::New(new) => &new.put.key,
                UploadRef::Existing(_) => return None,
            },
            Self::StatUpload { key, .. } => return key.as_ref(),
            Self::CancelUpload { .. } => return None,
        })
    }

    /// True if it changes the served directory.
    pub const fn is_change(&self) -> bool {
        match self {
            Self::Append(_) | Self::CancelUpload { .. } | Self::Copy(_) | Self::Put(_) => true,
            Self::Get { .. } | Self::List { .. } | Self::StatUpload { .. } => false,
            Self::Run(Whole::KeepLock { .. } | Whole::EndLock { .. }) => true,
            Self::Run(whole) => !matches!(whole.names(), Names::Look(_)),
        }
    }

    pub const fn word(&self) -> &'static str {
        match self {
            Self::Append(_) => "append",
            Self::CancelUpload { .. } => "delete",
            Self::Copy(_) => "copy",
            Self::Get { .. } => "get",
            Self::List { .. } => "list",
            Self::Put(_) => "put",
            Self::Run(whole) => whole.row().0,
            Self::StatUpload { .. } => "stat",
        }
    }
}

/// A command that the store does whole, in one operation that ends with the answer. To add one, give it a row here, the
/// rights that it needs in `access::permission`, and its function in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whole {
    /// Remove a file or a directory.
    Delete {
        key: Key,
        /// With all that is in it; else only an empty directory.
        is_recursive: bool,
        /// Nothing else is removed.
        expected_kind: ExpectedKind,
        precondition: Precondition,
    },
    /// Looks up a name with its digest and its properties.
    Describe { key: Key },
    /// A lock of WebDAV has ended.
    EndLock { key: Key, token: LockToken },
    /// Keep a lock of WebDAV; an empty file is made where nothing is.
    KeepLock {
        lock: Box<DavLock>,
        client: ClientAddress,
        rights: LockRights,
        /// It has the lock already, and another time from now on.
        is_renewal: bool,
    },
    /// Make a directory, where it is not there. If missing parents are refused, nothing may have its name.
    MakeDir { key: Key, parents: MissingParents },
    /// Move a file or a directory.
    Rename {
        from: Key,
        to: Key,
        /// What must hold at `to`.
        precondition: Precondition,
        /// Of `to`.
        parents: MissingParents,
        /// A directory at `to` is replaced with all that is in it, and a file by a directory.
        replaces_dir: bool,
        /// Bytes that a file may have there.
        len_max: Option<u64>,
    },
    /// Change the properties that clients keep with a file or a directory, all of them or none, and when it was modified.
    SetProperties { key: Key, mtime: Option<i64>, changes: Box<[Change]> },
    /// Set when a file or a directory was modified, in seconds since 1970.
    SetTime { key: Key, mtime: i64 },
    /// How much space there is for what is stored in a directory. Without `is_strict` it need not be there: then that of
    /// the nearest directory above is meant.
    Space { key: Key, is_strict: bool },
    /// Looks up a name.
    Stat { key: Key },
}

/// What a caller may lock; or why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockRights {
    /// What is there.
    pub existing: Result<(), Failure>,
    /// A name that nothing has.
    pub new: Result<(), Failure>,
}

/// The names that a command uses, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names<'a> {
    /// Looks what this name stands for.
    Look(&'a Key),
    /// Makes this directory where it is not there.
    Make(&'a Key),
    /// Changes what has this name, and what has the other.
    Change(&'a Key, Option<&'a Key>),
}

impl Whole {
    /// The word for the log, and the names.
    const fn row(&self) -> (&'static str, Names<'_>) {
        match self {
            Self::Delete { key, .. } => ("delete", Names::Change(key, None)),
            Self::Describe { key } => ("propfind", Names::Look(key)),
            Self::EndLock { key, .. } => ("unlock", Names::Change(key, None)),
            Self::KeepLock { lock, .. } => ("lock", Names::Change(&lock.key, None)),
            Self::MakeDir { key, .. } => ("mkdir", Names::Make(key)),
            Self::Rename { from, to, .. } => ("rename", Names::Change(from, Some(to))),
            Self::SetProperties { key, .. } => ("proppatch", Names::Change(key, None)),
            Self::SetTime { key, .. } => ("time", Names::Change(key, None)),
            Self::Space { key, .. } => ("space", Names::Look(key)),
            Self::Stat { key } => ("stat", Names::Look(key)),
        }
    }

    pub const fn names(&self) -> Names<'_> {
        self.row().1
    }

    /// The name it is about.
    pub const fn key(&self) -> &Key {
        let (Names::Look(key) | Names::Make(key) | Names::Change(key, _)) = self.names();
        key
    }
}

/// A copy of a file or a directory: nothing of it is at its name before all of it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copying {
    pub from: Key,
    pub to: Key,
    /// What must hold at `to`.
    pub precondition: Precondition,
    /// Of `to`.
    pub parents: MissingParents,
    /// What becomes of a directory at `from`.
    pub dir: DirCopy,
    /// A directory at `to` is replaced with all that is in it, and a file by a directory.
    pub replaces_dir: bool,
    /// Bytes that a file may have there.
    pub len_max: Option<u64>,
}

/// What a request to copy means for a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirCopy {
    /// Nothing, for this reason.
    Refused(Failure),
    /// Without what is in it.
    Empty,
    /// With all that is in it.
    Whole,
}

/// A part of an upload that can be resumed: the body of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    pub upload: UploadRef,
    /// The length of the whole upload, where this request tells it.
    pub len: Option<u64>,
    pub ends: Ends,
    /// The dialect verifies the part when it has come in full: nothing of it counts before that.
    pub is_verified: bool,
}

/// When an upload is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// After this part.
    WithThisPart,
    /// Once it is as long as was announced; not yet where that is not known.
    AtItsLength,
    /// Never: another is concatenated from it.
    Never,
    /// Once all its parts are in it.
    Joined,
}

/// How a command went, on its way back to the dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The upload may begin: say so if the grammar wants it, then the body is received.
    Created,
    /// A file is open; nothing has been sent yet.
    Opened(Meta),
    /// The page that was asked for.
    Listed(Listing),
    /// What stands at the name, with all that is kept about it.
    Described(Box<Entry>),
    /// What stands at the name.
    Found(Node),
    /// The upload is complete under its final name.
    Stored(Stored),
    /// The upload may continue at its offset: say so if the grammar wants it, then the part is received. One that is
    /// complete takes no part.
    Resumed(Box<UploadState>),
    /// The part has been received, and all of it that is named here is safe. The upload is not complete.
    Saved(Box<UploadState>),
    /// How far the upload is.
    UploadFound(Box<UploadState>),
    /// The directory stands there; `is_new` if this command has made it.
    DirMade { is_new: bool },
    /// It, or its copy, has the new name, and whether something had that before.
    Moved(Placed),
    /// Bytes that are free, and the quota that has the least left.
    SpaceLeft { free: u64, quota: Option<Usage> },
    /// It is locked; `is_new` if an empty file was made for that.
    Locked { token: LockToken, is_new: bool },
    /// This lock of it has ended.
    Unlocked(Key, LockToken),
    /// What has the new time, or the new properties.
    TimeSet(Node),
    /// It is done, and as durably as configured.
    Done,
}
