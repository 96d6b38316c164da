//! The SHA-256 of a file as far as it was transferred, which can go back: a resumed transfer begins before the last byte.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use sha2::{Digest as _, Sha256};

/// Bytes between two states at first.
const SPACING_FIRST: u64 = 1 << 20;
/// Most states; when there are this many, every other one is dropped.
const STATES_MAX: usize = 1024;
/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;

/// The digest of the first `len` bytes, and some states on the way there.
#[derive(Debug)]
pub(super) struct PrefixDigest {
    hasher: Sha256,
    len: u64,
    /// Ascending, by the number of bytes they cover.
    states: Vec<(u64, Sha256)>,
    spacing: u64,
}

impl PrefixDigest {
    pub(super) fn new() -> Self {
        Self { hasher: Sha256::new(), len: 0, states: Vec::new(), spacing: SPACING_FIRST }
    }

    /// Adds bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        if self.len - self.states.last().map_or(0, |(at, _)| *at) < self.spacing {
            return;
        }
        self.states.push((self.len, self.hasher.clone()));
        if self.states.len() == STATES_MAX {
            let mut is_kept = false;
            self.states.retain(|_| {
                is_kept = !is_kept;
                is_kept
            });
            self.spacing *= 2;
        }
    }

    /// Goes to the first `len` bytes of `file`, of which as few as possible are read, and leaves it there. An error of
    /// kind `UnexpectedEof` if the file is shorter.
    pub(super) fn seek(&mut self, mut file: &File, len: u64) -> io::Result<()> {
        if len < self.len {
            let covered = self.states.partition_point(|(at, _)| *at <= len);
            self.states.truncate(covered);
            (self.len, self.hasher) = self.states.last().cloned().unwrap_or_else(|| (0, Sha256::new()));
        }
        file.seek(SeekFrom::Start(self.len))?;
        let mut buffer = vec![0; READ_BYTES];
        while self.len < len {
            let wanted = usize::try_from(len - self.len).unwrap_or(usize::MAX).min(READ_BYTES);
            match file.read(&mut buffer[..wanted]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.update(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) fn value(&self) -> [u8; 32] {
        self.hasher.clone().finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_digest_is_right_wherever_it_goes() {
        let dir = tempfile::tempdir().expect("a folder");
        let bytes: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 251) as u8).collect();
        let path = dir.path().join("f");
        fs::write(&path, &bytes).expect("written");
        let mut file = File::open(&path).expect("open");
        let mut digest = PrefixDigest::new();
        for len in [3_000_000, 5_000_000, 0, 1, 1 << 20, (1 << 20) - 1, 4_999_999, 5_000_000, 2 << 20] {
            digest.seek(&file, len as u64).expect("read");
            assert_eq!(digest.value(), <[u8; 32]>::from(Sha256::digest(&bytes[..len])), "{len}");
            assert_eq!(file.stream_position().expect("a position"), len as u64);
        }
        let error = digest.seek(&file, 5_000_001).expect_err("too short");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn the_number_of_states_is_bounded() {
        let mut digest = PrefixDigest::new();
        digest.spacing = 1;
        for n in 0..20 * STATES_MAX {
            digest.update(&[n as u8]);
        }
        assert!((STATES_MAX / 4..STATES_MAX).contains(&digest.states.len()), "{}", digest.states.len());
        assert!(digest.states.is_sorted_by_key(|(at, _)| *at));
    }
}
