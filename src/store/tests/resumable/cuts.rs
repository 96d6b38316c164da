//! Power cuts: a disk of which only what was synced is sure to stay, put together in many ways at each sync, and
//! served again. Nothing that was reported may be lost.
use super::*;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::sync::Mutex;

type Files = BTreeMap<String, Vec<u8>>;

/// What a client was sent last of one upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Nothing,
    Offset(usize),
    Complete,
    Removed,
}

/// One root: what of it is durable, and every disk that a power cut could have left.
#[derive(Default)]
struct Disk {
    contents: BTreeMap<u64, Vec<u8>>,
    names: BTreeMap<String, u64>,
    told: BTreeMap<UploadId, Told>,
    images: Vec<(Files, BTreeMap<UploadId, Told>, String)>,
    /// The sync of a record with this number from now on fails, and brings nothing to the disk.
    fails_in: Option<usize>,
    /// The server is killed before it syncs any name.
    loses_names: bool,
}

static DISKS: Mutex<BTreeMap<PathBuf, Disk>> = Mutex::new(BTreeMap::new());

fn with_disk<T>(path: &Path, body: impl FnOnce(&Path, &mut Disk) -> T) -> T {
    let mut all = DISKS.lock().unwrap();
    let (root, disk) = all.iter_mut().find(|(root, _)| path.starts_with(root)).expect("a root of these tests");
    body(root, disk)
}

fn path_of(fd: BorrowedFd<'_>) -> PathBuf {
    let path = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap();
    path.to_str().unwrap().trim_end_matches(" (deleted)").into()
}

fn content_synced(file: BorrowedFd<'_>, _all: bool) -> Result<(), Errno> {
    let path = path_of(file);
    let ino = rustix::fs::fstat(file).unwrap().st_ino;
    let bytes = std::fs::read(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
    with_disk(&path, |root, disk| {
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.ends_with(".info")
            && let Some(left) = &mut disk.fails_in
        {
            *left = left.wrapping_sub(1);
            if *left == usize::MAX {
                disk.fails_in = None;
                return Err(Errno::NOSPC);
            }
        }
        disk.cut(root, &format!("before the sync of {name}"));
        disk.contents.insert(ino, bytes);
        disk.cut(root, &format!("after the sync of {name}"));
        Ok(())
    })
}

fn names_synced(dir: BorrowedFd<'_>) -> Result<(), Errno> {
    let path = path_of(dir);
    with_disk(&path, |root, disk| {
        if disk.loses_names {
            return;
        }
        disk.cut(root, &format!("before the sync of {path:?}"));
        // With one journal for all, whatever was renamed before is durable too.
        disk.names = walk(root).into_iter().map(|(name, (ino, _))| (name, ino)).collect();
        disk.cut(root, &format!("after the sync of {path:?}"));
    });
    Ok(())
}

/// Every file: its inode and what it holds.
fn walk(root: &Path) -> BTreeMap<String, (u64, Vec<u8>)> {
    let mut files = BTreeMap::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                dirs.push(path);
            } else if name.ends_with(".info") || name.ends_with(".part") || !name.starts_with(".filewharf") {
                files.insert(name, (entry.metadata().unwrap().ino(), std::fs::read(path).unwrap()));
            }
        }
    }
    files
}

/// The changed checkpoints of a record, torn in the middle.
fn torn(old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut torn = new.to_vec();
    for at in [8 * 1024, 12 * 1024].map(|at| at + 300) {
        if let (Some(old), Some(torn)) = (old.get(at..at + 212), torn.get_mut(at..at + 212)) {
            torn.copy_from_slice(old);
        }
    }
    torn
}

impl Disk {
    /// Keeps the disks that a power cut at this moment could leave.
    fn cut(&mut self, root: &Path, when: &str) {
        let now = walk(root);
        let current: BTreeMap<u64, &Vec<u8>> = now.values().map(|(ino, bytes)| (*ino, bytes)).collect();
        let names_now: BTreeMap<String, u64> = now.iter().map(|(name, (ino, _))| (name.clone(), *ino)).collect();
        for names in [&self.names, &names_now] {
            for variant in 0..5 {
                let files: Files = names
                    .iter()
                    .map(|(name, ino)| {
                        let synced = self.contents.get(ino).cloned().unwrap_or_default();
                        // What was removed since may be there again: with what was synced.
                        let cached = current.get(ino).map_or_else(|| synced.clone(), |bytes| (*bytes).clone());
                        let is_record = name.ends_with(".info");
                        let bytes = match variant {
                            0 => synced,
                            1 if is_record => cached,
                            2 if is_record => torn(&synced, &cached),
                            3 if !is_record => cached,
                            4 => cached,
                            _ => synced,
                        };
                        (name.clone(), bytes)
                    })
                    .collect();
                let image = (files, self.told.clone(), format!("{when}, variant {variant}"));
                if !self.images.iter().any(|(files, told, _)| (files, told) == (&image.0, &image.1)) {
                    self.images.push(image);
                }
            }
        }
    }
}

/// A store on such a disk.
struct Cut {
    bench: Bench,
    dir: TempDir,
}

impl Cut {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        DISKS.lock().unwrap().insert(dir.path().to_owned(), Disk::default());
        Self { bench: Self::open(dir.path()), dir }
    }

    fn open(root: &Path) -> Bench {
        let sync = SyncCalls { content: content_synced, names: names_synced, scope: Scope::Dir };
        Bench::open_synced_by(root, &StoreConfig::default(), Fixed::default(), |_| sync)
    }

    /// The process is killed, and another serves the directory; the machine continues.
    fn killed(self) -> Self {
        let Self { bench, dir } = self;
        drop(bench);
        Self { bench: Self::open(dir.path()), dir }
    }

    fn told(&self, id: UploadId, told: Told) {
        with_disk(self.dir.path(), |root, disk| {
            disk.told.insert(id, told);
            disk.cut(root, &format!("{told:?} was sent"));
        });
    }

    /// One sync at most fails.
    fn part(&mut self) -> (FileId, usize) {
        let opened = self.bench.open_upload(f()).or_else(|_| self.bench.open_upload(f()));
        let (state, file, _) = opened.unwrap();
        (file.unwrap(), usize::try_from(state.offset).unwrap())
    }

    fn fail_record_sync(&self, number: usize) {
        with_disk(self.dir.path(), |_, disk| disk.fails_in = Some(number));
    }

    fn checkpoint(&mut self, file: FileId, offset: usize) {
        if let Ok(saved) = self.bench.checkpoint(file, offset) {
            self.told(ID, Told::Offset(usize::try_from(saved).unwrap()));
        }
    }

    /// Asks, as a client does that was cut off.
    fn ask(&mut self) {
        let Ok(state) = self.bench.find(ID) else { return };
        self.told(
            ID,
            match state.stage {
                UploadStage::Unfinished => Told::Offset(usize::try_from(state.offset).unwrap()),
                UploadStage::Complete(_) => Told::Complete,
            },
        );
    }

    /// Serves every disk again; returns how many there were.
    fn examine(self) -> usize {
        drop(self.bench);
        let images = with_disk(self.dir.path(), |_, disk| std::mem::take(&mut disk.images));
        for (files, told, when) in &images {
            examine(files, told, when);
        }
        images.len()
    }
}

fn examine(files: &Files, told: &BTreeMap<UploadId, Told>, when: &str) {
    let dir = TempDir::new().unwrap();
    for (name, bytes) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    if let Some(stored) = files.get("d/f") {
        assert!(*stored == content(), "{when}: a name has a content that is not whole");
    }
    // The power is not cut again.
    let sync = SyncCalls { content: |_, _| Ok(()), names: |_| Ok(()), scope: Scope::Dir };
    let config = StoreConfig { durability: Durability::Durable, ..StoreConfig::default() };
    let mut bench = Bench::open_synced_by(dir.path(), &config, Fixed::default(), |_| sync);
    for (id, told) in told {
        let found = bench.find(*id);
        let offset = found.as_ref().map_or(0, |state| usize::try_from(state.offset).unwrap());
        let stage = found.as_ref().map(|state| state.stage);
        match told {
            Told::Nothing => {}
            Told::Offset(told) => assert!(offset >= *told, "{when}: {told} was sent, {found:?} is there"),
            Told::Complete => assert!(matches!(stage, Ok(UploadStage::Complete(_))), "{when}: {found:?}"),
            Told::Removed => assert!(found.is_err(), "{when}: {found:?}"),
        }
        if let Ok(UploadStage::Complete(_)) = stage {
            assert!(files.contains_key("d/f"), "{when}: complete, and there is nothing");
        }
    }
    let unfinished = matches!(bench.find(ID), Ok(state) if state.stage == UploadStage::Unfinished);
    if unfinished {
        // Checks the digest state too.
        let (file, offset) = bench.part(UploadRef::Existing(ID));
        let part = std::fs::read(bench.upload_path(&part_name(ID))).unwrap();
        assert!(part == content()[..offset], "{when}: bytes before the offset are others");
        bench.end_part(file, PartEnd::Keep).unwrap();
        bench.complete_upload(UploadRef::Existing(ID));
    }
    let mut left = bench.uploads();
    left.retain(|name| name.ends_with(".part") && !bench.upload_path(&name.replace(".part", ".info")).exists());
    assert_eq!(left, Vec::<String>::new(), "{when}: parts without a record");
}

/// An upload in parts, with the server killed `kill` times and the sync of the record failing now and then.
fn story(fails: Option<usize>, kills: &[usize]) -> usize {
    let mut cut = Cut::new();
    if let Some(fails) = fails {
        cut.fail_record_sync(fails);
    }
    let mut file = Some(cut.part().0);
    cut.told(ID, Told::Offset(0));
    for (n, offset) in [100, 300, 500, 700, 900].into_iter().enumerate() {
        let part = file.take().unwrap_or_else(|| cut.part().0);
        cut.bench.write_part(part, offset - 200.min(offset), offset);
        cut.checkpoint(part, offset);
        if kills.contains(&n) {
            cut = cut.killed();
            cut.ask();
        } else if n == 2 {
            cut.bench.write_part(part, offset, offset + 50);
            if let Ok(state) = cut.bench.save(part, offset + 50) {
                cut.told(ID, Told::Offset(usize::try_from(state.offset).unwrap()));
            }
        } else {
            file = Some(part);
        }
    }
    let (file, offset) = match file {
        Some(file) => (file, 900),
        None => cut.part(),
    };
    cut.bench.write_part(file, offset, LEN);
    if cut.bench.commit_stored(file, "d/f").is_ok() {
        cut.told(ID, Told::Complete);
    }
    cut.ask();
    let mut cut = cut.killed();
    cut.ask();
    cut.examine()
}

#[test]
fn no_power_cut_takes_back_an_offset_that_was_sent() {
    let images = story(None, &[]);
    assert!(images > 30, "{images}");
}

#[test]
fn no_power_cut_after_a_kill_takes_back_an_offset_that_was_sent() {
    for kills in [&[0][..], &[1], &[2, 3], &[4]] {
        story(None, kills);
    }
}

/// Then the newest checkpoint is in the page cache only.
#[test]
fn no_power_cut_after_a_failed_sync_of_the_record_takes_back_an_offset_that_was_sent() {
    for fails in 0..7 {
        for kills in [&[][..], &[1], &[2], &[3]] {
            story(Some(fails), kills);
        }
    }
}

#[test]
fn no_power_cut_takes_back_an_offset_of_an_upload_that_a_killed_server_was_making() {
    let mut cut = Cut::new();
    with_disk(cut.dir.path(), |_, disk| disk.loses_names = true);
    cut.part();
    with_disk(cut.dir.path(), |_, disk| disk.loses_names = false);
    let mut cut = cut.killed();
    let (file, _) = cut.part();
    cut.bench.write_part(file, 0, 300);
    cut.checkpoint(file, 300);
    cut.examine();
}

#[test]
fn an_upload_that_was_removed_stays_removed() {
    let mut cut = Cut::new();
    let (file, _) = cut.bench.part(f());
    cut.bench.write_part(file, 0, 300);
    cut.bench.save(file, 300).unwrap();
    cut.told(ID, Told::Offset(300));
    cut.told(ID, Told::Nothing);
    cut.bench.remove(ID).unwrap();
    cut.told(ID, Told::Removed);
    cut.examine();
}

#[test]
fn an_upload_that_expires_is_never_taken_for_a_complete_one() {
    let mut cut = Cut::new();
    let (file, _) = cut.bench.part(f());
    cut.bench.write_part(file, 0, LEN);
    cut.bench.save(file, LEN).unwrap();
    cut.told(ID, Told::Nothing);
    cut.bench.pass(25 * 3600);
    cut.told(ID, Told::Nothing);
    cut.bench.pass(50 * 3600);
    cut.told(ID, Told::Nothing);
    assert!(cut.examine() > 3);
}

#[test]
fn an_upload_whose_commit_failed_and_that_expires_is_never_taken_for_a_complete_one() {
    let mut cut = Cut::new();
    let (file, _) = cut.bench.part(f());
    cut.bench.write_part(file, 0, LEN);
    cut.bench.checkpoint(file, LEN).unwrap();
    std::fs::create_dir(cut.bench.path("d")).unwrap();
    std::fs::create_dir(cut.bench.path("d/f")).unwrap();
    assert!(is_conflict(&cut.bench.commit_stored(file, "d/f")));
    cut.told(ID, Told::Nothing);
    cut.bench.pass(25 * 3600);
    cut.told(ID, Told::Nothing);
    cut.bench.pass(50 * 3600);
    assert!(cut.examine() > 3);
}
