//! What a session has only while something is under way: held bytes, replies, operations, the report of a request.
//! Most connections are idle most of the time, and hold one pointer.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Instant;

use crate::access::Caller;
use crate::access::password::Verdict;
use crate::admission::Slot;
use crate::buffer::Outbox;
use crate::dav_locks::LockToken;
use crate::dialect::asked::Asked;
use crate::ids::GroupId;
use crate::platform::Op;
use crate::session::owed::{Owed, OwedUpload};
use crate::session::report::{Forwarded, Request, SentSegments};
use crate::session::state::Sending;

#[derive(Debug)]
pub struct RequestData {
    /// Bytes received and not yet used; exactly as long as they are.
    pub(super) inbox: Vec<u8>,
    pub(super) outbox: Outbox,
    pub(super) owed: Owed,
    /// Wanted, not yet submitted.
    pub(super) ops: VecDeque<Op>,
    /// The client of the request, where a trusted proxy sends it.
    pub(super) forwarded: Option<Box<Forwarded>>,
    pub(super) slot: Slot,
    /// The caller of the request.
    pub(super) caller: Caller,
    /// The tokens of WebDAV locks that the request has shown.
    pub(super) lock_tokens: Option<Box<[LockToken]>>,
    /// The client group of the request, once that was needed.
    pub(super) group: Option<GroupId>,
    /// The client group that the present upload is counted for. While the table is full, [`Self::group`] may
    /// become part of another one meanwhile.
    pub(super) counted_upload: Option<GroupId>,
    /// True once the limits of the client have admitted a request that is not complete yet.
    pub(super) is_admitted: bool,
    /// When to try again, for the answer to a request that is refused.
    pub(super) retry_after_s: Option<u32>,
    pub(super) request: Option<Request>,
    /// What the head of the request was, until the response is logged; for the log only, as the two after it.
    pub(super) asked: Option<Arc<Asked>>,
    pub(super) status: Option<u16>,
    /// Bytes of content of the parts of the request that are logged already.
    pub(super) bytes_logged: u64,
    pub(super) segments: Option<Box<SentSegments>>,
    /// What is known of all connections; and whether that is to be found out, for the bytes that are held.
    pub(super) connections: Option<Box<str>>,
    pub(super) wants_connections: bool,
    /// On the password in the bytes that are held.
    pub(super) verdict: Option<Box<Verdict>>,
    /// When the dialect was last informed of a silence.
    pub(super) silence_reported: Option<Instant>,
    /// The memory of the last download, for the next.
    pub(super) sent: Option<Box<Sending>>,
}

impl RequestData {
    const EMPTY: Self = Self {
        inbox: Vec::new(),
        outbox: Outbox::EMPTY,
        owed: Owed::NONE,
        ops: VecDeque::new(),
        forwarded: None,
        slot: Slot::None,
        caller: Caller::ANYBODY,
        lock_tokens: None,
        group: None,
        counted_upload: None,
        is_admitted: false,
        retry_after_s: None,
        request: None,
        asked: None,
        status: None,
        bytes_logged: 0,
        segments: None,
        connections: None,
        wants_connections: false,
        verdict: None,
        silence_reported: None,
        sent: None,
    };
}

/// What an idle session is seen to have.
const EMPTY: &RequestData = &RequestData::EMPTY;

/// Made by the first change, kept until [`LazyRequestData::rest`].
#[derive(Debug, Default)]
pub(super) struct LazyRequestData(Option<Box<RequestData>>);

impl LazyRequestData {
    /// Gives the memory back if nothing is in it. `active` is when the peer last moved a byte: a silence reported
    /// before that is over.
    pub(super) fn rest(&mut self, active: Instant, pool: &mut RequestDataPool) {
        let is_over = self.silence_reported.is_none_or(|at| at <= active);
        let RequestData {
            inbox,
            outbox,
            owed,
            ops,
            slot,
            caller: _,
            lock_tokens: _,
            group,
            counted_upload,
            is_admitted: _,
            retry_after_s: _,
            request,
            asked,
            status: _,
            bytes_logged: _,
            segments,
            forwarded: _,
            connections,
            wants_connections: _,
            verdict,
            silence_reported: _,
            sent: _,
        } = &**self;
        if is_over
            && inbox.is_empty()
            && outbox.is_empty()
            && owed.is_empty()
            && ops.is_empty()
            && slot.is_none()
            && request.is_none()
            && asked.is_none()
            && group.is_none()
            && counted_upload.is_none()
            && segments.is_none()
            && connections.is_none()
            && verdict.is_none()
            && let Some(mut data) = self.0.take()
            && pool.0.len() < POOL_MAX
        {
            data.silence_reported = None;
            data.caller = Caller::ANYBODY;
            data.lock_tokens = None;
            data.forwarded = None;
            data.retry_after_s = None;
            data.is_admitted = false;
            data.wants_connections = false;
            pool.0.push(data);
        }
    }

    /// Something will be under way: uses memory again that another session gave back.
    pub(super) fn begin(&mut self, pool: &mut RequestDataPool) {
        if self.0.is_none() {
            self.0 = pool.0.pop();
        }
    }

    /// For a download that continues, and may take long: frees the memory of a queue of operations that is empty, and
    /// that of the head that was sent. There may be thousands of slow readers, and this is the largest part of each.
    pub(super) fn shrink(&mut self) {
        let Some(data) = &mut self.0 else { return };
        data.outbox.shrink();
        if data.ops.is_empty() && data.ops.capacity() > 0 {
            data.ops = VecDeque::new();
        }
    }

    /// Bytes of heap of a session with a few operations, a download and a reply that is owed, contents not counted.
    pub(super) const BYTES: usize = size_of::<RequestData>()
        + OPS_KEPT * size_of::<Op>()
        + size_of::<Sending>()
        + size_of::<SentSegments>()
        + size_of::<OwedUpload>()
        + size_of::<Forwarded>();
}

/// Request data that was given back, with the buffers in it, to be used again.
#[derive(Debug, Default)]
#[allow(clippy::vec_box, reason = "it goes from session to session as it is, and is not copied")]
pub struct RequestDataPool(Vec<Box<RequestData>>);

/// As many as requests come in one turn of a busy server.
const POOL_MAX: usize = 128;

impl RequestDataPool {
    /// Memory of all of them at most, for the accounting.
    pub const BYTES_MAX: usize = POOL_MAX * (LazyRequestData::BYTES + Outbox::KEPT_BYTES);
}

/// The least capacity of a `VecDeque`.
pub(super) const OPS_KEPT: usize = 4;

impl Deref for LazyRequestData {
    type Target = RequestData;

    fn deref(&self) -> &RequestData {
        self.0.as_deref().unwrap_or(EMPTY)
    }
}

impl DerefMut for LazyRequestData {
    fn deref_mut(&mut self) -> &mut RequestData {
        self.0.get_or_insert_with(|| Box::new(RequestData::EMPTY))
    }
}
