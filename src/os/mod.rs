//! The only directory with system calls: clock, poll, sockets.
//!
//! It imports the ports and the words below them, never a session or the reactor, so everything
//! above runs unchanged in a simulator.

#[cfg(feature = "serve")]
pub mod log;
pub mod names;
pub mod net;
pub mod poll;
pub mod process;
mod slow;
pub(crate) mod sys;
