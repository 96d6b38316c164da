//! A file system with two views: what calls see, and what a power cut leaves.
//!
//! Bytes become durable by a sync of their file, names by a sync of their directory. A cut keeps any
//! part of what was not synced: of the names a prefix in order (a journal), or any subset (all
//! that POSIX promises); of the bytes any blocks, as they are, as they were, or zero. A rename is
//! atomic. After a failed sync the lost bytes count as clean: another sync succeeds and saves
//! nothing.

use std::collections::BTreeMap;

use filewharf::properties::Properties;

use crate::memory::STARTED_S;
use crate::memory::rng::Rng;

pub type Ino = u64;

/// The served directory.
pub const ROOT: Ino = 0;
/// Where uploads are staged; no name leads to it.
pub const STAGING: Ino = 1;
/// The parts of uploads that outlive their connections; no name leads to it.
pub const UPLOADS: Ino = 2;
/// What a cut saves or loses as a whole, in bytes.
const BLOCK: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Child {
    File(Ino),
    Dir(Ino),
}

#[derive(Clone, Debug, Default)]
pub struct File {
    pub bytes: Vec<u8>,
    durable: Vec<u8>,
    /// A sync failed: what was not durable then never will be.
    lost: bool,
    pub mtime: i64,
    /// Changes with every version.
    pub version: u64,
    /// Kept with this version.
    pub sha256: Option<[u8; 32]>,
    pub is_executable: bool,
    pub properties: Properties,
}

type Names = BTreeMap<Box<str>, Child>;

/// One change of names; it happens as a whole.
#[derive(Clone, Debug)]
struct Change(Vec<(Ino, Box<str>, Option<Child>)>);

#[derive(Debug)]
pub struct Tree {
    files: BTreeMap<Ino, File>,
    dirs: BTreeMap<Ino, Names>,
    durable: BTreeMap<Ino, Names>,
    /// Not durable yet, oldest first.
    changes: Vec<Change>,
    next: Ino,
    versions: u64,
    posix: bool,
    /// How much younger each file is than the one before.
    pub mtime_step: i64,
}

impl Tree {
    pub fn new(posix: bool) -> Self {
        let dirs = BTreeMap::from([(ROOT, Names::new()), (STAGING, Names::new()), (UPLOADS, Names::new())]);
        Self {
            files: BTreeMap::new(),
            durable: dirs.clone(),
            dirs,
            changes: Vec::new(),
            next: UPLOADS,
            versions: 0,
            posix,
            mtime_step: 1,
        }
    }

    pub fn file(&self, ino: Ino) -> &File {
        &self.files[&ino]
    }

    pub fn file_mut(&mut self, ino: Ino) -> &mut File {
        self.files.get_mut(&ino).expect("files are never forgotten")
    }

    /// A new version number, as a changed ctime would give.
    pub fn touch(&mut self, ino: Ino) {
        self.versions += 1;
        let version = self.versions;
        let file = self.file_mut(ino);
        (file.version, file.sha256) = (version, None);
    }

    fn ino(&mut self) -> Ino {
        self.next += 1;
        self.next
    }

    /// A new file.
    pub fn create(&mut self, dir: Ino, name: &str) -> Ino {
        let ino = self.ino();
        self.files.insert(ino, File { mtime: STARTED_S as i64 + self.mtime_step * ino as i64, ..File::default() });
        self.change(vec![(dir, name.into(), Some(Child::File(ino)))]);
        ino
    }

    pub fn make_dir(&mut self, dir: Ino, name: &str) -> Ino {
        let ino = self.ino();
        self.dirs.insert(ino, Names::new());
        self.durable.insert(ino, Names::new());
        self.change(vec![(dir, name.into(), Some(Child::Dir(ino)))]);
        ino
    }

    pub fn remove(&mut self, dir: Ino, name: &str) {
        self.change(vec![(dir, name.into(), None)]);
    }

    pub fn rename(&mut self, from: (Ino, &str), to: (Ino, &str)) {
        let child = self.dirs[&from.0][from.1];
        self.change(vec![(from.0, from.1.into(), None), (to.0, to.1.into(), Some(child))]);
    }

    fn change(&mut self, sets: Vec<(Ino, Box<str>, Option<Child>)>) {
        let change = Change(sets);
        change.apply(&mut self.dirs);
        self.changes.push(change);
    }

    pub fn names(&self, dir: Ino) -> &Names {
        &self.dirs[&dir]
    }

    pub fn child(&self, dir: Ino, name: &str) -> Option<Child> {
        self.dirs[&dir].get(name).copied()
    }

    /// Follows a path of directories. `Err` if a file is on the way.
    pub fn dir_at(&self, path: &str) -> Result<Option<Ino>, ()> {
        let mut at = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            match self.child(at, name) {
                Some(Child::Dir(ino)) => at = ino,
                Some(Child::File(_)) => return Err(()),
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    pub fn at(&self, path: &str) -> Option<Child> {
        if path.is_empty() {
            return Some(Child::Dir(ROOT));
        }
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        self.child(self.dir_at(parent).ok()??, name)
    }

    /// Every file by its path.
    pub fn visible(&self) -> BTreeMap<String, Ino> {
        let mut found = BTreeMap::new();
        let mut todo = vec![(String::new(), ROOT)];
        while let Some((path, dir)) = todo.pop() {
            for (name, child) in &self.dirs[&dir] {
                match child {
                    Child::File(ino) => {
                        found.insert(format!("{path}{name}"), *ino);
                    }
                    Child::Dir(ino) => todo.push((format!("{path}{name}/"), *ino)),
                }
            }
        }
        found
    }

    pub fn sync_file(&mut self, ino: Ino) {
        let file = self.file_mut(ino);
        if !file.lost {
            file.durable.clone_from(&file.bytes);
        }
    }

    /// The bytes that were not durable are gone for good, though calls still see them.
    pub fn sync_failed(&mut self, ino: Ino) {
        self.file_mut(ino).lost = true;
    }

    /// Cuts a file down to what is known to be durable. What is left may be synced again, as it is written again where
    /// a sync had lost it.
    pub fn truncate(&mut self, ino: Ino, len: u64) {
        let file = self.file_mut(ino);
        file.bytes.truncate(len as usize);
        if file.durable.starts_with(&file.bytes) {
            file.lost = false;
        }
    }

    pub fn needs_sync(&self, dir: Ino) -> bool {
        self.changes.iter().any(|change| change.touches(dir))
    }

    pub fn sync_dir(&mut self, dir: Ino) {
        if self.posix {
            let (synced, kept) = std::mem::take(&mut self.changes).into_iter().partition(|c: &Change| c.touches(dir));
            self.changes = kept;
            for change in Vec::<Change>::from_iter(synced) {
                change.apply(&mut self.durable);
                // What was done to these names before has been overtaken.
                for older in &mut self.changes {
                    older.0.retain(|(at, name, _)| !change.0.iter().any(|(a, n, _)| a == at && n == name));
                }
            }
        } else if let Some(last) = self.changes.iter().rposition(|change| change.touches(dir)) {
            self.changes.drain(..=last).for_each(|change| change.apply(&mut self.durable));
        }
    }

    /// The power goes: only what is durable stays, and any part of what is not.
    // covers: machine-power-cut
    pub fn cut(&mut self, rng: &mut Rng) {
        let changes = std::mem::take(&mut self.changes);
        let survivors = rng.below(changes.len() as u64 + 1) as usize;
        let odds = *rng.pick(&[100, 500, 900]);
        for (place, change) in changes.iter().enumerate() {
            if if self.posix { rng.chance(odds) } else { place < survivors } {
                change.apply(&mut self.durable);
            }
        }
        self.dirs = self.durable.clone();
        for file in self.files.values_mut() {
            if file.bytes != file.durable {
                file.sha256 = None;
            }
            if file.bytes != file.durable && !file.lost {
                file.durable = torn(&file.durable, &file.bytes, rng);
            }
            file.bytes.clone_from(&file.durable);
            file.lost = false;
        }
    }

    /// The process ends and the system lives: everything stays as calls saw it. A start sweeps the
    /// staging directory.
    pub fn sweep(&mut self) {
        for name in Vec::from_iter(self.dirs[&STAGING].keys().cloned()) {
            self.remove(STAGING, &name);
        }
    }
}

impl Change {
    fn apply(&self, dirs: &mut BTreeMap<Ino, Names>) {
        for (dir, name, child) in &self.0 {
            let names = dirs.get_mut(dir).expect("folders are never forgotten");
            match child {
                Some(child) => names.insert(name.clone(), *child),
                None => names.remove(name),
            };
        }
    }

    fn touches(&self, dir: Ino) -> bool {
        self.0.iter().any(|(at, ..)| *at == dir)
    }
}

/// What a cut may leave of bytes that were being written.
fn torn(old: &[u8], new: &[u8], rng: &mut Rng) -> Vec<u8> {
    let (short, long) = (old.len().min(new.len()), old.len().max(new.len()));
    let len = rng.range(short as u64..=long as u64) as usize;
    let mut left = vec![0; len];
    for (number, block) in left.chunks_mut(BLOCK).enumerate() {
        // A block that was durable may be as it was or as it was to be; a new one may be empty as well.
        let from = match rng.below(3) {
            0 => old,
            2 if number * BLOCK >= old.len() => &[],
            _ => new,
        };
        let start = (number * BLOCK).min(from.len());
        let there = &from[start..from.len().min(start + block.len())];
        block[..there.len()].copy_from_slice(there);
    }
    left
}
