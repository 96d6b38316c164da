//! Why things end: three vocabularies that are never mixed.
//!
//! [`Failure`] is sent to the peer in its dialect, [`CloseReason`] to the log, [`StoreError`] to
//! the operator. There is deliberately no `From<io::Error> for Failure`: `?` cannot turn a disk
//! error into a protocol reply by accident.

use std::fmt;
use std::io;

/// Why `tls` is refused in a build without that feature.
pub const WITHOUT_TLS: &str = "this build of filewharf has no TLS (the feature \"tls\")";

/// An enum with values that are numbered in their order and have a word each.
macro_rules! numbered {
    ($(#[$meta:meta])* $enum:ident { $($(#[$doc:meta])* $name:ident $(($why:ty))? = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $enum {
            $($(#[$doc])* $name $(($why))?,)*
        }

        impl $enum {
            /// Every one, in the order of their numbers.
            pub const ALL: [Self; [$($word),*].len()] = [$(Self::$name $(({ const NONE: $why = ""; NONE }))?),*];

            /// Its place in [`Self::ALL`], for the counters.
            pub const fn number(self) -> usize {
                enum Number {
                    $($name,)*
                }
                match self {
                    $(Self::$name { .. } => Number::$name as usize,)*
                }
            }

            /// One word for the log and the counters, stable for what reads them.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$name { .. } => $word,)*
                }
            }
        }
    };
}

numbered! {
    /// Why a request could not be served. Each dialect owns the mapping to its own codes.
    Failure {
        /// No transfer slot, descriptor or connection was free in time; trying again may work.
        Busy = "busy",
        /// The client has had as many requests, or has as many uploads under way, as one may.
        ClientLimit = "client-limit",
        /// Something of another kind stands where the request needs a file or a directory.
        Conflict(&'static str) = "conflict",
        /// The name or the operation is not allowed.
        Denied(&'static str) = "denied",
        /// The content does not have the digest that was announced.
        DigestMismatch = "digest-mismatch",
        /// The server is ending and takes no new requests.
        Draining = "draining",
        /// It was there, and its time is over.
        Gone = "gone",
        /// The address of the client has shown too many wrong passwords.
        GuessLimit = "guess-limit",
        /// The server or its disk failed.
        Internal = "internal",
        /// Another server or request has it now; trying again may work.
        Locked = "locked",
        /// The request breaks the grammar of its dialect.
        Malformed(&'static str) = "malformed",
        /// The disk is full, or a quota of its file system.
        NoSpace = "no-space",
        /// There is no such file or directory.
        NotFound = "not-found",
        /// The request is understood but not offered.
        NotImplemented(&'static str) = "not-implemented",
        /// `if=` did not hold.
        PreconditionFailed = "precondition-failed",
        /// The range lies outside the file.
        RangeUnsatisfiable = "range-unsatisfiable",
        /// The peer was too slow.
        TimedOut = "timed-out",
        /// The body, name or line is longer than the limits allow.
        TooLarge = "too-large",
        /// A secret is needed and was not given.
        Unauthorized = "unauthorized",
        /// The secret, token or password that was given is wrong, or not valid any more.
        WrongSecret = "wrong-secret",
        /// The path is longer than the path of any file.
        PathTooLong = "path-too-long",
        /// A client of WebDAV has locked it.
        Protected = "protected",
        /// The request names a host that this listener does not answer for.
        WrongHost = "wrong-host",
        /// The file system cannot be reached, or nothing can be staged on it; trying again may work.
        Unavailable = "unavailable",
        /// A quota of the access file is full.
        OverQuota = "over-quota",
        /// What is stored under a prefix with a quota is being counted; trying again may work.
        Counting = "counting",
    }
}

impl Failure {
    /// A few words for a person; lower case, no full stop.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Busy => "the server is busy, try again",
            Self::Conflict(why) | Self::Denied(why) | Self::Malformed(why) | Self::NotImplemented(why) => why,
            Self::ClientLimit => "too many requests of one client, try again later",
            Self::DigestMismatch => "the content does not match its digest, nothing was stored",
            Self::Draining => "the server is shutting down",
            Self::Gone => "its time is over",
            Self::GuessLimit => "too many wrong passwords from this address, try again later",
            Self::Internal => "the server could not complete this, its log says why",
            Self::Protected => "a WebDAV client has locked this, see who works on it",
            Self::Locked => "in use by another request, try again",
            Self::NoSpace => "no space left for this file",
            Self::NotFound => "no such file or folder",
            Self::PreconditionFailed => "the precondition does not hold",
            Self::RangeUnsatisfiable => "the range lies outside the file",
            Self::TimedOut => "too slow",
            Self::TooLarge => "too large",
            Self::Unauthorized => "a secret is needed",
            Self::WrongSecret => "the secret is wrong or has expired",
            Self::PathTooLong => "the path is longer than 4096 bytes",
            Self::WrongHost => {
                "the Host of this request is not one of this server: to permit it, start with --allow-host NAME ('*' for any)"
            }
            Self::OverQuota => "the quota of this folder has no space left for this file",
            Self::Counting => "the quota of this folder is being counted, try again",
            Self::Unavailable => "the file system cannot be reached, try again",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

numbered! {
    /// Why a connection ended, for the log and the counters.
    CloseReason {
        /// The body or the head ended before its announced end.
        CutShort = "cut-short",
        /// The server drained.
        Drained = "drained",
        /// The conversation was over and both sides knew it.
        Finished = "finished",
        /// A head did not become complete in time.
        HeadTimeout = "head-timeout",
        /// Nothing was asked for too long.
        IdleTimeout = "idle-timeout",
        /// A failure of the server itself.
        Internal = "internal",
        /// The peer kept sending after it had been refused, or never closed.
        LingerEnded = "linger-ended",
        /// The peer broke the grammar.
        Malformed = "malformed",
        /// The peer closed between requests.
        PeerClosed = "peer-closed",
        /// The peer reset the connection or vanished.
        PeerReset = "peer-reset",
        /// The request was refused and the connection could not continue.
        Refused = "refused",
        /// A slot did not come in time in the middle of a transfer.
        SlotTimeout = "slot-timeout",
        /// The file became shorter, or unreadable, while it was sent.
        SourceFailed = "source-failed",
        /// The server got the signal to stop at once.
        Stopped = "stopped",
        /// The peer moved fewer bytes than the minimum rate.
        TooSlow = "too-slow",
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
    /// What the peer is sent.
    pub failure: Failure,
    /// The call that failed, for the log: `"openat2"`, `"fdatasync"`.
    pub site: &'static str,
    /// The system's own words, where a system call failed.
    pub source: Option<io::Error>,
}

impl StoreError {
    /// A refusal decided by the store itself, without a system call.
    pub const fn refused(failure: Failure, site: &'static str) -> Self {
        Self { failure, site, source: None }
    }

    /// What really happened, for the log beside what the peer was sent.
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
    fn numbers_are_places_and_words_are_unique() {
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
