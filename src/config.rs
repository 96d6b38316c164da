//! Every bound of the program, in one place, with its unit in its name.
//!
//! Nothing here reads a file or an argument: `cli` and the builder fill it in.
#![warn(missing_docs)]

use std::fmt;
use std::time::Duration;

use crate::command::Command;
use crate::error::Failure;
use crate::object::Durability;

/// Every bound in the program. The defaults suit a small server; each has a flag and can be set
/// on the builder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at once. Lowered at start where descriptors do not permit it.
    pub connections_max: usize,
    /// Connections beyond `connections_max` that are kept until their first line has come, to be told "busy" in
    /// the protocol of that line; any more are reset.
    pub turned_away_max: usize,
    /// Time for that line.
    pub turned_away_timeout: Duration,
    /// What one client address may have of the connections, and of the slots and of the places in their queue,
    /// in percent; 100 for no bound. An IPv6 /64 is one address.
    pub per_address_percent: u8,
    /// Wrong secrets on one connection that are answered without delay.
    pub wrong_secrets_free: u8,
    /// Wrong secrets after which a connection is closed, and its address is slowed down: see `wrong_secret_delay`.
    pub wrong_secrets_max: u8,
    /// Time in which a connection is not read after a wrong secret, and between two new connections of an
    /// address that is slowed down.
    pub wrong_secret_delay: Duration,
    /// Longest time that a new connection waits for that; one that would wait longer is turned away.
    pub wrong_secret_wait_max: Duration,
    /// Time without a wrong secret after which an address is not slowed down any more.
    pub wrong_secret_memory: Duration,
    /// Addresses that are remembered for wrong secrets; any more are taken for one address.
    pub wrong_secret_addresses_max: usize,
    /// Transfers that may hold memory at once: uploads, listings, and downloads that cannot be
    /// sent straight from the page cache.
    pub slots: usize,
    /// Requests waiting for a slot; one more is told "busy" at once.
    pub slot_queue_max: usize,
    /// Size of one chunk, in bytes.
    pub chunk_bytes: usize,
    /// Chunks per slot.
    pub chunks_per_slot: usize,
    /// The one buffer that every connection reads through, in bytes.
    pub read_buffer_bytes: usize,
    /// Longest request head kept for one connection, in bytes.
    pub head_len_max: usize,
    /// Malformed requests in a row after which a connection of the line protocol is closed.
    pub malformed_lines_max: u32,
    /// Log lines about failed requests and notes that one connection may cause in a second. The others are
    /// counted, and their number is logged.
    pub log_lines_per_s_max: u32,
    /// A connection's next request is looked at only while fewer bytes of replies than this wait.
    pub reply_bytes_max: usize,
    /// Largest upload, in bytes.
    pub request_bytes_max: u64,
    /// Largest body thrown away after a refusal so that the conversation can go on, in bytes.
    pub discard_bytes_max: u64,
    /// Longest message of a dialect that must see a message as a whole, in bytes. One longer than
    /// a head takes a slot.
    pub message_bytes_max: usize,
    /// Most names in one page of a listing.
    pub list_names_max: usize,
    /// Memory in which the next names of a large directory are sorted, in bytes, for each listing that reads
    /// one. Less means that the directory is read more often while its pages are asked for.
    pub list_window_bytes: usize,
    /// Memory for sorted names that are kept for the next page while their directory does not change, in
    /// bytes.
    pub list_kept_bytes_max: usize,
    /// Bytes that may be written and not yet on their way to the disk, all uploads together.
    pub dirty_bytes_max: u64,
    /// Bytes that uploads leave free on the file system: one that would leave fewer is refused.
    pub free_bytes_min: u64,
    /// Bytes that may be reserved on the file system ahead of what has been received, all uploads together.
    pub reserved_bytes_max: u64,
    /// Bytes moved in one turn by bulk transfers together before others of them wait for the next; the same
    /// by small requests, before each of them may move `turn_bytes_min` only.
    pub turn_bytes: usize,
    /// What uploads together may move of that while small requests are about, which wait for the turn to end.
    /// Less than the read buffer takes would cost more calls for each byte.
    pub turn_bytes_shared: usize,
    /// What each small request may move in a turn where `turn_bytes` are spent.
    pub turn_bytes_min: usize,
    /// Most that one connection may move in a turn; an upload moves no more than `turn_bytes` or
    /// `turn_bytes_shared`.
    pub turn_bytes_max: usize,
    /// Socket calls and requests of one connection in one turn.
    pub turn_calls: u32,
    /// Connections accepted from one listener in one turn.
    pub accepts_per_turn: u32,
    /// Total time for a head once its first byte came.
    pub head_timeout: Duration,
    /// Time between requests.
    pub idle_timeout: Duration,
    /// Time without a single byte in the middle of a transfer or a reply.
    pub stall_timeout: Duration,
    /// Time to wait for a slot.
    pub slot_timeout: Duration,
    /// Time for the peer to read our last bytes after we closed our half.
    pub linger_timeout: Duration,
    /// Bytes discarded while lingering, as fast as an upload would be received: some clients (wget) read a refusal
    /// only once their whole body is sent.
    pub linger_bytes_max: u64,
    /// Fewest bytes per second a transfer must move, averaged over `rate_window`. Time spent
    /// waiting for our own disk does not count.
    pub rate_bytes_per_s_min: u64,
    /// See `rate_bytes_per_s_min`.
    pub rate_window: Duration,
    /// Fewest bytes per second of a transfer that holds a slot while requests wait for one: the slowest below that
    /// is ended, one each `contention_interval`.
    pub contention_bytes_per_s_min: u64,
    /// Time that the first request in line waits before, and least time over which a rate is taken.
    pub contention_wait: Duration,
    /// See `contention_bytes_per_s_min`.
    pub contention_interval: Duration,
    /// Time for running transfers to end after a drain began.
    pub drain_timeout: Duration,
    /// Time to go on listening after a drain began, answering "draining".
    pub drain_grace: Duration,
    /// How long the kernel holds a connection that has sent nothing before it hands it over, on listeners where
    /// the client speaks first (tcp(7), `TCP_DEFER_ACCEPT`); whole seconds, 0 for not at all.
    pub accept_defer: Duration,
    /// Time until accepting is tried again after descriptors ran out.
    pub accept_retry: Duration,
    /// Kernel send buffer of one connection, in bytes; 0 leaves it to the kernel.
    pub send_buffer_bytes: usize,
    /// Kernel receive buffer of one connection, in bytes; 0 leaves it to the kernel.
    pub recv_buffer_bytes: usize,
    /// Bytes the kernel takes ahead of what the network has sent, per connection; 0 for no bound.
    /// A few connections that send large files from the page cache may have more: see `os::net`.
    pub unsent_bytes_max: usize,
    /// Small files that are kept while they are known to be fresh; 0 keeps none.
    pub cache_files_max: usize,
    /// Memory for their content, in bytes.
    pub cache_bytes_max: usize,
    /// Largest file whose content is kept in memory, in bytes.
    pub cache_file_bytes_max: usize,
    /// Larger ones that are kept open: each costs a descriptor.
    pub cache_open_max: usize,
    /// Largest file that is kept open, in bytes: one that was deleted takes room on the disk until
    /// that is noticed.
    pub cache_open_bytes_max: u64,
    /// Time until a kept file is read again though nothing was told of a change.
    pub cache_age_max: Duration,
    /// Disk workers that open, read, write and list.
    pub io_workers: usize,
    /// Disk workers that sync, rename and remove.
    pub sync_workers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            wrong_secrets_free: 4,
            wrong_secrets_max: 10,
            wrong_secret_delay: Duration::from_millis(250),
            wrong_secret_wait_max: Duration::from_secs(5),
            wrong_secret_memory: Duration::from_secs(60),
            wrong_secret_addresses_max: 4096,
            per_address_percent: 50,
            turned_away_max: 64,
            turned_away_timeout: Duration::from_secs(1),
            slots: 512,
            slot_queue_max: 4096,
            chunk_bytes: 64 * 1024,
            chunks_per_slot: 2,
            read_buffer_bytes: 256 * 1024,
            head_len_max: 8 * 1024,
            malformed_lines_max: 16,
            log_lines_per_s_max: 32,
            reply_bytes_max: 4 * 1024,
            request_bytes_max: 1 << 40,
            discard_bytes_max: 1024 * 1024,
            message_bytes_max: 1024 * 1024,
            list_names_max: 1000,
            list_window_bytes: 4 * 1024 * 1024,
            list_kept_bytes_max: 8 * 1024 * 1024,
            dirty_bytes_max: 256 * 1024 * 1024,
            free_bytes_min: 0,
            reserved_bytes_max: 1024 * 1024 * 1024,
            turn_bytes: 1024 * 1024,
            turn_bytes_shared: 256 * 1024,
            turn_bytes_min: 16 * 1024,
            turn_bytes_max: 4 * 1024 * 1024,
            turn_calls: 16,
            accepts_per_turn: 64,
            head_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(300),
            stall_timeout: Duration::from_secs(60),
            slot_timeout: Duration::from_secs(30),
            linger_timeout: Duration::from_secs(2),
            linger_bytes_max: 64 * 1024 * 1024,
            rate_bytes_per_s_min: 50,
            rate_window: Duration::from_secs(20),
            contention_bytes_per_s_min: 4 * 1024,
            contention_wait: Duration::from_secs(5),
            contention_interval: Duration::from_millis(100),
            drain_timeout: Duration::from_secs(30),
            drain_grace: Duration::ZERO,
            accept_defer: Duration::from_secs(1),
            accept_retry: Duration::from_millis(100),
            send_buffer_bytes: 0,
            recv_buffer_bytes: 0,
            unsent_bytes_max: 128 * 1024,
            cache_files_max: 1024,
            cache_bytes_max: 8 * 1024 * 1024,
            cache_file_bytes_max: 16 * 1024,
            cache_open_max: 64,
            cache_open_bytes_max: 4 * 1024 * 1024,
            cache_age_max: Duration::from_millis(500),
            io_workers: 4,
            sync_workers: 5,
        }
    }
}

impl Limits {
    /// The most bytes that one connection may hold unread by its dialect.
    pub fn held_bytes_max(&self) -> usize {
        self.head_len_max.max(self.message_bytes_max)
    }

    /// How many disk workers may list at once: opens and reads must find one that does not.
    pub fn list_workers(&self) -> usize {
        (self.io_workers / 2).max(1)
    }
}

/// How the store keeps files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// What `OK` promises.
    pub durability: Durability,
    /// Refuse every change; nothing is written beneath the root, not even a staging directory.
    pub read_only: bool,
    /// Follow symbolic links that stay beneath the root when reading.
    pub links_inside: bool,
    /// Permission bits of new files instead of 0666 less the umask.
    pub file_mode: Option<u32>,
    /// Use only calls that every unix has.
    pub portable: bool,
    /// Other servers, all of them with this set, may serve the root as well. Else the root is locked.
    pub shared: bool,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            durability: Durability::Durable,
            read_only: false,
            links_inside: false,
            file_mode: None,
            portable: false,
            shared: false,
        }
    }
}

/// Who may do what, decided in one place before any command reaches the store.
#[derive(Clone, Default)]
pub struct Access {
    secret: Option<Box<[u8]>>,
    read_only: bool,
}

impl Access {
    /// `secret`: asked of every client of a dialect that can carry one. `read_only`: no change is
    /// accepted.
    pub fn new(secret: Option<Vec<u8>>, read_only: bool) -> Self {
        Self { secret: secret.map(Vec::into_boxed_slice), read_only }
    }

    /// Must a client show a secret?
    pub const fn needs_secret(&self) -> bool {
        self.secret.is_some()
    }

    /// Is this the secret? Takes the same time wherever the first difference is.
    pub fn admits(&self, offered: &[u8]) -> bool {
        self.secret.as_ref().is_none_or(|secret| bool::from(subtle::ConstantTimeEq::ct_eq(&**secret, offered)))
    }

    /// Is every change refused?
    pub const fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// May this command run at all?
    pub fn permits(&self, command: &Command) -> Result<(), Failure> {
        if self.read_only && command.is_change() {
            return Err(Failure::Denied("this server is read-only"));
        }
        Ok(())
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The secret itself must never reach a log.
        f.debug_struct("Access")
            .field("needs_secret", &self.needs_secret())
            .field("read_only", &self.read_only)
            .finish()
    }
}
