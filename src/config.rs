//! Every bound of the program, in one place, with its unit in its name.
//!
//! Nothing here reads a file or an argument: `cli` and the builder fill it in.
#![warn(missing_docs)]

mod networks;

use std::path::PathBuf;
use std::time::Duration;

use crate::object::Durability;

pub use networks::{NetworkError, Networks};

/// Makes [`Limits`] of rows of `FIELD: TYPE = DEFAULT`.
macro_rules! limits {
    ($($(#[$doc:meta])* $field:ident: $type:ty = $default:expr,)+) => {
        /// Every bound in the program. The defaults suit a small server.
        ///
        /// The library can set each of them; the command line those that do not say "No flag".
        ///
        /// ```
        /// use std::time::Duration;
        ///
        /// let limits = filewharf::Limits::default().with(|limits| {
        ///     limits.slots = 64;
        ///     limits.idle_timeout = Duration::from_secs(30);
        /// });
        /// # let dir = tempfile::tempdir()?;
        /// let server = filewharf::Server::builder().root(dir.path()).listen("127.0.0.1:0").limits(limits).build()?;
        /// println!("{}", server.ceiling()); // at most so many MiB
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Limits {
            $($(#[$doc])* pub $field: $type,)+
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }
    };
}

limits! {
    /// Connections open at once. Lowered at start where descriptors do not permit it.
    connections_max: usize = 10_000,
    /// Connections beyond `connections_max` that are kept until their first line has come, to be told "busy" in
    /// the protocol of that line; any more are reset. No flag.
    turned_away_max: usize = 64,
    /// Time for that line. No flag.
    turned_away_timeout: Duration = Duration::from_secs(1),
    /// What one client address may have of the connections, and of the slots and of the places in their queue,
    /// in percent; 100 for no bound. An IPv6 /64 is one address.
    per_address_percent: u8 = 50,
    /// Connections that one client may have, where that is less than its share; 0 for no such bound. Here a client is an
    /// address, as nothing else is known of a connection that is idle.
    client_connections_max: usize = 0,
    /// Uploads that one client may have under way; 0 for no bound. A client is the name that it proved, else its
    /// address.
    client_uploads_max: usize = 0,
    /// Requests of one client in a second; 0 for no bound. As many may come at once.
    client_requests_per_s: u64 = 0,
    /// Bytes that are received of one client in a second; 0 for no bound.
    client_upload_bytes_per_s: u64 = 0,
    /// Bytes that are sent to one client in a second; 0 for no bound.
    client_download_bytes_per_s: u64 = 0,
    /// Clients that are told apart at a time where what each does is counted; any more are taken for one. No flag.
    client_groups_max: usize = 4096,
    /// Wrong secrets on one connection that are answered without delay. No flag.
    wrong_secrets_free: u8 = 4,
    /// Wrong secrets after which a connection is closed. So many of one address in a short time, and its new
    /// connections are slowed down (see `wrong_secret_delay`), and new passwords of it are refused. No flag.
    wrong_secrets_max: u8 = 10,
    /// Time in which a connection is not read after a wrong secret, and between two new connections of an
    /// address that is slowed down. No flag.
    wrong_secret_delay: Duration = Duration::from_millis(250),
    /// Longest time that a new connection waits for that; one that would wait longer does not, and its requests with
    /// a secret are refused. No flag.
    wrong_secret_wait_max: Duration = Duration::from_secs(5),
    /// Time in which `wrong_secrets_max` wrong secrets of an address are forgotten, one after the other. No flag.
    wrong_secret_memory: Duration = Duration::from_secs(60),
    /// Addresses that are remembered for wrong secrets. Where there are more, IPv6 networks of one /48 count together, and
    /// those with the fewest wrong secrets are forgotten. No flag.
    wrong_secret_addresses_max: usize = 4096,
    /// Passwords that wait for the worker that checks them; one more is told "busy" at once. No flag.
    password_checks_max: usize = 32,
    /// Transfers that may hold memory at once: uploads, listings, and downloads that cannot be
    /// sent straight from the page cache.
    slots: usize = 512,
    /// Uploads under way that have given their slot to a waiting request, because they are written straight to
    /// their files. Bounds the open staging files together with `slots`. No flag.
    uploads_without_slot_max: usize = 512,
    /// Requests waiting for a slot; one more is told "busy" at once.
    slot_queue_max: usize = 4096,
    /// Size of one chunk, in bytes.
    chunk_bytes: usize = 64 * 1024,
    /// Chunks per slot.
    chunks_per_slot: usize = 2,
    /// The one buffer that every connection reads through, in bytes.
    read_buffer_bytes: usize = 256 * 1024,
    /// Longest request head kept for one connection, in bytes.
    head_len_max: usize = 8 * 1024,
    /// Malformed requests in a row after which a connection of the line protocol is closed. No flag.
    malformed_lines_max: u32 = 16,
    /// Log lines about failed requests and notes that one connection may cause in a second. The others are
    /// counted, and their number is logged. No flag.
    log_lines_per_s_max: u32 = 32,
    /// A connection's next request is looked at only while fewer bytes of replies than this wait. No flag.
    reply_bytes_max: usize = 4 * 1024,
    /// Largest upload, in bytes.
    request_bytes_max: u64 = 1 << 40,
    /// Largest body thrown away after a refusal so that the conversation can go on, in bytes. No flag.
    discard_bytes_max: u64 = 1024 * 1024,
    /// Longest message of a dialect that must see a message as a whole, in bytes. One longer than
    /// a head takes a slot. No flag.
    message_bytes_max: usize = 1024 * 1024,
    /// Most names in one page of a listing. No flag.
    list_names_max: usize = 1000,
    /// Memory in which the next names of a large directory are sorted, in bytes, for each listing that reads
    /// one. Less means that the directory is read more often while its pages are asked for. No flag.
    list_window_bytes: usize = 4 * 1024 * 1024,
    /// Memory for sorted names that are kept for the next page while their directory does not change, in
    /// bytes. No flag.
    list_kept_bytes_max: usize = 8 * 1024 * 1024,
    /// Bytes that may be written and not yet on their way to the disk, all uploads together.
    dirty_bytes_max: u64 = 256 * 1024 * 1024,
    /// Bytes that uploads leave free on the file system: one that would leave fewer is refused.
    free_bytes_min: u64 = 0,
    /// Bytes that may be reserved on the file system ahead of what has been received, all uploads together.
    reserved_bytes_max: u64 = 1024 * 1024 * 1024,
    /// Bytes moved in one turn by bulk transfers together before others of them wait for the next; the same
    /// by small requests, before each of them may move `turn_bytes_min` only.
    turn_bytes: usize = 1024 * 1024,
    /// What uploads together may move of that while small requests are about, which wait for the turn to end.
    /// Less than the read buffer takes would cost more calls for each byte. No flag.
    turn_bytes_shared: usize = 256 * 1024,
    /// What the bulk transfers of one client may move in a turn while others have some as well. More would be more than a
    /// socket takes at a time, and a client with one connection would get less than one with many. No flag.
    turn_bytes_client: usize = 128 * 1024,
    /// What each small request may move in a turn where `turn_bytes` are spent. No flag.
    turn_bytes_min: usize = 16 * 1024,
    /// Most that one connection may move in a turn; an upload moves no more than `turn_bytes` or
    /// `turn_bytes_shared`.
    turn_bytes_max: usize = 4 * 1024 * 1024,
    /// Socket calls and requests of one connection in one turn. No flag.
    turn_calls: u32 = 16,
    /// Connections accepted from one listener in one turn. No flag.
    accepts_per_turn: u32 = 64,
    /// Total time for a head once its first byte came.
    head_timeout: Duration = Duration::from_secs(30),
    /// Time between requests.
    idle_timeout: Duration = Duration::from_secs(300),
    /// Time without a single byte in the middle of a transfer or a reply.
    stall_timeout: Duration = Duration::from_secs(60),
    /// Time to wait for a slot.
    slot_timeout: Duration = Duration::from_secs(30),
    /// Time for the peer to read our last bytes after we closed our half.
    linger_timeout: Duration = Duration::from_secs(2),
    /// Bytes discarded while lingering, as fast as an upload would be received: some clients (wget) read a refusal
    /// only once their whole body is sent. No flag.
    linger_bytes_max: u64 = 64 * 1024 * 1024,
    /// Fewest bytes per second a transfer must move, averaged over `rate_window`. Time spent
    /// waiting for our own disk does not count.
    rate_bytes_per_s_min: u64 = 50,
    /// See `rate_bytes_per_s_min`.
    rate_window: Duration = Duration::from_secs(20),
    /// Fewest bytes per second of a transfer that holds a slot while requests wait for one: the slowest below that
    /// is ended, one each `contention_interval`. No flag.
    contention_bytes_per_s_min: u64 = 4 * 1024,
    /// Time that the first request in line waits before, and least time over which a rate is taken. No flag.
    contention_wait: Duration = Duration::from_secs(5),
    /// See `contention_bytes_per_s_min`. No flag.
    contention_interval: Duration = Duration::from_millis(100),
    /// Time for running transfers to end after a drain began.
    drain_timeout: Duration = Duration::from_secs(30),
    /// Time to go on listening after a drain began, answering "draining".
    drain_grace: Duration = Duration::ZERO,
    /// How long the kernel holds a connection that has sent nothing before it hands it over, on listeners where
    /// the client speaks first (tcp(7), `TCP_DEFER_ACCEPT`); whole seconds, 0 for not at all.
    accept_defer: Duration = Duration::from_secs(1),
    /// Time until accepting is tried again after descriptors ran out. No flag.
    accept_retry: Duration = Duration::from_millis(100),
    /// Uploads that can be resumed and that are kept, unfinished ones and those whose end may still be asked for.
    uploads_kept_max: usize = 1024,
    /// Bytes of unfinished uploads that are kept.
    uploads_kept_bytes_max: u64 = 1 << 40,
    /// Uploads that one may be joined from. The addresses of more would not fit into a head of `head_len_max`
    /// either. No flag.
    upload_parts_max: usize = 64,
    /// Time for which an upload is kept to which nothing is added.
    upload_expiry: Duration = Duration::from_secs(24 * 3600),
    /// Bytes of an upload that can be resumed after which what was received is made durable: at most twice as many
    /// are sent again after a failure.
    upload_sync_bytes: u64 = 16 * 1024 * 1024,
    /// The same in time, where few bytes come.
    upload_sync_interval: Duration = Duration::from_secs(5),
    /// Longest time for which a signed link that a caller asks for is valid; 0: none is made.
    link_lifetime_max: Duration = Duration::from_secs(7 * 24 * 3600),
    /// Time after which what is stored beneath a prefix with a quota is counted again, because other programs may have
    /// changed it.
    quota_count_interval: Duration = Duration::from_secs(3600),
    /// Digests that are kept with files, on the disk: 64 bytes each, in a file that grows as they are used; 0 keeps none.
    digests_max: usize = 1 << 20,
    /// Kernel send buffer of one connection, in bytes; 0 leaves it to the kernel.
    send_buffer_bytes: usize = 0,
    /// Kernel receive buffer of one connection, in bytes; 0 leaves it to the kernel.
    recv_buffer_bytes: usize = 0,
    /// Bytes the kernel takes ahead of what the network has sent, per connection; 0 for no bound.
    /// A few connections that send large files from the page cache may have more: see `os::net`.
    unsent_bytes_max: usize = 128 * 1024,
    /// Small files that are kept while they are known to be fresh; 0 keeps none.
    cache_files_max: usize = 1024,
    /// Memory for their content, in bytes.
    cache_bytes_max: usize = 8 * 1024 * 1024,
    /// Largest file kept in memory with its content, in bytes. No flag.
    cache_file_bytes_max: usize = 16 * 1024,
    /// Larger ones that are kept open: each costs a descriptor. No flag.
    cache_open_max: usize = 64,
    /// Largest file that is kept open, in bytes: one that was deleted takes room on the disk until
    /// that is noticed. No flag.
    cache_open_bytes_max: u64 = 4 * 1024 * 1024,
    /// Time until a kept file is read again though nothing was told of a change. No flag.
    cache_age_max: Duration = Duration::from_millis(500),
    /// Disk workers that open, read, write and list.
    io_workers: usize = 4,
    /// Disk workers that sync, rename and remove.
    sync_workers: usize = 5,
}

impl Limits {
    /// These, changed.
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

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

    /// How many workers may join uploads at once.
    pub fn join_workers(&self) -> usize {
        (self.sync_workers / 2).max(1)
    }
}

/// What a server shows the clients of its listeners with TLS, in PEM files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Its certificate, and behind it those of the authorities in between.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// The authorities of the certificates that clients may show.
    pub client_ca: Option<PathBuf>,
    /// Instead of a certificate and a key: the folder of those that the server makes itself.
    pub self_signed: Option<PathBuf>,
    /// Names and addresses that such a certificate is for, besides those that the server knows itself by.
    pub names: Vec<String>,
}

/// How much may be stored under a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// A path without the first `/`; empty for all of the served directory.
    pub prefix: Box<str>,
    pub unit: QuotaUnit,
    /// All files beneath it together.
    pub max: u64,
}

/// What a quota counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum QuotaUnit {
    Bytes,
    /// The names of files.
    Names,
}

impl QuotaUnit {
    /// What a file of this length counts, or a name that has none.
    pub fn of(self, len: Option<u64>) -> u64 {
        match self {
            Self::Bytes => len.unwrap_or(0),
            Self::Names => len.is_some().into(),
        }
    }

    pub const fn word(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Names => "names",
        }
    }
}

impl TlsFiles {
    /// The certificate that was given, or else the server's own.
    pub fn certificate_path(&self) -> Option<PathBuf> {
        self.certificate.clone().or_else(|| Some(self.self_signed.as_ref()?.join(Self::CERTIFICATE_NAME)))
    }

    /// The key that was given, or else the server's own.
    pub fn key_path(&self) -> Option<PathBuf> {
        self.key.clone().or_else(|| Some(self.self_signed.as_ref()?.join(Self::KEY_NAME)))
    }

    /// In the folder of those that the server makes itself.
    pub const CERTIFICATE_NAME: &str = "cert.pem";
    /// The same.
    pub const KEY_NAME: &str = "key.pem";
}

/// Whether a server gives up the rights that it does not need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SandboxMode {
    /// It keeps them.
    #[default]
    Off,
    /// It gives up what the system lets it give up.
    Auto,
    /// It gives them up, or does not start.
    Require,
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
    /// Take any file system for one that keeps what was synced, and not only those that are known to.
    pub trust_fs: bool,
    /// Passwords may be shown: a worker of its own checks them.
    pub checks_passwords: bool,
    /// At most one for each prefix.
    pub quotas: Vec<Quota>,
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
            trust_fs: false,
            checks_passwords: false,
            quotas: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn limits_without_a_flag_say_so() {
        let rows = include_str!("config.rs").split("\nlimits! {\n").nth(1).and_then(|rest| rest.split("\n}\n").next());
        let flags = include_str!("cli/serve_flags.rs");
        let (mut doc, mut checked) = (String::new(), 0);
        for line in rows.expect("the rows of the macro").lines() {
            match line.split_once(": ") {
                _ if line.trim_start().starts_with("///") => doc.push_str(line),
                Some((field, _)) => {
                    let has_flag = flags.contains(&format!("=> {},", field.trim()));
                    assert_ne!(has_flag, doc.ends_with("No flag."), "{field}: {doc}");
                    (doc, checked) = (String::new(), checked + 1);
                }
                None => panic!("neither documentation nor a field: {line}"),
            }
        }
        assert!(checked >= 60, "{checked}");
    }
}
