//! Uploads that can be resumed: what is reported, what is on the disk, and what is left when anything fails.
#[cfg(target_os = "linux")]
mod cuts;
mod ends;
#[cfg(target_os = "linux")]
mod failing;
mod held;
mod joins;
mod permits;
mod sharing;

use super::*;
use crate::ids::ClientAddress;
use crate::object::{Etag, Stored};
use crate::store::resumable::checkpoint::Checkpoint;
use crate::store::resumable::expiry::Pass;
use crate::store::resumable::folder::{info_name, part_name};
use crate::store::resumable::record::{Info, checkpoint_at, newest};
use crate::transfer::Hasher;
use crate::upload::{DigestState, Inquiry, NewUpload, PartEnd, Role, UploadId, UploadRef, UploadStage, UploadState};

const ID: UploadId = UploadId([0x5A; 16]);
const CLIENT: ClientAddress = ClientAddress::from_bits(1);
const LEN: usize = 1000;

fn content() -> Vec<u8> {
    (0..LEN).map(|n| (n * 7 % 251) as u8).collect()
}

/// The digest state after this many bytes of the content.
fn digest_at(offset: usize) -> Option<DigestState> {
    let mut hasher = Hasher::sha256_if(true);
    hasher.update(&content()[..offset]);
    hasher.state()
}

fn hashed(name: &str, len: Option<u64>) -> Put {
    Put { hash: true, ..put(name, len, Precondition::None) }
}

fn new(id: Option<UploadId>, put: Put) -> UploadRef {
    UploadRef::New(Box::new(NewUpload { id, put, metadata: "filename eA==".into(), role: Role::Whole }))
}

/// The upload of most tests.
fn f() -> UploadRef {
    new(Some(ID), hashed("d/f", Some(LEN as u64)))
}

type Opened = (UploadState, Option<FileId>, Option<DigestState>);

impl Bench {
    fn open_upload(&mut self, upload: UploadRef) -> Result<Opened, Failure> {
        self.open_upload_of(upload, None, CLIENT)
    }

    fn open_upload_of(
        &mut self,
        upload: UploadRef,
        len: Option<u64>,
        client: ClientAddress,
    ) -> Result<Opened, Failure> {
        match self.run(Op::OpenUpload { upload, len, client, permit: Permit::default() })? {
            Outcome::UploadOpened { upload, file, digest } => Ok((*upload, file, digest)),
            other => panic!("{other:?}"),
        }
    }

    /// An open part, and its offset.
    fn part(&mut self, upload: UploadRef) -> (FileId, usize) {
        let (state, file, digest) = self.open_upload(upload).unwrap();
        assert_eq!(state.stage, UploadStage::Unfinished);
        let offset = usize::try_from(state.offset).unwrap();
        assert!(digest == digest_at(offset) || offset == 0 && digest.is_none(), "the digest of other bytes");
        (file.expect("a part can be written"), offset)
    }

    fn write_part(&mut self, file: FileId, from: usize, to: usize) {
        self.store.write_now(file, from as u64, &content()[from..to]).unwrap();
    }

    fn checkpoint(&mut self, file: FileId, offset: usize) -> Result<u64, Failure> {
        let op = Op::Checkpoint { file, offset: offset as u64, digest: digest_at(offset) };
        match self.run(op)? {
            Outcome::Saved(offset) => Ok(offset),
            other => panic!("{other:?}"),
        }
    }

    fn end_part(&mut self, file: FileId, end: PartEnd) -> Result<UploadState, Failure> {
        match self.run(Op::EndPart { file, end })? {
            Outcome::PartEnded(state) => Ok(*state),
            other => panic!("{other:?}"),
        }
    }

    fn save(&mut self, file: FileId, offset: usize) -> Result<UploadState, Failure> {
        self.end_part(file, PartEnd::Save { offset: offset as u64, digest: digest_at(offset) })
    }

    fn find(&mut self, id: UploadId) -> Result<UploadState, Failure> {
        match self.run(Op::FindUpload { id, inquiry: Inquiry::Aside, permit: Permit::default() })? {
            Outcome::UploadFound(state) => Ok(*state),
            other => panic!("{other:?}"),
        }
    }

    fn offset(&mut self, id: UploadId) -> u64 {
        self.find(id).unwrap().offset
    }

    fn remove(&mut self, id: UploadId) -> Result<(), Failure> {
        match self.run(Op::RemoveUpload { id, permit: Permit::default() })? {
            Outcome::UploadRemoved(_) => Ok(()),
            other => panic!("{other:?}"),
        }
    }

    fn commit_stored(&mut self, file: FileId, name: &str) -> Result<Stored, Failure> {
        let precondition = Precondition::None;
        let op = Op::Commit {
            file,
            key: key(name),
            len: LEN as u64,
            prepend: Box::default(),
            mtime: None,
            digest: None,
            precondition,
        };
        match self.run(op)? {
            Outcome::Committed(stored) => Ok(stored),
            other => panic!("{other:?}"),
        }
    }

    /// The rest of an upload, in one go.
    fn complete_upload(&mut self, upload: UploadRef) {
        let (file, offset) = self.part(upload);
        self.write_part(file, offset, LEN);
        self.commit_stored(file, "d/f").unwrap();
        assert_eq!(self.content("d/f"), content());
    }

    fn upload_path(&self, name: &str) -> PathBuf {
        self.path(".filewharf/uploads").join(name)
    }

    /// Names in the directory of uploads besides the clock.
    fn uploads(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.upload_path("")).into_iter().flatten();
        let mut names: Vec<_> = names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != "CLOCK");
        names.sort_unstable();
        names
    }

    /// A whole pass over the directory, as if this many seconds had passed since the start.
    fn pass(&self, after_s: u64) {
        let uploads = &self.store.pool.volume.resumable;
        uploads.passed_s.store(after_s, std::sync::atomic::Ordering::Relaxed);
        let mut pass = Pass::begin(uploads).map(Box::new);
        while let Some(at_work) = pass {
            pass = at_work.step(uploads);
        }
    }

    fn again(self, config: &StoreConfig) -> Self {
        let root = self.root.clone();
        drop(self);
        Self::open(&root, config)
    }
}

/// Changes the newest checkpoint of a record in its place.
fn change_checkpoint(bench: &Bench, id: UploadId, change: impl FnOnce(&mut Checkpoint)) {
    let path = bench.upload_path(&info_name(id));
    let mut info = std::fs::read(&path).unwrap();
    let mut checkpoint = newest(&info, id).unwrap();
    change(&mut checkpoint);
    let at = usize::try_from(checkpoint_at(checkpoint.sequence)).unwrap();
    info[at..at + 512].copy_from_slice(&checkpoint.encode(id));
    std::fs::write(path, info).unwrap();
}

/// As [`in_every_mode`], where the store is opened again now and then.
fn in_each_mode(body: impl Fn(Bench, &StoreConfig)) {
    for config in modes() {
        let dir = TempDir::new().unwrap();
        body(Bench::open(dir.path(), &config), &config);
    }
}

#[test]
fn an_upload_continues_after_what_was_saved_whatever_ended_the_connection_or_the_server() {
    in_each_mode(|mut bench, config| {
        let mut expected = 0;
        for (n, end) in [1, 99, 100, 512, 513, 998, 999].into_iter().enumerate() {
            let (file, offset) = bench.part(f());
            assert_eq!(offset, expected);
            bench.write_part(file, offset, end);
            let state = bench.save(file, end).unwrap();
            assert_eq!((state.offset, state.stage), (end as u64, UploadStage::Unfinished));
            expected = end;
            if n % 2 == 1 {
                bench = bench.again(config);
            }
            assert_eq!(bench.find(ID).unwrap(), state);
        }
        bench.complete_upload(f());
        assert_eq!(bench.uploads(), [info_name(ID)]);
    });
}

#[test]
fn an_upload_can_be_cut_at_each_byte() {
    let dir = TempDir::new().unwrap();
    let config = StoreConfig { durability: Durability::Written, ..StoreConfig::default() };
    let mut bench = Bench::open(dir.path(), &config);
    for end in 1..LEN {
        let (file, offset) = bench.part(f());
        bench.write_part(file, offset, end);
        assert_eq!(bench.save(file, end).unwrap().offset, end as u64);
    }
    bench.complete_upload(f());
}

#[test]
fn what_was_written_after_the_last_save_does_not_count() {
    in_each_mode(|mut bench, config| {
        let (file, _) = bench.part(f());
        bench.write_part(file, 0, 300);
        assert_eq!(bench.checkpoint(file, 200), Ok(200));
        bench.write_part(file, 300, 700);
        assert_eq!(bench.offset(ID), 200);
        // The server is killed: nothing is saved.
        let mut bench = bench.again(config);
        assert_eq!(std::fs::metadata(bench.upload_path(&part_name(ID))).unwrap().len(), 700);
        let (file, offset) = bench.part(f());
        assert_eq!(offset, 200);
        assert_eq!(std::fs::metadata(bench.upload_path(&part_name(ID))).unwrap().len(), 200, "it is cut");
        assert_eq!(bench.end_part(file, PartEnd::Keep).unwrap().offset, 200);
        bench.complete_upload(f());
    });
}

#[test]
fn an_upload_of_unknown_length_learns_it_once() {
    in_each_mode(|mut bench, config| {
        let unknown = || new(Some(ID), hashed("d/f", None));
        let (file, _) = bench.part(unknown());
        bench.write_part(file, 0, 10);
        bench.save(file, 10).unwrap();
        let learn = |bench: &mut Bench, len| {
            bench
                .open_upload_of(UploadRef::Existing(ID), Some(len), CLIENT)
                .map(|(state, file, _)| (state.put.len, file))
        };
        assert!(matches!(learn(&mut bench, 9), Err(Failure::Malformed(_))), "it is longer already");
        let (len, file) = learn(&mut bench, LEN as u64).unwrap();
        assert_eq!(len, Some(LEN as u64));
        bench.end_part(file.unwrap(), PartEnd::Keep).unwrap();
        let mut bench = bench.again(config);
        assert_eq!(bench.find(ID).unwrap().put.len, Some(LEN as u64));
        assert!(matches!(learn(&mut bench, 999), Err(Failure::Malformed(_))), "it cannot change");
        bench.complete_upload(UploadRef::Existing(ID));
    });
}

#[test]
fn the_state_of_an_upload_is_returned_as_it_was_made() {
    in_each_mode(|mut bench, config| {
        let precondition =
            Precondition::All(Box::new([Precondition::Present, Precondition::NoneOf([Etag([1; 16])].into())]));
        bench.store_file("ä b", b"old", Precondition::None).unwrap();
        let made = Put { precondition, mtime: Some(-3), ..hashed("ä b", None) };
        let (state, file, _) = bench.open_upload(new(None, made.clone())).unwrap();
        assert_eq!((&state.put, &*state.metadata), (&made, "filename eA=="));
        bench.end_part(file.unwrap(), PartEnd::Keep).unwrap();
        let mut bench = bench.again(config);
        assert_eq!(bench.find(state.id), Ok(state.clone()));
        let (other, ..) = bench.open_upload(new(None, made)).unwrap();
        assert_ne!(other.id, state.id);
    });
}

#[test]
fn an_upload_with_an_id_of_its_client_is_made_again_if_it_is_of_something_else() {
    in_each_mode(|mut bench, _| {
        let others =
            [hashed("d/g", Some(LEN as u64)), hashed("d/f", Some(77)), put("d/f", Some(77), Precondition::None)];
        for other in others {
            let (file, offset) = bench.part(f());
            assert_eq!(offset, 0);
            bench.write_part(file, 0, 50);
            bench.save(file, 50).unwrap();
            let (state, file, _) = bench.open_upload(new(Some(ID), other)).unwrap();
            assert_eq!((state.offset, bench.uploads().len()), (0, 2));
            bench.end_part(file.unwrap(), PartEnd::Keep).unwrap();
        }
    });
}

#[test]
fn a_complete_upload_says_what_was_stored_while_that_is_there() {
    in_each_mode(|mut bench, config| {
        let (file, _) = bench.part(f());
        bench.write_part(file, 0, LEN);
        let stored = bench.commit_stored(file, "d/f").unwrap();
        for _ in 0..2 {
            let state = bench.find(ID).unwrap();
            assert_eq!((state.offset, state.stage), (LEN as u64, UploadStage::Complete(Some(stored))));
            let (state, file, _) = bench.open_upload(UploadRef::Existing(ID)).unwrap();
            assert_eq!((state.stage, file), (UploadStage::Complete(Some(stored)), None));
            bench = bench.again(config);
        }
        bench.store_file("d/f", b"another", Precondition::None).unwrap();
        assert_eq!(bench.find(ID).unwrap().stage, UploadStage::Complete(Some(stored)), "that is how it ended");
        let (file, offset) = bench.part(f());
        assert_eq!(offset, 0, "a client may use its token again");
        bench.end_part(file, PartEnd::Remove).unwrap();
        assert_eq!((bench.find(ID).err(), bench.uploads().len()), (Some(Failure::NotFound), 0));
    });
}

#[test]
fn a_commit_that_fails_keeps_the_part() {
    in_each_mode(|mut bench, config| {
        let (file, _) = bench.part(f());
        bench.write_part(file, 0, 400);
        bench.checkpoint(file, 400).unwrap();
        bench.write_part(file, 400, LEN);
        bench.store_file("d/f", b"in the way", Precondition::None).unwrap();
        let failed = bench.commit(file, "d/f", LEN as u64, Precondition::Absent);
        assert_eq!(failed, Err(Failure::PreconditionFailed));
        assert_eq!(bench.offset(ID), 400);
        let mut bench = bench.again(config);
        assert_eq!(bench.find(ID).unwrap().stage, UploadStage::Unfinished);
        let (file, _) = bench.part(f());
        assert_eq!(
            bench.commit(file, "d/f", 999, Precondition::None),
            Err(Failure::Internal),
            "not all of it is there"
        );
        bench.complete_upload(f());
    });
}

#[test]
fn a_writer_that_was_superseded_records_nothing_more() {
    in_each_mode(|mut bench, _| {
        let (old, _) = bench.part(f());
        bench.write_part(old, 0, 300);
        bench.checkpoint(old, 300).unwrap();
        let (new, offset) = bench.part(f());
        assert_eq!(offset, 300);
        bench.write_part(new, 300, 500);
        assert!(is_conflict(&bench.checkpoint(old, 400)), "of another generation");
        let late = bench.store.write_now(old, 300, b"late").map_err(|error| error.failure);
        assert!(is_conflict(&late), "nor writes to the part");
        assert_eq!(bench.checkpoint(new, 500), Ok(500));
        assert!(is_conflict(&bench.commit_stored(old, "d/f")) || bench.stat("d/f").is_err());
        assert_eq!(bench.offset(ID), 500);
        let (state, file, _) = bench.open_upload(f()).unwrap();
        assert!(is_conflict(&bench.save(new, 600)));
        assert_eq!((state.offset, bench.offset(ID)), (500, 500));
        bench.end_part(file.unwrap(), PartEnd::Keep).unwrap();
        bench.complete_upload(f());
    });
}

#[test]
fn an_upload_that_is_removed_is_gone_for_its_writer_too() {
    in_each_mode(|mut bench, config| {
        let (file, _) = bench.part(f());
        bench.write_part(file, 0, 300);
        bench.save(file, 300).unwrap();
        assert_eq!(bench.remove(ID), Ok(()));
        assert_eq!((bench.remove(ID), bench.uploads().len()), (Err(Failure::NotFound), 0));
        let (file, offset) = bench.part(f());
        assert_eq!(offset, 0);
        assert_eq!(bench.remove(ID), Ok(()));
        bench.write_part(file, 0, 300);
        assert_eq!(bench.checkpoint(file, 300), Err(Failure::Gone));
        assert!(bench.save(file, 300).is_err());
        let mut bench = bench.again(config);
        assert_eq!(bench.find(ID).err(), Some(Failure::NotFound));
    });
}

#[test]
fn a_torn_or_damaged_checkpoint_leaves_the_one_before_and_two_leave_no_upload() {
    in_each_mode(|mut bench, _| {
        let (file, _) = bench.part(f());
        for offset in [100, 200, 300] {
            bench.write_part(file, offset - 100, offset);
            bench.checkpoint(file, offset).unwrap();
        }
        bench.end_part(file, PartEnd::Keep).unwrap();
        let path = bench.upload_path(&info_name(ID));
        let whole = std::fs::read(&path).unwrap();
        let newest_at = usize::try_from(checkpoint_at(newest(&whole, ID).unwrap().sequence)).unwrap();
        let mut torn = whole.clone();
        torn[newest_at + 100] ^= 1;
        std::fs::write(&path, &torn).unwrap();
        assert_eq!(bench.offset(ID), 200);
        torn[8 * 1024 + 4 * 1024 + 8 * 1024 - newest_at] ^= 1;
        assert!(matches!(Info::parse(&torn, ID), Info::Torn));
        std::fs::write(&path, &torn).unwrap();
        assert_eq!(bench.find(ID).err(), Some(Failure::NotFound));
        assert_eq!(bench.part(f()).1, 0);
    });
}

#[test]
fn a_part_that_has_lost_bytes_is_no_upload_any_more() {
    in_each_mode(|mut bench, _| {
        let (file, _) = bench.part(f());
        bench.write_part(file, 0, 300);
        bench.save(file, 300).unwrap();
        let part = std::fs::OpenOptions::new().write(true).open(bench.upload_path(&part_name(ID))).unwrap();
        part.set_len(299).unwrap();
        assert_eq!(bench.find(ID).err(), Some(Failure::Gone));
        assert_eq!(bench.open_upload(UploadRef::Existing(ID)).err(), Some(Failure::Gone));
        assert_eq!(bench.part(f()).1, 0, "the same client may begin again");
    });
}

#[test]
fn bytes_that_were_never_synced_do_not_count_after_a_restart_of_the_machine() {
    for (durability, gone) in [(Durability::Durable, false), (Durability::Written, true)] {
        let dir = TempDir::new().unwrap();
        let config = StoreConfig { durability, ..StoreConfig::default() };
        let mut bench = Bench::open(dir.path(), &config);
        let (file, _) = bench.part(f());
        bench.write_part(file, 0, 300);
        bench.save(file, 300).unwrap();
        change_checkpoint(&bench, ID, |checkpoint| checkpoint.owner.boot = [9; 16]);
        assert_eq!(bench.find(ID).err(), gone.then_some(Failure::Gone), "{durability:?}");
    }
}

#[test]
fn a_folder_removed_by_hand_is_made_again() {
    in_each_mode(|mut bench, _| {
        let (file, _) = bench.part(f());
        bench.write_part(file, 0, 300);
        std::fs::remove_dir_all(bench.path(".filewharf")).unwrap();
        assert_eq!(bench.save(file, 300).err(), Some(Failure::Gone));
        assert_eq!(bench.find(ID).err(), Some(Failure::NotFound));
        let made = bench.open_upload(f()).err();
        assert!(made.is_none() || made == Some(Failure::Unavailable));
        bench.complete_upload(f());
    });
}

#[test]
fn a_read_only_store_knows_of_no_uploads_and_makes_none() {
    let dir = TempDir::new().unwrap();
    let mut bench = Bench::open(dir.path(), &StoreConfig::default());
    let (file, _) = bench.part(f());
    bench.save(file, 0).unwrap();
    let mut bench = bench.again(&StoreConfig { read_only: true, ..StoreConfig::default() });
    assert_eq!(bench.find(ID).err(), Some(Failure::NotFound));
    assert!(matches!(bench.open_upload(f()), Err(Failure::Denied(_))));
    assert!(matches!(bench.remove(ID), Err(Failure::Denied(_))));
}

#[test]
fn the_conditions_of_the_newest_request_count() {
    in_each_mode(|mut bench, _| {
        let (file, _) = bench.part(f());
        bench.write_part(file, 0, 300);
        bench.save(file, 300).unwrap();
        let put = Put { precondition: Precondition::Absent, mtime: Some(7), ..hashed("d/f", Some(LEN as u64)) };
        let (state, file, _) = bench.open_upload(new(Some(ID), put)).unwrap();
        assert_eq!((state.offset, state.put.precondition, state.put.mtime), (300, Precondition::Absent, Some(7)));
        bench.end_part(file.unwrap(), PartEnd::Keep).unwrap();
        let (state, ..) = bench.open_upload(f()).unwrap();
        assert_eq!((state.put.precondition, state.put.mtime), (Precondition::None, None));
    });
}

#[test]
fn what_a_failed_part_has_taken_after_its_offset_is_given_back() {
    in_each_mode(|mut bench, _| {
        let (file, _) = bench.part(f());
        bench.write_part(file, 0, 700);
        bench.checkpoint(file, 200).unwrap();
        assert_eq!(bench.end_part(file, PartEnd::Keep).unwrap().offset, 200);
        assert_eq!(std::fs::metadata(bench.upload_path(&part_name(ID))).unwrap().len(), 200);
        bench.complete_upload(f());
    });
}
