//! The library's front door: a builder that binds and checks everything, a server that runs on
//! the calling thread, and a handle for other threads.
//!
//! Long, because every method of the builder is documented.
#![warn(missing_docs)]

mod access_file;
mod ceiling;
mod driven;
mod error;
mod handle;
#[cfg_attr(not(all(feature = "handover", target_os = "linux")), path = "handover/absent.rs")]
mod handover;
mod limits;
mod listen;
mod plan;
#[doc(hidden)]
pub mod platform;
mod reload;
mod running;
mod sandbox;
#[cfg_attr(not(all(feature = "systemd", target_os = "linux")), path = "systemd/absent.rs")]
mod systemd;
mod tls;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::access::Access;
use crate::config::{Limits, LogFormat, StoreConfig, TlsFiles};
use crate::dialect::Listening;
use crate::os::event_queue::EventQueue;
use crate::os::net::{self, Listener};
use crate::os::process;
use crate::reactor::{ListenerSetup, Reactor, Setup};
use access_file::AccessFile;
use error::NO_THREAD;
use handover::HandOver;
use platform::OsPlatform;
use reload::Reloads;
use sandbox::Confinement;
use systemd::{Notifier, Opened};

pub use crate::config::{Fixed, Live, NetworkError, Networks, SandboxMode, SocketFile};
pub use crate::counters::{Counters, Health, Histogram, Queued};
pub use crate::dialect::{Kind, OptionError, UnknownDialect};
pub use crate::object::Durability;
pub use crate::os::net::Address;
pub use crate::reactor::Ended;
#[doc(hidden)]
pub use access_file::read as read_access_file;
#[cfg(feature = "config")]
pub(crate) use access_file::text as read_text;
pub use ceiling::Ceiling;
pub use error::{LimitError, ServerError};
pub use handle::Handle;
pub use listen::{Listen, ListenError};
#[cfg(feature = "config")]
pub(crate) use reload::Apply;
pub(crate) use reload::Reload;
pub use running::Server;

/// Where a server listens without an option.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:7070";
/// Says what a server is to be; see [`Server::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    pub(crate) root: PathBuf,
    listens: Vec<Result<Listen, ListenError>>,
    pub(crate) limits: Limits,
    pub(crate) store: StoreConfig,
    secret: Option<Vec<u8>>,
    read_secret: Option<Vec<u8>>,
    pub(crate) access: Option<PathBuf>,
    /// The text of an access file that is not kept in a file.
    pub(crate) access_text: Option<String>,
    pub(crate) tls: TlsFiles,
    pub(crate) allows_plain_passwords: bool,
    handles_signals: bool,
    pub(crate) congestion: Option<String>,
    pub(crate) confinement: Confinement,
    pub(crate) log_format: LogFormat,
    pub(crate) control_socket: Option<PathBuf>,
    pub(crate) taken_over: Option<PathBuf>,
}

/// What a server is made of.
struct Plan {
    listens: Vec<Listen>,
    /// What each of them speaks.
    speaks: Vec<Listening>,
    access: Access,
    ceiling: Ceiling,
}

impl Builder {
    /// The directory to serve; `./files` if not said. Made if it is missing, in a directory that is there.
    pub fn root(mut self, dir: impl AsRef<Path>) -> Self {
        dir.as_ref().clone_into(&mut self.root);
        self
    }

    /// Also listen here: `[DIALECT@]ADDR:PORT[?option=value&…]` or `[DIALECT@]unix:PATH[?…]`, as [`Listen`] reads it.
    /// Without a dialect, the first line of each connection tells which it is.
    pub fn listen(mut self, address: impl ToString) -> Self {
        self.listens.push(address.to_string().parse());
        self
    }

    /// The same in this dialect: `ADDR:PORT[?option=value&…]`.
    pub fn listen_as(self, kind: Kind, address: impl ToString) -> Self {
        self.listen(format!("{kind}@{}", address.to_string()))
    }

    /// Also listen as this says, its options included.
    pub fn listen_at(mut self, listen: Listen) -> Self {
        self.listens.push(Ok(listen));
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

    /// Promise durability on any file system, not only where it is known that what was synced is kept.
    pub fn trust_file_system(mut self, trusts: bool) -> Self {
        self.store.trust_fs = trusts;
        self
    }

    /// Ask every client for this secret.
    pub fn secret(mut self, secret: impl Into<Vec<u8>>) -> Self {
        self.secret = Some(secret.into());
        self
    }

    /// Also take this secret, which permits reading only. Needs [`Builder::secret`].
    pub fn read_secret(mut self, secret: impl Into<Vec<u8>>) -> Self {
        self.read_secret = Some(secret.into());
        self
    }

    /// Decide by the rules of this access file. Not together with a secret.
    pub fn access(mut self, file: impl AsRef<Path>) -> Self {
        self.access = Some(file.as_ref().to_owned());
        self
    }

    /// The certificate of listeners with TLS ([`Listen::is_tls`]) and its private key: PEM files. Behind the
    /// certificate stand those of the authorities between it and one that clients know.
    pub fn tls(mut self, certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        self.tls.certificate = Some(certificate.as_ref().to_owned());
        self.tls.key = Some(key.as_ref().to_owned());
        self
    }

    /// Instead of a certificate that was given, make one at the first start, and keep it and its key in this
    /// directory. Clients must be configured to trust it.
    pub fn tls_self_signed(mut self, dir: impl AsRef<Path>) -> Self {
        self.tls.self_signed = Some(dir.as_ref().to_owned());
        self
    }

    /// A name or an address by which clients know the server, for the certificate of [`Builder::tls_self_signed`]; more may
    /// be added.
    pub fn tls_name(mut self, name: impl Into<String>) -> Self {
        self.tls.names.push(name.into());
        self
    }

    /// Ask clients of listeners with TLS for a certificate of one of these authorities (a PEM file). A client
    /// without one is served too; one with another is refused.
    pub fn tls_client_ca(mut self, authorities: impl AsRef<Path>) -> Self {
        self.tls.client_ca = Some(authorities.as_ref().to_owned());
        self
    }

    /// Take passwords also where others can read them on their way: at an address that is neither encrypted nor on the
    /// loopback interface.
    pub fn allow_plain_passwords(mut self, allows: bool) -> Self {
        self.allows_plain_passwords = allows;
        self
    }

    /// Drain on SIGTERM, SIGINT and SIGXCPU; read the access file and those of TLS again on SIGHUP, which without
    /// them drains where standard error is a terminal; ignore SIGXFSZ and what else would end the process and asks
    /// nothing of a server. Without this, a write past `RLIMIT_FSIZE` ends the process, unless it ignores SIGXFSZ. For
    /// programs with the server as their main job.
    pub fn signals(mut self) -> Self {
        self.handles_signals = true;
        self
    }

    /// Pin the congestion control of every connection (tcp(7)), for benchmarks.
    pub fn congestion(mut self, name: impl Into<String>) -> Self {
        self.congestion = Some(name.into());
        self
    }

    /// Let the next process of the server take over by this Unix socket, without a refused connection (Linux, with the
    /// feature `handover`). Only [`Server::run`] serves such a server.
    pub fn control_socket(mut self, path: impl AsRef<Path>) -> Self {
        self.control_socket = Some(path.as_ref().to_owned());
        self
    }

    /// Take over from the server with this control socket, if there is one: it accepts nothing more once
    /// [`Server::run`] is called. The socket is then this server's, if [`Builder::control_socket`] names no other.
    pub fn take_over(mut self, control_socket: impl AsRef<Path>) -> Self {
        self.taken_over = Some(control_socket.as_ref().to_owned());
        self
    }

    /// Give up the rights that serving does not need: capabilities, files outside of the directory, system calls
    /// (Linux, with the feature `sandbox`). This concerns the thread that calls [`Builder::build`] and those that it
    /// starts from then on, the server's own among them, and cannot be undone: call it from the only thread of a
    /// program, or from one that does nothing else and runs the server. [`SandboxMode::Off`] if not said.
    pub fn sandbox(mut self, mode: SandboxMode) -> Self {
        self.confinement.mode = mode;
        self
    }

    /// Become this user once the addresses are bound and the files of TLS and access are read: `USER`, with
    /// `:GROUP` or without, names or numbers. Concerns the whole process, which root must have started, and cannot be undone.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.confinement.user = Some(user.into());
        self
    }

    /// Opens the directory, binds every address, starts the disk workers. Nothing is half started:
    /// on an error everything is closed again. From then on glibc's allocator gives large allocations of the process back
    /// as they are freed, and has two heaps for all threads; without that, [`Server::ceiling`] would not hold.
    pub fn build(self) -> Result<Server, ServerError> {
        self.build_reloading(None)
    }

    /// The same, with a file that is read again together with the others.
    pub(crate) fn build_reloading(mut self, file: Option<(PathBuf, Box<dyn Reload>)>) -> Result<Server, ServerError> {
        process::keep_little_memory();
        let Plan { listens, mut speaks, access, ceiling } = self.plan()?;
        let notifier = self.notifier()?;
        let mut handover = HandOver::begin(self.taken_over.as_deref(), self.control_socket.as_deref())?;
        let tls = tls::open(&self.tls, &listens, self.store.shared.then_some(&*self.root))?;
        let (listeners, addresses): (Vec<_>, Vec<_>) = self.bind_all(&listens, &mut handover)?.into_iter().unzip();
        for ((listen, speaks), address) in listens.iter().zip(&mut speaks).zip(&addresses) {
            self.restrict(speaks, listen, address, &access);
        }
        let are_tls = listens.iter().map(|listen| listen.is_tls).collect();
        let mut queue = self.event_queue()?;
        let control = Arc::clone(queue.control());
        let waker = Arc::clone(&control);
        let mut reloads = Reloads::new(Arc::clone(&control), notifier.clone());
        let is_configured = file.is_some();
        if let Some((file, reload)) = file {
            self.confinement.files.push(file);
            reloads.push(reload);
        }
        if let (Some(file), Some(rules)) = (self.access.take(), access.rules()) {
            self.confinement.files.push(file.clone());
            reloads.push(Box::new(AccessFile::new(file, Arc::clone(rules))));
        }
        if let Some(acceptor) = &tls {
            tls::read_again(acceptor, &mut reloads);
            self.confinement.add_tls(&self.tls);
        }
        let (reload, reader) = reloads.prepare().unzip();
        if let Some(reload) = &reload {
            queue.reload_on_hangup(reload.clone(), is_configured);
        }
        let sharing = handover.share(self.store.shared)?;
        let settings = (&self.store, sharing, &self.limits.fixed);
        let (store, sandbox) = self.confinement.open_store(&self.root, settings, Arc::new(move || waker.wake()))?;
        if let Some(reader) = reader {
            reader.start().map_err(ServerError::system(NO_THREAD))?;
        }
        let mut platform = OsPlatform::new(queue, listeners, store, &self.limits.fixed)
            .map_err(ServerError::system("cannot watch the listeners"))?
            .with_tls(tls)
            .map_err(ServerError::system(NO_THREAD))?;
        let names = addresses.iter().map(Address::to_string).collect();
        // From here on little can fail: the process that was taken over would accept again.
        let has_taken_over = handover.complete(&mut platform, names, &control)?;
        let bound = addresses.into_iter().zip(&listens).map(|(address, listen)| (address, listen.kind)).collect();
        let listeners = speaks.into_iter().zip(listens);
        let setup_of = |(listening, listen): (Listening, Listen)| ListenerSetup {
            listening,
            proxies: listen.proxies,
            is_tls: listen.is_tls,
        };
        let setup = Setup { access, listeners: listeners.map(setup_of).collect(), limits: self.limits };
        let mut reactor = Reactor::new(platform, setup);
        reactor.set_log_format(self.log_format);
        reactor.offer_locks(process::random().map_err(ServerError::system("no random bytes"))?);
        if let Some(notifier) = &notifier {
            Arc::clone(notifier).start(Arc::clone(&control)).map_err(ServerError::system(NO_THREAD))?;
        }
        Ok(Server { reactor, bound, are_tls, control, reload, ceiling, sandbox, notifier, has_taken_over })
    }

    fn event_queue(&self) -> Result<EventQueue, ServerError> {
        let mut queue = EventQueue::new().map_err(ServerError::system("cannot make an event queue"))?;
        if self.handles_signals {
            queue.prepare_signals().map_err(ServerError::system("cannot receive signals"))?;
        }
        Ok(queue)
    }

    /// Tells a listener what it must not take at this address.
    fn restrict(&self, speaks: &mut Listening, listen: &Listen, address: &Address, access: &Access) {
        let address = address.socket_addr();
        let is_loopback = address.is_some_and(|address| address.ip().to_canonical().is_loopback());
        // Pages in browsers on this machine reach it. While a client need prove nothing, only the host tells them from
        // its users.
        if is_loopback {
            speaks.restrict_hosts(&process::machine_name());
        }
        let is_private = address.is_none() || is_loopback || listen.is_tls || self.allows_plain_passwords;
        if access.rules().is_some() && !is_private {
            speaks.refuse_passwords();
        }
    }

    fn notifier(&self) -> Result<Option<Arc<Notifier>>, ServerError> {
        let notifier = if self.handles_signals { Notifier::open() } else { Ok(None) };
        notifier.map_err(ServerError::system("the socket of systemd, NOTIFY_SOCKET, cannot be reached"))
    }

    /// Listens on all of these, with the listeners that others have opened where there are some.
    fn bind_all(&self, listens: &[Listen], handover: &mut HandOver) -> Result<Vec<(Listener, Address)>, ServerError> {
        let mut opened =
            Opened::take(self.handles_signals).map_err(ServerError::system("a listener of systemd cannot be used"))?;
        let until = handover.ending_until();
        let bound = listens.iter().map(|listen| {
            self.bind(listen, until, |address| opened.at(address).or_else(|| handover.listener_at(address)))
        });
        let bound = bound.collect::<Result<Vec<_>, _>>()?;
        match opened.unused() {
            Some(address) => Err(ServerError::Activated(address)),
            None => Ok(bound),
        }
    }

    /// Listens there. `open` has the listener at an address that is open already; until `until`, one that is in use is
    /// tried again.
    fn bind(
        &self,
        listen: &Listen,
        until: Option<Instant>,
        open: impl FnOnce(&Address) -> Option<OwnedFd>,
    ) -> Result<(Listener, Address), ServerError> {
        let Listen { address, kind, .. } = listen;
        let fail = |source| ServerError::Listen { address: address.clone(), kind: *kind, source };
        let mut address = net::resolve(address).map_err(fail)?;
        let limits = &self.limits.fixed;
        let opened = open(&address).map(|listener| net::adopt(listener, &address, limits));
        let listener = opened.unwrap_or_else(|| {
            process::retry_in_use(until, || match &address {
                Address::Unix(path) => net::listen_unix(path, &listen.socket_file).map(Listener::Unix),
                Address::Ip(address) => {
                    net::listen(*address, listen.shares_port, limits, self.congestion.as_deref()).map(Listener::Tcp)
                }
            })
        });
        let listener = listener.map_err(fail)?;
        if let Listener::Tcp(listener) = &listener {
            if kind.traits().client_speaks_first || listen.is_tls {
                net::defer(listener, limits.accept_defer);
            }
            // Perhaps the kernel chose the port.
            address = Address::Ip(listener.local_addr().map_err(fail)?);
        }
        Ok((listener, address))
    }
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
    /// let address = handle.addresses()[0].0.socket_addr().expect("it listens over TCP");
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
            read_secret: None,
            access: None,
            access_text: None,
            tls: TlsFiles::default(),
            allows_plain_passwords: false,
            handles_signals: false,
            congestion: None,
            confinement: Confinement::default(),
            log_format: LogFormat::default(),
            control_socket: None,
            taken_over: None,
        }
    }
}
