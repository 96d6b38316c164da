//! The only folder with system calls: the real disk and its worker threads.
//!
//! It imports the ports and the words below them, never a session or the reactor, so everything
//! above runs unchanged in a simulator.

pub mod disk;
mod sys;
mod workers;
