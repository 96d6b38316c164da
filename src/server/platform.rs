//! The real platform: system clock, sockets, and the store on a disk.

use std::io;
use std::iter;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::config::Fixed;
#[cfg(feature = "config")]
use crate::config::Live;
use crate::counters::Counters;
use crate::ids::{ConnId, FileId, ListenerId};
use crate::os::event_queue::EventQueue;
use crate::os::net::send::Sending;
use crate::os::net::tls::{Acceptor, KeyWorker};
use crate::os::net::{Listener, Listeners, TcpConnection};
use crate::os::{process, sys};
use crate::platform::{AcceptError, Event, KeyUse, Platform, Rules, SendFile};
use crate::store::DiskStore;

/// How soon counters are published again that a reader kept from being published.
const PUBLISH_AGAIN: Duration = Duration::from_millis(1);
pub struct OsPlatform {
    queue: EventQueue,
    listeners: Listeners,
    store: DiskStore,
    sending: Sending,
    tls: Option<Arc<Acceptor>>,
    key_worker: Option<KeyWorker>,
    /// The counters that other threads see are those of the turn before the last.
    counters_are_stale: bool,
}

impl OsPlatform {
    /// Registers everything with `queue`; its signals drain this server from now on.
    pub fn new(queue: EventQueue, listeners: Vec<Listener>, store: DiskStore, limits: &Fixed) -> io::Result<Self> {
        queue.add_listeners(&listeners)?;
        queue.add_signals()?;
        Ok(Self {
            queue,
            listeners: Listeners::new(listeners),
            store,
            sending: Sending::new(limits, process::clock())?,
            tls: None,
            key_worker: None,
            counters_are_stale: false,
        })
    }

    /// With what the connections of listeners with TLS begin.
    pub fn with_tls(mut self, tls: Option<Arc<Acceptor>>) -> io::Result<Self> {
        // With a single core, the change of threads would only make each handshake longer.
        if tls.as_ref().is_some_and(|tls| tls.has_cores()) {
            let control = Arc::clone(self.queue.control());
            self.key_worker = Some(KeyWorker::start(move || control.wake())?);
        }
        self.tls = tls;
        Ok(self)
    }

    /// When it has something to do though no event comes.
    pub fn due(&self) -> Option<Instant> {
        let publish = self.counters_are_stale.then(|| self.now() + PUBLISH_AGAIN);
        [publish, self.sending.due(|| self.now()), self.store.refresh_at()].into_iter().flatten().min()
    }

    /// The listeners, until they are closed.
    pub fn listeners(&self) -> Weak<Vec<Listener>> {
        Arc::downgrade(self.listeners.all())
    }

    /// Readable while there are events.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.queue.fd()
    }
}

impl Platform for OsPlatform {
    type Stream = TcpConnection;
    type Store = DiskStore;

    fn now(&self) -> Instant {
        process::clock()
    }

    fn wall_clock_ms(&self) -> u64 {
        process::unix_time_ms()
    }

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        self.sending.look_at_partial(events);
        let no_wait = (!events.is_empty()).then_some(Duration::ZERO);
        let due = self.due().map(|at| at.saturating_duration_since(self.now()));
        self.queue.wait([timeout, no_wait, due].into_iter().flatten().min(), events)?;
        let done = self.key_worker.iter_mut().flat_map(|worker| iter::from_fn(|| worker.next_done()));
        events.extend(done.map(Event::Handshake));
        let now = self.now();
        self.store.refresh(now);
        self.sending.look_at_slow(now, events)
    }

    fn accept(&mut self, listener: ListenerId) -> Result<(TcpConnection, SocketAddr), AcceptError> {
        self.listeners.accept(listener)
    }

    fn shed(&mut self, listener: ListenerId) -> bool {
        self.listeners.shed(listener)
    }

    fn register(&mut self, stream: &mut TcpConnection, id: ConnId) -> io::Result<()> {
        self.sending.register(stream.socket(), id, self.queue.registry())
    }

    fn secure(&mut self, stream: &mut TcpConnection, is_http: bool, received: &[u8]) -> io::Result<()> {
        let acceptor = self.tls.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        stream.secure(acceptor.accept(is_http, received));
        Ok(())
    }

    fn use_key(&mut self, stream: &mut TcpConnection, id: ConnId) -> io::Result<KeyUse> {
        let Some(session) = stream.session() else { return Err(io::ErrorKind::Unsupported.into()) };
        match &mut self.key_worker {
            Some(worker) => worker.take(id, session),
            None => {
                session.lend().use_key();
                Ok(KeyUse::Done)
            }
        }
    }

    fn uses_key_on_loop(&self) -> bool {
        self.key_worker.is_none()
    }

    fn close_listeners(&mut self) {
        self.queue.remove_listeners(self.listeners.all());
        self.listeners.close();
    }

    fn rest_listeners(&mut self) {
        self.queue.remove_listeners(self.listeners.all());
    }

    fn watch_listeners(&mut self) -> io::Result<()> {
        self.queue.add_listeners(self.listeners.all())
    }

    fn has_handed_over(&mut self) {
        self.queue.control().has_handed_over();
    }

    fn send_file(
        &mut self,
        stream: &mut TcpConnection,
        file: FileId,
        offset: u64,
        len: usize,
        more: bool,
    ) -> io::Result<SendFile> {
        let content = &mut self.store.content(file);
        self.sending.send_file(stream.socket(), content, (offset, len), more, self.queue.registry())
    }

    fn store(&mut self) -> &mut DiskStore {
        &mut self.store
    }

    fn take_rules(&mut self) -> Option<Arc<Rules>> {
        let rules = self.queue.control().take_rules()?;
        self.store.set_quotas(&rules.quotas());
        Some(rules)
    }

    #[cfg(feature = "config")]
    fn take_limits(&mut self) -> Option<Live> {
        self.queue.control().take_limits()
    }

    #[cfg(feature = "serve")]
    fn log_dropped(&self) -> u64 {
        crate::os::log::dropped()
    }

    fn trim_memory(&mut self) {
        sys::trim_memory();
    }

    fn publish(&mut self, counters: &Counters) {
        // The next turn comes soon then, so that they do not stay stale while the server is idle.
        self.counters_are_stale = !self.queue.control().publish(counters);
    }
}
