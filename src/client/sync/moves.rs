//! Files of the destination that a new file may be a copy of, or may have been before it was moved.

use std::collections::HashSet;

/// Most files of one size that are read because a new file may be a copy of one that keeps its name.
const STAYING_HASHED_MAX: usize = 16;

/// A file of the destination.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) size: u64,
    /// `None` until it is needed.
    pub(super) sha256: Option<[u8; 32]>,
    /// It keeps its name; those that lose it come first.
    pub(super) stays: bool,
    pub(super) path: Box<str>,
    pub(super) version: Box<str>,
    pub(super) executable: bool,
    /// In the first one of those with the same content: how many of them were moved.
    moved: usize,
}

impl Candidate {
    pub(super) fn new(path: &str, size: u64, sha256: Option<[u8; 32]>, stays: bool) -> Self {
        Self { size, sha256, stays, path: path.into(), version: "".into(), executable: false, moved: 0 }
    }
}

/// What is done with the file that was found.
pub(super) enum Found<'a> {
    Move(&'a Candidate),
    Copy(&'a Candidate),
}

/// A bounded set of candidates.
#[derive(Debug)]
pub(super) struct Moves {
    max: usize,
    gone: Vec<Candidate>,
    staying: Vec<Candidate>,
    /// Sizes of which all digests were computed.
    known: HashSet<u64>,
    moved: HashSet<Box<str>>,
}

impl Moves {
    pub(super) fn new(max: usize) -> Self {
        Self { max, gone: Vec::new(), staying: Vec::new(), known: HashSet::new(), moved: HashSet::new() }
    }

    /// Adds a candidate, as long as there is space. One that loses its name takes the place of one that keeps it.
    pub(super) fn add(&mut self, candidate: Candidate) {
        if self.gone.len() + self.staying.len() >= self.max && (candidate.stays || self.staying.pop().is_none()) {
            return;
        }
        if candidate.stays { &mut self.staying } else { &mut self.gone }.push(candidate);
    }

    /// Called when all are there.
    pub(super) fn sort(&mut self) {
        self.gone.append(&mut self.staying);
        self.gone.sort_unstable_by(by_content);
    }

    /// True if a file of this size is among them.
    pub(super) fn has_size(&self, size: u64) -> bool {
        let at = self.gone.partition_point(|candidate| candidate.size < size);
        self.gone.get(at).is_some_and(|candidate| candidate.size == size)
    }

    /// The file with this content. `hash` computes the digest of a candidate.
    pub(super) fn find(
        &mut self,
        size: u64,
        sha256: [u8; 32],
        is_executable: bool,
        hash: &mut dyn FnMut(&str) -> Option<[u8; 32]>,
    ) -> Option<Found<'_>> {
        self.learn(size, hash);
        let start = self.gone.partition_point(|it| (it.size, it.sha256) < (size, Some(sha256)));
        let equal = self.gone[start..].partition_point(|it| (it.size, it.sha256) == (size, Some(sha256)));
        let equal = &mut self.gone[start..start + equal];
        let moved = equal.first()?.moved;
        if is_executable && !equal.iter().all(|it| it.executable) {
            return None;
        }
        match equal.get(moved) {
            Some(next) if !next.stays => {
                self.moved.insert(next.path.clone());
                equal[0].moved += 1;
                Some(Found::Move(&equal[moved]))
            }
            _ => Some(Found::Copy(equal.last()?)),
        }
    }

    /// True for a file that is moved, and so not removed.
    pub(super) fn is_moved(&self, path: &str) -> bool {
        self.moved.contains(path)
    }

    /// Computes the digests of all candidates of a size.
    fn learn(&mut self, size: u64, hash: &mut dyn FnMut(&str) -> Option<[u8; 32]>) {
        if !self.known.insert(size) {
            return;
        }
        let start = self.gone.partition_point(|it| it.size < size);
        let count = self.gone[start..].partition_point(|it| it.size == size);
        let same_size = &mut self.gone[start..start + count];
        let mut left = STAYING_HASHED_MAX;
        for candidate in same_size.iter_mut().filter(|it| it.sha256.is_none()) {
            if !candidate.stays || left > 0 {
                left -= usize::from(candidate.stays);
                candidate.sha256 = hash(&candidate.path);
            }
        }
        same_size.sort_unstable_by(by_content);
    }
}

fn by_content(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    let key = |it: &Candidate| (it.size, it.sha256, it.stays);
    key(a).cmp(&key(b)).then_with(|| a.path.cmp(&b.path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(found: Option<Found<'_>>) -> String {
        match found {
            None => "none".to_owned(),
            Some(Found::Move(it)) => format!("move {}", it.path),
            Some(Found::Copy(it)) => format!("copy {}", it.path),
        }
    }

    #[test]
    fn a_file_that_loses_its_name_is_moved_once_and_copied_from_then_on() {
        let mut moves = Moves::new(10);
        for (path, digest, stays) in [("b", 1, false), ("a", 1, false), ("c", 1, true), ("d", 2, true), ("e", 3, false)]
        {
            moves.add(Candidate::new(path, 5, Some([digest; 32]), stays));
        }
        moves.sort();
        let mut find = |digest: u8| told(moves.find(5, [digest; 32], false, &mut |_| None));
        assert_eq!(
            [1, 1, 1, 2, 3, 3, 4].map(&mut find),
            ["move a", "move b", "copy c", "copy d", "move e", "copy e", "none"]
        );
        assert!(moves.is_moved("a") && !moves.is_moved("c"));
        assert!(moves.has_size(5) && !moves.has_size(6));
        assert_eq!(told(moves.find(5, [2; 32], true, &mut |_| None)), "none", "its execute bits are missing");
    }

    #[test]
    fn digests_are_computed_once_and_only_for_a_size_that_is_wanted() {
        let mut moves = Moves::new(10);
        for (path, size) in [("a", 5), ("b", 5), ("c", 6)] {
            moves.add(Candidate::new(path, size, None, false));
        }
        moves.sort();
        let mut hashed = String::new();
        for _ in 0..2 {
            moves.find(5, [9; 32], false, &mut |path| {
                hashed += path;
                Some([path.as_bytes()[0]; 32])
            });
        }
        assert_eq!(hashed, "ab");
        assert_eq!(told(moves.find(5, [b'b'; 32], false, &mut |_| None)), "move b");
    }

    #[test]
    fn the_number_of_candidates_is_bounded_and_those_that_lose_their_names_are_preferred() {
        let mut moves = Moves::new(2);
        for (path, stays) in [("a", true), ("b", true), ("c", true), ("d", false), ("e", false), ("f", false)] {
            moves.add(Candidate::new(path, 1, Some([0; 32]), stays));
        }
        assert_eq!(moves.gone.iter().map(|it| &*it.path).collect::<String>(), "de");
        assert!(moves.staying.is_empty());
    }
}
