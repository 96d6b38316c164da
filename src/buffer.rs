//! Memory that is held between turns: chunks, and the bytes waiting to be sent.
//!
//! Nothing here reads or writes a socket or a file.

use std::collections::VecDeque;

/// A fixed-size buffer with a filled part. Owning one is the permission to have that many bytes
/// in flight (a credit).
#[derive(Debug)]
pub struct Chunk {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Chunk {
    /// An empty chunk of `size` bytes.
    pub fn new(size: usize) -> Self {
        Self { bytes: vec![0; size].into_boxed_slice(), start: 0, end: 0 }
    }

    /// A full chunk of its own size, for bytes that were gathered elsewhere.
    pub fn holding(bytes: Vec<u8>) -> Self {
        let end = bytes.len();
        Self { bytes: bytes.into_boxed_slice(), start: 0, end }
    }

    pub fn data(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// The room behind them.
    pub fn space(&mut self) -> &mut [u8] {
        &mut self.bytes[self.end..]
    }

    /// The first `n` bytes of the room have been filled.
    pub fn commit(&mut self, n: usize) {
        self.end += n;
        assert!(self.end <= self.bytes.len(), "more bytes filled than there was room for");
    }

    /// The first `n` bytes are not needed any more.
    pub fn consume(&mut self, n: usize) {
        self.start += n;
        assert!(self.start <= self.end, "more bytes consumed than there were");
    }

    /// Copies as much of `from` as fits; returns how much that was.
    pub fn fill(&mut self, from: &[u8]) -> usize {
        let n = from.len().min(self.bytes.len() - self.end);
        self.bytes[self.end..self.end + n].copy_from_slice(&from[..n]);
        self.end += n;
        n
    }

    pub fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }

    pub fn len(&self) -> usize {
        self.end - self.start
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }
}

/// Chunks that are at home, kept for the next transfer. Who may take one is decided by slots: this
/// never holds, and never hands out, more than there are credits.
#[derive(Debug)]
pub struct ChunkPool {
    free: Vec<Chunk>,
    chunk_bytes: usize,
}

impl ChunkPool {
    /// An empty pool for chunks of this size.
    pub const fn new(chunk_bytes: usize) -> Self {
        Self { free: Vec::new(), chunk_bytes }
    }

    pub fn take(&mut self) -> Chunk {
        self.free.pop().unwrap_or_else(|| Chunk::new(self.chunk_bytes))
    }

    /// A chunk comes home. It is freed if it has another size, or enough are at home already: a
    /// crowd must not leave its memory behind.
    pub fn give(&mut self, mut chunk: Chunk) {
        if chunk.bytes.len() == self.chunk_bytes && self.free.len() < KEPT_MAX {
            chunk.clear();
            self.free.push(chunk);
        }
    }

    pub const fn chunk_bytes(&self) -> usize {
        self.chunk_bytes
    }
}

/// Chunks kept for the next transfer.
const KEPT_MAX: usize = 16;

/// At most this many pieces leave in one vectored write.
pub const SLICES_MAX: usize = 8;

/// What is to be sent: the bytes of replies, then chunks of a body that had to be held.
///
/// The text always leaves before the chunks: a reply to the next request is only written when the
/// body before it has left.
#[derive(Debug, Default)]
pub struct Outbox {
    text: Vec<u8>,
    at: usize,
    chunks: VecDeque<Chunk>,
}

impl Outbox {
    /// Memory of a text that has left which is kept for the next, in bytes.
    pub const KEPT_BYTES: usize = 1024;
    /// One in which nothing is waiting.
    pub const EMPTY: Self = Self { text: Vec::new(), at: 0, chunks: VecDeque::new() };

    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.chunks.is_empty()
    }

    /// Bytes waiting.
    pub fn len(&self) -> usize {
        self.text.len() - self.at + self.chunks.iter().map(Chunk::len).sum::<usize>()
    }

    /// Bytes of text waiting.
    pub fn text_len(&self) -> usize {
        self.text.len() - self.at
    }

    /// Where replies are written. Call only while no chunk is queued.
    pub fn text(&mut self) -> &mut Vec<u8> {
        debug_assert!(self.chunks.is_empty(), "a reply would overtake a body");
        &mut self.text
    }

    /// Queues a filled chunk behind everything else.
    pub fn push(&mut self, chunk: Chunk) {
        self.chunks.push_back(chunk);
    }

    /// The waiting pieces, oldest first; returns how many of `out` were set.
    pub fn slices<'a>(&'a self, out: &mut [&'a [u8]; SLICES_MAX]) -> usize {
        let mut n = 0;
        if self.text_len() > 0 {
            out[0] = &self.text[self.at..];
            n = 1;
        }
        for chunk in self.chunks.iter().take(SLICES_MAX - n) {
            out[n] = chunk.data();
            n += 1;
        }
        n
    }

    /// Copies all that waits to the front of `out`, which must have room for it; returns its length.
    pub fn copy_to(&self, out: &mut [u8]) -> usize {
        let text = self.text.get(self.at..).unwrap_or_default();
        let mut at = 0;
        for piece in std::iter::once(text).chain(self.chunks.iter().map(Chunk::data)) {
            out[at..at + piece.len()].copy_from_slice(piece);
            at += piece.len();
        }
        at
    }

    /// The first `n` bytes have left; emptied chunks go to `home`. Memory of a short text is kept: a
    /// connection with nothing more to send frees it, or [`Outbox::shrink`]s it.
    pub fn sent(&mut self, mut n: usize, home: &mut Vec<Chunk>) {
        let text = n.min(self.text_len());
        self.at += text;
        n -= text;
        if self.at == self.text.len() {
            self.text.clear();
            self.text.shrink_to(Self::KEPT_BYTES);
            self.at = 0;
        }
        while n > 0 {
            let chunk = self.chunks.front_mut().expect("a send reports no more bytes than were queued");
            let step = n.min(chunk.len());
            chunk.consume(step);
            n -= step;
            if chunk.is_empty() {
                home.extend(self.chunks.pop_front());
            }
        }
    }

    /// Gives back the memory of a text that has left.
    pub fn shrink(&mut self) {
        if self.text.is_empty() {
            self.text = Vec::new();
        }
    }

    /// Drops everything; chunks go to `home`.
    pub fn clear(&mut self, home: &mut Vec<Chunk>) {
        self.text = Vec::new();
        self.at = 0;
        home.extend(self.chunks.drain(..));
    }

    /// Bytes of heap behind the text, for the accounting of memory.
    pub fn text_capacity(&self) -> usize {
        self.text.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_sending_gives_the_same_bytes() {
        let whole: Vec<u8> = (0..40).collect();
        for step in 1..=whole.len() {
            let mut outbox = Outbox::default();
            outbox.text().extend_from_slice(&whole[..7]);
            for part in whole[7..].chunks(11) {
                let mut chunk = Chunk::new(16);
                assert_eq!(chunk.fill(part), part.len());
                outbox.push(chunk);
            }
            let (mut got, mut home) = (Vec::new(), Vec::new());
            while !outbox.is_empty() {
                let mut slices = [&[][..]; SLICES_MAX];
                let n = outbox.slices(&mut slices);
                let mut copy = [0; 64];
                let len = outbox.copy_to(&mut copy);
                assert_eq!((len, &copy[..len]), (outbox.len(), &*slices[..n].concat()));
                let flat: Vec<u8> = slices[..n].iter().flat_map(|s| s.iter().copied()).take(step).collect();
                got.extend_from_slice(&flat);
                outbox.sent(flat.len(), &mut home);
            }
            assert_eq!(got, whole, "step {step}");
            assert_eq!(home.len(), 3);
        }
    }
}
