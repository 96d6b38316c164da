//! The library's front door: a builder that binds and checks everything, a server that runs on
//! the calling thread, and a handle for other threads.
#![warn(missing_docs)]

#[doc(hidden)]
pub mod platform;

use std::fmt;
use std::io;
use std::mem::size_of;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use crate::config::{Access, Limits, StoreConfig};
use crate::counters::Counters;
use crate::dialect::{Kind, Listening, OptionError, UnknownDialect, http};
use crate::object::Durability;
use crate::os::event_queue::{Control, EventQueue};
use crate::os::{net, process};
use crate::platform::Signal;
use crate::reactor::{Ended, Reactor, Setup};
use crate::session::{RequestDataPool, Session};
use crate::store::DiskStore;
use platform::OsPlatform;

/// Descriptors that are neither connections nor transfers: listeners, log, directories, the poll.
const DESCRIPTORS_KEPT: usize = 64;
/// Where a server listens that is not told where.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:7070";
/// Most chunks of one slot: operations of one connection are counted in a byte.
const CHUNKS_PER_SLOT_MAX: usize = 128;
/// Entries of the tables by client address, for each connection.
const ADDRESS_BYTES: usize = 128;
/// Most listeners of one server.
const LISTENERS_MAX: usize = 64;

/// One address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// What it speaks.
    pub kind: Kind,
    /// `ADDR:PORT`; port 0 asks the kernel.
    pub address: String,
    /// What follows the address as a query, for the dialect to understand.
    pub options: Vec<(String, String)>,
}

impl FromStr for Listen {
    type Err = String;

    /// Reads `[DIALECT@]ADDR:PORT[?option=value&…]`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (text, query) = text.split_once('?').unwrap_or((text, ""));
        let (kind, address) = match text.split_once('@') {
            Some((kind, address)) => (kind.parse().map_err(|error: UnknownDialect| error.to_string())?, address),
            None => (Kind::Auto, text),
        };
        check_address(address)?;
        let options = query.split('&').filter(|option| !option.is_empty());
        let options = options.map(|option| option.split_once('=').unwrap_or((option, "")));
        let options: Vec<_> = options.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        // What the dialect does not understand is wrong usage, not a failure to start.
        Listening::new(kind, &options, 0).map_err(|error| error.to_string())?;
        Ok(Self { kind, address: address.to_owned(), options })
    }
}

/// Finds out without a lookup what cannot be `ADDR:PORT`.
fn check_address(address: &str) -> Result<(), String> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match address.rsplit_once(':') {
        Some((_, port)) if is_number(port) && port.parse::<u16>().is_err() => {
            Err(format!("port {port} is not in 0..=65535"))
        }
        Some(("" | "*", port)) if is_number(port) => Err(format!(
            "write 127.0.0.1:{port} for this machine only, 0.0.0.0:{port} for every IPv4 address, [::]:{port} for every \
             IPv6 address"
        )),
        Some((_, port)) if is_number(port) => Ok(()),
        _ => {
            let port = if is_number(address) { address } else { "7070" };
            Err(format!("{address:?} is not ADDR:PORT, for example 127.0.0.1:{port}"))
        }
    }
}

/// Why a server could not start or go on.
#[derive(Debug)]
pub struct ServerError {
    what: String,
    source: Option<io::Error>,
}

impl ServerError {
    fn new(what: impl Into<String>, source: io::Error) -> Self {
        Self { what: what.into(), source: Some(source) }
    }

    /// The addresses could not be announced.
    #[cfg(feature = "serve")]
    pub(crate) fn announce(source: io::Error) -> Self {
        Self::new("cannot write to standard output", source)
    }

    fn plain(what: impl Into<String>) -> Self {
        Self { what: what.into(), source: None }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(f, "{}: {source}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl std::error::Error for ServerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

/// Says what a server is to be; see [`Server::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    root: PathBuf,
    listens: Vec<Listen>,
    limits: Limits,
    store: StoreConfig,
    secret: Option<Vec<u8>>,
    handles_signals: bool,
    congestion: Option<String>,
}

impl Builder {
    /// The directory to serve; `./files` if not said. Made if it is missing, in a directory that is there.
    pub fn root(mut self, dir: impl AsRef<Path>) -> Self {
        dir.as_ref().clone_into(&mut self.root);
        self
    }

    /// Also listen on this address, in any dialect that the first line tells.
    pub fn listen(self, address: impl ToString) -> Self {
        self.listen_as(Kind::Auto, address)
    }

    /// Also listen on this address, in this dialect.
    pub fn listen_as(mut self, kind: Kind, address: impl ToString) -> Self {
        self.listens.push(Listen { kind, address: address.to_string(), options: Vec::new() });
        self
    }

    /// Also listen as this says, its options included.
    pub fn listen_at(mut self, listen: Listen) -> Self {
        self.listens.push(listen);
        self
    }

    /// Every bound at once; take [`Limits::default`] and change what you need.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What `OK` promises about an upload.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.store.durability = durability;
        self
    }

    /// Refuse every change.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.store.read_only = read_only;
        self
    }

    /// Follow symbolic links that stay inside the directory when reading.
    pub fn links_inside(mut self, follow: bool) -> Self {
        self.store.links_inside = follow;
        self
    }

    /// Permission bits of new files, instead of 0666 less the umask.
    pub fn file_mode(mut self, mode: u32) -> Self {
        self.store.file_mode = Some(mode);
        self
    }

    /// Use only system calls that every unix has.
    pub fn portable(mut self, portable: bool) -> Self {
        self.store.portable = portable;
        self
    }

    /// Let other servers that are set to this share the directory: then each change of a name takes a lock that
    /// excludes theirs. Without it, a second server that writes does not start.
    pub fn shared(mut self, shared: bool) -> Self {
        self.store.shared = shared;
        self
    }

    /// Ask every client for this secret.
    pub fn secret(mut self, secret: impl Into<Vec<u8>>) -> Self {
        self.secret = Some(secret.into());
        self
    }

    /// Drain on SIGTERM, SIGINT and SIGHUP (this not if it is ignored). For programs whose main job the server is.
    pub fn signals(mut self) -> Self {
        self.handles_signals = true;
        self
    }

    /// Pin the congestion control of every connection (tcp(7)), for benchmarks.
    pub fn congestion(mut self, name: impl Into<String>) -> Self {
        self.congestion = Some(name.into());
        self
    }

    /// Opens the directory, binds every address, starts the disk workers. Nothing is half started:
    /// on an error everything is closed again.
    pub fn build(mut self) -> Result<Server, ServerError> {
        if self.listens.is_empty() {
            let address = DEFAULT_ADDRESS.to_owned();
            self.listens.push(Listen { kind: Kind::Auto, address, options: Vec::new() });
        }
        if self.listens.len() > LISTENERS_MAX {
            return Err(ServerError::plain(format!("more than {LISTENERS_MAX} addresses to listen on")));
        }
        self.check_limits()?;
        let mut listeners = Vec::new();
        let mut bound = Vec::new();
        let started_s = process::unix_time();
        let speaks: Result<Vec<Listening>, OptionError> =
            self.listens.iter().map(|listen| Listening::new(listen.kind, &listen.options, started_s)).collect();
        let mut speaks = speaks.map_err(|error| ServerError::plain(error.to_string()))?;
        for (listen, speaks) in self.listens.iter().zip(&mut speaks) {
            let (listener, address) = self.bind(listen)?;
            // Pages in browsers on this machine reach it, and nothing but the host tells them from its users.
            if address.ip().to_canonical().is_loopback() && self.secret.is_none() {
                speaks.restrict_hosts(&process::machine_name());
            }
            listeners.push(listener);
            bound.push((address, listen.kind));
        }
        fit_descriptors(&mut self.limits);
        let queue = EventQueue::new().map_err(|error| ServerError::new("cannot make an event queue", error))?;
        let control = Arc::clone(queue.control());
        let waker = Arc::clone(&control);
        let store = DiskStore::open(&self.root, &self.store, &self.limits, Arc::new(move || waker.wake()))
            .map_err(ServerError::plain)?;
        let platform = OsPlatform::new(queue, listeners, self.handles_signals, store, &self.limits)
            .map_err(|error| ServerError::new("cannot watch the listeners", error))?;
        let mut ceiling = Ceiling::of(&self.limits, speaks.iter().any(|speaks| speaks.kind().traits().holds_messages));
        ceiling.shared += speaks.iter().map(|speaks| speaks.kind().traits().kept_bytes_max).sum::<usize>();
        let setup =
            Setup { access: Access::new(self.secret, self.store.read_only), listeners: speaks, limits: self.limits };
        Ok(Server { reactor: Reactor::new(platform, setup), bound, control, ceiling })
    }

    fn bind(&self, listen: &Listen) -> Result<(mio::net::TcpListener, SocketAddr), ServerError> {
        let Listen { address, kind, .. } = listen;
        let fail = |error| ServerError::new(format!("cannot listen on {address} ({kind})"), error);
        let resolved = net::resolve(address).map_err(fail)?;
        let listener = net::listen(resolved, &self.limits, self.congestion.as_deref()).map_err(fail)?;
        if kind.traits().client_speaks_first {
            net::defer(&listener, self.limits.accept_defer);
        }
        let bound = listener.local_addr().map_err(fail)?;
        Ok((listener, bound))
    }

    fn check_limits(&self) -> Result<(), ServerError> {
        let limits = &self.limits;
        let smallest = [
            ("connections_max", limits.connections_max, 1),
            ("slots", limits.slots, 1),
            ("chunk_bytes", limits.chunk_bytes, 1),
            ("chunks_per_slot", limits.chunks_per_slot, 1),
            ("read_buffer_bytes", limits.read_buffer_bytes, 1),
            ("head_len_max", limits.head_len_max, crate::wire::line::LINE_LEN_MAX),
            ("reply_bytes_max", limits.reply_bytes_max, 1),
            ("turn_bytes", limits.turn_bytes, 1),
            ("turn_bytes_shared", limits.turn_bytes_shared, 1),
            ("turn_bytes_min", limits.turn_bytes_min, 1),
            ("turn_bytes_max", limits.turn_bytes_max, limits.turn_bytes_min),
            ("io_workers", limits.io_workers, 1),
            ("sync_workers", limits.sync_workers, 1),
        ];
        for (name, value, least) in smallest {
            if value < least {
                return Err(ServerError::plain(format!("{name} is {value} but must be at least {least}")));
            }
        }
        if limits.chunks_per_slot > CHUNKS_PER_SLOT_MAX {
            let given = limits.chunks_per_slot;
            return Err(ServerError::plain(format!(
                "chunks_per_slot is {given}, at most {CHUNKS_PER_SLOT_MAX} make sense"
            )));
        }
        Ok(())
    }
}

/// Takes as many connections as the descriptors of this process permit, a quarter of them kept for open files
/// where they are few, and an eighth for connections that are turned away.
fn fit_descriptors(limits: &mut Limits) {
    let limit = process::raise_descriptor_limit();
    // Where there are very few, most of them must still serve somebody.
    let descriptors = limit - DESCRIPTORS_KEPT.min(limit / 2);
    let kept = if limits.cache_files_max > 0 { limits.cache_open_max } else { 0 };
    let files = (limits.slots + kept).min(descriptors / 4);
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

/// The most memory a server can use, known before the first connection. In bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceiling {
    /// One connection: its entry, what it needs while something is under way, its longest head, its waiting
    /// replies, its timers.
    pub connection: usize,
    /// Connections at most.
    pub connections: usize,
    /// One transfer slot: its chunks.
    pub slot: usize,
    /// Slots.
    pub slots: usize,
    /// What exists once: the shared read buffer, those of the disk workers, kept files, the
    /// connections that are turned away.
    pub shared: usize,
}

impl Ceiling {
    /// The arithmetic, documented in the README.
    pub fn of(limits: &Limits, gathers: bool) -> Self {
        let message = if gathers { limits.message_bytes_max } else { 0 };
        // Replies may overshoot their bound by the one that crossed it, and the longest that takes
        // no slot are the metrics; a timer entry may be left behind for each of the few deadlines a
        // connection has.
        let replies = limits.reply_bytes_max + limits.reply_bytes_max.max(crate::wire::metrics::LEN_MAX);
        let slot = limits.chunk_bytes * limits.chunks_per_slot;
        let connection = Reactor::<OsPlatform>::entry_bytes()
            + Session::work_bytes()
            + limits.head_len_max
            + replies
            + 256
            + ADDRESS_BYTES;
        Self {
            connection,
            connections: limits.connections_max,
            // A message and the content found in it may be held at once.
            slot: slot.max(2 * message).max(http::REPLY_BYTES_MIN) + size_of::<usize>(),
            slots: limits.slots,
            shared: connection * limits.turned_away_max
                + Reactor::<OsPlatform>::guesses_bytes(limits)
                + limits.read_buffer_bytes
                + limits.held_bytes_max()
                + RequestDataPool::BYTES_MAX
                + if limits.cache_files_max > 0 { limits.cache_bytes_max } else { 0 }
                + limits.io_workers * crate::store::WORKER_BUFFER_BYTES
                // A listing on its way from the store to the reply that is made of it.
                + 3 * slot
                + limits.list_kept_bytes_max
                + limits.list_workers() * limits.list_window_bytes,
        }
    }

    /// All of it.
    pub const fn total(&self) -> usize {
        self.connection * self.connections + self.slot * self.slots + self.shared
    }
}

impl fmt::Display for Ceiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: usize = 1 << 20;
        write!(
            f,
            "at most {} MiB: {} connections of {} bytes, {} slots of {} bytes, {} KiB shared",
            self.total().div_ceil(MIB),
            self.connections,
            self.connection,
            self.slots,
            self.slot,
            self.shared / 1024
        )
    }
}

/// A server that is bound and ready to run.
pub struct Server {
    reactor: Reactor<OsPlatform>,
    bound: Vec<(SocketAddr, Kind)>,
    control: Arc<Control>,
    ceiling: Ceiling,
}

impl Server {
    /// Begins to say what a server is to be.
    ///
    /// ```
    /// # use std::io::{Read, Write};
    /// # use std::net::{Shutdown, TcpStream};
    /// # let directory = tempfile::tempdir()?;
    /// # std::fs::write(directory.path().join("hello.txt"), "hello\n")?;
    /// let server = filewharf::Server::builder().root(directory.path()).listen("127.0.0.1:0").build()?;
    /// let handle = server.handle();
    /// let address = handle.addresses()[0].0;
    /// let running = std::thread::spawn(move || server.run());
    ///
    /// let mut client = TcpStream::connect(address)?;
    /// client.write_all(b"GET /hello.txt\n")?;
    /// client.shutdown(Shutdown::Write)?;
    /// let mut reply = String::new();
    /// client.read_to_string(&mut reply)?;
    /// assert!(reply.starts_with("OK 6 ") && reply.ends_with("\nhello\n"));
    ///
    /// handle.drain();
    /// assert_eq!(running.join().expect("the server does not panic")?.cut_off, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder() -> Builder {
        Builder {
            root: PathBuf::from("files"),
            listens: Vec::new(),
            limits: Limits::default(),
            store: StoreConfig::default(),
            secret: None,
            handles_signals: false,
            congestion: None,
        }
    }

    /// For other threads: ask for addresses and counters, drain, stop.
    pub fn handle(&self) -> Handle {
        Handle { bound: self.bound.clone().into(), control: Arc::clone(&self.control) }
    }

    /// The most memory it can use.
    pub const fn ceiling(&self) -> Ceiling {
        self.ceiling
    }

    /// Serves on this thread until it has drained or was stopped.
    pub fn run(mut self) -> Result<Ended, ServerError> {
        self.reactor.run().map_err(|error| ServerError::new("the event loop failed", error))
    }
}

/// A server as other threads see it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    bound: Arc<[(SocketAddr, Kind)]>,
    control: Arc<Control>,
}

impl Handle {
    /// The addresses really bound, with what they speak, in the order they were asked for.
    pub fn addresses(&self) -> &[(SocketAddr, Kind)] {
        &self.bound
    }

    /// Take no new work, let running transfers end. A second time: stop.
    pub fn drain(&self) {
        self.control.request(Signal::Drain);
    }

    /// End now. Uploads that are cut off leave no visible file.
    pub fn stop(&self) {
        self.control.request(Signal::Stop);
    }

    /// The facts as of the end of the last turn of the loop.
    pub fn counters(&self) -> Counters {
        self.control.counters()
    }
}
