//! Uploads and changes of names.
use super::super::{COMMIT_NOW_MAX, COMMIT_NOW_MAX_AFAR};
use super::*;
use crate::object::{Placed, Stored};
use crate::order::Order;
use crate::platform::Health;
use crate::store::pool::jobs::Finished;
use crate::store::pool::jobs::Pending;
use std::os::unix::fs::PermissionsExt;

#[test]
fn an_upload_is_seen_only_when_it_is_complete() {
    in_every_mode(|bench| {
        let file = bench.create("a/b/c.txt", Some(10), Precondition::None).unwrap();
        bench.store.write_now(file, 0, b"01234").unwrap();
        let done = bench.complete(Op::Write { file, offset: 5, chunk: chunk(b"56789") });
        assert!(matches!(done.result, Ok(Outcome::Written)) && done.chunk.unwrap().data() == b"56789");
        assert_eq!(bench.stat("a"), Err(Failure::NotFound), "not even the folders");
        let op = Op::Commit {
            file,
            key: key("a/b/c.txt"),
            len: 10,
            prepend: Box::default(),
            mtime: Some(-5),
            precondition: Precondition::None,
            digest: None,
        };
        let Ok(Outcome::Committed(Stored { meta, durability: level, .. })) = bench.run(op) else {
            panic!("not committed")
        };
        assert_eq!((meta.len, meta.mtime), (10, -5));
        assert_eq!(level, bench.store.pool.volume.names.stored);
        assert_eq!(bench.content("a/b/c.txt"), b"0123456789");
        assert_eq!(bench.stat("a/b/c.txt"), Ok(Node::File(meta)));
        assert_eq!(bench.open_file("a/b/c.txt").unwrap().1, meta);
        assert_eq!(bench.list("a/b", None, 9).unwrap().entries[0].node, Some(Node::File(meta)));
        assert!(matches!(bench.stat("a/b"), Ok(Node::Dir { .. })));
        assert_eq!(bench.staged(), 0);
    });
}

#[test]
fn what_is_longer_than_one_piece_is_written_whole_and_in_its_place() {
    in_every_mode(|bench| {
        let long: Vec<u8> = (0..700_001_u32).map(|n| (n % 251) as u8).collect();
        let file = bench.create("long", Some(3 + 700_001), Precondition::None).unwrap();
        bench.store.write_now(file, 3, &long).unwrap();
        bench.store.write_now(file, 0, b"abc").unwrap();
        bench.commit(file, "long", 3 + 700_001, Precondition::None).unwrap();
        assert_eq!(bench.content("long"), [b"abc", &long[..]].concat());
    });
}

#[test]
fn an_upload_reports_whether_it_replaced_a_file_and_obeys_any_precondition() {
    in_every_mode(|bench| {
        let mut store = |precondition: Precondition| {
            let op = Op::Store { put: Box::new(put("f", None, precondition)), chunk: chunk(b"new") };
            match bench.complete(op).result.map_err(|error| error.failure) {
                Ok(Outcome::Committed(stored)) => Ok((stored.placed, stored.meta)),
                Ok(other) => panic!("{other:?}"),
                Err(failure) => Err(failure),
            }
        };
        assert_eq!(store(Precondition::Present).unwrap_err(), Failure::PreconditionFailed);
        let (placed, first) = store(Precondition::Absent).unwrap();
        assert_eq!(placed, Placed::New);
        let no_other = Precondition::NoneOf(Box::new([first.etag]));
        assert_eq!(store(no_other.clone()).unwrap_err(), Failure::PreconditionFailed);
        let known = Precondition::AnyOf(Box::new([first.etag]));
        let since = Precondition::UnmodifiedSince(first.mtime);
        assert_eq!(store(Precondition::All(Box::new([known.clone(), since]))).unwrap().0, Placed::Replaced);
        assert_eq!(store(known).unwrap_err(), Failure::PreconditionFailed, "that version is gone");
        assert_eq!(store(no_other).unwrap().0, Placed::Replaced);
        let before = Precondition::UnmodifiedSince(first.mtime - 1);
        assert_eq!(store(before).unwrap_err(), Failure::PreconditionFailed);
    });
}

#[test]
fn bytes_that_belong_before_the_content_end_up_there() {
    in_every_mode(|bench| {
        for len in [0, 1, 300_000] {
            let content: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
            let file = bench.create("p", None, Precondition::None).unwrap();
            bench.store.write_now(file, 0, &content).unwrap();
            let (prepend, precondition) = (b"12345".as_slice().into(), Precondition::None);
            let op = Op::Commit {
                file,
                key: key("p"),
                len: content.len() as u64,
                prepend,
                mtime: None,
                precondition,
                digest: None,
            };
            assert!(matches!(bench.run(op), Ok(Outcome::Committed(..))));
            assert_eq!(bench.content("p"), [b"12345", content.as_slice()].concat());
        }
    });
}

#[test]
fn an_upload_that_is_given_up_leaves_nothing() {
    in_every_mode(|bench| {
        let file = bench.create("new/file", None, Precondition::None).unwrap();
        bench.store.write_now(file, 0, b"half").unwrap();
        assert_eq!(bench.staged(), 1);
        assert!(matches!(bench.run(Op::Abort { file }), Ok(Outcome::Aborted)));
        assert_eq!((bench.staged(), bench.names("").len()), (0, 0));
        // The id means nothing any more, and an invalid id is an internal error.
        assert_eq!(bench.store.write_now(file, 0, b"x").unwrap_err().failure, Failure::Internal);
        assert_eq!(bench.commit(file, "new/file", 4, Precondition::None), Err(Failure::Internal));
    });
}

#[test]
fn a_wrong_length_stores_nothing() {
    in_every_mode(|bench| {
        let file = bench.create("new/file", Some(5), Precondition::None).unwrap();
        bench.store.write_now(file, 0, b"1234").unwrap();
        assert_eq!(bench.commit(file, "new/file", 5, Precondition::None), Err(Failure::Internal));
        assert_eq!((bench.staged(), bench.names("").len()), (0, 0));
    });
}

#[test]
fn preconditions_are_checked_at_the_beginning_and_at_the_end() {
    in_every_mode(|bench| {
        let wrong = crate::object::Etag([7; 16]);
        let failed = Err(Failure::PreconditionFailed);
        assert_eq!(bench.create("f", None, Precondition::Matches(wrong)), Err(Failure::PreconditionFailed));
        let late = bench.create("f", None, Precondition::Absent).unwrap();
        let first = bench.store_file("f", b"one", Precondition::Absent).unwrap();
        assert_eq!(bench.commit(late, "f", 0, Precondition::Absent), failed);
        assert_eq!(bench.store_file("f", b"two", Precondition::Absent), failed);
        assert_eq!(bench.create("f", None, Precondition::Absent), Err(Failure::PreconditionFailed));
        assert_eq!(bench.store_file("f", b"two", Precondition::Matches(wrong)), failed);
        assert_eq!(bench.content("f"), b"one");
        let late = bench.create("f", None, Precondition::Matches(first.etag)).unwrap();
        let second = bench.store_file("f", b"two", Precondition::Matches(first.etag)).unwrap();
        assert_ne!(first.etag, second.etag);
        assert_eq!(bench.commit(late, "f", 0, Precondition::Matches(first.etag)), failed);
        assert_eq!(bench.delete("f", Precondition::Matches(first.etag)).unwrap_err(), Failure::PreconditionFailed);
        assert_eq!(bench.content("f"), b"two");
        bench.delete("f", Precondition::Matches(second.etag)).unwrap();
        assert_eq!((bench.names("").len(), bench.staged()), (0, 0));
    });
}

#[test]
fn directories_and_files_in_the_way_are_conflicts() {
    in_every_mode(|bench| {
        bench.make("folder/in").unwrap();
        bench.make("folder/in").unwrap();
        bench.make("").unwrap();
        bench.store_file("file", b"x", Precondition::None).unwrap();
        for name in ["", "folder", "file/below", "file/far/below"] {
            assert!(is_conflict(&bench.create(name, None, Precondition::None)), "{name}");
            assert!(is_conflict(&bench.store_file(name, b"y", Precondition::None)), "{name}");
        }
        assert!(is_conflict(&bench.make("file")));
        assert!(is_conflict(&bench.make("file/below")));
        assert!(is_conflict(&bench.delete("folder", Precondition::None)), "not empty");
        assert!(is_conflict(&bench.open_file("folder")));
        assert!(is_conflict(&bench.list("file", None, 9)));
        for name in ["file/below", "nothing", "folder/nothing"] {
            assert_eq!(bench.open_file(name).unwrap_err(), Failure::NotFound, "{name}");
            assert_eq!(bench.stat(name), Err(Failure::NotFound), "{name}");
            assert_eq!(bench.list(name, None, 9), Err(Failure::NotFound), "{name}");
            assert_eq!(bench.delete(name, Precondition::None).unwrap_err(), Failure::NotFound, "{name}");
        }
        assert!(matches!(bench.delete("", Precondition::None), Err(Failure::Denied(_))));
        assert!(is_conflict(&bench.delete_dir("file")));
        bench.delete("folder/in", Precondition::None).unwrap();
        bench.delete_dir("folder").unwrap();
        assert_eq!((bench.content("file"), bench.names("")), (b"x".to_vec(), vec!["file".to_owned()]));
    });
}

#[test]
fn a_rename_moves_files_and_directories_and_never_loses_one() {
    in_every_mode(|bench| {
        bench.store_file("a", b"a", Precondition::None).unwrap();
        let b = bench.store_file("b", b"b", Precondition::None).unwrap();
        bench.make("folder/in").unwrap();
        assert_eq!(bench.rename("a", "b", Precondition::Absent).unwrap_err(), Failure::PreconditionFailed);
        assert!(is_conflict(&bench.rename("a", "folder", Precondition::None)));
        assert!(is_conflict(&bench.rename("folder", "a", Precondition::None)));
        assert!(is_conflict(&bench.rename("folder", "folder/in/deeper", Precondition::None)));
        assert!(is_conflict(&bench.rename("folder/in", "b/below", Precondition::None)));
        assert!(is_conflict(&bench.rename("", "x", Precondition::None)));
        assert_eq!(bench.rename("nothing", "x/y", Precondition::None).unwrap_err(), Failure::NotFound);
        assert_eq!(bench.names(""), ["a", "b", "folder"], "nothing was made on the way");
        bench.rename("a", "a", Precondition::None).unwrap();
        bench.rename("a", "new/far/a", Precondition::Absent).unwrap();
        bench.rename("folder", "new/folder", Precondition::Absent).unwrap();
        bench.rename("new/far/a", "b", Precondition::Matches(b.etag)).unwrap();
        assert_eq!((bench.content("b"), bench.names("")), (b"a".to_vec(), vec!["b".to_owned(), "new".to_owned()]));
        assert_eq!(bench.names("new"), ["far", "folder"]);
    });
}

#[test]
fn of_many_creators_of_one_name_exactly_one_wins() {
    in_every_mode(|bench| {
        let files: Vec<_> = (0..24).map(|_| bench.create("d/one", None, Precondition::Absent).unwrap()).collect();
        for (n, file) in files.iter().enumerate() {
            bench.store.write_now(*file, 0, &[n as u8]).unwrap();
            let op = Op::Commit {
                file: *file,
                key: key("d/one"),
                len: 1,
                prepend: Box::default(),
                mtime: None,
                precondition: Precondition::Absent,
                digest: None,
            };
            bench.store.submit(ConnId::new(n as u32, 0).into(), None, op);
        }
        let mut winners = Vec::new();
        for _ in &files {
            let done = bench.next();
            match done.result {
                Ok(_) => winners.push(done.id.conn.slot() as u8),
                Err(error) => assert_eq!(error.failure, Failure::PreconditionFailed),
            }
        }
        assert_eq!(bench.content("d/one"), winners, "exactly one");
        assert_eq!(bench.staged(), 0);
    });
}

// covers: directories-last
#[test]
fn many_commits_into_new_directories_share_their_syncs_and_all_end() {
    in_every_mode(|bench| {
        for n in 0..64_u32 {
            let name = format!("one/{}/{n}", n % 3);
            let op = Op::Store { put: Box::new(put(&name, None, Precondition::None)), chunk: chunk(name.as_bytes()) };
            bench.store.submit(ConnId::new(n, 0).into(), None, op);
        }
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..64 {
            let done = bench.next();
            assert!(matches!(done.result, Ok(Outcome::Committed(..))), "{:?}", done.result);
            assert!(seen.insert(done.id), "reported twice");
        }
        assert_eq!(bench.names("one"), ["0", "1", "2"]);
        assert_eq!(bench.content("one/1/22"), b"one/1/22");
    });
}

#[test]
fn a_change_under_a_directory_that_was_just_moved_owes_the_sync_of_the_move() {
    let dir = TempDir::new().unwrap();
    let by_dir = SyncCalls { scope: Scope::Dir, ..EVERYTHING };
    let mut bench = Bench::open_synced_by(dir.path(), &StoreConfig::default(), Fixed::default(), |_| by_dir);
    for dir in ["from/folder/deep", "to"] {
        bench.make(dir).unwrap();
    }
    let (pool, fs) = (Arc::clone(&bench.store.pool), Arc::clone(&bench.store.fs));
    let pending = |path: &str| -> Vec<Box<str>> {
        let syncs = pool.volume.names.parents.syncs_for(&fs.dir(path).unwrap());
        syncs.dirs.iter().map(|dir| dir.path.clone()).collect()
    };
    assert_eq!(pending("from/folder/deep"), ["from/folder/deep".into()]);
    // Everybody sees the move, but it has not been synced yet.
    let names = (&key("from/folder"), &key("to/folder"));
    let moved = pool.volume.names.rename(names, (&Precondition::None, false), MissingParents::Make, None).unwrap();
    let (reply, syncs) = pool.changed(moved);
    assert_eq!(pending("to/folder/deep"), ["to".into(), "to/folder/deep".into()]);
    assert_eq!(pending("to/folder"), ["to".into(), "to/folder".into()]);
    bench.store.in_flight += 1; // as if it had been submitted
    pool.finish_change(Pending {
        client: None,
        finished: Finished { id: CONN, result: Ok(reply), chunk: None },
        syncs,
        volume: Arc::clone(&pool.volume),
    });
    assert!(bench.next().result.is_ok());
    assert_eq!(pending("to/folder/deep"), ["to/folder/deep".into()]);
}

// covers: file-sync-fails
#[test]
fn after_a_failed_sync_nothing_changes_and_reading_continues() {
    in_every_mode(|bench| {
        bench.store_file("old", b"old", Precondition::None).unwrap();
        let file = bench.create("new", None, Precondition::None).unwrap();
        let other = bench.create("other", None, Precondition::None).unwrap();
        assert_eq!(bench.store.health(), Health::Good);
        bench.store.fs.sync_error("test", "new", rustix::io::Errno::NOSPC);
        assert_eq!(bench.store.health(), Health::Good, "full is not broken");
        bench.store.fs.sync_error("test", "new", rustix::io::Errno::IO);
        assert_eq!(bench.store.health(), Health::Degraded);
        let internal = Failure::Internal;
        assert_eq!(bench.commit(file, "new", 0, Precondition::None), Err(internal));
        assert_eq!(bench.create("x", None, Precondition::None), Err(internal));
        assert_eq!(bench.store_file("x", b"x", Precondition::None), Err(internal));
        assert_eq!(bench.make("x").unwrap_err(), internal);
        assert_eq!(bench.delete("old", Precondition::None).unwrap_err(), internal);
        assert_eq!(bench.rename("old", "x", Precondition::None).unwrap_err(), internal);
        bench.run(Op::Abort { file: other }).unwrap();
        assert_eq!((bench.content("old"), bench.names(""), bench.staged()), (b"old".to_vec(), vec!["old".into()], 0));
    });
}

// covers: impossible-size
#[test]
fn a_file_that_cannot_fit_is_refused_before_its_body() {
    in_every_mode(|bench| {
        assert_eq!(bench.create("huge", Some(1 << 60), Precondition::None), Err(Failure::NoSpace));
        assert_eq!(bench.staged(), 0);
    });
}

#[test]
fn long_uploads_are_flushed_in_windows_that_share_one_bound() {
    in_every_mode(|bench| {
        let files: Vec<_> = (0..64).map(|n| bench.create(&n.to_string(), None, Precondition::None).unwrap()).collect();
        if let Some(window) = bench.store.flush_window() {
            assert_eq!(window, 4 * 1024 * 1024);
        }
        assert_eq!(
            bench.store.pool.volume.fs.durable && bench.store.fs.caps.write_back,
            bench.store.flush_window().is_some()
        );
        bench.store.write_now(files[0], 0, &[1; 100_000]).unwrap();
        assert!(matches!(bench.run(Op::Flush { file: files[0], offset: 0, len: 100_000 }), Ok(Outcome::Flushed)));
        assert!(matches!(bench.run(Op::Flush { file: files[0], offset: 9, len: 0 }), Ok(Outcome::Flushed)));
        bench.commit(files[0], "0", 100_000, Precondition::None).unwrap();
    });
}

// covers: file-modes
#[test]
fn new_files_get_the_mode_that_was_chosen() {
    let dir = TempDir::new().unwrap();
    let config = StoreConfig { file_mode: Some(0o640), ..StoreConfig::default() };
    let mut bench = Bench::open(dir.path(), &config);
    bench.store_file("f", b"", Precondition::None).unwrap();
    assert_eq!(bench.path("f").metadata().unwrap().permissions().mode() & 0o7777, 0o640);
}

#[test]
#[cfg(target_os = "linux")]
fn what_comes_after_a_failed_write_is_refused_for_the_same_reason() {
    let dir = TempDir::new().unwrap();
    let bench = Bench::open(dir.path(), &StoreConfig::default());
    let mut staged = bench.store.pool.volume.names.staging.stage_file("f", None, None).unwrap();
    let good =
        std::mem::replace(&mut staged.file, std::fs::File::options().write(true).open("/dev/full").unwrap().into());
    assert_eq!(bench.store.pool.volume.names.staging.write(&staged, 0, b"x").unwrap_err().failure, Failure::NoSpace);
    // The other worker may be the first to be heard.
    staged.file = good;
    assert_eq!(bench.store.pool.volume.names.staging.write(&staged, 1, b"y").unwrap_err().failure, Failure::NoSpace);
    bench.store.pool.volume.names.staging.abort(&staged);
}

#[test]
fn a_slow_write_makes_the_store_lag_for_a_while_but_not_within_the_turn() {
    let dir = TempDir::new().unwrap();
    let config = StoreConfig { durability: Durability::Written, ..StoreConfig::default() };
    let mut bench = Bench::open(dir.path(), &config);
    let before = crate::os::process::clock();
    if cfg!(target_os = "linux") {
        // Busy for as long, as when another process has the core: that is not the disk's fault.
        bench.store.pool.latency.measure(|| while before.elapsed() < Duration::from_millis(6) {});
        bench.store.refresh(crate::os::process::clock());
        assert!(!bench.store.is_lagging());
    }
    let (_keep, never) = channel::<()>();
    let waited = bench.store.pool.latency.measure(|| never.recv_timeout(Duration::from_millis(6)));
    assert!(waited.is_err() && !bench.store.is_lagging());
    bench.store.refresh(crate::os::process::clock());
    assert!(bench.store.is_lagging());
    let op = Op::Run(Whole::MakeDir { key: key("x"), parents: MissingParents::Make });
    let op = bench.store.try_now(CONN, op).expect_err("left to a worker");
    bench.run(op).unwrap();
    bench.store.refresh(before + Duration::from_secs(60));
    assert!(!bench.store.is_lagging());
}

#[test]
fn without_syncs_nothing_waits_for_a_worker() {
    let dir = TempDir::new().unwrap();
    let config = StoreConfig { durability: Durability::Written, ..StoreConfig::default() };
    let mut bench = Bench::open(dir.path(), &config);
    let op = Op::Store { put: Box::new(put("a/b", None, Precondition::None)), chunk: chunk(b"x") };
    assert!(bench.store.try_now(CONN, op).is_ok());
    assert!(bench.store.try_now(CONN, Op::Run(Whole::Stat { key: key("a/b") })).is_ok());
    assert!(
        bench
            .store
            .try_now(
                CONN,
                Op::List {
                    key: key("a"),
                    recursive: false,
                    order: Order::default(),
                    after: None,
                    limit: 1,
                    bytes_max: 1,
                    details: Details::default(),
                    hides: None
                }
            )
            .is_err()
    );
}

#[test]
fn what_was_submitted_is_in_flight_until_its_completion_is_taken() {
    in_every_mode(|bench| {
        for n in 1..=5 {
            bench.store.submit(
                CONN,
                None,
                Op::Store { put: Box::new(put(&format!("f{n}"), None, Precondition::None)), chunk: chunk(b"x") },
            );
            bench.store.submit(CONN, None, Op::Run(Whole::Stat { key: key("f") }));
            let queued = bench.store.queued();
            assert_eq!(queued.in_flight, 2 * n);
            assert!(queued.io <= n, "{queued:?}");
        }
        for left in (0..10).rev() {
            bench.next();
            assert_eq!(bench.store.queued().in_flight, left);
        }
        assert_eq!(bench.store.queued().io, 0);
    });
}

#[test]
fn an_upload_as_large_as_may_be_committed_on_the_loop_becomes_visible_on_it() {
    let dir = TempDir::new().unwrap();
    let config = StoreConfig { durability: Durability::Written, ..StoreConfig::default() };
    let mut bench = Bench::open(dir.path(), &config);
    let len_max = if bench.store.fs.caps.local { COMMIT_NOW_MAX } else { COMMIT_NOW_MAX_AFAR };
    for (len, at_once) in [(len_max, true), (len_max + 1, false)] {
        let file = bench.create("x", Some(len), Precondition::None).unwrap();
        bench.store.write_now(file, len - 1, b"x").unwrap();
        let (precondition, prepend) = (Precondition::None, Box::default());
        let op = Op::Commit { file, key: key("x"), len, prepend, mtime: None, precondition, digest: None };
        assert_eq!(bench.store.try_now(CONN, op).is_ok(), at_once, "{len}");
    }
}
