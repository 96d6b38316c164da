//! `filewharf ls`: lists a folder, one line per entry: size, date, name.
//!
//! For a person sizes are short and columns aligned; in a pipe there are bytes and tabs. Control
//! bytes are spelled out in both.

use std::io::{self, BufWriter, IsTerminal as _, Write};

use indicatif::BinaryBytes;

use super::common::{Args, CONNECTION, End, Misuse, QUIET, Run, Worker};
use super::usage::Usage;
use crate::client::{Client, ClientError, Entry, Trouble, printable};

pub(super) static USAGE: Usage<Args> = Usage {
    name: "ls",
    about: "List a folder of a server",
    line: "[OPTIONS] HOST:PORT[/FOLDER/]",
    operand: ("HOST:PORT[/FOLDER/]", "HOST[:PORT][/folder/]; the top folder if none is given"),
    operands: 1..=1,
    flags: &[("Options", &[QUIET]), CONNECTION],
    notes: "Example:
  filewharf ls 127.0.0.1:7070/
  filewharf ls 127.0.0.1:7070/folder/ | cut -f 3

In a pipe each line is SIZE, tab, DATE, tab, NAME: bytes, UTC as 2001-09-09T01:46:40Z, and the
name, which ends in / for a folder (its size is -). The port is 7070 if none is given.",
};

pub(super) fn run(args: &Args) -> Result<End, Misuse> {
    let places = args.places()?;
    let run = Run::new(args)?;
    let stdout = io::stdout();
    let terminal = stdout.is_terminal();
    let mut out = BufWriter::new(stdout.lock());
    for place in &places {
        Worker::new(&run).with(&place.address, |client| {
            // Whoever stops reading has seen enough.
            match list(client, &place.path, terminal, &mut out) {
                Err(ClientError { trouble: Trouble::Local { source, .. }, .. })
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
        trouble: Trouble::Local { doing: "write", path: "-".into(), source: error },
    };
    let mut failure = None;
    for entry in client.list(path) {
        match entry {
            Ok(entry) => writeln!(out, "{}", line(&entry, terminal)).map_err(&unwritable)?,
            Err(error) => failure = Some(error),
        }
    }
    // A file is listed as itself.
    if failure.as_ref().is_some_and(|error| error.trouble.code() == Some(409)) {
        let stat = client.stat(path.trim_end_matches('/'))?;
        let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or(path).to_owned();
        let entry = Entry { name, folder: stat.folder, size: stat.size, mtime: stat.mtime, etag: stat.etag };
        writeln!(out, "{}", line(&entry, terminal)).map_err(&unwritable)?;
        failure = None;
    }
    out.flush().map_err(&unwritable)?;
    failure.map_or(Ok(()), Err)
}

/// One line of the listing.
fn line(entry: &Entry, terminal: bool) -> String {
    let name = format!("{}{}", printable(&entry.name), if entry.folder { "/" } else { "" });
    let (year, month, day) = date(entry.mtime / 86_400);
    let (hour, minute, second) = (entry.mtime / 3600 % 24, entry.mtime / 60 % 60, entry.mtime % 60);
    let size = match (entry.folder, terminal) {
        (true, _) => "-".to_owned(),
        (false, true) => BinaryBytes(entry.size).to_string(),
        (false, false) => entry.size.to_string(),
    };
    if terminal {
        format!("{size:>12}  {year:04}-{month:02}-{day:02} {hour:02}:{minute:02}  {name}")
    } else {
        format!("{size}\t{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z\t{name}")
    }
}

/// Year, month and day of a count of days since 1970-01-01, in the Gregorian calendar. Years begin
/// in March here, so that the leap day is the last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // since 0000-03-01
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days_and_centuries() {
        for (seconds, want) in [
            (0, (1970, 1, 1)),
            (951_782_400, (2000, 2, 29)),
            (951_868_800, (2000, 3, 1)),
            (1_709_164_800, (2024, 2, 29)),
            (4_107_456_000, (2100, 2, 28)),
            (4_107_542_400, (2100, 3, 1)),
        ] {
            assert_eq!(date(seconds / 86_400), want, "{seconds}");
        }
        date(u64::MAX / 86_400);
    }

    #[test]
    fn lines_are_columns_in_a_pipe_and_short_on_a_terminal() {
        let entry =
            |name: &str, folder| Entry { name: name.to_owned(), folder, size: 1536, mtime: 1_000_000_000, etag: None };
        assert_eq!(line(&entry("a b", false), false), "1536\t2001-09-09T01:46:40Z\ta b");
        assert_eq!(line(&entry("x\u{1b}[2J", true), false), "-\t2001-09-09T01:46:40Z\tx\\u{1b}[2J/");
        assert_eq!(line(&entry("a", false), true), "    1.50 KiB  2001-09-09 01:46  a");
    }
}
