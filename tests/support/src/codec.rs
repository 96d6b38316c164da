//! Requests and replies as bytes, in the line protocol and, for the servers compared with, in
//! HTTP/1.1. Only as much of HTTP as a well-behaved server answers to a GET or a PUT.

use memchr::memmem;

use super::Content;

/// How a server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    Line,
    Http,
}

/// How long a connection lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// For all requests.
    Kept,
    /// For one request, after which the client just closes it, as `curl` does.
    Left,
    /// For one request, with which the client says that it is the last: by `Connection: close` (as `ab`
    /// does), or by the end of its half in the line protocol (as `nc -N` does). The server closes first.
    Announced,
}

/// One thing to do, on one connection.
#[derive(Clone, Debug)]
pub enum Task {
    /// Fetch and compare.
    Get { path: String, content: Content },
    /// Fetch and count.
    Drain { path: String, len: u64 },
    /// Store.
    Put { path: String, content: Content },
}

impl Task {
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Get { content, .. } | Self::Put { content, .. } => content.len,
            Self::Drain { len, .. } => *len,
        }
    }

    /// What is sent before the body.
    pub fn head(&self, wire: Wire, manner: Manner) -> Vec<u8> {
        let close = match manner {
            Manner::Kept | Manner::Left => "",
            Manner::Announced => "Connection: close\r\n",
        };
        match (wire, self) {
            (Wire::Line, Self::Get { path, .. } | Self::Drain { path, .. }) => format!("GET {path}\n"),
            (Wire::Line, Self::Put { path, content }) => format!("PUT {} {path}\n", content.len),
            (Wire::Http, Self::Get { path, .. } | Self::Drain { path, .. }) => {
                format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{close}\r\n")
            }
            (Wire::Http, Self::Put { path, content }) => {
                format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n{close}\r\n", content.len)
            }
        }
        .into_bytes()
    }
}

/// The head of a reply: its own length, and the length of the body after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub len: usize,
    pub body: u64,
}

/// Finds the head of a reply at the beginning of `bytes`. `Err` has the words of a refusal.
pub fn head(wire: Wire, bytes: &[u8]) -> Result<Option<Head>, String> {
    let (at, len) = match wire {
        Wire::Line => (memchr::memchr(b'\n', bytes), 1),
        Wire::Http => (memmem::find(bytes, b"\r\n\r\n"), 4),
    };
    let Some(at) = at else { return Ok(None) };
    let body = match wire {
        Wire::Line => {
            bytes[..at].strip_prefix(b"OK ").and_then(|rest| number(rest.split(|byte| *byte == b' ').next()?))
        }
        Wire::Http => http_len(&bytes[..at]),
    };
    let words = || String::from_utf8_lossy(&bytes[..at]).into_owned();
    body.map(|body| Some(Head { len: at + len, body })).ok_or_else(words)
}

fn http_len(head: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"content-length:";
    if !head.starts_with(b"HTTP/1.1 20") {
        return None;
    }
    // A driver must not be slower than the server: a field is looked at, not read.
    let mut rest = head;
    while let Some(at) = memchr::memchr(b'\n', rest) {
        rest = &rest[at + 1..];
        if rest.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)) {
            let value = &rest[NAME.len()..];
            return number(value[..memchr::memchr(b'\r', value).unwrap_or(value.len())].trim_ascii());
        }
    }
    Some(0)
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}
