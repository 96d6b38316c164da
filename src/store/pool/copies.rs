//! Copies under way. Those of directories take memory for their walk, so only a few are made at a time.

use std::sync::{Arc, Mutex};

use crate::error::{Failure, StoreError};
use crate::ids::GroupId;
use crate::store::mutex::lock;
use crate::store::namespace::copy::Copy;
use crate::store::volume::Volume;

/// Directories that are copied at a time, one for each client.
pub const TREES_MAX: usize = 2;

/// The clients for which directories are copied.
pub(crate) type Trees = Arc<Mutex<Vec<Option<GroupId>>>>;

/// The right to copy a directory, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    trees: Trees,
    client: Option<GroupId>,
}

impl Turn {
    pub(crate) fn take(trees: &Trees, client: Option<GroupId>) -> Result<Self, StoreError> {
        let mut clients = lock(trees);
        if clients.len() >= TREES_MAX || clients.contains(&client) {
            return Err(StoreError::refused(Failure::Busy, "other folders are being copied"));
        }
        clients.push(client);
        Ok(Self { trees: Arc::clone(trees), client })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut clients = lock(&self.trees);
        if let Some(at) = clients.iter().position(|client| *client == self.client) {
            clients.swap_remove(at);
        }
    }
}

/// A copy under way, and the file system that it is made in.
#[derive(Debug)]
pub(crate) struct CopyUnderWay {
    pub(crate) volume: Arc<Volume>,
    /// `None` once it has its name.
    pub(crate) copy: Mutex<Option<Copy>>,
    pub(crate) _turn: Option<Turn>,
}
