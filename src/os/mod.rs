//! The only directory with system calls: clock, poll, sockets.
//!
//! It imports the ports and the words below them, never a session or the reactor, so everything
//! above runs unchanged in a simulator.

#[cfg(target_os = "linux")]
pub mod descriptors;
pub mod event_queue;
#[cfg(feature = "serve")]
pub mod log;
pub mod net;
pub mod process;
pub mod sandbox;
pub(crate) mod stderr;
pub(crate) mod sys;
