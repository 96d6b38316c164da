//! `filewharf ls`: lists a directory, one line per entry: size, date, name.
//!
//! For a person sizes are short and columns aligned; in a pipe there are bytes and tabs. Control
//! bytes are spelled out in both.

use std::io::{self, BufWriter, IsTerminal as _, Write};

use indicatif::BinaryBytes;

use super::args::{Args, CONNECTION, UsageError};
use super::usage::{Command, Usage};
use super::worker::{Run, Worker};
use crate::client::{Client, ClientError, Entry, ErrorKind, printable};
use crate::time::Utc;

pub(super) static USAGE: Usage<Args> = Usage {
    command: Command {
        name: "ls",
        about: "List a folder of a server",
        line: "[OPTIONS] HOST:PORT[/FOLDER/]",
        operand: ("HOST:PORT[/FOLDER/]", "HOST[:PORT][/folder/]; the top folder if none is given"),
        operands: 1..=1,
        hints: &[],
        notes: "Example:
  filewharf ls 127.0.0.1:7070/
  filewharf ls 127.0.0.1:7070/folder/ | cut -f 3

In a pipe each line is SIZE, tab, DATE, tab, NAME: bytes, UTC as 2001-09-09T01:46:40Z, and the
name, which ends in / for a folder (its size is -). The port is 7070 if none is given. Write
tls://HOST:PORT for a server that speaks TLS.",
    },
    flags: &[CONNECTION],
};

pub(super) fn run(args: &Args) -> Result<bool, UsageError> {
    let remotes = args.remotes()?;
    let run = Run::new(args, None)?;
    let stdout = io::stdout();
    let terminal = stdout.is_terminal();
    let mut out = BufWriter::new(stdout.lock());
    for remote in &remotes {
        Worker::new(&run).run_on(&remote.address, |client| match list(client, &remote.path, terminal, &mut out) {
            // The reader of a pipe may stop reading before the end.
            Err(ClientError { kind: ErrorKind::LocalFile { source, .. }, .. })
                if source.kind() == io::ErrorKind::BrokenPipe =>
            {
                Ok(())
            }
            other => other,
        });
    }
    Ok(run.reporter.finish())
}

/// Writes the entries as they come; a file is listed as itself.
pub(super) fn list(client: &mut Client, path: &str, terminal: bool, out: &mut impl Write) -> Result<(), ClientError> {
    let peer = client.address().clone();
    let mut write = |entry: &Entry| {
        writeln!(out, "{}", line(entry, terminal))
            .map_err(|error| ErrorKind::local("write", "-", error).at(&peer, path))
    };
    let mut result = Ok(());
    for entry in client.list(path) {
        match entry {
            Ok(entry) => write(&entry)?,
            Err(error) => result = Err(error),
        }
    }
    if matches!(&result, Err(error) if error.kind.code() == Some(409)) {
        result = write(&client.stat(path.trim_end_matches('/'))?);
    }
    out.flush().map_err(|error| ErrorKind::local("write", "-", error).at(&peer, path))?;
    result
}

/// One line of the listing.
fn line(entry: &Entry, terminal: bool) -> String {
    let name = format!("{}{}", printable(&entry.name), if entry.dir { "/" } else { "" });
    let date = Utc::new(entry.mtime);
    let size = match (entry.dir || entry.unseen, terminal) {
        (true, _) => "-".to_owned(),
        (false, true) => BinaryBytes(entry.size).to_string(),
        (false, false) => entry.size.to_string(),
    };
    match (entry.unseen, terminal) {
        (true, true) => format!("{size:>12}  {:16}  {name}", "-"),
        (true, false) => format!("{size}\t-\t{name}"),
        (false, true) => format!("{size:>12}  {}  {name}", date.to_the_minute()),
        (false, false) => format!("{size}\t{date}Z\t{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_tabs_in_a_pipe_and_columns_on_a_terminal() {
        let entry = |name: &str, dir| Entry {
            name: name.to_owned(),
            dir,
            size: 1536,
            mtime: 1_000_000_000,
            etag: None,
            sha256: None,
            unseen: false,
        };
        assert_eq!(line(&entry("a b", false), false), "1536\t2001-09-09T01:46:40Z\ta b");
        assert_eq!(line(&entry("x\u{1b}[2J", true), false), "-\t2001-09-09T01:46:40Z\tx\\u{1b}[2J/");
        let unseen = Entry { unseen: true, ..entry("a", false) };
        assert_eq!(line(&unseen, false), "-\t-\ta");
        assert_eq!(line(&unseen, true), format!("{:>12}  {:16}  a", "-", "-"));
        assert_eq!(line(&entry("a", false), true), "    1.50 KiB  2001-09-09 01:46  a");
    }
}
