//! One upload and one download in every dialect, as its clients do them, with the ways to break off.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use support::Content;

/// Nothing may take longer, however slow the disk under is: then the server hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// What is spoken, in the order in which the server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dialect {
    Line,
    Http,
    NameSize,
    LengthPrefix,
    Menu,
    Pickle,
    NameChoice,
}

pub const DIALECTS: [Dialect; 7] = [
    Dialect::Line,
    Dialect::Http,
    Dialect::NameSize,
    Dialect::LengthPrefix,
    Dialect::Menu,
    Dialect::Pickle,
    Dialect::NameChoice,
];

/// How an upload ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As it should.
    Whole,
    /// With a reset before its last byte.
    ResetAt(u64),
    /// With a reset once all is sent, before the answer is read.
    Unheard,
}

/// What an upload came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// The server says that it is stored.
    Yes,
    /// The server says that it is not, or it was never sent whole.
    No,
    /// All was sent, and no reply came.
    Perhaps,
    /// A limit of the server is reached: it may be asked again.
    Refused,
}

/// A download: the bytes, or that there is no such file; or the connection ended, or the server is
/// busy.
#[derive(Debug, PartialEq, Eq)]
pub enum Fetched {
    Bytes(Vec<u8>),
    Nothing,
    Failed,
    /// A limit of the server is reached: it may be asked again.
    Refused,
}

type Failed = std::io::Error;

impl Dialect {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Http => "http",
            Self::NameSize => "name-size",
            Self::LengthPrefix => "length-prefix",
            Self::Menu => "menu",
            Self::Pickle => "pickle",
            Self::NameChoice => "name-choice",
        }
    }

    /// Longest content that goes over it.
    pub const fn len_max(self) -> u64 {
        match self {
            Self::Pickle => 1_000_000,
            _ => 3 << 20,
        }
    }

    /// Uploads. `Perhaps` where it failed after the last byte, or where no reply ever comes.
    pub fn put(self, address: SocketAddr, name: &str, content: Content, ending: Ending) -> Stored {
        let mut sent_whole = false;
        match self.try_put(address, name, content, ending, &mut sent_whole) {
            Ok(stored) => stored,
            Err(error) => {
                assert_ne!(error.kind(), ErrorKind::WouldBlock, "{self:?}: the server hangs");
                if sent_whole { Stored::Perhaps } else { Stored::No }
            }
        }
    }

    fn try_put(
        self,
        address: SocketAddr,
        name: &str,
        content: Content,
        ending: Ending,
        sent_whole: &mut bool,
    ) -> Result<Stored, Failed> {
        let mut stream = connect(address)?;
        let head = match self {
            Self::Line => format!("PUT {} /{name}\n", content.len).into_bytes(),
            Self::Http => format!("PUT /{name} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", content.len)
                .into_bytes(),
            Self::NameSize => format!("{name} {}", content.len).into_bytes(),
            Self::LengthPrefix => message(format!("PUT {} /{name}", content.len).as_bytes()),
            Self::Menu => {
                for word in ["Receive Data", "send", "image"] {
                    stream.write_all(word.as_bytes())?;
                    a_moment();
                }
                name.as_bytes().to_vec()
            }
            Self::Pickle => {
                pickle(&mut stream)?;
                pickled_put(name, content.len)
            }
            Self::NameChoice => {
                stream.write_all(format!("1{name}:PUT").as_bytes())?;
                if hear(&mut stream, 4)? != b"Done" {
                    return Ok(Stored::No);
                }
                Vec::new()
            }
        };
        stream.write_all(&head)?;
        let until = if let Ending::ResetAt(at) = ending { at.min(content.len.saturating_sub(1)) } else { content.len };
        // Where nothing says how long it is, only the end of the stream makes it whole.
        let tail: &[u8] = if self == Self::Pickle { b"u." } else { b"" };
        // From the last byte on the server may have all of it.
        send(&mut stream, self, content, until, sent_whole)?;
        if matches!(ending, Ending::ResetAt(_)) {
            reset(stream);
            *sent_whole = false;
            return Ok(Stored::No);
        }
        stream.write_all(tail)?;
        if ending == Ending::Unheard {
            reset(stream);
            return Ok(Stored::Perhaps);
        }
        self.answer(stream)
    }

    fn answer(self, mut stream: TcpStream) -> Result<Stored, Failed> {
        let said = match self {
            Self::NameSize | Self::Menu | Self::NameChoice => return Ok(Stored::Perhaps),
            Self::Line => line(&mut stream)?,
            Self::Http => as_line(&http_head(&mut stream)?),
            Self::LengthPrefix => String::from_utf8_lossy(&framed(&mut stream)?).into_owned(),
            Self::Pickle => String::from_utf8_lossy(&pickle(&mut stream)?).into_owned(),
        };
        // 500 may come after the change has become visible.
        Ok(match &said {
            said if said.starts_with("OK ") || said.contains("stored") => Stored::Yes,
            said if said.starts_with("ERR 429") => Stored::Refused,
            said if said.contains("ERR 500") || said.contains("could not complete") => Stored::Perhaps,
            _ => Stored::No,
        })
    }

    /// Downloads. A slow reader takes little at a time, and rests.
    pub fn get(self, address: SocketAddr, name: &str, reader: Reader) -> Fetched {
        match self.try_get(address, name, reader) {
            Ok(fetched) => fetched,
            Err(error) => {
                assert_ne!(error.kind(), ErrorKind::WouldBlock, "{self:?}: the server hangs");
                Fetched::Failed
            }
        }
    }

    fn try_get(self, address: SocketAddr, name: &str, reader: Reader) -> Result<Fetched, Failed> {
        let mut stream = connect(address)?;
        if reader == Reader::Slow {
            // Smaller than most files, larger than a segment: TCP itself crawls below that.
            socket2::SockRef::from(&stream).set_recv_buffer_size(128 << 10)?;
        }
        match self {
            Self::NameSize | Self::Menu => unreachable!("their clients only send"),
            Self::Line => {
                stream.write_all(format!("GET /{name}\n").as_bytes())?;
                let said = line(&mut stream)?;
                match length(&said) {
                    Some(len) => take(&mut stream, len, reader),
                    None => Ok(missing(&said)),
                }
            }
            Self::Http => {
                stream.write_all(format!("GET /{name} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())?;
                let said = as_line(&http_head(&mut stream)?);
                match length(&said) {
                    Some(len) => take(&mut stream, len, reader),
                    None => Ok(missing(&said)),
                }
            }
            Self::LengthPrefix => {
                stream.write_all(&message(format!("GET /{name}").as_bytes()))?;
                let said = String::from_utf8_lossy(&framed(&mut stream)?).into_owned();
                let Some(len) = length(&said) else { return Ok(missing(&said)) };
                let mut bytes = Vec::new();
                while bytes.len() < len {
                    bytes.extend(framed(&mut stream)?);
                }
                Ok(Fetched::Bytes(bytes))
            }
            Self::Pickle => {
                pickle(&mut stream)?;
                stream.write_all(&pickled_get(name))?;
                let said = pickle(&mut stream)?;
                let document = filewharf::wire::pickle::decode(&said).expect("a whole answer");
                match document.get("data") {
                    Some(filewharf::wire::pickle::Value::Bytes(bytes)) => Ok(Fetched::Bytes(bytes.to_vec())),
                    _ => Ok(missing(&String::from_utf8_lossy(&said))),
                }
            }
            Self::NameChoice => {
                stream.write_all(format!("1{name}:GET").as_bytes())?;
                if hear(&mut stream, 4)? != b"Done" {
                    return Ok(Fetched::Failed);
                }
                let mut bytes = Vec::new();
                stream.read_to_end(&mut bytes)?;
                let is_missing = bytes == b"File not found. Try again.";
                Ok(if is_missing { Fetched::Nothing } else { Fetched::Bytes(bytes) })
            }
        }
    }
}

/// How a download is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    Quick,
    /// Little by little.
    Slow,
    /// Away with a reset in the middle.
    Leaves,
}

fn missing(said: &str) -> Fetched {
    match said {
        said if said.contains("ERR 404") || said.contains("no such file") => Fetched::Nothing,
        said if said.starts_with("ERR 429") => Fetched::Refused,
        _ => Fetched::Failed,
    }
}

fn connect(address: SocketAddr) -> Result<TcpStream, Failed> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn reset(stream: TcpStream) {
    let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
}

/// These clients wait for a person.
fn a_moment() {
    std::thread::park_timeout(Duration::from_millis(30));
}

fn send(
    stream: &mut TcpStream,
    dialect: Dialect,
    content: Content,
    until: u64,
    whole: &mut bool,
) -> Result<(), Failed> {
    let mut at = 0;
    while at < until {
        let piece = content.at(at);
        let piece = &piece[..piece.len().min((until - at) as usize)];
        *whole = at + piece.len() as u64 == content.len;
        if dialect == Dialect::LengthPrefix {
            stream.write_all(&message(piece))?;
        } else {
            stream.write_all(piece)?;
        }
        at += piece.len() as u64;
    }
    *whole = until == content.len;
    Ok(())
}

fn hear(stream: &mut TcpStream, len: usize) -> Result<Vec<u8>, Failed> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn line(stream: &mut TcpStream) -> Result<String, Failed> {
    let mut bytes = Vec::new();
    while bytes.last() != Some(&b'\n') {
        bytes.extend(hear(stream, 1)?);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn http_head(stream: &mut TcpStream) -> Result<String, Failed> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.extend(hear(stream, 1)?);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What the line protocol would have said: `OK SIZE` or `ERR CODE`.
fn as_line(head: &str) -> String {
    let code = head.split(' ').nth(1).unwrap_or_default();
    let len = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap_or("0");
    if code.starts_with('2') { format!("OK {len}") } else { format!("ERR {code}") }
}

/// The size in `OK SIZE …`.
fn length(said: &str) -> Option<usize> {
    said.strip_prefix("OK ")?.split_whitespace().next()?.parse().ok()
}

fn take(stream: &mut TcpStream, len: usize, reader: Reader) -> Result<Fetched, Failed> {
    if reader == Reader::Leaves {
        hear(stream, len / 2)?;
        let _ = socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO));
        return Ok(Fetched::Failed);
    }
    let mut bytes = vec![0; len];
    let began = Instant::now();
    for piece in bytes.chunks_mut(16 << 10) {
        stream.read_exact(piece)?;
        if reader == Reader::Slow && began.elapsed() < Duration::from_secs(3) {
            a_moment();
        }
    }
    Ok(Fetched::Bytes(bytes))
}

fn message(text: &[u8]) -> Vec<u8> {
    [format!("{:<64}", text.len()).as_bytes(), text].concat()
}

fn framed(stream: &mut TcpStream) -> Result<Vec<u8>, Failed> {
    let head = hear(stream, 64)?;
    let len = String::from_utf8_lossy(&head).trim().parse().expect("a length");
    hear(stream, len)
}

/// One whole pickle.
fn pickle(stream: &mut TcpStream) -> Result<Vec<u8>, Failed> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        let n = stream.read(&mut buffer)?;
        if n == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&buffer[..n]);
        // A `.` may also stand in the data: only a pickle that can be read is whole.
        if bytes.ends_with(b".") && filewharf::wire::pickle::decode(&bytes).is_ok() {
            return Ok(bytes);
        }
    }
}

fn unicode(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

/// Protocol 3, up to the content; `u.` follows it.
fn pickled_put(name: &str, len: u64) -> Vec<u8> {
    let head = [b"\x80\x03}(".to_vec(), unicode("put"), unicode(name), unicode("data"), b"B".to_vec()].concat();
    [&head[..], &(len as u32).to_le_bytes()].concat()
}

fn pickled_get(name: &str) -> Vec<u8> {
    [b"\x80\x03}(".to_vec(), unicode("get"), unicode(name), b"u.".to_vec()].concat()
}
