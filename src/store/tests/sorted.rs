//! Listings in other orders than that of bytes: pages are parts of one order, whatever the windows and the bounds.

use std::fs;
use std::sync::atomic::Ordering;

use super::*;
use crate::order::{By, Order};
use crate::platform::Hides;

const NAMES: usize = 300;

/// A directory with files of different sizes and a few directories: each name with its size.
fn make(bench: &Bench) -> Vec<(String, bool, i64)> {
    fs::create_dir(bench.path("d")).unwrap();
    let mut made = Vec::new();
    for n in 0..NAMES {
        let name = format!("{}{}", ["file-", "File ", "x"][n % 3], n * 7919 % 1000);
        let (is_dir, size) = (n % 11 == 0, n * 31 % 50);
        match is_dir {
            true => fs::create_dir(bench.path(&format!("d/{name}"))).unwrap(),
            false => fs::write(bench.path(&format!("d/{name}")), vec![b'x'; size]).unwrap(),
        }
        made.push((name, is_dir, if is_dir { 0 } else { size as i64 }));
    }
    made
}

fn page(bench: &mut Bench, order: &Order, after: Option<String>, limit: usize, hides: Option<Hides>) -> Listing {
    let op = Op::List {
        key: key("d"),
        recursive: false,
        after: after.map(Into::into),
        limit,
        bytes_max: 1 << 20,
        details: Details::default(),
        hides,
        order: order.clone(),
    };
    match bench.run(op) {
        Ok(Outcome::Listed(listing)) => listing,
        other => panic!("{other:?}"),
    }
}

fn orders() -> Vec<Order> {
    let mut orders = vec![Order { filter: Some("file".into()), ..Order::default() }];
    for by in [By::Name, By::Size] {
        for (descending, filter) in [(false, None), (true, None), (false, Some("e 1")), (true, Some("FILE"))] {
            orders.push(Order { by, descending, filter: filter.map(|text| text.to_lowercase().into()) });
        }
    }
    orders
}

#[test]
fn the_pages_of_every_order_are_the_names_in_that_order_also_where_windows_are_small_and_names_hidden() {
    for window in [2048, 4 << 20] {
        let dir = TempDir::new().unwrap();
        let limits = Fixed { list_window_bytes: window, ..Fixed::default() };
        let mut bench = Bench::open_limited(dir.path(), &StoreConfig::default(), limits);
        let made = make(&bench);
        for (order, hidden) in orders().into_iter().flat_map(|order| [(order.clone(), '-'), (order, '7')]) {
            let is_shown = |name: &str| order.has(name) && !name.ends_with(hidden);
            let mut want: Vec<_> = made.iter().filter(|(name, ..)| is_shown(name)).collect();
            want.sort_by_key(|(name, is_dir, size)| {
                order.key(name, *is_dir, if order.by == By::Size { *size } else { 0 })
            });
            let hides = (hidden == '7').then(|| Hides(Arc::new(move |name: &str| name.ends_with(hidden))));
            let (mut names, mut after) = (Vec::new(), None);
            loop {
                let listing = page(&mut bench, &order, after, 23, hides.clone());
                assert_eq!(listing.total, hides.is_none().then_some(want.len() as u64));
                assert!(!listing.more || listing.entries.len() == 23);
                names.extend(listing.entries.iter().map(|entry| entry.name.to_string()));
                if !listing.more {
                    break;
                }
                after = listing.entries.last().map(|last| order.cursor(last));
            }
            assert!(names.iter().eq(want.iter().map(|(name, ..)| name)), "{order:?} {window}: {names:?}");
        }
    }
}

#[test]
fn a_directory_is_read_again_for_the_first_page_by_size_and_not_for_the_others() {
    let dir = TempDir::new().unwrap();
    let mut bench = Bench::open(dir.path(), &StoreConfig::default());
    make(&bench);
    for (by, first) in [(By::Name, 0), (By::Size, 1)] {
        let order = Order { by, ..Order::default() };
        let reads = |bench: &Bench| bench.store.fs.windows.reads.load(Ordering::Relaxed);
        if !bench.store.fs.caps.local {
            return;
        }
        // Until the directory has been at rest for long enough.
        let last = loop {
            let last = page(&mut bench, &order, None, 10, None).entries.pop().unwrap();
            let before = reads(&bench);
            page(&mut bench, &order, Some(order.cursor(&last)), 10, None);
            if reads(&bench) == before {
                break last;
            }
        };
        let before = reads(&bench);
        page(&mut bench, &order, None, 10, None);
        assert_eq!(reads(&bench) - before, first, "{by:?}");
        page(&mut bench, &order, Some(order.cursor(&last)), 10, None);
        assert_eq!(reads(&bench) - before, first, "{by:?}");
    }
}

#[test]
fn a_file_that_has_grown_is_sorted_by_its_new_size() {
    let dir = TempDir::new().unwrap();
    let mut bench = Bench::open(dir.path(), &StoreConfig::default());
    make(&bench);
    let order = Order { by: By::Size, descending: true, filter: Some("x".into()) };
    for size in [100, 0, 200] {
        fs::write(bench.path("d/x838"), vec![b'x'; size]).unwrap();
        let listing = page(&mut bench, &order, None, 1000, None);
        let files: Vec<_> = listing.entries.iter().filter(|entry| !entry.is_dir).collect();
        assert_eq!(files.first().is_some_and(|entry| *entry.name == *"x838"), size > 0, "{size}");
    }
}

#[test]
fn listings_that_wait_for_each_other_all_end() {
    in_every_mode(|bench| {
        make(bench);
        let order = Order { by: By::Mtime, ..Order::default() };
        let conns: Vec<_> = (1..40).map(|n| OpId::from(ConnId::new(n, 0))).collect();
        for conn in &conns {
            let (after, bytes_max, details, hides) = (None, 1 << 20, Details::default(), None);
            let (key, order, recursive) = (key("d"), order.clone(), false);
            bench.store.submit(
                *conn,
                None,
                Op::List { key, recursive, after, limit: 5, bytes_max, details, hides, order },
            );
        }
        for _ in &conns {
            assert!(matches!(bench.next().result, Ok(Outcome::Listed(_))));
        }
    });
}
