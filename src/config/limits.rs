//! The table of limits: each row is the only place where a limit gets its name, whether it can change while the server
//! runs, its default, its unit and bounds, and its flag with the help.

use std::error::Error;
use std::num::TryFromIntError;
use std::time::Duration;

use super::unit::{Quantity, Unit};

/// Makes [`Fixed`], [`Live`] and [`LIMITS`] of rows of `fixed` or `live`, `FIELD: TYPE = DEFAULT, UNIT(MIN, MAX)`, and
/// perhaps `FLAG: HELP`. The help is the first sentence of the documentation; what stands above the row continues it.
macro_rules! limits {
    ($($(#[$doc:meta])* $class:ident $field:ident: $type:ty = $default:expr,
        $unit:ident($($bound:expr),*) $(, $flag:literal: $help:literal)?;)+) => {
        limits!(@sort [] [] $({ $class [$(#[doc = concat!($help, ". `--", $flag, "`.")])? $(#[$doc])*] $field: $type = $default })+);

        /// Every limit, in the order of the help.
        pub static LIMITS: [Limit; [$(stringify!($field)),+].len()] = [$(Limit {
            field: stringify!($field),
            is_live: limits!(@is_live $class),
            unit: Unit::$unit,
            bounds: limits!(@bounds $($bound),*),
            flag: limits!(@flag $($flag, $help)?),
            get: |limits| limits.$class.$field.get(),
            set: |limits, value| limits.$class.$field.set(value),
        }),+];
    };
    (@is_live live) => { true };
    (@is_live fixed) => { false };
    (@bounds $min:expr) => { ($min, u64::MAX) };
    (@bounds $min:expr, $max:expr) => { ($min, $max) };
    (@flag) => { None };
    (@flag $flag:literal, $help:literal) => { Some(($flag, $help)) };
    (@sort [$($fixed:tt)*] [$($live:tt)*] { fixed $($row:tt)* } $($rest:tt)*) => {
        limits!(@sort [$($fixed)* { $($row)* }] [$($live)*] $($rest)*);
    };
    (@sort [$($fixed:tt)*] [$($live:tt)*] { live $($row:tt)* } $($rest:tt)*) => {
        limits!(@sort [$($fixed)*] [$($live)* { $($row)* }] $($rest)*);
    };
    (@sort [$($fixed:tt)*] [$($live:tt)*]) => {
        limits!(@struct Fixed
            "Limits that hold from the start of a server to its end: what it allocates, its threads, options of its sockets."
            $($fixed)*);
        limits!(@struct Live
            "Limits that are read where they are used, so that they may change while a server runs."
            $($live)*);
    };
    (@struct $name:ident $about:literal $({ [$(#[$doc:meta])*] $field:ident: $type:ty = $default:expr })+) => {
        #[doc = $about]
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct $name {
            $($(#[$doc])* pub $field: $type,)+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }
    };
}

const KIB: usize = 1 << 10;
/// Longest reply that takes no transfer slot, in bytes.
pub const SHORT_REPLY_BYTES: usize = 8 * KIB;
const MIB: usize = 1 << 20;

limits! {
    live request_bytes_max: u64 = 1 << 40, Bytes(0), "max-size": "Largest upload, in bytes (K, M, G, T and KiB … are powers of 1024, KB … of 1000)";
    /// Lowered at start where descriptors do not permit it.
    fixed connections_max: usize = 10_000, Count(1), "max-connections": "Connections open at once";
    /// Connections beyond `connections_max` that are kept until their first line has come, to be answered "busy" in
    /// the protocol of that line; any more are reset.
    fixed turned_away_max: usize = 64, Count(0);
    /// Time for that line.
    live turned_away_timeout: Duration = Duration::from_secs(1), Seconds(0);
    /// Uploads, listings, and downloads that cannot be sent straight from the page cache.
    fixed slots: usize = 512, Count(1), "slots": "Transfers that may hold memory at once";
    /// Uploads under way that have given their slot to a waiting request, because they are written straight to
    /// their files. Bounds the open staging files together with `slots`.
    fixed uploads_without_slot_max: usize = 512, Count(0);
    /// Also of the places in the queue for slots, and of the uploads that are kept; 100 for no bound. An IPv6 /64 is one
    /// address.
    fixed per_address_percent: u8 = 50, Percent(1, 100),
        "per-address": "Share of the connections and slots that one client address may have; 100 behind a proxy";
    /// Here a client is an address, as nothing else is known of a connection that is idle.
    live client_connections_max: usize = 0, Count(0),
        "client-connections": "Connections of one client address; 0: only --per-address";
    /// The name of a user is one that the client has proved.
    live client_uploads_max: usize = 0, Count(0),
        "client-uploads": "Uploads of one client at once; a client is a user, else an address; 0: no bound";
    /// As many may come at once.
    live client_requests_per_s: u64 = 0, Count(0), "client-requests": "Requests of one client in a second; 0: no bound";
    live client_upload_bytes_per_s: u64 = 0, Bytes(0),
        "client-upload-rate": "Bytes per second that one client may send; 0: no bound";
    live client_download_bytes_per_s: u64 = 0, Bytes(0),
        "client-download-rate": "Bytes per second that one client may receive; 0: no bound";
    /// Clients that are distinguished at a time where what each does is counted; any more are taken for one.
    fixed client_groups_max: usize = 4096, Count(0);
    /// Wrong secrets on one connection that are answered without delay.
    live wrong_secrets_free: u8 = 4, Count(0);
    /// Wrong secrets after which a connection is closed. The same number of one address in a short time, and its new
    /// connections are slowed down (see `wrong_secret_delay`), and new passwords of it are refused.
    live wrong_secrets_max: u8 = 10, Count(0);
    /// Time in which a connection is not read after a wrong secret, and between two new connections of an
    /// address that is slowed down.
    live wrong_secret_delay: Duration = Duration::from_millis(250), Seconds(0);
    /// Longest time that a new connection waits for that; one that would wait longer does not, and its requests with
    /// a secret are refused.
    live wrong_secret_wait_max: Duration = Duration::from_secs(5), Seconds(0);
    /// Time in which `wrong_secrets_max` wrong secrets of an address are forgotten, one after the other.
    live wrong_secret_memory: Duration = Duration::from_secs(60), Seconds(0);
    /// Addresses that are remembered for wrong secrets. Where there are more, IPv6 networks of one /48 count together, and
    /// those with the fewest wrong secrets are forgotten.
    fixed wrong_secret_addresses_max: usize = 4096, Count(0);
    /// Passwords that wait for the worker that checks them; one more is answered "busy" at once.
    fixed password_checks_max: usize = 32, Count(0);
    /// One more is answered "busy" at once.
    fixed slot_queue_max: usize = 4096, Count(0), "slot-queue": "Requests waiting for a slot";
    fixed chunk_bytes: usize = 64 * KIB, Bytes(1), "chunk-size": "Size of one chunk";
    /// The operations of one connection are counted in a byte.
    fixed chunks_per_slot: usize = 2, Count(1, 128), "chunks": "Chunks of one slot";
    fixed read_buffer_bytes: usize = 256 * KIB, Bytes(1), "read-buffer": "The read buffer that all connections share";
    /// A line of the line protocol must fit.
    fixed head_len_max: usize = 8 * KIB, Bytes(4096), "max-head": "Longest request head kept for a connection";
    /// Malformed requests in a row after which a connection of the line protocol is closed.
    live malformed_lines_max: u32 = 16, Count(0);
    /// Log lines about failed requests and notes that one connection may cause in a second. The others are
    /// counted, and their number is logged.
    live log_lines_per_s_max: u32 = 32, Count(0);
    /// A connection's next request is looked at only while fewer bytes of replies than this wait.
    fixed reply_bytes_max: usize = 4 * KIB, Bytes(1);
    /// Largest body thrown away after a refusal so that the connection can be used again.
    live discard_bytes_max: u64 = MIB as u64, Bytes(0);
    /// Longest message of a dialect that must see a message as a whole. One longer than a head takes a slot.
    fixed message_bytes_max: usize = MIB, Bytes(0);
    /// Most names in one page of a listing.
    fixed list_names_max: usize = 1000, Count(0);
    /// Memory in which the next names of a large directory are sorted, for each listing that reads one. Less means that
    /// the directory is read more often while its pages are asked for. Names are found by 32-bit offsets into half of it.
    fixed list_window_bytes: usize = 4 * MIB, Bytes(0, 4 << 30);
    /// Memory for sorted names that are kept for the next page while their directory does not change.
    fixed list_kept_bytes_max: usize = 8 * MIB, Bytes(0);
    fixed dirty_bytes_max: u64 = 256 << 20, Bytes(0),
        "max-dirty": "Written but not yet being flushed to the disk, all uploads together";
    fixed free_bytes_min: u64 = 0, Bytes(0),
        "min-free": "Left free on the file system; an upload that would leave less is refused";
    fixed reserved_bytes_max: u64 = 1 << 30, Bytes(0),
        "max-reserved": "Reserved on the file system ahead of what was received, all uploads together";
    /// Unfinished ones, and ended ones that may still be asked for.
    fixed uploads_kept_max: usize = 1024, Count(1), "max-uploads": "Uploads that can be resumed and are kept; beyond that the oldest complete ones are forgotten, then new ones refused";
    fixed uploads_kept_bytes_max: u64 = 1 << 40, Bytes(1),
        "max-upload-bytes": "Bytes of unfinished uploads that are kept";
    /// Uploads that one may be concatenated from. The addresses of more would not fit into a head of `head_len_max`
    /// either.
    live upload_parts_max: usize = 64, Count(0);
    fixed upload_expiry: Duration = Duration::from_secs(24 * 3600), Seconds(0),
        "upload-expiry": "Time for which an unfinished upload is kept to which nothing is added";
    /// At most twice as many are sent again after a failure.
    live upload_sync_bytes: u64 = 16 << 20, Bytes(1),
        "upload-sync": "An upload that can be resumed is made durable after this many bytes";
    live upload_sync_interval: Duration = Duration::from_secs(5), Seconds(0),
        "upload-sync-interval": "The same where few bytes come";
    live link_lifetime_max: Duration = Duration::from_secs(7 * 24 * 3600), Seconds(0),
        "max-link-time": "Longest time for which a link that a user makes on the page is valid; 0: none is made";
    /// Other programs may have changed it.
    fixed quota_count_interval: Duration = Duration::from_secs(3600), Seconds(0),
        "quota-interval": "Time after which what is stored under a prefix with a quota is counted again";
    /// The file of them grows as they are used.
    fixed digests_max: usize = MIB, Count(0), "digests": "Digests of files that are kept, at 64 bytes on the disk; 0: none";
    /// On listeners where the client speaks first (tcp(7), `TCP_DEFER_ACCEPT`); whole seconds.
    fixed accept_defer: Duration = Duration::from_secs(1), Seconds(0), "accept-defer": "How long the kernel holds a connection that has sent nothing before it hands it over; 0: not at all";
    /// Time until accepting is tried again after descriptors ran out.
    live accept_retry: Duration = Duration::from_millis(100), Seconds(1);
    /// Since its first byte.
    live head_timeout: Duration = Duration::from_secs(30), Seconds(0), "head-timeout": "Total time for a request head";
    live idle_timeout: Duration = Duration::from_secs(300), Seconds(0), "idle-timeout": "Time between requests";
    /// Or of a reply.
    live stall_timeout: Duration = Duration::from_secs(60), Seconds(0),
        "stall-timeout": "Time without a byte in the middle of a transfer";
    live slot_timeout: Duration = Duration::from_secs(30), Seconds(0), "slot-timeout": "Time to wait for a slot";
    /// After the server has closed its half.
    live linger_timeout: Duration = Duration::from_secs(2), Seconds(0),
        "linger-timeout": "Time for a client to read the last bytes";
    /// Bytes discarded in that time, as fast as an upload would be received: some clients (wget) read a refusal
    /// only once their whole body is sent.
    live linger_bytes_max: u64 = 64 << 20, Bytes(0);
    live drain_timeout: Duration = Duration::from_secs(30), Seconds(0),
        "drain-timeout": "Time for running transfers to end when the server drains";
    live handover_timeout: Duration = Duration::from_secs(6 * 3600), Seconds(0),
        "handover-timeout": "The same once another process has taken over";
    /// Requests are answered "draining".
    live drain_grace: Duration = Duration::ZERO, Seconds(0),
        "drain-grace": "Time to continue listening when the server drains";
    /// Time spent waiting for the server's own disk does not count.
    live rate_bytes_per_s_min: u64 = 50, Bytes(0), "min-rate": "Fewest bytes per second of a transfer";
    fixed rate_window: Duration = Duration::from_secs(20), Seconds(0), "rate-window": "Time over which --min-rate is averaged";
    /// Fewest bytes per second of a transfer that holds a slot while requests wait for one: the slowest below that
    /// is ended, one each `contention_interval`.
    live contention_bytes_per_s_min: u64 = 4 << 10, Bytes(0);
    /// Time that the first request in the queue waits before, and least time over which a rate is taken.
    live contention_wait: Duration = Duration::from_secs(5), Seconds(0);
    /// See `contention_bytes_per_s_min`.
    live contention_interval: Duration = Duration::from_millis(100), Seconds(1);
    /// Others of them wait for the next turn. The same number is for small requests together, before each of them may
    /// move `turn_bytes_min` only.
    fixed turn_bytes: usize = MIB, Bytes(1), "turn-bytes": "Bytes that bulk transfers together move in one turn of the loop";
    /// What uploads together may move of that while small requests are active, which wait for the turn to end.
    /// Less than the read buffer takes would cost more calls for each byte.
    fixed turn_bytes_shared: usize = 256 * KIB, Bytes(1);
    /// What the bulk transfers of one client may move in a turn while others have some as well. More would be more than a
    /// socket takes at a time, and a client with one connection would get less than one with many.
    fixed turn_bytes_client: usize = 128 * KIB, Bytes(0);
    /// What each small request may move in a turn where `turn_bytes` are spent.
    fixed turn_bytes_min: usize = 16 * KIB, Bytes(1);
    /// An upload moves no more than `turn_bytes` or `turn_bytes_shared`. At least `turn_bytes_min`.
    fixed turn_bytes_max: usize = 4 * MIB, Bytes(1), "max-turn-bytes": "Most bytes of one connection in one turn of the loop";
    /// Socket calls and requests of one connection in one turn.
    fixed turn_calls: u32 = 16, Count(0);
    /// Connections accepted from one listener in one turn.
    fixed accepts_per_turn: u32 = 64, Count(0);
    fixed send_buffer_bytes: usize = 0, Bytes(0), "send-buffer": "Kernel send buffer of a connection; 0: the system's";
    fixed recv_buffer_bytes: usize = 0, Bytes(0), "recv-buffer": "Kernel receive buffer of a connection; 0: the system's";
    /// A few connections that send large files from the page cache may have more: see `os::net`.
    fixed unsent_bytes_max: usize = 128 * KIB, Bytes(0),
        "max-unsent": "Bytes the kernel takes ahead of the network, per connection; 0: no bound";
    fixed cache_files_max: usize = 1024, Count(0), "hot-files": "Small files kept in memory while unchanged; 0: none";
    fixed cache_bytes_max: usize = 8 * MIB, Bytes(0), "hot-bytes": "Memory for them";
    /// Largest file kept in memory with its content.
    fixed cache_file_bytes_max: usize = 16 * KIB, Bytes(0);
    /// Larger ones that are kept open: each costs a descriptor.
    fixed cache_open_max: usize = 64, Count(0);
    /// Largest file that is kept open: one that was deleted takes space on the disk until that is noticed.
    fixed cache_open_bytes_max: u64 = 4 << 20, Bytes(0);
    /// Time until a kept file is read again though no change was reported.
    fixed cache_age_max: Duration = Duration::from_millis(500), Seconds(0);
    fixed io_workers: usize = 4, Count(1), "io-workers": "Disk workers that open, read, write and list";
    fixed sync_workers: usize = 5, Count(1), "sync-workers": "Disk workers that sync, rename and remove";
}

/// A limit: all that is known of it but its documentation.
#[derive(Debug)]
pub struct Limit {
    /// Its field in [`Fixed`] or [`Live`].
    pub field: &'static str,
    /// Whether it may change while a server runs.
    pub is_live: bool,
    pub unit: Unit,
    /// The least and the largest value, both included. A time is in nanoseconds: 1 stands for any but zero.
    pub bounds: (u64, u64),
    /// The name, without `--`, and the help. The command line cannot set a limit without one.
    pub flag: Option<(&'static str, &'static str)>,
    get: fn(&Limits) -> u64,
    set: fn(&mut Limits, u64) -> Result<(), TryFromIntError>,
}

impl Limit {
    /// The value, times in nanoseconds.
    pub fn value(&self, limits: &Limits) -> u64 {
        (self.get)(limits)
    }

    /// The value as [`Limit::parse`] reads it.
    pub fn shown(&self, limits: &Limits) -> String {
        self.unit.show(self.value(limits))
    }

    /// Sets the value that a text has; the error says what is wrong with the text.
    pub fn parse(&self, text: &str, limits: &mut Limits) -> Result<(), Box<dyn Error>> {
        Ok((self.set)(limits, self.unit.parse(text, self.bounds)?)?)
    }
}

/// Every bound in the program. The defaults suit a small server.
///
/// The library can set each of them; the command line those that have a flag, which is in their documentation.
///
/// ```
/// use std::time::Duration;
///
/// let limits = filewharf::Limits::default().with(|limits| {
///     limits.fixed.slots = 64;
///     limits.live.idle_timeout = Duration::from_secs(30);
/// });
/// # let dir = tempfile::tempdir()?;
/// let server = filewharf::Server::builder().root(dir.path()).listen("127.0.0.1:0").limits(limits).build()?;
/// println!("{}", server.ceiling()); // at most this many MiB
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Those that hold from the start to the end.
    pub fixed: Fixed,
    /// Those that may change meanwhile.
    pub live: Live,
}

impl Limits {
    /// These, changed.
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl Fixed {
    /// The most bytes that one connection may hold unread by its dialect.
    pub fn held_bytes_max(&self) -> usize {
        self.head_len_max.max(self.message_bytes_max)
    }

    /// What one client address may have of `of`; at least one, and without a bound where it may have all.
    pub const fn address_share(&self, of: usize) -> usize {
        let share = self.address_share_bytes(of as u64);
        if share > usize::MAX as u64 { usize::MAX } else { share as usize }
    }

    /// The same in bytes.
    pub const fn address_share_bytes(&self, of: u64) -> u64 {
        let percent = self.per_address_percent as u64;
        if percent >= 100 {
            return u64::MAX;
        }
        let share = of / 100 * percent + of % 100 * percent / 100;
        if share == 0 { 1 } else { share }
    }

    /// How many disk workers may list at once: opens and reads must find one that does not.
    pub fn list_workers(&self) -> usize {
        (self.io_workers / 2).max(1)
    }

    /// How many workers may concatenate uploads at once.
    pub fn join_workers(&self) -> usize {
        (self.sync_workers / 2).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::line::LINE_LEN_MAX;

    #[test]
    fn every_default_is_within_its_bounds_and_is_read_as_it_is_shown() {
        for limit in &LIMITS {
            let (defaults, mut limits) = (Limits::default(), Limits::default());
            assert_eq!(limit.parse(&limit.shown(&defaults), &mut limits).map_err(|why| why.to_string()), Ok(()));
            assert_eq!(limits, defaults, "{}", limit.field);
        }
        let head = LIMITS.iter().find(|limit| limit.field == "head_len_max").expect("it is there");
        assert_eq!(head.bounds.0, LINE_LEN_MAX as u64, "a line must fit into a head");
    }

    #[test]
    fn what_is_live_is_what_changes_there() {
        for limit in &LIMITS {
            let (before, mut after) = (Limits::default(), Limits::default());
            let other = limit.value(&before) ^ 1;
            (limit.set)(&mut after, other).expect("it fits");
            assert_eq!((before.live != after.live, before.fixed != after.fixed), (limit.is_live, !limit.is_live));
        }
    }
}
