//! What two processes say to each other during a hand-over. Sends nothing.

use std::time::Duration;

/// Processes of one server that run at the same time.
pub(super) const GENERATIONS_MAX: usize = 4;
pub(super) const HELLO: &str = "takeover 1";
pub(super) const FILES: &str = "files 1";
pub(super) const REFUSED: &str = "refused ";
pub(super) const READY: &str = "ready";
pub(super) const YOURS: &str = "yours";
/// How long the other process may take for an answer: it may have to wait for the disk.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(30);

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holding {
    Alone,
    /// Servers that are set to share the directory may hold it as well.
    Shared,
}

/// What is to be said of each file that is passed on, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed<'a> {
    Listener(&'a str),
    Lock(Holding),
    /// A connection to an older process.
    Older,
    /// The control socket.
    Control,
}

impl<'a> Passed<'a> {
    pub(super) fn parse(line: &'a str) -> Option<Self> {
        match line {
            "lock alone" => Some(Self::Lock(Holding::Alone)),
            "lock shared" => Some(Self::Lock(Holding::Shared)),
            "older" => Some(Self::Older),
            "control" => Some(Self::Control),
            _ => line.strip_prefix("listener ").filter(|address| !address.is_empty()).map(Self::Listener),
        }
    }
}

impl std::fmt::Display for Passed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Listener(address) => write!(f, "listener {address}"),
            Self::Lock(Holding::Alone) => f.write_str("lock alone"),
            Self::Lock(Holding::Shared) => f.write_str("lock shared"),
            Self::Older => f.write_str("older"),
            Self::Control => f.write_str("control"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_file_is_understood_and_nothing_else() {
        for passed in [
            Passed::Listener("[::1]:80"),
            Passed::Listener("unix:/a b"),
            Passed::Lock(Holding::Alone),
            Passed::Lock(Holding::Shared),
            Passed::Older,
            Passed::Control,
        ] {
            assert_eq!(Passed::parse(&passed.to_string()), Some(passed));
        }
        for bad in ["", "listener", "listener ", "lock", "lock 1", "older x", "control ", "other"] {
            assert_eq!(Passed::parse(bad), None, "{bad}");
        }
    }
}
