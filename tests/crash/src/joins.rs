//! Uploads that the server joins from parts, each of which was an upload of its own. After a power cut either all of the
//! file is there, or all of the parts are, and can be joined.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::parts::Told;
use crate::story::{Found, Violation, Wrong};
use support::content::{Content, Random};

/// Neither much more nor much less than the parts of other uploads.
const LEN_MAX: u64 = 200 << 10;
const PARTS_MAX: u64 = 4;
const PATIENCE: Duration = Duration::from_secs(60);

/// One file, and where its parts end.
#[derive(Debug)]
pub struct Joined {
    pub path: String,
    content: Content,
    ends: Vec<u64>,
    /// The paths of its parts, once they are made.
    made: Mutex<Vec<String>>,
}

impl Joined {
    pub fn new(path: String, random: &mut Random) -> Self {
        let content = Content::new(random.next() >> 8, 1 + random.below(LEN_MAX));
        let mut ends: Vec<u64> = (1..1 + random.below(PARTS_MAX)).map(|_| random.below(content.len)).collect();
        ends.push(content.len);
        ends.sort_unstable();
        Self { path, content, ends, made: Mutex::default() }
    }

    fn made(&self) -> Vec<String> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where each part begins and ends.
    fn pieces(&self) -> impl Iterator<Item = (u64, u64)> {
        [0].iter().chain(&self.ends).copied().zip(self.ends.iter().copied())
    }

    /// [`Told::Safe`] counts the parts here.
    pub fn make(&self, address: SocketAddr, tell: impl Fn(Told)) -> Result<(), String> {
        let bytes = self.content.bytes();
        for (n, (from, to)) in self.pieces().enumerate() {
            let fields = format!(
                "Upload-Concat: partial\r\nUpload-Length: {0}\r\nContent-Length: {0}\r\n\
                 Content-Type: application/offset+octet-stream\r\n",
                to - from
            );
            let reply = ask(address, "POST", "/", &fields, &bytes[from as usize..to as usize])?;
            let made = field(&reply, "Location").filter(|_| reply.starts_with("HTTP/1.1 201 "));
            let made = made.ok_or_else(|| format!("{} part {n}: {reply:?}", self.path))?;
            self.made.lock().unwrap_or_else(PoisonError::into_inner).push(format!("/{made}"));
            tell(Told::Safe(n as u64 + 1));
        }
        self.join(address)?;
        tell(Told::Complete);
        Ok(())
    }

    fn join(&self, address: SocketAddr) -> Result<(), String> {
        let fields = format!("Upload-Concat: final;{}\r\n", self.made().join(" "));
        let reply = ask(address, "POST", &self.path, &fields, b"")?;
        if reply.starts_with("HTTP/1.1 201 ") { Ok(()) } else { Err(format!("{}: {reply:?}", self.path)) }
    }

    pub fn judge(
        &self,
        told: Option<Told>,
        found: Option<&Found>,
        address: SocketAddr,
    ) -> Result<Option<Violation>, String> {
        let violation = |wrong, words: &str| {
            let words = format!("{}: told {told:?}, {words}", self.path);
            Ok(Some(Violation { wrong, words }))
        };
        let safe = match (told, found) {
            (_, Some(found)) if *found == Found::File(self.content.bytes()) => return Ok(None),
            (_, Some(_)) => return violation(Wrong::Torn, "the file is not whole"),
            (Some(Told::Complete), None) => return violation(Wrong::Lost, "the file is not there"),
            (Some(Told::Safe(count)), None) => count as usize,
            (None, None) => return Ok(None),
        };
        for (part, (from, to)) in self.made().iter().zip(self.pieces()).take(safe) {
            let reply = ask(address, "HEAD", part, "", b"")?;
            if field(&reply, "Upload-Offset") != Some(&(to - from).to_string()) {
                return violation(Wrong::Fell, &format!("a part of {} bytes: {reply:?}", to - from));
            }
        }
        if safe < self.ends.len() {
            return Ok(None);
        }
        self.join(address)?;
        let mut client = crate::workload::Client::connect(address)?;
        if client.get(&self.path)? == self.content.bytes() {
            return Ok(None);
        }
        violation(Wrong::Torn, "joined after the cut it has other bytes")
    }
}

/// The reply to one request of HTTP, on a connection of its own.
pub fn ask(address: SocketAddr, method: &str, path: &str, fields: &str, body: &[u8]) -> Result<String, String> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nTus-Resumable: 1.0.0\r\n{fields}\r\n"
    );
    let said = || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&[head.as_bytes(), body].concat())?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply)?;
        Ok(String::from_utf8_lossy(&reply).into_owned())
    };
    said().map_err(|error: std::io::Error| format!("{method} {path}: {error}"))
}

/// A field of a reply.
pub fn field<'a>(reply: &'a str, name: &str) -> Option<&'a str> {
    reply.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_file_are_all_of_it() {
        for seed in 0..50 {
            let joined = Joined::new("/f".to_owned(), &mut Random::new(seed));
            let pieces: Vec<_> = joined.pieces().collect();
            assert!(pieces.windows(2).all(|pair| pair[0].1 == pair[1].0) && pieces.iter().all(|(from, to)| from <= to));
            assert_eq!((pieces[0].0, pieces[pieces.len() - 1].1), (0, joined.content.len));
        }
    }
}
