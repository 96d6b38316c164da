//! What is mounted inside the root; here a directory stands for it.
use super::*;
use crate::store::pool::jobs::Held;

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
            for op in [Op::Open { key: key(name) }, Op::Stat { key: key(name) }] {
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
fn no_digest_of_the_root_is_told_of_a_file_in_a_mount() {
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
