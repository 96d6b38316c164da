//! A client of the `line` protocol: every verb, with conditions, digests, ranges and pages, one
//! after the other or pipelined.

pub mod request;

use std::collections::{BTreeMap, VecDeque};

use sha2::{Digest as _, Sha256};

use crate::clients::{Client, Ended, Io, Plan};
use crate::model::{Acknowledged, Fate, Shown};
use request::{Request, Verb};

#[derive(Debug)]
pub struct Line {
    number: usize,
    /// Not yet said.
    script: VecDeque<Vec<u8>>,
    /// Said, or about to be; replies come in this order.
    awaited: VecDeque<Request>,
    acknowledged: Acknowledged,
    body: Option<Body>,
    /// Versions it has heard of.
    etags: BTreeMap<String, String>,
    renames: u32,
    /// How many of the goals of the calm are reached.
    reached: u8,
}

/// A body after a reply line.
#[derive(Debug)]
struct Body {
    reply: Reply,
    len: usize,
    trailer: usize,
}

/// A reply line.
#[derive(Clone, Debug)]
struct Reply {
    line: String,
}

const TRAILER_LEN: usize = 7 + 64 + 1;

impl Reply {
    fn code(&self) -> Option<&str> {
        self.line.strip_prefix("ERR ").and_then(|rest| rest.get(..3))
    }

    fn option(&self, name: &str) -> Option<&str> {
        self.line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    fn len(&self) -> Option<usize> {
        self.line.strip_prefix("OK ")?.split(' ').next()?.parse().ok()
    }
}

impl Line {
    pub fn new(number: usize) -> Self {
        Self {
            number,
            script: VecDeque::new(),
            awaited: VecDeque::new(),
            acknowledged: Acknowledged::NONE,
            body: None,
            etags: BTreeMap::new(),
            renames: 0,
            reached: 0,
        }
    }

    fn request(&mut self, io: &mut Io<'_>) {
        let requests = if io.calm {
            vec![request::calm(self.reached, self.number, io)]
        } else if io.rng.chance(200) {
            request::burst(io)
        } else {
            request::any(self.number, &mut self.renames, &self.etags, io)
        };
        for (bytes, request) in requests {
            // What is sent together is with the first.
            self.script.extend((!bytes.is_empty()).then_some(bytes));
            self.awaited.push_back(request);
        }
    }

    /// A reply with everything that belongs to it.
    fn replied(&mut self, reply: &Reply, body: &[u8], io: &mut Io<'_>) {
        let Some(request) = self.awaited.pop_front() else {
            return io.model.wrong(format!("line: a reply that nobody asked for: {}", reply.line));
        };
        if let Some(etag) = reply.option("etag") {
            self.etags.insert(request.key.clone(), etag.to_owned());
        }
        let good = reply.code().is_none();
        if io.calm && request.calm {
            match reply.code() {
                None => self.reached += 1,
                Some(code) if io.passes(code) => {}
                Some(_) => io.model.wrong(format!("line: with faults off, {request:?} is answered {}", reply.line)),
            }
        }
        let fate = match reply.code() {
            None => Fate::Acked,
            Some("500" | "507") => Fate::Unsure,
            Some(_) => Fate::Refused,
        };
        for write in &request.writes {
            io.model.end_write_after(*write, fate, &mut self.acknowledged);
        }
        if good && let (Some(etag), Some(write)) = (&request.replaces, request.writes.first()) {
            io.model.replaced(*write, etag);
        }
        if let (true, Some(etag)) = (good, reply.option("etag")) {
            match (&request.verb, request.writes.first()) {
                (Verb::Put, Some(write)) => io.model.stored_as(*write, etag),
                (Verb::Get, _) if reply.option("range").is_none() => io.model.read_as(etag, body),
                _ => {}
            }
        }
        if good && request.must_fail {
            io.model.wrong(format!("line: {request:?} was answered {}", reply.line));
        }
        let Some(read) = request.read else { return };
        let after = self.acknowledged.of(&request.key);
        match &request.verb {
            Verb::List { dir, after, limit } if good => {
                let more = reply.option("more").is_some();
                request::judge_page(read, dir, after.as_deref(), *limit, more, body, io);
            }
            Verb::Get if good => {
                let range = reply.option("range").map(str::to_owned);
                let shown = match range.as_deref().and_then(|range| range.split_once('/')) {
                    Some((range, total)) => {
                        let start = range.split('-').next().and_then(|n| n.parse().ok()).unwrap_or(u64::MAX);
                        Shown::Part(start, body, total.parse().unwrap_or(u64::MAX))
                    }
                    None => Shown::Bytes(body),
                };
                io.model.end_read_after(read, after, &request.key, shown);
            }
            Verb::Stat if good => {
                if let Some(size) = reply.option("size").and_then(|size| size.parse().ok()) {
                    io.model.end_read_after(read, after, &request.key, Shown::Len(size));
                }
            }
            Verb::Get | Verb::Stat if reply.code() == Some("404") => {
                io.model.end_read_after(read, after, &request.key, Shown::Absent);
            }
            // Deleting what is not there, and what is there for `if=absent`.
            Verb::Delete if reply.code() == Some("404") => {
                io.model.end_read_after(read, after, &request.key, Shown::Absent);
            }
            _ => {}
        }
    }

    fn proceed(&mut self, io: &mut Io<'_>) {
        if !self.awaited.is_empty() && self.script.is_empty() {
            return;
        }
        if self.script.is_empty() && self.awaited.is_empty() {
            let ends = if io.calm { self.reached > request::CALM_GOALS } else { io.rng.chance(300) };
            if ends {
                return io.out.close();
            }
            self.request(io);
        }
        if let Some(bytes) = self.script.pop_front() {
            io.out.say(&bytes);
        }
    }

    fn trailer_is_right(trailer: &[u8], body: &[u8]) -> bool {
        let digest: String = Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
        trailer == format!("sha256={digest}\n").as_bytes()
    }
}

impl Client for Line {
    fn begin(&mut self, io: &mut Io<'_>) -> Plan {
        if io.calm && self.reached > request::CALM_GOALS {
            return Plan::Done;
        }
        (self.body, self.acknowledged) = (None, Acknowledged::NONE);
        let count = if io.calm { 1 } else { io.rng.range(1..=5) };
        (0..count).for_each(|_| self.request(io));
        if io.rng.chance(500) {
            // All at once.
            while let Some(bytes) = self.script.pop_front() {
                io.out.say(&bytes);
            }
        } else if let Some(bytes) = self.script.pop_front() {
            io.out.say(&bytes);
        }
        Plan::Connect
    }

    fn received(&mut self, io: &mut Io<'_>) {
        loop {
            if let Some(Body { reply, len, trailer }) = self.body.take() {
                if io.inbox.len() < len + trailer {
                    self.body = Some(Body { reply, len, trailer });
                    return;
                }
                let bytes: Vec<u8> = io.inbox.drain(..len + trailer).collect();
                let (content, after) = bytes.split_at(len);
                if trailer > 0 && !Self::trailer_is_right(after, content) {
                    io.model.wrong(format!("line: {} is followed by {:?}", reply.line, String::from_utf8_lossy(after)));
                }
                self.replied(&reply, content, io);
                self.proceed(io);
                continue;
            }
            let Some(end) = io.inbox.iter().position(|byte| *byte == b'\n') else { return };
            // There was no room, and this much of the first line as had come in time could have become HTTP.
            if b"HTTP/1.1 429 ".iter().eq(io.inbox.iter().take(13)) {
                return;
            }
            let line: Vec<u8> = io.inbox.drain(..=end).collect();
            let reply = Reply { line: String::from_utf8_lossy(&line[..end]).into_owned() };
            let trailer = self.awaited.front().is_some_and(|request| request.trailer) && reply.code().is_none();
            match (reply.len(), reply.code()) {
                (Some(len), None) => {
                    self.body = Some(Body { reply, len, trailer: if trailer { TRAILER_LEN } else { 0 } });
                }
                (None, Some(_)) => {
                    self.replied(&reply, &[], io);
                    self.proceed(io);
                }
                _ => return io.model.wrong(format!("line: this is no reply: {:?}", reply.line)),
            }
        }
    }

    fn ended(&mut self, io: &mut Io<'_>, _how: Ended) {
        for write in self.awaited.drain(..).flat_map(|request| request.writes) {
            io.model.end_write(write, Fate::Lost);
        }
        self.script.clear();
    }

    fn was_cut(&mut self, _io: &mut Io<'_>) {
        self.script.clear();
    }
}
