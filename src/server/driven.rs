//! A server that a program drives from a loop of its own, beside whatever else it waits for. Never waits longer than it
//! is told to.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::error::{LOOP_FAILED, ServerError};
use super::running::Server;
use crate::reactor::Ended;

impl Server {
    /// One turn of the loop, for a program that drives it from a loop of its own: waits at most `timeout` for
    /// something to happen, then does one bounded slice of work. Returns how the server ended, once it has drained
    /// or was stopped.
    ///
    /// Deadlines and new connections wait between two turns: call it again soon, or as [`Server::next_deadline`] has it.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let mut server = filewharf::Server::builder().root(dir.path()).listen("127.0.0.1:0").build()?;
    /// # server.handle().drain();
    /// while server.turn(Duration::from_millis(10))?.is_none() {
    ///     // Whatever else the program does.
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn turn(&mut self, timeout: Duration) -> Result<Option<Ended>, ServerError> {
        if self.reactor.ended().is_none() {
            self.reactor.turn_within(timeout).map_err(ServerError::system(LOOP_FAILED))?;
        }
        Ok(self.reactor.ended())
    }

    /// When the server next has something to do though its descriptor is not readable: a moment that has passed where
    /// there is work now, `None` while it waits for events only. Ask after each [`Server::turn`].
    pub fn next_deadline(&self) -> Option<Instant> {
        [self.reactor.due(), self.reactor.platform().due()].into_iter().flatten().min()
    }
}

/// A descriptor that is readable while there are events for [`Server::turn`]: for `poll` or `epoll`, level-triggered, in
/// a program that waits for other things too. To be read by nothing else.
///
/// ```
/// # #[cfg(target_os = "linux")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::os::fd::AsFd;
/// use std::time::{Duration, Instant};
///
/// use rustix::event::{Timespec, epoll};
///
/// # let dir = tempfile::tempdir()?;
/// let mut server = filewharf::Server::builder().root(dir.path()).listen("127.0.0.1:0").build()?;
/// # server.handle().drain();
/// let mine = epoll::create(epoll::CreateFlags::CLOEXEC)?;
/// epoll::add(&mine, server.as_fd(), epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
/// // Add whatever else the program waits for.
/// loop {
///     let wait = server.next_deadline().map(|at| at.saturating_duration_since(Instant::now()));
///     let wait = wait.map(Timespec::try_from).transpose()?;
///     let mut events = Vec::with_capacity(16);
///     epoll::wait(&mine, rustix::buffer::spare_capacity(&mut events), wait.as_ref())?;
///     // Do what the others need; the server's turn costs little where it has nothing to do.
///     if server.turn(Duration::ZERO)?.is_some() {
///         break;
///     }
/// }
/// # Ok(())
/// # }
/// # #[cfg(not(target_os = "linux"))]
/// # fn main() {}
/// ```
impl AsFd for Server {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reactor.platform().fd()
    }
}
