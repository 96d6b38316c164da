//! Quotas: what is stored under a prefix never grows over them, and what uploads hold comes back.

use super::*;
use crate::config::{Quota, QuotaUnit};
use crate::os::process::clock;
use crate::store::quota::count::{Count, Step};

const FULL: Failure = Failure::OverQuota;

pub(super) fn with_quotas(quotas: &[(&str, u64)]) -> StoreConfig {
    let quota =
        |(prefix, bytes_max): &(&str, u64)| Quota { prefix: (*prefix).into(), unit: QuotaUnit::Bytes, max: *bytes_max };
    StoreConfig { quotas: quotas.iter().map(quota).collect(), ..StoreConfig::default() }
}

fn in_quota_modes(quotas: &[(&str, u64)], body: impl Fn(&mut Bench)) {
    for durability in [Durability::Durable, Durability::Written] {
        let dir = TempDir::new().unwrap();
        let config = StoreConfig { durability, ..with_quotas(quotas) };
        let mut bench = Bench::open(dir.path(), &config);
        body(&mut bench);
        let [mut counted, mut kept] = [(); 2].map(|()| Vec::new());
        for (prefix, _) in quotas {
            kept.push(bench.account(prefix));
        }
        bench.count_again();
        for (prefix, _) in quotas {
            counted.push(bench.account(prefix));
        }
        assert_eq!(kept, counted, "{durability:?}: a count finds other numbers");
    }
}

impl Bench {
    /// Bytes stored under a prefix, and held for uploads.
    pub(super) fn account(&self, prefix: &str) -> (Option<u64>, u64) {
        let books = self.store.pool.volume.names.quotas.books();
        let account = books.accounts.values().find(|account| &*account.prefix == prefix).expect("a quota");
        assert_eq!((account.pending, books.changes.len()), (0, 0), "no change is under way");
        (account.stored, account.reserved)
    }

    /// Counts all prefixes, from now to the end.
    pub(super) fn count_again(&self) {
        let quotas = &self.store.pool.volume.names.quotas;
        quotas.books().make_due(clock());
        while let Some(mut count) = Count::begin(quotas) {
            while let Step::GoesOn(next) = count.step(&self.store.fs, quotas) {
                count = next;
            }
        }
    }

    pub(super) fn write(&mut self, file: FileId, offset: u64, len: usize) -> Result<(), Failure> {
        self.store.write_now(file, offset, &vec![7; len]).map_err(|error| error.failure)
    }

    pub(super) fn abort(&mut self, file: FileId) {
        self.run(Op::Abort { file }).unwrap();
    }

    pub(super) fn shift(&mut self, from: &str, to: &str) -> Result<(), Failure> {
        self.rename(from, to, Precondition::None).map(drop)
    }
}

#[test]
fn an_upload_that_does_not_fit_beside_what_is_stored_and_held_is_refused_before_its_body() {
    in_quota_modes(&[("q", 1000)], |bench| {
        bench.store_file("q/a", &[1; 300], Precondition::None).unwrap();
        let file = bench.create("q/b", Some(500), Precondition::None).unwrap();
        assert_eq!(bench.account("q"), (Some(300), 500));
        assert_eq!(bench.create("q/c", Some(201), Precondition::None), Err(FULL));
        assert_eq!(bench.store_file("q/c", &[1; 201], Precondition::None), Err(FULL));
        bench.store_file("elsewhere", &[1; 2000], Precondition::None).unwrap();
        bench.store_file("qq", &[1; 2000], Precondition::None).unwrap();
        bench.store_file("q/c", &[1; 200], Precondition::None).unwrap();
        bench.write(file, 0, 500).unwrap();
        bench.commit(file, "q/b", 500, Precondition::None).unwrap();
        assert_eq!(bench.account("q"), (Some(1000), 0));
        assert_eq!(bench.store_file("q/d", b"1", Precondition::None), Err(FULL));
        bench.store_file("q/d", b"", Precondition::None).unwrap();
        bench.delete("q/a", Precondition::None).unwrap();
        assert_eq!(bench.account("q"), (Some(700), 0));
    });
}

#[test]
fn an_upload_of_unknown_length_is_refused_in_the_middle() {
    in_quota_modes(&[("", 3 << 20)], |bench| {
        let file = bench.create("f", None, Precondition::None).unwrap();
        bench.write(file, 0, 100).unwrap();
        assert_eq!(bench.account(""), (Some(0), 1 << 20), "it holds a step");
        bench.write(file, 100, (2 << 20) - 100).unwrap();
        bench.store_file("g", &[1; 1000], Precondition::None).unwrap();
        bench.write(file, 2 << 20, (1 << 20) - 1000).unwrap();
        assert_eq!(bench.account(""), (Some(1000), (3 << 20) - 1000), "less than a step was left");
        assert_eq!(bench.write(file, (3 << 20) - 1000, 1), Err(FULL));
        assert_eq!(bench.commit(file, "f", (3 << 20) - 1000, Precondition::None), Err(FULL), "its error is final");
        assert_eq!(bench.account(""), (Some(1000), 0));
        let file = bench.create("f", None, Precondition::None).unwrap();
        bench.write(file, 0, 100).unwrap();
        bench.commit(file, "f", 100, Precondition::None).unwrap();
        assert_eq!(bench.account(""), (Some(1100), 0));
        bench.store_file("rest", &vec![1; (3 << 20) - 1100], Precondition::None).unwrap();
        assert_eq!(bench.create("x", None, Precondition::None), Err(FULL), "a full quota is reported at once");
    });
}

#[test]
fn a_quota_of_names_bounds_how_many_files_are_there_whatever_they_hold() {
    let dir = TempDir::new().unwrap();
    let quota = Quota { prefix: "q".into(), unit: QuotaUnit::Names, max: 3 };
    let config = StoreConfig { quotas: vec![quota], ..StoreConfig::default() };
    let mut bench = Bench::open(dir.path(), &config);
    let store =
        |bench: &mut Bench, name: &str, bytes: &[u8]| bench.store_file(name, bytes, Precondition::None).map(drop);
    for name in ["q/a", "q/b", "q/deep/c"] {
        store(&mut bench, name, b"").unwrap();
    }
    assert_eq!(store(&mut bench, "q/d", b""), Err(FULL));
    assert_eq!(store(&mut bench, "q/deep/d", &[1; 1000]), Err(FULL));
    store(&mut bench, "q/b", &[1; 1000]).unwrap();
    store(&mut bench, "x", b"").unwrap();
    assert_eq!(bench.shift("x", "q/x"), Err(FULL));
    bench.shift("x", "q/b").unwrap();
    bench.shift("q/b", "q/elsewhere").unwrap();
    bench.shift("q/a", "q/elsewhere").unwrap();
    assert_eq!(bench.account("q"), (Some(2), 0), "one has replaced another");
    let file = bench.create("q/unknown", None, Precondition::None).unwrap();
    store(&mut bench, "q/last", b"").unwrap();
    bench.write(file, 0, 1000).unwrap();
    assert_eq!(bench.commit(file, "q/unknown", 1000, Precondition::None).map(drop), Err(FULL));
    bench.delete("q/last", Precondition::None).unwrap();
    bench.shift("q/deep/c", "out").unwrap();
    assert_eq!(bench.account("q"), (Some(1), 0));
    bench.count_again();
    assert_eq!(bench.account("q"), (Some(1), 0), "a count finds the same");
}

#[test]
fn what_is_replaced_counts_until_it_is_gone_and_no_longer() {
    in_quota_modes(&[("q", 1000)], |bench| {
        bench.store_file("q/f", &[1; 600], Precondition::None).unwrap();
        assert_eq!(bench.create("q/f", Some(500), Precondition::None), Err(FULL));
        bench.store_file("q/f", &[1; 400], Precondition::None).unwrap();
        assert_eq!(bench.account("q"), (Some(400), 0));
        bench.store_file("q/f", &[1; 600], Precondition::None).unwrap();
        assert_eq!(bench.account("q"), (Some(600), 0));
    });
}

#[test]
fn every_way_in_which_an_upload_ends_gives_back_what_it_held() {
    in_quota_modes(&[("q", 1000)], |bench| {
        let file = bench.create("q/f", Some(900), Precondition::None).unwrap();
        bench.abort(file);
        assert_eq!(bench.account("q"), (Some(0), 0), "aborted");
        let file = bench.create("q/f", Some(900), Precondition::None).unwrap();
        assert!(bench.commit(file, "q/f", 900, Precondition::None).is_err(), "its bytes are missing");
        assert_eq!(bench.account("q"), (Some(0), 0), "of another length");
        let file = bench.create("q/f", Some(3), Precondition::Absent).unwrap();
        bench.write(file, 0, 3).unwrap();
        bench.store_file("q/f", b"12345", Precondition::None).unwrap();
        assert_eq!(bench.commit(file, "q/f", 3, Precondition::Absent), Err(Failure::PreconditionFailed));
        assert_eq!(bench.account("q"), (Some(5), 0), "the name was taken");
        let file = bench.create("q/d", Some(3), Precondition::None).unwrap();
        bench.write(file, 0, 3).unwrap();
        std::fs::create_dir(bench.path("q/d")).unwrap();
        assert!(is_conflict(&bench.commit(file, "q/d", 3, Precondition::None)));
        assert_eq!(bench.account("q"), (Some(5), 0), "a folder has the name");
        assert!(bench.create("q/f/under", Some(3), Precondition::None).is_err());
        assert_eq!(bench.account("q"), (Some(5), 0), "refused");
    });
}

#[test]
fn a_file_that_is_moved_takes_its_bytes_along_and_a_folder_stays_within_its_quota() {
    in_quota_modes(&[("a", 1000), ("b", 100)], |bench| {
        bench.store_file("a/f", &[1; 60], Precondition::None).unwrap();
        bench.store_file("a/g", &[1; 200], Precondition::None).unwrap();
        bench.store_file("b/h", &[1; 30], Precondition::None).unwrap();
        bench.shift("a/f", "b/f").unwrap();
        assert_eq!((bench.account("a"), bench.account("b")), ((Some(200), 0), (Some(90), 0)));
        assert_eq!(bench.shift("a/g", "b/g"), Err(FULL));
        bench.shift("b/f", "b/h").unwrap();
        assert_eq!(bench.account("b"), (Some(60), 0), "what it replaced is gone");
        bench.shift("b/h", "out").unwrap();
        assert_eq!(bench.account("b"), (Some(0), 0));
        bench.store_file("a/d/f", &[1; 10], Precondition::None).unwrap();
        assert!(is_conflict(&bench.shift("a/d", "b/d")) && is_conflict(&bench.shift("a/d", "d")));
        bench.shift("a/d", "a/e").unwrap();
        assert_eq!(bench.account("a"), (Some(210), 0));
    });
}

#[test]
fn what_is_stored_counts_for_every_quota_above_it() {
    in_quota_modes(&[("", 1000), ("q", 500), ("q/deep/f", 50)], |bench| {
        bench.store_file("q/deep/f", &[1; 50], Precondition::None).unwrap();
        assert_eq!(bench.store_file("q/deep/f", &[1; 51], Precondition::None), Err(FULL));
        assert_eq!(bench.store_file("q/g", &[1; 451], Precondition::None), Err(FULL));
        bench.store_file("q/g", &[1; 450], Precondition::None).unwrap();
        assert_eq!(bench.store_file("f", &[1; 501], Precondition::None), Err(FULL));
        assert_eq!(["", "q", "q/deep/f"].map(|prefix| bench.account(prefix).0), [Some(500), Some(500), Some(50)]);
    });
}

#[test]
fn what_others_have_stored_counts_and_nothing_is_stored_before_it_was_counted() {
    let dir = TempDir::new().unwrap();
    let write = |name: &str, len: usize| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, vec![1; len]).unwrap();
    };
    for (name, len) in [("q/a", 10), ("q/x/y/b", 200), ("q/x/c", 3000), ("q-not/d", 40000), (".filewharf/e", 1)] {
        write(name, len);
    }
    std::os::unix::fs::symlink("a", dir.path().join("q/link")).unwrap();
    std::os::unix::fs::symlink("/", dir.path().join("q/root")).unwrap();
    fifo(&dir.path().join("q/fifo"));
    let mut bench = Bench::open(dir.path(), &with_quotas(&[("q", 10000), ("q/a", 100), ("none", 1), ("", 1 << 30)]));
    let stored = |bench: &Bench| ["q", "q/a", "none", ""].map(|prefix| bench.account(prefix).0.unwrap());
    assert_eq!(stored(&bench), [3210, 10, 0, 43210]);
    write("q/x/c", 4000);
    write("none", 5);
    bench.count_again();
    assert_eq!(stored(&bench), [4210, 10, 5, 44215]);
    // As if a reload had brought another.
    let quota = with_quotas(&[("q/x", 5000)]).quotas.remove(0);
    let quotas = &bench.store.pool.volume.names.quotas;
    quotas.set(&[quota], clock());
    assert_eq!(bench.account("q/x"), (None, 0));
    assert_eq!(bench.store_file("q/x/new", b"1", Precondition::None), Err(Failure::Counting));
    assert_eq!(bench.shift("q/x/y", "q/x/z"), Err(Failure::Counting));
    bench.store_file("q/new", b"1", Precondition::None).unwrap();
    bench.delete("q/x/y/b", Precondition::None).unwrap();
    bench.count_again();
    assert_eq!(bench.account("q/x"), (Some(4000), 0));
    bench.store.set_quotas(&[]);
    bench.store_file("q/x/new", &[1; 9000], Precondition::None).unwrap();
}

#[test]
fn an_upload_that_began_before_the_quota_is_checked_when_it_gets_its_name() {
    let dir = TempDir::new().unwrap();
    let mut bench = Bench::open(dir.path(), &StoreConfig::default());
    let files = [100, 101].map(|len| bench.create("q/f", Some(len), Precondition::None).unwrap());
    for (file, len) in files.into_iter().zip([100, 101]) {
        bench.write(file, 0, len).unwrap();
    }
    bench.store.set_quotas(&with_quotas(&[("q", 100)]).quotas);
    bench.count_again();
    assert_eq!(bench.commit(files[1], "q/f", 101, Precondition::None), Err(FULL));
    bench.commit(files[0], "q/f", 100, Precondition::None).unwrap();
    assert_eq!(bench.account("q"), (Some(100), 0));
}

#[test]
fn a_quota_that_became_smaller_refuses_what_was_held_under_the_larger() {
    let dir = TempDir::new().unwrap();
    let mut bench = Bench::open(dir.path(), &with_quotas(&[("q", 1000)]));
    bench.store_file("q/a", &[1; 100], Precondition::None).unwrap();
    let file = bench.create("q/b", Some(500), Precondition::None).unwrap();
    bench.write(file, 0, 500).unwrap();
    bench.store.set_quotas(&with_quotas(&[("q", 599)]).quotas);
    assert_eq!(bench.account("q"), (Some(100), 500), "its numbers stay");
    assert_eq!(bench.commit(file, "q/b", 500, Precondition::None), Err(FULL));
    assert_eq!(bench.account("q"), (Some(100), 0));
}

/// Small numbers that follow from a seed.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

pub(super) const MAX: [(&str, u64); 3] = [("", 9000), ("a", 4000), ("a/b", 2500)];
pub(super) const NAMES: [&str; 8] = ["f", "g", "a/f", "a/g", "a/d/f", "a/b/f", "a/b/g", "a/b/d/e/f"];
const DIRS: [(&str, &str); 4] = [("a/d", "a/c"), ("a/c", "a/d"), ("a/b/d", "a/d2"), ("a/b/d/e", "a/b/e")];

/// What a store should say: names with lengths, and what uploads hold.
#[derive(Default)]
struct Model {
    files: std::collections::BTreeMap<String, u64>,
    /// Open staging files, with their names, announced lengths and what was written.
    open: Vec<(FileId, String, Option<u64>, u64)>,
}

impl Model {
    fn is_in(path: &str, prefix: &str) -> bool {
        prefix.is_empty() || path == prefix || path.starts_with(&format!("{prefix}/"))
    }

    fn stored(&self, prefix: &str) -> u64 {
        self.files.iter().filter(|(path, _)| Self::is_in(path, prefix)).map(|(_, len)| len).sum()
    }

    /// Only of uploads with a length: what one without holds depends on the others.
    fn held(&self, prefix: &str) -> u64 {
        self.open.iter().filter(|(_, path, ..)| Self::is_in(path, prefix)).filter_map(|(_, _, len, _)| *len).sum()
    }

    /// Whether this many bytes more fit; `None` if an upload without a length makes that uncertain.
    fn fits(&self, path: &str, len: u64) -> Option<bool> {
        let above = || MAX.iter().filter(|(prefix, _)| Self::is_in(path, prefix));
        if above().any(|(prefix, max)| self.stored(prefix) + self.held(prefix) + len > *max) {
            return Some(false);
        }
        let is_certain = self.open.iter().all(|(_, _, len, _)| len.is_some());
        is_certain.then_some(true)
    }
}

impl Bench {
    /// One operation, in the store and in the model.
    fn random_step(&mut self, model: &mut Model, random: &mut Random) {
        let pick = |random: &mut Random| NAMES[random.below(NAMES.len() as u64) as usize];
        let (name, len) = (pick(random), random.below(1500));
        let expect = |result: Result<(), Failure>, fits: Option<bool>| match result {
            Ok(()) => assert_ne!(fits, Some(false), "{name} of {len} bytes is stored"),
            Err(failure) => {
                assert_eq!(failure, FULL);
                assert_ne!(fits, Some(true), "{name} of {len} bytes is refused");
            }
        };
        match random.below(9) {
            0 | 1 => {
                let (fits, stored) =
                    (model.fits(name, len), self.store_file(name, &vec![1; len as usize], Precondition::None));
                if stored.is_ok() {
                    model.files.insert(name.to_owned(), len);
                }
                expect(stored.map(drop), fits);
            }
            2 if model.open.len() < 4 => {
                let announced = (random.below(3) > 0).then_some(len);
                let (fits, created) =
                    (model.fits(name, announced.unwrap_or(1)), self.create(name, announced, Precondition::None));
                if let Ok(file) = created {
                    model.open.push((file, name.to_owned(), announced, 0));
                }
                expect(created.map(drop), fits);
            }
            3 | 4 if !model.open.is_empty() => {
                let at = random.below(model.open.len() as u64) as usize;
                let (file, name, announced, written) = model.open.swap_remove(at);
                let more = announced.map_or(len, |announced| announced - written);
                if random.below(4) == 0 || self.write(file, written, more as usize).is_err() {
                    self.abort(file);
                } else if announced.is_none() && random.below(2) == 0 {
                    model.open.push((file, name, announced, written + more));
                } else if self.commit(file, &name, written + more, Precondition::None).is_ok() {
                    model.files.insert(name, written + more);
                }
            }
            5 => {
                let deleted = self.delete(name, Precondition::None).is_ok();
                assert_eq!(deleted, model.files.remove(name).is_some());
            }
            6 => {
                let to = pick(random);
                if self.shift(name, to).is_ok()
                    && let Some(len) = model.files.remove(name)
                {
                    model.files.insert(to.to_owned(), len);
                }
            }
            7 => {
                let (from, to) = DIRS[random.below(4) as usize];
                if self.shift(from, to).is_ok() {
                    let moved =
                        |path: &String| path.strip_prefix(&format!("{from}/")).map(|rest| format!("{to}/{rest}"));
                    let files = std::mem::take(&mut model.files);
                    model.files = files.into_iter().map(|(path, len)| (moved(&path).unwrap_or(path), len)).collect();
                }
            }
            _ => drop(self.run(Op::Run(Whole::MakeDir {
                key: key(DIRS[random.below(4) as usize].1),
                parents: MissingParents::Make,
            }))),
        }
    }
}

#[test]
fn after_any_changes_the_numbers_are_those_of_a_model_and_of_a_fresh_count() {
    for seed in 0..12 {
        let dir = TempDir::new().unwrap();
        let config = StoreConfig { durability: Durability::Written, ..with_quotas(&MAX) };
        let (mut bench, mut model, mut random) = (Bench::open(dir.path(), &config), Model::default(), Random(seed));
        let mut count: Option<Box<Count>> = None;
        for step in 0..400 {
            bench.random_step(&mut model, &mut random);
            for (prefix, max) in MAX {
                let (stored, held) = bench.account(prefix);
                let stored = stored.expect("it was counted");
                assert_eq!(stored, model.stored(prefix), "seed {seed}, step {step}: /{prefix}");
                assert!(
                    held >= model.held(prefix) && stored + held <= max,
                    "seed {seed}, step {step}: /{prefix} {held}"
                );
            }
            // A count continues beside the changes.
            let quotas = Arc::clone(&bench.store.pool.volume.names.quotas);
            for _ in 0..random.below(6) {
                let Some(at_work) = &mut count else {
                    quotas.books().make_due(clock());
                    count = Count::begin(&quotas);
                    continue;
                };
                if !matches!(at_work.advance(&bench.store.fs, &quotas), Ok(None)) {
                    count = None;
                }
            }
        }
        for (file, ..) in std::mem::take(&mut model.open) {
            bench.abort(file);
        }
        bench.store.pool.volume.names.quotas.books().give_up_count();
        bench.count_again();
        for (prefix, _) in MAX {
            assert_eq!(bench.account(prefix), (Some(model.stored(prefix)), 0), "seed {seed}: /{prefix}");
        }
    }
}

#[test]
fn a_count_reads_and_looks_at_a_few_names_at_a_time() {
    const FILES: usize = 1000;
    let dir = TempDir::new().unwrap();
    std::fs::create_dir(dir.path().join("q")).unwrap();
    for n in 0..FILES {
        std::fs::write(dir.path().join(format!("q/{n}")), "x").unwrap();
    }
    let bench = Bench::open(dir.path(), &with_quotas(&[("q", 5000)]));
    let quotas = &bench.store.pool.volume.names.quotas;
    quotas.books().make_due(clock());
    let mut count = Count::begin(quotas).expect("it is due");
    let mut advances = 0;
    while let Ok(None) = count.advance(&bench.store.fs, quotas) {
        advances += 1;
    }
    assert!(advances > FILES + FILES / 20, "{advances} for {FILES} names that are read and looked at");
    assert_eq!(bench.account("q"), (Some(FILES as u64), 0));
}

#[test]
fn of_64_uploads_at_once_that_overshoot_together_those_that_fit_are_stored_while_it_is_counted() {
    let dir = TempDir::new().unwrap();
    let mut bench = Bench::open(dir.path(), &with_quotas(&[("q", 10 * 4096), ("", 1 << 30)]));
    bench.inline = false;
    for round in 0..4 {
        for n in 0..64 {
            let put = put(&format!("q/{round}/{}/f{n}", n % 5), Some(4096), Precondition::None);
            bench.store.submit(CONN, None, Op::Store { put: Box::new(put), chunk: chunk(&[1; 4096]) });
        }
        let mut stored = 0;
        for _ in 0..64 {
            bench.store.pool.volume.names.quotas.books().make_due(clock());
            bench
                .store
                .pool
                .queues
                .push(crate::store::pool::workers::WorkQueue::List, crate::store::pool::jobs::Job::Count(None));
            match bench.next().result {
                Ok(Outcome::Committed(_)) => stored += 1,
                Err(error) => assert_eq!(error.failure, FULL),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((stored, bench.account("q")), (10, (Some(40960), 0)), "round {round}");
        bench.count_again();
        assert_eq!(bench.account("q"), (Some(40960), 0));
        let names: Vec<_> = (0..64).map(|n| format!("q/{round}/{}/f{n}", n % 5)).collect();
        let deleted = names.iter().filter(|name| bench.delete(name, Precondition::None).is_ok()).count();
        assert_eq!((deleted, bench.account("q")), (10, (Some(0), 0)));
    }
}
