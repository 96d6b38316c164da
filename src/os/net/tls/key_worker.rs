//! The thread that goes on with handshakes past their use of the private key, where the loop has no time for that.
//! Never touches a socket.

use std::io;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread::{Builder, JoinHandle};

use super::session::{Lent, TlsSession};
use crate::ids::ConnId;
use crate::os::process;

/// Handshakes that it has at once: some milliseconds of work.
pub const SESSIONS_MAX: usize = 64;

/// A handle of the thread, which ends with it.
#[derive(Debug)]
pub struct KeyWorker {
    /// `None` once the thread is to end, or has.
    jobs: Option<SyncSender<(ConnId, Lent)>>,
    done: Receiver<ConnId>,
    /// Handshakes that the loop has not been told the end of.
    under_way: usize,
    thread: Option<JoinHandle<()>>,
}

impl KeyWorker {
    /// Starts the thread. `wake` is called when a handshake is done.
    pub fn start(wake: impl Fn() + Send + 'static) -> io::Result<Self> {
        let (jobs, queue) = mpsc::sync_channel::<(ConnId, Lent)>(SESSIONS_MAX);
        let (ended, done) = mpsc::channel();
        let thread = Builder::new().name("tls-key".to_owned()).spawn(move || {
            process::lower_priority();
            for (id, lent) in queue {
                lent.use_key();
                if ended.send(id).is_err() {
                    break;
                }
                wake();
            }
        });
        Ok(Self { jobs: Some(jobs), done, under_way: 0, thread: Some(thread?) })
    }

    /// Takes the session of a connection. False if it has as many as it may have.
    pub fn take(&mut self, id: ConnId, session: &mut TlsSession) -> bool {
        let Some(jobs) = self.jobs.as_ref().filter(|_| self.under_way < SESSIONS_MAX) else { return false };
        let sent = jobs.try_send((id, session.lend()));
        if let Err(TrySendError::Full((_, lent)) | TrySendError::Disconnected((_, lent))) = sent {
            // There is space for all that are under way, so the thread has panicked, and said so.
            *session = lent.take_back();
            self.jobs = None;
            return false;
        }
        self.under_way += 1;
        true
    }

    /// The next connection that has its session back.
    pub fn next_done(&mut self) -> Option<ConnId> {
        let id = self.done.try_recv().ok()?;
        self.under_way -= 1;
        Some(id)
    }
}

impl Drop for KeyWorker {
    fn drop(&mut self) {
        // It ends with the handshake that it has, and not with all that wait.
        (self.jobs, self.done) = (None, mpsc::channel().1);
        if let Some(thread) = self.thread.take() {
            // It has panicked and said so, or it ends.
            let _ = thread.join();
        }
    }
}
