//! Syncs that fail, each with what may be reported then: never an offset that is not safe.
use super::*;
use crate::platform::Health;
use crate::store::mutex::lock;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::sync::Mutex;
use std::time::SystemTime;

/// The syncs under each root since this was asked last, and those that are to fail, by the end of a name.
#[derive(Default)]
struct Syncs {
    made: Vec<&'static str>,
    fails: BTreeMap<&'static str, Errno>,
}

static SYNCS: Mutex<BTreeMap<PathBuf, Syncs>> = Mutex::new(BTreeMap::new());

const PART: &str = "part";
const RECORD: &str = "record";
const FOLDER: &str = "uploads";
const OTHER: &str = "another folder";
/// After a failed sync the kernel takes the pages for clean: to sync them again says nothing of them.
const CLEAN_RECORD: &str = "record that was not written since a sync of it failed";

fn sync(file: BorrowedFd<'_>) -> Result<(), Errno> {
    let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
    let kind = match path.to_str().unwrap() {
        name if name.ends_with(".part") => PART,
        name if name.ends_with(".info") => RECORD,
        name if name.ends_with("/uploads") => FOLDER,
        _ => OTHER,
    };
    let mut all = SYNCS.lock().unwrap();
    let (_, syncs) = all.iter_mut().find(|(root, _)| path.starts_with(root)).expect("a root of these tests");
    let failed = syncs.fails.remove(kind);
    let is_clean = kind == RECORD && std::fs::metadata(&path).is_ok_and(|it| it.mtime() == 0);
    syncs.made.push(if is_clean { CLEAN_RECORD } else { kind });
    if kind == RECORD && failed.is_some() {
        let epoch = SystemTime::UNIX_EPOCH;
        std::fs::File::options().write(true).open(&path).and_then(|info| info.set_modified(epoch)).unwrap();
    }
    failed.map_or(Ok(()), Err)
}

struct Watched {
    bench: Bench,
    dir: TempDir,
}

impl Watched {
    fn new(config: &StoreConfig) -> Self {
        Self::on(TempDir::new().unwrap(), config)
    }

    fn on(dir: TempDir, config: &StoreConfig) -> Self {
        SYNCS.lock().unwrap().insert(dir.path().to_owned(), Syncs::default());
        let calls = SyncCalls { content: |file, _| sync(file), names: sync, scope: Scope::Dir };
        Self { bench: Bench::open_synced_by(dir.path(), config, Fixed::default(), |_| calls), dir }
    }

    fn again(self, config: &StoreConfig) -> Self {
        let Self { bench, dir } = self;
        drop(bench);
        Self::on(dir, config)
    }

    fn syncs(&self) -> Vec<&'static str> {
        std::mem::take(&mut SYNCS.lock().unwrap().get_mut(self.dir.path()).unwrap().made)
    }

    fn fail(&self, kind: &'static str, errno: Errno) {
        SYNCS.lock().unwrap().get_mut(self.dir.path()).unwrap().fails.insert(kind, errno);
    }
}

#[test]
fn each_operation_waits_for_its_syncs_in_their_order() {
    let mut watched = Watched::new(&StoreConfig::default());
    let (file, _) = watched.bench.part(f());
    // The directory is new: its own name and that of the one above it come first.
    assert_eq!(watched.syncs(), [OTHER, OTHER, PART, RECORD, FOLDER]);
    watched.bench.write_part(file, 0, 300);
    watched.bench.checkpoint(file, 300).unwrap();
    assert_eq!(watched.syncs(), [PART, RECORD]);
    watched.bench.find(ID).unwrap();
    assert!(watched.syncs().is_empty(), "what is attached is known");
    watched.bench.save(file, 300).unwrap();
    assert_eq!(watched.syncs(), [RECORD], "nothing was added");
    watched.bench.find(ID).unwrap();
    assert!(watched.syncs().is_empty(), "this process has synced it");
    let (file, _) = watched.bench.part(f());
    assert_eq!(watched.syncs(), [RECORD], "the generation");
    watched.bench.write_part(file, 300, LEN);
    watched.bench.commit_stored(file, "d/f").unwrap();
    assert_eq!(watched.syncs(), [PART, RECORD, OTHER, OTHER]);
    watched.bench.find(ID).unwrap();
    assert_eq!(watched.syncs(), [RECORD, FOLDER], "it may be in the page cache only");
    let other = new(None, hashed("g", None));
    let (state, file, _) = watched.bench.open_upload(other).unwrap();
    assert_eq!(watched.syncs(), [PART, RECORD, FOLDER]);
    watched.bench.end_part(file.unwrap(), PartEnd::Keep).unwrap();
    watched.bench.remove(state.id).unwrap();
    assert_eq!(watched.syncs(), [FOLDER]);
}

#[test]
fn without_durability_nothing_is_synced() {
    let mut watched = Watched::new(&StoreConfig { durability: Durability::Written, ..StoreConfig::default() });
    let (file, _) = watched.bench.part(f());
    watched.bench.write_part(file, 0, 300);
    watched.bench.checkpoint(file, 300).unwrap();
    watched.bench.save(file, 300).unwrap();
    watched.bench.complete_upload(f());
    watched.bench.find(ID).unwrap();
    watched.bench.remove(ID).unwrap();
    assert!(watched.syncs().is_empty());
}

#[test]
fn a_checkpoint_whose_sync_fails_moves_no_offset_and_a_full_disk_passes() {
    for kind in [PART, RECORD] {
        for (errno, failure, health) in [
            (Errno::NOSPC, Failure::NoSpace, Health::Good),
            (Errno::DQUOT, Failure::NoSpace, Health::Good),
            (Errno::IO, Failure::Internal, Health::Degraded),
            (Errno::ROFS, Failure::Internal, Health::Degraded),
        ] {
            let mut watched = Watched::new(&StoreConfig::default());
            let bench = &mut watched.bench;
            let (file, _) = bench.part(f());
            bench.write_part(file, 0, 300);
            bench.checkpoint(file, 300).unwrap();
            bench.write_part(file, 300, 600);
            watched.fail(kind, errno);
            let bench = &mut watched.bench;
            assert_eq!(bench.checkpoint(file, 600), Err(failure), "{kind} {errno}");
            assert_eq!((bench.offset(ID), bench.store.health()), (300, health), "{kind} {errno}");
            assert_eq!(bench.end_part(file, PartEnd::Keep).unwrap().offset, 300);
            if health == Health::Degraded {
                assert_eq!(bench.open_upload(f()).err(), Some(Failure::Internal), "nothing is believed any more");
                continue;
            }
            let (file, offset) = bench.part(f());
            assert!(offset == 300 || kind == RECORD && offset == 600, "{kind} {errno}: {offset}");
            bench.end_part(file, PartEnd::Keep).unwrap();
            bench.complete_upload(f());
        }
    }
}

#[test]
fn an_upload_that_is_not_durable_is_not_reported() {
    for kind in [PART, RECORD, FOLDER, OTHER] {
        let mut watched = Watched::new(&StoreConfig::default());
        watched.fail(kind, Errno::NOSPC);
        assert_eq!(watched.bench.open_upload(f()).err(), Some(Failure::NoSpace), "{kind}");
        watched.bench.complete_upload(f());
        assert_eq!(watched.bench.uploads(), [info_name(ID)]);
    }
}

#[test]
fn a_commit_whose_syncs_fail_leaves_an_upload_to_resume() {
    for kind in [PART, RECORD] {
        let mut watched = Watched::new(&StoreConfig::default());
        let (file, _) = watched.bench.part(f());
        watched.bench.write_part(file, 0, LEN);
        watched.fail(kind, Errno::NOSPC);
        let bench = &mut watched.bench;
        assert_eq!(bench.commit_stored(file, "d/f").err(), Some(Failure::NoSpace), "{kind}");
        assert_eq!((bench.offset(ID), bench.stat("d/f")), (0, Err(Failure::NotFound)));
        bench.complete_upload(f());
    }
    // The name is there by then, and it is not known for how long.
    let mut watched = Watched::new(&StoreConfig::default());
    let (file, _) = watched.bench.part(f());
    watched.bench.write_part(file, 0, LEN);
    watched.syncs();
    watched.fail(OTHER, Errno::IO);
    let bench = &mut watched.bench;
    assert_eq!(bench.commit_stored(file, "d/f").err(), Some(Failure::Internal));
    assert!(bench.find(ID).is_err(), "neither complete nor to be resumed");
}

#[test]
fn a_record_whose_sync_failed_is_written_again_before_it_is_believed() {
    for opens in [false, true] {
        let mut watched = Watched::new(&StoreConfig::default());
        let (file, _) = watched.bench.part(f());
        watched.bench.write_part(file, 0, 300);
        watched.fail(RECORD, Errno::NOSPC);
        assert_eq!(watched.bench.checkpoint(file, 300), Err(Failure::NoSpace));
        watched.bench.end_part(file, PartEnd::Keep).unwrap();
        watched.syncs();
        if opens {
            // What it was before is not known to this process.
            lock(&watched.bench.store.pool.volume.resumable.index).remove(ID);
            watched.fail(RECORD, Errno::DQUOT);
            assert_eq!(watched.bench.open_upload(f()).err(), Some(Failure::NoSpace));
            watched.bench.part(f());
        } else {
            watched.fail(RECORD, Errno::DQUOT);
            assert_eq!(watched.bench.find(ID).err(), Some(Failure::NoSpace));
            watched.bench.find(ID).unwrap();
        }
        let syncs = watched.syncs();
        assert!(syncs.contains(&RECORD) && !syncs.contains(&CLEAN_RECORD), "{syncs:?}");
    }
}

#[test]
fn an_upload_made_again_is_not_taken_for_as_durable_as_the_one_before() {
    let mut watched = Watched::new(&StoreConfig::default());
    let (file, _) = watched.bench.part(f());
    for offset in (30..=300).step_by(30) {
        watched.bench.write_part(file, offset - 30, offset);
        watched.bench.checkpoint(file, offset).unwrap();
    }
    watched.bench.end_part(file, PartEnd::Keep).unwrap();
    let (file, offset) = watched.bench.part(new(Some(ID), hashed("d/f", Some(77))));
    assert_eq!(offset, 0);
    watched.bench.write_part(file, 0, 50);
    watched.fail(RECORD, Errno::NOSPC);
    watched.bench.checkpoint(file, 50).unwrap_err();
    watched.bench.end_part(file, PartEnd::Keep).unwrap();
    watched.syncs();
    watched.bench.find(ID).unwrap();
    assert_eq!(watched.syncs(), [RECORD]);
}

#[test]
fn what_another_process_wrote_is_synced_before_it_is_reported_or_written_over() {
    let mut watched = Watched::new(&StoreConfig::default());
    let (file, _) = watched.bench.part(f());
    watched.bench.write_part(file, 0, 300);
    watched.bench.save(file, 300).unwrap();
    watched.syncs();
    change_checkpoint(&watched.bench, ID, |checkpoint| checkpoint.owner.process += 1);
    watched.bench.find(ID).unwrap();
    assert_eq!(watched.syncs(), [RECORD]);
    change_checkpoint(&watched.bench, ID, |checkpoint| checkpoint.sequence += 3);
    watched.bench.part(f());
    assert_eq!(watched.syncs(), [FOLDER, RECORD, RECORD], "its names, the last offset that was sent, the generation");
}

#[test]
fn bytes_of_a_store_that_did_not_sync_are_synced_before_one_that_does_tells_of_them() {
    let mut watched = Watched::new(&StoreConfig { durability: Durability::Written, ..StoreConfig::default() });
    let (file, _) = watched.bench.part(f());
    watched.bench.write_part(file, 0, 300);
    watched.bench.save(file, 300).unwrap();
    assert!(watched.syncs().is_empty());
    let mut watched = watched.again(&StoreConfig::default());
    assert_eq!(watched.bench.offset(ID), 300);
    let syncs = watched.syncs();
    assert!(syncs.contains(&PART) && syncs.last() == Some(&RECORD), "{syncs:?}");
    change_checkpoint(&watched.bench, ID, |checkpoint| checkpoint.owner.boot = [9; 16]);
    assert_eq!(watched.bench.offset(ID), 300, "also when the machine has started again");
}

#[test]
fn the_parts_of_a_join_stay_until_the_name_of_the_whole_is_durable() {
    let config = StoreConfig::default();
    let mut watched = Watched::new(&config);
    let partial = |id| {
        let put = put("d/f", Some(3), Precondition::None);
        UploadRef::New(Box::new(NewUpload { id: Some(id), put, metadata: "".into(), role: Role::Partial }))
    };
    let parts = [UploadId([1; 16]), UploadId([2; 16])];
    for id in parts {
        let (_, file, _) = watched.bench.open_upload(partial(id)).unwrap();
        let file = file.unwrap();
        watched.bench.store.write_now(file, 0, b"abc").unwrap();
        watched.bench.end_part(file, PartEnd::Save { offset: 3, digest: None }).unwrap();
    }
    let put = put("d/f", None, Precondition::None);
    let role = Role::Final(parts.into());
    let whole = UploadRef::New(Box::new(NewUpload { id: None, put, metadata: "".into(), role }));
    let (_, file, _) = watched.bench.open_upload(whole).unwrap();
    let file = file.unwrap();
    watched.bench.run(Op::Join { file, offset: 0, digest: None }).unwrap();
    watched.fail(OTHER, Errno::IO);
    let (key, precondition, prepend) = (key("d/f"), Precondition::None, Box::default());
    let op = Op::Commit { file, key, len: 6, prepend, mtime: None, digest: None, precondition };
    assert!(watched.bench.run(op).is_err(), "the name may be lost in a power cut");
    for id in parts {
        assert_eq!(watched.bench.offset(id), 3);
    }
}
