//! Digests that are kept with files: known for as long as a file is what was uploaded, and not a moment longer,
//! whatever program changes it.
use super::*;
use std::fs::{File, FileTimes, hard_link};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

const LEN: usize = 5000;
/// Each change is tried as often: most come in the tick of the clock in which the file got its name.
const TIMES: usize = 20;

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn content(n: usize) -> Vec<u8> {
    (0..LEN).map(|i| u8::try_from((i * 7 + n) % 251).unwrap()).collect()
}

impl Bench {
    /// Uploads a file that was hashed, at once or into a staging file.
    fn store_hashed(&mut self, name: &str, bytes: &[u8], mtime: Option<i64>, is_large: bool) {
        let sha256 = Some(Box::new(digest(bytes)));
        let (op, len) = if is_large {
            let file = self.create(name, Some(bytes.len() as u64), Precondition::None).unwrap();
            let written = self.complete(Op::Write { file, offset: 0, chunk: chunk(bytes) });
            assert!(matches!(written.result, Ok(Outcome::Written)));
            let (len, precondition) = (bytes.len() as u64, Precondition::None);
            let op =
                Op::Commit { file, key: key(name), len, prepend: Box::default(), mtime, precondition, digest: sha256 };
            (op, len)
        } else {
            let put = Put { mtime, hash: true, sha256, ..put(name, Some(bytes.len() as u64), Precondition::None) };
            (Op::Store { put: Box::new(put), chunk: chunk(bytes) }, bytes.len() as u64)
        };
        let Outcome::Committed(stored) = self.run(op).unwrap() else { panic!("not committed") };
        assert_eq!((stored.meta.len, stored.meta.sha256), (len, Some(digest(bytes))));
    }

    /// What STAT, GET and LIST say of a file.
    fn kept(&mut self, name: &str) -> Option<[u8; 32]> {
        let Node::File(meta) = self.stat(name).unwrap() else { panic!("a folder") };
        let (file, opened, _) = self.open_file(name).unwrap();
        self.run(Op::Close { file }).unwrap();
        assert_eq!(opened.sha256, meta.sha256, "{name}: GET and STAT");
        let (dir, last) = name.rsplit_once('/').unwrap_or(("", name));
        let op = Op::List {
            key: key(dir),
            recursive: false,
            order: Order::default(),
            after: None,
            limit: 1000,
            bytes_max: 1 << 20,
            details: Details { digests: true, ..Details::default() },
            hides: None,
        };
        let Outcome::Listed(listing) = self.run(op).unwrap() else { panic!("no listing") };
        let listed = listing.entries.into_iter().find(|entry| &*entry.name == last).unwrap();
        let Some(Node::File(listed)) = listed.node else { panic!("a folder") };
        assert_eq!(listed.sha256, meta.sha256, "{name}: LIST and STAT");
        meta.sha256
    }
}

/// Waits until the clock of the file system shows another time than that of the last change of a file.
fn next_tick(path: &Path) {
    let clock = path.with_extension("clock");
    let changed = |path: &Path| std::fs::metadata(path).map(|it| (it.ctime(), it.ctime_nsec())).unwrap();
    loop {
        std::fs::write(&clock, b"").unwrap();
        if changed(&clock) != changed(path) {
            break std::fs::remove_file(clock).unwrap();
        }
    }
}

/// What another program does, and how.
type Doing = (&'static str, fn(&Path));

/// Ways in which other programs change a file, or what has its name.
const CHANGES: [Doing; 9] = [
    ("written to in place", |path| {
        File::options().write(true).open(path).unwrap().write_all(b"x").unwrap();
    }),
    ("written to, and its times set back", |path| {
        let times = std::fs::metadata(path).unwrap();
        let times = FileTimes::new().set_modified(times.modified().unwrap()).set_accessed(times.accessed().unwrap());
        let mut file = File::options().write(true).open(path).unwrap();
        file.write_all(b"x").unwrap();
        // In the very tick of the upload, nothing could tell.
        next_tick(path);
        file.set_times(times).unwrap();
    }),
    ("cut and written again", |path| std::fs::write(path, [b'x'; LEN]).unwrap()),
    ("grown and cut", |path| {
        let file = File::options().write(true).open(path).unwrap();
        file.set_len(LEN as u64 + 1).unwrap();
        file.set_len(LEN as u64 - 1).unwrap();
        file.set_len(LEN as u64).unwrap();
    }),
    ("replaced by a move", |path| {
        let other = path.with_extension("other");
        std::fs::write(&other, [b'x'; LEN]).unwrap();
        std::fs::rename(other, path).unwrap();
    }),
    ("deleted and made again, with its inode if the file system likes", |path| {
        let mtime = std::fs::metadata(path).unwrap().modified().unwrap();
        std::fs::remove_file(path).unwrap();
        std::fs::write(path, [b'x'; LEN]).unwrap();
        next_tick(path);
        File::options().write(true).open(path).unwrap().set_modified(mtime).unwrap();
    }),
    ("written to through another name", |path| {
        let other = path.with_extension("other");
        hard_link(path, &other).unwrap();
        File::options().write(true).open(&other).unwrap().write_all(b"x").unwrap();
        std::fs::remove_file(other).unwrap();
    }),
    ("copied over by a program that keeps times", |path| {
        let mtime = std::fs::metadata(path).unwrap().modified().unwrap();
        let mut file = File::options().write(true).truncate(true).open(path).unwrap();
        file.write_all(&[b'x'; LEN]).unwrap();
        next_tick(path);
        file.set_modified(mtime).unwrap();
    }),
    ("dated by a second", |path| {
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(7)).unwrap();
    }),
];

#[test]
fn a_digest_is_known_until_any_program_changes_the_file() {
    let in_memory = StoreConfig { durability: Durability::Written, ..StoreConfig::default() };
    for config in [in_memory.clone(), StoreConfig { portable: true, ..in_memory }] {
        let dir = TempDir::new().unwrap();
        let mut bench = Bench::open(dir.path(), &config);
        for (n, (what, change)) in (0..).zip(CHANGES.iter().cycle().take(CHANGES.len() * TIMES)) {
            // Now and then a date that is the client's.
            let mtime = (n % 3 == 0).then_some(1_600_000_000);
            bench.store_hashed("f", &content(n), mtime, n % 2 == 0);
            if n % 4 < 2 {
                // Or it is the first look at it.
                assert_eq!(bench.kept("f"), Some(digest(&content(n))), "{what}");
            }
            change(&bench.path("f"));
            assert_eq!(bench.kept("f"), None, "{what}, {n}");
        }
    }
}

#[test]
fn what_leaves_the_content_as_it_is_makes_a_digest_unknown_at_most() {
    in_every_mode(|bench| {
        for (what, change) in [
            ("a link", (|path| hard_link(path, path.with_extension("link")).unwrap()) as fn(&Path)),
            ("a mode", |path| std::fs::set_permissions(path, PermissionsExt::from_mode(0o640)).unwrap()),
            ("a move there and back", |path| {
                std::fs::rename(path, path.with_extension("away")).unwrap();
                std::fs::rename(path.with_extension("away"), path).unwrap();
            }),
        ] {
            bench.store_hashed("f", &content(1), None, false);
            change(&bench.path("f"));
            let known = bench.kept("f");
            assert!(known.is_none_or(|known| known == digest(&content(1))), "{what}");
        }
        assert_eq!(bench.content("f.link"), content(1));
        std::fs::copy(bench.path("f"), bench.path("copy")).unwrap();
        assert_eq!(bench.kept("copy"), None, "nothing is kept with the file itself that a copy could have");
    });
}

#[test]
fn a_digest_goes_with_a_move_and_ends_with_a_replacement() {
    in_every_mode(|bench| {
        bench.store_hashed("a", &content(1), None, true);
        bench.store_hashed("d/b", &content(2), Some(7), false);
        bench.rename("a", "d/b", Precondition::None).unwrap();
        assert_eq!(bench.kept("d/b"), Some(digest(&content(1))));
        bench.rename("d", "e", Precondition::None).unwrap();
        assert_eq!(bench.kept("e/b"), Some(digest(&content(1))), "a folder moves with what it holds");
        bench.run(Op::Run(Whole::SetTime { key: key("e/b"), mtime: 7 })).unwrap();
        assert_eq!(bench.kept("e/b"), Some(digest(&content(1))), "another time changes no content");
        File::options().write(true).open(bench.path("e/b")).unwrap().write_all(b"x").unwrap();
        bench.run(Op::Run(Whole::SetTime { key: key("e/b"), mtime: 7 })).unwrap();
        bench.rename("e/b", "c", Precondition::None).unwrap();
        assert_eq!(bench.kept("c"), None, "what is void stays so");
        bench.store_hashed("c", &content(3), None, false);
        bench.store_file("c", &content(4), Precondition::None).unwrap();
        assert_eq!(bench.kept("c"), None, "an upload that was not hashed");
    });
}

#[test]
fn digests_outlive_the_server_and_a_damaged_table_makes_none_up() {
    let dir = TempDir::new().unwrap();
    let mut bench = Bench::open(dir.path(), &StoreConfig::default());
    for n in 0..50 {
        bench.store_hashed(&format!("f{n}"), &content(n), None, n % 2 == 0);
    }
    drop(bench);
    let known = |bench: &mut Bench| {
        let right = (0..50).filter(|n| {
            let kept = bench.kept(&format!("f{n}"));
            assert!(kept.is_none_or(|kept| kept == digest(&content(*n))), "f{n}");
            kept.is_some()
        });
        right.count()
    };
    let read_only = StoreConfig { read_only: true, ..StoreConfig::default() };
    for config in [StoreConfig::default(), read_only] {
        assert_eq!(known(&mut Bench::open(dir.path(), &config)), 50);
    }
    let table = dir.path().join(".filewharf/digests");
    let whole = std::fs::read(&table).unwrap();
    let mut damaged = whole.clone();
    damaged.iter_mut().step_by(97).for_each(|byte| *byte ^= 4);
    for bytes in [&damaged, &whole[..whole.len() / 2 + 13], &vec![0; whole.len()], &[0xff; 100]] {
        std::fs::write(&table, bytes).unwrap();
        assert!(known(&mut Bench::open(dir.path(), &StoreConfig::default())) < 50);
    }
    std::fs::write(&table, &whole).unwrap();
    let few = Fixed { digests_max: 8, ..Fixed::default() };
    let mut bench = Bench::open_limited(dir.path(), &StoreConfig::default(), few);
    known(&mut bench);
    (0..50).for_each(|n| bench.store_hashed(&format!("f{n}"), &content(n), None, false));
    assert!((1..=8).contains(&known(&mut bench)), "no more than there is place for");
    assert!(std::fs::metadata(&table).unwrap().len() <= 8 * 64);
    drop(bench);
    let none = Fixed { digests_max: 0, ..Fixed::default() };
    let mut bench = Bench::open_limited(dir.path(), &StoreConfig::default(), none);
    bench.store_hashed("f", &content(1), None, false);
    assert_eq!(known(&mut bench), 0);
}
