//! The client at the other end of a connection.

use super::*;

impl Peer {
    fn link<T>(&self, see: impl FnOnce(&mut Link) -> T) -> T {
        see(self.world.borrow_mut().link(self))
    }

    /// Everything the server has said.
    pub fn heard(&self) -> Vec<u8> {
        self.link(|link| link.probe.packets.concat())
    }

    /// The same, send by send.
    pub fn packets(&self) -> Vec<Vec<u8>> {
        self.link(|link| link.probe.packets.clone())
    }

    /// This much of what was sent has not been acknowledged.
    pub fn acknowledges_all_but(&self, bytes: usize) {
        self.link(|link| link.probe.unacknowledged = Some(bytes));
    }

    /// The client has shown the certificate with this SHA-256, which expires at this second since 1970.
    pub fn shows_certificate(&self, sha256: [u8; 32], expires_s: u64) {
        self.link(|link| link.probe.certificate = Some(ClientCertificate { sha256, expires_s }));
    }

    /// This many of the server's next calls are interrupted by a signal.
    pub fn interrupts(&self, calls: u32) {
        self.link(|link| link.probe.interruptions = calls);
    }

    /// The server has closed its half, or all of it.
    pub fn is_closed(&self) -> bool {
        self.link(|link| link.is_closed())
    }

    /// The server has let the connection go.
    pub fn is_gone(&self) -> bool {
        self.link(|link| link.is_dropped())
    }

    /// The kernel keeps back what was sent last, because more was said to follow.
    pub fn is_held_back(&self) -> bool {
        self.link(|link| link.probe.held_back)
    }

    /// The client sees a reset.
    pub fn is_reset(&self) -> bool {
        self.link(|link| link.probe.reset)
    }
}
