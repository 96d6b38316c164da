//! A file system of another machine: never waited for on the loop, and it may lose what was opened.
use super::*;
use crate::os::process::clock;
use crate::platform::Health;
use crate::store::fs::errno::OTHER_FILE_SYSTEM;
use crate::store::fs::linux::{self, Resolve};
use crate::store::fs::sync::stage_in;
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::symlink;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// What opens under a root meet, and new files in a staging directory.
#[derive(Clone, Copy)]
enum Meets {
    /// This many failures.
    Some(u32, Errno),
    /// Failures as long as the root is this descriptor.
    At(i32, Errno),
    /// Failures of the next descriptor.
    Next(Errno),
}

static MEETS: Mutex<BTreeMap<PathBuf, Meets>> = Mutex::new(BTreeMap::new());

fn met(at: BorrowedFd<'_>) -> Result<(), Errno> {
    let dir = std::fs::read_link(format!("/proc/self/fd/{}", at.as_raw_fd())).unwrap();
    match MEETS.lock().unwrap().get_mut(&dir) {
        Some(Meets::Some(left, errno)) if *left > 0 => {
            *left -= 1;
            Err(*errno)
        }
        Some(Meets::At(fd, errno)) if *fd == at.as_raw_fd() => Err(*errno),
        Some(meets @ Meets::Next(_)) => {
            let Meets::Next(errno) = *meets else { return Ok(()) };
            *meets = Meets::At(at.as_raw_fd(), errno);
            Err(errno)
        }
        _ => Ok(()),
    }
}

fn open(at: BorrowedFd<'_>, path: &str, flags: OFlags, resolve: Resolve) -> Result<OwnedFd, Errno> {
    met(at).and_then(|()| linux::open_beneath(at, path, flags, resolve))
}

fn stage(at: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    met(at).and_then(|()| stage_in(at, name))
}

fn names(dir: BorrowedFd<'_>) -> Result<(), Errno> {
    met(dir).and_then(|()| linux::sync_dir(dir))
}

fn calls() -> Calls {
    let sync = SyncCalls { content: linux::sync_file, names, scope: Scope::Dir };
    Calls { open, stage, sync, inline: false }
}

fn remote(root: &Path, config: &StoreConfig) -> Bench {
    Bench::open_synced_by(root, config, Fixed::default(), |_| calls())
}

/// Waits for what another thread does.
fn until(is_so: impl Fn() -> bool) {
    let end = clock() + WATCHDOG;
    while !is_so() {
        assert!(clock() < end, "it never comes");
        std::thread::yield_now();
    }
}

fn meets(root: &Path, meets: Meets) {
    MEETS.lock().unwrap().insert(root.canonicalize().unwrap(), meets);
}

#[test]
fn no_call_on_a_file_system_of_another_machine_is_made_on_the_loop() {
    for portable in [false, true] {
        let dir = TempDir::new().unwrap();
        let config = StoreConfig { durability: Durability::Written, portable, ..StoreConfig::default() };
        let mut bench = remote(dir.path(), &config);
        bench.store_file("file", b"x", Precondition::None).unwrap();
        let (file, _, source) = bench.open_file("file").unwrap();
        assert_eq!(source, Source::Held);
        let upload = bench.create("upload", Some(1), Precondition::None).unwrap();
        bench.store.refresh(clock());
        assert!(bench.store.is_lagging(), "bodies are written by workers");
        for op in [
            Op::Open { key: key("file") },
            Op::Run(Whole::Stat { key: key("file") }),
            Op::Create(put("new", Some(1), Precondition::None)),
            Op::Store { put: Box::new(put("new", Some(1), Precondition::None)), chunk: chunk(b"x") },
            Op::Run(Whole::MakeDir { key: key("folder"), parents: MissingParents::Make }),
            Op::Run(Whole::Rename {
                from: key("file"),
                to: key("to"),
                precondition: Precondition::None,
                parents: MissingParents::Make,
                replaces_dir: false,
                len_max: None,
            }),
            Op::Run(Whole::Delete {
                key: key("to"),
                is_recursive: false,
                expected_kind: ExpectedKind::Either,
                precondition: Precondition::None,
            }),
            Op::Abort { file: upload },
            Op::Close { file },
        ] {
            let op = bench.store.try_now(CONN, op).expect_err("only on a worker");
            bench.store.submit(CONN, None, op);
            bench.next().result.unwrap();
        }
    }
}

/// Opens `volume` as a directory of another file system that is not a mount of its own, as a subvolume of btrfs is.
fn open_volume(at: BorrowedFd<'_>, path: &str, flags: OFlags, resolve: Resolve) -> Result<OwnedFd, Errno> {
    match path {
        "volume" => rustix::fs::open("/dev/shm", flags, rustix::fs::Mode::empty()),
        path => linux::open_beneath(at, path, flags, resolve),
    }
}

#[test]
fn a_change_into_another_file_system_is_a_conflict_and_no_failure_of_the_store() {
    use std::os::unix::fs::MetadataExt as _;
    let dir = TempDir::new().unwrap();
    let device = |path: &Path| std::fs::metadata(path).map(|meta| meta.dev()).ok();
    if device(Path::new("/dev/shm")).is_none_or(|other| Some(other) == device(dir.path())) {
        return;
    }
    for durability in [Durability::Durable, Durability::Written] {
        let calls = |root: BorrowedFd<'_>| Calls { open: open_volume, ..SyncCalls::of(root).into() };
        let config = StoreConfig { durability, ..StoreConfig::default() };
        let mut bench = Bench::open_synced_by(dir.path(), &config, Fixed::default(), calls);
        if !bench.store.fs.caps.openat2 {
            return;
        }
        bench.store_file("file", b"x", Precondition::None).unwrap();
        let name = format!("volume/filewharf-{}", std::process::id());
        for _ in 0..5 {
            for precondition in [Precondition::None, Precondition::Absent] {
                let stored = bench.store_file(&name, b"x", precondition.clone());
                assert_eq!(stored.unwrap_err(), OTHER_FILE_SYSTEM);
                assert_eq!(bench.rename("file", &name, precondition).unwrap_err(), OTHER_FILE_SYSTEM);
            }
        }
        assert_eq!((bench.store.health(), bench.staged()), (Health::Good, 0));
        assert_eq!(bench.content("file"), b"x");
    }
}

#[test]
fn what_has_become_stale_is_resolved_again_and_reported_as_unavailable_if_that_does_not_help() {
    for errno in [Errno::STALE, Errno::NOTCONN] {
        let dir = TempDir::new().unwrap();
        let mut bench = remote(dir.path(), &StoreConfig::default());
        if !bench.store.fs.caps.openat2 {
            return;
        }
        bench.store_file("a/file", b"x", Precondition::None).unwrap();
        meets(dir.path(), Meets::Some(1, errno));
        assert_eq!(bench.content("a/file"), b"x");
        meets(dir.path(), Meets::Some(1, errno));
        bench.store_file("a/file", b"y", Precondition::None).unwrap();
        meets(dir.path(), Meets::Some(100, errno));
        assert_eq!(bench.open_file("a/file").unwrap_err(), Failure::Unavailable);
        for _ in 0..3 {
            assert_eq!(bench.store.health(), Health::Good);
            assert_eq!(bench.store_file("a/file", b"z", Precondition::None), Err(Failure::Unavailable));
        }
        assert_eq!(bench.store.health(), Health::Failing, "several commits in a row");
        meets(dir.path(), Meets::Some(0, errno));
        bench.store_file("a/file", b"z", Precondition::None).unwrap();
        assert_eq!((bench.content("a/file"), bench.store.health()), (b"z".to_vec(), Health::Good));
    }
}

#[test]
fn uploads_that_cannot_be_begun_count_as_failed_and_the_root_is_probed_as_well_as_staging() {
    let dir = TempDir::new().unwrap();
    let mut bench = remote(dir.path(), &StoreConfig::default());
    if !bench.store.fs.caps.openat2 {
        return;
    }
    meets(dir.path(), Meets::Some(100, Errno::STALE));
    for _ in 0..3 {
        assert_eq!(bench.store.health(), Health::Good);
        assert_eq!(bench.create("a/file", Some(1 << 20), Precondition::None), Err(Failure::Unavailable));
    }
    assert_eq!(bench.store.health(), Health::Failing);
    bench.store.pool.volume.names.staging.probe();
    assert_eq!(bench.store.health(), Health::Failing, "staging works, the root does not");
    meets(dir.path(), Meets::Some(0, Errno::STALE));
    bench.store.pool.volume.names.staging.probe();
    assert_eq!(bench.store.health(), Health::Good);
}

#[test]
fn uploads_whose_names_cannot_be_synced_count_as_failed() {
    let dir = TempDir::new().unwrap();
    let mut bench = remote(dir.path(), &StoreConfig::default());
    bench.store_file("a/file", b"x", Precondition::None).unwrap();
    meets(&dir.path().join("a"), Meets::Some(3, Errno::STALE));
    for _ in 0..3 {
        assert_eq!(bench.store.health(), Health::Good);
        assert_eq!(bench.store_file("a/file", b"y", Precondition::None), Err(Failure::Unavailable));
    }
    assert_eq!(bench.store.health(), Health::Failing);
    bench.store_file("a/file", b"z", Precondition::None).unwrap();
    assert_eq!(bench.store.health(), Health::Good);
}

#[test]
fn a_directory_that_is_stale_when_it_is_synced_is_opened_again_for_the_changes_that_owe_its_sync() {
    for errno in [Errno::STALE, Errno::NOTCONN] {
        let dir = TempDir::new().unwrap();
        let mut bench = remote(dir.path(), &StoreConfig::default());
        bench.store_file("a/file", b"x", Precondition::None).unwrap();
        bench.make("moved").unwrap();
        meets(&dir.path().join("a"), Meets::Next(errno));
        assert_eq!(bench.rename("moved", "a/moved", Precondition::None).unwrap_err(), Failure::Unavailable);
        // Every change owes the move.
        bench.store_file("file", b"y", Precondition::None).unwrap();
        bench.store_file("b/file", b"y", Precondition::None).unwrap();
    }
}

#[test]
fn a_change_that_joins_while_the_sync_of_a_stale_directory_fails_is_synced_as_that_is_opened_again() {
    let dir = TempDir::new().unwrap();
    let (tx, bell) = channel();
    let resume = Arc::new(AtomicBool::new(true));
    let wake = Arc::new({
        let resume = Arc::clone(&resume);
        move || {
            let _ = tx.send(());
            // The worker that has reported a failed sync still leads.
            until(|| resume.load(Ordering::SeqCst));
        }
    });
    let limits = Fixed { io_workers: 2, sync_workers: 3, ..Fixed::default() };
    let store = DiskStore::open_synced_by(dir.path(), &StoreConfig::default(), &limits, wake, |_| calls()).unwrap();
    let mut bench = Bench { store, bell, root: dir.path().to_owned(), inline: true };
    bench.store_file("a/file", b"x", Precondition::None).unwrap();
    bench.make("moved").unwrap();
    meets(&dir.path().join("a"), Meets::Next(Errno::STALE));
    resume.store(false, Ordering::SeqCst);
    assert_eq!(bench.rename("moved", "a/moved", Precondition::None).unwrap_err(), Failure::Unavailable);
    // Every change owes the move.
    let op = Op::Store { put: Box::new(put("file", None, Precondition::None)), chunk: chunk(b"y") };
    let op = bench.store.try_now(CONN, op).expect_err("it is for a worker");
    bench.store.submit(CONN, None, op);
    until(|| bench.store.pool.groups.waiting() == 1);
    resume.store(true, Ordering::SeqCst);
    assert!(matches!(bench.next().result, Ok(Outcome::Committed(_))));
}

// covers: remote-disk
#[test]
fn a_staging_directory_that_is_stale_or_gone_is_made_again_and_uploads_in_the_old_one_are_finished() {
    for errno in [Errno::STALE, Errno::NOTCONN, Errno::NOENT] {
        let dir = TempDir::new().unwrap();
        let mut bench = remote(dir.path(), &StoreConfig::default());
        let staging = |bench: &Bench| {
            let fd = bench.store.pool.volume.stage_dirs().unwrap().current().fd.as_raw_fd();
            std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap()
        };
        let old = staging(&bench);
        let file = bench.create("before", Some(0), Precondition::None).unwrap();
        meets(&old, Meets::Some(u32::MAX, errno));
        bench.store_file("after", b"x", Precondition::None).unwrap();
        assert_ne!(staging(&bench), old, "{errno}");
        assert_eq!(bench.store.health(), Health::Good, "{errno}");
        bench.commit(file, "before", 0, Precondition::None).unwrap();
        assert_eq!(bench.names(""), ["after", "before"], "{errno}");
    }
}

// covers: remote-disk
#[test]
fn a_stale_root_is_opened_again_by_its_path_but_not_on_another_file_system() {
    let dir = TempDir::new().unwrap();
    let (root, link) = (dir.path().join("root"), dir.path().join("link"));
    std::fs::create_dir(&root).unwrap();
    symlink(&root, &link).unwrap();
    let mut bench = remote(&link, &StoreConfig::default());
    if !bench.store.fs.caps.openat2 {
        return;
    }
    bench.store_file("file", b"x", Precondition::None).unwrap();
    let stale = |bench: &Bench| Meets::At(bench.store.fs.root().fd.as_raw_fd(), Errno::STALE);
    meets(&root, stale(&bench));
    assert_eq!(bench.content("file"), b"x");
    // As if it were not mounted any more.
    meets(&root, stale(&bench));
    std::fs::remove_file(&link).unwrap();
    symlink("/proc", &link).unwrap();
    assert_eq!(bench.open_file("file").unwrap_err(), Failure::Unavailable);
    assert_eq!(bench.open_file("version").unwrap_err(), Failure::Unavailable);
    std::fs::remove_file(&link).unwrap();
    symlink(&root, &link).unwrap();
    assert_eq!(bench.content("file"), b"x");
}

#[test]
fn where_nothing_can_be_staged_the_store_says_so_until_it_can() {
    in_every_mode(|bench| {
        bench.store_file("file", b"x", Precondition::None).unwrap();
        std::fs::remove_dir_all(bench.path(".filewharf")).unwrap();
        std::fs::write(bench.path(".filewharf"), b"in the way").unwrap();
        assert_eq!(bench.create("new", None, Precondition::None), Err(Failure::Unavailable));
        assert_eq!(bench.store.health(), Health::Failing);
        assert_eq!(bench.content("file"), b"x", "reading continues");
        std::fs::remove_file(bench.path(".filewharf")).unwrap();
        let (mut now, end) = (clock(), clock() + WATCHDOG);
        while bench.store.health() == Health::Failing {
            assert!(clock() < end, "it is never tried again");
            now += Duration::from_secs(1);
            bench.store.refresh(now);
            std::thread::yield_now();
        }
        bench.store_file("new", b"x", Precondition::None).unwrap();
    });
}
