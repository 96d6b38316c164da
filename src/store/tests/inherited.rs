//! What a file takes over from the one that it replaces, and what not.
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
