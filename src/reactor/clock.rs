//! The time of the current turn, and whether the loop has just been asleep for too long. Never reads a clock.

use std::time::{Duration, Instant};

/// If a wait ends later than this after its timeout, the loop was not running: its process was stopped, or
/// waited for its disk.
const OVERSLEPT: Duration = Duration::from_secs(1);
/// Turns after that in which deadlines do not expire, so that what arrived meanwhile is seen first. Each takes
/// about a thousand events; there may be one for every connection.
const CATCH_UP_TURNS: u8 = 16;

#[derive(Debug)]
pub(super) struct Clock {
    started: Instant,
    /// When the wait of this turn ended.
    pub now: Instant,
    pub wall_clock_s: u64,
    /// The same in milliseconds.
    pub wall_clock_ms: u64,
    /// Since the start.
    pub uptime: Duration,
    catch_up_turns: u8,
}

impl Clock {
    pub(super) const fn new(now: Instant, wall_clock_ms: u64) -> Self {
        let wall_clock_s = wall_clock_ms / 1000;
        Self { started: now, now, wall_clock_s, wall_clock_ms, uptime: Duration::ZERO, catch_up_turns: 0 }
    }

    /// A wait with this timeout has ended with this many events.
    pub(super) fn advance(&mut self, now: Instant, wall_clock_ms: u64, timeout: Option<Duration>, events: usize) {
        let before = std::mem::replace(&mut self.now, now);
        (self.wall_clock_ms, self.wall_clock_s) = (wall_clock_ms, wall_clock_ms / 1000);
        self.uptime = now.saturating_duration_since(self.started);
        self.catch_up_turns = if timeout.is_some_and(|timeout| now > before + timeout + OVERSLEPT) {
            // Even without an event: a wait interrupted by SIGSTOP ends without looking (signal(7)).
            CATCH_UP_TURNS
        } else if events == 0 {
            0
        } else {
            self.catch_up_turns.saturating_sub(1)
        };
    }

    /// True while no deadline may expire: clients that sent in time while the loop did not run must not be
    /// timed out before their bytes are read.
    pub(super) const fn is_catching_up(&self) -> bool {
        self.catch_up_turns > 0
    }
}
