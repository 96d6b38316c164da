//! What must be in the directory: for every name, what was acknowledged last, and what may have come
//! after it without a reply.

use std::collections::BTreeMap;
use std::path::Path;

use support::Content;

/// A version of a name; `None` means that there is no such file.
pub type Version = Option<Content>;

/// What is known of one name. Only one worker uses it.
#[derive(Debug, Default)]
pub struct Known {
    /// Acknowledged, or seen when nothing was under way.
    certain: Version,
    /// Sent since, whole, and not answered: each of these may be there too, or come yet.
    maybe: Vec<Version>,
    /// The last life of the server to which one of those may have been sent.
    since: u64,
}

/// All names of one worker.
pub type Names = BTreeMap<String, Known>;

impl Known {
    /// It was acknowledged.
    pub fn acknowledged(&mut self, version: Version) {
        self.certain = version;
    }

    /// It was sent whole, to this life of the server at the latest, and there was no answer.
    pub fn unanswered(&mut self, version: Version, life: u64) {
        self.maybe.push(version);
        self.since = life;
    }

    /// May the name be used? Not while something of it may still be under way.
    pub fn is_settled(&self, life: u64) -> bool {
        self.maybe.is_empty() || self.since < life
    }

    /// The version that these bytes are; panics if they are none that may be there.
    #[track_caller]
    pub fn is(&self, bytes: Option<&[u8]>, what: &str) -> Version {
        let all = std::iter::once(&self.certain).chain(&self.maybe);
        let same = |version: &&Version| match (version, bytes) {
            (None, None) => true,
            (Some(content), Some(bytes)) => content.len == bytes.len() as u64 && content.matches(0, bytes),
            _ => false,
        };
        *all.clone().find(same).unwrap_or_else(|| {
            let wanted: Vec<_> = all.map(|version| version.map(|content| content.len)).collect();
            panic!("{what}: lost or torn: {:?} bytes, and not one of {wanted:?}", bytes.map(<[u8]>::len))
        })
    }

    /// Nothing is under way any more, and this is what is there.
    pub fn seen_at_rest(&mut self, version: Version) {
        self.certain = version;
        self.maybe.clear();
    }
}

/// Compares the directory with what its files must be; how many bytes were compared.
#[track_caller]
pub fn compare(root: &Path, all: &[&Names]) -> u64 {
    let mut bytes_compared = 0;
    let mut expected = std::collections::BTreeSet::new();
    for (name, known) in all.iter().flat_map(|names| names.iter()) {
        let bytes = std::fs::read(root.join(name)).ok();
        known.is(bytes.as_deref(), name);
        bytes_compared += bytes.map_or(0, |bytes| bytes.len() as u64);
        expected.insert(name.clone());
    }
    let mut seen = Vec::new();
    walk(root, "", &mut seen);
    for name in seen {
        assert!(expected.contains(&name), "{name} is visible and was never sent");
    }
    bytes_compared
}

fn walk(dir: &Path, prefix: &str, seen: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if name == ".filewharf" {
            continue;
        }
        if entry.path().is_dir() {
            walk(&entry.path(), &format!("{name}/"), seen);
        } else {
            seen.push(name);
        }
    }
}
