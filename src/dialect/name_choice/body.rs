//! The content of an upload, which may be only the words that there is no such file.

/// Sent for a file that is not there, by either side.
pub(super) const MISSING: &[u8] = b"File not found. Try again.";
/// The content of an upload so far, compared with [`MISSING`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// The first this many bytes of it.
    Like(usize),
    Other,
}

impl Body {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        if let Self::Like(len) = *self {
            let same = MISSING.get(len..).is_some_and(|rest| rest.starts_with(bytes));
            *self = if same { Self::Like(len + bytes.len()) } else { Self::Other };
        }
    }

    pub(super) fn is_missing(self) -> bool {
        self == Self::Like(MISSING.len())
    }
}
