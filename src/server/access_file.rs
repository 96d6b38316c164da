//! Opens the access file and reads its rules. What is in it is decided in `access`.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;

use super::reload::{Apply, Reload};
use crate::access::Rules;
use crate::access::file::{self, FILE_LEN_MAX};
use crate::os::process::random;

/// Permission bits that the file may have: it helps to guess passwords.
const MODE_MAX: u32 = 0o640;

/// Reads the rules of an access file. The error names the file, and the line if one is wrong.
pub fn read(path: &Path) -> Result<Rules, String> {
    let name = path.display();
    let text = text(path, MODE_MAX).map_err(|error| format!("{name}: {error}"))?;
    let mut rules = file::parse(&text).map_err(|error| match error.line {
        0 => format!("{name}: {error}"),
        _ => format!("{name}:{error}"),
    })?;
    rules.set_password_key(random().map_err(|error| format!("no random bytes: {error}"))?);
    Ok(rules)
}

/// Reads the access file of a server again.
pub struct AccessFile {
    file: PathBuf,
    /// What a check of a password took at most at the start.
    password_memory: usize,
    /// The rules in effect, and those before: the loop gives these up, and this thread frees them.
    kept: Vec<Arc<Rules>>,
}

impl AccessFile {
    pub fn new(file: PathBuf, rules: Arc<Rules>) -> Self {
        Self { file, password_memory: rules.passwords().memory(), kept: vec![rules] }
    }
}

impl Reload for AccessFile {
    fn read(&mut self) -> Result<Apply<'_>, String> {
        let mut rules = read(&self.file)?;
        if rules.passwords().memory() > self.password_memory {
            let name = self.file.display();
            return Err(format!("{name}: a password takes more memory to check than those at the start: restart"));
        }
        if let Some(before) = self.kept.last() {
            rules.keep_passwords(before);
        }
        let rules = Arc::new(rules);
        Ok(Box::new(move |control| {
            self.kept.push(Arc::clone(&rules));
            if let [_, _, _] = *self.kept {
                self.kept.remove(0);
            }
            control.replace_rules(rules);
            format!("read {} again", self.file.display())
        }))
    }
}

/// The text of a file that can be read again, with these permission bits at most. It is not longer than an access file
/// may be, but for one byte.
#[allow(clippy::disallowed_methods, reason = "the file lies outside of the served directory")]
pub fn text(path: &Path, mode_max: u32) -> io::Result<String> {
    // Without the flag, a pipe is waited for before it is found to be no file.
    let open = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    let metadata = open.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("is not a file, and could not be read again"));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & !mode_max != 0 {
        let why =
            format!("has mode {mode:04o}, and must have {mode_max:04o} or less: chmod {mode_max:o} {}", path.display());
        return Err(io::Error::other(why));
    }
    let mut bytes = Vec::new();
    // One byte more than is allowed shows that there is more.
    open.take(FILE_LEN_MAX as u64 + 1).read_to_end(&mut bytes)?;
    String::from_utf8(bytes).map_err(|_| io::Error::other("is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    #[test]
    fn a_pipe_is_refused_and_not_waited_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let pipe = dir.path().join("access");
        mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).expect("a pipe");
        let error = read(&pipe).expect_err("no file");
        assert!(error.contains("is not a file"), "{error}");
    }
}
