//! Sends from a file that took less than was asked for: the socket is full, unless the file was truncated. A
//! connection with room in its socket must not wait for its event, which would never come.
//!
//! Instead of one look at the file after each of them there is one after a turn, for all that were sent one
//! after the other from the same open file: a tenth of the calls for 8,000 slow downloads of one file.

use std::sync::Arc;

use crate::ids::{ConnId, FileId};
use crate::store::fs::read::OpenFile;
use crate::store::handles::Handles;

/// Those since the files were looked at; at most one of each connection.
#[derive(Debug, Default)]
pub(crate) struct PartialSends {
    noted: Vec<(FileId, ConnId)>,
}

impl PartialSends {
    /// A send of a connection took less than was asked for.
    pub(crate) fn note(&mut self, file: FileId, conn: ConnId) {
        self.noted.push((file, conn));
    }

    /// Calls `changed` for each connection of a file that has changed since it was opened, even if it is long enough
    /// now: it may have been truncated, sent from, and written anew meanwhile.
    pub(crate) fn look(&mut self, files: &Handles, mut changed: impl FnMut(ConnId)) {
        let mut last: Option<(Arc<OpenFile>, bool)> = None;
        for (file, conn) in self.noted.drain(..) {
            // A connection that closed its file does not wait.
            let Some(reading) = files.reading(file) else { continue };
            let is_as_opened = match &last {
                Some((file, known)) if Arc::ptr_eq(file, reading) => *known,
                _ => {
                    let found = reading.is_as_opened();
                    last = Some((Arc::clone(reading), found));
                    found
                }
            };
            if !is_as_opened {
                changed(conn);
            }
        }
    }
}
