//! Recursive listings: their order, their pages, what is hidden, and what happens beside them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::order::Order;
use crate::platform::Hides;

/// A page of all names under a directory.
fn page(
    bench: &mut Bench,
    dir: &str,
    after: Option<&str>,
    limit: usize,
    hides: Option<&Hides>,
) -> Result<Listing, Failure> {
    let op = Op::List {
        key: key(dir),
        recursive: true,
        order: Order::default(),
        after: after.map(Into::into),
        limit,
        bytes_max: 1 << 20,
        details: Details::default(),
        hides: hides.cloned(),
    };
    match bench.run(op)? {
        Outcome::Listed(listing) => Ok(listing),
        other => panic!("{other:?}"),
    }
}

/// Every name, in pages of this many; directories end in `/`.
fn walk(bench: &mut Bench, dir: &str, limit: usize, hides: Option<&Hides>) -> Vec<String> {
    let (mut names, mut after) = (Vec::new(), None::<String>);
    loop {
        let listing = page(bench, dir, after.as_deref(), limit, hides).unwrap();
        assert!(listing.entries.len() <= limit && !(listing.more && listing.entries.is_empty()), "{listing:?}");
        after = listing.entries.last().map(|entry| entry.name.to_string());
        let slash = |is_dir| if is_dir { "/" } else { "" };
        names.extend(listing.entries.iter().map(|entry| format!("{}{}", entry.name, slash(entry.is_dir))));
        if !listing.more {
            return names;
        }
    }
}

/// Files with their directories.
fn make(bench: &Bench, files: &[&str]) {
    for file in files {
        let path = bench.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if file.ends_with('/') { fs::create_dir_all(path).unwrap() } else { fs::write(path, "x").unwrap() }
    }
}

const TREE: [&str; 9] = ["a/b/c", "a/b-c", "a-b", "a.b/x", "b", "e/e/e/", "a/b/d/f", "z/", "a/a"];
const ORDER: [&str; 17] = [
    "a/", "a/a", "a/b/", "a/b/c", "a/b/d/", "a/b/d/f", "a/b-c", "a-b", "a.b/", "a.b/x", "b", "e/", "e/e/", "e/e/e/",
    "z/", "~/", "~/\u{fc}",
];

#[test]
fn names_come_in_byte_order_component_by_component_in_pages_of_every_size() {
    in_every_mode(|bench| {
        make(bench, &TREE.map(|file| format!("t/{file}")).each_ref().map(|file| &**file));
        make(bench, &["t/~/\u{fc}", "t-not", "s/x"]);
        for limit in 1..=ORDER.len() + 1 {
            assert_eq!(walk(bench, "t", limit, None), ORDER, "{limit}");
        }
        let of_root = walk(bench, "", 3, None);
        let expected = ORDER.map(|name| format!("t/{name}"));
        assert!(of_root.windows(expected.len()).any(|names| names == expected), "{of_root:?}");
        assert!(of_root.contains(&"s/x".to_owned()) && !of_root.iter().any(|name| name.contains(".filewharf")));
    });
}

#[test]
fn a_page_continues_after_a_name_whether_it_is_there_or_not() {
    in_every_mode(|bench| {
        make(bench, &TREE);
        for (after, next) in [
            ("a/b", Some("a/b/c")),
            ("a/b/", Some("a/b/c")),
            ("a/b/c", Some("a/b/d/")),
            ("a/b/c/gone", Some("a/b/d/")),
            ("a/b/bb/x", Some("a/b/c")),
            ("a/b/d/z", Some("a/b-c")),
            ("a/bz/q", Some("a-b")),
            ("0", Some("a/")),
            ("e/e/e", Some("z/")),
            ("zz", None),
        ] {
            let listing = page(bench, "", Some(after), 1, None).unwrap();
            let name =
                listing.entries.first().map(|entry| format!("{}{}", entry.name, if entry.is_dir { "/" } else { "" }));
            assert_eq!(name.as_deref(), next, "{after}");
        }
        for bad in ["../x", "a/../b", "/", "", "a//b", ".", "a/./b"] {
            let refused = page(bench, "", Some(bad), 1, None);
            assert!(matches!(refused, Err(Failure::Malformed(_))), "{bad} {refused:?}");
        }
        assert!(matches!(page(bench, "b", None, 1, None), Err(Failure::Conflict(_))));
        assert_eq!(page(bench, "none", None, 1, None), Err(Failure::NotFound));
        assert_eq!(page(bench, "none", Some("x/y"), 1, None), Err(Failure::NotFound));
    });
}

#[test]
fn what_is_hidden_is_left_out_with_all_that_is_in_it_and_takes_no_place() {
    in_every_mode(|bench| {
        make(bench, &TREE);
        // `a/b` is not shown; `e` is, and what is in it is not.
        let hides = Hides(Arc::new(|path| path == "a/b" || path == "e/"));
        let shown = ["a/", "a/a", "a/b-c", "a-b", "a.b/", "a.b/x", "b", "e/", "z/"];
        for limit in 1..=shown.len() + 1 {
            assert_eq!(walk(bench, "", limit, Some(&hides)), shown, "{limit}");
        }
        let inside = page(bench, "", Some("a/b/c"), 1, Some(&hides)).unwrap();
        assert_eq!(&*inside.entries[0].name, "a/b-c", "a page that begins in it shows no more");
        let all = Hides(Arc::new(|_| true));
        assert_eq!(walk(bench, "", 1, Some(&all)), [""; 0]);
    });
}

#[test]
fn many_directories_that_hold_nothing_are_listed_and_end() {
    in_every_mode(|bench| {
        let names: Vec<String> = (0..300).map(|n| format!("d{n:03}/in/")).collect();
        make(bench, &names.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(walk(bench, "", 7, None).len(), 600);
    });
}

#[test]
fn a_directory_that_cannot_be_read_is_shown_as_one_that_was_not_looked_at() {
    if rustix::process::geteuid().is_root() {
        return; // who may read everything
    }
    in_every_mode(|bench| {
        make(bench, &["a/x", "shut/x", "z"]);
        fs::set_permissions(bench.path("shut"), fs::Permissions::from_mode(0o0)).unwrap();
        for limit in 1..5 {
            assert_eq!(walk(bench, "", limit, None), ["a/", "a/x", "shut/", "z"], "{limit}");
        }
        let listing = page(bench, "", None, 9, None).unwrap();
        assert_eq!(listing.entries[2].node, None);
        fs::set_permissions(bench.path("shut"), fs::Permissions::from_mode(0o755)).unwrap();
    });
}

#[test]
fn names_that_no_protocol_can_carry_are_counted_once_in_all_pages() {
    use std::os::unix::ffi::OsStrExt as _;
    in_every_mode(|bench| {
        make(bench, &["a/x", "a/y", "b/c/", "z"]);
        for dir in ["", "a", "b/c"] {
            fs::write(bench.path(dir).join(std::ffi::OsStr::from_bytes(b"caf\xe9")), "").unwrap();
        }
        for limit in 1..8 {
            let (mut unlisted, mut after) = (0, None::<String>);
            loop {
                let listing = page(bench, "", after.as_deref(), limit, None).unwrap();
                unlisted += listing.unlisted;
                after = listing.entries.last().map(|entry| entry.name.to_string());
                if !listing.more {
                    break;
                }
            }
            assert_eq!(unlisted, 3, "{limit}");
        }
    });
}

#[test]
fn names_deeper_than_a_protocol_can_carry_end_no_listing() {
    in_every_mode(|bench| {
        let deep = vec!["d"; 70].join("/");
        make(bench, &[&format!("{deep}/x"), "z"]);
        let names = walk(bench, "", 10, None);
        assert_eq!(names.len(), 65);
        assert_eq!(names.last().map(String::as_str), Some("z"));
        assert_eq!(page(bench, "", None, 100, None).unwrap().unlisted, 1);
    });
}

#[test]
fn what_changes_between_two_pages_is_shown_if_it_is_ahead_and_the_rest_is_complete() {
    in_every_mode(|bench| {
        make(bench, &["a/1", "a/2", "b/1", "c/d/1", "c/d/2", "e"]);
        let first = page(bench, "", None, 3, None).unwrap();
        assert_eq!(first.entries.iter().map(|entry| &*entry.name).collect::<Vec<_>>(), ["a", "a/1", "a/2"]);
        fs::remove_dir_all(bench.path("a")).unwrap();
        fs::remove_dir_all(bench.path("b")).unwrap();
        make(bench, &["a0/x", "c/c", "c/d/0", "0"]);
        let rest = page(bench, "", Some("a/2"), 99, None).unwrap();
        let names: Vec<_> = rest.entries.iter().map(|entry| &*entry.name).collect();
        assert_eq!(names, ["a0", "a0/x", "c", "c/c", "c/d", "c/d/0", "c/d/1", "c/d/2", "e"]);
    });
}

#[test]
fn a_tree_larger_than_the_windows_is_listed_whole() {
    let dir = TempDir::new().unwrap();
    let limits = Fixed { list_window_bytes: 512, list_kept_bytes_max: 1024, ..Fixed::default() };
    let mut bench = Bench::open_limited(dir.path(), &StoreConfig::default(), limits);
    let mut all = BTreeSet::new();
    for outer in 0..40 {
        for inner in 0..5 {
            let file = format!("o{outer:02}/i{inner}/f");
            make(&bench, &[&file]);
            all.extend([file, format!("o{outer:02}/i{inner}/"), format!("o{outer:02}/")]);
        }
    }
    for limit in [1, 7, 1000] {
        let names = walk(&mut bench, "", limit, None);
        assert_eq!(names.len(), all.len(), "{limit}");
        assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), all, "{limit}");
    }
}

#[test]
fn a_link_to_a_directory_above_it_is_shown_and_not_followed() {
    let dir = TempDir::new().unwrap();
    let config = StoreConfig { links_inside: true, ..StoreConfig::default() };
    let mut bench = Bench::open_limited(dir.path(), &config, Fixed::default());
    make(&bench, &["a/b/f", "c/x"]);
    std::os::unix::fs::symlink("..", bench.path("a/b/up")).unwrap();
    std::os::unix::fs::symlink("../c", bench.path("a/c")).unwrap();
    for limit in 1..9 {
        let names = walk(&mut bench, "", limit, None);
        assert_eq!(names, ["a/", "a/b/", "a/b/f", "a/b/up/", "a/c/", "a/c/x", "c/", "c/x"], "{limit}");
    }
}

#[test]
fn a_page_ends_before_what_is_mounted_and_the_next_one_begins_there() {
    in_every_mode(|bench| {
        make(bench, &["a/x", "vol/a", "vol/b/c", "z"]);
        bench.store.fs.mounts.set(&["vol"]);
        let first = page(bench, "", None, 99, None).unwrap();
        assert_eq!(first.entries.iter().map(|entry| &*entry.name).collect::<Vec<_>>(), ["a", "a/x", "vol"]);
        assert!(first.more);
        for limit in 1..9 {
            let all = ["a/", "a/x", "vol/", "vol/a", "vol/b/", "vol/b/c", "z"];
            assert_eq!(walk(bench, "", limit, None), all, "{limit}");
        }
    });
}
