//! Why things end: three vocabularies that are never mixed.
//!
//! [`Failure`] is told to the peer in its dialect, [`CloseReason`] to the log, [`StoreError`] to
//! the operator. There is deliberately no `From<io::Error> for Failure`: `?` cannot turn a disk
//! error into a protocol reply by accident.

use std::fmt;
use std::io;

/// Why a request could not be served. Each dialect owns the mapping to its own codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No transfer slot, descriptor or connection was free in time; trying again may work.
    Busy,
    /// Something of another kind stands where the request needs a file or a directory.
    Conflict(&'static str),
    /// The name or the operation is not allowed.
    Denied(&'static str),
    /// The content does not have the digest that was announced.
    DigestMismatch,
    /// The server is ending and takes no new requests.
    Draining,
    /// The server or its disk failed.
    Internal,
    /// The request breaks the grammar of its dialect.
    Malformed(&'static str),
    /// The disk or the quota is full.
    NoSpace,
    /// There is no such file or directory.
    NotFound,
    /// The request is understood but not offered.
    NotImplemented(&'static str),
    /// `if=` did not hold.
    PreconditionFailed,
    /// The range lies outside the file.
    RangeUnsatisfiable,
    /// The peer was too slow.
    TimedOut,
    /// The body, name or line is longer than the limits allow.
    TooLarge,
    /// A secret is needed and was not given, or was wrong.
    Unauthorized,
    /// The path is longer than the path of any file.
    PathTooLong,
    /// The request names a host that this listener does not answer for.
    WrongHost,
    /// The file system cannot be reached, or nothing can be staged on it; trying again may work.
    Unavailable,
}

impl Failure {
    /// Every failure, in the order of their numbers.
    pub const ALL: [Self; 18] = [
        Self::Busy,
        Self::Conflict(""),
        Self::Denied(""),
        Self::DigestMismatch,
        Self::Draining,
        Self::Internal,
        Self::Malformed(""),
        Self::NoSpace,
        Self::NotFound,
        Self::NotImplemented(""),
        Self::PreconditionFailed,
        Self::RangeUnsatisfiable,
        Self::TimedOut,
        Self::TooLarge,
        Self::Unauthorized,
        Self::PathTooLong,
        Self::WrongHost,
        Self::Unavailable,
    ];

    /// Its place among [`Failure::ALL`], for the counters.
    pub const fn number(self) -> usize {
        match self {
            Self::Busy => 0,
            Self::Conflict(_) => 1,
            Self::Denied(_) => 2,
            Self::DigestMismatch => 3,
            Self::Draining => 4,
            Self::Internal => 5,
            Self::Malformed(_) => 6,
            Self::NoSpace => 7,
            Self::NotFound => 8,
            Self::NotImplemented(_) => 9,
            Self::PreconditionFailed => 10,
            Self::RangeUnsatisfiable => 11,
            Self::TimedOut => 12,
            Self::TooLarge => 13,
            Self::Unauthorized => 14,
            Self::PathTooLong => 15,
            Self::WrongHost => 16,
            Self::Unavailable => 17,
        }
    }

    /// One word for the counters, stable for people who watch them.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Conflict(_) => "conflict",
            Self::Denied(_) => "denied",
            Self::DigestMismatch => "digest-mismatch",
            Self::Draining => "draining",
            Self::Internal => "internal",
            Self::Malformed(_) => "malformed",
            Self::NoSpace => "no-space",
            Self::NotFound => "not-found",
            Self::NotImplemented(_) => "not-implemented",
            Self::PreconditionFailed => "precondition-failed",
            Self::RangeUnsatisfiable => "range-unsatisfiable",
            Self::TimedOut => "timed-out",
            Self::TooLarge => "too-large",
            Self::Unauthorized => "unauthorized",
            Self::PathTooLong => "path-too-long",
            Self::WrongHost => "wrong-host",
            Self::Unavailable => "unavailable",
        }
    }

    /// A few words for a person; lower case, no full stop.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Busy => "the server is busy, try again",
            Self::Conflict(why) | Self::Denied(why) | Self::Malformed(why) | Self::NotImplemented(why) => why,
            Self::DigestMismatch => "the content does not match its digest, nothing was stored",
            Self::Draining => "the server is shutting down",
            Self::Internal => "the server could not complete this, its log says why",
            Self::NoSpace => "no space left for this file",
            Self::NotFound => "no such file or folder",
            Self::PreconditionFailed => "the precondition does not hold",
            Self::RangeUnsatisfiable => "the range lies outside the file",
            Self::TimedOut => "too slow",
            Self::TooLarge => "too large",
            Self::Unauthorized => "a secret is needed",
            Self::PathTooLong => "the path is longer than 4096 bytes",
            Self::WrongHost => {
                "the Host of this request is not one of this server: to permit it, start with --allow-host NAME ('*' for any)"
            }
            Self::Unavailable => "the file system cannot be reached, try again",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// Why a connection ended, for the log and the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseReason {
    /// The body or the head ended before its announced end.
    CutShort,
    /// The server drained.
    Drained,
    /// The conversation was over and both sides knew it.
    Finished,
    /// A head did not become complete in time.
    HeadTimeout,
    /// Nothing was asked for too long.
    IdleTimeout,
    /// A failure of the server itself.
    Internal,
    /// The peer kept sending after it had been refused, or never closed.
    LingerEnded,
    /// The peer broke the grammar.
    Malformed,
    /// The peer closed between requests.
    PeerClosed,
    /// The peer reset the connection or vanished.
    PeerReset,
    /// The request was refused and the connection could not go on.
    Refused,
    /// A slot did not come in time in the middle of a transfer.
    SlotTimeout,
    /// The file became shorter, or unreadable, while it was sent.
    SourceFailed,
    /// The server was told to stop at once.
    Stopped,
    /// The peer moved fewer bytes than the minimum rate.
    TooSlow,
}

impl CloseReason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 15] = [
        Self::CutShort,
        Self::Drained,
        Self::Finished,
        Self::HeadTimeout,
        Self::IdleTimeout,
        Self::Internal,
        Self::LingerEnded,
        Self::Malformed,
        Self::PeerClosed,
        Self::PeerReset,
        Self::Refused,
        Self::SlotTimeout,
        Self::SourceFailed,
        Self::Stopped,
        Self::TooSlow,
    ];

    /// One word for the log, stable for people who grep.
    pub const fn word(self) -> &'static str {
        match self {
            Self::CutShort => "cut-short",
            Self::Drained => "drained",
            Self::Finished => "finished",
            Self::HeadTimeout => "head-timeout",
            Self::IdleTimeout => "idle-timeout",
            Self::Internal => "internal",
            Self::LingerEnded => "linger-ended",
            Self::Malformed => "malformed",
            Self::PeerClosed => "peer-closed",
            Self::PeerReset => "peer-reset",
            Self::Refused => "refused",
            Self::SlotTimeout => "slot-timeout",
            Self::SourceFailed => "source-failed",
            Self::Stopped => "stopped",
            Self::TooSlow => "too-slow",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A store operation that failed: what to tell the peer, and what to tell the operator.
#[derive(Debug)]
pub struct StoreError {
    /// What the peer is told.
    pub failure: Failure,
    /// The call that failed, for the log: `"openat2"`, `"fdatasync"`.
    pub site: &'static str,
    /// The system's own words, where a system call failed.
    pub source: Option<io::Error>,
}

impl StoreError {
    /// A refusal decided by the store itself, with no system call behind it.
    pub const fn refused(failure: Failure, site: &'static str) -> Self {
        Self { failure, site, source: None }
    }

    /// What really happened, for the log beside what the peer was told.
    pub fn cause(&self) -> String {
        match &self.source {
            Some(source) => format!("{}: {source}", self.site),
            None => self.site.to_owned(),
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(f, "{} ({}: {source})", self.failure, self.site),
            None => write!(f, "{} ({})", self.failure, self.site),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_places_and_words_are_told_once() {
        for (place, failure) in Failure::ALL.into_iter().enumerate() {
            assert_eq!(failure.number(), place, "{failure:?}");
        }
        for (place, reason) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place, "{reason:?}");
        }
        let mut words = Failure::ALL.map(Failure::word).to_vec();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Failure::ALL.len());
    }
}
