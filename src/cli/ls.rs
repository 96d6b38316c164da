//! `filewharf ls`: lists a directory, one line per entry: size, date, name.
//!
//! For a person sizes are short and columns aligned; in a pipe there are bytes and tabs. Control
//! bytes are spelled out in both.

use std::io::{self, BufWriter, IsTerminal as _, Write};

use indicatif::BinaryBytes;

use super::common::{Args, CONNECTION, End, Run, UsageError, Worker};
use super::usage::Usage;
use crate::calendar::Utc;
use crate::client::{Client, ClientError, Entry, ErrorKind, printable};

pub(super) static USAGE: Usage<Args> = Usage {
    name: "ls",
    about: "List a folder of a server",
    line: "[OPTIONS] HOST:PORT[/FOLDER/]",
    operand: ("HOST:PORT[/FOLDER/]", "HOST[:PORT][/folder/]; the top folder if none is given"),
    operands: 1..=1,
    flags: &[CONNECTION],
    hints: &[],
    notes: "Example:
  filewharf ls 127.0.0.1:7070/
  filewharf ls 127.0.0.1:7070/folder/ | cut -f 3

In a pipe each line is SIZE, tab, DATE, tab, NAME: bytes, UTC as 2001-09-09T01:46:40Z, and the
name, which ends in / for a folder (its size is -). The port is 7070 if none is given.",
};

pub(super) fn run(args: &Args) -> Result<End, UsageError> {
    let remotes = args.remotes()?;
    let run = Run::new(args)?;
    let stdout = io::stdout();
    let terminal = stdout.is_terminal();
    let mut out = BufWriter::new(stdout.lock());
    for remote in &remotes {
        Worker::new(&run).run_on(&remote.address, |client| {
            // Whoever stops reading has seen enough.
            match list(client, &remote.path, terminal, &mut out) {
                Err(ClientError { kind: ErrorKind::Local { source, .. }, .. })
                    if source.kind() == io::ErrorKind::BrokenPipe =>
                {
                    Ok(())
                }
                other => other,
            }
        });
    }
    Ok(run.end())
}

/// Writes the entries as they come.
pub(super) fn list(client: &mut Client, path: &str, terminal: bool, out: &mut impl Write) -> Result<(), ClientError> {
    let peer = client.address().to_string();
    let unwritable = |error| ClientError {
        peer: peer.clone(),
        subject: path.to_owned(),
        kind: ErrorKind::Local { doing: "write", path: "-".into(), source: error },
    };
    let mut failure = None;
    for entry in client.list(path) {
        match entry {
            Ok(entry) => writeln!(out, "{}", line(&entry, terminal)).map_err(&unwritable)?,
            Err(error) => failure = Some(error),
        }
    }
    // A file is listed as itself.
    if failure.as_ref().is_some_and(|error| error.kind.code() == Some(409)) {
        let stat = client.stat(path.trim_end_matches('/'))?;
        let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or(path).to_owned();
        let entry = Entry { name, dir: stat.dir, size: stat.size, mtime: stat.mtime, etag: stat.etag };
        writeln!(out, "{}", line(&entry, terminal)).map_err(&unwritable)?;
        failure = None;
    }
    out.flush().map_err(&unwritable)?;
    failure.map_or(Ok(()), Err)
}

/// One line of the listing.
fn line(entry: &Entry, terminal: bool) -> String {
    let name = format!("{}{}", printable(&entry.name), if entry.dir { "/" } else { "" });
    let date = Utc::new(i64::try_from(entry.mtime).unwrap_or(i64::MAX));
    let size = match (entry.dir, terminal) {
        (true, _) => "-".to_owned(),
        (false, true) => BinaryBytes(entry.size).to_string(),
        (false, false) => entry.size.to_string(),
    };
    if terminal { format!("{size:>12}  {}  {name}", date.to_the_minute()) } else { format!("{size}\t{date}Z\t{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_columns_in_a_pipe_and_short_on_a_terminal() {
        let entry =
            |name: &str, dir| Entry { name: name.to_owned(), dir, size: 1536, mtime: 1_000_000_000, etag: None };
        assert_eq!(line(&entry("a b", false), false), "1536\t2001-09-09T01:46:40Z\ta b");
        assert_eq!(line(&entry("x\u{1b}[2J", true), false), "-\t2001-09-09T01:46:40Z\tx\\u{1b}[2J/");
        assert_eq!(line(&entry("a", false), true), "    1.50 KiB  2001-09-09 01:46  a");
    }
}
