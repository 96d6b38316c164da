//! Memory that is held between turns: chunks, and the bytes waiting to be sent.
//!
//! Nothing here reads or writes a socket or a file.

use std::collections::VecDeque;

/// A fixed-size buffer with a filled part. Owning one is the permission to have that many bytes
/// in flight (a credit).
#[derive(Debug)]
pub struct Chunk {
    /// What was ever filled: the rest of the memory is not touched, so it costs neither zeroes nor pages.
    bytes: Vec<u8>,
    size: usize,
    start: usize,
    end: usize,
}

impl Chunk {
    /// An empty chunk of `size` bytes.
    pub fn new(size: usize) -> Self {
        Self { bytes: Vec::with_capacity(size), size, start: 0, end: 0 }
    }

    /// A full chunk of its own size, for bytes that were gathered elsewhere.
    pub const fn holding(bytes: Vec<u8>) -> Self {
        let size = bytes.len();
        Self { bytes, size, start: 0, end: size }
    }

    pub fn data(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// At most `len` bytes of the free space after them, to be filled.
    pub fn space(&mut self, len: usize) -> &mut [u8] {
        let to = self.end + len.min(self.size - self.end);
        if self.bytes.len() < to {
            self.bytes.resize(to, 0);
        }
        &mut self.bytes[self.end..to]
    }

    /// The first `n` bytes of the free space have been filled.
    pub fn commit(&mut self, n: usize) {
        self.end += n;
        assert!(self.end <= self.bytes.len(), "more bytes filled than there was space for");
    }

    /// The first `n` bytes are not needed any more.
    pub fn consume(&mut self, n: usize) {
        self.start += n;
        assert!(self.start <= self.end, "more bytes consumed than there were");
    }

    /// Copies as much of `from` as fits; returns how much that was.
    pub fn fill(&mut self, from: &[u8]) -> usize {
        let n = from.len().min(self.size - self.end);
        let (over, new) = from[..n].split_at(n.min(self.bytes.len() - self.end));
        self.bytes[self.end..self.end + over.len()].copy_from_slice(over);
        self.bytes.extend_from_slice(new);
        self.end += n;
        n
    }

    /// How many bytes it has space for.
    pub const fn size(&self) -> usize {
        self.size
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

/// Free chunks, kept for the next transfer. Slots decide which session may take one: this never keeps, and never hands
/// out, more than there are credits.
#[derive(Debug)]
pub struct ChunkPool {
    free: Vec<Chunk>,
    /// The fewest that were free at once since the last [`ChunkPool::trim`]: the load does without these.
    unused: usize,
    chunk_bytes: usize,
}

impl ChunkPool {
    /// An empty pool for chunks of this size.
    pub const fn new(chunk_bytes: usize) -> Self {
        Self { free: Vec::new(), unused: 0, chunk_bytes }
    }

    pub fn take(&mut self) -> Chunk {
        let chunk = self.free.pop();
        self.unused = self.unused.min(self.free.len());
        chunk.unwrap_or_else(|| Chunk::new(self.chunk_bytes))
    }

    /// A chunk is free again. One of another size is dropped.
    pub fn give(&mut self, mut chunk: Chunk) {
        if chunk.size == self.chunk_bytes {
            chunk.clear();
            self.free.push(chunk);
        }
    }

    /// True if more are free than are kept without a load.
    pub const fn has_surplus(&self) -> bool {
        self.free.len() > KEPT_MIN
    }

    /// Drops the surplus that no transfer has needed since the last call; returns how many chunks that are. Call it until
    /// there is none: a crowd must not leave its memory.
    pub fn trim(&mut self) -> usize {
        let dropped = self.free.len().saturating_sub(KEPT_MIN).min(self.unused);
        // Those at the front were free for longest.
        self.free.drain(..dropped);
        self.unused = self.free.len();
        dropped
    }

    pub const fn chunk_bytes(&self) -> usize {
        self.chunk_bytes
    }
}

/// Chunks that are kept without a load.
const KEPT_MIN: usize = 4;

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
    /// A longer text gives the memory of what has left back before all of it has: a peer that reads slowly keeps no more
    /// than twice what waits for it.
    const SENT_BYTES_KEPT: usize = 8 * 1024;
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

    /// Queues a filled chunk after everything else.
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
        } else if self.text.capacity() > Self::SENT_BYTES_KEPT && self.text_len() <= self.text.capacity() / 2 {
            self.text.drain(..std::mem::take(&mut self.at));
            self.text.shrink_to_fit();
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

    /// Bytes of heap after the text, for the accounting of memory.
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

    #[test]
    fn a_long_text_gives_its_memory_back_as_it_leaves() {
        let whole: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        let (mut outbox, mut got) = (Outbox::default(), Vec::new());
        outbox.text().extend_from_slice(&whole);
        while outbox.text_len() > 0 {
            let mut slices = [&[][..]; SLICES_MAX];
            outbox.slices(&mut slices);
            got.extend_from_slice(&slices[0][..slices[0].len().min(999)]);
            outbox.sent(slices[0].len().min(999), &mut Vec::new());
            let most = Outbox::SENT_BYTES_KEPT.max(2 * outbox.text_len());
            assert!(outbox.text_capacity() <= most, "{} for {}", outbox.text_capacity(), outbox.text_len());
        }
        assert_eq!(got, whole);
    }

    #[test]
    fn a_chunk_holds_what_was_filled_last_and_no_more_than_its_size() {
        let mut chunk = Chunk::new(10);
        assert_eq!((chunk.fill(b"abcdef"), chunk.data()), (6, &b"abcdef"[..]));
        chunk.consume(2);
        assert_eq!((chunk.fill(b"ghijkl"), chunk.data()), (4, &b"cdefghij"[..]));
        chunk.clear();
        assert_eq!((chunk.fill(b"xy"), chunk.data()), (2, &b"xy"[..]));
        chunk.space(3).copy_from_slice(b"123");
        chunk.commit(3);
        assert_eq!((chunk.fill(b"6789abc"), chunk.data()), (5, &b"xy1236789a"[..]));
        assert_eq!(chunk.space(9), b"");
        chunk.clear();
        assert_eq!(chunk.space(99).len(), 10);
    }

    #[test]
    fn a_small_body_touches_no_more_memory_than_its_length() {
        let mut chunk = Chunk::new(64 * 1024);
        chunk.fill(b"small");
        assert_eq!(chunk.bytes.len(), 5);
    }

    #[test]
    fn what_the_load_needs_is_kept_and_given_back_after_it() {
        let mut pool = ChunkPool::new(8);
        for _ in 0..3 {
            let taken: Vec<_> = (0..100).map(|_| pool.take()).collect();
            taken.into_iter().for_each(|chunk| pool.give(chunk));
            assert_eq!((pool.trim(), pool.free.len()), (0, 100), "all were needed since the last time");
        }
        let taken: Vec<_> = (0..40).map(|_| pool.take()).collect();
        taken.into_iter().for_each(|chunk| pool.give(chunk));
        assert_eq!((pool.trim(), pool.free.len()), (60, 40));
        assert!(pool.has_surplus());
        assert_eq!((pool.trim(), pool.free.len()), (40 - KEPT_MIN, KEPT_MIN));
        assert!(!pool.has_surplus());
        pool.give(Chunk::new(9));
        assert_eq!(pool.free.len(), KEPT_MIN, "of another size");
    }
}
