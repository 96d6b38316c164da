//! The thread that uses the private key: it takes the step of a handshake that takes longer than hundreds of small
//! requests. Where it shares a core with the loop, the kernel gives it an eighth of the time that both want. Never
//! touches a socket.

use std::io;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{Builder, JoinHandle};

use super::session::{Lent, TlsSession, WORKER_ENDED};
use crate::ids::ConnId;
use crate::os::process;
use crate::platform::KeyUse;

/// Handshakes that it has at once: some milliseconds of work.
pub const SESSIONS_MAX: usize = 64;

/// Added to the nice value of the process: an eighth of the weight of the loop, which is what a flood of handshakes
/// costs transfers.
const NICENESS: i32 = 9;

/// A handle of the thread, which ends with it.
#[derive(Debug)]
pub struct KeyWorker {
    /// `None` once the thread is to end.
    jobs: Option<SyncSender<(ConnId, Lent)>>,
    done: Receiver<ConnId>,
    /// Handshakes that the loop does not know to have ended.
    under_way: usize,
    thread: Option<JoinHandle<()>>,
}

impl KeyWorker {
    /// Starts the thread. `wake` is called when a handshake is done.
    pub fn start(wake: impl Fn() + Send + 'static) -> io::Result<Self> {
        let (jobs, queue) = mpsc::sync_channel::<(ConnId, Lent)>(SESSIONS_MAX);
        let (ended, done) = mpsc::channel();
        let thread = Builder::new().name("tls-key".to_owned()).spawn(move || {
            process::lower_priority(NICENESS);
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

    /// Takes the session of a connection, if it has not as many as it may have.
    pub fn take(&mut self, id: ConnId, session: &mut TlsSession) -> io::Result<KeyUse> {
        let Some(jobs) = self.jobs.as_ref().filter(|_| self.under_way < SESSIONS_MAX) else {
            return Ok(KeyUse::Later);
        };
        // There is space for all that are under way, so an error means that the thread has panicked.
        jobs.try_send((id, session.lend())).map_err(|_| io::Error::other(WORKER_ENDED))?;
        self.under_way += 1;
        Ok(KeyUse::UnderWay)
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
