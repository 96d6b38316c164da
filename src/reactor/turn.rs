//! One turn of the loop: wait, dispatch events, then give every ready connection one bounded amount of work.

use std::io;
use std::time::{Duration, Instant};

use crate::config::Live;
use crate::platform::{Event, Platform, Store};
use crate::reactor::bulk_queue::Next;
use crate::reactor::env::Env;
use crate::reactor::parts::{Ended, Lifecycle, Reactor};
use crate::reactor::scheduling::{RECEIVE_BATCH, REPLY_BATCH};
use crate::session::{self, Disk, DiskPace};

impl<P: Platform> Reactor<P> {
    /// Turns until the server has drained or was stopped.
    pub fn run(&mut self) -> io::Result<Ended> {
        loop {
            if let Some(ended) = self.ended() {
                return Ok(ended);
            }
            self.turn()?;
        }
    }

    /// How the server ended, once it has.
    pub fn ended(&self) -> Option<Ended> {
        let cut_off = if let Lifecycle::Stopped { cut_off } = self.lifecycle { cut_off } else { 0 };
        self.has_ended().then_some(Ended { cut_off, health: self.env.counters.health })
    }

    /// One turn; blocks only in the platform's wait.
    pub fn turn(&mut self) -> io::Result<()> {
        self.turn_after(self.timeout())
    }

    /// The same, for a caller that does other things between turns, with a bounded wait.
    pub fn turn_within(&mut self, wait_max: Duration) -> io::Result<()> {
        let since_last = self.platform.now().saturating_duration_since(self.env.clock.now);
        let timeout = self.timeout().map(|timeout| timeout.saturating_sub(since_last));
        self.turn_after(Some(timeout.map_or(wait_max, |timeout| timeout.min(wait_max))))
    }

    fn timeout(&self) -> Option<Duration> {
        self.due().map(|at| at.saturating_duration_since(self.env.clock.now))
    }

    /// When the next turn has something to do though no event comes: in the past, as of the last turn, if it has now.
    pub fn due(&self) -> Option<Instant> {
        if self.has_work() { Some(self.env.clock.now) } else { self.next_deadline() }
    }

    fn turn_after(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let mut events = std::mem::take(&mut self.buffers.events);
        events.clear();
        self.platform.wait(timeout, &mut events)?;
        let (now, wall_clock_ms) = (self.platform.now(), self.platform.wall_clock_ms());
        self.env.clock.advance(now, wall_clock_ms, timeout, events.len());
        self.env.counters.is_ending = matches!(self.lifecycle, Lifecycle::Draining { .. } | Lifecycle::Stopped { .. });
        self.env.counters.uptime_ms = u64::try_from(self.env.clock.uptime.as_millis()).unwrap_or(u64::MAX);
        self.observe_store();
        for event in events.drain(..) {
            self.dispatch(event);
        }
        self.buffers.events = events;
        self.submit_released();
        self.expire_timers();
        self.expire_locks();
        self.wake_paced();
        self.end_slowest();
        self.grant_slots();
        // Most clients have sent their request by now, and it is answered in the same turn.
        self.accept();
        self.run_queued();
        self.use_key();
        self.run_bulk();
        if cfg!(feature = "admin") {
            self.list_connections();
        }
        self.advance_drain();
        let Env { counters, pool, clock, .. } = &mut self.env;
        if self.crowd.turn_ended(counters.slots_used, pool, clock.now) {
            self.platform.trim_memory();
        }
        self.finish_turn();
        Ok(())
    }

    fn has_work(&self) -> bool {
        let uses_key = self.platform.uses_key_on_loop() && !self.key_queue.is_empty();
        self.scheduler.has_work() || self.locks.has_released() || self.listeners.may_accept() || uses_key
    }

    fn next_deadline(&self) -> Option<Instant> {
        let others = [
            self.drain_deadline(),
            self.listeners.retry_at,
            self.contention_deadline(),
            self.env.pacing.next_at(),
            self.crowd.deadline(),
        ];
        others.into_iter().flatten().chain(self.timers.next()).min()
    }

    fn observe_store(&mut self) {
        let store = self.platform.store();
        let pace = if store.is_lagging() { DiskPace::Lags } else { DiskPace::KeepsUp };
        self.env.disk = Disk { pace, flush_window: store.flush_window() };
        self.env.counters.health = store.health();
    }

    /// Other limits from now on, for what is under way too. They must be such as a server may start with.
    pub fn set_limits(&mut self, live: Live) {
        let Self { env, connections, timers, .. } = self;
        env.groups.set_limits(&live, env.clock.now);
        env.pacing.renew(env.clock.now);
        env.limits.live = live;
        for (id, connection) in connections.iter_mut() {
            // An earlier deadline has to be armed. A later one is found when the old one has come.
            if let Some(at) = connection.session.deadline(&env.limits) {
                timers.arm(id, &mut connection.timer, at);
            }
        }
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            // Those are another process's now.
            Event::Acceptable(_) if matches!(self.lifecycle, Lifecycle::HandingOver { .. }) => {}
            Event::Acceptable(listener) => self.listeners.acceptable(listener),
            Event::Completions => {
                while let Some(done) = self.platform.store().next_completion() {
                    let mut driver = self.driver(done.id.conn).expect("an entry outlives its operations");
                    driver.complete(done);
                    driver.enqueue();
                }
                while let Some(id) = self.platform.store().next_wanted() {
                    self.uploads.is_wanted_elsewhere(id);
                }
                self.hand_over_uploads();
            }
            Event::Handshake(id) => self.key_used(id),
            Event::Signal(signal) => self.signalled(signal),
            Event::Reloaded => {
                if let Some(live) = self.platform.take_limits() {
                    self.set_limits(live);
                }
                if let Some(rules) = self.platform.take_rules() {
                    self.env.access.replace_rules(rules);
                    self.env.pacing.renew(self.env.clock.now);
                    self.env.certificate = None; // only read again where the rules name certificates
                }
            }
            Event::Stream { id, readable, writable } => {
                let Some(connection) = self.connections.get_mut(id) else {
                    self.env.counters.stale_events += 1;
                    return;
                };
                connection.readable = readable.max(connection.readable);
                connection.writable |= writable;
                self.scheduler.enqueue(id, connection);
            }
        }
    }

    /// Operations of any connection that have released their name locks.
    pub(super) fn submit_released(&mut self) {
        while let Some((id, op)) = self.locks.pop_released() {
            let Some(mut driver) = self.driver(id.conn) else { unreachable!("an entry outlives its operations") };
            driver.submit(id.number, op);
            driver.enqueue();
        }
    }

    /// Clients that had to wait may move something again.
    fn wake_paced(&mut self) {
        while let Some(id) = self.env.pacing.pop_due(self.env.clock.now) {
            if let Some(connection) = self.connections.get_mut(id) {
                self.scheduler.enqueue(id, connection);
            }
        }
    }

    fn expire_timers(&mut self) {
        if self.env.clock.is_catching_up() {
            return;
        }
        while let Some((at, id)) = self.timers.pop_due(self.env.clock.now) {
            let Some(mut driver) = self.driver(id) else { continue };
            if driver.connection.timer != Some(at) {
                continue; // a later entry took its place
            }
            driver.connection.timer = None;
            driver.time_out();
            driver.enqueue(); // driving arms it again
        }
    }

    /// Free slots go to the head of the wait queue.
    pub(super) fn grant_slots(&mut self) {
        while let Some(id) = self.env.admission.grant_next(&mut self.env.counters) {
            let mut driver = self.driver(id).expect("a connection that ends leaves the wait queue");
            driver.tell(session::Event::SlotGranted);
        }
    }

    /// Runs what is queued now: small requests, all of them. Bulk transfers are put aside for [`Self::run_bulk`].
    fn run_queued(&mut self) {
        self.scheduler.begin(self.env.limits.fixed.turn_bytes, self.env.meter);
        // Counted now, so that the turn is finite: what is queued from here on runs in the next.
        let mut left = self.scheduler.run_queue.len();
        while left > 0 {
            let batch = left.min(RECEIVE_BATCH);
            left -= batch;
            for index in 0..batch {
                let id = self.scheduler.run_queue[index];
                let Some(mut driver) = self.driver(id) else { continue };
                driver.receive_request();
                if let Some(arrival) = driver.connection.session.peer().arrival {
                    self.arrive(id, arrival);
                }
            }
            for _ in 0..batch {
                let Some(id) = self.scheduler.run_queue.pop_front() else { break };
                let Some(connection) = self.connections.get_mut(id) else { continue };
                if connection.session.is_bulk(&self.env.limits) {
                    let group = connection.session.owner(0, &mut self.env.groups, self.env.clock.now).group;
                    self.scheduler.bulk.push(group, id);
                    continue;
                }
                if self.scheduler.replies.len() >= REPLY_BATCH {
                    self.send_replies();
                }
                let bytes = self.scheduler.small_budget(self.env.meter, &self.env.limits.fixed);
                self.drive(id, bytes, false);
            }
            self.send_replies();
        }
    }

    /// Runs bulk transfers until the bytes of the turn are spent, or each client has had its share. Small
    /// requests have bytes of their own: otherwise bulk transfers would starve beside many of them.
    fn run_bulk(&mut self) {
        let Self { env, scheduler, .. } = self;
        scheduler.begin(env.limits.fixed.turn_bytes, env.meter);
        let answered = env.counters.requests_but_uploads();
        let upload_bytes = scheduler.upload_bytes(&env.limits.fixed, answered, env.clock.now);
        let received = env.counters.bytes_in;
        scheduler.bulk.begin(env.clock.now);
        for _ in 0..self.scheduler.bulk.len() {
            if self.scheduler.is_spent(self.env.meter) || self.env.counters.bytes_in - received >= upload_bytes as u64 {
                break;
            }
            let Some(Next { group, id, most }) = self.scheduler.bulk.next() else { break };
            let Some(connection) = self.connections.get_mut(id) else { continue };
            let bytes = self.scheduler.bulk_budget(connection.session.state(), upload_bytes, &self.env.limits.fixed);
            let before = self.env.meter.reading();
            self.drive(id, bytes.min(most), true);
            self.scheduler.bulk.charge(group, self.env.meter.reading() - before);
            // The next transfer takes longer than all replies together.
            self.send_replies();
        }
    }

    fn send_replies(&mut self) {
        if self.scheduler.replies.is_empty() {
            return; // several times in each turn
        }
        let mut replies = std::mem::take(&mut self.scheduler.replies);
        for id in replies.drain(..) {
            self.drive(id, self.env.limits.fixed.turn_bytes_min, false);
        }
        // A connection that was served again meanwhile has had its share of this turn.
        for id in std::mem::replace(&mut self.scheduler.replies, replies) {
            if let Some(mut driver) = self.driver(id) {
                driver.enqueue();
            }
        }
    }

    /// Facts, log lines and the checks that a debug build makes after every turn.
    fn finish_turn(&mut self) {
        let took = self.platform.now().saturating_duration_since(self.env.clock.now);
        let counters = &mut self.env.counters;
        counters.turns += 1;
        counters.turn_time.observe(took);
        counters.turn_longest_us = counters.turn_longest_us.max(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        counters.log_dropped = self.platform.log_dropped();
        let store = self.platform.store();
        counters.health = store.health();
        counters.queued = store.queued();
        self.platform.publish(counters);
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
    }
}
