//! The platform in memory, on which the real reactor runs: for conversations step by step
//! ([`rig`](crate::rig)) and for the simulator (`tests/sim`). What surrounds it, a [`World`], decides when
//! something happens.
//!
//! | module | what it is |
//! |---|---|
//! | `net` | connections as byte queues, with the weakest edges a poll may report |
//! | `disk` | a file system with a volatile and a durable view; the store on it, step by step |
//! | `platform` | the ports of the product, answered by these |
//! | `faults` | what may go wrong and how small everything is |
//! | `trace` | everything that happened, as a number and as text |
//! | `rng` | random numbers |

pub mod disk;
pub mod faults;
pub mod net;
pub mod platform;
pub mod rng;
pub mod trace;

use std::sync::Arc;
use std::time::{Duration, Instant};

use filewharf::ids::OpId;
use filewharf::platform::{Completion, Event, Op, Rules};

use disk::Disk;
use faults::{Faults, Shape};
use net::Net;
use rng::Rng;
use trace::Trace;

/// When the clock on the wall begins.
pub const STARTED_S: u64 = 1_700_000_000;
/// This long an upload in parts is kept, in seconds.
pub const EXPIRY_S: u64 = 86_400;

/// The parts of a world that the platform works on.
pub struct Parts<'a> {
    pub net: &'a mut Net,
    pub disk: &'a mut Disk,
    pub rng: &'a mut Rng,
    pub faults: &'a Faults,
    pub shape: &'a Shape,
    pub trace: &'a mut Trace,
    pub now_us: u64,
}

/// What surrounds a server: the time, and when something happens.
pub trait World {
    fn parts(&mut self) -> Parts<'_>;

    fn now(&self) -> Instant;

    /// The server waits for events, at most this long.
    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>);

    /// See [`Platform::take_rules`].
    fn take_rules(&mut self) -> Option<Arc<Rules>> {
        None
    }

    /// Whether this operation is served on the loop.
    fn serves_now(&mut self, op: &Op) -> bool;

    /// The steps of this parked operation are to be run.
    fn submitted(&mut self, job: u64);

    /// What a cache knows about the file that is to be opened.
    fn cached(&mut self, _: OpId, _: &Op) -> Option<Completion> {
        None
    }

    /// Whether not even a connection that is refused can be accepted.
    fn refuses_shed(&mut self) -> bool {
        false
    }

    /// Bytes were received: what is cached may be old.
    fn received(&mut self) {}
}
