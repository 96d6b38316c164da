//! The digest of what one request brings, where the client announced one.

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::wire::http::tus::Checksum;

/// `None` where none was announced.
#[derive(Clone, Debug)]
pub(crate) struct PartDigest(Option<Box<Running>>);

#[derive(Clone, Debug)]
enum Running {
    Sha1(Sha1, [u8; 20]),
    Sha256(Sha256, [u8; 32]),
}

impl PartDigest {
    pub(crate) const NONE: Self = Self(None);

    pub(crate) fn of(announced: Checksum) -> Self {
        Self(Some(Box::new(match announced {
            Checksum::Sha1(digest) => Running::Sha1(Sha1::new(), digest),
            Checksum::Sha256(digest) => Running::Sha256(Sha256::new(), digest),
        })))
    }

    pub(crate) const fn is_wanted(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn update(&mut self, content: &[u8]) {
        match self.0.as_deref_mut() {
            Some(Running::Sha1(hasher, _)) => hasher.update(content),
            Some(Running::Sha256(hasher, _)) => hasher.update(content),
            None => {}
        }
    }

    /// True if all that came has the digest that was announced.
    pub(crate) fn agrees(&self) -> bool {
        match self.0.as_deref() {
            Some(Running::Sha1(hasher, digest)) => hasher.clone().finalize().as_slice() == digest,
            Some(Running::Sha256(hasher, digest)) => hasher.clone().finalize().as_slice() == digest,
            None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_that_of_all_pieces_together() {
        for digest in [Checksum::Sha1(Sha1::digest(b"hello").into()), Checksum::Sha256(Sha256::digest(b"hello").into())]
        {
            let mut part = PartDigest::of(digest);
            assert!(part.is_wanted() && !part.agrees());
            part.update(b"hel");
            part.update(b"lo");
            assert!(part.agrees());
            part.update(b"!");
            assert!(!part.agrees());
        }
        assert!(PartDigest::NONE.agrees() && !PartDigest::NONE.is_wanted());
    }
}
