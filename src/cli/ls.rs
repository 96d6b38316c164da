//! `filewharf ls`: lists a directory, one line per entry: size, date, name; or an object.
//!
//! For a person sizes are short and columns aligned; in a pipe there are bytes and tabs. Control
//! bytes are spelled out in both.

use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal as _, Write};

use indicatif::BinaryBytes;

use super::args::{Args, CONNECTION, JSON, UsageError};
use super::expand::expand;
use super::flag::{Flag, Value::*};
use super::usage::{Command, Usage};
use super::worker::{Run, Worker};
use crate::client::{Client, ClientError, Entry, ErrorKind, printable};
use crate::time::Utc;
use crate::wire::json;
use crate::wire::line::hex;

pub(super) static USAGE: Usage<Args> = Usage {
    command: Command {
        name: "ls",
        about: "List a folder of a server",
        line: "[OPTIONS] HOST:PORT[/FOLDER/]...",
        operand: (
            "HOST:PORT[/FOLDER/]...",
            "HOST[:PORT][/folder/], the top folder if none is given; * ? [a-z] in names, quoted, match several",
        ),
        operands: 1..=usize::MAX,
        hints: &[],
        notes: "Example:
  filewharf ls 127.0.0.1:7070/
  filewharf ls 127.0.0.1:7070/folder/ | cut -f 3
  filewharf ls --recursive --json 127.0.0.1:7070/folder/

In a pipe each line is SIZE, tab, DATE, tab, NAME: bytes, UTC as 2001-09-09T01:46:40Z, and the
name, which ends in / for a folder (its size is -). With --json each line is an object with name,
type (file or folder), size, mtime (seconds since 1970) and etag; a folder has no size and no
etag. Of what matches a pattern, folders are shown as themselves. With --recursive names are paths
below the folder. The port is 7070 if none is given. Write tls://HOST:PORT for a server that
speaks TLS.",
    },
    flags: &[
        (
            "Options",
            &[
                Flag::new(
                    "recursive",
                    Switch(|args: &mut Args| args.recursive = true),
                    "List everything in the folders too, as paths below the folder",
                )
                .or('r'),
                JSON,
            ],
        ),
        CONNECTION,
    ],
};

/// How an entry is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// For a terminal.
    Columns,
    /// For a pipe.
    Tabs,
    Json,
}

/// What is listed of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// A file or directory itself.
    Itself,
    Level,
    Everything,
}

pub(super) fn run(args: &Args) -> Result<bool, UsageError> {
    let remotes = args.remotes()?;
    let run = Run::new(args, None)?;
    let stdout = io::stdout();
    let form = match args.json {
        true => Form::Json,
        false if stdout.is_terminal() => Form::Columns,
        false => Form::Tabs,
    };
    let mut worker = Worker::new(&run);
    let (remotes, had_pattern) = expand(&mut worker, remotes);
    let depth = match (args.recursive, had_pattern) {
        (true, _) => Depth::Everything,
        (false, true) => Depth::Itself,
        (false, false) => Depth::Level,
    };
    let mut out = BufWriter::new(stdout.lock());
    for remote in &remotes {
        worker.run_on(&remote.address, |client| match list(client, &remote.path, depth, form, &mut out) {
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
pub(super) fn list(
    client: &mut Client,
    path: &str,
    depth: Depth,
    form: Form,
    out: &mut impl Write,
) -> Result<(), ClientError> {
    let peer = client.address().clone();
    let mut write = |entry: &Entry| {
        writeln!(out, "{}", line(entry, form)).map_err(|error| ErrorKind::local("write", "-", error).at(&peer, path))
    };
    let mut result = Ok(());
    let entries = match depth {
        Depth::Itself => None,
        Depth::Level => Some(client.list(path)),
        Depth::Everything => Some(client.list_all(path)),
    };
    for entry in entries.into_iter().flatten() {
        match entry {
            Ok(entry) => write(&entry)?,
            Err(error) => result = Err(error),
        }
    }
    if depth == Depth::Itself || matches!(&result, Err(error) if error.kind.code() == Some(409)) {
        result = write(&client.stat(path.trim_end_matches('/'))?);
    }
    out.flush().map_err(|error| ErrorKind::local("write", "-", error).at(&peer, path))?;
    result
}

/// One line of the listing.
fn line(entry: &Entry, form: Form) -> String {
    let name = format!("{}{}", printable(&entry.name), if entry.dir { "/" } else { "" });
    let date = Utc::new(entry.mtime);
    let size = match (entry.dir || entry.unseen, form) {
        (true, _) => "-".to_owned(),
        (false, Form::Columns) => BinaryBytes(entry.size).to_string(),
        (false, _) => entry.size.to_string(),
    };
    match (form, entry.unseen) {
        (Form::Json, _) => json(entry),
        (Form::Columns, true) => format!("{size:>12}  {:16}  {name}", "-"),
        (Form::Columns, false) => format!("{size:>12}  {}  {name}", date.to_the_minute()),
        (Form::Tabs, true) => format!("{size}\t-\t{name}"),
        (Form::Tabs, false) => format!("{size}\t{date}Z\t{name}"),
    }
}

/// As an object of the server's own JSON: without what is not known.
pub(super) fn json(entry: &Entry) -> String {
    let mut text = String::from("{\"name\":");
    json::quote(&entry.name, &mut text);
    text.push_str(if entry.dir { ",\"type\":\"folder\"" } else { ",\"type\":\"file\"" });
    // Writing to a String cannot fail.
    if !entry.dir && !entry.unseen {
        let _ = write!(text, ",\"size\":{}", entry.size);
    }
    if !entry.unseen {
        let _ = write!(text, ",\"mtime\":{}", entry.mtime);
    }
    if let Some(etag) = &entry.etag {
        text.push_str(",\"etag\":");
        json::quote(etag, &mut text);
    }
    if let Some(digest) = &entry.sha256 {
        let _ = write!(text, ",\"sha256\":\"{}\"", hex(digest));
    }
    text + "}"
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
            executable: false,
            unseen: false,
        };
        assert_eq!(line(&entry("a b", false), Form::Tabs), "1536\t2001-09-09T01:46:40Z\ta b");
        assert_eq!(line(&entry("x\u{1b}[2J", true), Form::Tabs), "-\t2001-09-09T01:46:40Z\tx\\u{1b}[2J/");
        let unseen = Entry { unseen: true, ..entry("a", false) };
        assert_eq!(line(&unseen, Form::Tabs), "-\t-\ta");
        assert_eq!(line(&unseen, Form::Columns), format!("{:>12}  {:16}  a", "-", "-"));
        assert_eq!(line(&entry("a", false), Form::Columns), "    1.50 KiB  2001-09-09 01:46  a");
        let object = r#"{"name":"a\"b","type":"file","size":1536,"mtime":1000000000,"etag":"ab"}"#;
        assert_eq!(line(&Entry { etag: Some("ab".to_owned()), ..entry("a\"b", false) }, Form::Json), object);
        assert_eq!(line(&entry("d", true), Form::Json), r#"{"name":"d","type":"folder","mtime":1000000000}"#);
        assert_eq!(line(&unseen, Form::Json), r#"{"name":"a","type":"file"}"#);
    }
}
