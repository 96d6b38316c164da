//! What is mounted inside the root; here a directory stands for it.
use super::*;
use crate::ids::ClientAddress;
use crate::store::fs::errno::OTHER_FILE_SYSTEM;
use crate::store::fs::linux::{self, Resolve};
use crate::store::pool::jobs::Held;
use crate::store::pool::mounted::POINT;
use crate::upload::{NewUpload, PartEnd, Role, UploadId, UploadRef};
use rustix::fs::OFlags;
use rustix::io::Errno;

#[test]
fn what_is_mounted_inside_is_asked_by_workers_only_and_each_mount_has_one_share_of_them() {
    for portable in [false, true] {
        let dir = TempDir::new().unwrap();
        std::fs::create_dir_all(dir.path().join("vol/in/ner")).unwrap();
        for name in ["file", "vol/file", "vol/in/ner/file"] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        let config = StoreConfig { portable, ..StoreConfig::default() };
        let mut bench = Bench::open(dir.path(), &config);
        bench.store.fs.mounts.set(&["vol", "vol/in/ner"]);
        for name in ["vol", "vol/file", "vol/in/ner/file"] {
            for op in [Op::Open { key: key(name) }, Op::Run(Whole::Stat { key: key(name) })] {
                assert!(bench.store.try_now(CONN, op).is_err(), "{name}");
            }
        }
        for (name, share) in
            [("file", ""), ("vol/file", "vol"), ("vol/a/b/c", "vol"), ("vol/in/ner/file", "vol/in/ner")]
        {
            let op = Op::Open { key: key(name) };
            assert_eq!(bench.store.dir_of(&op, &Held::None), Some(share), "{name}");
        }
        for name in ["file", "vol/file", "vol/in/ner/file"] {
            assert_eq!(bench.content(name), name.as_bytes());
            assert!(matches!(bench.stat(name), Ok(Node::File(_))));
        }
        assert!(matches!(bench.stat("vol"), Ok(Node::Dir { .. })));
        assert_eq!(bench.names("vol"), ["file", "in"]);
        assert_eq!(bench.open_file("vol/none").unwrap_err(), Failure::NotFound);
        assert_eq!(bench.open_file("vol/in").unwrap_err(), Failure::Conflict("that is a folder"));
    }
}

/// The digest table is that of the root: the same inode elsewhere is another file.
#[test]
fn no_digest_of_the_root_is_given_for_a_file_in_a_mount() {
    let dir = TempDir::new().unwrap();
    std::fs::create_dir(dir.path().join("vol")).unwrap();
    let mut bench = Bench::open(dir.path(), &StoreConfig::default());
    let upload = Put { sha256: Some(Box::new([7; 32])), ..put("vol/file", Some(1), Precondition::None) };
    bench.run(Op::Store { put: Box::new(upload), chunk: chunk(b"x") }).unwrap();
    let digest = |bench: &mut Bench| (bench.open_file("vol/file").unwrap().1.sha256, bench.stat("vol/file").unwrap());
    assert!(matches!(digest(&mut bench), (Some([7, ..]), Node::File(Meta { sha256: Some(_), .. }))));
    bench.store.fs.mounts.set(&["vol"]);
    assert!(matches!(digest(&mut bench), (None, Node::File(Meta { sha256: None, .. }))));
}

/// As the kernel does where something is mounted at `vol`.
fn open_crossing(at: BorrowedFd<'_>, path: &str, flags: OFlags, resolve: Resolve) -> Result<OwnedFd, Errno> {
    if !resolve.mounts && path.split('/').next() == Some("vol") {
        return Err(Errno::XDEV);
    }
    linux::open_beneath(at, path, flags, resolve)
}

fn with_mount(root: &Path, durability: Durability) -> Bench {
    let config = StoreConfig { durability, ..StoreConfig::default() };
    let calls = |root: BorrowedFd<'_>| Calls { open: open_crossing, ..SyncCalls::of(root).into() };
    let bench = Bench::open_synced_by(root, &config, Fixed::default(), calls);
    bench.store.fs.mounts.set(&["vol"]);
    bench
}

fn in_staging(root: &Path) -> usize {
    std::fs::read_dir(root.join(".filewharf/staging")).map_or(0, Iterator::count)
}

#[test]
fn a_mount_is_written_to_by_workers_with_a_reserved_directory_of_its_own() {
    for durability in [Durability::Durable, Durability::Written] {
        let dir = TempDir::new().unwrap();
        let vol = dir.path().join("vol");
        std::fs::create_dir(&vol).unwrap();
        let mut bench = with_mount(dir.path(), durability);
        if !bench.store.fs.caps.openat2 {
            return;
        }
        for op in [
            Op::Store { put: Box::new(put("vol/a", Some(1), Precondition::None)), chunk: chunk(b"x") },
            Op::Create(put("vol/a", Some(1), Precondition::None)),
            Op::Run(Whole::MakeDir { key: key("vol/d"), parents: MissingParents::Make }),
            Op::Run(Whole::Delete {
                key: key("vol/a"),
                is_recursive: false,
                expected_kind: ExpectedKind::Either,
                precondition: Precondition::None,
            }),
        ] {
            assert!(bench.store.try_now(CONN, op).is_err(), "only on a worker");
        }
        assert!(!vol.join(".filewharf").exists(), "nothing was changed there yet");
        bench.store_file("vol/new/er/file", b"stored", Precondition::Absent).unwrap();
        let file = bench.create("vol/sent", Some(4), Precondition::None).unwrap();
        assert_eq!(std::fs::read_dir(vol.join(".filewharf/staging")).unwrap().count(), 1);
        assert_eq!(bench.staged(), 0, "it grows where it will be");
        bench.store.write_now(file, 0, b"sent").unwrap();
        bench.commit(file, "vol/sent", 4, Precondition::Absent).unwrap();
        bench.make("vol/made/d").unwrap();
        bench.rename("vol/sent", "vol/made/moved", Precondition::None).unwrap();
        assert_eq!(bench.content("vol/new/er/file"), b"stored");
        assert_eq!(bench.content("vol/made/moved"), b"sent");
        assert_eq!(bench.names("vol"), ["made", "new"], "what is reserved is not listed");
        bench.delete("vol/new/er/file", Precondition::None).unwrap();
        bench.store_file("own", b"own", Precondition::None).unwrap();
        for (from, to) in [("own", "vol/own"), ("vol/made/moved", "own2"), ("vol/made", "made")] {
            assert_eq!(bench.rename(from, to, Precondition::None).unwrap_err(), OTHER_FILE_SYSTEM, "{from} to {to}");
        }
        assert_eq!(bench.store_file("vol", b"x", Precondition::None).unwrap_err(), POINT);
        assert_eq!(bench.delete("vol", Precondition::None).unwrap_err(), POINT);
        assert_eq!(bench.rename("vol", "other", Precondition::None).unwrap_err(), POINT);
        assert_eq!(bench.rename("own", "vol", Precondition::None).unwrap_err(), POINT);
        assert!(matches!(bench.make("vol"), Ok(Outcome::Answered(Answer::DirMade { is_new: false }))));
        drop(bench);
        assert_eq!((in_staging(&vol), in_staging(dir.path())), (0, 0), "nothing is left");
    }
}

#[test]
fn an_upload_in_parts_into_a_mount_is_found_by_its_id_also_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let vol = dir.path().join("vol");
    std::fs::create_dir(&vol).unwrap();
    let mut bench = with_mount(dir.path(), Durability::Durable);
    if !bench.store.fs.caps.openat2 {
        return;
    }
    let id = UploadId([7; 16]);
    let new = NewUpload {
        id: Some(id),
        put: put("vol/f", Some(4), Precondition::None),
        metadata: "".into(),
        role: Role::Whole,
    };
    let open =
        |upload| Op::OpenUpload { upload, len: None, client: ClientAddress::from_bits(1), permit: Permit::default() };
    let part = |outcome| match outcome {
        Ok(Outcome::UploadOpened { upload, file: Some(file), .. }) => (upload.offset, file),
        other => panic!("{other:?}"),
    };
    let (offset, file) = part(bench.run(open(UploadRef::New(Box::new(new)))));
    assert_eq!(offset, 0);
    bench.store.write_now(file, 0, b"ab").unwrap();
    bench.run(Op::EndPart { file, end: PartEnd::Save { offset: 2, digest: None } }).unwrap();
    assert!(vol.join(".filewharf/uploads").exists() && !dir.path().join(".filewharf/uploads").exists());
    drop(bench);
    let mut bench = with_mount(dir.path(), Durability::Durable);
    bench.store.pool.adopt("vol");
    while bench.store.pool.mounted.keeper_of(id).is_none() {
        std::thread::yield_now(); // the first pass is under way
    }
    let (offset, file) = part(bench.run(open(UploadRef::Existing(id))));
    assert_eq!(offset, 2);
    bench.store.write_now(file, 2, b"cd").unwrap();
    bench.commit(file, "vol/f", 4, Precondition::None).unwrap();
    assert_eq!(bench.content("vol/f"), b"abcd");
    assert!(matches!(bench.run(Op::RemoveUpload { id, permit: Permit::default() }), Ok(Outcome::UploadRemoved(_))));
}

#[test]
fn what_is_stored_in_a_mount_counts_for_a_quota() {
    let dir = TempDir::new().unwrap();
    std::fs::create_dir(dir.path().join("vol")).unwrap();
    std::fs::write(dir.path().join("vol/before"), [0; 600]).unwrap();
    let mut bench = with_mount(dir.path(), Durability::Written);
    if !bench.store.fs.caps.openat2 {
        return;
    }
    let quota = crate::config::Quota { prefix: "vol".into(), max: 1000, unit: crate::config::QuotaUnit::Bytes };
    bench.store.set_quotas(&[quota]);
    bench.store.pool.count(None);
    let stored = |bench: &mut Bench, len| bench.store_file("vol/new", &vec![0; len], Precondition::None);
    loop {
        match stored(&mut bench, 100) {
            Ok(_) => break,
            Err(failure) => assert_eq!(failure, Failure::Counting),
        }
    }
    assert_eq!(stored(&mut bench, 500).unwrap_err(), Failure::OverQuota);
    stored(&mut bench, 300).unwrap();
}
