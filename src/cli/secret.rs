//! The secret that a server asks for and a client sends, as it is read from a file.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::wire::key;

/// Shortest secret that is accepted, in bytes.
const LEN_MIN: usize = 4;
/// Longest one: it is a word of a request line.
const LEN_MAX: usize = 1024;

pub(super) struct Secret {
    pub(super) text: String,
    /// Set if other users can read the file.
    pub(super) warning: Option<String>,
}

/// Reads the secret in the first line of a file. Errors name the file.
pub(super) fn read(file: &Path) -> io::Result<Secret> {
    let named = |why: String| io::Error::other(format!("{}: {why}", file.display()));
    // Opened once: a pipe, as a shell makes one for <(command), has one reader.
    let read = File::open(file).and_then(|mut open| {
        let mut text = String::new();
        open.read_to_string(&mut text)?;
        Ok((text, open.metadata()?))
    });
    let (text, metadata) = read.map_err(|error| named(error.to_string()))?;
    let secret = text.lines().next().unwrap_or_default();
    if secret.trim().is_empty() {
        return Err(named("holds no secret, the first line is blank".to_owned()));
    }
    check(secret).map_err(named)?;
    let mode = metadata.mode() & 0o777;
    let warning = (metadata.is_file() && mode & 0o004 != 0).then(|| {
        format!("every user of this machine can read the secret (mode {mode:03o}): chmod 600 {}", file.display())
    });
    Ok(Secret { text: secret.to_owned(), warning })
}

/// Refuses a secret that is too short, or that no request can carry.
pub(super) fn check(secret: &str) -> Result<(), String> {
    if !(LEN_MIN..=LEN_MAX).contains(&secret.trim().len()) {
        return Err(format!("a secret has at least {LEN_MIN} and at most {LEN_MAX} bytes"));
    }
    if key::has_control(secret) {
        return Err("the secret has control characters".to_owned());
    }
    Ok(())
}
