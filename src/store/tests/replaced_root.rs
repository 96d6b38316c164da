//! The served directory is moved, removed or replaced by another program.
use super::*;
use crate::os::process::clock;
use crate::platform::Health;
use std::fs::{create_dir, read, remove_dir_all, rename, write};
use std::sync::atomic::Ordering;
use std::time::Instant;

struct Served {
    bench: Bench,
    now: Instant,
}

impl Served {
    fn open(root: &Path, config: &StoreConfig) -> Self {
        Self { bench: Bench::open(root, config), now: clock() }
    }

    /// A second passes, in which the path is looked at.
    fn look(&mut self) -> Health {
        self.now += Duration::from_secs(2);
        self.bench.store.refresh(self.now);
        while self.bench.store.pool.is_looking.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        self.bench.store.health()
    }

    fn assert_gone(&mut self) {
        let gone = Failure::Unavailable;
        let bench = &mut self.bench;
        let none = Precondition::None;
        assert_eq!(bench.open_file("f").err(), Some(gone));
        assert_eq!(bench.stat("f").err(), Some(gone));
        assert_eq!(bench.stat("").err(), Some(gone));
        assert_eq!(bench.list("", None, 9).err(), Some(gone));
        assert_eq!(bench.store_file("g", b"x", none.clone()).err(), Some(gone));
        assert_eq!(bench.create("g", Some(1), none.clone()).err(), Some(gone));
        assert_eq!(bench.delete("f", none.clone()).err(), Some(gone));
        assert_eq!(bench.make("d").err(), Some(gone));
        assert_eq!(bench.rename("f", "g", none).err(), Some(gone));
    }
}

fn in_each_mode(body: impl Fn(Served, &Path)) {
    for config in modes() {
        let dir = TempDir::new().unwrap();
        let root = dir.path().join("d");
        let mut served = Served::open(&root, &config);
        served.bench.store_file("f", b"one", Precondition::None).unwrap();
        for _ in 0..4 {
            assert_eq!(served.bench.content("f"), b"one", "it is cached");
        }
        assert_eq!(served.look(), Health::Good);
        body(served, &root);
    }
}

#[test]
fn a_directory_that_takes_the_place_of_the_root_is_served_and_the_one_before_is_not() {
    in_each_mode(|mut served, root| {
        let away = root.with_extension("away");
        rename(root, &away).unwrap();
        create_dir(root).unwrap();
        write(root.join("x"), "two").unwrap();
        assert_eq!(served.look(), Health::Gone);
        served.assert_gone();
        assert_eq!(served.look(), Health::Good);
        assert_eq!((served.bench.names(""), served.bench.content("x")), (vec!["x".to_owned()], b"two".to_vec()));
        assert_eq!(served.bench.open_file("f").err(), Some(Failure::NotFound));
        served.bench.store_file("new/g", b"three", Precondition::None).unwrap();
        assert_eq!((read(root.join("new/g")).unwrap(), away.join("new").exists()), (b"three".to_vec(), false));
        assert_eq!(served.look(), Health::Good);
    });
}

#[test]
fn a_root_that_is_removed_is_reported_and_one_that_is_made_again_is_served() {
    in_each_mode(|mut served, root| {
        remove_dir_all(root).unwrap();
        for _ in 0..3 {
            assert_eq!(served.look(), Health::Gone);
            served.assert_gone();
        }
        write(root, "not a directory").unwrap();
        assert_eq!(served.look(), Health::Gone);
        std::fs::remove_file(root).unwrap();
        create_dir(root).unwrap();
        assert_eq!(served.look(), Health::Good);
        served.bench.store_file("f", b"two", Precondition::None).unwrap();
        assert_eq!(read(root.join("f")).unwrap(), b"two");
    });
}

#[test]
fn a_root_that_comes_back_is_served_as_before() {
    in_each_mode(|mut served, root| {
        let away = root.with_extension("away");
        rename(root, &away).unwrap();
        assert_eq!(served.look(), Health::Gone);
        served.assert_gone();
        rename(&away, root).unwrap();
        assert_eq!(served.look(), Health::Good);
        assert_eq!(served.bench.content("f"), b"one");
    });
}

#[test]
fn an_upload_that_began_before_ends_in_the_directory_that_is_at_the_path() {
    in_each_mode(|mut served, root| {
        let file = served.bench.create("g", Some(3), Precondition::None).unwrap();
        served.bench.store.write_now(file, 0, b"new").unwrap();
        rename(root, root.with_extension("away")).unwrap();
        create_dir(root).unwrap();
        assert_eq!((served.look(), served.look()), (Health::Gone, Health::Good));
        served.bench.commit(file, "g", 3, Precondition::None).unwrap();
        assert_eq!(read(root.join("g")).unwrap(), b"new");
    });
}

#[test]
fn a_link_to_the_root_that_leads_elsewhere_from_now_on_is_followed() {
    let dir = TempDir::new().unwrap();
    let [one, two, root] = ["one", "two", "current"].map(|name| dir.path().join(name));
    create_dir(&one).unwrap();
    create_dir(&two).unwrap();
    write(two.join("f"), "two").unwrap();
    std::os::unix::fs::symlink(&one, &root).unwrap();
    let mut served = Served::open(&root, &StoreConfig::default());
    std::fs::remove_file(&root).unwrap();
    std::os::unix::fs::symlink(&two, &root).unwrap();
    assert_eq!((served.look(), served.look()), (Health::Gone, Health::Good));
    assert_eq!(served.bench.content("f"), b"two");
}
