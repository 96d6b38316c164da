//! Files that are kept in memory: that they are, within their bounds, and not a moment too long.
//! What other processes do to them under load is tested from outside, in `fresh`.
use super::*;
use crate::platform::ReadNow;

/// Where files can be kept at all: not on every file system.
fn bench(dir: &TempDir, limits: Fixed) -> Option<Bench> {
    let config = StoreConfig { durability: Durability::Written, ..StoreConfig::default() };
    let bench = Bench::open_limited(dir.path(), &config, limits);
    bench.store.cache.is_some().then_some(bench)
}

impl Bench {
    /// Reads a small file as the reactor does.
    fn read(&mut self, name: &str) -> Result<Vec<u8>, Failure> {
        let (file, meta, source) = self.open_file(name)?;
        assert_eq!(source, Source::Direct);
        let mut bytes = vec![0; usize::try_from(meta.len).unwrap() + 1];
        let read = self.store.read_now(file, 0, &mut bytes).unwrap();
        assert_eq!(read, ReadNow::Bytes(bytes.len() - 1));
        bytes.pop();
        assert!(matches!(self.run(Op::Close { file }), Ok(Outcome::Closed)));
        Ok(bytes)
    }

    /// Asks until the file is kept: once to be known, once to watch its directories, once to read it.
    fn heat(&mut self, name: &str) {
        for _ in 0..3 {
            self.read(name).unwrap();
        }
    }

    fn keeps(&self, name: &str) -> bool {
        self.store.cache.as_ref().unwrap().contains(name)
    }
}

#[test]
fn a_file_is_kept_from_the_third_time_on_and_not_before() {
    let dir = TempDir::new().unwrap();
    let Some(mut bench) = bench(&dir, Fixed::default()) else { return };
    std::fs::create_dir_all(bench.path("a/b")).unwrap();
    std::fs::write(bench.path("a/b/f"), "one").unwrap();
    for _ in 0..2 {
        assert_eq!(bench.read("a/b/f").unwrap(), b"one");
        assert!(!bench.keeps("a/b/f"));
    }
    for _ in 0..2 {
        assert_eq!(bench.read("a/b/f").unwrap(), b"one");
        assert!(bench.keeps("a/b/f"));
    }
    let uncached = meta_of(&bench.path("a/b/f"));
    assert_eq!(bench.open_file("a/b/f").unwrap().1, uncached, "the same version in the same words");
    assert!(matches!(bench.stat("a/b/f"), Ok(Node::File(meta)) if meta == uncached));
}

fn meta_of(path: &Path) -> Meta {
    crate::store::fs::stat::meta(&rustix::fs::stat(path).unwrap())
}

#[test]
fn more_changes_than_the_kernel_remembers_leave_nothing_stale() {
    let dir = TempDir::new().unwrap();
    let Some(mut bench) = bench(&dir, Fixed::default()) else { return };
    std::fs::write(bench.path("f"), "old").unwrap();
    bench.heat("f");
    assert!(bench.keeps("f"));
    let most = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    for n in 0..=most.trim().parse::<u32>().unwrap() / 2 {
        let name = bench.path(&format!("noise {n}"));
        std::fs::write(&name, "").unwrap();
        std::fs::remove_file(name).unwrap();
    }
    // The queue is full: this is reported to no reader.
    std::fs::write(bench.path("f"), "new").unwrap();
    assert_eq!(bench.read("f").unwrap(), b"new");
}

#[test]
fn what_is_kept_stays_within_its_bounds_and_what_is_not_asked_for_makes_room() {
    let dir = TempDir::new().unwrap();
    let (cache_files_max, cache_bytes_max, cache_file_bytes_max) = (3, 5000, 2000);
    let limits =
        Fixed { cache_files_max, cache_bytes_max, cache_file_bytes_max, cache_open_max: 0, ..Fixed::default() };
    let age = limits.cache_age_max;
    let Some(mut bench) = bench(&dir, limits) else { return };
    for (name, len) in [("a", 2000), ("b", 1), ("c", 2001), ("d", 2000), ("e", 1), ("f", 1)] {
        std::fs::write(bench.path(name), vec![b'x'; len]).unwrap();
        bench.heat(name);
        let cache = bench.store.cache.as_ref().unwrap();
        assert!(cache.len() <= 3 && cache.bytes() <= 5000, "{name}: {} files, {} bytes", cache.len(), cache.bytes());
    }
    let kept = |bench: &Bench| ["a", "b", "c", "d", "e", "f"].map(|name| bench.keeps(name));
    assert_eq!(kept(&bench), [true, true, false, false, true, false], "c is too long, d too much, f one too many");
    let later = bench.store.turn.now + 2 * age;
    bench.store.refresh(later);
    bench.heat("f");
    assert_eq!(kept(&bench), [false, false, false, false, false, true]);
}

#[test]
fn larger_files_are_kept_open_within_their_bounds_until_they_change() {
    let dir = TempDir::new().unwrap();
    let limits = Fixed { cache_file_bytes_max: 2, cache_open_max: 2, cache_open_bytes_max: 4, ..Fixed::default() };
    let age = limits.cache_age_max;
    let Some(mut bench) = bench(&dir, limits) else { return };
    for name in ["one", "two", "three"] {
        std::fs::write(bench.path(name), "old").unwrap();
        bench.heat(name);
    }
    std::fs::write(bench.path("long"), "longer").unwrap();
    bench.heat("long");
    let kept = |bench: &Bench| ["one", "two", "three", "long"].map(|name| bench.keeps(name));
    assert_eq!(kept(&bench), [true, true, false, false]);
    assert_eq!((bench.store.cache.as_ref().unwrap().open(), dir_descriptors(&dir)), (2, 2));
    let (file, ..) = bench.open_file("one").unwrap();
    std::fs::write(bench.path("new"), "new").unwrap();
    std::fs::rename(bench.path("new"), bench.path("one")).unwrap();
    std::fs::remove_file(bench.path("two")).unwrap();
    assert_eq!(bench.read("one").unwrap(), b"new");
    assert_eq!(bench.read("two").unwrap_err(), Failure::NotFound);
    let mut bytes = [0; 3];
    assert_eq!(bench.store.read_now(file, 0, &mut bytes).unwrap(), ReadNow::Bytes(3));
    assert_eq!(&bytes, b"old", "a client that was being sent the old version gets all of it");
    assert!(bench.run(Op::Close { file }).is_ok());
    assert_eq!((bench.store.cache.as_ref().unwrap().open(), dir_descriptors(&dir)), (1, 1), "the new one is kept");
    let later = bench.store.turn.now + 2 * age;
    bench.store.refresh(later);
    bench.heat("three");
    std::fs::write(bench.path("two"), "new").unwrap();
    bench.heat("two");
    assert_eq!(kept(&bench), [false, true, true, false], "the one that was not asked for made room");
}

/// Files under a directory that this process has open.
fn dir_descriptors(dir: &TempDir) -> usize {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
    let staging = dir.path().join(".filewharf");
    open.filter(|path| path.starts_with(dir.path()) && path != dir.path() && !path.starts_with(&staging)).count()
}

#[test]
fn after_a_while_a_kept_file_is_read_again() {
    let dir = TempDir::new().unwrap();
    let limits = Fixed::default();
    let age = limits.cache_age_max;
    let Some(mut bench) = bench(&dir, limits) else { return };
    std::fs::write(bench.path("f"), "old").unwrap();
    bench.heat("f");
    // As if the kernel had not reported the change, which it does for a store through a mapping.
    std::fs::write(bench.path("f"), "new").unwrap();
    bench.store.cache.as_mut().unwrap().deafen();
    assert_eq!(bench.read("f").unwrap(), b"old", "no cache was informed, so this test shows something");
    let later = bench.store.turn.now + age;
    bench.store.refresh(later);
    assert_eq!(bench.read("f").unwrap(), b"new");
}

#[test]
fn the_kernel_is_asked_once_for_all_that_was_received_and_again_after_a_change_of_our_own() {
    let dir = TempDir::new().unwrap();
    let Some(mut bench) = bench(&dir, Fixed::default()) else { return };
    for name in ["f", "g"] {
        std::fs::write(bench.path(name), "old").unwrap();
        bench.heat(name);
    }
    let open = |bench: &mut Bench, name| match bench.store.try_now(CONN, Op::Open { key: key(name) }) {
        Ok(Completion { result: Ok(Outcome::Opened { meta, .. }), .. }) => meta,
        other => panic!("{other:?}"),
    };
    let old = open(&mut bench, "f");
    std::fs::write(bench.path("f"), "newer").unwrap();
    assert_eq!(open(&mut bench, "f"), old, "this request was here before the change");
    bench.store.received();
    let newer = open(&mut bench, "f");
    assert_eq!(newer, meta_of(&bench.path("f")));
    // Nothing is received while an upload ends, but a reader that waited for it must see it.
    let stored =
        bench.complete(Op::Store { put: Box::new(put("g", None, Precondition::None)), chunk: chunk(b"newest") });
    assert!(stored.result.is_ok());
    assert_eq!(open(&mut bench, "g"), meta_of(&bench.path("g")));
}

#[test]
fn two_names_of_one_file_do_not_stand_in_each_others_way() {
    let dir = TempDir::new().unwrap();
    let Some(mut bench) = bench(&dir, Fixed::default()) else { return };
    std::fs::write(bench.path("a"), "old").unwrap();
    std::fs::hard_link(bench.path("a"), bench.path("b")).unwrap();
    for new in ["new", "newer", "newest"] {
        bench.heat("a");
        bench.heat("b");
        std::fs::write(bench.path("b"), new).unwrap();
        assert_eq!(bench.read("a").unwrap(), new.as_bytes());
        assert_eq!(bench.read("b").unwrap(), new.as_bytes());
    }
    std::fs::remove_file(bench.path("a")).unwrap();
    assert_eq!(bench.read("a").unwrap_err(), Failure::NotFound);
    assert_eq!(bench.read("b").unwrap(), b"newest");
}

/// A file was forgotten for a change of its own, and everything for another one reported in the same
/// breath: the watch of the first was never ended.
#[test]
fn what_is_forgotten_is_not_watched_any_more() {
    let dir = TempDir::new().unwrap();
    let Some(mut bench) = bench(&dir, Fixed::default()) else { return };
    std::fs::create_dir(dir.path().join("folder")).unwrap();
    for name in ["a", "folder/b"] {
        std::fs::write(dir.path().join(name), "x").unwrap();
        bench.heat(name);
        assert!(bench.keeps(name));
    }
    std::fs::rename(dir.path().join("a"), dir.path().join("c")).unwrap();
    std::fs::rename(dir.path().join("folder"), dir.path().join("moved")).unwrap();
    // Asked for once, and so not worth a watch.
    bench.read("c").unwrap();
    let cache = bench.store.cache.as_ref().unwrap();
    assert_eq!((cache.len(), cache.watches()), (0, 0));
}
