//! Copies of files and directories: all of it at its name, or nothing anywhere.

use super::quotas::with_quotas;
use super::*;
use crate::command::{Copying, DirCopy};
use crate::object::Placed;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

const NOT_ASKED: Failure = Failure::Conflict("not asked for");

pub(super) fn copying(from: &str, to: &str) -> Copying {
    Copying {
        from: key(from),
        to: key(to),
        precondition: Precondition::None,
        parents: MissingParents::Make,
        dir: DirCopy::Whole,
        replaces_dir: false,
        len_max: None,
    }
}

impl Bench {
    fn begin_copy(&mut self, copying: &Copying) -> Result<FileId, Failure> {
        match self.run(Op::BeginCopy(Box::new(copying.clone())))? {
            Outcome::Created(file) => Ok(file),
            other => panic!("{other:?}"),
        }
    }

    /// Whether it is complete; a copy that failed is given up, as a connection does.
    fn step_copy(&mut self, file: FileId) -> Result<bool, Failure> {
        match self.run(Op::Copy { file }) {
            Ok(Outcome::Copied(is_complete)) => Ok(is_complete),
            Ok(other) => panic!("{other:?}"),
            Err(failure) => {
                self.run(Op::Abort { file }).unwrap();
                Err(failure)
            }
        }
    }

    fn place_copy(&mut self, file: FileId, copying: &Copying) -> Result<Placed, Failure> {
        match self.run(Op::PlaceCopy { file, copying: Box::new(copying.clone()) })? {
            Outcome::Answered(Answer::Moved(placed)) => Ok(placed),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn copy(&mut self, copying: &Copying) -> Result<Placed, Failure> {
        let file = self.begin_copy(copying)?;
        while !self.step_copy(file)? {}
        self.place_copy(file, copying)
    }

    /// Nothing is left of a copy; the worker that removes it has had its turns.
    fn is_clean(&mut self) {
        for _ in 0..100_000 {
            if self.trash() == 0 && self.staged() == 0 {
                return;
            }
            self.store_file("tick", b"", Precondition::None).unwrap();
        }
        panic!("something of a copy is left");
    }

    fn source(&self) {
        for dir in ["s/a/b/c", "s/a-b", "s/empty"] {
            fs::create_dir_all(self.path(dir)).unwrap();
        }
        for (name, bytes) in [("s/f", &b"one"[..]), ("s/a/f", b"two"), ("s/a/b/c/f", b"three"), ("s/a-b/f", b"four")] {
            fs::write(self.path(name), bytes).unwrap();
        }
    }
}

#[test]
fn a_file_is_copied_with_its_digest_its_time_and_its_permissions() {
    in_every_mode(|bench| {
        let content = vec![7; 20 << 20];
        let put = Put { mtime: Some(1_000_000_000), ..put("big", Some(content.len() as u64), Precondition::None) };
        let digest = [9; 32];
        let Outcome::Created(file) = bench.run(Op::Create(put)).unwrap() else { panic!() };
        for (n, piece) in content.chunks(1 << 20).enumerate() {
            let offset = (n as u64) << 20;
            assert!(bench.complete(Op::Write { file, offset, chunk: chunk(piece) }).result.is_ok());
        }
        bench
            .run(Op::Commit {
                file,
                key: key("big"),
                len: content.len() as u64,
                prepend: Box::default(),
                mtime: Some(1_000_000_000),
                precondition: Precondition::None,
                digest: Some(Box::new(digest)),
            })
            .unwrap();
        fs::set_permissions(bench.path("big"), fs::Permissions::from_mode(0o700)).unwrap();
        let known = |bench: &mut Bench, name: &str| {
            let Node::File(meta) = bench.stat(name).unwrap() else { panic!() };
            meta.sha256
        };
        let digest = known(bench, "big");
        let file = bench.begin_copy(&copying("big", "new/dir/copy")).unwrap();
        let mut steps = 1;
        while !bench.step_copy(file).unwrap() {
            steps += 1;
            assert!(!bench.path("new").exists(), "it is made out of sight");
        }
        assert_eq!(steps, 3, "8 MiB each");
        assert_eq!(bench.place_copy(file, &copying("big", "new/dir/copy")), Ok(Placed::New));
        let there = fs::metadata(bench.path("new/dir/copy")).unwrap();
        assert_eq!((there.mtime(), there.permissions().mode() & 0o777), (1_000_000_000, 0o700));
        assert!(fs::read(bench.path("new/dir/copy")).unwrap() == content);
        assert_eq!(known(bench, "new/dir/copy"), digest);
        assert_eq!(bench.copy(&copying("big", "new/dir/copy")), Ok(Placed::Replaced));
        bench.is_clean();
    });
}

#[test]
fn a_directory_is_copied_with_all_that_is_in_it() {
    in_every_mode(|bench| {
        bench.source();
        for n in 0..300 {
            fs::write(bench.path("s/a-b").join(format!("n{n}")), n.to_string()).unwrap();
        }
        fs::set_permissions(bench.path("s/a"), fs::Permissions::from_mode(0o750)).unwrap();
        let asked = copying("s", "t");
        assert_eq!(bench.copy(&Copying { dir: DirCopy::Refused(NOT_ASKED), ..asked.clone() }), Err(NOT_ASKED));
        assert_eq!(bench.copy(&asked), Ok(Placed::New));
        for name in ["f", "a/f", "a/b/c/f", "a-b/f", "a-b/n299"] {
            let [source, copy] = ["s", "t"].map(|top| fs::read(bench.path(top).join(name)).unwrap());
            assert_eq!(source, copy, "{name}");
        }
        for dir in ["a", "a/b", "a/b/c", "a-b", "empty"] {
            let [source, copy] = ["s", "t"].map(|top| fs::metadata(bench.path(top).join(dir)).unwrap());
            assert_eq!((source.mtime(), source.mode()), (copy.mtime(), copy.mode()), "{dir}");
        }
        assert_eq!(bench.copy(&Copying { dir: DirCopy::Empty, ..copying("s", "only") }), Ok(Placed::New));
        assert_eq!(fs::read_dir(bench.path("only")).unwrap().count(), 0);
        bench.is_clean();
    });
}

#[test]
fn a_copy_is_refused_where_it_could_not_be_whole() {
    in_every_mode(|bench| {
        bench.source();
        symlink("f", bench.path("s/a/b/link")).unwrap();
        assert!(is_conflict(&bench.copy(&copying("s", "t"))));
        assert!(!bench.path("t").exists());
        fs::remove_file(bench.path("s/a/b/link")).unwrap();
        // A file that changes while it is copied.
        fs::write(bench.path("s/a/big"), vec![1; 9 << 20]).unwrap();
        for asked in [copying("s", "t"), copying("s/a/big", "t")] {
            let file = bench.begin_copy(&asked).unwrap();
            let copied = loop {
                match bench.step_copy(file) {
                    Ok(false) => fs::write(bench.path("s/a/big"), vec![2; 9 << 20]).unwrap(),
                    other => break other,
                }
            };
            assert!(is_conflict(&copied), "{copied:?}");
        }
        for (from, to) in [("s", "s/a/x"), ("s/a", "s"), ("s/f", "s/f"), ("", "x"), ("s", ""), ("s/f", "s/f/x")] {
            assert!(bench.copy(&copying(from, to)).is_err(), "{from} to {to}");
        }
        assert_eq!(bench.copy(&copying("none", "t")), Err(Failure::NotFound));
        let deep = Copying { parents: MissingParents::Refuse, ..copying("s/f", "no/t") };
        assert!(is_conflict(&bench.copy(&deep)));
        assert_eq!(
            bench.copy(&Copying { len_max: Some(4), ..copying("s", "t") }),
            Err(Failure::TooLarge),
            "what is in a directory is bounded too"
        );
        assert!(!bench.path("t").exists() && !bench.path("no").exists());
        bench.is_clean();
    });
}

#[test]
fn what_has_the_name_of_a_copy_is_replaced_only_where_that_is_asked_for() {
    in_every_mode(|bench| {
        bench.source();
        fs::create_dir_all(bench.path("dir/in")).unwrap();
        fs::write(bench.path("file"), b"old").unwrap();
        for (from, to) in [("s", "dir"), ("s", "file"), ("s/f", "dir")] {
            assert!(is_conflict(&bench.copy(&copying(from, to))), "{from} to {to}");
            let absent = Copying { precondition: Precondition::Absent, replaces_dir: true, ..copying(from, to) };
            assert_eq!(bench.copy(&absent), Err(Failure::PreconditionFailed), "{from} to {to}");
        }
        assert_eq!(bench.copy(&copying("s/f", "file")), Ok(Placed::Replaced));
        assert_eq!(fs::read(bench.path("file")).unwrap(), b"one");
        if bench.store.fs.caps != crate::store::fs::caps::Caps::portable() {
            for (from, to, name) in [("s", "dir", "dir/a/b/c/f"), ("s", "file", "file/a/b/c/f"), ("s/f", "dir", "dir")]
            {
                let replacing = Copying { replaces_dir: true, ..copying(from, to) };
                assert_eq!(bench.copy(&replacing), Ok(Placed::Replaced), "{from} to {to}");
                assert!(bench.path(name).is_file(), "{from} to {to}");
            }
        }
        bench.is_clean();
    });
}

#[test]
fn a_copy_that_is_given_up_leaves_nothing() {
    in_every_mode(|bench| {
        bench.source();
        fs::write(bench.path("s/big"), vec![1; 20 << 20]).unwrap();
        for from in ["s", "s/big"] {
            let asked = copying(from, "t");
            let file = bench.begin_copy(&asked).unwrap();
            bench.step_copy(file).unwrap();
            bench.run(Op::Abort { file }).unwrap();
            bench.is_clean();
            // It was complete, and something has got the name since.
            let file = bench.begin_copy(&asked).unwrap();
            while !bench.step_copy(file).unwrap() {}
            fs::create_dir(bench.path("t")).unwrap();
            assert!(is_conflict(&bench.place_copy(file, &asked)));
            fs::remove_dir(bench.path("t")).unwrap();
            bench.is_clean();
        }
    });
}

#[test]
fn two_directories_are_copied_at_a_time_and_one_for_a_client() {
    let dir = TempDir::new().unwrap();
    let mut bench = Bench::open(dir.path(), &StoreConfig::default());
    bench.source();
    let first = bench.begin_copy(&copying("s", "t")).unwrap();
    assert_eq!(bench.begin_copy(&copying("s", "u")), Err(Failure::Busy));
    let file = bench.begin_copy(&copying("s/f", "u")).unwrap();
    for file in [first, file] {
        bench.run(Op::Abort { file }).unwrap();
    }
    assert_eq!(bench.copy(&copying("s", "t")), Ok(Placed::New));
}

#[test]
fn a_quota_counts_a_copy_before_it_is_there() {
    for durability in [Durability::Durable, Durability::Written] {
        let dir = TempDir::new().unwrap();
        let mut bench = Bench::open(dir.path(), &StoreConfig { durability, ..with_quotas(&[("", 10_000), ("q", 60)]) });
        bench.source();
        bench.count_again();
        assert_eq!(bench.account("").0, Some(15));
        for n in 1..=4 {
            assert_eq!(bench.copy(&copying("s", &format!("q/{n}"))), Ok(Placed::New));
            assert_eq!([bench.account("q").0, bench.account("").0], [Some(15 * n), Some(15 * n + 15)]);
        }
        for from in ["s", "s/f"] {
            assert_eq!(bench.copy(&copying(from, "q/5")), Err(Failure::OverQuota));
        }
        bench.is_clean();
        assert!(!bench.path("q/5").exists());
        let reserved = |bench: &Bench| -> u64 {
            bench.store.pool.volume.names.quotas.books().accounts.values().map(|account| account.reserved).sum()
        };
        assert_eq!(reserved(&bench), 0);
        bench.count_again();
        assert_eq!([bench.account("q").0, bench.account("").0], [Some(60), Some(75)]);
    }
}

#[test]
fn a_copy_is_not_there_before_its_files_and_directories_are_on_the_disk() {
    for fails in ["content", "names"] {
        let dir = TempDir::new().unwrap();
        let mut sync = EVERYTHING;
        match fails {
            "content" => sync.content = |_, _| Err(rustix::io::Errno::IO),
            _ => sync.names = |_| Err(rustix::io::Errno::IO),
        }
        let mut bench = Bench::open_synced_by(dir.path(), &StoreConfig::default(), Fixed::default(), |_| sync);
        bench.source();
        assert_eq!(bench.copy(&copying("s", "t")), Err(Failure::Internal), "{fails}");
        assert!(!bench.path("t").exists(), "{fails}");
    }
}
