//! Quotas while calls fail: whatever an upload, a move or a deletion comes to, what is stored and held is what a fresh
//! count says.

use super::quotas::{MAX, NAMES, Random, with_quotas};
use super::*;
use crate::store::fs::sync::stage_in;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::os::fd::AsRawFd as _;
use std::sync::Mutex;

/// The next call that fails under a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// The file of an upload is not made.
    Stage(Errno),
    /// It takes no byte.
    Write,
    /// Its content is not synced.
    Content(Errno),
    /// It is gone when it is to get its name.
    Gone,
    /// The names of a directory are not synced after the change.
    Names(Errno),
}

const FAULTS: [Fault; 11] = [
    Fault::None,
    Fault::Stage(Errno::NOSPC),
    Fault::Stage(Errno::DQUOT),
    Fault::Stage(Errno::IO),
    Fault::Write,
    Fault::Content(Errno::NOSPC),
    Fault::Content(Errno::DQUOT),
    Fault::Content(Errno::INTR),
    Fault::Gone,
    Fault::Names(Errno::NOSPC),
    Fault::Names(Errno::DQUOT),
];

static NEXT: Mutex<BTreeMap<PathBuf, Fault>> = Mutex::new(BTreeMap::new());

fn path_of(fd: BorrowedFd<'_>) -> PathBuf {
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap()
}

/// The fault that is due at this file, if it is such a one. It comes once.
fn take<T>(at: BorrowedFd<'_>, is_here: impl Fn(Fault) -> Option<T>) -> Option<T> {
    let path = path_of(at);
    let mut all = NEXT.lock().unwrap();
    let (_, next) = all.iter_mut().find(|(root, _)| path.starts_with(root))?;
    let found = is_here(*next)?;
    *next = Fault::None;
    Some(found)
}

fn stage(dir: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    let errno = |fault| if let Fault::Stage(errno) = fault { Some(errno) } else { None };
    if let Some(errno) = take(dir, errno) {
        return Err(errno);
    }
    let file = stage_in(dir, name)?;
    match take(dir, |fault| (fault == Fault::Write).then_some(())) {
        // Every write to it fails as on a full disk.
        Some(()) => open("/dev/full", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()),
        None => Ok(file),
    }
}

fn content(file: BorrowedFd<'_>, _all: bool) -> Result<(), Errno> {
    let errno = |fault| if let Fault::Content(errno) = fault { Some(errno) } else { None };
    if let Some(errno) = take(file, errno) {
        return Err(errno);
    }
    if take(file, |fault| (fault == Fault::Gone).then_some(())).is_some() {
        std::fs::remove_file(path_of(file)).unwrap();
    }
    Ok(())
}

fn names(dir: BorrowedFd<'_>) -> Result<(), Errno> {
    let errno = |fault| if let Fault::Names(errno) = fault { Some(errno) } else { None };
    take(dir, errno).map_or(Ok(()), Err)
}

fn failing(dir: &TempDir) -> Bench {
    set(dir, Fault::None);
    let sync = SyncCalls { content, names, scope: Scope::Dir };
    let config = StoreConfig { durability: Durability::Durable, ..with_quotas(&MAX) };
    let calls = |_: BorrowedFd<'_>| Calls { stage, ..sync.into() };
    Bench::open_synced_by(dir.path(), &config, Fixed::default(), calls)
}

fn set(dir: &TempDir, fault: Fault) {
    NEXT.lock().unwrap().insert(dir.path().to_owned(), fault);
}

/// Bytes of all files under a directory, as they lie there.
fn lies_in(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let entries = entries.map(Result::unwrap).filter(|entry| entry.file_name() != ".filewharf");
    let bytes = entries.map(|entry| match entry.metadata().unwrap() {
        meta if meta.is_dir() => lies_in(&entry.path()),
        meta => meta.len(),
    });
    bytes.sum()
}

impl Bench {
    /// An upload, a move or a deletion, however it ends. No upload is left open.
    fn try_anything(&mut self, random: &mut Random) {
        let pick = |random: &mut Random| NAMES[random.below(NAMES.len() as u64) as usize];
        let (name, len) = (pick(random), random.below(1500) as usize);
        match random.below(6) {
            0 | 1 => drop(self.store_file(name, &vec![1; len], Precondition::None)),
            2 | 3 => {
                let announced = (random.below(2) == 0).then_some(len as u64);
                let Ok(file) = self.create(name, announced, Precondition::None) else { return };
                let written =
                    self.write(file, 0, len / 2).and_then(|()| self.write(file, (len / 2) as u64, len - len / 2));
                match (written, random.below(3)) {
                    (Ok(()), 1..) => drop(self.commit(file, name, len as u64, Precondition::None)),
                    _ => self.abort(file),
                }
            }
            4 => drop(self.shift(name, pick(random))),
            _ => drop(self.delete(name, Precondition::None)),
        }
    }

    fn is_counted_right(&self, context: &dyn Fn() -> String) {
        for (prefix, _) in MAX {
            let there = (Some(lies_in(&self.path(prefix))), 0);
            assert_eq!(self.account(prefix), there, "{}: /{prefix}", context());
        }
    }
}

#[test]
fn after_failures_of_any_call_what_is_stored_and_held_is_what_lies_there() {
    let mut came = Vec::new();
    // A sync that fails for good, last of all: the store only reads from then on.
    for (seed, last) in [Fault::Content(Errno::IO), Fault::Names(Errno::IO)].into_iter().cycle().take(16).enumerate() {
        let dir = TempDir::new().unwrap();
        let (mut bench, mut random) = (failing(&dir), Random(seed as u64));
        for step in 0..150 {
            let fault = FAULTS[random.below(FAULTS.len() as u64) as usize];
            set(&dir, fault);
            bench.try_anything(&mut random);
            if NEXT.lock().unwrap()[dir.path()] != fault {
                came.push(fault);
            }
            bench.is_counted_right(&|| format!("seed {seed}, step {step}, {fault:?}"));
        }
        set(&dir, last);
        for _ in 0..100 {
            bench.try_anything(&mut random);
            bench.is_counted_right(&|| format!("seed {seed}, {last:?}"));
        }
        assert_eq!(NEXT.lock().unwrap()[dir.path()], Fault::None, "no sync has failed");
        bench.count_again();
        bench.is_counted_right(&|| format!("seed {seed}, a fresh count"));
    }
    let often = |fault: &Fault| came.iter().filter(|other| *other == fault).count() > 10;
    assert!(FAULTS.iter().all(|fault| *fault == Fault::None || often(fault)), "{came:?}");
}
