//! The handshake of an encrypted connection. The stream exchanges its messages; here are its limit of time, its wait for
//! the private key, and its end.

use std::time::Instant;

use crate::config::Limits;
use crate::error::CloseReason;
use crate::session::behavior::Behavior;
use crate::session::common::Common;
use crate::session::cx::Cx;
use crate::session::state::Handshake;
use crate::session::step::Step;

impl Behavior for Handshake {
    const IS_BUSY: bool = false;
    const IS_SERVING: bool = false;

    fn received_eof(self, _common: &mut Common, _cx: &mut Cx<'_>) -> Step {
        // A client that ends its stream before it is answered never ends the handshake.
        if self.awaits_key && !self.is_answered {
            return Step::End(CloseReason::PeerClosed, false);
        }
        Step::stay(self)
    }

    fn deadline(&self, common: &Common, limits: &Limits) -> Option<Instant> {
        Some(common.entered + limits.live.head_timeout)
    }

    fn timed_out(self, _in_kernel: usize, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        Self::failed(CloseReason::HeadTimeout, "it does not end in time", true, common, cx)
    }
}

impl Handshake {
    /// `is_reset`: the client was sent no answer, which a reset would destroy.
    pub(in crate::session) fn failed(
        reason: CloseReason,
        cause: &str,
        is_reset: bool,
        common: &Common,
        cx: &mut Cx<'_>,
    ) -> Step {
        if cause.is_empty() {
            return Step::End(CloseReason::PeerClosed, is_reset);
        }
        cx.counters.handshakes_failed += 1;
        let failed = cx.counters.handshakes_failed;
        if failed.is_power_of_two() {
            log::warn!("{}: the TLS handshake failed: {cause} ({failed} so far)", common.peer);
        }
        Step::End(reason, is_reset)
    }
}
