//! No name leaves the root, whatever links there are; what is not a file or directory does not exist.
use super::*;
use std::os::unix::fs::symlink;

/// A root with links out of it, inside it, and to nowhere; and what must stay untouched.
fn with_links(body: impl Fn(&mut Bench, &Path)) {
    in_every_mode(|bench| {
        let outside = TempDir::new().unwrap();
        std::fs::write(outside.path().join("secret"), b"secret").unwrap();
        std::fs::create_dir(bench.path("inside")).unwrap();
        std::fs::write(bench.path("inside/file"), b"inside").unwrap();
        symlink(outside.path(), bench.path("out")).unwrap();
        symlink(outside.path().join("secret"), bench.path("leaf")).unwrap();
        symlink("/nowhere/at/all", bench.path("dangling")).unwrap();
        symlink("..", bench.path("inside/up")).unwrap();
        symlink("inside", bench.path("link")).unwrap();
        fifo(&bench.path("fifo"));
        body(bench, outside.path());
        let left: Vec<_> = std::fs::read_dir(outside.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["secret"], "something was made or removed outside");
        assert_eq!(std::fs::read(outside.path().join("secret")).unwrap(), b"secret");
        for link in ["out", "leaf", "dangling", "link"] {
            assert!(bench.path(link).is_symlink(), "{link} was replaced");
        }
    });
}

const LEAVES: [&str; 8] =
    ["out", "leaf", "dangling", "inside/up", "link", "fifo", "out/secret", "inside/up/inside/file"];

// covers: symbolic-links
#[test]
fn reading_never_follows_a_link() {
    with_links(|bench, _| {
        for inline in [true, false] {
            bench.inline = inline;
            for name in LEAVES.into_iter().chain(["link/file", "out/none", "dangling/x"]) {
                assert_eq!(bench.open_file(name).unwrap_err(), Failure::NotFound, "{name}");
                assert_eq!(bench.stat(name), Err(Failure::NotFound), "{name}");
                assert_eq!(bench.list(name, None, 9), Err(Failure::NotFound), "{name}");
            }
        }
        assert_eq!(bench.names(""), ["inside"]);
        assert_eq!(bench.names("inside"), ["file"]);
    });
}

// covers: symbolic-links
#[test]
fn uploads_and_new_directories_never_follow_or_replace_a_link() {
    with_links(|bench, _| {
        for name in LEAVES.into_iter().chain(["out/new", "link/file", "link/new", "dangling/x", "out/a/b/c", "fifo/x"])
        {
            for precondition in [Precondition::None, Precondition::Absent] {
                assert!(is_conflict(&bench.create(name, Some(3), precondition.clone())), "create {name}");
                assert!(is_conflict(&bench.store_file(name, b"bad", precondition)), "store {name}");
            }
            assert!(is_conflict(&bench.make(name)), "mkdir {name}");
            // The link may also appear between the beginning and the end of an upload.
            let file = bench.create("fine", None, Precondition::None).unwrap();
            assert!(is_conflict(&bench.commit(file, name, 0, Precondition::None)), "commit {name}");
        }
        assert_eq!(bench.staged(), 0);
    });
}

// covers: symbolic-links
#[test]
fn links_and_fifos_can_be_neither_removed_nor_moved_nor_overwritten() {
    with_links(|bench, _| {
        for name in LEAVES {
            assert_eq!(bench.delete(name, Precondition::None).unwrap_err(), Failure::NotFound, "{name}");
            assert_eq!(bench.rename(name, "moved", Precondition::None).unwrap_err(), Failure::NotFound, "{name}");
            for precondition in [Precondition::None, Precondition::Absent] {
                assert!(is_conflict(&bench.rename("inside/file", name, precondition.clone())), "{name}");
                assert!(is_conflict(&bench.rename("inside/file", &format!("{name}/x"), precondition)), "{name}");
            }
        }
        assert_eq!(bench.content("inside/file"), b"inside");
    });
}

#[test]
fn links_that_stay_inside_are_read_when_that_is_wanted() {
    for durability in [Durability::Durable, Durability::Written] {
        let (dir, outside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let config = StoreConfig { links_inside: true, durability, ..StoreConfig::default() };
        let mut bench = Bench::open(dir.path(), &config);
        if !bench.store.fs.caps.openat2 {
            return;
        }
        bench.store_file("real/file", b"real", Precondition::None).unwrap();
        std::fs::write(outside.path().join("secret"), b"secret").unwrap();
        symlink("real", bench.path("folder")).unwrap();
        symlink("real/file", bench.path("file")).unwrap();
        symlink("../real", bench.path("real/again")).unwrap();
        symlink(outside.path(), bench.path("out")).unwrap();
        symlink("../real", bench.path("above")).unwrap();
        symlink("loop", bench.path("loop")).unwrap();
        for inline in [true, false] {
            bench.inline = inline;
            for name in ["file", "folder/file", "real/again/file"] {
                assert_eq!(bench.content(name), b"real", "{name}");
            }
            assert_eq!(bench.names(""), ["file", "folder", "real"]);
            assert_eq!(bench.names("folder"), ["again", "file"]);
            for name in ["out", "out/secret", "loop", "above"] {
                assert_eq!(bench.open_file(name).unwrap_err(), Failure::NotFound, "{name}");
                assert_eq!(bench.stat(name), Err(Failure::NotFound), "{name}");
            }
        }
        for name in ["file", "folder", "folder/new"] {
            assert!(is_conflict(&bench.store_file(name, b"x", Precondition::None)), "{name}");
        }
        assert_eq!(bench.delete("folder/file", Precondition::None).unwrap_err(), Failure::NotFound);
    }
}

#[test]
fn a_name_that_the_file_system_does_not_take_is_malformed() {
    in_every_mode(|bench| {
        // 255 bytes are what a key may have; the file systems here take as many.
        let long = "ü".repeat(127);
        bench.store_file(&long, b"x", Precondition::None).unwrap();
        assert_eq!(bench.names(""), [long]);
        let deep = vec!["d"; 64].join("/");
        bench.store_file(&deep, b"deep", Precondition::None).unwrap();
        assert_eq!(bench.content(&deep), b"deep");
    });
}

// covers: own-files
#[test]
fn no_link_that_stays_inside_leads_into_a_reserved_directory() {
    let dir = TempDir::new().unwrap();
    let nested = Bench::open(&dir.path().join("show"), &StoreConfig::default());
    let mut bench = Bench::open(dir.path(), &StoreConfig { links_inside: true, ..StoreConfig::default() });
    if !bench.store.fs.caps.openat2 {
        return;
    }
    let own = std::fs::read_dir(bench.path(".filewharf/staging")).unwrap().next().unwrap().unwrap();
    let own = own.file_name().into_string().unwrap();
    symlink(".", bench.path("latest")).unwrap();
    symlink(".filewharf", bench.path("inner")).unwrap();
    symlink(format!(".filewharf/staging/{own}/LOCK"), bench.path("lock")).unwrap();
    symlink("show/.filewharf", bench.path("outer")).unwrap();
    std::fs::write(bench.path("file"), b"file").unwrap();
    for inline in [true, false] {
        bench.inline = inline;
        for name in ["lock", &format!("inner/staging/{own}/LOCK"), &format!("latest/inner/staging/{own}/LOCK")] {
            assert!(matches!(bench.open_file(name), Err(Failure::Denied(_))), "{name}");
            assert!(matches!(bench.stat(name), Err(Failure::Denied(_))), "{name}");
        }
        for name in ["inner", "inner/staging", "outer", "latest/outer/staging"] {
            assert!(matches!(bench.list(name, None, 9), Err(Failure::Denied(_))), "{name}");
        }
        assert_eq!(bench.content("latest/file"), b"file");
    }
    assert_eq!(bench.names(""), ["file", "latest", "show"]);
    assert_eq!(bench.names("latest"), ["file", "latest", "show"]);
    assert_eq!(bench.names("show"), Vec::<String>::new());
    drop(nested);
}
