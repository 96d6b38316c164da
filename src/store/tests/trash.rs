//! Removal of directories with their content: answered at once, done in steps, and resumed after the next start.

use super::quotas::with_quotas;
use super::*;
use crate::os::process::clock;
use crate::store::staging::dirs::Sweep;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

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

    /// As if the power had been cut while `new` was to replace `old`: what is in the trash and what was noted.
    fn cut_short(&self, in_trash: Option<&str>) {
        let inode = fs::metadata(self.path("new")).unwrap().ino();
        fs::create_dir_all(self.path(".filewharf/replacing")).unwrap();
        fs::create_dir_all(self.path(".filewharf/trash")).unwrap();
        fs::write(self.path(".filewharf/replacing/1-1-0~old"), format!("{inode} new")).unwrap();
        if let Some(name) = in_trash {
            fs::rename(self.path(name), self.path(".filewharf/trash/1-1-0~old")).unwrap();
        }
    }

    /// Removes all that is left, beside the start that does the same, but for one name.
    fn sweep(&self) {
        let volume = &self.store.pool.volume;
        let mut sweep = Sweep::beside(&volume.stage_dirs().unwrap().current(), &volume.names.quotas).unwrap();
        while sweep.step() {}
        while self.trash() > 1 {
            std::thread::yield_now();
        }
    }

    fn notes(&self) -> usize {
        fs::read_dir(self.path(".filewharf/replacing")).map_or(0, Iterator::count)
    }

    pub(super) fn trash(&self) -> usize {
        fs::read_dir(self.path(".filewharf/trash")).map_or(0, Iterator::count)
    }

    /// Until the worker has removed all of it: each operation gives it a turn.
    fn until_empty(&mut self) {
        for _ in 0..100_000 {
            if (self.trash(), self.notes()) == (0, 0) {
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
fn a_quota_is_counted_after_a_start_once_what_it_counts_is_gone_from_the_trash() {
    let dir = TempDir::new().unwrap();
    let mut bench = Bench::open(dir.path(), &StoreConfig::default());
    for name in ["1-1-0~q+x", "1-1-0.7~q+x", "1-1-0.8~q+x"] {
        bench.tree(&format!(".filewharf/trash/{name}"), 20);
    }
    bench.store.set_quotas(&with_quotas(&[("", 10_000), ("q", 9_000), ("q/y", 9_000)]).quotas);
    let volume = Arc::clone(&bench.store.pool.volume);
    let mut sweep = Sweep::beside(&volume.stage_dirs().unwrap().current(), &volume.names.quotas).unwrap();
    bench.count_again();
    let stored = |bench: &Bench| ["", "q", "q/y"].map(|prefix| bench.account(prefix).0);
    assert_eq!(stored(&bench), [None; 3], "it is not known yet what is left");
    let mut was_counted = false;
    while sweep.step() {
        bench.count_again();
        was_counted |= bench.trash() > 0 && bench.account("q/y").0 == Some(0);
        if bench.trash() > 0 {
            assert_eq!(stored(&bench)[..2], [None; 2]);
            assert_eq!(bench.store_file("q/f", b"1", Precondition::None), Err(Failure::Counting));
        }
    }
    assert!(was_counted, "nothing that is left was under q/y");
    drop(sweep);
    bench.count_again();
    assert_eq!(stored(&bench), [Some(0); 3]);
    assert_eq!(bench.trash(), 0);
}

#[test]
fn a_quota_that_is_set_while_something_is_removed_counts_it_too() {
    let dir = TempDir::new().unwrap();
    let bench = Bench::open(dir.path(), &StoreConfig::default());
    let quotas = Arc::clone(&bench.store.pool.volume.names.quotas);
    let removing = quotas.removing_dir(&key("q/x")).unwrap();
    quotas.set(&with_quotas(&[("", 10_000), ("q", 9_000), ("q/y", 9_000)]).quotas, clock());
    bench.count_again();
    let stored = |bench: &Bench| ["", "q", "q/y"].map(|prefix| bench.account(prefix).0);
    assert_eq!(stored(&bench), [None, None, Some(0)]);
    drop(removing);
    bench.count_again();
    assert_eq!(stored(&bench), [Some(0); 3]);
}

#[test]
fn what_another_server_is_removing_is_left_to_it() {
    let dir = TempDir::new().unwrap();
    let config = StoreConfig { shared: true, ..StoreConfig::default() };
    let other = Bench::open(dir.path(), &config);
    let own = fs::read_dir(other.path(".filewharf/staging")).unwrap().next().unwrap().unwrap().file_name();
    other.tree(&format!(".filewharf/trash/{}-0~x", own.to_str().unwrap()), 3);
    other.tree(".filewharf/trash/1-1-0~x", 3);
    let bench = Bench::open(dir.path(), &config);
    bench.sweep();
    assert_eq!(bench.trash(), 1);
    drop(other);
    drop(bench);
    Bench::open(dir.path(), &config).until_empty();
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
        assert_eq!(bench.notes(), 0);
    });
}

#[test]
fn what_was_about_to_replace_a_directory_is_back_after_a_start_unless_it_has_done_so() {
    for config in modes() {
        for in_trash in [None, Some("new"), Some("old")] {
            let dir = TempDir::new().unwrap();
            let before = Bench::open(dir.path(), &config);
            before.tree("old", 3);
            before.tree("new/in", 3);
            before.cut_short(in_trash);
            if in_trash == Some("old") {
                fs::rename(before.path("new"), before.path("old")).unwrap();
            }
            drop(before);
            let mut bench = Bench::open(dir.path(), &config);
            let there = ["new/in/a/b/c/f0", "old/a/b/c/f0", "old/in/a/b/c/f0"].map(|file| bench.path(file).exists());
            assert_eq!(there, if in_trash == Some("old") { [false, false, true] } else { [true, true, false] });
            assert_eq!(bench.path("new").exists(), in_trash != Some("old"));
            bench.until_empty();
            assert_eq!((bench.notes(), bench.path("new/in/d/f2").exists()), (0, in_trash != Some("old")));
        }
    }
}

#[test]
fn what_cannot_be_put_back_is_kept() {
    let dir = TempDir::new().unwrap();
    let before = Bench::open(dir.path(), &StoreConfig::default());
    before.tree("new", 3);
    before.cut_short(Some("new"));
    before.tree(".filewharf/trash/1-1-1~x", 3);
    fs::write(before.path("new"), b"other").unwrap();
    drop(before);
    for _ in 0..2 {
        let bench = Bench::open(dir.path(), &StoreConfig::default());
        bench.sweep();
        assert_eq!((fs::read(bench.path("new")).unwrap(), bench.trash()), (b"other".to_vec(), 1));
        assert!(bench.path(".filewharf/trash/1-1-0~old/a/b/c/f2").exists());
    }
    fs::remove_file(dir.path().join("new")).unwrap();
    let bench = Bench::open(dir.path(), &StoreConfig::default());
    assert!(bench.path("new/a/b/c/f2").exists() && bench.notes() == 0);
}

#[test]
fn nothing_is_out_of_sight_before_it_is_noted_on_the_disk() {
    let sync = SyncCalls { names: |_| Err(rustix::io::Errno::IO), scope: Scope::Dir, ..EVERYTHING };
    let dir = TempDir::new().unwrap();
    let mut bench = Bench::open_synced_by(dir.path(), &StoreConfig::default(), Fixed::default(), |_| sync);
    bench.tree("old", 3);
    bench.tree("new/in", 3);
    assert_eq!(bench.replace("new", "old", Precondition::None).unwrap_err(), Failure::Internal);
    assert!(bench.path("new/in/a/b/c/f2").exists() && bench.path("old/a/b/c/f2").exists());
}
