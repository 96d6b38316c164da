//! Clients of `line` that send one upload over many connections. Two of them share a token, and so take the upload
//! from each other.
//!
//! No offset may be said that is below one said before, whatever has crashed meanwhile.

use std::rc::Rc;

use sha2::{Digest as _, Sha256};

use crate::clients::{Client, Ended, Io, Plan};
use crate::model::{Content, Extent, Fate, ReadId, Shown, WriteId};
use crate::resumable::Floor;

/// The upload of one token.
#[derive(Debug)]
struct Upload {
    token: String,
    key: Rc<str>,
    content: Content,
    /// Its length is known only at its end.
    is_chunked: bool,
    is_hashed: bool,
    is_calm: bool,
}

/// What the next reply line is about.
#[derive(Debug)]
enum Awaited {
    Nothing,
    /// An offset.
    Stat(Floor),
    Go(Floor, WriteId),
    /// The end of what was sent, which was all of it or not.
    Stored(WriteId, bool),
    /// The content that was stored last.
    Read(ReadId),
    Body(ReadId, usize),
}

#[derive(Debug)]
pub struct Resume {
    number: usize,
    uploads_begun: u32,
    upload: Option<Upload>,
    awaited: Awaited,
    is_reached: bool,
}

impl Upload {
    /// Every client of the same group makes the same one.
    fn new(number: usize, begun: u32, io: &Io<'_>) -> Self {
        let group = number / 6;
        let (token, key) = match io.calm {
            // In the calm it is not taken away.
            true => (format!("calm-{number}-{begun}"), format!("resumed-{number}.bin")),
            false => (format!("group-{group}-{begun}"), format!("group-{group}.bin")),
        };
        let mut state = u64::from(begun) * 7919 + group as u64 + 1;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        let len = 20 + next() % io.content_max.max(99);
        let mut content = token.clone().into_bytes();
        content.resize_with(len.max(token.len() as u64) as usize, || next() as u8);
        let (is_chunked, is_hashed) = (begun % 3 == 2, begun.is_multiple_of(2));
        Self { token, key: key.into(), content: content.into(), is_chunked, is_hashed, is_calm: io.calm }
    }

    fn request(&self) -> String {
        let len = if self.is_chunked { "*".to_owned() } else { self.content.len().to_string() };
        let digest = Sha256::digest(&self.content).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let digest = if self.is_hashed { format!("sha256={digest} ") } else { String::new() };
        format!("PUT {len} {digest}resume={} /{}\n", self.token, self.key)
    }

    /// What is said after `GO`; true if that is all.
    fn proceed(&self, from: usize, io: &mut Io<'_>) -> bool {
        let len = self.content.len();
        let is_all = io.calm || from == len || io.rng.chance(400);
        let until = if is_all { len } else { io.rng.range(from as u64..=len as u64 - 1) as usize };
        let rest = &self.content[from..until];
        if self.is_chunked {
            let piece = io.rng.range(1..=rest.len().max(1) as u64) as usize;
            for chunk in rest.chunks(piece) {
                io.out.say(format!("{:x}\n", chunk.len()).as_bytes());
                io.out.say(chunk);
            }
        } else {
            io.out.say(rest);
        }
        match is_all {
            true if self.is_chunked => io.out.say(b"0\n"),
            true => {}
            false => io.out.end(),
        }
        is_all
    }
}

impl Resume {
    pub const fn new(number: usize) -> Self {
        Self { number, uploads_begun: 0, upload: None, awaited: Awaited::Nothing, is_reached: false }
    }

    fn upload(&self) -> &Upload {
        self.upload.as_ref().expect("a connection is about an upload")
    }

    fn put(&mut self, io: &mut Io<'_>) {
        let upload = self.upload.as_ref().expect("a connection is about an upload");
        let floor = io.model.resumable.begin(&upload.token);
        let write = io.model.begin_write(&upload.key, Some(Rc::clone(&upload.content)), Extent::Whole);
        io.out.say(upload.request().as_bytes());
        self.awaited = Awaited::Go(floor, write);
    }

    fn heard(&self, offset: u64, floor: Floor, io: &mut Io<'_>) {
        let Upload { token, content, .. } = self.upload();
        if offset > content.len() as u64 {
            io.model.wrong(format!("{token}: offset {offset} of {} bytes", content.len()));
        }
        if let Err(what) = io.model.resumable.heard(token, offset, floor) {
            io.model.wrong(what);
        }
    }

    fn line(&mut self, line: &str, io: &mut Io<'_>) {
        let number = |name: &str| line.split(' ').find_map(|word| word.strip_prefix(name)?.parse::<u64>().ok());
        let is_refused = line.starts_with("ERR ");
        match std::mem::replace(&mut self.awaited, Awaited::Nothing) {
            Awaited::Stat(floor) => {
                match number("offset=") {
                    // The next request begins again.
                    Some(_) if line.contains(" complete=1") => {}
                    Some(offset) => self.heard(offset, floor, io),
                    None if line.starts_with("ERR 404 ") => self.heard(0, floor, io),
                    None => {}
                }
                self.put(io);
            }
            Awaited::Go(floor, write) => match line.strip_prefix("GO ").and_then(|offset| offset.parse().ok()) {
                Some(offset) => {
                    self.heard(offset, floor, io);
                    let Upload { token, content, .. } = self.upload();
                    io.model.resumable.resumes(token, offset, content.len() as u64, floor);
                    let from = (offset as usize).min(self.upload().content.len());
                    let is_all = self.upload().proceed(from, io);
                    if is_all {
                        io.model.resumable.finishes(&self.upload().token);
                    }
                    self.awaited = Awaited::Stored(write, is_all);
                }
                None => self.refused(line, write, false, io),
            },
            Awaited::Stored(write, is_all) if is_refused => self.refused(line, write, is_all, io),
            Awaited::Stored(write, is_all) => {
                self.over(is_all, io);
                io.model.end_write(write, Fate::Acked);
                let read = io.model.begin_read();
                io.out.say(format!("GET /{}\n", self.upload().key).as_bytes());
                self.awaited = Awaited::Read(read);
            }
            Awaited::Read(read) if !is_refused => {
                let len = line.split(' ').nth(1).and_then(|len| len.parse().ok());
                match len {
                    Some(len) => self.awaited = Awaited::Body(read, len),
                    None => io.model.wrong(format!("resume: this is no reply: {line}")),
                }
            }
            Awaited::Read(_) => io.out.close(),
            Awaited::Nothing | Awaited::Body(..) => io.model.wrong(format!("resume: nothing was asked: {line}")),
        }
    }

    /// Nothing more of it is on its way.
    fn over(&self, is_all: bool, io: &mut Io<'_>) {
        if is_all {
            io.model.resumable.finished(&self.upload().token);
        }
    }

    fn refused(&self, line: &str, write: WriteId, is_all: bool, io: &mut Io<'_>) {
        self.over(is_all, io);
        let code = line.strip_prefix("ERR ").and_then(|rest| rest.get(..3));
        let fate = if matches!(code, Some("500" | "507")) { Fate::Unsure } else { Fate::Refused };
        io.model.end_write(write, fate);
        let passes = code.is_some_and(|code| io.passes(code));
        if code.is_none() || code == Some("422") || io.calm && self.upload().is_calm && !passes {
            io.model.wrong(format!("resume: {:?} is answered {line}", self.upload().request()));
        }
        io.out.close();
    }
}

impl Client for Resume {
    fn begin(&mut self, io: &mut Io<'_>) -> Plan {
        if self.is_reached {
            return Plan::Done;
        }
        if self.upload.as_ref().is_none_or(|upload| upload.is_calm != io.calm) {
            self.upload = Some(Upload::new(self.number, self.uploads_begun, io));
            self.uploads_begun += 1;
        }
        if io.rng.chance(300) {
            let Upload { token, key, .. } = self.upload();
            io.out.say(format!("STAT resume={token} /{key}\n").as_bytes());
            self.awaited = Awaited::Stat(io.model.resumable.begin(token));
        } else {
            self.put(io);
        }
        Plan::Connect
    }

    fn received(&mut self, io: &mut Io<'_>) {
        loop {
            if let Awaited::Body(read, len) = self.awaited {
                if io.inbox.len() < len {
                    return;
                }
                let bytes: Vec<u8> = io.inbox.drain(..len).collect();
                io.model.end_read(read, &self.upload().key, Shown::Bytes(&bytes));
                self.awaited = Awaited::Nothing;
                self.is_reached = self.upload().is_calm && io.calm;
                self.upload = None;
                return io.out.close();
            }
            let Some(end) = io.inbox.iter().position(|byte| *byte == b'\n') else { return };
            let line: Vec<u8> = io.inbox.drain(..=end).collect();
            self.line(&String::from_utf8_lossy(&line[..end]), io);
        }
    }

    fn ended(&mut self, io: &mut Io<'_>, _how: Ended) {
        match std::mem::replace(&mut self.awaited, Awaited::Nothing) {
            Awaited::Go(_, write) => io.model.end_write(write, Fate::Lost),
            Awaited::Stored(write, is_all) => {
                self.over(is_all, io);
                io.model.end_write(write, Fate::Lost);
            }
            // It was stored; what came after that is lost.
            Awaited::Read(_) | Awaited::Body(..) => self.upload = None,
            Awaited::Nothing | Awaited::Stat(_) => {}
        }
    }
}
