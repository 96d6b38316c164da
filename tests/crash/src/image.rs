//! The content of a disk, and what may be left of it after a power cut.
//!
//! Pure: a base, a list of what was written and flushed since, a place to cut, and a way to tear.
//! What was written before a completed flush is there; of what came after it, any part may be.

use std::collections::HashMap;
use std::sync::Arc;

use crate::story::Event;
use support::content::Random;

/// Content is shared between images in pieces of this length.
const PAGE: usize = 4096;

/// Everything on a disk. A copy costs little: pages are shared until one side writes to them.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// A page that is not here is all zeroes.
    pages: HashMap<u64, Arc<[u8; PAGE]>>,
}

impl Image {
    pub fn read(&self, offset: u64, into: &mut [u8]) {
        for (page, from, part) in pieces(offset, into.len(), PAGE) {
            match self.pages.get(&page) {
                Some(bytes) => into[part.clone()].copy_from_slice(&bytes[from..from + part.len()]),
                None => into[part].fill(0),
            }
        }
    }

    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        for (page, from, part) in pieces(offset, bytes.len(), PAGE) {
            let piece = &bytes[part];
            if piece.len() == PAGE && piece.iter().all(|byte| *byte == 0) {
                self.pages.remove(&page);
                continue;
            }
            let page = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(page)[from..from + piece.len()].copy_from_slice(piece);
        }
    }
}

/// The pages of a length that a range touches: number, offset in it, and which part of the range
/// lies there.
fn pieces(offset: u64, len: usize, page: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let from = (at % page as u64) as usize;
        let part = done..len.min(done + page - from);
        done = part.end;
        (!part.is_empty()).then_some((at / page as u64, from, part))
    })
}

/// The writes and flushes of the disk, and the events between them, in order.
#[derive(Debug)]
pub enum Record {
    Write {
        offset: u64,
        bytes: Box<[u8]>,
    },
    /// Everything that was written before is on the disk for good.
    Flush,
    /// Happened at some moment before this place in the log.
    Note(Event),
}

/// How much is left of what was written after the last flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tear {
    Nothing,
    Everything,
    /// Each write is there or not.
    Writes,
    /// Each 4 KiB of each write are there or not: what disks of today write as one.
    Blocks,
    /// Each sector of each write is there or not: the least that any disk writes as one. File
    /// systems do not promise to come back from that: their own metadata may be torn.
    Sectors,
}

impl Tear {
    pub fn any(random: &mut Random) -> Self {
        match random.below(7) {
            0 => Self::Nothing,
            1 => Self::Everything,
            2 | 3 => Self::Writes,
            4 | 5 => Self::Blocks,
            _ => Self::Sectors,
        }
    }
}

/// Length of what disks of today write as one.
const BLOCK: usize = 4096;
/// Length of the least that any disk writes as one.
const SECTOR: usize = 512;

/// Walks along a log and makes images of places in it.
pub struct Replay<'a> {
    records: &'a [Record],
    durable: Image,
    pending: Vec<usize>,
    at: usize,
}

impl<'a> Replay<'a> {
    pub fn new(base: Image, records: &'a [Record]) -> Self {
        Self { records, durable: base, pending: Vec::new(), at: 0 }
    }

    /// Goes forward to the place before record number `cut`.
    pub fn advance(&mut self, cut: usize) {
        assert!(self.at <= cut && cut <= self.records.len(), "a log is walked forward, within it");
        for at in self.at..cut {
            match &self.records[at] {
                Record::Write { .. } => self.pending.push(at),
                Record::Flush => {
                    for at in self.pending.drain(..) {
                        let Record::Write { offset, bytes } = &self.records[at] else { continue };
                        self.durable.write(*offset, bytes);
                    }
                }
                Record::Note(_) => {}
            }
        }
        self.at = cut;
    }

    /// What a power cut here may leave. Writes to the same place keep their order, as a disk does.
    pub fn image(&self, tear: Tear, random: &mut Random) -> Image {
        let mut image = self.durable.clone();
        // Sometimes most is lost, sometimes little: each finds other mistakes.
        let kept = [1, 4, 7][random.below(3) as usize];
        let mut keeps = || random.below(8) < kept;
        for &at in &self.pending {
            let Record::Write { offset, bytes } = &self.records[at] else { continue };
            match tear {
                Tear::Nothing => {}
                Tear::Everything => image.write(*offset, bytes),
                Tear::Writes if keeps() => image.write(*offset, bytes),
                Tear::Writes => {}
                Tear::Blocks | Tear::Sectors => {
                    let len = if tear == Tear::Blocks { BLOCK } else { SECTOR };
                    for (piece, from, part) in pieces(*offset, bytes.len(), len) {
                        if keeps() {
                            image.write(piece * len as u64 + from as u64, &bytes[part]);
                        }
                    }
                }
            }
        }
        image
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(offset: u64, byte: u8, len: usize) -> Record {
        Record::Write { offset, bytes: vec![byte; len].into() }
    }

    fn bytes(image: &Image, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![9; len];
        image.read(offset, &mut bytes);
        bytes
    }

    #[test]
    fn an_image_reads_back_what_was_written_across_pages_and_zeroes_elsewhere() {
        let mut image = Image::default();
        image.write(4000, &[7; 10_000]);
        assert_eq!(bytes(&image, 3999, 10_002), [vec![0], vec![7; 10_000], vec![0]].concat());
        let copy = image.clone();
        image.write(4096, &[0; 4096]);
        assert_eq!(bytes(&image, 4095, 4098), [vec![7], vec![0; 4096], vec![7]].concat());
        assert_eq!(bytes(&copy, 4095, 4098), vec![7; 4098]);
    }

    // covers: power-cut
    #[test]
    fn what_was_flushed_is_there_however_the_rest_is_torn() {
        let records = [write(0, 1, 4096), Record::Flush, write(4096, 2, 4096), write(0, 3, 1024)];
        let mut replay = Replay::new(Image::default(), &records);
        replay.advance(4);
        let mut random = Random::new(1);
        let (mut lost, mut torn, mut whole) = (0, 0, 0);
        for _ in 0..200 {
            let image = replay.image(Tear::any(&mut random), &mut random);
            assert_eq!(bytes(&image, 1024, 3072), vec![1; 3072]);
            let sectors: Vec<u8> = (0..8).map(|n| bytes(&image, 4096 + n * 512, 1)[0]).collect();
            match sectors.iter().filter(|byte| **byte == 2).count() {
                0 => lost += 1,
                8 => whole += 1,
                _ => torn += 1,
            }
        }
        assert!(lost > 0 && torn > 0 && whole > 0, "{lost} {torn} {whole}");
    }

    #[test]
    fn a_cut_before_the_flush_may_lose_what_a_cut_after_it_may_not() {
        let records = [write(0, 1, 512), Record::Flush];
        let mut replay = Replay::new(Image::default(), &records);
        let mut random = Random::new(1);
        replay.advance(1);
        assert_eq!(bytes(&replay.image(Tear::Nothing, &mut random), 0, 1), [0]);
        assert_eq!(bytes(&replay.image(Tear::Everything, &mut random), 0, 1), [1]);
        replay.advance(2);
        assert_eq!(bytes(&replay.image(Tear::Nothing, &mut random), 0, 1), [1]);
    }
}
