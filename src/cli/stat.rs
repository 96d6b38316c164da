//! `filewharf stat`: what a server tells of files and directories.

use super::args::{Args, CONNECTION, JSON, UsageError};
use super::expand::expand;
use super::ls;
use super::usage::{Command, Usage};
use super::worker::{Run, Worker};
use crate::client::{Entry, RemotePath};
use crate::time::Utc;
use crate::wire::line::hex;

pub(super) static USAGE: Usage<Args> = Usage {
    command: Command {
        name: "stat",
        about: "Show type, size, time and version of files",
        line: "[OPTIONS] HOST:PORT/PATH...",
        operand: (
            "HOST:PORT/PATH...",
            "HOST[:PORT]/path of files or folders; * ? [a-z] in names, quoted, match several",
        ),
        operands: 1..=usize::MAX,
        hints: &[],
        notes: "Examples:
  filewharf stat 127.0.0.1:7070/photo.jpg
  filewharf stat --json '127.0.0.1:7070/*.jpg'

The time is UTC. The SHA-256 is shown where the server knows it. The port is 7070 if none is
given. Write tls://HOST:PORT for a server that speaks TLS. A path that is not there is a failure;
the rest is shown all the same.",
    },
    flags: &[("Options", &[JSON]), CONNECTION],
};

pub(super) fn run(args: &Args) -> Result<bool, UsageError> {
    let remotes = args.remotes()?;
    let run = Run::new(args, None)?;
    let mut worker = Worker::new(&run);
    for remote in expand(&mut worker, remotes).0 {
        let Some(entry) = worker.run_on(&remote.address, |client| client.stat_with(&remote.path, true)) else {
            continue;
        };
        for line in if args.json { vec![ls::json(&entry)] } else { lines(&remote, &entry) } {
            run.reporter.say(line);
        }
        run.reporter.done();
    }
    Ok(run.reporter.finish())
}

fn lines(remote: &RemotePath, entry: &Entry) -> Vec<String> {
    let mut lines = vec![format!("    Path: {remote}")];
    let mut add = |name: &str, value: String| lines.push(format!("{name:>8}: {value}"));
    add("Type", if entry.dir { "folder" } else { "file" }.to_owned());
    if !entry.dir {
        add("Size", entry.size.to_string());
    }
    add("Modified", format!("{}Z", Utc::new(entry.mtime)));
    entry.etag.iter().for_each(|etag| add("ETag", etag.clone()));
    entry.sha256.iter().for_each(|digest| add("SHA-256", hex(digest)));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_all_lines_and_a_directory_those_that_it_can_have() {
        let remote = RemotePath::parse("h:1/d/f").expect("a path");
        let file = Entry {
            name: "f".to_owned(),
            dir: false,
            size: 5,
            mtime: 1_000_000_000,
            etag: Some("ab".to_owned()),
            sha256: Some([10; 32]),
            executable: false,
            unseen: false,
        };
        let digest = format!(" SHA-256: {}", "0a".repeat(32));
        let want = [
            "    Path: h:1/d/f",
            "    Type: file",
            "    Size: 5",
            "Modified: 2001-09-09T01:46:40Z",
            "    ETag: ab",
            &digest,
        ];
        assert_eq!(lines(&remote, &file), want);
        let dir = Entry { dir: true, etag: None, sha256: None, ..file };
        assert_eq!(lines(&remote, &dir), ["    Path: h:1/d/f", "    Type: folder", "Modified: 2001-09-09T01:46:40Z"]);
    }
}
