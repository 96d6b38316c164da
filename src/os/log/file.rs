//! The file that requests are logged to. It is opened again when another program has renamed it; never truncated.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Of a new file, less the umask: lines have the names and addresses of users.
const MODE: u32 = 0o640;

pub struct LogFile {
    path: PathBuf,
    file: File,
    /// The last line in it is not whole.
    is_torn: bool,
}

impl LogFile {
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: open(path)?, is_torn: false })
    }

    /// Continues in the file that has the name now. Where that cannot be opened, the one before is still written to.
    pub fn reopen(&mut self) {
        match open(&self.path) {
            Ok(file) => (self.file, self.is_torn) = (file, false),
            Err(error) => log::error!("cannot open the log file {self} again, and continue in the one before: {error}"),
        }
    }

    /// Writes whole lines.
    pub fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        if self.is_torn {
            self.file.write_all(b"\n")?;
        }
        self.is_torn = false;
        let written = self.file.write_all(lines);
        self.is_torn = written.is_err();
        written
    }
}

impl fmt::Display for LogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

/// A pipe without a reader is an error, and one that is full drops lines: nothing is waited for.
#[allow(clippy::disallowed_methods, reason = "no peer names this file")]
fn open(path: &Path) -> io::Result<File> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    OpenOptions::new().append(true).create(true).mode(MODE).custom_flags(flags).open(path)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test makes and reads files")]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_renamed_is_whole_and_another_continues() {
        let dir = tempfile::tempdir().expect("a folder");
        let [path, old] = ["requests", "requests.1"].map(|name| dir.path().join(name));
        let read = |path: &Path| std::fs::read_to_string(path).expect("it is there");
        let mut file = LogFile::open(&path).expect("it can be made");
        file.write(b"1\n").expect("there is space");
        std::fs::rename(&path, &old).expect("it is there");
        file.write(b"2\n").expect("there is space");
        file.reopen();
        file.write(b"3\n").expect("there is space");
        assert_eq!((read(&old), read(&path)), ("1\n2\n".to_owned(), "3\n".to_owned()));
        std::fs::remove_dir_all(dir.path()).expect("it is there");
        file.reopen();
        file.write(b"4\n").expect("the one before is open");
    }

    #[test]
    fn after_a_line_that_was_cut_off_another_begins_on_a_line_of_its_own() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("requests");
        let mut file = LogFile::open(&path).expect("it can be made");
        file.write(b"half").expect("there is space");
        file.is_torn = true;
        file.write(b"").expect("nothing is written");
        file.write(b"next\n").expect("there is space");
        assert_eq!(std::fs::read_to_string(&path).expect("it is there"), "half\nnext\n");
    }
}
