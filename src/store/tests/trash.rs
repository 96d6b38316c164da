//! Removal of directories with their content: answered at once, done in steps, and resumed after the next start.

use super::quotas::with_quotas;
use super::*;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

impl Bench {
    fn delete_tree(&mut self, name: &str) -> Result<Outcome, Failure> {
        self.run(Op::Run(Whole::Delete {
            key: key(name),
            is_recursive: true,
            expected_kind: ExpectedKind::Either,
            precondition: Precondition::None,
        }))
    }

    fn replace(&mut self, from: &str, to: &str, precondition: Precondition) -> Result<Outcome, Failure> {
        self.run(Op::Run(Whole::Rename {
            from: key(from),
            to: key(to),
            precondition,
            parents: MissingParents::Make,
            replaces_dir: true,
            len_max: None,
        }))
    }

    pub(super) fn trash(&self) -> usize {
        fs::read_dir(self.path(".filewharf/trash")).map_or(0, Iterator::count)
    }

    /// Until the worker has removed all of it: each operation gives it a turn.
    fn until_empty(&mut self) {
        for _ in 0..100_000 {
            if self.trash() == 0 {
                return;
            }
            self.store_file("tick", b"", Precondition::None).unwrap();
        }
        panic!("the trash is never empty");
    }

    fn tree(&self, top: &str, files: usize) {
        for dir in ["", "a", "a/b", "a/b/c", "d"] {
            fs::create_dir_all(self.path(top).join(dir)).unwrap();
            for n in 0..files {
                fs::write(self.path(top).join(dir).join(format!("f{n}")), b"1234").unwrap();
            }
        }
    }
}

#[test]
fn a_directory_is_removed_with_its_content_and_nothing_else_is() {
    in_every_mode(|bench| {
        bench.tree("t/x", 100);
        bench.tree("t/y", 1);
        symlink(bench.path("t/y"), bench.path("t/x/a/link")).unwrap();
        fs::set_permissions(bench.path("t/x/a/b"), fs::Permissions::from_mode(0o500)).unwrap();
        assert_eq!(bench.delete("t/x", Precondition::None).unwrap_err(), Failure::Conflict("the folder is not empty"));
        bench.delete_tree("t/x").unwrap();
        assert!(!bench.path("t/x").exists());
        bench.until_empty();
        assert_eq!(fs::read(bench.path("t/y/a/b/c/f0")).unwrap(), b"1234", "a link is not followed");
        assert_eq!(bench.delete_tree("t/x").unwrap_err(), Failure::NotFound);
        // A file and an empty directory go at once.
        bench.delete_tree("t/y/d/f0").unwrap();
        bench.delete_tree("t/y/d").unwrap();
        assert_eq!((bench.trash(), bench.path("t/y/d").exists()), (0, false));
        assert!(bench.delete_tree("").is_err());
    });
}

#[test]
fn a_quota_counts_what_is_removed_until_it_is_gone_and_not_after_that() {
    for durability in [Durability::Durable, Durability::Written] {
        let dir = TempDir::new().unwrap();
        let mut bench =
            Bench::open(dir.path(), &StoreConfig { durability, ..with_quotas(&[("", 10_000), ("q", 9_000)]) });
        bench.tree("q/x", 50);
        bench.store_file("q/y", b"12345", Precondition::None).unwrap();
        bench.count_again();
        assert_eq!(bench.account("q").0, Some(1005));
        bench.delete_tree("q/x").unwrap();
        bench.until_empty();
        let _ = bench.delete("tick", Precondition::None);
        // The job ends after the last name is gone.
        while bench.store.pool.volume.names.quotas.books().accounts.values().any(|account| account.moving > 0) {
            std::thread::yield_now();
        }
        assert_eq!([bench.account("q").0, bench.account("").0], [Some(5), Some(5)]);
        bench.count_again();
        assert_eq!([bench.account("q").0, bench.account("").0], [Some(5), Some(5)]);
    }
}

#[test]
fn what_a_process_that_ended_has_left_in_the_trash_is_removed_after_the_next_start() {
    for config in modes() {
        let dir = TempDir::new().unwrap();
        let old = dir.path().join(".filewharf/trash/1-1-0");
        fs::create_dir_all(old.join("a/b/c")).unwrap();
        for n in 0..200 {
            fs::write(old.join("a/b").join(n.to_string()), b"left").unwrap();
        }
        fs::create_dir(dir.path().join(".filewharf/trash/1-1-0.1")).unwrap();
        let mut bench = Bench::open(dir.path(), &config);
        bench.until_empty();
    }
}

#[test]
fn nothing_is_removed_that_is_not_on_the_disk_as_removed() {
    let sync = SyncCalls { names: |_| Err(rustix::io::Errno::IO), ..EVERYTHING };
    let dir = TempDir::new().unwrap();
    let mut bench = Bench::open_synced_by(dir.path(), &StoreConfig::default(), Fixed::default(), |_| sync);
    bench.tree("x", 3);
    assert_eq!(bench.delete_tree("x").unwrap_err(), Failure::Internal);
    bench.store.close();
    let [top] = &fs::read_dir(dir.path().join(".filewharf/trash")).unwrap().collect::<Vec<_>>()[..] else { panic!() };
    assert_eq!(fs::read(top.as_ref().unwrap().path().join("a/b/c/f2")).unwrap(), b"1234");
}

#[test]
#[cfg(target_os = "linux")]
fn a_directory_is_replaced_with_its_content_and_something_has_its_name_at_every_moment() {
    in_every_mode(|bench| {
        if bench.store.fs.caps == crate::store::fs::caps::Caps::portable() {
            return;
        }
        bench.tree("old", 20);
        fs::create_dir_all(bench.path("new/in")).unwrap();
        fs::write(bench.path("new/in/f"), b"new").unwrap();
        assert_eq!(bench.replace("new", "old", Precondition::Absent).unwrap_err(), Failure::PreconditionFailed);
        assert_eq!(
            bench.replace("old/a", "old", Precondition::None).unwrap_err(),
            Failure::Conflict("a folder cannot move into itself")
        );
        assert!(bench.path("old/a/b/c/f0").exists() && bench.path("new/in/f").exists(), "as they were");
        bench.replace("new", "old", Precondition::None).unwrap();
        assert_eq!(fs::read(bench.path("old/in/f")).unwrap(), b"new");
        assert!(!bench.path("new").exists() && !bench.path("old/a").exists());
        // A file over a directory, and a directory over a file.
        fs::write(bench.path("file"), b"file").unwrap();
        bench.replace("file", "old", Precondition::None).unwrap();
        assert_eq!(fs::read(bench.path("old")).unwrap(), b"file");
        bench.tree("dir", 1);
        bench.replace("dir", "old", Precondition::Present).unwrap();
        assert!(bench.path("old/a/b/c/f0").exists() && !bench.path("dir").exists());
        bench.until_empty();
    });
}
