//! What is known of file systems by their numbers in statfs(2), and where one number stands for many, by the names in
//! proc_pid_mountinfo(5).

const TMPFS: u64 = 0x0102_1994;
const RAMFS: u64 = 0x8584_58F6;
const EXT4: u64 = 0xEF53;
const XFS: u64 = 0x5846_5342;
pub(crate) const BTRFS: u64 = 0x9123_683E;
const F2FS: u64 = 0xF2F5_2010;
pub(crate) const OVERLAY: u64 = 0x794C_7630;
const ZFS: u64 = 0x2FC1_2FC1;
const BCACHEFS: u64 = 0xCA45_1A4E;
const SQUASHFS: u64 = 0x7371_7368;
const EROFS: u64 = 0xE0F5_E1E2;
const EXFAT: u64 = 0x2011_BAB0;
const VFAT: u64 = 0x4D44;
const NFS: u64 = 0x6969;
const CEPH: u64 = 0x00C3_6400;
pub(crate) const FUSE: u64 = 0x6573_5546;

pub(crate) const fn is_memory(kind: u64) -> bool {
    matches!(kind, TMPFS | RAMFS)
}

/// True if every change of it passes this kernel: not over a network, nor where it lies on another file system.
pub(crate) const fn is_local(kind: u64) -> bool {
    matches!(kind, TMPFS | RAMFS | EXT4 | XFS | BTRFS | F2FS)
}

/// True if directories may have quotas of a project.
pub(crate) const fn has_projects(kind: u64) -> bool {
    matches!(kind, EXT4 | XFS | F2FS)
}

/// True if no call on it waits for another machine or another process. Unknown ones may.
pub(crate) const fn is_on_this_machine(kind: u64) -> bool {
    is_local(kind) || matches!(kind, OVERLAY | ZFS | BCACHEFS | SQUASHFS | EROFS | EXFAT | VFAT)
}

/// True if it is known to keep what a sync has brought to it.
pub(crate) const fn keeps_synced(kind: u64) -> bool {
    matches!(kind, EXT4 | XFS | BTRFS | F2FS | ZFS | NFS | CEPH)
}

/// The same of one in a process, which all have one number.
pub(crate) fn keeps_synced_in_process(name: &str) -> bool {
    matches!(name, "fuse.glusterfs" | "fuse.ceph" | "fuse.ceph-fuse")
}

/// What a line of mountinfo says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) name: String,
    options: String,
}

impl Mount {
    /// The last of those with this device, as `MAJOR:MINOR`.
    pub(crate) fn of_device(device: &str, mounts: &str) -> Option<Self> {
        mounts.lines().filter_map(|line| Self::of_line(line, device)).next_back()
    }

    fn of_line(line: &str, device: &str) -> Option<Self> {
        let (place, about) = line.split_once(" - ")?;
        let mut about = about.split(' ');
        let (name, options) = (about.next()?.to_owned(), about.nth(1).unwrap_or_default().to_owned());
        (place.split(' ').nth(2)? == device).then_some(Self { name, options })
    }

    /// The value of an option, or nothing for one without a value.
    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        let mut options = self.options.split(',').map(|option| option.split_once('=').unwrap_or((option, "")));
        options.find(|(option, _)| *option == name).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_counts_as_what_it_is_known_to_be() {
        // The number, and whether it is in memory, passes this kernel, stays on this machine, keeps what was synced.
        let kinds = [
            ("tmpfs", TMPFS, [true, true, true, false]),
            ("ramfs", RAMFS, [true, true, true, false]),
            ("ext4", EXT4, [false, true, true, true]),
            ("xfs", XFS, [false, true, true, true]),
            ("btrfs", BTRFS, [false, true, true, true]),
            ("f2fs", F2FS, [false, true, true, true]),
            ("zfs", ZFS, [false, false, true, true]),
            ("overlay: depends on the layers under it", OVERLAY, [false, false, true, false]),
            ("bcachefs", BCACHEFS, [false, false, true, false]),
            ("vfat", VFAT, [false, false, true, false]),
            ("nfs", NFS, [false, false, false, true]),
            ("ceph", CEPH, [false, false, false, true]),
            ("fuse: depends on its name", FUSE, [false; 4]),
            ("smb", 0xFE53_4D42, [false; 4]),
            ("9p", 0x0102_1997, [false; 4]),
            ("one that is not known", 1, [false; 4]),
        ];
        for (what, kind, expected) in kinds {
            let is = [is_memory(kind), is_local(kind), is_on_this_machine(kind), keeps_synced(kind)];
            assert_eq!(is, expected, "{what}");
        }
        let names = ["fuse.glusterfs", "fuse.ceph-fuse", "fuse.juicefs", "fuse.sshfs", "fuse", "fuseblk", "virtiofs"];
        assert_eq!(names.map(keeps_synced_in_process), [true, true, false, false, false, false, false]);
    }

    #[test]
    fn a_mount_is_found_by_its_device_and_the_last_of_several_counts() {
        let mounts = "22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n\
                      60 22 0:50 / /mnt/a\\040b rw,relatime shared:9 master:2 - fuse.sshfs host:/ rw,user_id=0\n\
                      61 22 0:51 / /merged rw - overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w,volatile\n\
                      torn 0:50\n\
                      62 22 0:50 / /mnt/c rw - fuse.glusterfs host:/vol rw,max_read=131072\n";
        let found = |device| Mount::of_device(device, mounts);
        assert_eq!(found("0:50").expect("a mount").name, "fuse.glusterfs");
        let overlay = found("0:51").expect("a mount");
        assert_eq!(overlay.option("upperdir"), Some("/u"));
        assert_eq!((overlay.option("volatile"), overlay.option("index")), (Some(""), None));
        assert_eq!(found("0:5"), None);
    }
}
