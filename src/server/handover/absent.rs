//! A build without hand-over: there is no other process.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use super::error::ServerError;
use super::platform::OsPlatform;
use crate::os::event_queue::Control;
use crate::os::net::Address;
use crate::store::Sharing;

#[derive(Debug)]
pub(super) struct HandOver;

impl HandOver {
    pub(super) const fn begin(_from: Option<&Path>, _control: Option<&Path>) -> Result<Self, ServerError> {
        Ok(Self)
    }

    pub(super) const fn listener_at(&mut self, _: &Address) -> Option<OwnedFd> {
        None
    }

    pub(super) fn share(&mut self, shared: bool) -> Result<Sharing, ServerError> {
        Ok(Sharing::new(shared))
    }

    pub(super) fn complete(self, _: &mut OsPlatform, _: Vec<String>, _: &Arc<Control>) -> Result<bool, ServerError> {
        Ok(false)
    }
}
