//! What a page of a listing tells. Never what it is about.

/// What a page tells, and of what.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PageOptions {
    /// With the SHA-256 of files, where it is known.
    pub(crate) digests: bool,
    /// With whether files can be executed.
    pub(crate) exec: bool,
    /// With everything in the directories of the directory; names are paths below it.
    pub(crate) recursive: bool,
    /// Most names, if fewer than the server takes.
    pub(crate) limit: Option<usize>,
}
