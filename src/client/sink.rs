//! Where the bytes of a download go: a partial file, or a stream.

use std::io::Write;

use sha2::{Digest as _, Sha256};

use super::error::ErrorKind;

/// Takes the bytes of a download. Bytes are verified in segments; those after the last verified segment can be dropped.
pub(super) trait Sink {
    /// The version of the bytes that are here, if there are any.
    fn version(&self) -> Option<&str>;
    /// How many bytes are verified.
    fn verified(&self) -> u64;
    /// True if an earlier run began and did not come to its end.
    fn was_interrupted(&self) -> bool;
    /// Starts a version from its first byte, in place of what was here.
    fn begin(&mut self, etag: &str, total: u64) -> Result<(), ErrorKind>;
    /// Tells the SHA-256 of the whole version; called before any byte of it is written by a connection.
    fn expect(&mut self, digest: [u8; 32]) -> Result<(), ErrorKind>;
    /// True unless all bytes together have another digest than expected. All bytes are verified.
    fn is_as_expected(&self) -> bool;
    /// Takes bytes that are not verified yet.
    fn write(&mut self, bytes: &[u8]) -> Result<(), ErrorKind>;
    /// All bytes so far are verified; `digest` is that of the last segment.
    fn verify(&mut self, digest: &[u8; 32]) -> Result<(), ErrorKind>;
    /// Drops the bytes that are not verified.
    fn rewind(&mut self) -> Result<(), ErrorKind>;
    /// Drops the version; an error if its bytes were passed on already.
    fn reset(&mut self) -> Result<(), ErrorKind>;
}

/// Holds one segment back until it is verified.
pub(super) struct Stream<'a> {
    writer: &'a mut dyn Write,
    segment: Vec<u8>,
    version: Option<String>,
    written: u64,
    /// The digest of what was written, and that of the whole.
    whole: Option<(Sha256, [u8; 32])>,
}

impl<'a> Stream<'a> {
    pub(super) fn new(writer: &'a mut dyn Write) -> Self {
        Self { writer, segment: Vec::new(), version: None, written: 0, whole: None }
    }
}

impl Sink for Stream<'_> {
    fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    fn verified(&self) -> u64 {
        self.written
    }

    fn was_interrupted(&self) -> bool {
        false
    }

    fn begin(&mut self, etag: &str, _total: u64) -> Result<(), ErrorKind> {
        self.version = Some(etag.to_owned());
        Ok(())
    }

    fn expect(&mut self, digest: [u8; 32]) -> Result<(), ErrorKind> {
        // Bytes that were passed on cannot be read again.
        if self.written == 0 {
            self.whole = Some((Sha256::new(), digest));
        }
        Ok(())
    }

    fn is_as_expected(&self) -> bool {
        self.whole.as_ref().is_none_or(|(hasher, digest)| hasher.clone().finalize().as_slice() == digest)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ErrorKind> {
        self.segment.extend_from_slice(bytes);
        Ok(())
    }

    fn verify(&mut self, _digest: &[u8; 32]) -> Result<(), ErrorKind> {
        let written = self.writer.write_all(&self.segment).and_then(|()| self.writer.flush());
        written.map_err(|error| ErrorKind::local("write", "-", error))?;
        self.written += self.segment.len() as u64;
        if let Some((hasher, _)) = &mut self.whole {
            hasher.update(&self.segment);
        }
        self.rewind()
    }

    fn rewind(&mut self) -> Result<(), ErrorKind> {
        self.segment.clear();
        Ok(())
    }

    fn reset(&mut self) -> Result<(), ErrorKind> {
        if self.written > 0 {
            return Err(ErrorKind::KeepsChanging);
        }
        (self.version, self.whole) = (None, None);
        self.rewind()
    }
}
