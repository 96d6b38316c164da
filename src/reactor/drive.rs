//! Driving one connection: run its operations, send, receive, until nothing moves or its budget is spent; then
//! close it, free it, or arm its timer.

use std::io::ErrorKind;

use crate::command::Whole;
use crate::ids::{ConnId, OpId};
use crate::platform::{Completion, Op, Platform, Readable, Stream};
use crate::reactor::connections::Registration;
use crate::reactor::driver::{Budget, Driver};
use crate::reactor::parts::Reactor;
use crate::reactor::upload_locks::{Due, UploadLocks};
use crate::session::state::Name;
use crate::session::{Arrival, Event, Load, Ops, Outgoing, Pass, SlotAnswer, Want};

impl<P: Platform> Reactor<P> {
    /// Moves up to `bytes` for one connection, until nothing moves or its budget is spent.
    pub(super) fn drive(&mut self, id: ConnId, bytes: usize, is_bulk: bool) {
        let Some(mut driver) = self.driver(id) else { return };
        driver.run(bytes, is_bulk);
        if let Some(Arrival::Admission(_)) = driver.connection.session.peer().arrival {
            driver.enqueue();
        }
        self.submit_released();
        self.finish_drive(id);
        self.hand_over_uploads();
    }

    /// Tells the connections that an upload passes from one to another.
    pub(super) fn hand_over_uploads(&mut self) {
        if !self.uploads.has_due() {
            return; // nearly always
        }
        for due in self.uploads.take_due() {
            let (Due::Supersede(id) | Due::Refuse(id, _) | Due::Submit(id, _)) = &due;
            let Some(mut driver) = self.driver(*id) else { continue };
            match due {
                Due::Supersede(_) => driver.tell(Event::Superseded),
                Due::Submit(_, op) => driver.submit(0, op),
                Due::Refuse(conn, error) => {
                    driver.complete(Completion { id: conn.into(), result: Err(error), chunk: None });
                }
            }
            driver.enqueue();
        }
    }

    /// After every drive: close the socket, take back the slot, arm the timer, free the entry.
    fn finish_drive(&mut self, id: ConnId) {
        let Self { connections, env, .. } = self;
        let Some(connection) = connections.get_mut(id) else { return };
        let peer = connection.session.peer().address;
        let session = &mut connection.session;
        if let Some((reason, is_reset)) = session.ended()
            && let Some(mut stream) = connection.stream.take()
        {
            if is_reset {
                stream.reset_on_drop();
            } else {
                // The connection is over, whether it takes this or not.
                let _ = stream.finish();
            }
            drop(stream);
            env.counters.closed[reason as usize] += 1;
            self.listeners.retry_at = None; // a descriptor is free again
            connection.log_quota.close(peer);
            log::debug!("{peer}: closed {id}: {reason}");
        }
        let attached_to = session.upload().attached_to;
        if attached_to.is_some() || self.uploads.holds(id) {
            self.uploads.driven(id, attached_to, session.ops() == Ops::Own);
        }
        let is_over = session.rest(&mut env.cx());
        let may_grant = env.admission.may_grant();
        if is_over {
            self.timers.disarm(id, &mut connection.timer);
            env.pacing.leave(id, env.clock.now);
            connections.remove(id);
        } else if let Some(at) = session.deadline(&env.limits) {
            self.timers.arm(id, &mut connection.timer, at);
        }
        if may_grant {
            self.grant_slots();
        }
    }
}

impl<P: Platform> Driver<'_, P> {
    fn run(&mut self, bytes: usize, is_bulk: bool) {
        self.connection.is_queued = false;
        let is_turn_spent = self.scheduler.is_spent(self.env.meter);
        let mut budget = Budget::new(bytes, self.env, is_turn_spent, is_bulk);
        while self.step(&mut budget) {
            if budget.is_spent(self.env.meter) {
                self.env.counters.yields += 1;
                self.enqueue();
                // A file that is not needed any more is closed now, so that the next request is received in
                // the same batch as those of other connections.
                let mut pass = self.pass();
                while let Some(Want::Run(number, op)) = self.connection.session.poll(&mut pass) {
                    self.start(number, op, &mut budget);
                }
                break;
            }
        }
        if !budget.is_paced && self.env.pacing.waits(self.id) {
            self.env.pacing.leave(self.id, self.env.clock.now);
            self.connection.session.tell(Event::Unpaced, &mut self.env.cx());
        }
        if self.locks.is_opening(self.id.into()) && !self.may_be_complete() {
            self.locks.release(self.id.into());
        }
        if self.scheduler.replies.last() != Some(&self.id) {
            self.register();
        }
        self.log_reports();
    }

    /// One pass over what the session wants. True if anything was done.
    fn step(&mut self, budget: &mut Budget) -> bool {
        let (mut pass, mut is_any) = (self.pass(), false);
        while let Some(want) = self.connection.session.poll(&mut pass) {
            is_any |= match want {
                Want::Run(number, op) => {
                    self.start(number, op, budget);
                    true
                }
                Want::Connections => {
                    self.scheduler.wants_connections.push(self.id);
                    false
                }
                Want::Slot => self.ask_for_slot(budget),
                Want::Send(outgoing) => {
                    if is_any && self.reply_can_wait(outgoing) {
                        self.scheduler.replies.push(self.id);
                        return false;
                    }
                    self.send(outgoing, budget)
                }
                Want::ShutDown { may_close } => self.shut_down(may_close),
                Want::Unacknowledged => self.check_unacknowledged(),
                Want::Receive => self.receive(budget),
            };
        }
        is_any
    }

    fn pass(&self) -> Pass {
        Pass::new(self.connection.readable != Readable::Nothing, self.env.clock.now, self.env.disk.pace)
    }

    /// True while the body of an upload may lie in the kernel, complete since before its staging file was
    /// made. False once all that had come was read, or more than the kernel is likely to have kept.
    fn may_be_complete(&self) -> bool {
        let session = &self.connection.session;
        match session.state() {
            Name::Opening => true,
            Name::ReceivingBody => {
                let more = self.connection.readable != Readable::Nothing || session.held().is_unseen;
                more && session.upload().received < self.env.limits.fixed.turn_bytes_max as u64
            }
            _ => false,
        }
    }

    /// True for a request that has just been answered, with the reply as all there is to send: it is sent
    /// together with others of this turn. A client that has sent its next requests already is served at once.
    fn reply_can_wait(&self, outgoing: Outgoing) -> bool {
        let session = &self.connection.session;
        session.state() == Name::AwaitHeader && session.held().len == 0 && outgoing == Outgoing::Outbox
    }

    fn start(&mut self, number: u8, op: Op, budget: &mut Budget) {
        budget.spend(0, &mut self.env.meter);
        let op = match op {
            Op::Run(Whole::KeepLock { .. }) => {
                let Some(op) = self.grant_lock(op) else { return };
                op
            }
            op => op,
        };
        let op = match UploadLocks::upload_of(&op) {
            Some(upload) => self.uploads.acquire(self.id, upload, op),
            None => self.locks.acquire(OpId { conn: self.id, number }, op),
        };
        if let Some(op) = op {
            self.submit(number, op);
        }
    }

    fn ask_for_slot(&mut self, budget: &mut Budget) -> bool {
        let session = &mut self.connection.session;
        session.tell(Event::AsksForSlot, &mut self.env.cx());
        // What is still at the store may have chunks of the last slot.
        if session.ops() != Ops::None || self.permitted(false, budget).is_none() {
            return false;
        }
        let session = &mut self.connection.session;
        match session.ask_for_slot(self.id, &mut self.env.cx()) {
            SlotAnswer::Decided => true,
            SlotAnswer::Waits(wanted) => {
                if let Some((upload, permit)) = wanted {
                    self.uploads.announce(self.id, upload, permit);
                }
                false
            }
        }
    }

    /// A timer of the connection has fired, though its deadline may have moved since.
    pub(super) fn time_out(&mut self) {
        let Self { connection, env, .. } = self;
        if connection.session.deadline(&env.limits).is_some_and(|deadline| deadline <= env.clock.now) {
            let in_kernel = connection.file_bytes_in_kernel();
            let held = connection.session.held().len;
            connection.session.tell(Event::TimedOut { in_kernel }, &mut env.cx());
            // A silence may complete what is held.
            connection.unused.remove(held - connection.session.held().len);
            self.log_reports();
        }
    }

    fn shut_down(&mut self, may_close: bool) -> bool {
        let session = &mut self.connection.session;
        let Some(stream) = self.connection.stream.as_mut() else { return false };
        match stream.finish() {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.connection.writable = false;
                return false;
            }
            Err(error) => {
                self.socket_failed(&error);
                return true;
            }
        }
        if self.connection.readable == Readable::Nothing && may_close {
            session.tell(Event::Closed, &mut self.env.cx());
            return true;
        }
        match stream.shutdown_write() {
            Ok(()) => session.tell(Event::ShutDown, &mut self.env.cx()),
            Err(error) => self.socket_failed(&error),
        }
        true
    }

    /// Looks how much the client's system has acknowledged.
    fn check_unacknowledged(&mut self) -> bool {
        let session = &mut self.connection.session;
        let Some(stream) = self.connection.stream.as_ref() else { return false };
        match stream.unacknowledged() {
            Ok(n) => session.tell(Event::Unacknowledged(n), &mut self.env.cx()),
            Err(error) => self.socket_failed(&error),
        }
        true
    }

    /// Registers the socket with epoll, once. An edge that came before is reported at once. A socket of which the end
    /// of stream is probably after the request just answered is read once more instead, in the next turn: that costs
    /// less than to register it and to take an event.
    fn register(&mut self) {
        let connection = &mut *self.connection;
        if connection.registration == Registration::Registered || connection.session.ended().is_some() {
            return;
        }
        if connection.registration == Registration::NotYetButRead
            && connection.session.peer().speaks.traits().half_closes_after_request
            && connection.session.state() == Name::AwaitHeader
            && connection.session.load() == Load::Idle
        {
            connection.registration = Registration::NotYetButAnswered;
            connection.readable = connection.readable.max(Readable::Bytes);
            return self.enqueue();
        }
        connection.registration = Registration::Registered;
        if let Some(stream) = &mut connection.stream
            && let Err(error) = self.platform.register(stream, self.id)
        {
            log::warn!("{}: cannot register the connection for events: {error}", connection.session.peer().address);
            connection.session.tell(Event::GivenUp(&error.to_string()), &mut self.env.cx());
            // What is to be closed for it has no other turn.
            self.enqueue();
        }
    }
}
