//! The two directories of a sync, and which names of them count. Never changes anything.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::cli::args::Args;
use crate::cli::worker::Run;
use crate::client::sync::PlanError;
use crate::client::{Equality, RemotePath};

/// What is said of a file that changed at the destination.
pub(super) const CHANGED: &str = "was changed at the destination after it was listed; give the same command again";

/// After the name of a file that is not complete; no user's file is expected to have such a name.
pub(super) const PART_SUFFIX: &str = ".filewharf.part";

/// The two directories of a run.
pub(super) struct Sides<'a> {
    pub(super) remote: RemotePath,
    /// That of the server, without a slash at its end.
    pub(super) base: String,
    pub(super) local: PathBuf,
    pub(super) is_upload: bool,
    pub(super) equality: Equality,
    pub(super) args: &'a Args,
    pub(super) run: &'a Run,
}

impl Sides<'_> {
    /// The path of a name of the destination or source on the server.
    pub(super) fn remote_path(&self, path: &str) -> String {
        if path == "." { format!("{}/", self.base) } else { format!("{}/{path}", self.base) }
    }

    pub(super) fn takes(&self, path: &str, is_dir: bool) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        self.run.filter.takes(name, Some(path), is_dir)
    }

    /// True if the local directory is there. A source must be.
    pub(super) fn has_local_dir(&self) -> Result<bool, PlanError> {
        let problem = |error| PlanError::Local(self.local.clone(), error);
        match fs::metadata(&self.local) {
            Ok(metadata) if metadata.is_dir() => Ok(true),
            Ok(_) => Err(problem(io::Error::other("is not a folder; for files there are put and get"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.is_upload => Ok(false),
            Err(error) => Err(problem(error)),
        }
    }

    /// True for what an earlier sync did not complete.
    pub(super) fn is_part(path: &str) -> bool {
        path.strip_suffix(".etag").unwrap_or(path).ends_with(PART_SUFFIX)
    }
}
