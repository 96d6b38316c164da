//! Requests and replies as bytes, in the line protocol and, for the servers compared with, in
//! HTTP/1.1. Only as much of HTTP as a well-behaved server answers to a GET or a PUT.

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
    /// For one request, after which the client closes it without a word, as `curl` does.
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
                format!("GET {path} HTTP/1.1\r\nHost: a\r\n{close}\r\n")
            }
            (Wire::Http, Self::Put { path, content }) => {
                format!("PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n{close}\r\n", content.len)
            }
        }
        .into_bytes()
    }
}

/// The head of a reply: its own length, and the length of the body behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub len: usize,
    pub body: u64,
}

/// Finds the head of a reply at the beginning of `bytes`. `Err` has the words of a refusal.
pub fn head(wire: Wire, bytes: &[u8]) -> Result<Option<Head>, String> {
    let end: &[u8] = match wire {
        Wire::Line => b"\n",
        Wire::Http => b"\r\n\r\n",
    };
    let Some(at) = bytes.windows(end.len()).take(8192).position(|window| window == end) else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes[..at]);
    let body = match wire {
        Wire::Line => text.strip_prefix("OK ").and_then(|rest| rest.split(' ').next()?.parse().ok()),
        Wire::Http => http_len(&text),
    };
    body.map(|body| Some(Head { len: at + end.len(), body })).ok_or_else(|| text.into_owned())
}

fn http_len(text: &str) -> Option<u64> {
    let mut lines = text.split("\r\n");
    lines.next().filter(|status| status.starts_with("HTTP/1.1 20"))?;
    for line in lines {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            return value.trim().parse().ok();
        }
    }
    Some(0)
}
