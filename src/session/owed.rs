//! The replies that are owed to small uploads of one connection, in the order of their requests. What is done about them is
//! in `ahead`.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use crate::access::Caller;
use crate::dav_locks::LockToken;
use crate::dialect::Deferred;
use crate::dialect::asked::Asked;
use crate::error::StoreError;
use crate::object::Stored;
use crate::session::report::{Forwarded, Request};

/// How often what a head says may be kept, in the entries and in the reply.
const HEAD_COPIES: usize = 4;

/// The replies that are owed, in the order of their requests.
#[derive(Debug)]
pub(super) struct Owed {
    uploads: VecDeque<Box<OwedUpload>>,
    /// What the dialect has said about the requests after these.
    later: Vec<u8>,
    /// The number of the last upload.
    number: u8,
}

/// A small upload at the store.
#[derive(Debug)]
pub(super) struct OwedUpload {
    /// That of its operation.
    number: u8,
    stage: Stage,
    /// `None` once the peer is sent nothing more.
    pub reply: Option<Box<dyn Deferred>>,
    pub facts: Facts,
    /// Bytes of memory on the account of the slot.
    cost: usize,
}

#[derive(Debug)]
enum Stage {
    /// Its operation is not submitted yet.
    Wanted,
    UnderWay,
    Ended(Result<Stored, StoreError>),
}

/// What is known of its request; of the present one it is in the request data.
#[derive(Debug)]
pub(super) struct Facts {
    pub request: Option<Request>,
    pub caller: Caller,
    pub forwarded: Option<Box<Forwarded>>,
    pub lock_tokens: Option<Box<[LockToken]>>,
    pub asked: Option<Arc<Asked>>,
    pub status: Option<u16>,
}

impl Owed {
    pub(super) const NONE: Self = Self { uploads: VecDeque::new(), later: Vec::new(), number: 0 };

    pub(super) fn is_empty(&self) -> bool {
        self.uploads.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.uploads.len()
    }

    /// True while a reply is to be sent.
    pub(super) fn is_due(&self) -> bool {
        self.uploads.front().is_some_and(|upload| upload.reply.is_some())
    }

    /// Of the request that is answered next.
    pub(super) fn first(&self) -> Option<&Facts> {
        self.uploads.front().map(|upload| &upload.facts)
    }

    /// Operations that have not ended.
    pub(super) fn ops(&self) -> usize {
        self.uploads.iter().filter(|upload| !matches!(upload.stage, Stage::Ended(_))).count()
    }

    /// Bytes of heap on the account of the slot.
    pub(super) fn bytes(&self) -> usize {
        self.later.capacity() + self.uploads.iter().map(|upload| upload.cost).sum::<usize>()
    }

    /// Where that is written which is sent after the replies.
    pub(super) const fn later(&mut self) -> &mut Vec<u8> {
        &mut self.later
    }

    /// True once something is to be sent after the replies.
    pub(super) const fn has_later(&self) -> bool {
        !self.later.is_empty()
    }

    /// `bytes` it has on the account of the slot, besides what its head says.
    pub(super) fn push(&mut self, reply: Box<dyn Deferred>, facts: Facts, bytes: usize) {
        let cost = if bytes == 0 { 0 } else { bytes + Self::head_bytes(facts.bytes()) };
        self.number = self.number.checked_add(1).unwrap_or(1);
        let upload = OwedUpload { number: self.number, stage: Stage::Wanted, reply: Some(reply), facts, cost };
        self.uploads.push_back(Box::new(upload));
    }

    /// What a head of this length may cost.
    pub(super) const fn head_bytes(len: usize) -> usize {
        len.saturating_mul(HEAD_COPIES)
    }

    /// The number for the operation of the next upload, which is submitted now; 0 for one that no reply is owed to.
    pub(super) fn submit(&mut self) -> u8 {
        let next = self.uploads.iter_mut().find(|upload| matches!(upload.stage, Stage::Wanted));
        next.map_or(0, |upload| {
            upload.stage = Stage::UnderWay;
            upload.number
        })
    }

    pub(super) fn with_number(&self, number: u8) -> Option<&OwedUpload> {
        self.uploads.iter().find(|upload| upload.number == number).map(|upload| &**upload)
    }

    /// The operation with this number has ended.
    pub(super) fn end(&mut self, number: u8, result: Result<Stored, StoreError>) {
        if let Some(upload) = self.uploads.iter_mut().find(|upload| upload.number == number) {
            upload.stage = Stage::Ended(result);
        }
    }

    /// The first one, if it has ended.
    pub(super) fn pop_ended(&mut self) -> Option<(Box<OwedUpload>, Result<Stored, StoreError>)> {
        let first = self.uploads.front_mut()?;
        match mem::replace(&mut first.stage, Stage::UnderWay) {
            Stage::Ended(result) => self.uploads.pop_front().map(|upload| (upload, result)),
            stage => {
                first.stage = stage;
                None
            }
        }
    }

    /// The peer is sent nothing more: the ends of these are only reported.
    pub(super) fn abandon(&mut self) {
        self.later = Vec::new();
        self.uploads.iter_mut().for_each(|upload| upload.reply = None);
    }
}

impl Facts {
    /// Bytes that the head of the request has brought.
    fn bytes(&self) -> usize {
        let key = self.request.as_ref().map_or(0, |request| request.key.as_str().len());
        let tokens = self.lock_tokens.as_ref().map_or(0, |tokens| size_of_val(&**tokens));
        key + tokens + self.asked.as_ref().map_or(0, |asked| asked.bytes())
    }
}
