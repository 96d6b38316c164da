//! A client of HTTP/1.1: uploads counted, in chunks and after a go-ahead, downloads with ranges and
//! conditions, removals and listings, one after the other or pipelined.

mod locking;

use std::collections::{BTreeMap, VecDeque};

use percent_encoding::percent_decode_str;
use sha2::{Digest as _, Sha256};

use crate::clients::errand::{SHARED, content};
use crate::clients::line::request::judge_page;
use crate::clients::{Client, Ended, Io, Plan};
use crate::model::{Acknowledged, Content, Extent, Fate, ReadId, Shown, WriteId};

/// Goals of the calm: store, fetch, see it listed.
const CALM_GOALS: u8 = 3;

#[derive(Debug)]
pub struct Http {
    number: usize,
    /// Not yet said.
    script: VecDeque<Vec<u8>>,
    /// Said, or about to be; responses come in this order.
    awaited: VecDeque<Request>,
    acknowledged: Acknowledged,
    etags: BTreeMap<String, String>,
    /// The locks that it holds, by their names.
    tokens: BTreeMap<String, String>,
    reached: u8,
}

#[derive(Debug, PartialEq, Eq)]
enum Verb {
    Put,
    Get,
    Head,
    Delete,
    List,
    /// When it was requested, and for how many seconds.
    Lock(u64, u64),
    Unlock,
}

/// One request that a response is awaited for.
#[derive(Debug)]
struct Request {
    verb: Verb,
    key: String,
    write: Option<WriteId>,
    read: Option<ReadId>,
    /// The version that this change is to replace.
    replaces: Option<String>,
    /// What is sent when the server says 100.
    withheld: Option<Vec<u8>>,
    must_fail: bool,
    limit: Option<usize>,
    is_index: bool,
    calm: bool,
}

/// A response head.
struct Response {
    status: u16,
    head: String,
}

impl Response {
    fn parse(head: &[u8]) -> Option<Self> {
        let head = String::from_utf8_lossy(head).into_owned();
        let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        Some(Self { status, head })
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.head.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The content at the front of `bytes` and the bytes it takes there; none while it is not whole.
    fn content(&self, verb: &Verb, bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
        if *verb == Verb::Head || matches!(self.status, 100 | 204 | 304) {
            return Some((Vec::new(), 0));
        }
        if self.field("Transfer-Encoding") == Some("chunked") {
            return unchunked(bytes);
        }
        let len = self.field("Content-Length").and_then(|len| len.parse().ok()).unwrap_or(0);
        Some((bytes.get(..len)?.to_vec(), len))
    }
}

impl Request {
    fn new(verb: Verb, key: &str) -> Self {
        Self {
            verb,
            key: key.to_owned(),
            write: None,
            read: None,
            replaces: None,
            withheld: None,
            must_fail: false,
            limit: None,
            is_index: false,
            calm: false,
        }
    }
}

fn chunked(bytes: &[u8], io: &mut Io<'_>) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let most = if out.len() > 200 { rest.len() } else { io.rng.piece(rest.len()) };
        let (piece, after) = rest.split_at(most);
        out.extend(format!("{:x}\r\n", piece.len()).bytes());
        out.extend(piece);
        out.extend(b"\r\n");
        rest = after;
    }
    out.extend(b"0\r\n\r\n");
    out
}

fn unchunked(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut content, mut at) = (Vec::new(), 0);
    loop {
        let line = bytes[at..].windows(2).position(|window| window == b"\r\n")?;
        let len = str::from_utf8(&bytes[at..at + line]).ok().and_then(|len| usize::from_str_radix(len, 16).ok());
        let from = at + line + 2;
        let chunk = bytes.get(from..from + len.expect("the length of a chunk"))?;
        at = from + chunk.len() + 2;
        bytes.get(..at)?;
        if chunk.is_empty() {
            return Some((content, at));
        }
        content.extend_from_slice(chunk);
    }
}

/// An upload. With a go-ahead its body is withheld until the server asks for it.
fn put(key: &str, value: Content, only: Option<&str>, awaits: bool, io: &mut Io<'_>) -> (Vec<u8>, Request) {
    let mut request = Request::new(Verb::Put, key);
    let mut head = format!("PUT /{key} HTTP/1.1\r\nHost: sim\r\n");
    match only {
        Some("*") => head.push_str("If-None-Match: *\r\n"),
        Some(etag) => {
            head.push_str(&format!("If-Match: {etag}\r\n"));
            request.replaces = Some(etag.to_owned());
        }
        None => {}
    }
    let (counts, digests) = (io.rng.chance(600), io.rng.chance(200));
    if digests {
        request.must_fail = !io.calm && io.rng.chance(100);
        let sum = Sha256::digest(if request.must_fail { b"something else" } else { &value[..] });
        head.push_str(&format!("Repr-Digest: {}\r\n", filewharf::wire::http::digest::format(&sum.into())));
    }
    let body = if counts { value.to_vec() } else { chunked(&value, io) };
    head.push_str(&if counts {
        format!("Content-Length: {}\r\n", value.len())
    } else {
        "Transfer-Encoding: chunked\r\n".to_owned()
    });
    head.push_str(if awaits { "Expect: 100-continue\r\n\r\n" } else { "\r\n" });
    request.write = Some(io.model.begin_write(key, Some(value), Extent::Whole));
    let mut bytes = head.into_bytes();
    if awaits {
        request.withheld = Some(body);
    } else {
        bytes.extend(body);
    }
    (bytes, request)
}

fn get(verb: Verb, key: &str, io: &mut Io<'_>) -> (Vec<u8>, Request) {
    let word = if verb == Verb::Head { "HEAD" } else { "GET" };
    let mut request = Request::new(verb, key);
    request.read = Some(io.model.begin_read());
    let range = match io.rng.below(8) {
        _ if io.calm => String::new(),
        0 => format!("Range: bytes={}-{}\r\n", io.rng.below(60), io.rng.range(60..=500)),
        1 => format!("Range: bytes=-{}\r\n", io.rng.range(1..=80)),
        _ => String::new(),
    };
    (format!("{word} /{key} HTTP/1.1\r\nHost: sim\r\n{range}\r\n").into_bytes(), request)
}

fn list(io: &mut Io<'_>) -> (Vec<u8>, Request) {
    let mut request = Request::new(Verb::List, "");
    if io.rng.chance(400) {
        request.is_index = true;
        request.read = Some(io.model.begin_read());
        let accept = if io.rng.chance(500) { "Accept: */*\r\n" } else { "" };
        return (format!("GET / HTTP/1.1\r\nHost: sim\r\n{accept}\r\n").into_bytes(), request);
    }
    request.limit = io.rng.chance(300).then(|| io.rng.range(1..=4) as usize);
    request.read = Some(io.model.begin_read());
    let query = request.limit.map_or(String::new(), |limit| format!("?limit={limit}"));
    let head = format!("GET /{query} HTTP/1.1\r\nHost: sim\r\nAccept: application/x-ndjson\r\n\r\n");
    (head.into_bytes(), request)
}

fn delete(key: &str, only: Option<&str>, io: &mut Io<'_>) -> (Vec<u8>, Request) {
    let mut request = Request::new(Verb::Delete, key);
    request.read = Some(io.model.begin_read());
    request.write = Some(io.model.begin_write(key, None, Extent::Whole));
    request.replaces = only.map(str::to_owned);
    let only = only.map_or(String::new(), |etag| format!("If-Match: {etag}\r\n"));
    (format!("DELETE /{key} HTTP/1.1\r\nHost: sim\r\n{only}\r\n").into_bytes(), request)
}

/// The page as the `line` protocol would have written it: `SIZE MTIME ETAG NAME`.
fn as_lines(content: &[u8]) -> String {
    let text = String::from_utf8_lossy(content);
    let value = |line: &str, name: &str| {
        let rest = line.split_once(&format!("\"{name}\":"))?.1.trim_start_matches('"');
        rest.split(['"', ',', '}']).next().map(str::to_owned)
    };
    text.lines()
        .map(|line| {
            let name = value(line, "name").unwrap_or_default();
            match value(line, "size") {
                Some(size) => format!("{size} 0 e {name}\n"),
                None => format!("- 0 - {name}/\n"),
            }
        })
        .collect()
}

/// The same of a plain index, which has its last line only if it is whole.
fn index_as_lines(content: &[u8]) -> Option<String> {
    let text = str::from_utf8(content).ok()?;
    let (_, rows) = text.strip_suffix("</pre>\n</body>\n</html>\n")?.split_once("<pre>\n")?;
    rows.lines()
        .map(|row| {
            let (link, rest) = row.strip_prefix("<a href=\"")?.split_once("\">")?;
            let name = percent_decode_str(link).decode_utf8().ok()?;
            Some(format!("{} 0 - {name}\n", rest.rsplit_once(' ')?.1))
        })
        .collect()
}

/// The version in a response is that of the content.
fn judge_version(request: &Request, response: &Response, content: &[u8], io: &mut Io<'_>) {
    let Some(etag) = response.field("ETag").map(|etag| etag.trim_matches('"')) else { return };
    match (&request.verb, request.write) {
        (Verb::Put, Some(write)) => io.model.stored_as(write, etag),
        (Verb::Get, _) if response.status == 200 => io.model.read_as(etag, content),
        _ => {}
    }
}

impl Http {
    pub const fn new(number: usize) -> Self {
        Self {
            number,
            script: VecDeque::new(),
            awaited: VecDeque::new(),
            acknowledged: Acknowledged::NONE,
            etags: BTreeMap::new(),
            tokens: BTreeMap::new(),
            reached: 0,
        }
    }

    /// Small uploads that are sent together, mostly of few names, and perhaps a look at one of them.
    fn burst(&mut self, io: &mut Io<'_>) {
        let mut sent = Vec::new();
        for _ in 0..io.rng.range(2..=8) {
            let key = *io.rng.pick(&SHARED[2..]);
            let (value, only) = (content(io.rng, io.content_max), io.rng.chance(150).then_some("*"));
            let (bytes, request) = put(key, value, only, false, io);
            sent.extend(bytes);
            self.awaited.push_back(request);
        }
        if io.rng.chance(500) {
            let key = *io.rng.pick(&SHARED[2..]);
            let (bytes, request) = get(Verb::Get, key, io);
            sent.extend(bytes);
            self.awaited.push_back(request);
        }
        self.script.push_back(sent);
    }

    fn request(&mut self, io: &mut Io<'_>, awaits: bool) {
        if !io.calm && !awaits && io.rng.chance(200) {
            return self.burst(io);
        }
        let (bytes, request) = if io.calm { self.calm(io) } else { self.any(awaits, io) };
        self.script.push_back(bytes);
        self.awaited.push_back(request);
    }

    fn any(&mut self, awaits: bool, io: &mut Io<'_>) -> (Vec<u8>, Request) {
        let key = *io.rng.pick(&SHARED);
        let known = self.etags.get(key).filter(|_| io.rng.chance(300)).map(String::as_str);
        // The other names are as if there were no locks.
        if SHARED[..2].contains(&key) && io.rng.chance(if self.tokens.contains_key(key) { 600 } else { 250 }) {
            return locking::request(key, &mut self.tokens, io);
        }
        match io.rng.below(100) {
            0..40 => {
                let value = if io.rng.chance(50) { Content::from([]) } else { content(io.rng, io.content_max) };
                let only = if io.rng.chance(80) { Some("*") } else { known };
                put(key, value, only, awaits, io)
            }
            40..70 => get(Verb::Get, key, io),
            70..78 => get(Verb::Head, key, io),
            78..88 => list(io),
            _ => delete(key, known, io),
        }
    }

    fn calm(&self, io: &mut Io<'_>) -> (Vec<u8>, Request) {
        let key = format!("own{}.bin", self.number);
        let (bytes, mut request) = match self.reached {
            0 => {
                let (value, awaits) = (content(io.rng, io.content_max), io.rng.chance(500));
                put(&key, value, None, awaits, io)
            }
            1 => get(Verb::Get, &key, io),
            _ => list(io),
        };
        request.calm = true;
        (bytes, request)
    }

    fn lock_answered(&mut self, request: &Request, time: (u64, u64), response: &Response, good: bool, io: &mut Io<'_>) {
        let new = response.field("Lock-Token").map(|token| token.trim_matches(['<', '>']).to_owned());
        // One that was renewed may have been asked to end since.
        if let Some(token) = new.or_else(|| self.tokens.remove(&request.key)).filter(|_| good) {
            io.model.granted(&token, &request.key, request.write, time);
            self.tokens.insert(request.key.clone(), token);
        }
    }

    fn replied(&mut self, response: &Response, content: &[u8], io: &mut Io<'_>) {
        let Some(request) = self.awaited.pop_front() else {
            return io.model.wrong(format!("http: a response that nobody asked for: {}", response.head));
        };
        let good = matches!(response.status, 200..=299);
        if let Verb::Lock(requested_us, seconds) = request.verb {
            self.lock_answered(&request, (requested_us, seconds), response, good, io);
        }
        match response.field("ETag") {
            Some(etag) => drop(self.etags.insert(request.key.clone(), etag.to_owned())),
            None => drop(self.etags.remove(&request.key)),
        }
        if io.calm && request.calm {
            match response.status {
                _ if good => self.reached += 1,
                status if io.passes(&status.to_string()) => {}
                _ => io.model.wrong(format!("http: with faults off, {request:?} is answered {}", response.head)),
            }
        }
        if let Some(write) = request.write {
            let fate = match response.status {
                200 if matches!(request.verb, Verb::Lock(..)) => Fate::Refused,
                _ if good => Fate::Acked,
                500 | 507 => Fate::Unsure,
                _ => Fate::Refused,
            };
            io.model.end_write_after(write, fate, &mut self.acknowledged);
            if good && let Some(etag) = &request.replaces {
                io.model.replaced(write, etag.trim_matches('"'));
            }
        }
        if good {
            judge_version(&request, response, content, io);
        }
        if good && request.must_fail {
            io.model.wrong(format!("http: {request:?} was answered {}", response.head));
        }
        let Some(read) = request.read else { return };
        let after = self.acknowledged.of(&request.key);
        match (&request.verb, response.status) {
            (Verb::List, 200) if request.is_index => match index_as_lines(content) {
                Some(lines) => judge_page(read, "", None, None, false, lines.as_bytes(), io),
                None => {
                    let text = String::from_utf8_lossy(content).into_owned();
                    io.model.wrong(format!("http: an index ends before its last line: {text:?}"));
                }
            },
            (Verb::List, 200) => {
                let more = response.field("Link").is_some();
                judge_page(read, "", None, request.limit, more, as_lines(content).as_bytes(), io);
            }
            (Verb::Get, 200) => drop(io.model.end_read_after(read, after, &request.key, Shown::Bytes(content))),
            (Verb::Get, 206) => {
                let range = response.field("Content-Range").and_then(|range| range.strip_prefix("bytes "));
                let parts = range.and_then(|range| range.split_once('/')).unwrap_or_default();
                let start = parts.0.split('-').next().and_then(|n| n.parse().ok()).unwrap_or(u64::MAX);
                let shown = Shown::Part(start, content, parts.1.parse().unwrap_or(u64::MAX));
                io.model.end_read_after(read, after, &request.key, shown);
            }
            (Verb::Head, 200) => {
                let len = response.field("Content-Length").and_then(|len| len.parse().ok()).unwrap_or(u64::MAX);
                io.model.end_read_after(read, after, &request.key, Shown::Len(len));
            }
            (Verb::Get | Verb::Head | Verb::Delete, 404) => {
                io.model.end_read_after(read, after, &request.key, Shown::Absent);
            }
            _ => {}
        }
    }

    fn proceed(&mut self, io: &mut Io<'_>) {
        if self.script.is_empty() && self.awaited.is_empty() {
            let ends = if io.calm { self.reached >= CALM_GOALS } else { io.rng.chance(300) };
            if ends {
                return io.out.close();
            }
            let awaits = io.rng.chance(300);
            self.request(io, awaits);
        }
        // What follows a withheld body would be taken for it.
        let withholds = self.awaited.iter().any(|request| request.withheld.is_some());
        if (!withholds || self.script.len() == self.awaited.len())
            && let Some(bytes) = self.script.pop_front()
        {
            io.out.say(&bytes);
        }
    }
}

impl Client for Http {
    fn begin(&mut self, io: &mut Io<'_>) -> Plan {
        if io.calm && self.reached >= CALM_GOALS {
            return Plan::Done;
        }
        self.acknowledged = Acknowledged::NONE;
        let count = if io.calm { 1 } else { io.rng.range(1..=4) };
        for _ in 0..count {
            self.request(io, false);
        }
        let all = io.rng.chance(500) && self.awaited.iter().all(|request| request.withheld.is_none());
        while let Some(bytes) = self.script.pop_front() {
            io.out.say(&bytes);
            if !all {
                break;
            }
        }
        Plan::Connect
    }

    fn received(&mut self, io: &mut Io<'_>) {
        loop {
            let end = io.inbox.windows(4).position(|window| window == b"\r\n\r\n");
            let Some(end) = end.map(|at| at + 4) else { return };
            let Some(response) = Response::parse(&io.inbox[..end]) else {
                let said = String::from_utf8_lossy(&io.inbox[..end]).into_owned();
                return io.model.wrong(format!("http: this is no response: {said:?}"));
            };
            if response.status == 100 {
                io.inbox.drain(..end);
                match self.awaited.front_mut().and_then(|request| request.withheld.take()) {
                    Some(body) => io.out.say(&body),
                    None => io.model.wrong("http: a go-ahead that nobody waits for".to_owned()),
                }
                continue;
            }
            let Some(request) = self.awaited.front() else {
                return io.model.wrong(format!("http: a response that nobody asked for: {}", response.head));
            };
            let Some((content, len)) = response.content(&request.verb, &io.inbox[end..]) else { return };
            io.inbox.drain(..end + len);
            self.replied(&response, &content, io);
            if response.field("Connection") == Some("close") {
                return io.out.close();
            }
            self.proceed(io);
        }
    }

    fn ended(&mut self, io: &mut Io<'_>, _how: Ended) {
        for write in self.awaited.drain(..).filter_map(|request| request.write) {
            io.model.end_write(write, Fate::Lost);
        }
        self.script.clear();
    }

    fn was_cut(&mut self, _io: &mut Io<'_>) {
        self.script.clear();
    }
}
