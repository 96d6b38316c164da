//! Several stores on one root: which may start, and what waits for what.
use super::*;
use crate::os::process::clock;
use crate::store::namespace::stripes::stripe;
use crate::store::staging::locks::lock_file;
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;

fn config(shared: bool) -> StoreConfig {
    StoreConfig { shared, durability: Durability::Written, ..StoreConfig::default() }
}

fn refused(root: &Path, shared: bool) -> String {
    DiskStore::open(root, &config(shared), &Fixed::default(), Arc::new(|| {})).map(drop).unwrap_err().to_string()
}

#[test]
fn a_second_store_opens_only_if_all_share_the_root() {
    let dir = TempDir::new().unwrap();
    let alone = Bench::open(dir.path(), &config(false));
    assert!(refused(dir.path(), false).contains("start all servers of this folder with --shared"));
    assert!(refused(dir.path(), true).contains("has the folder") && refused(dir.path(), true).contains("to itself"));
    let reader = Bench::open(dir.path(), &StoreConfig { read_only: true, ..config(false) });
    drop((alone, reader));
    let (one, two) = (Bench::open(dir.path(), &config(true)), Bench::open(dir.path(), &config(true)));
    drop(one);
    assert!(refused(dir.path(), false).contains("--shared"), "the other one still has it");
    drop(two);
    drop(Bench::open(dir.path(), &config(false)));
}

#[test]
fn a_root_stays_locked_when_the_reserved_directory_was_removed_by_hand() {
    let dir = TempDir::new().unwrap();
    let mut bench = Bench::open(dir.path(), &config(false));
    for gone in [".filewharf/staging", ".filewharf"] {
        std::fs::remove_dir_all(bench.path(gone)).unwrap();
        bench.store_file("file", b"x", Precondition::None).unwrap();
        assert!(refused(dir.path(), false).contains("another server has the folder"), "{gone}");
    }
}

/// Waits until a change waits for a lock on this file, as the kernel lists it (proc(5), `/proc/locks`).
fn until_waited_for(path: &Path, bench: &mut Bench) {
    let inode = format!(":{} ", std::fs::metadata(path).unwrap().ino());
    let end = clock() + WATCHDOG;
    let waits = |line: &str| line.contains("-> FLOCK") && line.contains(&inode);
    while !std::fs::read_to_string("/proc/locks").unwrap().lines().any(waits) {
        assert!(clock() < end, "nothing waits for {}", path.display());
        assert!(bench.store.next_completion().is_none(), "it did not wait for {}", path.display());
        std::thread::yield_now();
    }
}

#[test]
fn every_change_of_a_name_waits_while_another_server_changes_it() {
    let dir = TempDir::new().unwrap();
    let mut bench = Bench::open(dir.path(), &config(true));
    let names = ["stored", "committed", "from", "to", "deleted"];
    let stripes = names.map(|name| dir.path().join(format!(".filewharf/locks/{:02x}", stripe(name))));
    for name in names.into_iter().filter(|name| *name != "to") {
        bench.store_file(name, b"before", Precondition::None).unwrap();
    }
    let locks = dir.path().join(".filewharf/locks");
    let locks = rustix::fs::open(&locks, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    let rename = || {
        Op::Run(Whole::Rename {
            from: key("from"),
            to: key("to"),
            precondition: Precondition::Absent,
            parents: MissingParents::Make,
            replaces_dir: false,
            len_max: None,
        })
    };
    let file = bench.create("committed", Some(0), Precondition::None).unwrap();
    let commit = Op::Commit {
        file,
        key: key("committed"),
        len: 0,
        prepend: Box::default(),
        mtime: None,
        precondition: Precondition::None,
        digest: None,
    };
    let delete = Op::Run(Whole::Delete {
        key: key("deleted"),
        is_recursive: false,
        expected_kind: ExpectedKind::Either,
        precondition: Precondition::None,
    });
    let store = Op::Store { put: Box::new(put("stored", None, Precondition::Present)), chunk: chunk(b"after") };
    let back = Op::Run(Whole::Rename {
        from: key("to"),
        to: key("from"),
        precondition: Precondition::None,
        parents: MissingParents::Make,
        replaces_dir: false,
        len_max: None,
    });
    for (stripe, op) in [(0, store), (1, commit), (2, rename()), (2, back), (3, rename()), (4, delete)] {
        let name = stripes[stripe].file_name().unwrap().to_str().unwrap();
        let other = lock_file(locks.as_fd(), name, FlockOperation::LockExclusive).unwrap();
        let op = bench.store.try_now(CONN, op).expect_err("a lock is never waited for on the loop");
        bench.store.submit(CONN, None, op);
        until_waited_for(&stripes[stripe], &mut bench);
        drop(other);
        bench.next().result.unwrap();
    }
    assert_eq!(bench.names(""), ["committed", "stored", "to"]);
}

#[test]
fn locks_that_were_removed_by_hand_are_made_again() {
    let dir = TempDir::new().unwrap();
    let mut bench = Bench::open(dir.path(), &config(true));
    for gone in [".filewharf/locks", ".filewharf"] {
        bench.store_file("file", b"x", Precondition::None).unwrap();
        std::fs::remove_dir_all(bench.path(gone)).unwrap();
        assert!(
            matches!(bench.rename("file", "file", Precondition::None), Ok(Outcome::Answered(Answer::Moved(_)))),
            "{gone}"
        );
    }
}
