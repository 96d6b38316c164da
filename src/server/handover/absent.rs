//! A build without hand-over: there is no other process.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::error::ServerError;
use super::platform::OsPlatform;
use crate::os::event_queue::Control;
use crate::os::net::Address;
use crate::store::Sharing;

#[derive(Debug)]
pub(super) struct HandOver;

impl HandOver {
    pub(super) fn begin(from: Option<&Path>, control: Option<&Path>) -> Result<Self, ServerError> {
        match from.or(control) {
            None => Ok(Self),
            Some(path) => {
                let reason = "this build of filewharf has no hand-over (the feature \"handover\", on Linux)";
                Err(ServerError::TakeOver { path: path.to_owned(), reason: reason.to_owned() })
            }
        }
    }

    pub(super) const fn listener_at(&mut self, _: &Address) -> Option<OwnedFd> {
        None
    }

    pub(super) const fn ending_until(&self) -> Option<Instant> {
        None
    }

    pub(super) fn share(&mut self, shared: bool) -> Result<Sharing, ServerError> {
        Ok(Sharing::new(shared))
    }

    pub(super) fn complete(self, _: &mut OsPlatform, _: Vec<String>, _: &Arc<Control>) -> Result<bool, ServerError> {
        Ok(false)
    }
}
