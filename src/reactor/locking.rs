//! Asks the locks of WebDAV where an operation passes to the store: the changes before it have ended, so a lock that was
//! granted meanwhile counts.

use crate::buffer::Chunk;
use crate::command::{Answer, Whole};
use crate::dav_locks::{Change, LockToken, Refused, Shown};
use crate::dialect::Phase;
use crate::error::{Failure, StoreError};
use crate::ids::OpId;
use crate::platform::{Completion, Op, Outcome, Platform, Store};
use crate::reactor::driver::Driver;
use crate::reactor::env::Env;
use crate::reactor::lock_check::{changes, going};
use crate::reactor::parts::Reactor;

impl<P: Platform> Reactor<P> {
    /// Grants locks from now on, with tokens that are made of this secret, and knows those that earlier processes have
    /// granted. Waits for the disk.
    pub fn offer_locks(&mut self, secret: [u8; 16]) {
        self.env.lock_check.secret = secret;
        self.renew_locks();
    }

    /// Knows the locks that this process and others have granted. Waits for the disk.
    pub(super) fn renew_locks(&mut self) {
        let now_s = self.env.clock.wall_clock_s;
        if cfg!(feature = "webdav")
            && let Some(kept) = self.platform.store().kept_locks(now_s)
        {
            self.env.lock_check.locks.offer(kept);
        }
    }

    /// Ends the locks that have expired.
    pub(super) fn expire_locks(&mut self) {
        // What another process has renewed meanwhile is not known here.
        if self.env.lock_check.locks.is_empty() || self.env.phase == Phase::HandingOver {
            return;
        }
        let over = self.env.lock_check.locks.expire(self.env.clock.wall_clock_s);
        if !over.is_empty() {
            self.platform.store().forget_locks(&over);
        }
    }
}

fn chunk_of(op: Op) -> Option<Chunk> {
    if let Op::Store { chunk, .. } = op { Some(chunk) } else { None }
}

impl<P: Platform> Driver<'_, P> {
    /// Grants the lock that an operation is to make durable; `None` if that is refused. What it binds is refused from
    /// here on, and what was accepted before ends before it is durable.
    pub(super) fn grant_lock(&mut self, mut op: Op) -> Option<Op> {
        let Env { lock_check: check, groups, clock, phase, .. } = &mut *self.env;
        let refused = match &mut op {
            _ if !cfg!(feature = "webdav") || *phase == Phase::HandingOver => None,
            Op::Run(Whole::KeepLock { lock, client, rights, is_renewal: false }) => {
                let owner = self.connection.session.owner(0, groups, clock.now);
                let made = Change { key: &lock.key, is_of_name: true, is_deep: false };
                if check.locks.blocks(made, owner.lock_tokens, owner.user).is_some() {
                    rights.new = Err(Failure::Protected);
                }
                check.granted += 1;
                lock.token = LockToken::of(&check.secret, check.granted);
                check.locks.grant(self.id, (**lock).clone(), *client).err()
            }
            _ => None,
        };
        match refused {
            None => Some(op),
            Some(Refused::Conflict(_)) => self.refuse(0, op, Failure::Protected),
            Some(Refused::Full) => self.refuse(0, op, Failure::ClientLimit),
        }
    }

    /// The operation, or another in its place if a lock is in its way; `None` if it has ended by that. `number` is that of
    /// its [`OpId`].
    pub(super) fn pass_locks(&mut self, number: u8, mut op: Op) -> Option<Op> {
        if !cfg!(feature = "webdav") {
            return Some(op);
        }
        let Env { lock_check: check, groups, clock, phase, .. } = &mut *self.env;
        let owner = self.connection.session.owner(number, groups, clock.now);
        let failure = match &mut op {
            // Another process knows them all; the next connection will be there.
            Op::Run(Whole::EndLock { .. } | Whole::KeepLock { .. }) if *phase == Phase::HandingOver => {
                Some(Failure::Draining)
            }
            Op::Run(Whole::EndLock { key, token }) => match check.locks.covering(key).find(|lock| lock.token == *token)
            {
                None => Some(Failure::Conflict("it is not locked with this token")),
                Some(lock) => (*lock.user != *owner.user).then_some(Failure::Denied("the lock is of another user")),
            },
            Op::Run(Whole::KeepLock { is_renewal: false, .. }) => None,
            Op::Run(Whole::KeepLock { lock, rights, .. }) => {
                rights.new = Err(Failure::PreconditionFailed);
                (!check.locks.renew(self.id, lock)).then_some(Failure::PreconditionFailed)
            }
            _ if check.locks.is_empty() || *phase == Phase::HandingOver => None,
            op => {
                let is_blocked =
                    |change: &Change<'_>| check.locks.blocks(*change, owner.lock_tokens, owner.user).is_some();
                changes(op).iter().flatten().any(is_blocked).then_some(Failure::Protected)
            }
        };
        if let Some(failure) = failure {
            return self.refuse(number, op, failure);
        }
        let going = going(&op, &check.locks);
        if !going.is_empty() {
            check.going.insert(self.id, going);
        }
        Some(op)
    }

    /// What an operation changes and the locks it has shown, where another process has the table of locks.
    pub(super) fn shown_to_others(&mut self, number: u8, op: &Op) -> Option<Shown> {
        let Env { lock_check: check, groups, clock, phase, .. } = &mut *self.env;
        if *phase != Phase::HandingOver || !cfg!(feature = "webdav") || !check.locks.are_offered() {
            return None;
        }
        let owner = self.connection.session.owner(number, groups, clock.now);
        Shown::of(changes(op), owner.lock_tokens, owner.user)
    }

    /// Ends an operation before it is one of the store; what is left is to give up its file.
    fn refuse(&mut self, number: u8, op: Op, failure: Failure) -> Option<Op> {
        let error = StoreError::refused(failure, "lock");
        match op {
            Op::Commit { file, .. } | Op::PlaceCopy { file, .. } => {
                self.env.lock_check.refused.insert(self.id, error);
                Some(Op::Abort { file })
            }
            op => {
                let id = OpId { conn: self.id, number };
                self.complete(Completion { id, result: Err(error), chunk: chunk_of(op) });
                None
            }
        }
    }

    /// An operation has ended: what that means for locks.
    pub(super) fn settle_locks(&mut self, mut done: Completion) -> Completion {
        if !cfg!(feature = "webdav") {
            return done;
        }
        let check = &mut self.env.lock_check;
        if let Ok(Outcome::Aborted) | Err(_) = &done.result
            && let Some(error) = check.refused.remove(&self.id)
        {
            done.result = Err(error);
            return done;
        }
        // Others that may end meanwhile are of the request before.
        let is_done = match &done.result {
            Ok(Outcome::Answered(Answer::Unlocked(key, token))) => {
                let root = check.locks.covering(key).find(|lock| lock.token == *token).map(|lock| lock.key.clone());
                root.and_then(|root| check.locks.remove(&root, *token));
                true
            }
            Ok(Outcome::Answered(_)) => true,
            Ok(_) => return done,
            Err(_) => false,
        };
        let mut ended = Vec::new();
        if let Some(token) = check.locks.ended(self.id, is_done) {
            // Its time was over, or it was unlocked or removed meanwhile.
            ended.push(token);
            if let Ok(Outcome::Answered(Answer::Locked { is_new, .. })) = done.result {
                // A refusal would say that nothing has changed, and the file of a new name is there.
                let failure = if is_new { Failure::Internal } else { Failure::PreconditionFailed };
                done.result = Err(StoreError::refused(failure, "the time of a lock ended before it was durable"));
            }
        }
        for (root, token) in check.going.remove(&self.id).filter(|_| is_done).into_iter().flatten() {
            check.locks.remove(&root, token);
            ended.push(token);
        }
        if !ended.is_empty() {
            self.platform.store().forget_locks(&ended);
        }
        done
    }
}
