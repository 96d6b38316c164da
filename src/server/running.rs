//! A server that is bound: what it is asked before it runs, and its run.
#![warn(missing_docs)]

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use super::ceiling::Ceiling;
use super::error::{LOOP_FAILED, ServerError};
use super::handle::Handle;
use super::platform::OsPlatform;
use super::systemd::Notifier;
use crate::dialect::Kind;
use crate::os::event_queue::Control;
use crate::os::net::Address;
use crate::reactor::{Ended, Reactor};

/// A server that is bound and ready to run.
pub struct Server {
    pub(super) reactor: Reactor<OsPlatform>,
    pub(super) bound: Vec<(Address, Kind)>,
    pub(super) are_tls: Vec<bool>,
    pub(super) control: Arc<Control>,
    pub(super) reload: Option<SyncSender<()>>,
    pub(super) ceiling: Ceiling,
    pub(super) sandbox: String,
    pub(super) notifier: Option<Arc<Notifier>>,
    /// From a process that systemd may take for the main one.
    pub(super) has_taken_over: bool,
}

impl Server {
    /// For other threads: ask for addresses and counters, drain, stop.
    pub fn handle(&self) -> Handle {
        Handle {
            bound: self.bound.clone().into(),
            are_tls: self.are_tls.clone().into(),
            control: Arc::clone(&self.control),
            reload: self.reload.clone(),
        }
    }

    /// The most memory it can use.
    pub const fn ceiling(&self) -> Ceiling {
        self.ceiling
    }

    /// The measures of the sandbox that are in force, with commas in between; `off` if none were asked for, `none` if
    /// the system has none.
    pub fn sandbox(&self) -> &str {
        &self.sandbox
    }

    /// Serves on this thread until it has drained or was stopped.
    pub fn run(mut self) -> Result<Ended, ServerError> {
        if let Some(notifier) = &self.notifier {
            if self.has_taken_over {
                notifier.is_main();
            }
            notifier.ready();
        }
        self.reactor.run().map_err(ServerError::system(LOOP_FAILED))
    }
}
