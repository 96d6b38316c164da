//! What is known of one request about an upload that can be resumed.

use crate::command::Append;
use crate::dialect::http::incoming::Incoming;
use crate::dialect::http::methods::resumable::interop::Interop;
use crate::dialect::http::methods::resumable::part_digest::PartDigest;
use crate::error::Failure;
use crate::upload::UploadId;
use crate::wire::http::head::{Head, Method, UploadFields};
use crate::wire::key::Path;

/// Where the uploads are. The store has nothing under these names.
pub(super) const UPLOADS: &str = "/.filewharf/uploads/";

/// What may be done with them.
pub(super) const METHODS: &str = "GET, HEAD, PATCH, DELETE, OPTIONS";

/// What was sent is not what was announced: nothing of the part counts.
pub(super) const PART_MISMATCH: Failure = Failure::Conflict("the part does not have the digest that was announced");

/// The client continues from another offset than the upload has.
pub(super) const OTHER_OFFSET: Failure = Failure::Conflict("the upload continues from another offset");

pub(super) const COMPLETE: Failure = Failure::Conflict("the upload is complete");

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Resumable {
    pub(super) variant: Variant,
    pub(super) intent: Intent,
    pub(crate) incoming: Incoming,
    /// Where the client continues.
    pub(super) at: u64,
    /// How many directories are between the target and the root.
    pub(super) depth: usize,
    /// The final name, where the target is that, or the directory for it.
    pub(super) path: Option<Path>,
    /// What is tried next if the target is a directory, without the slash at its end: a file in it.
    pub(super) in_dir: Option<Box<Append>>,
    pub(super) known: Option<Known>,
    /// Of what this request brings.
    pub(super) part: PartDigest,
    /// Of the whole, as announced when the upload was made.
    pub(super) whole: Option<[u8; 32]>,
}

/// What the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variant {
    Tus,
    Draft(Interop),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    Create,
    Append,
    /// To continue from there.
    Ask,
    /// To show the progress.
    Look,
    Cancel,
    /// More came than was announced: the upload is removed.
    Invalidate,
    /// What is not offered.
    Other,
}

impl Intent {
    pub(super) fn of(head: &Head<'_>, fields: &UploadFields<'_>) -> Self {
        if !head.path.starts_with(UPLOADS) {
            return Self::Create;
        }
        // Some clients can send nothing but GET and POST.
        match (head.method, fields.method_override) {
            (Method::Head, _) | (Method::Post, Some("HEAD")) => Self::Ask,
            (Method::Get, _) => Self::Look,
            (Method::Delete, _) | (Method::Post, Some("DELETE")) => Self::Cancel,
            (Method::Other("PATCH"), _) | (Method::Post, Some("PATCH")) => Self::Append,
            _ => Self::Other,
        }
    }
}

/// What the store has said of the upload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) id: UploadId,
    /// This many bytes are safe.
    pub(super) offset: u64,
    pub(super) len: Option<u64>,
    /// In seconds since 1970.
    pub(super) expires_s: u64,
}
