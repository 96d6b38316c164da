//! Which limits a server can keep.

use crate::config::Limits;
use crate::os::process;
use crate::server::error::LimitError;
use crate::store::{MOUNT_DESCRIPTORS, MOUNTS_WRITTEN_MAX};
use crate::wire::line::LINE_LEN_MAX;

/// Descriptors that are neither connections nor transfers: listeners, log, directories, the poll, and mounts that are
/// written to.
const DESCRIPTORS_KEPT: usize = 64 + MOUNTS_WRITTEN_MAX * MOUNT_DESCRIPTORS;
/// Operations of one connection are counted in a byte.
const CHUNKS_PER_SLOT_MAX: usize = 128;
/// Names of a listing are found by 32-bit offsets into half of their memory.
const LIST_WINDOW_BYTES_MAX: usize = 4 << 30;

/// Refuses what would make the loop spin, divide by zero or forget names.
pub(super) fn check(limits: &Limits) -> Result<(), LimitError> {
    let numbers = [
        ("connections_max", limits.connections_max, 1, usize::MAX),
        ("slots", limits.slots, 1, usize::MAX),
        ("chunk_bytes", limits.chunk_bytes, 1, usize::MAX),
        ("chunks_per_slot", limits.chunks_per_slot, 1, CHUNKS_PER_SLOT_MAX),
        ("read_buffer_bytes", limits.read_buffer_bytes, 1, usize::MAX),
        ("head_len_max", limits.head_len_max, LINE_LEN_MAX, usize::MAX),
        ("reply_bytes_max", limits.reply_bytes_max, 1, usize::MAX),
        ("list_window_bytes", limits.list_window_bytes, 0, LIST_WINDOW_BYTES_MAX),
        ("turn_bytes", limits.turn_bytes, 1, usize::MAX),
        ("turn_bytes_shared", limits.turn_bytes_shared, 1, usize::MAX),
        ("turn_bytes_min", limits.turn_bytes_min, 1, usize::MAX),
        ("turn_bytes_max", limits.turn_bytes_max, limits.turn_bytes_min, usize::MAX),
        ("io_workers", limits.io_workers, 1, usize::MAX),
        ("sync_workers", limits.sync_workers, 1, usize::MAX),
        ("upload_sync_bytes", usize::try_from(limits.upload_sync_bytes).unwrap_or(usize::MAX), 1, usize::MAX),
    ];
    for (limit, value, min, max) in numbers {
        if value < min {
            return Err(LimitError::TooSmall { limit, value, min });
        }
        if value > max {
            return Err(LimitError::TooLarge { limit, value, max });
        }
    }
    let times = [("contention_interval", limits.contention_interval), ("accept_retry", limits.accept_retry)];
    match times.into_iter().find(|(_, time)| time.is_zero()) {
        Some((limit, _)) => Err(LimitError::Zero { limit }),
        None => Ok(()),
    }
}

/// Takes as many connections as the descriptors of this process permit, a quarter of them kept for open files
/// where they are few, and an eighth for connections that are turned away.
pub(super) fn fit_descriptors(limits: &mut Limits) {
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
