//! A place to speak for the tests of single protocols. Not part of the program.

use crate::access::{Access, Caller};
use crate::config::Limits;
use crate::counters::Counters;
use crate::dav_locks::DavLocks;
use crate::dialect::protocol::{Context, Phase};
use crate::error::Failure;

/// What came of one call of a protocol.
pub(super) struct Called<R> {
    /// What the call returned.
    pub(super) result: R,
    /// What was said to the peer.
    pub(super) said: Vec<u8>,
    /// How the request was refused.
    pub(super) refused: Option<Failure>,
    /// What was noted for the log.
    pub(super) notes: Vec<String>,
}

/// Calls a protocol as the session does.
pub(super) fn call_protocol<R>(phase: Phase, access: &Access, call: impl FnOnce(&mut Context<'_>) -> R) -> Called<R> {
    let (limits, counters, mut said, mut notes) = (Limits::default(), Counters::default(), Vec::new(), Vec::new());
    let mut context = Context {
        out: &mut said,
        limits: &limits,
        access,
        caller: Caller::ANYBODY,
        dav_locks: &DavLocks::default(),
        lock_tokens: None,
        key: None,
        client: [127, 0, 0, 1].into(),
        proxy: None,
        guesses: None,
        phase,
        wall_clock_s: 0,
        counters: &counters,
        connections: None,
        wants_connections: false,
        refused: None,
        wrong_secret: false,
        verdict: None,
        retry_after_s: None,
        asked: None,
        status: None,
        notes: &mut notes,
    };
    let result = call(&mut context);
    let refused = context.refused;
    Called { result, said, refused, notes }
}
