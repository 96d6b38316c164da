//! The counts that peers have announced, for as long as more of their connections are to come.

use std::collections::VecDeque;
use std::net::IpAddr;

/// Most peers remembered; the oldest is forgotten first.
const PEERS_MAX: usize = 1024;

/// What is known of the runs of the client program that are under way. One run opens as many
/// connections as it announced, and announces it on each.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// The oldest first.
    runs: VecDeque<Run>,
}

#[derive(Debug)]
struct Run {
    peer: IpAddr,
    count: u16,
    /// Connections that are still to come.
    left: u16,
}

impl Counts {
    /// A connection announces `count` for certain.
    pub(super) fn announced(&mut self, peer: IpAddr, count: u16) {
        let known = self.runs.iter().position(|run| run.peer == peer);
        let left = match known.and_then(|at| self.runs.remove(at)) {
            Some(run) if run.count == count => run.left - 1,
            Some(_) | None => count.saturating_sub(1),
        };
        if left > 0 {
            if self.runs.len() >= PEERS_MAX {
                self.runs.pop_front();
            }
            self.runs.push_back(Run { peer, count, left });
        }
    }

    /// The count that this peer's next connection will announce.
    pub(super) fn expected(&self, peer: IpAddr) -> Option<u16> {
        self.runs.iter().find(|run| run.peer == peer).map(|run| run.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    #[test]
    fn a_count_is_expected_until_its_run_is_over() {
        let mut counts = Counts::default();
        assert_eq!(counts.expected(peer(1)), None);
        for left in [2, 1, 0] {
            counts.announced(peer(1), 3);
            assert_eq!(counts.expected(peer(1)), (left > 0).then_some(3));
        }
        counts.announced(peer(1), 1);
        counts.announced(peer(2), 0);
        assert_eq!((counts.expected(peer(1)), counts.expected(peer(2))), (None, None));
    }

    #[test]
    fn another_count_begins_another_run() {
        let mut counts = Counts::default();
        counts.announced(peer(1), 12);
        counts.announced(peer(1), 3);
        assert_eq!(counts.expected(peer(1)), Some(3));
        counts.announced(peer(1), 1);
        assert_eq!(counts.expected(peer(1)), None);
    }

    #[test]
    fn the_oldest_peer_is_forgotten_first() {
        let mut counts = Counts::default();
        let peers = u32::try_from(PEERS_MAX).expect("small");
        for n in 0..=peers {
            counts.announced(peer(n), 9);
        }
        assert_eq!(counts.runs.len(), PEERS_MAX);
        assert_eq!((counts.expected(peer(0)), counts.expected(peer(1))), (None, Some(9)));
        assert_eq!(counts.expected(peer(peers)), Some(9));
    }
}
