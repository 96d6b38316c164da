//! Where a conversation can be held: what it asks of a platform. Here is the one in memory; the other
//! is [`crate::real::Real`].

use std::time::Duration;

use filewharf::platform::Counters;

use support::rig::{Mode, Peer, Rig};

/// A server, its files, its clocks and one client. Every method returns once the server has nothing
/// left to do.
pub trait World {
    /// Puts a file there before the client comes.
    fn place(&mut self, name: &str, content: &[u8]);
    /// The client comes, or comes again beside its old connection.
    fn connect(&mut self);
    fn send(&mut self, bytes: &[u8]);
    /// The client closes its half.
    fn finish(&mut self);
    fn pass(&mut self, time: Duration);
    /// The server gets the signal to end.
    fn drain(&mut self);
    /// Everything the server has said.
    fn heard(&self) -> Vec<u8>;
    /// The same, send by send; `None` where sockets take too little at once.
    fn packets(&self) -> Option<Vec<Vec<u8>>>;
    fn is_closed(&self) -> bool;
    fn is_reset(&self) -> bool;
    /// The server has let the connection go.
    fn is_gone(&self) -> bool;
    /// Files that will not be closed any more.
    fn left_open(&mut self) -> usize;
    fn counters(&self) -> Counters;
    /// What is stored under a name.
    fn file(&mut self, name: &str) -> Option<Vec<u8>>;
}

/// The platform in memory, and the client once it has come.
pub struct InMemory {
    rig: Rig,
    mode: Mode,
    peer: Option<Peer>,
}

impl InMemory {
    pub fn new(rig: Rig, mode: Mode) -> Self {
        Self { rig, mode, peer: None }
    }

    fn both(&mut self) -> (&mut Rig, &Peer) {
        (&mut self.rig, self.peer.as_ref().expect("the client has come"))
    }

    fn peer(&self) -> &Peer {
        self.peer.as_ref().expect("the client has come")
    }
}

impl World for InMemory {
    fn place(&mut self, name: &str, content: &[u8]) {
        self.rig.place(name, content);
    }

    fn connect(&mut self) {
        self.peer = Some(self.rig.connect());
    }

    fn send(&mut self, bytes: &[u8]) {
        let (rig, peer) = self.both();
        rig.send(peer, bytes);
    }

    fn finish(&mut self) {
        let (rig, peer) = self.both();
        rig.finish(peer);
    }

    fn pass(&mut self, time: Duration) {
        self.rig.pass(time);
    }

    fn drain(&mut self) {
        self.rig.drain();
    }

    fn heard(&self) -> Vec<u8> {
        let peer = self.peer();
        // Whatever was to follow has: else the end of a reply waits in the kernel for a fifth of a second.
        assert!(!peer.is_held_back() || peer.is_reset(), "what was said last is not on its way");
        peer.heard()
    }

    fn packets(&self) -> Option<Vec<Vec<u8>>> {
        (self.mode.window == usize::MAX).then(|| self.peer().packets())
    }

    fn is_closed(&self) -> bool {
        self.peer().is_closed()
    }

    fn is_reset(&self) -> bool {
        self.peer().is_reset()
    }

    fn is_gone(&self) -> bool {
        self.peer().is_gone()
    }

    fn left_open(&mut self) -> usize {
        self.rig.open_files()
    }

    fn counters(&self) -> Counters {
        self.rig.counters()
    }

    fn file(&mut self, name: &str) -> Option<Vec<u8>> {
        self.rig.file(name)
    }
}
