//! Asks the locks of WebDAV where an operation passes to the store: the changes before it have ended, so a lock that was
//! granted meanwhile counts.

use crate::buffer::Chunk;
use crate::command::{Answer, Whole};
use crate::dav_locks::{Change, LockToken, Refused};
use crate::error::{Failure, StoreError};
use crate::platform::{Completion, Op, Outcome, Platform, Store};
use crate::reactor::driver::Driver;
use crate::reactor::lock_check::changes;
use crate::reactor::parts::Reactor;
use crate::upload::PartEnd;

impl<P: Platform> Reactor<P> {
    /// Grants locks from now on, and knows those that earlier processes have granted. Waits for the disk. No other process
    /// has this secret.
    pub fn offer_locks(&mut self, secret: [u8; 16]) {
        let now_s = self.env.clock.wall_clock_s;
        if cfg!(feature = "webdav")
            && let Some(kept) = self.platform.store().kept_locks(now_s)
        {
            self.env.lock_check.secret = secret;
            self.env.lock_check.locks.offer(kept);
        }
    }

    /// Ends the locks that have expired.
    pub(super) fn expire_locks(&mut self) {
        if self.env.lock_check.locks.is_empty() {
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
    /// Grants the lock that an operation is to make durable; `None` if that is refused.
    pub(super) fn grant_lock(&mut self, mut op: Op) -> Option<Op> {
        let check = &mut self.env.lock_check;
        let refused = match &mut op {
            _ if !cfg!(feature = "webdav") => None,
            Op::Run(Whole::KeepLock { lock, is_renewal: true, .. }) => {
                check.locks.renew(self.id, lock);
                return Some(op);
            }
            Op::Run(Whole::KeepLock { lock, client, .. }) => {
                check.granted += 1;
                lock.token = LockToken::of(check.secret, check.granted);
                check.locks.grant(self.id, (**lock).clone(), *client).err()
            }
            _ => None,
        };
        let failure = match refused {
            None => return Some(op),
            Some(Refused::Conflict(_)) => Failure::Protected,
            Some(Refused::Full) => Failure::ClientLimit,
        };
        self.complete(Completion { conn: self.id, result: Err(StoreError::refused(failure, "lock")), chunk: None });
        None
    }

    /// The operation, or another in its place if a lock is in its way; `None` if it has ended by that.
    pub(super) fn pass_locks(&mut self, op: Op) -> Option<Op> {
        let check = &mut self.env.lock_check;
        if check.locks.is_empty() {
            return Some(op);
        }
        let peer = self.connection.session.peer();
        let is_blocked = |change: &Change<'_>| check.locks.blocks(*change, peer.lock_tokens, peer.user).is_some();
        if !changes(&op).iter().flatten().any(is_blocked) {
            if let Op::Run(Whole::Delete { key, .. } | Whole::Rename { from: key, .. }) = &op {
                let ending = check.locks.tokens_under(key);
                if !ending.is_empty() {
                    check.going.insert(self.id, (key.clone(), ending));
                }
            }
            return Some(op);
        }
        let error = StoreError::refused(Failure::Protected, "lock");
        match op {
            Op::Commit { file, .. } | Op::PlaceCopy { file, .. } => {
                check.refused.insert(self.id, error);
                Some(match self.connection.session.upload().attached_to {
                    Some(_) => Op::EndPart { file, end: PartEnd::Keep },
                    None => Op::Abort { file },
                })
            }
            op => {
                self.complete(Completion { conn: self.id, result: Err(error), chunk: chunk_of(op) });
                None
            }
        }
    }

    /// An operation has ended: what that means for locks.
    pub(super) fn settle_locks(&mut self, mut done: Completion) -> Completion {
        let check = &mut self.env.lock_check;
        if check.is_idle() {
            return done;
        }
        // Others that may end meanwhile are of the request before.
        let is_done = match &done.result {
            Ok(Outcome::Aborted | Outcome::PartEnded(_)) => {
                if let Some(error) = check.refused.remove(&self.id) {
                    done.result = Err(error);
                }
                return done;
            }
            Ok(Outcome::Answered(answer)) => {
                if let (Answer::Unlocked(key, token), Ok(_)) = (answer, &done.result) {
                    check.locks.remove(key, *token);
                }
                true
            }
            Ok(_) => return done,
            Err(_) => false,
        };
        check.locks.ended(self.id, is_done);
        if let Some((key, tokens)) = check.going.remove(&self.id).filter(|_| is_done) {
            check.locks.remove_all(&key, &tokens);
            self.platform.store().forget_locks(&tokens);
        }
        done
    }
}
