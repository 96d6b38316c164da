//! The thread that answers at the control socket, and notices when other generations of the server end. Serves nothing
//! itself.

use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;

use super::words::{ANSWER_MAX, FILES, GENERATIONS_MAX, HELLO, Holding, Passed, READY, REFUSED, YOURS};
use crate::os::descriptors::{receive, send};
use crate::os::event_queue::Control;
use crate::os::net::Listener;
use crate::os::process::clock;
use crate::platform::Signal;
use crate::store::Overlap;

/// Time between two looks whether the server still runs.
const LOOK: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// Time until a connection is accepted again after that failed.
const REST: Duration = Duration::from_secs(1);
/// How long a new process may take until it serves: it opens the directory, which other processes write to.
const START_MAX: Duration = Duration::from_secs(300);
/// How long the loop may take for a turn.
const TURN_MAX: Duration = Duration::from_secs(10);

/// What answers at the control socket.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) socket: UnixListener,
    /// Connections to the older generations that run.
    pub(super) older: Vec<UnixStream>,
    /// The listeners that can be passed on, and the address of each.
    pub(super) listeners: Weak<Vec<Listener>>,
    pub(super) addresses: Vec<String>,
    pub(super) overlap: Overlap,
    pub(super) control: Arc<Control>,
}

/// A newer process, and the connection to it.
#[derive(Debug)]
enum Successor {
    None,
    /// It has what it needs, and must be ready at this time.
    Starting(UnixStream, Instant),
    Serving(UnixStream),
}

impl Keeper {
    /// Runs until the server has ended.
    pub(super) fn start(self) -> io::Result<()> {
        self.socket.set_nonblocking(true)?;
        thread::Builder::new().name("handover".to_owned()).spawn(move || self.run()).map(drop)
    }

    fn run(mut self) {
        let mut successor = Successor::None;
        while self.overlap.is_open() {
            let is_due = self.wait(&successor);
            self.forget_ended(&successor);
            successor = match successor {
                Successor::None if is_due => self.answer(),
                Successor::Starting(process, _) if is_due => self.hand_over(process),
                Successor::Starting(_, until) if clock() >= until => {
                    log::error!("the process that was to take over is not ready after {START_MAX:?}: it is given up");
                    self.continue_alone()
                }
                Successor::Serving(_) if is_due => {
                    self.control.request(Signal::TakeBack);
                    self.continue_alone()
                }
                successor => successor,
            };
        }
    }

    /// Waits a while. True if there is something to do for the successor, or one to come.
    fn wait(&self, successor: &Successor) -> bool {
        let next = match successor {
            Successor::None => self.socket.as_fd(),
            Successor::Starting(process, _) | Successor::Serving(process) => process.as_fd(),
        };
        let watched = self.older.iter().map(AsFd::as_fd).chain([next]);
        let mut watched: Vec<_> = watched.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        if let Err(error) = poll(&mut watched, Some(&LOOK)) {
            log::debug!("cannot wait at the control socket: {error}");
        }
        watched.last().is_some_and(|next| !next.revents().is_empty())
    }

    /// Nothing is ever sent by an older process but its end.
    fn forget_ended(&mut self, successor: &Successor) {
        let before = self.older.len();
        self.older.retain(|process| {
            let mut polled = [PollFd::new(process, PollFlags::IN)];
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            poll(&mut polled, Some(&now)).is_ok_and(|ready| ready == 0)
        });
        if before > 0 && self.older.is_empty() && matches!(successor, Successor::None) {
            log::info!("the server that was taken over has ended");
            self.overlap.end();
        }
    }

    fn continue_alone(&self) -> Successor {
        if self.older.is_empty() {
            self.overlap.end();
        }
        Successor::None
    }

    /// A process has connected.
    fn answer(&self) -> Successor {
        let process = match self.socket.accept() {
            Ok((process, _)) => process,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Successor::None,
            Err(error) => {
                log::warn!("cannot accept at the control socket: {error}");
                // It waits there still, perhaps for a descriptor.
                Self::rest();
                return Successor::None;
            }
        };
        match self.pass_on(&process) {
            Ok(()) => {
                log::info!("another process is about to take over");
                Successor::Starting(process, clock() + START_MAX)
            }
            Err(reason) => {
                log::warn!("a process at the control socket is refused: {reason}");
                // Its own words may be wrong already.
                let _ = send(&process, &format!("{REFUSED}{reason}"), &[]);
                self.continue_alone()
            }
        }
    }

    #[allow(clippy::disallowed_methods, reason = "a thread of its own sleeps")]
    fn rest() {
        thread::sleep(REST);
    }

    fn pass_on(&self, process: &UnixStream) -> Result<(), String> {
        let words = |error: io::Error| error.to_string();
        let peer = socket_peercred(process).map_err(|error| error.to_string())?;
        // A server that was started by root may have become another user.
        if peer.uid != geteuid() && !peer.uid.is_root() {
            return Err(format!("it is not of the user of this server, but of uid {}", peer.uid.as_raw()));
        }
        process.set_nonblocking(false).map_err(words)?;
        process.set_read_timeout(Some(ANSWER_MAX)).map_err(words)?;
        process.set_write_timeout(Some(ANSWER_MAX)).map_err(words)?;
        if receive(process).map_err(words)?.text != HELLO {
            return Err("it asks for nothing that is known here: perhaps it is another version".to_owned());
        }
        if self.older.len() + 1 >= GENERATIONS_MAX {
            return Err(format!(
                "{GENERATIONS_MAX} generations of the server run: wait until the oldest has served its connections, or \
                 end it"
            ));
        }
        let Some(listeners) = self.listeners.upgrade().filter(|listeners| !listeners.is_empty()) else {
            return Err("it is ending, and listens no more".to_owned());
        };
        let locks = self.overlap.begin().map_err(words)?;
        let named = self.addresses.iter().map(|address| Passed::Listener(address));
        let named = named.zip(listeners.iter().map(AsFd::as_fd));
        let files: Vec<(Passed<'_>, BorrowedFd<'_>)> = named
            .chain(locks.iter().map(|lock: &OwnedFd| (Passed::Lock(self.holding()), lock.as_fd())))
            .chain(self.older.iter().map(|older| (Passed::Older, older.as_fd())))
            .chain([(Passed::Control, self.socket.as_fd())])
            .collect();
        let mut text = FILES.to_owned();
        for (what, _) in &files {
            let _ = write!(text, "\n{what}");
        }
        let files: Vec<_> = files.into_iter().map(|(_, file)| file).collect();
        send(process, &text, &files).map_err(words)
    }

    fn holding(&self) -> Holding {
        if self.overlap.is_with_all() { Holding::Shared } else { Holding::Alone }
    }

    /// The new process is ready, or has ended.
    fn hand_over(&self, process: UnixStream) -> Successor {
        let is_ready = receive(&process).is_ok_and(|message| message.text == READY);
        if !is_ready {
            log::error!("the process that was to take over has ended: this one continues");
            return self.continue_alone();
        }
        let (done, is_done) = sync_channel(1);
        self.control.hand_over(done);
        if is_done.recv_timeout(TURN_MAX).is_err() {
            log::warn!("the loop takes more than {TURN_MAX:?} for a turn: both processes accept meanwhile");
        }
        if let Err(error) = send(&process, YOURS, &[]) {
            log::debug!("the process that takes over is gone: {error}");
        }
        Successor::Serving(process)
    }
}
