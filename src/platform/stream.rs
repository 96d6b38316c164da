//! One connection: what the reactor asks of its stream, and what it answers.

use std::io;

use crate::access::ClientCertificate;

/// One non-blocking TCP stream. Every method may return `WouldBlock`.
pub trait Stream {
    /// Reads up to `buf.len()` bytes; 0 is the end of the stream. [`Readable`] says what a short read means.
    fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize>;

    /// Bytes that the system holds of the peer at least before it keeps the peer from sending more.
    fn receive_buffer_min(&self) -> usize;

    /// Sends from `bufs` (at most `buffer::SLICES_MAX` of them) in order. `more` is `MSG_MORE`: further bytes
    /// follow at once, and a partly filled packet may wait for them.
    fn send(&mut self, bufs: &[&[u8]], more: bool) -> io::Result<usize>;

    /// Closes the sending half; what was sent before is still delivered.
    fn shutdown_write(&mut self) -> io::Result<()>;

    /// Bytes sent that the peer's system has not acknowledged (`SIOCOUTQ`). No event reports a change: poll it.
    fn unacknowledged(&self) -> io::Result<usize>;

    /// Makes the drop of the stream send a reset instead of an end of stream.
    fn reset_on_drop(&mut self);

    // Encrypted streams. The defaults are those of a plain one.

    /// Continues the handshake that [`Platform::secure`](super::Platform::secure) began.
    fn handshake(&mut self) -> io::Result<Handshake> {
        Ok(Handshake::Done)
    }

    /// True if the next `recv` may give something though no event will tell of it: a short read has not emptied
    /// the socket, or bytes are held on this side of it.
    fn holds_input(&self) -> bool {
        false
    }

    /// True if the last `send` has found the send buffer full: the next one would return `WouldBlock`. It may have
    /// encrypted bytes that it did not report; the caller shows these first in the next call.
    fn is_full(&self) -> bool {
        false
    }

    /// False if file content must pass through [`Stream::send`].
    fn takes_files(&self) -> bool {
        true
    }

    /// Sends the end that the encryption has, before the sending half is closed. After `WouldBlock`, call it again.
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// The certificate that the peer has shown and that was verified.
    fn peer_certificate(&self) -> Option<ClientCertificate> {
        None
    }
}

/// The result of [`Stream::handshake`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// The stream can be used.
    Done,
    /// An event tells when to continue.
    Waits,
    /// The next step uses the private key, which takes as long as hundreds of small requests: see
    /// [`Platform::use_key`](super::Platform::use_key).
    NeedsKey,
    /// It failed. Without a reason, the peer has only looked whether the port is open; `is_answered` if the peer was
    /// sent an answer.
    Failed { reason: String, is_answered: bool },
}

/// Where the step of a handshake that uses the private key is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyUse {
    /// Here: it is done.
    Done,
    /// On another thread: [`Event::Handshake`](super::Event::Handshake) reports the end.
    UnderWay,
    /// Not yet: that thread has as many as it may have. One of them ends before there is space for another.
    Later,
}

/// What edge-triggered events have reported about input. Ordered: a later event never makes it less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Readable {
    /// Nothing until the next event.
    Nothing,
    /// Bytes (`EPOLLIN`). A short read has emptied the socket, and an event reports the next bytes.
    Bytes,
    /// Bytes, then the end of the stream, an error or urgent data (`EPOLLRDHUP`, `EPOLLERR`, `EPOLLPRI`), which no event
    /// repeats: read until `recv` returns 0, an error or `WouldBlock`.
    BytesThenEnd,
}
