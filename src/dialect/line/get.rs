//! A GET while its file is opened or sent.

use crate::dialect::line::options::OnlyIf;
use crate::dialect::line::say::{refuse, say_opened};
use crate::dialect::protocol::{Action, Context, Hash};
use crate::error::Failure;
use crate::object::{Key, Meta};
use crate::wire::range::ByteRange;

#[derive(Debug)]
pub(super) struct GetExchange {
    pub(super) key: Key,
    pub(super) range: Option<ByteRange>,
    pub(super) only: Option<OnlyIf>,
    /// `digest=1`: the digest of the file is sent, where it is known.
    pub(super) tells_digest: bool,
    pub(super) trailer: Trailer,
}

/// What is sent after the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trailer {
    None,
    /// The digest of what was sent.
    Computed,
    /// The same, where that is all of a file with a kept digest.
    Kept([u8; 32]),
}

impl GetExchange {
    /// The file is open: the reply line, then its bytes.
    pub(super) fn opened(&mut self, meta: &Meta, context: &mut Context<'_>) -> Action {
        if self.only.is_some_and(|only| only != OnlyIf::Version(meta.etag)) {
            return refuse(Failure::PreconditionFailed, Some(&self.key), context, Action::Next);
        }
        let (range, asked) = match self.range.map(|range| range.resolve(meta.len)) {
            None => (0..meta.len, None),
            Some(Ok(range)) => (range.clone(), Some(range)),
            Some(Err(failure)) => return refuse(failure, Some(&self.key), context, Action::Next),
        };
        let told = meta.sha256.filter(|_| self.tells_digest);
        say_opened(&range, asked.as_ref(), meta, told.as_ref(), context.out);
        if let (Trailer::Computed, Some(digest)) = (self.trailer, meta.sha256)
            && range == (0..meta.len)
        {
            self.trailer = Trailer::Kept(digest);
        }
        Action::Send { range, hash: if self.trailer == Trailer::Computed { Hash::Sha256 } else { Hash::None } }
    }

    /// The digest for the trailer; `computed` if it was asked for.
    pub(super) const fn digest(&self, computed: Option<[u8; 32]>) -> Option<[u8; 32]> {
        if let Trailer::Kept(digest) = self.trailer { Some(digest) } else { computed }
    }
}
