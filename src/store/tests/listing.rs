//! Directories that are listed page by page: how often they are read, and that no page is stale.

use std::fs;
use std::sync::atomic::Ordering;

use super::*;
use crate::order::Order;
use crate::platform::Hides;

const FILES: usize = 600;

/// A directory with many files, listed until the store keeps its names; false where none are kept.
fn make_many(bench: &mut Bench) -> bool {
    fs::create_dir(bench.path("many")).unwrap();
    for n in 0..FILES {
        fs::write(bench.path(&format!("many/{n:05}")), "").unwrap();
    }
    // Only one that has been at rest for a tick is kept.
    while bench.store.fs.caps.local && reads(bench, |bench| drop(bench.list("many", None, 1).unwrap())) > 0 {}
    bench.store.fs.caps.local
}

/// How often directories are read meanwhile.
fn reads(bench: &mut Bench, body: impl FnOnce(&mut Bench)) -> u64 {
    let fs = Arc::clone(&bench.store.fs);
    let before = fs.windows.reads.load(Ordering::Relaxed);
    body(bench);
    fs.windows.reads.load(Ordering::Relaxed) - before
}

/// Every name, asked for in pages.
fn walk(bench: &mut Bench, limit: usize) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    loop {
        let page = bench.list("many", names.last().map(String::as_str), limit).unwrap();
        names.extend(page.entries.iter().map(|entry| entry.name.to_string()));
        if !page.more {
            return names;
        }
    }
}

fn all() -> Vec<String> {
    (0..FILES).map(|n| format!("{n:05}")).collect()
}

#[test]
fn a_walk_through_all_pages_reads_a_directory_once_while_it_does_not_change() {
    in_every_mode(|bench| {
        let keeps = make_many(bench);
        let reads = reads(bench, |bench| assert_eq!(walk(bench, 7), all()));
        assert!(!keeps || reads == 0, "{reads}: its names had been kept");
    });
}

#[test]
fn a_directory_larger_than_a_window_is_read_once_for_each_of_them() {
    let dir = TempDir::new().unwrap();
    let limits = Fixed { list_window_bytes: 4096, ..Fixed::default() };
    let mut bench = Bench::open_limited(dir.path(), &StoreConfig::default(), limits);
    let keeps = make_many(&mut bench);
    let reads = reads(&mut bench, |bench| assert_eq!(walk(bench, 7), all()));
    // A window of this many bytes takes 256 names, and half of them where more are left.
    assert!(!keeps || reads <= FILES as u64 / 128, "{reads} times for {FILES} names");
}

#[test]
fn a_listing_shows_every_change_that_went_before_it() {
    in_every_mode(|bench| {
        if make_many(bench) {
            fs::write(bench.path("many/new"), "").unwrap();
            assert_eq!(walk(bench, 500).len(), FILES + 1);
        }
        // Many changes come within one tick of the clock by which a directory gets its times.
        for n in 0..200 {
            fs::write(bench.path(&format!("many/x{n:03}")), "").unwrap();
            assert!(bench.list("many", Some("x"), 999).unwrap().entries.len() == n + 1, "{n}");
        }
        for n in 0..20 {
            bench.store_file(&format!("many/y{n:03}"), b"", Precondition::None).unwrap();
            assert!(bench.list("many", Some("y"), 999).unwrap().entries.len() == n + 1, "{n}");
        }
    });
}

#[test]
fn names_that_are_hidden_take_no_place_and_tell_nothing_also_after_the_end_of_a_window() {
    let dir = TempDir::new().unwrap();
    let limits = Fixed { list_window_bytes: 4096, ..Fixed::default() };
    let mut bench = Bench::open_limited(dir.path(), &StoreConfig::default(), limits);
    make_many(&mut bench);
    let shown: Vec<String> = all().into_iter().filter(|name| name.ends_with('3') && **name < *"00400").collect();
    let names = shown.clone();
    let hides = Hides(Arc::new(move |name| !names.iter().any(|shown| shown == name)));
    for limit in 1..=shown.len() + 1 {
        let mut after = None;
        for page in shown.chunks(limit) {
            let op = Op::List {
                key: key("many"),
                recursive: false,
                order: Order::default(),
                after: after.take(),
                limit,
                bytes_max: 1 << 20,
                details: Details::default(),
                hides: Some(hides.clone()),
            };
            let Ok(Outcome::Listed(listing)) = bench.run(op) else { panic!("no page") };
            let names: Vec<_> = listing.entries.iter().map(|entry| &*entry.name).collect();
            assert_eq!(names, page, "{limit}");
            assert_eq!(listing.more, page.last() != shown.last(), "{limit}");
            after = page.last().map(|name| name.as_str().into());
        }
    }
}
