//! The copy of one file, a step at a time, and what it takes over from its source; and where a copy may stand.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{Mode, RawMode, Stat, fchmod, fstat};

use crate::command::Copying;
use crate::error::{Failure, StoreError};
use crate::object::{Meta, Precondition};
use crate::store::fs::linux;
use crate::store::fs::read::OpenFile;
use crate::store::fs::root::FileSystem;
use crate::store::fs::stat::{self, Kind, may_replace};
use crate::store::namespace::Namespace;
use crate::store::staging::copy::STEP;
use crate::store::staging::staged::Staged;

pub(super) const CHANGED: Failure = Failure::Conflict("it was changed while it was copied: try again");
const DIR_HAS_NAME: Failure = Failure::Conflict("a folder has that name: say the name of the copy in it too");
const FILE_HAS_NAME: Failure = Failure::Conflict("a file has that name");

/// The copy of one file.
#[derive(Debug)]
pub(crate) struct FileCopy {
    from: OpenFile,
    pub(super) meta: Meta,
    pub(super) staged: Staged,
    done: u64,
}

pub(super) fn refused<T>(failure: Failure) -> Result<T, StoreError> {
    Err(StoreError::refused(failure, "copy"))
}

impl FileCopy {
    pub(super) const fn new(from: OpenFile, meta: Meta, staged: Staged) -> Self {
        Self { from, meta, staged, done: 0 }
    }

    /// Copies up to [`STEP`] bytes. True once all of one version of the source is copied.
    pub(super) fn step(&mut self, names: &Namespace, source: &FileSystem) -> Result<bool, StoreError> {
        let Self { from, meta, staged, done } = self;
        let len = (meta.len - *done).min(STEP);
        let copied = names.staging.copy(staged, from.fd().as_fd(), (*done, *done), len, None)?;
        if copied < len {
            return refused(CHANGED);
        }
        if names.fs.durable {
            names.staging.flush(staged, *done, len)?;
        }
        *done += len;
        if *done < meta.len {
            return Ok(false);
        }
        if source.is_as_opened(from) { Ok(true) } else { refused(CHANGED) }
    }
}

/// Gives a copy the attributes of its source, and permissions that neither that nor a new file lacks.
pub(super) fn set_attributes(
    names: &Namespace,
    path: &str,
    (from, copy): (&OwnedFd, &OwnedFd),
) -> Result<(), StoreError> {
    let failed = |site| move |errno| names.fs.change_error(site, path, errno);
    linux::copy_user_attributes(from.as_fd(), copy.as_fd()).map_err(failed("fsetxattr"))?;
    let [source, now] = [from, copy].map(fstat);
    let (source, now) = (source.map_err(failed("fstat"))?, now.map_err(failed("fstat"))?);
    let wanted = mode_of_copy(&source, &now);
    if now.st_mode & 0o7777 == wanted {
        Ok(())
    } else {
        fchmod(copy, Mode::from_raw_mode(wanted)).map_err(failed("fchmod"))
    }
}

fn mode_of_copy(source: &Stat, now: &Stat) -> RawMode {
    let now = match (stat::kind(now), stat::meta(source).is_executable) {
        (Kind::File, true) => stat::executable(now.st_mode),
        _ => now.st_mode,
    };
    // What the directory gives besides stays.
    now & 0o7000 | now & source.st_mode & 0o777 | if stat::kind(source) == Kind::Dir { 0o700 } else { 0 }
}

/// Whether a copy takes the place of what stands there by an exchange; or why it may not stand there.
pub(super) fn may_stand(there: Option<&Stat>, copying: &Copying, is_dir: bool) -> Result<bool, StoreError> {
    let Copying { precondition, replaces_dir, .. } = copying;
    let failure = match there.map(stat::kind) {
        Some(Kind::Dir | Kind::File) if precondition.wants_absent() => Failure::PreconditionFailed,
        Some(kind @ (Kind::Dir | Kind::File)) if is_dir || kind == Kind::Dir => {
            let is_any = matches!(precondition, Precondition::None | Precondition::Present);
            match (kind, *replaces_dir) {
                (_, true) if is_any => return Ok(true),
                (_, true) => Failure::PreconditionFailed,
                (Kind::Dir, false) => DIR_HAS_NAME,
                (_, false) => FILE_HAS_NAME,
            }
        }
        _ => match may_replace(there, precondition) {
            Ok(()) => return Ok(false),
            Err(failure) => failure,
        },
    };
    refused(failure)
}
