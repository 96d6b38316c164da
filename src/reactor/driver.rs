//! One connection borrowed together with the parts that working on it needs: `drive`, `receive` and `send` add
//! the steps.

use std::io::{self, ErrorKind};

use crate::groups::Flow;
use crate::ids::{ConnId, OpId};
use crate::platform::{self, Completion, Op, Platform, Store};
use crate::reactor::connections::Connection;
use crate::reactor::env::Env;
use crate::reactor::name_locks::NameLocks;
use crate::reactor::scheduling::Scheduler;
use crate::reactor::upload_locks::UploadLocks;
use crate::session::state::Name;
use crate::session::{Event, Ops};
use crate::transfer::Meter;

/// Memory that all connections share.
pub(super) struct Buffers {
    /// Every connection reads through it. Its content means nothing between two steps.
    pub scratch: Box<[u8]>,
    /// Empty between turns.
    pub events: Vec<platform::Event>,
}

/// What one connection may still do in this turn.
#[derive(Debug)]
pub(super) struct Budget {
    /// The reading of the meter at which its bytes are spent; a call may move a few more.
    pub until: u64,
    calls: u32,
    /// False in the part of a turn that is for small requests.
    pub is_bulk: bool,
    /// True if the bulk bytes of the turn were spent before.
    pub is_turn_spent: bool,
    /// True if it could continue but for the limits of its client.
    pub is_paced: bool,
}

impl Budget {
    pub(super) const fn new(bytes: usize, env: &Env, is_turn_spent: bool, is_bulk: bool) -> Self {
        Self {
            until: env.meter.after(bytes),
            calls: env.limits.fixed.turn_calls,
            is_bulk,
            is_turn_spent,
            is_paced: false,
        }
    }

    /// Bytes it may move; at least 1 while it may continue.
    pub(super) fn bytes(&self, meter: Meter) -> usize {
        meter.left_until(self.until)
    }

    /// A call moved this many bytes.
    pub(super) const fn spend(&mut self, bytes: usize, meter: &mut Meter) {
        meter.enter(bytes);
        self.calls = self.calls.saturating_sub(1);
    }

    /// Nothing more is to be done in this turn, though it may still move bytes.
    pub(super) const fn end(&mut self) {
        self.calls = 0;
    }

    pub(super) fn is_spent(&self, meter: Meter) -> bool {
        self.calls == 0 || self.bytes(meter) == 0
    }
}

/// The steps return true if they got anything done.
pub(super) struct Driver<'a, P: Platform> {
    pub id: ConnId,
    pub connection: &'a mut Connection<P::Stream>,
    pub platform: &'a mut P,
    pub env: &'a mut Env,
    pub scheduler: &'a mut Scheduler,
    pub locks: &'a mut NameLocks,
    pub uploads: &'a mut UploadLocks,
    pub buffers: &'a mut Buffers,
}

impl<P: Platform> Driver<'_, P> {
    /// Puts the connection into the run queue of the next turn, unless it is in a queue already.
    pub(super) fn enqueue(&mut self) {
        self.scheduler.enqueue(self.id, self.connection);
    }

    pub(super) fn log_reports(&mut self) {
        self.env.log_reports(self.connection.session.peer().address, &mut self.connection.log_quota);
    }

    /// Tells the session something, outside of a drive; what it then wants, the next turn does.
    pub(super) fn tell(&mut self, event: Event<'_>) {
        self.connection.session.tell(event, &mut self.env.cx());
        self.log_reports();
        self.enqueue();
    }

    /// How many bytes the limits of the client permit to move now; `None` if the connection waits for that.
    /// `sends`: whether they would be sent.
    pub(super) fn permitted(&mut self, sends: bool, budget: &mut Budget) -> Option<usize> {
        let Self { env, connection, .. } = self;
        if !env.groups.is_limited() {
            return Some(usize::MAX);
        }
        if env.pacing.is_outdated(self.id) {
            connection.session.tell(Event::RulesChanged, &mut env.cx());
        }
        let now = env.clock.now;
        let paced_by =
            connection.session.paced_by(&mut env.groups, now).filter(|(_, flow)| (*flow == Flow::Down) == sends);
        let Some(bucket) = paced_by else { return Some(usize::MAX) };
        let room = env.groups.room_for_waiting(bucket.0, bucket.1, now);
        if env.pacing.may_go(self.id, bucket, room > 0, now) {
            connection.session.tell(Event::Unpaced, &mut env.cx());
            // A request has as many bytes as it has.
            return Some(if bucket.1 == Flow::Requests { usize::MAX } else { room });
        }
        let at = env.groups.look_again_at(bucket.0, bucket.1, now);
        env.pacing.wait(self.id, bucket, at, now);
        connection.session.tell(Event::Paced, &mut env.cx());
        budget.is_paced = true;
        None
    }

    /// Runs an operation at once if it cannot block, or else queues it at the store. `number` is that of its [`OpId`].
    pub(super) fn submit(&mut self, number: u8, op: Op) {
        // Nearly always there is no lock, and only what is of one is looked at.
        let op = if self.env.lock_check.is_idle() && !matches!(op, Op::Run(_)) {
            op
        } else {
            let Some(op) = self.pass_locks(number, op) else { return };
            op
        };
        let (shown, id) = (self.shown_to_others(number, &op), OpId { conn: self.id, number });
        let op = match shown {
            None => self.platform.store().try_now(id, op),
            Some(_) => Err(op),
        };
        match op {
            Ok(done) => self.complete(done),
            Err(op) => {
                let Env { groups, clock, .. } = &mut *self.env;
                let client = Some(self.connection.session.owner(number, groups, clock.now).group);
                let store = self.platform.store();
                match shown {
                    None => store.submit(id, client, op),
                    Some(shown) => store.submit_unlocked(id, client, op, shown),
                }
            }
        }
    }

    /// An operation ended. The socket may have been ready all along and no event will say so again: the
    /// connection must be driven, or continue if it is being driven.
    pub(super) fn complete(&mut self, done: Completion) {
        let done = if self.env.lock_check.is_idle() { done } else { self.settle_locks(done) };
        let session = &mut self.connection.session;
        let id = done.id;
        session.tell(Event::Completed(done), &mut self.env.cx());
        if id.number > 0 {
            self.locks.release(id);
        } else if session.state() != Name::FinishingWrites && session.ops() != Ops::Own {
            // Operations that outlive the upload may change its name too.
            self.locks.op_ended(id);
        }
        self.log_reports();
    }

    /// A call on the socket failed, and it does not merely have to wait.
    pub(super) fn socket_failed(&mut self, error: &io::Error) {
        if error.kind() != ErrorKind::Interrupted {
            self.connection.session.tell(Event::Lost(&error.to_string()), &mut self.env.cx());
        }
    }
}
