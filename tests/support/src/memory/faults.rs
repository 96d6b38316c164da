//! What may go wrong in a run, how often, and how small everything is: drawn once per seed. Many
//! probabilities are zero, so that runs differ in kind and not only in luck.

use std::time::Duration;

use filewharf::config::Limits;
use filewharf::object::Durability;

use crate::memory::rng::Rng;

/// Probabilities in permille per occasion.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    // The network.
    // covers: short-calls
    pub partial: u64,
    pub interrupted: u64,
    // covers: spurious-events
    pub spurious_event: u64,
    // covers: spurious-events
    pub stale_event: u64,
    // covers: spurious-events
    pub late_event: u64,
    // covers: accept-errors
    pub accept_gone: u64,
    pub register_fails: u64,
    // The peers.
    // covers: reset-in-upload
    pub peer_reset: u64,
    // covers: stream-ends-in-upload
    pub peer_end: u64,
    pub peer_stall: u64,
    pub peer_hostile: u64,
    // The disk.
    pub no_space: u64,
    // covers: write-fails
    pub io_error: u64,
    // covers: file-sync-fails
    pub sync_error: u64,
    pub cold: u64,
    pub held: u64,
    pub lags: u64,
    pub slow_op: u64,
    pub truncated: u64,
    // The process.
    pub clock_jump: u64,
}

impl Faults {
    /// A swarm member: each fault is absent in about half of all runs.
    pub fn draw(rng: &mut Rng) -> Self {
        let mut some = |most: u64| if rng.chance(500) { 0 } else { rng.range(1..=most) };
        Self {
            partial: some(900),
            interrupted: some(50),
            spurious_event: some(100),
            stale_event: some(300),
            late_event: some(700),
            accept_gone: some(100),
            register_fails: some(30),
            peer_reset: some(40),
            peer_end: some(40),
            peer_stall: some(40),
            peer_hostile: some(200),
            no_space: some(60),
            io_error: some(30),
            sync_error: some(30),
            cold: some(500),
            held: some(500),
            lags: some(300),
            slow_op: some(60),
            truncated: some(10),
            clock_jump: some(6),
        }
    }

    /// Nothing goes wrong any more; the world stays slow and small.
    pub fn calm(&self) -> Self {
        Self { partial: self.partial, cold: self.cold, held: self.held, lags: self.lags, ..Self::default() }
    }
}

/// The shape of one world.
#[derive(Clone, Debug)]
pub struct Shape {
    pub limits: Limits,
    pub durability: Durability,
    pub clients: u64,
    /// Most bytes that one `send_file` moves.
    pub send_file_max: usize,
    /// Descriptors for connections.
    pub descriptors: usize,
    pub backlog: usize,
    /// Bytes that a socket buffers in one direction.
    pub window: usize,
    pub flush_window: Option<u64>,
    /// Longest ordinary operation of the disk.
    pub disk_us: u64,
    /// Largest upload.
    pub content_max: u64,
    /// Longest pause of a client between two pieces.
    pub pace_us: u64,
    /// Directory operations survive a crash in any combination, not in order.
    pub posix: bool,
    pub crashes: u64,
    pub signals: u64,
    pub calm_at_us: u64,
    pub calm_at_turn: u64,
}

impl Shape {
    /// A world without bounds, in which everything is done at once.
    pub fn plain(window: usize) -> Self {
        Self {
            limits: Limits::default(),
            durability: Durability::Durable,
            clients: 0,
            send_file_max: usize::MAX,
            descriptors: usize::MAX,
            backlog: usize::MAX,
            window,
            flush_window: Some(5),
            disk_us: 0,
            content_max: 0,
            pace_us: 0,
            posix: false,
            crashes: 0,
            signals: 0,
            calm_at_us: 0,
            calm_at_turn: 0,
        }
    }

    pub fn draw(rng: &mut Rng) -> Self {
        let chunk_bytes = *rng.pick(&[16, 64, 256, 4096, 65_536, 65_536]);
        // Where clients have limits, one request of a connection is done after the other.
        let is_limited = rng.chance(500);
        let turn_bytes_min = *rng.pick(&[1, 64, 4096]);
        let seconds = |rng: &mut Rng, from, to| Duration::from_secs(rng.range(from..=to));
        let limits = Limits::default().with(|l| {
            l.fixed.connections_max = rng.range(2..=24) as usize;
            l.fixed.slots = rng.range(1..=6) as usize;
            l.fixed.uploads_without_slot_max = rng.range(0..=3) as usize;
            l.fixed.per_address_percent = *rng.pick(&[50, 100]);
            l.fixed.slot_queue_max = rng.range(0..=8) as usize;
            l.fixed.chunk_bytes = chunk_bytes;
            l.fixed.chunks_per_slot = rng.range(1..=3) as usize;
            l.fixed.read_buffer_bytes = *rng.pick(&[1, 32, 512, 8192]);
            l.fixed.head_len_max = 8 * 1024;
            l.fixed.reply_bytes_max = *rng.pick(&[1, 64, 4096]);
            l.live.request_bytes_max = 1 << 20;
            l.live.discard_bytes_max = *rng.pick(&[0, 100, 5000, 1 << 20]);
            l.fixed.message_bytes_max = 16 * 1024;
            l.fixed.list_names_max = *rng.pick(&[2, 5, 1000]);
            l.fixed.turn_bytes = *rng.pick(&[64, 4096, 65_536]);
            l.fixed.turn_bytes_shared = turn_bytes_min;
            l.fixed.turn_bytes_min = turn_bytes_min;
            l.fixed.turn_bytes_client = *rng.pick(&[1, 64, 4096]);
            l.fixed.client_groups_max = *rng.pick(&[1, 2, 100]);
            l.live.client_uploads_max = if is_limited { *rng.pick(&[0, 0, 1, 5]) } else { 0 };
            l.live.client_requests_per_s = if is_limited { *rng.pick(&[0, 0, 10, 100]) } else { 0 };
            l.live.client_upload_bytes_per_s = if is_limited { *rng.pick(&[0, 0, 2000, 1 << 20]) } else { 0 };
            l.live.client_download_bytes_per_s = if is_limited { *rng.pick(&[0, 0, 2000, 1 << 20]) } else { 0 };
            l.fixed.turn_bytes_max = turn_bytes_min.max(*rng.pick(&[16, 200, 8192]));
            l.fixed.turn_calls = *rng.pick(&[1, 2, 3, 16]);
            l.fixed.accepts_per_turn = *rng.pick(&[1, 2, 64]);
            l.live.head_timeout = seconds(rng, 5, 30);
            l.live.idle_timeout = seconds(rng, 5, 300);
            l.live.stall_timeout = seconds(rng, 5, 60);
            l.live.slot_timeout = seconds(rng, 1, 30);
            l.live.linger_timeout = seconds(rng, 1, 3);
            l.live.linger_bytes_max = *rng.pick(&[0, 100, 1 << 20]);
            l.fixed.rate_window = seconds(rng, 5, 20);
            l.live.drain_timeout = seconds(rng, 1, 30);
            l.live.handover_timeout = seconds(rng, 1, 60);
            l.live.drain_grace = seconds(rng, 0, 2);
            l.live.upload_sync_bytes = *rng.pick(&[1, 50, 1000, 1 << 20]);
            l.live.upload_sync_interval = seconds(rng, 1, 5);
        });
        let window = *rng.pick(&[1, 7, 100, 3000, 65_536]);
        // Byte by byte a long file takes more turns than it is worth.
        let content_max = if window < 100 || turn_bytes_min < 64 { 999 } else { 9000 };
        Self {
            limits,
            durability: if rng.chance(850) { Durability::Durable } else { Durability::Written },
            clients: rng.range(2..=10),
            send_file_max: 4096,
            descriptors: rng.range(2..=24) as usize,
            backlog: rng.range(1..=8) as usize,
            window,
            flush_window: *rng.pick(&[None, Some(1), Some(50), Some(5000)]),
            disk_us: *rng.pick(&[1, 200, 20_000]),
            content_max: *rng.pick(&[99, 999, content_max]),
            pace_us: *rng.pick(&[1, 300, 20_000, 2_000_000]),
            posix: rng.chance(500),
            crashes: if rng.chance(500) { 0 } else { rng.range(1..=4) },
            signals: if rng.chance(600) { 0 } else { rng.range(1..=2) },
            calm_at_us: rng.range(1..=400) * 1_000_000,
            calm_at_turn: rng.range(200..=1200),
        }
    }
}
