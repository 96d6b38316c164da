//! Files, ports and signals (landlock(7)): what the kernel lets this process reach, whatever path it names. Files that
//! are open stay so.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, RestrictionStatus, Ruleset,
    RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope, make_bitflags,
};
use rustix::fs::{CWD, Mode, OFlags, fstat, openat};

use super::allowed::Allowed;

/// Every right of this version is denied where no rule grants it; those that the kernel does not know are left out.
const KNOWN: ABI = ABI::V10;

/// Grants what is allowed and denies the rest: further files, binding to and connecting with any port, abstract unix
/// sockets and signals of processes outside.
pub(super) fn restrict(allowed: &Allowed<'_>) -> Result<String, String> {
    let status = enforce(allowed).map_err(|error| error.to_string())?;
    match (status.ruleset, status.landlock) {
        (
            RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced,
            LandlockStatus::Available { effective_abi, .. },
        ) => Ok(format!("landlock-abi{}", effective_abi as i32)),
        // Its version 1 denies every rename into another directory.
        (_, LandlockStatus::Available { .. }) => Err("it takes Linux 5.19".to_owned()),
        (_, LandlockStatus::NotEnabled) => Err("it is turned off at the boot of the kernel".to_owned()),
        (_, LandlockStatus::NotImplemented) => Err("the kernel is built without it".to_owned()),
    }
}

fn enforce(allowed: &Allowed<'_>) -> Result<RestrictionStatus, RulesetError> {
    let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    let write = make_bitflags!(AccessFs::{WriteFile | Truncate | MakeReg | MakeDir | RemoveFile | RemoveDir | Refer});
    let of_root = if allowed.writes { read | write } else { read };
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .create()?
        .add_rule(PathBeneath::new(allowed.root, of_root))?;
    if let Some(above) = above(allowed) {
        rules = rules.add_rule(PathBeneath::new(above, of_root))?;
    }
    for path in allowed.files.iter().flat_map(|file| opened_for(file)) {
        rules = grant(rules, &path, AccessFs::ReadFile.into())?;
    }
    for path in allowed.log_file.iter().flat_map(|file| opened_for(file)) {
        rules = grant(rules, &path, make_bitflags!(AccessFs::{WriteFile | MakeReg}))?;
    }
    // The reserve descriptor of the listeners is opened again when it was used.
    rules = grant(rules, Path::new("/dev/null"), AccessFs::ReadFile.into())?;
    rules.restrict_self()
}

fn grant(rules: RulesetCreated, path: &Path, rights: BitFlags<AccessFs>) -> Result<RulesetCreated, RulesetError> {
    match open(path) {
        Ok(fd) => rules.add_rule(PathBeneath::new(fd, rights)),
        // What cannot be opened now need not be later.
        Err(_) => Ok(rules),
    }
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

/// The directory in which the root is mounted. What is mounted there after the server lost the root is another file
/// system, which no rule about this one covers.
fn above(allowed: &Allowed<'_>) -> Option<OwnedFd> {
    if !allowed.may_be_remounted {
        return None;
    }
    let above = openat(allowed.root, "..", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    (!is_top(&above)).then_some(above)
}

/// True for the directory that all files are under: a right there is a right to everything.
fn is_top(dir: &OwnedFd) -> bool {
    let id = |fd: &OwnedFd| fstat(fd.as_fd()).ok().map(|stat| (stat.st_dev, stat.st_ino));
    let top = open(Path::new("/")).ok().and_then(|top| id(&top));
    top.is_none() || id(dir) == top
}

/// What must be open for a file that may be replaced: its directories, or it alone where that would be everything.
fn opened_for(file: &Path) -> Vec<PathBuf> {
    let of_dir = |dir: PathBuf| match open(&dir) {
        Ok(fd) if is_top(&fd) => {
            let name = file.display();
            log::warn!("{name} lies in the topmost folder: once it is replaced it cannot be opened again");
            file.to_owned()
        }
        _ => dir,
    };
    dirs_of(file).into_iter().map(of_dir).collect()
}

/// Where a file is replaced: the directory that its path names, and that to which symbolic links lead.
#[allow(clippy::disallowed_methods, reason = "no peer names this file")]
fn dirs_of(file: &Path) -> Vec<PathBuf> {
    let named = file.parent().map(|dir| if dir.as_os_str().is_empty() { Path::new(".") } else { dir }.to_owned());
    let real = std::fs::canonicalize(file).ok().and_then(|real| real.parent().map(Path::to_owned));
    named.into_iter().chain(real).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_the_topmost_folder_is_granted_alone() {
        let readable = |file: &str| opened_for(Path::new(file));
        assert_eq!(readable("/no-such-file"), [PathBuf::from("/no-such-file")]);
        assert_eq!(readable("/proc/../no-such-file"), [PathBuf::from("/proc/../no-such-file")]);
        assert_eq!(readable("/proc/no-such-file"), [PathBuf::from("/proc")]);
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "no peer names these files")]
    fn a_file_in_the_topmost_folder_does_not_open_the_others() {
        let dir = tempfile::tempdir().expect("a folder");
        let program = std::env::current_exe().expect("this program");
        let restricted = move || {
            let root = open(dir.path()).expect("the folder is there");
            let files = [PathBuf::from("/no-such-file")];
            let allowed =
                Allowed { root: root.as_fd(), writes: false, may_be_remounted: false, files: &files, log_file: None };
            // A kernel without it has nothing to test.
            restrict(&allowed).is_err() || std::fs::File::open(program).is_err()
        };
        assert!(std::thread::spawn(restricted).join().expect("it does not panic"), "every file can be read");
    }
}
