//! A listener and its clients, for tests.

use mio::net::TcpListener;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::listener::listen;
use crate::config::Fixed;

pub(super) fn listener() -> TcpListener {
    listen(([127, 0, 0, 1], 0).into(), false, &Fixed::default(), None).expect("a free port")
}

pub(super) fn client_of(listener: &TcpListener) -> std::net::TcpStream {
    std::net::TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens")
}

pub(super) fn wait_for_next(listener: &TcpListener) {
    let patience = Timespec { tv_sec: 30, tv_nsec: 0 };
    let told = poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&patience)).expect("poll");
    assert_eq!(told, 1, "no connection came");
}
