//! Uploads that are concatenated from others: either all of the whole is there under its name, or all of the parts are.
use super::*;
use crate::store::mutex::lock;
use crate::upload::{JOINED, NO_PART, NOT_PARTIAL, PART_UNFINISHED};

const WHOLE: UploadId = UploadId([0xFF; 16]);
/// Where each part of the content begins and ends; one is empty.
const PIECES: [(usize, usize); 3] = [(0, 301), (301, 301), (301, LEN)];

pub(super) fn part_id(n: usize) -> UploadId {
    UploadId([1 + n as u8; 16])
}

pub(super) fn with_role(id: UploadId, put: Put, role: Role) -> UploadRef {
    UploadRef::New(Box::new(NewUpload { id: Some(id), put, metadata: "".into(), role }))
}

/// The upload that is concatenated from these.
pub(super) fn whole(put: Put, parts: &[UploadId]) -> UploadRef {
    with_role(WHOLE, put, Role::Final(parts.into()))
}

fn all() -> Vec<UploadId> {
    (0..PIECES.len()).map(part_id).collect()
}

fn to_f() -> Put {
    put("d/f", None, Precondition::None)
}

impl Bench {
    /// A partial upload of this many bytes, of which these have come.
    pub(super) fn partial(&mut self, id: UploadId, bytes: &[u8], len: u64) {
        // It never gets the name, so what has it does not matter.
        let put = put("d/f", Some(len), Precondition::Absent);
        let (_, file, _) = self.open_upload(with_role(id, put, Role::Partial)).unwrap();
        let file = file.expect("a part can be written");
        self.store.write_now(file, 0, bytes).unwrap();
        let state = self.end_part(file, PartEnd::Save { offset: bytes.len() as u64, digest: None }).unwrap();
        assert_eq!(
            (state.offset, state.stage, state.role),
            (bytes.len() as u64, UploadStage::Unfinished, Role::Partial)
        );
    }

    /// All parts of the content.
    fn partials(&mut self) {
        for (n, (from, to)) in PIECES.into_iter().enumerate() {
            self.partial(part_id(n), &content()[from..to], (to - from) as u64);
        }
    }

    pub(super) fn begin_join(&mut self, upload: UploadRef) -> FileId {
        let (state, file, _) = self.open_upload(upload).unwrap();
        assert_eq!((state.offset, state.stage), (0, UploadStage::Unfinished));
        file.expect("it can be written")
    }

    /// Every step of a join; returns the digest state, and how many there were.
    pub(super) fn join(
        &mut self,
        file: FileId,
        len: u64,
        mut digest: Option<DigestState>,
    ) -> (Option<DigestState>, usize) {
        let (mut offset, mut steps) = (0, 0);
        while offset < len {
            match self.run(Op::Join { file, offset, digest }).unwrap() {
                Outcome::Joined { len, digest: next } => {
                    digest = next;
                    offset += len;
                    steps += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(offset, len);
        (digest, steps)
    }

    pub(super) fn commit_joined(
        &mut self,
        file: FileId,
        name: &str,
        precondition: Precondition,
    ) -> Result<Stored, Failure> {
        let (len, prepend) = (LEN as u64, Box::default());
        let op = Op::Commit { file, key: key(name), len, prepend, mtime: None, digest: None, precondition };
        match self.run(op)? {
            Outcome::Committed(stored) => Ok(stored),
            other => panic!("{other:?}"),
        }
    }

    fn has_all_parts(&mut self) -> bool {
        let lens = PIECES.map(|(from, to)| Ok((to - from) as u64));
        let found: Vec<_> = all().into_iter().map(|id| self.find(id).map(|state| state.offset)).collect();
        found == lens
    }
}

#[test]
fn parts_become_one_file_and_are_removed_once_it_has_its_name() {
    for hash in [false, true] {
        in_every_mode(|bench| {
            bench.partials();
            let file = bench.begin_join(whole(Put { hash, ..to_f() }, &all()));
            assert_eq!(bench.find(WHOLE).unwrap().put.len, Some(LEN as u64));
            let (digest, _) = bench.join(file, LEN as u64, digest_at(0).filter(|_| hash));
            assert_eq!(digest, digest_at(LEN).filter(|_| hash));
            assert!(bench.has_all_parts());
            bench.commit_joined(file, "d/f", Precondition::None).unwrap();
            assert_eq!(bench.content("d/f"), content());
            assert_eq!(bench.uploads(), [info_name(WHOLE)]);
            let found = bench.find(WHOLE).unwrap();
            assert!(matches!(found.stage, UploadStage::Complete(Some(_))) && found.role == Role::Final(all().into()));
            assert_eq!(bench.open_upload(UploadRef::Existing(WHOLE)).err(), Some(JOINED));
        });
    }
}

#[test]
fn a_join_goes_in_steps() {
    const MIB: usize = 1024 * 1024;
    for config in modes() {
        let dir = TempDir::new().unwrap();
        let mut bench = Bench::open(dir.path(), &config);
        let bytes: Vec<u8> = (0..11 * MIB as u32).map(|n| ((n * 31) >> 7) as u8).collect();
        bench.partial(part_id(0), &bytes[..9 * MIB + 5], (9 * MIB + 5) as u64);
        bench.partial(part_id(1), &bytes[9 * MIB + 5..], (2 * MIB - 5) as u64);
        let parts = [part_id(0), part_id(1), part_id(0)];
        let file = bench.begin_join(whole(to_f(), &parts));
        let len = (20 * MIB + 5) as u64;
        assert_eq!(bench.join(file, len, None).1, 3, "of 8 MiB at most");
        let joined = std::fs::read(bench.upload_path(&part_name(WHOLE))).unwrap();
        assert!(joined[..11 * MIB] == bytes && joined[11 * MIB..] == bytes[..9 * MIB + 5], "{config:?}");
    }
}

#[test]
fn what_is_no_complete_partial_upload_is_not_joined() {
    in_every_mode(|bench| {
        let (file, _) = bench.part(f());
        bench.write_part(file, 0, 300);
        bench.save(file, 300).unwrap();
        assert_eq!(bench.open_upload(whole(to_f(), &[ID])).err(), Some(NOT_PARTIAL));
        bench.partial(part_id(7), b"abc", 4);
        bench.partials();
        assert_eq!(bench.open_upload(whole(to_f(), &[part_id(0), part_id(7)])).err(), Some(PART_UNFINISHED));
        assert_eq!(bench.open_upload(whole(to_f(), &[part_id(0), part_id(8)])).err(), Some(NO_PART));
        let is_kept = |name: &String| name.starts_with(&WHOLE.to_string());
        assert!(bench.has_all_parts() && !bench.uploads().iter().any(is_kept));
    });
}

#[test]
fn a_part_that_is_removed_meanwhile_ends_the_join() {
    in_every_mode(|bench| {
        bench.partials();
        let file = bench.begin_join(whole(to_f(), &all()));
        bench.remove(part_id(0)).unwrap();
        assert_eq!(bench.run(Op::Join { file, offset: 0, digest: None }).err(), Some(NO_PART));
        bench.end_part(file, PartEnd::Keep).unwrap();
        assert_eq!(bench.find(WHOLE).err(), Some(Failure::NotFound));
        assert_eq!(bench.find(part_id(2)).map(|state| state.offset), Ok((LEN - 301) as u64));
    });
}

#[test]
fn of_a_join_that_ends_early_nothing_stays_but_its_parts() {
    let ends = [PartEnd::Keep, PartEnd::Remove, PartEnd::Save { offset: 0, digest: None }];
    for end in ends {
        in_every_mode(|bench| {
            bench.partials();
            let before = bench.uploads();
            let file = bench.begin_join(whole(to_f(), &all()));
            bench.run(Op::Join { file, offset: 0, digest: None }).unwrap();
            bench.end_part(file, end.clone()).unwrap();
            assert!(bench.has_all_parts() && bench.uploads() == before);
        });
    }
}

#[test]
fn a_commit_that_fails_leaves_the_parts_and_what_had_the_name() {
    in_each_mode(|mut bench, config| {
        bench.partials();
        let before = bench.uploads();
        let file = bench.begin_join(whole(Put { precondition: Precondition::Absent, ..to_f() }, &all()));
        bench.join(file, LEN as u64, None);
        bench.store_file("d/f", b"older", Precondition::None).unwrap();
        let failed = bench.commit_joined(file, "d/f", Precondition::Absent);
        assert_eq!(failed, Err(Failure::PreconditionFailed));
        assert_eq!((bench.uploads(), bench.content("d/f")), (before.clone(), b"older".to_vec()));
        let mut bench = bench.again(config);
        assert!(bench.has_all_parts());
        assert_eq!(bench.find(WHOLE).err(), Some(Failure::NotFound));
    });
}

#[test]
fn a_join_that_the_server_did_not_survive_is_removed_at_the_next_start() {
    for is_committing in [false, true] {
        in_each_mode(|mut bench, config| {
            bench.partials();
            let before = bench.uploads();
            let file = bench.begin_join(whole(to_f(), &all()));
            bench.join(file, LEN as u64, None);
            if is_committing {
                let status = crate::store::resumable::checkpoint::Status::Committing;
                change_checkpoint(&bench, WHOLE, |checkpoint| checkpoint.status = status);
            }
            bench.pass(10);
            assert_eq!(bench.uploads().len(), before.len() + 2, "a connection is attached");
            // The server is killed.
            let mut bench = bench.again(config);
            assert!(bench.has_all_parts() && bench.uploads() == before);
            let file = bench.begin_join(whole(to_f(), &all()));
            bench.join(file, LEN as u64, None);
            bench.commit_joined(file, "d/f", Precondition::None).unwrap();
            assert_eq!(bench.content("d/f"), content());
        });
    }
}

#[test]
fn parts_that_outlived_the_commit_are_removed_at_the_next_start_if_the_file_is_there() {
    for is_there in [true, false] {
        in_each_mode(|mut bench, config| {
            bench.partials();
            let files: Vec<_> = bench.uploads().into_iter().map(|name| bench.upload_path(&name)).collect();
            let copies: Vec<_> = files.iter().map(|path| std::fs::read(path).unwrap()).collect();
            let file = bench.begin_join(whole(to_f(), &all()));
            bench.join(file, LEN as u64, None);
            bench.commit_joined(file, "d/f", Precondition::None).unwrap();
            files.iter().zip(copies).for_each(|(path, copy)| std::fs::write(path, copy).unwrap());
            if !is_there {
                bench.delete("d/f", Precondition::None).unwrap();
            }
            let mut bench = bench.again(config);
            assert_eq!(bench.uploads() == [info_name(WHOLE)], is_there);
            assert_eq!(bench.has_all_parts(), !is_there);
        });
    }
}

#[test]
fn parts_are_joined_in_vain_a_few_times_only() {
    let dir = TempDir::new().unwrap();
    let mut bench = Bench::open(dir.path(), &StoreConfig::default());
    bench.partial(part_id(0), &[3; 600], 600);
    bench.partial(part_id(1), &[4; 600], 600);
    for _ in 0..8 {
        let joined = bench.begin_join(whole(to_f(), &[part_id(0)]));
        bench.end_part(joined, PartEnd::Remove).unwrap();
    }
    for parts in [&[part_id(0)][..], &[part_id(1), part_id(0)]] {
        assert!(is_conflict(&bench.open_upload(whole(to_f(), parts))));
    }
    let joined = bench.begin_join(whole(to_f(), &[part_id(1)]));
    bench.end_part(joined, PartEnd::Remove).unwrap();
    bench.remove(part_id(0)).unwrap();
    bench.partial(part_id(0), &[3; LEN - 600], LEN as u64 - 600);
    let joined = bench.begin_join(whole(to_f(), &[part_id(0), part_id(1)]));
    bench.join(joined, LEN as u64, None);
    bench.commit_joined(joined, "d/f", Precondition::None).unwrap();
}

#[test]
fn a_join_for_which_there_is_no_space_loses_nothing() {
    let dir = TempDir::new().unwrap();
    let limits = Fixed { uploads_kept_bytes_max: 5 * 1024 * 1024, ..Fixed::default() };
    let mut bench = Bench::open_limited(dir.path(), &StoreConfig::default(), limits);
    let bytes = vec![3; 2 * 1024 * 1024];
    bench.partial(part_id(0), &bytes, bytes.len() as u64);
    let before = bench.uploads();
    *lock(&bench.store.pool.volume.names.staging.space.free) = Some(1024 * 1024);
    assert_eq!(bench.open_upload(whole(to_f(), &[part_id(0)])).err(), Some(Failure::NoSpace));
    *lock(&bench.store.pool.volume.names.staging.space.free) = None;
    bench.store.pool.volume.names.staging.space.forget_measurement();
    // One client has half of the bytes.
    assert_eq!(bench.open_upload(whole(to_f(), &[part_id(0)])).err(), Some(Failure::NoSpace));
    assert_eq!((bench.uploads(), bench.offset(part_id(0))), (before, bytes.len() as u64));
}
