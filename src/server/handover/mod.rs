//! Hand-over: a new process of the server takes over the listeners of the one that runs, which serves what it has
//! accepted and ends by itself. No connection is refused, as the listeners stay open throughout.
//!
//! ```text
//! new  connects to the control socket            takeover 1
//! old  changes exclude other processes from now  files 1, listener ADDR …, lock …, older …, control
//! new  binds what is missing, opens the store    ready
//! old  accepts no more, grants no locks          yours
//! new  reads the locks, accepts
//! ```
//!
//! The connection of the two stays open. Its end tells the old one that the new one is gone: before `ready` nothing has
//! happened then, and after it the old one accepts again, if it still runs. Its end tells the new one that the directory
//! is its own again. A newer one gets it as well, which bounds how many run at a time.

mod keeper;
mod words;

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::{NO_THREAD, ServerError};
use super::platform::OsPlatform;
use crate::config::SocketFile;
use crate::os::descriptors::{Message, receive, send};
use crate::os::event_queue::Control;
use crate::os::net::{Address, listen_unix};
use crate::os::process::clock;
use crate::platform::Platform as _;
use crate::store::Sharing;
use keeper::Keeper;
use words::{ANSWER_MAX, FILES, GENERATIONS_MAX, HELLO, Holding, Passed, READY, REFUSED, YOURS};

/// How long a process that was killed may take to end.
const END_MAX: Duration = Duration::from_secs(2);

/// What building a server has to do with a hand-over.
#[derive(Debug)]
pub(super) struct HandOver {
    taken: Option<TakeOver>,
    /// Where the next process asks.
    socket: Option<UnixListener>,
    /// Set where nothing is taken over: the process that was to be may have been killed just now, and closes what it had
    /// open one after the other.
    ending_until: Option<Instant>,
}

impl HandOver {
    /// Asks the server with the control socket `from`, if there is one, and opens that of this one: `control`, or the
    /// same. To be called before the sandbox: it forbids new sockets.
    pub(super) fn begin(from: Option<&Path>, control: Option<&Path>) -> Result<Self, ServerError> {
        let mut taken = from.map(TakeOver::begin).transpose()?.flatten();
        let ending_until = from.filter(|_| taken.is_none()).map(|_| clock() + END_MAX);
        let Some(path) = control.or(from) else { return Ok(Self { taken, socket: None, ending_until }) };
        let inherited = taken.as_mut().and_then(|taken| taken.control_at(path));
        let socket = match inherited {
            Some(socket) => socket,
            None => {
                let file = SocketFile { mode: 0o600, ..SocketFile::default() };
                let fail = |source| ServerError::Control { path: path.to_owned(), source };
                OwnedFd::from(listen_unix(path, &file).map_err(fail)?).into()
            }
        };
        Ok(Self { taken, socket: Some(socket), ending_until })
    }

    /// The listener of the other process at this address, once.
    pub(super) fn listener_at(&mut self, address: &Address) -> Option<OwnedFd> {
        self.taken.as_mut()?.listener_at(&address.to_string())
    }

    /// Until when an address that is in use may be free at any moment.
    pub(super) const fn ending_until(&self) -> Option<Instant> {
        self.ending_until
    }

    /// With whom a store is shared that is `shared` with others or not.
    pub(super) fn share(&mut self, shared: bool) -> Result<Sharing, ServerError> {
        let sharing = Sharing::new(shared);
        let Some(taken) = &mut self.taken else { return Ok(sharing) };
        // Those that share it as well would stay.
        if !shared && taken.locks.iter().any(|(holding, _)| *holding == Holding::Shared) {
            return Err(failed(&taken.path, "it shares the folder with other servers: add --shared here, too"));
        }
        Ok(sharing.inherit(taken.locks.drain(..).map(|(_, lock)| lock).collect()))
    }

    /// All is there to serve: the other process accepts nothing more from now on, and this one answers the next. True if
    /// there is another.
    pub(super) fn complete(
        self,
        platform: &mut OsPlatform,
        addresses: Vec<String>,
        control: &Arc<Control>,
    ) -> Result<bool, ServerError> {
        let has_taken_over = self.taken.is_some();
        let older = self.taken.map(TakeOver::complete).transpose()?.unwrap_or_default();
        if let Some(socket) = self.socket {
            let (listeners, overlap) = (platform.listeners(), platform.store().overlap());
            let keeper = Keeper { socket, older, listeners, addresses, overlap, control: Arc::clone(control) };
            keeper.start().map_err(ServerError::system(NO_THREAD))?;
        }
        Ok(has_taken_over)
    }
}

/// What a process has got of the one that it takes over from, which serves until it is told.
#[derive(Debug)]
struct TakeOver {
    path: PathBuf,
    /// By their addresses.
    listeners: Vec<(String, OwnedFd)>,
    locks: Vec<(Holding, OwnedFd)>,
    older: Vec<UnixStream>,
    control: Option<UnixListener>,
    process: UnixStream,
}

impl TakeOver {
    /// Asks the process with this control socket; `None` if there is none.
    fn begin(path: &Path) -> Result<Option<Self>, ServerError> {
        // Where one ends before it has answered, the one before it may take back the socket.
        for _ in 0..GENERATIONS_MAX {
            let process = match UnixStream::connect(path) {
                Ok(process) => process,
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                    log::warn!("no server answers at {}: there is none to take over from", path.display());
                    return Ok(None);
                }
                Err(error) => return Err(failed(path, &error.to_string())),
            };
            match Self::ask(&process) {
                Ok(answer) => return Self::take(path, process, answer).map(Some),
                Err(error) if has_ended(&error) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Err(failed(path, &format!("it does not answer within {ANSWER_MAX:?}")));
                }
                Err(error) => return Err(failed(path, &error.to_string())),
            }
        }
        Err(failed(path, "it ends each time before it answers"))
    }

    fn ask(process: &UnixStream) -> io::Result<Message> {
        process.set_read_timeout(Some(ANSWER_MAX))?;
        process.set_write_timeout(Some(ANSWER_MAX))?;
        send(process, HELLO, &[])?;
        receive(process)
    }

    fn take(path: &Path, process: UnixStream, answer: Message) -> Result<Self, ServerError> {
        if let Some(reason) = answer.text.strip_prefix(REFUSED) {
            return Err(failed(path, reason));
        }
        let mut lines = answer.text.lines();
        let is_known = lines.next() == Some(FILES);
        let passed: Option<Vec<_>> = lines.map(Passed::parse).collect();
        let Some(passed) = passed.filter(|passed| is_known && passed.len() == answer.files.len()) else {
            return Err(failed(path, "its answer is not understood: perhaps it is another version"));
        };
        let mut taken = Self {
            path: path.to_owned(),
            listeners: Vec::new(),
            locks: Vec::new(),
            older: Vec::new(),
            control: None,
            process,
        };
        for (what, file) in passed.into_iter().zip(answer.files) {
            match what {
                Passed::Listener(address) => taken.listeners.push((address.to_owned(), file)),
                Passed::Lock(holding) => taken.locks.push((holding, file)),
                Passed::Older => taken.older.push(file.into()),
                Passed::Control => taken.control = Some(file.into()),
            }
        }
        Ok(taken)
    }

    /// The listener at this address, once.
    fn listener_at(&mut self, address: &str) -> Option<OwnedFd> {
        let place = self.listeners.iter().position(|(there, _)| there == address)?;
        Some(self.listeners.swap_remove(place).1)
    }

    /// The control socket, if it is to be at this path.
    fn control_at(&mut self, path: &Path) -> Option<UnixListener> {
        self.control.take_if(|_| self.path == path)
    }

    /// Waits until the other process accepts nothing more. Returns the connections to those that run: this one is to
    /// be informed of their end.
    fn complete(mut self) -> Result<Vec<UnixStream>, ServerError> {
        for (address, _) in &self.listeners {
            log::warn!("{address} is not listened on any more, as this process was not told to");
        }
        let told = send(&self.process, READY, &[]).and_then(|()| receive(&self.process));
        match told {
            Ok(answer) if answer.text == YOURS => log::info!("took over from the server at {}", self.path.display()),
            Ok(answer) => return Err(failed(&self.path, &answer.text)),
            // It has ended meanwhile: then there is nothing to wait for.
            Err(error) => log::warn!("the server that was to be taken over is gone: {error}"),
        }
        self.older.push(self.process);
        Ok(self.older)
    }
}

/// True if this came of the end of the other process.
fn has_ended(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof)
}

fn failed(path: &Path, reason: &str) -> ServerError {
    ServerError::TakeOver { path: path.to_owned(), reason: reason.to_owned() }
}
