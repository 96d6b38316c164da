//! Memory that a crowd leaves, given back a moment after it.

use std::time::{Duration, Instant};

use crate::buffer::ChunkPool;

/// Slots in use at once that leave enough free memory in the allocator to be worth giving back. With glibc, 512 uploads
/// at once leave 6 to 9 MiB resident so, and 12 to 20 MiB without.
const CROWD_SLOTS: u64 = 32;
/// How long the load must do without memory before that is given back.
const INTERVAL: Duration = Duration::from_secs(1);

/// What was in use lately.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// When the present interval ends; none while there is nothing to give back.
    ends_at: Option<Instant>,
    /// Most slots in use at the end of a turn of this interval.
    slots_max: u64,
    /// What the allocator may have free since it gave memory back: most slots in use at once, and chunks dropped.
    left: u64,
}

impl Crowd {
    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.ends_at
    }

    /// Call it after each turn, with the slots in use. Drops the chunks that were free for a whole interval. True once a
    /// crowd is over for one, and no surplus is left: then the allocator is to give its free memory back too, which it
    /// takes a while to find.
    pub(super) fn turn_ended(&mut self, slots: u64, pool: &mut ChunkPool, now: Instant) -> bool {
        self.slots_max = slots.max(self.slots_max);
        self.left = slots.max(self.left);
        let Some(end) = self.ends_at else {
            if self.slots_max >= CROWD_SLOTS || pool.has_surplus() {
                self.ends_at = Some(now + INTERVAL);
            }
            return false;
        };
        if now < end {
            return false;
        }
        self.left += pool.trim() as u64;
        let is_over = self.slots_max < CROWD_SLOTS && !pool.has_surplus();
        self.slots_max = slots;
        self.ends_at = (!is_over).then_some(now + INTERVAL);
        is_over && std::mem::take(&mut self.left) >= CROWD_SLOTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_one_interval_after_a_crowd_and_nothing_waits_then() {
        let (mut crowd, mut pool) = (Crowd::default(), ChunkPool::new(8));
        #[allow(clippy::disallowed_methods, reason = "a clock that stands still")]
        let start = Instant::now();
        assert!(!crowd.turn_ended(CROWD_SLOTS - 1, &mut pool, start));
        assert_eq!(crowd.deadline(), None, "no crowd");
        let mut at = start;
        for _ in 0..3 {
            let taken: Vec<_> = (0..40).map(|_| pool.take()).collect();
            assert!(!crowd.turn_ended(40, &mut pool, at));
            taken.into_iter().for_each(|chunk| pool.give(chunk));
            assert!(!crowd.turn_ended(0, &mut pool, at));
            at = crowd.deadline().expect("it has to look again");
        }
        let mut intervals = 0;
        while !crowd.turn_ended(0, &mut pool, at) {
            assert!(!crowd.turn_ended(0, &mut pool, at), "once in an interval");
            at = crowd.deadline().expect("it has to look again");
            intervals += 1;
        }
        assert!(!pool.has_surplus() && intervals <= 2, "{intervals}");
        assert_eq!(crowd.deadline(), None);
        assert!(!crowd.turn_ended(0, &mut pool, at));

        // A few chunks are dropped, but the allocator is not searched for so little.
        let taken: Vec<_> = (0..20).map(|_| pool.take()).collect();
        taken.into_iter().for_each(|chunk| pool.give(chunk));
        assert!(!crowd.turn_ended(0, &mut pool, at));
        while let Some(next) = crowd.deadline() {
            assert!(!crowd.turn_ended(0, &mut pool, next));
        }
        assert!(!pool.has_surplus());
    }
}
