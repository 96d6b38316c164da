//! The header in which a proxy names the client. A connection whose header is invalid, late or incomplete has no client:
//! it is reset, because a plain end would mean success to some clients, and counted.

use std::fmt::Display;
use std::time::Instant;

use crate::config::Limits;
use crate::error::CloseReason;
use crate::session::behavior::Behavior;
use crate::session::common::Common;
use crate::session::cx::Cx;
use crate::session::state::ProxyHeader;
use crate::session::step::{Consumed, Step};
use crate::wire::proxy_header;

impl Behavior for ProxyHeader {
    const IS_BUSY: bool = false;
    const IS_SERVING: bool = false;

    fn intake(&mut self, common: &Common, cx: &Cx<'_>) -> usize {
        // The header and what follows it are no more bytes than a connection may hold of a head.
        if self.is_whole { 0 } else { cx.limits.fixed.head_len_max.saturating_sub(common.data.inbox.len()) }
    }

    fn consume(mut self, data: &[u8], common: &mut Common, cx: &mut Cx<'_>) -> (Step, Consumed) {
        if self.is_whole || data.is_empty() {
            return (Step::stay(self), Consumed::Wait);
        }
        match proxy_header::parse(data, cx.limits.fixed.head_len_max) {
            Ok(None) => (Step::stay(self), Consumed::Wait),
            Ok(Some(header)) => {
                let client = header.client.unwrap_or(common.peer);
                log::debug!("{}: a proxy's connection, for {client}", common.peer);
                (common.peer, self.is_whole) = (client, true);
                (Step::stay(self), Consumed::Took(header.len))
            }
            Err(error) => (refuse(CloseReason::Malformed, error, common, cx), Consumed::Wait),
        }
    }

    fn received_eof(self, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        // A proxy that checks whether this port is open says nothing.
        if common.data.inbox.is_empty() {
            return Step::End(CloseReason::PeerClosed, false);
        }
        refuse(CloseReason::CutShort, "the connection ended within its header", common, cx)
    }

    fn deadline(&self, common: &Common, limits: &Limits) -> Option<Instant> {
        Some(common.entered + limits.live.head_timeout)
    }

    fn timed_out(self, _in_kernel: usize, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        refuse(CloseReason::HeadTimeout, "the header is not whole in time", common, cx)
    }
}

fn refuse(reason: CloseReason, cause: impl Display, common: &Common, cx: &mut Cx<'_>) -> Step {
    cx.counters.count_unidentified(common.peer, cause);
    Step::End(reason, true)
}
