//! What a file takes over from the one that it replaces or from its directory, and what not.
use super::*;
use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

/// Stores in one piece, and in pieces.
fn replace(bench: &mut Bench, name: &str) {
    bench.store_file(name, b"new", Precondition::None).unwrap();
    let file = bench.create(name, Some(5), Precondition::None).unwrap();
    bench.store.write_now(file, 0, b"newer").unwrap();
    bench.commit(file, name, 5, Precondition::None).unwrap();
    assert_eq!(bench.content(name), b"newer");
}

fn make(bench: &Bench, name: &str, mode: u32) -> PathBuf {
    let path = bench.path(name);
    std::fs::write(&path, "old").unwrap();
    set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path
}

fn mode_of(path: &Path) -> u32 {
    path.metadata().unwrap().mode() & 0o7777
}

#[test]
fn a_file_that_is_replaced_keeps_its_mode() {
    in_every_mode(|bench| {
        for mode in [0o600, 0o640, 0o666, 0o755, 0o700, 0o604] {
            let path = make(bench, "f", mode);
            replace(bench, "f");
            assert_eq!(mode_of(&path), mode, "{mode:o}");
        }
    });
}

#[test]
fn what_runs_a_program_as_its_owner_is_not_kept() {
    in_every_mode(|bench| {
        let path = make(bench, "f", 0o6755);
        replace(bench, "f");
        assert_eq!(mode_of(&path), 0o755);
    });
}

#[test]
fn the_mode_of_new_files_is_for_new_names_only() {
    for durability in [Durability::Durable, Durability::Written] {
        let dir = TempDir::new().unwrap();
        let config = StoreConfig { durability, file_mode: Some(0o640), ..StoreConfig::default() };
        let mut bench = Bench::open(dir.path(), &config);
        let path = make(&bench, "old", 0o604);
        replace(&mut bench, "old");
        bench.store_file("new", b"new", Precondition::None).unwrap();
        assert_eq!((mode_of(&path), mode_of(&bench.path("new"))), (0o604, 0o640));
    }
}

#[test]
fn an_upload_with_execute_bits_has_those_that_its_read_bits_allow() {
    in_every_mode(|bench| {
        let put = |name| Put { is_executable: true, ..put(name, Some(1), Precondition::None) };
        let store = |bench: &mut Bench, name| {
            let op = Op::Store { put: Box::new(put(name)), chunk: chunk(b"x") };
            let Outcome::Committed(stored) = bench.complete(op).result.unwrap() else { panic!("not committed") };
            assert!(stored.meta.is_executable);
            assert_eq!(bench.stat(name).unwrap(), Node::File(stored.meta));
        };
        bench.store_file("plain", b"x", Precondition::None).unwrap();
        let plain = mode_of(&bench.path("plain"));
        store(bench, "small");
        let Outcome::Created(file) = bench.run(Op::Create(put("large"))).unwrap() else { panic!("not made") };
        bench.store.write_now(file, 0, b"x").unwrap();
        bench.commit(file, "large", 1, Precondition::None).unwrap();
        for name in ["small", "large"] {
            assert_eq!(mode_of(&bench.path(name)), plain | (plain & 0o444) >> 2, "{name}");
        }
        for (old, new) in [(0o640, 0o750), (0o600, 0o700), (0o755, 0o755)] {
            let path = make(bench, "f", old);
            store(bench, "f");
            assert_eq!(mode_of(&path), new, "{old:o}");
            replace(bench, "f");
            assert_eq!(mode_of(&path), new, "kept as any mode is");
        }
    });
}

#[test]
fn a_file_that_replaces_another_by_a_move_keeps_its_own_mode() {
    in_every_mode(|bench| {
        let (_, path) = (make(bench, "from", 0o640), make(bench, "to", 0o604));
        bench.rename("from", "to", Precondition::None).unwrap();
        assert_eq!(mode_of(&path), 0o640);
    });
}

#[cfg(target_os = "linux")]
mod lists {
    use super::*;
    use rustix::fs::{XattrFlags, getxattr, setxattr};
    use rustix::io::Errno;

    const ACL: &str = "system.posix_acl_access";

    /// Read and write for the owner and for user 4711, nothing for the group and others (acl(5), in the kernel's form).
    fn with_one_more_user() -> Vec<u8> {
        let entry =
            |tag: u16, bits: u16, id: u32| [&tag.to_le_bytes()[..], &bits.to_le_bytes(), &id.to_le_bytes()].concat();
        let none = u32::MAX;
        let entries = [(0x01, 6, none), (0x02, 6, 4711), (0x04, 0, none), (0x10, 6, none), (0x20, 0, none)];
        let entries = entries.into_iter().flat_map(|(tag, bits, id)| entry(tag, bits, id));
        2_u32.to_le_bytes().into_iter().chain(entries).collect()
    }

    fn acl_of(path: &Path) -> Option<Vec<u8>> {
        let mut space = [0; 256];
        getxattr(path, ACL, &mut space).ok().map(|len| space[..len].to_vec())
    }

    const DEFAULT_ACL: &str = "system.posix_acl_default";

    /// What decides about access: mode, group, list.
    fn access_of(path: &Path) -> (u32, u32, Option<Vec<u8>>) {
        (mode_of(path), path.metadata().unwrap().gid(), acl_of(path))
    }

    /// A file and a directory like those that are made in `dir` itself.
    fn made_in_place(dir: &Path) -> [(u32, u32, Option<Vec<u8>>); 2] {
        let (file, inner) = (dir.join("file in place"), dir.join("directory in place"));
        std::fs::write(&file, "").unwrap();
        std::fs::create_dir(&inner).unwrap();
        [access_of(&file), access_of(&inner)]
    }

    fn store_everywhere(bench: &mut Bench) {
        for folder in ["", "new/"] {
            bench.store_file(&format!("d/{folder}whole"), b"new", Precondition::None).unwrap();
            let name = format!("d/{folder}pieces");
            let file = bench.create(&name, Some(3), Precondition::None).unwrap();
            bench.store.write_now(file, 0, b"new").unwrap();
            bench.commit(file, &name, 3, Precondition::None).unwrap();
        }
        bench.make("d/made").unwrap();
    }

    fn assert_like_in_place(bench: &mut Bench) {
        store_everywhere(bench);
        let dir = bench.path("d");
        let [file, inner] = made_in_place(&dir);
        for name in ["whole", "pieces"] {
            assert_eq!(access_of(&dir.join(name)), file, "{name}");
            assert_eq!(access_of(&dir.join("new").join(name)), made_in_place_of(&dir.join("new")), "new/{name}");
        }
        assert_eq!((access_of(&dir.join("made")), access_of(&dir.join("new"))), (inner.clone(), inner));
    }

    fn made_in_place_of(dir: &Path) -> (u32, u32, Option<Vec<u8>>) {
        let file = dir.join("file in place");
        std::fs::write(&file, "").unwrap();
        access_of(&file)
    }

    #[test]
    fn new_files_and_directories_get_the_group_that_their_directory_gives() {
        in_every_mode(|bench| {
            let dir = bench.path("d");
            std::fs::create_dir(&dir).unwrap();
            if std::os::unix::fs::chown(&dir, None, Some(4711)).is_err() {
                return; // only root can
            }
            set_permissions(&dir, Permissions::from_mode(0o2775)).unwrap();
            assert_like_in_place(bench);
            assert_eq!(access_of(&dir.join("whole")).1, 4711);
        });
    }

    #[test]
    fn new_files_and_directories_get_the_list_that_their_directory_gives() {
        in_every_mode(|bench| {
            let dir = bench.path("d");
            std::fs::create_dir(&dir).unwrap();
            match setxattr(&dir, DEFAULT_ACL, &with_one_more_user(), XattrFlags::empty()) {
                Err(Errno::OPNOTSUPP) => return,
                set => set.unwrap(),
            }
            assert_like_in_place(bench);
            assert!(acl_of(&dir.join("whole")).is_some());
        });
    }

    #[test]
    fn what_the_root_gives_is_not_given_to_files_in_other_directories() {
        for config in modes() {
            let root = TempDir::new().unwrap();
            let other = root.path().join("d");
            std::fs::create_dir(&other).unwrap();
            match setxattr(root.path(), DEFAULT_ACL, &with_one_more_user(), XattrFlags::empty()) {
                Err(Errno::OPNOTSUPP) => return,
                set => set.unwrap(),
            }
            if std::os::unix::fs::chown(root.path(), None, Some(4711)).is_ok() {
                set_permissions(root.path(), Permissions::from_mode(0o2775)).unwrap();
            }
            let mut bench = Bench::open(root.path(), &config);
            assert_like_in_place(&mut bench);
            assert_eq!(acl_of(&other.join("whole")), None);
        }
    }

    #[test]
    fn a_file_that_is_replaced_where_a_list_is_given_gets_no_list() {
        in_every_mode(|bench| {
            let path = make(bench, "f", 0o600);
            match setxattr(bench.path(""), DEFAULT_ACL, &with_one_more_user(), XattrFlags::empty()) {
                Err(Errno::OPNOTSUPP) => return,
                set => set.unwrap(),
            }
            replace(bench, "f");
            assert_eq!((mode_of(&path), acl_of(&path)), (0o600, None));
        });
    }

    /// A file that gets a list while content is synced.
    static CHANGED: std::sync::Mutex<Option<PathBuf>> = std::sync::Mutex::new(None);

    fn change_and_sync(file: BorrowedFd<'_>, all: bool) -> Result<(), Errno> {
        if let Some(path) = CHANGED.lock().unwrap().take() {
            let changed = || path.metadata().map(|about| (about.ctime(), about.ctime_nsec())).unwrap();
            let before = changed();
            // Until the clock of the file system has ticked.
            while changed() == before {
                setxattr(&path, ACL, &with_one_more_user(), XattrFlags::empty())?;
            }
        }
        crate::store::fs::linux::sync_file(file, all)
    }

    #[test]
    fn a_list_that_a_file_gets_while_the_one_that_replaces_it_is_synced_is_kept() {
        let dir = TempDir::new().unwrap();
        let probe = setxattr(dir.path(), ACL, &with_one_more_user(), XattrFlags::empty());
        if probe == Err(Errno::OPNOTSUPP) {
            return; // this file system has none
        }
        let names = crate::store::fs::linux::sync_dir;
        let sync = SyncCalls { content: change_and_sync, names, scope: Scope::Dir };
        let mut bench = Bench::open_synced_by(dir.path(), &StoreConfig::default(), Fixed::default(), |_| sync);
        let path = make(&bench, "f", 0o660);
        *CHANGED.lock().unwrap() = Some(path.clone());
        bench.store_file("f", b"new", Precondition::None).unwrap();
        assert_eq!(*CHANGED.lock().unwrap(), None);
        assert_eq!((mode_of(&path), acl_of(&path)), (0o660, Some(with_one_more_user())));
    }

    #[test]
    fn a_file_that_is_replaced_keeps_its_access_control_list() {
        in_every_mode(|bench| {
            let path = make(bench, "f", 0o600);
            match setxattr(&path, ACL, &with_one_more_user(), XattrFlags::empty()) {
                Err(Errno::OPNOTSUPP) => return, // this file system has none
                set => set.unwrap(),
            }
            let before = (mode_of(&path), acl_of(&path));
            assert_eq!(before.0, 0o660, "the mode shows the mask");
            replace(bench, "f");
            assert_eq!((mode_of(&path), acl_of(&path)), before, "the group got what only one user had");
        });
    }
}
