//! Whether the kernel keeps back those who have said nothing yet: decided by who came lately.
//!
//! ```text
//!          many came, and as many went
//!    Off ──────────────────────────────▶ On
//!     ▲                                   │
//!     └───────────────────────────────────┘
//!       few came, or few went, or some said nothing
//! ```
//!
//! Where hundreds of clients a second come, ask one thing and go, each costs a third less that is handed
//! over together with its request. A crowd that connects and then waits would overrun the queue in which
//! the kernel keeps the silent, so it is to meet listeners that hand over everybody. Makes no call
//! itself.

use std::time::{Duration, Instant};

use crate::config::Limits;

/// One of so many may say nothing: those that were handed over at the moment of the change, and the odd one.
const SILENT_PART: u32 = 8;
/// One of so many must go: a client may ask more than one thing before it does.
const GONE_PART: u32 = 2;

/// Does the kernel keep back the silent?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Off,
    On,
}

/// What is done about those to whom nobody speaks first.
#[derive(Debug)]
pub(super) struct Deferral {
    state: State,
    /// When the count of who comes and goes begins anew.
    counted_until: Instant,
    came: u32,
    gone: u32,
    /// Handed over without a byte.
    silent: u32,
}

impl Deferral {
    /// Everybody is handed over.
    pub(super) const fn new(now: Instant) -> Self {
        Self { state: State::Off, counted_until: now, came: 0, gone: 0, silent: 0 }
    }

    /// Somebody was handed over.
    pub(super) const fn came(&mut self) {
        self.came = self.came.saturating_add(1);
    }

    /// A connection is over.
    pub(super) const fn went(&mut self) {
        self.gone = self.gone.saturating_add(1);
    }

    /// Who was handed over had said nothing.
    pub(super) const fn was_silent(&mut self) {
        self.silent = self.silent.saturating_add(1);
    }

    /// How long the kernel is to keep the silent from now on, if that changes. To be asked in every turn.
    pub(super) fn decide(&mut self, serves: bool, limits: &Limits, now: Instant) -> Option<Duration> {
        let is_over = now >= self.counted_until;
        let is_busy = self.came >= limits.accept_defer_crowd_min && self.gone >= self.came / GONE_PART;
        let are_silent = self.silent > self.came / SILENT_PART;
        let next = match self.state {
            State::Off if serves && is_busy && !limits.accept_defer.is_zero() => State::On,
            State::On if !serves || is_over && (!is_busy || are_silent) => State::Off,
            same => same,
        };
        let changed = next != self.state;
        if is_over || changed {
            self.counted_until = now + limits.accept_defer_window;
            (self.came, self.gone, self.silent) = (0, 0, 0);
        }
        self.state = next;
        changed.then_some(if next == State::On { limits.accept_defer } else { Duration::ZERO })
    }

    /// When to decide at the latest: where nobody comes any more, everybody is handed over.
    pub(super) fn deadline(&self) -> Option<Instant> {
        (self.state == State::On).then_some(self.counted_until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Listener {
        deferral: Deferral,
        limits: Limits,
        now: Instant,
    }

    impl Listener {
        #[allow(clippy::disallowed_methods, reason = "any instant will do as the origin")]
        fn new() -> Self {
            let now = Instant::now();
            let limits = Limits {
                accept_defer: Duration::from_secs(7),
                accept_defer_crowd_min: 16,
                accept_defer_window: Duration::from_millis(100),
                ..Limits::default()
            };
            let mut listener = Self { deferral: Deferral::new(now), limits, now };
            assert_eq!(listener.decides(), None);
            listener
        }

        /// Keeps back the silent, and begins to count.
        fn on() -> Self {
            let mut listener = Self::new();
            listener.sees(16, 8, 0);
            assert_eq!(listener.decides(), Some(Duration::from_secs(7)));
            listener
        }

        fn sees(&mut self, came: u32, gone: u32, silent: u32) {
            (0..came).for_each(|_| self.deferral.came());
            (0..gone).for_each(|_| self.deferral.went());
            (0..silent).for_each(|_| self.deferral.was_silent());
        }

        fn after(&mut self, ms: u64) -> &mut Self {
            self.now += Duration::from_millis(ms);
            self
        }

        fn decides(&mut self) -> Option<Duration> {
            self.deferral.decide(true, &self.limits, self.now)
        }
    }

    #[test]
    fn the_silent_are_kept_back_once_enough_came_and_half_of_them_went_however_many_were_silent() {
        for (came, gone) in [(15, 15), (16, 7), (8000, 3999)] {
            let mut listener = Listener::new();
            listener.sees(came, gone, 0);
            assert_eq!(listener.decides(), None, "{came} {gone}");
            assert_eq!(listener.deferral.deadline(), None);
        }
        for (came, gone, silent) in [(16, 8, 0), (16, 8, 16), (8000, 4000, 8000)] {
            let mut listener = Listener::new();
            listener.sees(came, gone, silent);
            assert_eq!(listener.decides(), Some(Duration::from_secs(7)), "{came} {gone}");
            assert_eq!(listener.decides(), None, "it is said once");
        }
    }

    #[test]
    fn who_came_and_went_before_the_window_does_not_count() {
        let mut listener = Listener::new();
        listener.sees(15, 15, 0);
        assert_eq!(listener.after(99).decides(), None);
        assert_eq!(listener.after(1).decides(), None);
        listener.sees(15, 15, 0);
        assert_eq!(listener.decides(), None);
        listener.sees(1, 1, 0);
        assert_eq!(listener.decides(), Some(Duration::from_secs(7)));
    }

    #[test]
    fn at_the_end_of_a_window_everybody_is_handed_over_unless_as_many_came_and_went_and_few_were_silent() {
        for (came, gone, silent, goes_on) in
            [(0, 0, 0, false), (15, 15, 0, false), (16, 7, 0, false), (16, 8, 3, false), (16, 8, 2, true)]
        {
            let mut listener = Listener::on();
            let deadline = listener.deferral.deadline().expect("it is looked at again");
            assert_eq!(deadline, listener.now + Duration::from_millis(100));
            listener.sees(came, gone, silent);
            assert_eq!(listener.after(99).decides(), None, "before its end");
            let expected = (!goes_on).then_some(Duration::ZERO);
            assert_eq!(listener.after(1).decides(), expected, "{came} {gone} {silent}");
            assert_eq!(listener.deferral.deadline(), goes_on.then_some(listener.now + Duration::from_millis(100)));
        }
    }

    #[test]
    fn a_server_that_drains_hands_over_everybody_at_once_and_from_then_on() {
        let mut listener = Listener::on();
        let drains = |listener: &mut Listener| listener.deferral.decide(false, &listener.limits, listener.now);
        assert_eq!(drains(&mut listener), Some(Duration::ZERO));
        listener.sees(100, 100, 0);
        assert_eq!(drains(&mut listener), None);
    }

    #[test]
    fn who_wants_none_kept_back_has_none_kept_back() {
        let mut listener = Listener::new();
        listener.limits.accept_defer = Duration::ZERO;
        listener.sees(100, 100, 0);
        assert_eq!(listener.decides(), None);
    }
}
