//! The neutral vocabulary between dialects and the engine: a dialect asks with a [`Command`] and
//! is told an [`Answer`]. No status code, path or byte of a wire grammar appears here.

use crate::object::{ExpectedKind, Key, Listing, Meta, Node, Precondition, Stored};

/// One request, whatever dialect it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Remove a file or an empty directory.
    Delete {
        key: Key,
        /// Nothing else is removed.
        expected_kind: ExpectedKind,
        precondition: Precondition,
    },
    /// Open a file for sending.
    Get { key: Key },
    /// One page of a directory.
    List {
        key: Key,
        /// Start behind this name.
        after: Option<Box<str>>,
        /// At most this many names.
        limit: usize,
    },
    /// Make a directory and its parents.
    MakeDir { key: Key },
    /// Store a file; its body follows.
    Put(Put),
    /// Move a file or a directory.
    Rename {
        from: Key,
        to: Key,
        /// What must hold at `to`.
        precondition: Precondition,
    },
    /// What stands at a name?
    Stat { key: Key },
}

impl Command {
    /// The name it is about, for the log and for ordering.
    pub fn key(&self) -> &Key {
        match self {
            Self::Delete { key, .. }
            | Self::Get { key }
            | Self::List { key, .. }
            | Self::MakeDir { key }
            | Self::Stat { key } => key,
            Self::Put(put) => &put.key,
            Self::Rename { from, .. } => from,
        }
    }

    /// Does it change the served directory?
    pub const fn is_change(&self) -> bool {
        match self {
            Self::Delete { .. } | Self::MakeDir { .. } | Self::Put(_) | Self::Rename { .. } => true,
            Self::Get { .. } | Self::List { .. } | Self::Stat { .. } => false,
        }
    }

    pub const fn word(&self) -> &'static str {
        match self {
            Self::Delete { .. } => "delete",
            Self::Get { .. } => "get",
            Self::List { .. } => "list",
            Self::MakeDir { .. } => "mkdir",
            Self::Put(_) => "put",
            Self::Rename { .. } => "rename",
            Self::Stat { .. } => "stat",
        }
    }
}

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
    /// Compute the SHA-256 of the body on the way.
    pub hash: bool,
    /// Does the peer wait to be told before it sends the body?
    pub go_ahead: GoAhead,
}

impl Put {
    /// An upload with nothing asked besides; a head that asks more sets it.
    pub const fn new(key: Key, len: Option<u64>) -> Self {
        Self { key, len, precondition: Precondition::None, mtime: None, hash: false, go_ahead: GoAhead::NotAwaited }
    }
}

/// Does the peer wait to be told before it sends the body?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoAhead {
    /// No: it is on its way already.
    NotAwaited,
    /// Yes: whatever can be refused is refused before the body moves, however small it is.
    Awaited,
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
    /// What stands at the name.
    Found(Node),
    /// The upload is complete under its final name.
    Stored(Stored),
    /// Deleted, made or renamed.
    Done,
}
