//! What a client says and hears, in the line protocol and in HTTP: how a failure is reported, and how it
//! ends, differs between them. Nothing here knows what the requests are about.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use support::client::{PATIENCE, sha256};

/// What is spoken. Every server here finds out by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    Line,
    Http,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Served, with this body.
    Served(Vec<u8>),
    /// Refused with this code.
    Refused(u16),
    /// The connection ended instead, in the middle of a body if `body` is not empty.
    Cut { body: Vec<u8>, reset: bool },
}

impl Reply {
    /// Not the megabytes.
    pub fn words(&self) -> String {
        match self {
            Self::Served(body) => format!("served with {} bytes", body.len()),
            Self::Refused(code) => format!("refused with {code}"),
            Self::Cut { body, reset } => format!("an end after {} bytes of a body (reset: {reset})", body.len()),
        }
    }

    fn cut(ended: &std::io::Result<usize>, body: Vec<u8>) -> Self {
        assert!(!ended.as_ref().is_err_and(is_timeout), "the server hangs");
        Self::Cut { body, reset: ended.is_err() }
    }
}

/// How a client announces the length of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length,
    Chunks,
}

/// What comes after the head of a good reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expects {
    Body,
    /// And its digest.
    BodyAndDigest,
    /// Nothing, whatever length is announced.
    Nothing,
}

/// Whether the connection may be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Goes,
    Ends,
}

impl Wire {
    pub const BOTH: [Self; 2] = [Self::Line, Self::Http];

    fn http(method: &str, path: &str, fields: &str) -> String {
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n")
    }

    /// The head of an upload.
    pub fn put(self, path: &str, len: usize) -> String {
        match self {
            Self::Line => format!("PUT {len} {path}\n"),
            Self::Http => Self::http("PUT", path, &format!("Content-Length: {len}\r\n")),
        }
    }

    /// A whole upload.
    pub fn upload(self, path: &str, bytes: &[u8], framing: Framing) -> Vec<u8> {
        let len = bytes.len();
        match (framing, self) {
            (Framing::Length, _) => [self.put(path, len).as_bytes(), bytes].concat(),
            (Framing::Chunks, Self::Line) => {
                [format!("PUT * {path}\n{len:x}\n").as_bytes(), bytes, &b"0\n"[..]].concat()
            }
            (Framing::Chunks, Self::Http) => {
                let head = Self::http("PUT", path, "Transfer-Encoding: chunked\r\n");
                [format!("{head}{len:x}\r\n").as_bytes(), bytes, b"\r\n0\r\n\r\n"].concat()
            }
        }
    }

    pub fn get(self, path: &str) -> String {
        match self {
            Self::Line => format!("GET {path}\n"),
            Self::Http => Self::http("GET", path, ""),
        }
    }

    pub fn get_with_digest(self, path: &str) -> String {
        match self {
            Self::Line => format!("GET trailer=sha256 {path}\n"),
            Self::Http => Self::http("GET", path, "TE: trailers\r\nWant-Repr-Digest: sha-256=5\r\n"),
        }
    }

    pub fn list(self, dir: &str) -> String {
        match self {
            Self::Line => format!("LIST {dir}\n"),
            Self::Http => Self::http("GET", dir, "Accept: application/json\r\n"),
        }
    }

    pub fn stat(self, path: &str) -> String {
        match self {
            Self::Line => format!("STAT {path}\n"),
            Self::Http => Self::http("HEAD", path, ""),
        }
    }

    pub fn delete(self, path: &str) -> String {
        match self {
            Self::Line => format!("DELETE {path}\n"),
            Self::Http => Self::http("DELETE", path, ""),
        }
    }

    /// The names in a listing.
    pub fn names(self, body: &[u8]) -> Vec<String> {
        let text = String::from_utf8_lossy(body);
        let name = |line: &str| match self {
            Self::Line => line.rsplit(' ').next().map(str::to_owned),
            Self::Http => line.split("\"name\":\"").nth(1)?.split('"').next().map(str::to_owned),
        };
        text.lines().filter_map(name).collect()
    }

    fn hear(self, reader: &mut impl BufRead, expects: Expects) -> (Reply, After) {
        match self {
            Self::Line => hear_line(reader, expects),
            Self::Http => hear_http(reader, expects),
        }
    }
}

/// One line, without its end; or how the stream ended.
fn line(reader: &mut impl BufRead) -> Result<String, Reply> {
    let mut line = Vec::new();
    let ended = reader.read_until(b'\n', &mut line);
    let Some(text) = line.strip_suffix(b"\n") else { return Err(Reply::cut(&ended, Vec::new())) };
    let text = String::from_utf8(text.to_vec()).expect("a head is text");
    Ok(text.strip_suffix('\r').unwrap_or(&text).to_owned())
}

/// Adds this many bytes to `body`; or how the stream ended before that.
fn take(reader: &mut impl BufRead, len: usize, mut body: Vec<u8>) -> Result<Vec<u8>, Reply> {
    let wanted = body.len() + len;
    let ended = reader.take(len as u64).read_to_end(&mut body);
    if body.len() < wanted { Err(Reply::cut(&ended, body)) } else { Ok(body) }
}

fn over(reply: Reply) -> (Reply, After) {
    (reply, After::Ends)
}

fn hear_line(reader: &mut impl BufRead, expects: Expects) -> (Reply, After) {
    let head = match line(reader) {
        Ok(head) => head,
        Err(cut) => return over(cut),
    };
    let number = head.split(' ').nth(1).and_then(|number| number.parse().ok());
    let len = match (head.split(' ').next(), number) {
        (Some("OK"), Some(len)) => len,
        (Some("ERR"), Some(code)) => return (Reply::Refused(u16::try_from(code).expect("a code")), After::Goes),
        _ => panic!("{head:?} is no reply"),
    };
    let body = match take(reader, len, Vec::new()) {
        Ok(body) => body,
        Err(cut) => return over(cut),
    };
    if expects == Expects::BodyAndDigest {
        match line(reader) {
            Ok(trailer) => assert_eq!(trailer, format!("sha256={}", sha256(&body))),
            Err(Reply::Cut { reset, .. }) => return over(Reply::Cut { body, reset }),
            Err(other) => return over(other),
        }
    }
    (Reply::Served(body), After::Goes)
}

fn hear_http(reader: &mut impl BufRead, expects: Expects) -> (Reply, After) {
    let (mut fields, mut code) = (Vec::new(), 0);
    while code == 0 || fields.last().is_none_or(|field: &String| !field.is_empty()) {
        let text = match line(reader) {
            Ok(text) => text,
            Err(cut) => return over(cut),
        };
        if code == 0 {
            let words = text.strip_prefix("HTTP/1.1 ").unwrap_or_else(|| panic!("{text:?} is no status line"));
            code = words.split(' ').next().and_then(|code| code.parse().ok()).expect("a code");
        } else {
            fields.push(text.to_ascii_lowercase());
        }
    }
    let value = |name: &str| fields.iter().find_map(|field| field.strip_prefix(name)?.strip_prefix(": "));
    let after = if value("connection") == Some("close") { After::Ends } else { After::Goes };
    let body = if expects == Expects::Nothing || code == 204 {
        Ok(Vec::new())
    } else if value("transfer-encoding") == Some("chunked") {
        chunks(reader)
    } else {
        take(reader, value("content-length").and_then(|len| len.parse().ok()).expect("a length"), Vec::new())
    };
    match body {
        Ok(body) if (200..300).contains(&code) => {
            let digest = expects != Expects::BodyAndDigest || value("transfer-encoding").is_some();
            assert!(digest, "the digest that was wanted comes after chunks");
            (Reply::Served(body), after)
        }
        Ok(_) => (Reply::Refused(code), after),
        Err(cut) => over(cut),
    }
}

/// A body in chunks; its digest, where there is one, must be right.
fn chunks(reader: &mut impl BufRead) -> Result<Vec<u8>, Reply> {
    let mut body = Vec::new();
    let ends_here = |cut, body| match cut {
        Reply::Cut { reset, .. } => Reply::Cut { body, reset },
        other => other,
    };
    loop {
        let len = match line(reader) {
            Ok(text) => usize::from_str_radix(&text, 16).expect("the length of a chunk"),
            Err(cut) => return Err(ends_here(cut, body)),
        };
        if len == 0 {
            break;
        }
        body = take(reader, len, body)?;
        if let Err(cut) = line(reader) {
            return Err(ends_here(cut, body));
        }
    }
    loop {
        match line(reader) {
            Ok(text) if text.is_empty() => return Ok(body),
            Ok(text) => {
                use base64ct::Encoding as _;
                use sha2::Digest as _;
                let digest = base64ct::Base64::encode_string(&sha2::Sha256::digest(&body));
                assert_eq!(text, format!("Repr-Digest: sha-256=:{digest}:"));
            }
            Err(cut) => return Err(ends_here(cut, body)),
        }
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::WouldBlock
}

/// A client that continues, on a new connection after each that ended.
pub struct Talker {
    wire: Wire,
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Talker {
    pub const fn new(wire: Wire, address: SocketAddr) -> Self {
        Self { wire, address, stream: None }
    }

    fn stream(&mut self) -> std::io::Result<&mut BufReader<TcpStream>> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.address)?;
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
            stream.set_nodelay(true).expect("an option");
            self.stream = Some(BufReader::new(stream));
        }
        Ok(self.stream.as_mut().expect("just connected"))
    }

    /// Sends a part of a request, whatever becomes of it: a server that refuses may close first.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = self.stream().and_then(|stream| stream.get_mut().write_all(bytes.as_ref()));
        assert!(!sent.is_err_and(|error| is_timeout(&error)), "the server hangs");
    }

    /// The reply to what was sent.
    pub fn hear(&mut self, expects: Expects) -> Reply {
        let wire = self.wire;
        let Ok(stream) = self.stream() else { return Reply::Cut { body: Vec::new(), reset: true } };
        let (reply, after) = wire.hear(stream, expects);
        if after == After::Ends {
            self.stream = None;
        }
        reply
    }

    pub fn ask(&mut self, request: impl AsRef<[u8]>, expects: Expects) -> Reply {
        self.send(request);
        self.hear(expects)
    }

    /// Stores a file, which must succeed.
    #[track_caller]
    pub fn put(&mut self, path: &str, bytes: &[u8]) {
        let reply = self.ask(self.wire.upload(path, bytes, Framing::Length), Expects::Body);
        assert!(matches!(reply, Reply::Served(_)), "{:?} {path}: {}", self.wire, reply.words());
    }

    /// Fetches a file, which must succeed.
    #[track_caller]
    pub fn fetch(&mut self, path: &str) -> Vec<u8> {
        match self.ask(self.wire.get(path), Expects::Body) {
            Reply::Served(body) => body,
            reply => panic!("{:?} {path}: {}", self.wire, reply.words()),
        }
    }

    /// Whether the last reply left its connection open.
    pub const fn is_kept(&self) -> bool {
        self.stream.is_some()
    }

    /// Ends with a reset.
    pub fn reset(mut self) {
        if let Some(stream) = self.stream.take() {
            let _ = socket2::SockRef::from(stream.get_ref()).set_linger(Some(Duration::ZERO));
        }
    }
}
