//! What the simple clients want: store something, fetch something; first anything, and once it is
//! calm, one file of their own.

use std::rc::Rc;

use crate::clients::Io;
use crate::model::{Content, Extent, Fate, ReadId, Shown, WriteId};
use crate::rng::Rng;

/// Names that all clients fight for. None is the front part of another.
pub const SHARED: [&str; 4] = ["k0.txt", "k1.jpg", "k2.jpg", "k3.txt"];

/// One thing to be done.
#[derive(Debug)]
pub enum Errand {
    Put { key: Rc<str>, content: Content, write: WriteId, calm: bool },
    Get { key: Rc<str>, read: ReadId, calm: bool },
}

/// One client's list.
#[derive(Debug)]
pub struct Errands {
    own: Rc<str>,
    extent: Extent,
    /// How many of the calm ones are done.
    reached: u8,
    now: Option<Errand>,
}

/// Bytes that no other write has. They begin like a picture, so that no dialect takes them for a
/// part of a name or of a number.
pub fn content(rng: &mut Rng, len_max: u64) -> Content {
    // Lengths with digits that cannot be taken for a shorter size and the first bytes of a file.
    let len = match rng.below(3) {
        0 => rng.range(20..=99),
        1 => rng.range(300..=999).min(len_max.max(99)),
        _ => rng.range(4000..=9000),
    };
    let len = if len > len_max { rng.range(20..=len_max.min(99)) } else { len };
    let mut bytes = vec![0xFF, 0xD8];
    while bytes.len() < len as usize {
        bytes.extend(rng.next().to_le_bytes());
    }
    bytes.truncate(len as usize);
    bytes.into()
}

impl Errands {
    pub fn new(own: String, extent: Extent) -> Self {
        Self { own: own.into(), extent, reached: 0, now: None }
    }

    /// Begins the next errand; `None` when all is reached. `keys` are those to choose from.
    pub fn next(&mut self, io: &mut Io<'_>, keys: &[&str], reads: bool) -> Option<&Errand> {
        self.give_up(io);
        let key: Rc<str> = if io.calm { Rc::clone(&self.own) } else { (*io.rng.pick(keys)).into() };
        let puts = if io.calm { self.reached == 0 } else { !reads || io.rng.chance(600) };
        if io.calm && self.is_reached(reads) {
            return None;
        }
        let calm = io.calm;
        self.now = Some(if puts {
            let content = content(io.rng, io.content_max);
            let extent = if calm { Extent::Whole } else { self.extent };
            let write = io.model.begin_write(&key, Some(Rc::clone(&content)), extent);
            Errand::Put { key, content, write, calm }
        } else {
            Errand::Get { key, read: io.model.begin_read(), calm }
        });
        self.now.as_ref()
    }

    /// True once everything for the calm is done.
    pub const fn is_reached(&self, reads: bool) -> bool {
        self.reached > reads as u8
    }

    pub const fn current(&self) -> Option<&Errand> {
        self.now.as_ref()
    }

    const fn reach(&mut self, calm: bool) {
        if calm {
            self.reached += 1;
        }
    }

    /// The upload is stored, or was refused, or its fate is unknown.
    pub fn put_ended(&mut self, io: &mut Io<'_>, fate: Fate) {
        if let Some(Errand::Put { write, calm, .. }) = self.now.take() {
            io.model.end_write(write, fate);
            if fate == Fate::Acked {
                self.reach(calm);
            }
        }
    }

    /// The file was fetched, or is not there.
    pub fn got(&mut self, io: &mut Io<'_>, bytes: Option<&[u8]>) {
        if let Some(Errand::Get { key, read, calm }) = self.now.take() {
            let shown = bytes.map_or(Shown::Absent, Shown::Bytes);
            io.model.end_read(read, &key, shown);
            self.reach(calm && bytes.is_some());
        }
    }

    /// Another name was fetched than the one that was asked for.
    pub fn got_other(&mut self, io: &mut Io<'_>, name: &str, bytes: &[u8]) {
        if let Some(Errand::Get { read, calm, .. }) = self.now.take() {
            io.model.end_read(read, name, Shown::Bytes(bytes));
            self.reach(calm);
        }
    }

    /// Nothing came of it that could be judged.
    pub fn give_up(&mut self, io: &mut Io<'_>) {
        if let Some(Errand::Put { write, .. }) = self.now.take() {
            io.model.end_write(write, Fate::Lost);
        }
    }

    /// The client may have ended the stream early.
    pub fn was_cut(&self, io: &mut Io<'_>) {
        if let Some(Errand::Put { write, .. }) = &self.now {
            io.model.was_cut(*write);
        }
    }
}
