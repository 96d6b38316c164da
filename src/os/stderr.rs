//! What is known of standard error without a write to it. Never waits.

use std::io;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// False once the terminal that it is has hung up: its program may run on.
pub fn is_open() -> bool {
    let hung_up = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
    poll_events().is_some_and(|events| !events.intersects(hung_up))
}

/// True if it takes bytes now, or if the system cannot say.
#[cfg(feature = "serve")]
pub fn takes_bytes() -> bool {
    poll_events().is_none_or(|events| events.contains(PollFlags::OUT))
}

/// `None` where the system cannot say: with a limit of no descriptors, for one.
fn poll_events() -> Option<PollFlags> {
    let stderr = io::stderr();
    let mut asked = [PollFd::new(&stderr, PollFlags::OUT)];
    poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).ok()?;
    Some(asked[0].revents())
}
