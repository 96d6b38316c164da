//! Patterns in the paths of a server: `*`, `?` and `[…]` in names, as a shell has them for local files. A name that holds
//! these characters itself comes first.

use glob::{MatchOptions, Pattern};

use super::worker::Worker;
use crate::client::{Entry, ErrorKind, PageOptions, RemotePath, as_dir};

/// Most names that the patterns of one argument may match.
const MATCHES_MAX: usize = 100_000;
/// As in a shell, a dot at the beginning of a name must be written.
const MATCHING: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// True if a text has characters of a pattern.
fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// The arguments, with what stands on the servers in place of patterns; the second value says whether there was one.
/// An argument without a match is reported and counted as a failure.
pub(super) fn expand(worker: &mut Worker<'_>, remotes: Vec<RemotePath>) -> (Vec<RemotePath>, bool) {
    let (mut all, mut had_pattern) = (Vec::new(), false);
    for remote in remotes {
        if !is_pattern(&remote.path) || is_there(worker, &remote) {
            all.push(remote);
            continue;
        }
        had_pattern = true;
        let mut search = Search { worker: &mut *worker, remote: &remote };
        let Some(found) = search.run() else { continue };
        if found.is_empty() {
            worker.run.reporter.failed_text(format!("{remote}: no name matches"));
        }
        all.extend(found.into_iter().map(|path| RemotePath { address: remote.address.clone(), path }));
    }
    (all, had_pattern)
}

/// True for a path that stands on the server as it is written. An error is left to the request that comes next.
fn is_there(worker: &mut Worker<'_>, remote: &RemotePath) -> bool {
    let found = worker.try_on(&remote.address, |client| client.stat(&remote.path));
    !matches!(&found, Some(Err(error)) if matches!(error.kind.code(), Some(404 | 409)))
}

struct Search<'a, 'b> {
    worker: &'a mut Worker<'b>,
    remote: &'a RemotePath,
}

impl Search<'_, '_> {
    /// The paths that match, in the order of the server. `None` after a failure, which has been reported.
    fn run(&mut self) -> Option<Vec<String>> {
        let path = &self.remote.path;
        let (names, end) = (path.trim_matches('/'), if path.ends_with('/') { "/" } else { "" });
        let mut found = vec![String::new()];
        let mut rest = names.split('/').peekable();
        while let Some(name) = rest.next() {
            let wants_dirs = rest.peek().is_some() || !end.is_empty();
            let mut next = Vec::new();
            for dir in &found {
                if is_pattern(name) {
                    self.matches(dir, name, wants_dirs, &mut next)?;
                } else {
                    let path = format!("{dir}/{name}");
                    // Where a pattern stands before it, the name need not be in each of the directories.
                    if rest.peek().is_some() || self.stands(&path)? {
                        next.push(path);
                    }
                }
            }
            found = next;
        }
        Some(found.into_iter().map(|path| path + end).collect())
    }

    /// Adds the names of a directory that match. One that is missing has none.
    fn matches(&mut self, dir: &str, name: &str, wants_dirs: bool, into: &mut Vec<String>) -> Option<()> {
        // In a shell a run of stars is one star.
        let mut text: Vec<char> = name.chars().collect();
        text.dedup_by(|next, star| *next == '*' && *star == '*');
        let pattern = match Pattern::new(&String::from_iter(text)) {
            Ok(pattern) => pattern,
            Err(error) => return self.failed(format!("{}: {error}", self.remote)),
        };
        let (path, mut after) = (as_dir(dir), None);
        loop {
            let page = self
                .worker
                .try_on(&self.remote.address, |client| client.page(&path, after.as_deref(), PageOptions::default()))?;
            let page = match page {
                Ok(page) => page,
                Err(error) if matches!(error.kind.code(), Some(404 | 409)) => return Some(()),
                Err(error) => {
                    self.worker.fail(&self.remote.address, &error);
                    return None;
                }
            };
            for entry in page.entries {
                match entry {
                    Ok(entry) if !entry.is_safe() => {
                        self.failed::<()>(format!("{}{path}: lists the name {:?}", self.remote.address, entry.name));
                    }
                    Ok(Entry { name, dir: is_dir, .. }) => {
                        if (is_dir || !wants_dirs) && pattern.matches_with(&name, MATCHING) {
                            into.push(format!("{path}{name}"));
                        }
                    }
                    Err(kind @ ErrorKind::Unlisted(_)) => {
                        self.worker.run.reporter.warn(kind.at(&self.remote.address, &path));
                    }
                    Err(kind) => self.worker.run.reporter.failed(&kind.at(&self.remote.address, &path)),
                }
            }
            if into.len() > MATCHES_MAX {
                return self.failed(format!("{}: matches more than {MATCHES_MAX} names", self.remote));
            }
            after = page.next;
            if after.is_none() {
                return Some(());
            }
        }
    }

    fn stands(&mut self, path: &str) -> Option<bool> {
        match self.worker.try_on(&self.remote.address, |client| client.stat(path))? {
            Ok(_) => Some(true),
            Err(error) if matches!(error.kind.code(), Some(404 | 409)) => Some(false),
            Err(error) => {
                self.worker.fail(&self.remote.address, &error);
                None
            }
        }
    }

    fn failed<T>(&self, why: String) -> Option<T> {
        self.worker.run.reporter.failed_text(why);
        None
    }
}
