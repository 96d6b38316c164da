//! A running server as other threads see it: its addresses, its counters, and requests to drain, reload or stop.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use crate::counters::Counters;
use crate::dialect::Kind;
use crate::os::event_queue::Control;
use crate::os::net::Address;
use crate::platform::Signal;

/// A server as other threads see it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) bound: Arc<[(Address, Kind)]>,
    pub(super) are_tls: Arc<[bool]>,
    pub(super) control: Arc<Control>,
    pub(super) reload: Option<SyncSender<()>>,
}

impl Handle {
    /// The addresses really bound, with what they speak, in the order they were asked for.
    pub fn addresses(&self) -> &[(Address, Kind)] {
        &self.bound
    }

    /// Which of these are encrypted, in the same order.
    pub fn encrypted(&self) -> &[bool] {
        &self.are_tls
    }

    /// Take no new work, let running transfers end. A second time: stop.
    pub fn drain(&self) {
        self.control.request(Signal::Drain);
    }

    /// Read the access file again, and the certificate and key of TLS, as SIGHUP does. All are in effect a little later,
    /// or what was before if one is wrong. Nothing happens where there is none.
    pub fn reload(&self) {
        if let Some(reload) = &self.reload {
            // Where one is asked for already, that has not begun.
            let _ = reload.try_send(());
        }
    }

    /// End now. Uploads that are cut off leave no visible file.
    pub fn stop(&self) {
        self.control.request(Signal::Stop);
    }

    /// The facts as of the end of the last turn of the loop.
    pub fn counters(&self) -> Counters {
        self.control.counters()
    }
}
