//! Which syncs a change waits for, of what and when: they are noted instead of made, so on any disk.
use super::*;
use crate::platform::Health;
use crate::store::fs::{linux, sync};
use crate::store::pool::jobs::{Finished, Held, Job, Pending};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Mutex;

/// What was synced under each root so far, what the next sync of names and of content is to say, and what
/// happens during the next of each.
#[derive(Default)]
struct Seen {
    made: Vec<String>,
    fails: [Option<Errno>; 2],
    meanwhile: [Option<Box<dyn FnOnce() + Send>>; 2],
}

static SEEN: Mutex<BTreeMap<PathBuf, Seen>> = Mutex::new(BTreeMap::new());

fn path_of(fd: BorrowedFd<'_>) -> PathBuf {
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap()
}

fn with_seen<T>(path: &Path, see: impl FnOnce(&str, &mut Seen) -> T) -> T {
    let mut all = SEEN.lock().unwrap();
    let (root, seen) = all.iter_mut().find(|(root, _)| path.starts_with(root)).expect("a root of these tests");
    let relative = path.strip_prefix(root).unwrap().to_str().unwrap();
    see(if relative.starts_with(".filewharf/staging/") { "UPLOAD" } else { relative }, seen)
}

fn content(file: BorrowedFd<'_>, all: bool) -> Result<(), Errno> {
    with_seen(&path_of(file), |name, seen| {
        seen.made.push(format!("{} {name}", if all { "all of" } else { "content of" }));
        if let Some(happens) = seen.meanwhile[1].take() {
            happens();
        }
        seen.fails[1].take().map_or(Ok(()), Err)
    })
}

/// Notes also what is there by then.
fn names(dir: BorrowedFd<'_>) -> Result<(), Errno> {
    let path = path_of(dir);
    let entries = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut there: Vec<_> = entries.filter(|name| name != ".filewharf").collect();
    there.sort_unstable();
    with_seen(&path, |name, seen| {
        seen.made.push(format!("/{name}: {}", there.join(" ")));
        if let Some(happens) = seen.meanwhile[0].take() {
            happens();
        }
        seen.fails[0].take().map_or(Ok(()), Err)
    })
}

/// A store that notes its syncs.
struct Noted {
    bench: Bench,
    dir: TempDir,
}

impl Noted {
    fn new(scope: Scope, config: &StoreConfig) -> Self {
        let dir = TempDir::new().unwrap();
        SEEN.lock().unwrap().insert(dir.path().to_owned(), Seen::default());
        let calls = SyncCalls { content, names, scope };
        Self { bench: Bench::open_synced_by(dir.path(), config, Fixed::default(), |_| calls), dir }
    }

    /// What was synced since this was asked the last time.
    fn syncs(&self) -> Vec<String> {
        with_seen(self.dir.path(), |_, seen| std::mem::take(&mut seen.made))
    }

    fn next_fails(&self, names: Option<Errno>, content: Option<Errno>) {
        with_seen(self.dir.path(), |_, seen| seen.fails = [names, content]);
    }
}

fn shared(durability: Durability) -> StoreConfig {
    StoreConfig { shared: true, durability, ..StoreConfig::default() }
}

/// What is done, and how.
type Change<'a> = (&'a str, &'a dyn Fn(&mut Bench));

/// Each change, and the syncs that it waits for.
fn makes(scope: Scope, config: &StoreConfig, expected: [&[&str]; 11]) {
    let changes: [Change<'_>; 11] = [
        ("a small upload into new folders", &|b| _ = b.store_file("a/b/f", b"x", Precondition::None).unwrap()),
        ("a small upload beside it", &|b| _ = b.store_file("a/b/g", b"x", Precondition::None).unwrap()),
        ("a long upload", &|b| {
            let file = b.create("f", None, Precondition::None).unwrap();
            b.store.write_now(file, 0, b"x").unwrap();
            b.commit(file, "f", 1, Precondition::None).unwrap();
        }),
        ("an upload that must be new", &|b| _ = b.store_file("g", b"x", Precondition::Absent).unwrap()),
        ("new folders", &|b| _ = b.make("c/d").unwrap()),
        ("folders that are there", &|b| _ = b.make("c/d").unwrap()),
        ("a move of a file", &|b| _ = b.rename("f", "c/f", Precondition::None).unwrap()),
        ("a move of a folder into a new one", &|b| _ = b.rename("c/d", "e/d", Precondition::None).unwrap()),
        ("no move at all", &|b| _ = b.rename("g", "g", Precondition::None).unwrap()),
        ("a time", &|b| _ = b.run(Op::Run(Whole::SetTime { key: key("c/f"), mtime: 7 })).unwrap()),
        ("a deletion", &|b| _ = b.delete("c/f", Precondition::None).unwrap()),
    ];
    let mut noted = Noted::new(scope, config);
    for ((what, change), expected) in changes.into_iter().zip(expected) {
        change(&mut noted.bench);
        assert_eq!(noted.syncs(), expected, "{what}");
    }
}

#[test]
fn where_directories_are_synced_a_change_waits_for_every_directory_whose_names_it_changed() {
    makes(
        Scope::Dir,
        &StoreConfig::default(),
        [
            &["content of UPLOAD", "/a/b: f", "/: a", "/a: b"],
            &["content of UPLOAD", "/a/b: f g"],
            &["content of UPLOAD", "/: a f"],
            &["content of UPLOAD", "/: a f g"],
            &["/: a c f g", "/c: d"],
            &[],
            &["/c: d f", "/: a c g"],
            // The way first.
            &["/: a c e g", "/e: d", "/c: f", "/: a c e g"],
            &[],
            &["all of c/f", "/c: f"],
            &["/c: "],
        ],
    );
}

#[test]
fn where_all_is_synced_a_change_waits_for_one_sync_after_it_and_content_enters_the_tree_before_its_name() {
    makes(
        Scope::Everything,
        &StoreConfig::default(),
        [
            &["content of UPLOAD", "/: a"],
            &["content of UPLOAD", "/: a"],
            &["content of UPLOAD", "/: a f"],
            &["content of UPLOAD", "/: a f g"],
            &["/: a c f g"],
            &[],
            &["/: a c g"],
            &["/: a c e g"],
            &[],
            &["all of c/f", "/: a c e g"],
            &["/: a c e g"],
        ],
    );
}

#[test]
fn a_store_without_durability_waits_for_no_sync() {
    let config = StoreConfig { durability: Durability::Written, ..StoreConfig::default() };
    for scope in [Scope::Dir, Scope::Everything] {
        makes(scope, &config, [&[]; 11]);
    }
}

#[test]
fn what_is_set_beside_the_content_counts_too() {
    let mode = StoreConfig { file_mode: Some(0o600), ..StoreConfig::default() };
    for (config, mtime, expected) in [
        (StoreConfig::default(), None, "content of UPLOAD"),
        (StoreConfig::default(), Some(5), "all of UPLOAD"),
        (mode, None, "all of UPLOAD"),
    ] {
        let mut noted = Noted::new(Scope::Everything, &config);
        let put = Put { mtime, ..put("f", None, Precondition::None) };
        assert!(noted.bench.complete(Op::Store { put: Box::new(put), chunk: chunk(b"x") }).result.is_ok());
        assert_eq!(noted.syncs(), [expected, "/: f"]);
    }
    let mut noted = Noted::new(Scope::Everything, &StoreConfig::default());
    let put = Put { is_executable: true, ..put("f", None, Precondition::None) };
    assert!(noted.bench.complete(Op::Store { put: Box::new(put), chunk: chunk(b"x") }).result.is_ok());
    assert_eq!(noted.syncs(), ["all of UPLOAD", "/: f"]);
}

#[test]
fn a_content_whose_sync_fails_gets_no_name_and_only_a_full_disk_passes() {
    for scope in [Scope::Dir, Scope::Everything] {
        for (errno, failure, health) in [
            (Errno::NOSPC, Failure::NoSpace, Health::Good),
            (Errno::DQUOT, Failure::NoSpace, Health::Good),
            (Errno::IO, Failure::Internal, Health::Degraded),
            (Errno::ROFS, Failure::Internal, Health::Degraded),
        ] {
            let mut noted = Noted::new(scope, &StoreConfig::default());
            noted.next_fails(None, Some(errno));
            assert_eq!(noted.bench.store_file("d/f", b"x", Precondition::None), Err(failure), "{errno}");
            assert_eq!(noted.syncs(), ["content of UPLOAD"], "and is not tried again");
            assert_eq!((noted.bench.stat("d"), noted.bench.staged()), (Err(Failure::NotFound), 0));
            assert_eq!(noted.bench.store.health(), health, "{errno}");
        }
    }
}

#[test]
fn a_change_whose_sync_fails_is_not_acknowledged_and_the_next_one_waits_for_what_it_made() {
    for (scope, next) in [(Scope::Dir, &["/d: f g", "/: d"][..]), (Scope::Everything, &["/: d"])] {
        for (errno, failure, health) in [
            (Errno::NOSPC, Failure::NoSpace, Health::Good),
            (Errno::IO, Failure::Internal, Health::Degraded),
            (Errno::ROFS, Failure::Internal, Health::Degraded),
        ] {
            let mut noted = Noted::new(scope, &StoreConfig::default());
            noted.next_fails(Some(errno), None);
            assert_eq!(noted.bench.store_file("d/f", b"x", Precondition::None), Err(failure), "{errno}");
            assert_eq!((noted.syncs().len(), noted.bench.store.health()), (2, health), "{errno}");
            let after = noted.bench.store_file("d/g", b"x", Precondition::None);
            if health == Health::Degraded {
                assert_eq!((after, noted.syncs()), (Err(Failure::Internal), vec![]), "nothing is believed any more");
                continue;
            }
            assert!(after.is_ok());
            assert_eq!(noted.syncs()[1..], *next);
            noted.bench.make("d").unwrap();
            assert!(noted.syncs().is_empty(), "now it is durable");
        }
    }
}

#[test]
fn a_change_that_waits_for_its_sync_while_another_sync_fails_is_refused_though_its_own_would_succeed() {
    for scope in [Scope::Dir, Scope::Everything] {
        let mut noted = Noted::new(scope, &StoreConfig::default());
        let pool = Arc::clone(&noted.bench.store.pool);
        let (reply, syncs) =
            pool.changed(pool.volume.names.store(&put("later/f", None, Precondition::None), b"x").unwrap());
        noted.next_fails(Some(Errno::IO), None);
        assert_eq!(noted.bench.store_file("first/f", b"x", Precondition::None), Err(Failure::Internal));
        noted.syncs();
        let finished = Finished { id: CONN, result: Ok(reply), chunk: None };
        noted.bench.store.in_flight += 1;
        let volume = Arc::clone(&pool.volume);
        pool.finish_change(Pending { client: None, finished, syncs, volume });
        let later = noted.bench.next().result.map_err(|error| error.failure);
        assert_eq!((later.err(), noted.syncs()), (Some(Failure::Internal), vec![]), "{scope:?}");
    }
}

#[test]
fn a_change_is_refused_if_another_sync_fails_while_its_own_runs() {
    for scope in [Scope::Dir, Scope::Everything] {
        let mut noted = Noted::new(scope, &StoreConfig::default());
        let fs = Arc::clone(&noted.bench.store.fs);
        with_seen(noted.dir.path(), |_, seen| {
            seen.meanwhile[0] = Some(Box::new(move || fs.degrade("fsync folder", Errno::IO)));
        });
        assert_eq!(noted.bench.store_file("f", b"x", Precondition::None), Err(Failure::Internal), "{scope:?}");
    }
}

#[test]
fn uploads_that_are_stored_together_go_where_their_path_leads_once_all_are_synced() {
    let mut noted = Noted::new(Scope::Dir, &StoreConfig::default());
    noted.bench.make("a").unwrap();
    let (old, new) = (noted.dir.path().join("a"), noted.dir.path().join("b"));
    with_seen(noted.dir.path(), |_, seen| {
        seen.made.clear();
        seen.meanwhile[1] = Some(Box::new(move || {
            std::fs::rename(&old, new).unwrap();
            std::fs::create_dir(old).unwrap();
        }));
    });
    let jobs = ["a/f", "a/g"].map(|name| {
        let op = Op::Store { put: Box::new(put(name, None, Precondition::None)), chunk: chunk(b"x") };
        Job::Serve { id: CONN, client: None, op, held: Held::None, shown: None }
    });
    noted.bench.store.in_flight += 2;
    noted.bench.store.pool.store_many(jobs.into());
    assert!(noted.bench.next().result.is_ok() && noted.bench.next().result.is_ok());
    assert_eq!(noted.syncs(), ["content of UPLOAD", "content of UPLOAD", "/a: f g"]);
}

#[test]
fn a_change_waits_for_the_folders_above_it_that_another_server_has_made_or_moved() {
    let mut noted = Noted::new(Scope::Dir, &shared(Durability::Durable));
    // It syncs nothing, as if it was killed before.
    let mut other = Bench::open(noted.dir.path(), &shared(Durability::Written));
    other.make("a/b").unwrap();
    let mut store = |name| {
        noted.bench.store_file(name, b"x", Precondition::None).unwrap();
        noted.syncs()
    };
    let all = ["content of UPLOAD", "/a/b: f", "/a: b", "/: a"];
    assert_eq!(store("a/b/f"), all);
    assert_eq!(store("a/b/g"), ["content of UPLOAD", "/a/b: f g"], "once is enough");
    other.rename("a/b", "c", Precondition::None).unwrap();
    assert_eq!(store("c/h"), ["content of UPLOAD", "/c: f g h", "/: a c"]);
    other.rename("a", "c/a", Precondition::None).unwrap();
    assert_eq!(store("c/a/f"), ["content of UPLOAD", "/c/a: f", "/c: a f g h"]);
    other.make("d").unwrap();
    noted.bench.make("d/e").unwrap();
    assert_eq!(noted.syncs(), ["/: c d", "/d: e"]);
}

#[test]
fn a_folder_above_whose_sync_failed_is_synced_by_the_next_change() {
    let mut noted = Noted::new(Scope::Dir, &shared(Durability::Durable));
    let mut other = Bench::open(noted.dir.path(), &shared(Durability::Written));
    other.make("a").unwrap();
    noted.next_fails(Some(Errno::NOSPC), None);
    assert!(noted.bench.store_file("a/f", b"x", Precondition::None).is_err());
    noted.syncs();
    noted.bench.store_file("a/f", b"x", Precondition::None).unwrap();
    assert_eq!(noted.syncs(), ["content of UPLOAD", "/a: f", "/: a"]);
}

#[test]
fn a_disk_that_failed_for_one_server_takes_no_change_of_the_others_until_all_that_ran_then_have_ended() {
    let config = shared(Durability::Durable);
    let mut noted = Noted::new(Scope::Dir, &config);
    let root = noted.dir.path().to_owned();
    let (mut other, open) = (Bench::open(&root, &config), || Bench::open(&root, &config));
    other.store_file("g", b"x", Precondition::None).unwrap();
    noted.next_fails(Some(Errno::IO), None);
    assert_eq!(noted.bench.store_file("f", b"x", Precondition::None), Err(Failure::Internal));
    // It finds out at the latest by the sync of its own change.
    assert_eq!(other.store_file("g", b"y", Precondition::None), Err(Failure::Internal));
    assert_eq!((other.store.health(), other.content("g")), (Health::Degraded, b"y".to_vec()));
    let Noted { bench, dir: _dir } = noted;
    drop(bench);
    let mut later = open();
    assert_eq!(later.store.health(), Health::Degraded, "one that ran then still runs");
    drop(other);
    later.store.fs.look_elsewhere();
    assert_eq!(later.store.health(), Health::Good);
    later.store_file("g", b"z", Precondition::None).unwrap();
    assert_eq!(open().store.health(), Health::Good, "the mark counts no more");
}

#[test]
fn servers_that_do_not_share_the_folder_leave_no_mark() {
    let mut noted = Noted::new(Scope::Dir, &StoreConfig::default());
    noted.next_fails(Some(Errno::IO), None);
    assert_eq!(noted.bench.store_file("f", b"x", Precondition::None), Err(Failure::Internal));
    assert!(!noted.dir.path().join(".filewharf/DEGRADED").exists());
}

#[test]
fn an_upload_is_reported_durable_only_where_that_is_known_or_trusted() {
    let Ok(memory) = TempDir::new_in("/dev/shm") else { return };
    let fd = rustix::fs::open(memory.path(), rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
    if !linux::is_memory(fd.as_fd()) {
        return;
    }
    for (trust_fs, durability, told) in [
        (false, Durability::Durable, Durability::Written),
        (true, Durability::Durable, Durability::Durable),
        (true, Durability::Written, Durability::Written),
    ] {
        let config = StoreConfig { trust_fs, durability, ..StoreConfig::default() };
        let mut bench = Bench::open(memory.path(), &config);
        let op = Op::Store { put: Box::new(put("f", None, Precondition::None)), chunk: chunk(b"x") };
        let Ok(Outcome::Committed(stored)) = bench.run(op) else { panic!("not stored") };
        assert_eq!(stored.durability, told, "{config:?}");
    }
}

#[test]
fn a_content_enters_the_tree_where_there_is_one_and_is_synced_with_all_else_where_there_is_none() {
    let memory = rustix::fs::memfd_create("no tree", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    assert!(matches!(linux::enter_tree(memory.as_fd()), Err(Errno::OPNOTSUPP | Errno::NOTTY)));
    sync::enter_tree(memory.as_fd(), true).unwrap();
    let name = rustix::fs::open("/", rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
    assert_eq!(sync::enter_tree(name.as_fd(), true), Err(Errno::BADF), "an error is one");
}

#[test]
fn the_tree_is_entered_only_by_a_kernel_that_waits_for_it() {
    for (release, is) in [
        ("6.1.0-13-amd64", true),
        ("6.1", true),
        ("6.10.3", true),
        ("7.0.0-rc1", true),
        ("6.0.19", false),
        ("5.15.0-91-generic", false),
        ("6", false),
        ("", false),
        ("x6.1", false),
        ("99999999999.1", false),
    ] {
        assert_eq!(linux::is_since(release.as_bytes(), (6, 1)), is, "{release}");
    }
}
