//! Starts, ends, and what others do to the directory meanwhile.
use super::*;

fn dirs(root: &Path) -> usize {
    std::fs::read_dir(root.join(".filewharf/staging")).map_or(0, Iterator::count)
}

/// Until the background sweep is through: each operation gives it a turn.
fn until(bench: &mut Bench, what: impl Fn(&Bench) -> bool) {
    for n in 0..100_000 {
        if what(bench) {
            return;
        }
        bench.store_file("tick", b"", Precondition::None).unwrap();
        assert!(n < 99_999, "never");
    }
}

// covers: shared-directory
#[test]
fn leftovers_of_dead_processes_are_swept_and_nothing_else() {
    for config in modes() {
        let dir = TempDir::new().unwrap();
        let staging = dir.path().join(".filewharf/staging");
        for (name, files, lock) in [("1-1", 1000, true), ("2-2", 0, true), ("3-3", 5, false)] {
            std::fs::create_dir_all(staging.join(name)).unwrap();
            for n in 0..files {
                std::fs::write(staging.join(name).join(n.to_string()), b"left").unwrap();
            }
            if lock {
                std::fs::write(staging.join(name).join("LOCK"), b"").unwrap();
            }
        }
        let config = StoreConfig { shared: true, ..config };
        let mut live = Bench::open(dir.path(), &config);
        let upload = live.create("live", None, Precondition::None).unwrap();
        live.store.write_now(upload, 0, b"alive").unwrap();
        let mut bench = Bench::open(dir.path(), &config);
        bench.inline = false;
        until(&mut bench, |bench| dirs(&bench.root) == 2);
        live.commit(upload, "live", 5, Precondition::None).unwrap();
        assert_eq!(bench.content("live"), b"alive");
        drop(live);
        assert_eq!(dirs(dir.path()), 1);
        bench.store.close();
        assert_eq!(dirs(dir.path()), 0);
    }
}

// covers: created-by-many
#[test]
fn two_stores_share_a_root_and_exactly_one_creates_a_name() {
    for config in modes() {
        let dir = TempDir::new().unwrap();
        let config = StoreConfig { shared: true, ..config };
        let mut stores = [Bench::open(dir.path(), &config), Bench::open(dir.path(), &config)];
        for round in 0..20 {
            let name = format!("r/{round}");
            for bench in &mut stores {
                let op = Op::Store { put: Box::new(put(&name, None, Precondition::Absent)), chunk: chunk(b"x") };
                bench.store.submit(CONN, None, op);
            }
            let won = stores.iter_mut().filter_map(|bench| bench.next().result.ok()).count();
            assert_eq!(won, 1, "{name} {config:?}");
        }
    }
}

// covers: staging-removed
#[test]
fn a_staging_directory_removed_by_hand_is_made_again() {
    in_every_mode(|bench| {
        let lost = bench.create("lost", None, Precondition::None).unwrap();
        std::fs::remove_dir_all(bench.path(".filewharf")).unwrap();
        assert_eq!(bench.commit(lost, "lost", 0, Precondition::None), Err(Failure::Internal));
        bench.store_file("a/b", b"again", Precondition::None).unwrap();
        assert_eq!(bench.content("a/b"), b"again");
        assert_eq!(bench.names(""), ["a"]);
    });
}

#[test]
fn a_served_directory_that_was_deleted_fails_every_change_and_nothing_panics() {
    for config in modes() {
        let dir = TempDir::new().unwrap();
        let root = dir.path().join("root");
        let mut bench = Bench::open(&root, &config);
        bench.store_file("f", b"x", Precondition::None).unwrap();
        let file = bench.create("g", None, Precondition::None).unwrap();
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(bench.commit(file, "g", 0, Precondition::None), Err(Failure::Internal));
        assert_eq!(bench.create("g", None, Precondition::None), Err(Failure::Internal));
        assert_eq!(bench.store_file("g/h", b"x", Precondition::None), Err(Failure::Internal));
        assert_eq!(bench.make("g").unwrap_err(), Failure::Internal);
        assert_eq!(bench.open_file("f").unwrap_err(), Failure::NotFound);
        assert_eq!(bench.list("", None, 9).map(|page| page.entries.len()), Ok(0));
        assert!(!root.exists());
    }
}

#[test]
fn a_read_only_store_makes_nothing_and_refuses_changes_in_words() {
    for portable in [false, true] {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("f"), b"content").unwrap();
        let config = StoreConfig { read_only: true, portable, ..StoreConfig::default() };
        let mut bench = Bench::open(dir.path(), &config);
        assert_eq!(bench.store.health(), crate::platform::Health::ReadOnly);
        assert_eq!(bench.content("f"), b"content");
        let (file, _, source) = bench.open_file("f").unwrap();
        if source == Source::Direct {
            assert_ne!(bench.store.read_now(file, 0, &mut [0; 9]).unwrap(), crate::platform::ReadNow::Bytes(0));
        }
        assert!(matches!(bench.create("g", None, Precondition::None), Err(Failure::Denied(_))));
        assert!(matches!(bench.store_file("g", b"x", Precondition::None), Err(Failure::Denied(_))));
        assert!(matches!(bench.make("g"), Err(Failure::Denied(_))));
        assert!(matches!(bench.delete("f", Precondition::None), Err(Failure::Denied(_))));
        assert!(matches!(bench.rename("f", "g", Precondition::None), Err(Failure::Denied(_))));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

// covers: cannot-start
#[test]
fn a_directory_that_cannot_be_used_is_refused_in_words() {
    let dir = TempDir::new().unwrap();
    let open = |path: &Path, config: &StoreConfig| {
        DiskStore::open(path, config, &Fixed::default(), Arc::new(|| {})).map(drop).unwrap_err().to_string()
    };
    let missing = dir.path().join("missing");
    let error = open(&missing, &StoreConfig { read_only: true, ..StoreConfig::default() });
    assert!(error.contains("cannot open the folder") && error.contains("missing"), "{error}");
    std::fs::write(&missing, b"a file").unwrap();
    assert!(open(&missing, &StoreConfig::default()).contains("is not a folder"));
    std::fs::write(dir.path().join(".filewharf"), b"a file").unwrap();
    assert!(open(dir.path(), &StoreConfig::default()).contains("cannot write in the folder"));
}

#[test]
fn uploads_still_open_at_the_end_are_removed() {
    in_every_mode(|bench| {
        for n in 0..200 {
            bench.create(&n.to_string(), None, Precondition::None).unwrap();
        }
        assert_eq!(bench.staged(), 200);
    });
}

#[test]
fn directories_made_for_an_upload_that_failed_are_removed_unless_used() {
    in_every_mode(|bench| {
        let file = bench.create("new/far/f", None, Precondition::None).unwrap();
        let failed = bench.commit(file, "new/far/f", 0, Precondition::Matches(crate::object::Etag([1; 16])));
        assert_eq!(failed, Err(Failure::PreconditionFailed));
        assert_eq!(bench.stat("new"), Err(Failure::NotFound));
    });
}
