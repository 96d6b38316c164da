//! Which limits a server can keep.

use crate::config::unit::Unit;
use crate::config::{Fixed, LIMITS, Limits};
use crate::os::process;
use crate::reactor::OPERATOR_CONNECTIONS;
use crate::server::error::LimitError;
use crate::store::{MOUNT_DESCRIPTORS, MOUNTS_WRITTEN_MAX};

/// Descriptors that are neither connections of clients nor transfers: listeners, log, directories, the poll, and mounts that are
/// written to.
const DESCRIPTORS_KEPT: usize = 64 + OPERATOR_CONNECTIONS + MOUNTS_WRITTEN_MAX * MOUNT_DESCRIPTORS;
/// Refuses what would make the loop spin, divide by zero or forget names.
pub(super) fn check(limits: &Limits) -> Result<(), LimitError> {
    let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    for row in &LIMITS {
        let (limit, value, (min, max)) = (row.field, row.value(limits), row.bounds);
        if row.unit == Unit::Seconds && value < min {
            return Err(LimitError::Zero { limit });
        }
        if value < min {
            return Err(LimitError::TooSmall { limit, value: number(value), min: number(min) });
        }
        if value > max {
            return Err(LimitError::TooLarge { limit, value: number(value), max: number(max) });
        }
    }
    let Fixed { turn_bytes_min: min, turn_bytes_max: value, .. } = limits.fixed;
    if value < min { Err(LimitError::TooSmall { limit: "turn_bytes_max", value, min }) } else { Ok(()) }
}

/// Takes as many connections as the descriptors of this process permit, a quarter of them kept for open files
/// where they are few, and an eighth for connections that are turned away.
pub(super) fn fit_descriptors(limits: &mut Fixed) {
    let limit = process::raise_descriptor_limit();
    // Where there are very few, most of them must still be left for clients.
    let descriptors = limit - DESCRIPTORS_KEPT.min(limit / 2);
    let kept = if limits.cache_files_max > 0 { limits.cache_open_max } else { 0 };
    let uploads = limits.slots.saturating_add(limits.uploads_without_slot_max);
    let files = uploads.saturating_add(kept).min(descriptors / 4);
    limits.turned_away_max = limits.turned_away_max.min(descriptors / 8);
    let permitted = descriptors.saturating_sub(files + limits.turned_away_max).max(1);
    if permitted < limits.connections_max {
        log::warn!(
            "{} connections need more descriptors than the {descriptors} there are: taking at most {permitted}",
            limits.connections_max
        );
    }
    limits.connections_max = limits.connections_max.min(permitted);
}
