//! Copies: each is made in steps, between which other jobs have their turns.

use std::sync::{Arc, Mutex};

use crate::command::Copying;
use crate::ids::GroupId;
use crate::platform::Outcome;
use crate::store::mutex::lock;
use crate::store::namespace::copy::Copy;
use crate::store::pool::copies::{CopyUnderWay, Turn};
use crate::store::pool::jobs::{Reply, no_such_file};
use crate::store::pool::serve::Served;
use crate::store::pool::shared::Pool;
use crate::store::staging::pending_syncs::PendingSyncs;
use crate::store::volume::Volume;

impl Pool {
    pub(crate) fn begin_copy(&self, volume: &Arc<Volume>, client: Option<GroupId>, copying: &Copying) -> Served {
        let copy = volume.names.begin_copy(&self.fs, copying)?;
        // Nothing of a directory is made before its first step.
        let turn = if let Copy::Tree(_) = &copy { Some(Turn::take(&self.trees, client)?) } else { None };
        let under_way = CopyUnderWay { volume: Arc::clone(volume), copy: Mutex::new(Some(copy)), _turn: turn };
        Ok((Reply::CopyBegun(Arc::new(under_way)), PendingSyncs::default()))
    }

    pub(crate) fn step_copy(&self, under_way: &CopyUnderWay) -> Served {
        let mut copy = lock(&under_way.copy);
        // Given up since this step was asked for: its client has left.
        let Some(copy) = &mut *copy else { return Ok((Reply::Plain(Outcome::Aborted), PendingSyncs::default())) };
        let is_complete = under_way.volume.names.step_copy(&self.fs, copy)?;
        Ok((Reply::Plain(Outcome::Copied(is_complete)), PendingSyncs::default()))
    }

    pub(crate) fn place_copy(&self, under_way: &CopyUnderWay, copying: &Copying) -> Served {
        let Some(mut copy) = lock(&under_way.copy).take() else { return Err(no_such_file()) };
        match under_way.volume.names.place_copy(&mut copy, copying) {
            Ok(change) => Ok(self.changed(change)),
            Err(error) => {
                self.abort_copy(&under_way.volume, copy);
                Err(error)
            }
        }
    }

    pub(crate) fn give_up_copy(&self, under_way: &CopyUnderWay) -> Served {
        let Some(copy) = lock(&under_way.copy).take() else { return Err(no_such_file()) };
        self.abort_copy(&under_way.volume, copy);
        Ok((Reply::Plain(Outcome::Aborted), PendingSyncs::default()))
    }

    fn abort_copy(&self, volume: &Volume, copy: Copy) {
        if let Some(removal) = volume.names.abort_copy(copy) {
            self.empty(Box::new(removal));
        }
    }
}
