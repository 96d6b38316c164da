//! What the dialects of older systems have in common.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::dialect::protocol::{Action, Context};
use crate::dialect::spec::{OptionError, Options};
use crate::error::{CloseReason, Failure};
use crate::object::Key;
use crate::wire::http::opening::{NOT_HTTP, Opening, opening};
use crate::wire::key;

/// The close reason of a connection after a request that failed so.
pub(super) const fn close_reason(failure: Failure) -> CloseReason {
    match failure {
        Failure::Malformed(_) => CloseReason::Malformed,
        Failure::TimedOut => CloseReason::TooSlow,
        Failure::Draining => CloseReason::Drained,
        _ => CloseReason::Refused,
    }
}

/// Resets a connection that begins with an HTTP request, and waits for more while it could; `None` for any other.
/// For dialects in which nothing begins so.
pub(super) fn refuse_http(input: &[u8], context: &mut Context<'_>) -> Option<Action> {
    match opening(input) {
        Opening::Request => {
            context.refused = Some(Failure::Malformed(NOT_HTTP));
            Some(Action::Reset(CloseReason::Malformed))
        }
        Opening::Unfinished => Some(Action::More),
        Opening::Other => None,
    }
}

/// The directory of `inbox=FOLDER`, in which messages are kept as files, each under a new name.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) dir: Option<Key>,
    started_s: u64,
    next: AtomicU64,
}

impl Inbox {
    pub(super) const OPTION: &str = "inbox=FOLDER";

    /// Reads the options of an address that has only this one. The messages are numbered from `first`.
    pub(super) fn of(options: &Options, started_s: u64, first: u64) -> Result<Self, OptionError> {
        let mut dir = None;
        for (name, value) in options {
            let key = key::relative(value.strip_suffix('/').unwrap_or(value));
            let key = key.map_err(|failure| OptionError::invalid(name, value, failure.words()))?;
            if dir.replace(key).is_some() {
                return Err(OptionError::Repeated("inbox"));
            }
        }
        Ok(Self { dir, started_s, next: AtomicU64::new(first) })
    }

    /// The name for the next message, with this end; `None` where messages are not kept.
    pub(super) fn name(&self, end: impl fmt::Display) -> Option<Result<Key, Failure>> {
        let dir = self.dir.as_ref()?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Some(key::relative(&format!("{}/{}-{number:06}-{end}", dir.as_str(), self.started_s)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::spec::Traits;

    fn inbox(options: &[(&str, &str)]) -> Result<Inbox, OptionError> {
        let options: Vec<_> = options.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Traits { options: &[Inbox::OPTION], ..Traits::named("old") }.check(&options)?;
        Inbox::of(&options, 1_700_000_000, 0)
    }

    #[test]
    fn an_inbox_is_a_directory_below_the_root() {
        let kept = inbox(&[("inbox", "a/b/")]).expect("a folder");
        let name = |end| kept.name(end).expect("an inbox").expect("a good name").to_string();
        assert_eq!(
            (name("5.json"), name("6.json")),
            ("/a/b/1700000000-000000-5.json".into(), "/a/b/1700000000-000001-6.json".into())
        );
        assert!(inbox(&[]).expect("no options").name(5).is_none());
        for bad in [&[("inbox", "")][..], &[("inbox", "../a")], &[("box", "a")], &[("inbox", "a"), ("inbox", "b")]] {
            assert!(inbox(bad).is_err(), "{bad:?}");
        }
    }
}
