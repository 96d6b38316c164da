//! The PROXY protocol, versions 1 and 2: what a proxy sends before the bytes of its client. Never decides which
//! peers are believed.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Longest header of version 1, its CRLF included.
const V1_LEN_MAX: usize = 107;
const V1_START: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// What a header of version 2 has before the addresses.
const V2_LEN_MIN: usize = 16;
/// The type of the checksum, and the bytes of its value.
const CRC32C: (u8, usize) = (0x03, 4);

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its bytes; those of the client follow.
    pub len: usize,
    /// The client; `None` where the connection is the proxy's own, or the proxy does not know.
    pub client: Option<SocketAddr>,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// They begin like neither version.
    Missing,
    /// It is longer than is permitted.
    TooLong,
    /// The checksum is not that of the header.
    Checksum,
    Malformed(&'static str),
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("no header of the PROXY protocol"),
            Self::TooLong => f.write_str("too long a header of the PROXY protocol"),
            Self::Checksum => f.write_str("a header of the PROXY protocol with a wrong checksum"),
            Self::Malformed(what) => write!(f, "a malformed header of the PROXY protocol: {what}"),
        }
    }
}

const fn malformed<T>(what: &'static str) -> Result<T, HeaderError> {
    Err(HeaderError::Malformed(what))
}

/// Reads the header at the front of `bytes`, of at most `len_max` bytes; `None` if more bytes are needed.
pub fn parse(bytes: &[u8], len_max: usize) -> Result<Option<Header>, HeaderError> {
    let begins = |start: &[u8]| bytes.iter().zip(start).all(|(one, other)| one == other);
    let header = if begins(V1_START) {
        parse_v1(bytes)?
    } else if begins(V2_SIGNATURE) {
        parse_v2(bytes, len_max)?
    } else {
        return Err(HeaderError::Missing);
    };
    match header {
        Some(Header { len, .. }) if len > len_max => Err(HeaderError::TooLong),
        None if bytes.len() >= len_max => Err(HeaderError::TooLong),
        header => Ok(header),
    }
}

fn parse_v1(bytes: &[u8]) -> Result<Option<Header>, HeaderError> {
    let bounded = &bytes[..bytes.len().min(V1_LEN_MAX)];
    let Some(end) = bounded.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < V1_LEN_MAX { Ok(None) } else { Err(HeaderError::TooLong) };
    };
    let header = |client| Ok(Some(Header { len: end + 2, client }));
    let Ok(line) = str::from_utf8(&bytes[V1_START.len()..end]) else { return malformed("it is no text") };
    let mut words = line.split(' ');
    let is_v4 = match words.next() {
        // The specification lets anything follow, which is ignored.
        Some("UNKNOWN") => return header(None),
        Some("TCP4") => true,
        Some("TCP6") => false,
        _ => return malformed("its protocol is none of TCP4, TCP6 and UNKNOWN"),
    };
    let address = |word: Option<&str>| word?.parse::<IpAddr>().ok().filter(|address| address.is_ipv4() == is_v4);
    let (Some(source), Some(_)) = (address(words.next()), address(words.next())) else {
        return malformed("an address is not one of its protocol");
    };
    let (Some(port), Some(_), None) = (v1_port(words.next()), v1_port(words.next()), words.next()) else {
        return malformed("it does not end with two ports");
    };
    header(Some(SocketAddr::new(source, port)))
}

/// A port as the specification wants it: without leading zeros.
fn v1_port(word: Option<&str>) -> Option<u16> {
    let word = word?;
    let is_canonical = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    word.parse().ok().filter(|_| is_canonical)
}

fn parse_v2(bytes: &[u8], len_max: usize) -> Result<Option<Header>, HeaderError> {
    let Some((&[version_and_command, family, len_high, len_low], _)) =
        bytes.get(V2_SIGNATURE.len()..).and_then(|rest| rest.split_first_chunk())
    else {
        return Ok(None);
    };
    if version_and_command >> 4 != 2 {
        return malformed("its version is not 2");
    }
    let is_local = match version_and_command & 0xF {
        0 => true,
        1 => false,
        _ => return malformed("its command is neither LOCAL nor PROXY"),
    };
    let len = V2_LEN_MIN + usize::from(u16::from_be_bytes([len_high, len_low]));
    if len > len_max {
        return Err(HeaderError::TooLong);
    }
    let Some(header) = bytes.get(..len) else { return Ok(None) };
    let content = &header[V2_LEN_MIN..];
    if is_local {
        // Whatever it says of addresses is to be ignored; only a checksum that can be found can be wrong.
        let extensions = addresses_len(family).ok().and_then(|len| content.get(len..));
        if let Some(Ok(Some(at))) = extensions.map(find_checksum) {
            verify(header, len - extensions.map_or(0, <[u8]>::len) + at)?;
        }
        return Ok(Some(Header { len, client: None }));
    }
    let addresses = addresses_len(family)?;
    let (Some(client), Some(extensions)) = (v2_client(family, content), content.get(addresses..)) else {
        return malformed("it is shorter than its addresses");
    };
    if let Some(at) = find_checksum(extensions)? {
        verify(header, V2_LEN_MIN + addresses + at)?;
    }
    Ok(Some(Header { len, client }))
}

/// The bytes of both addresses with their ports.
const fn addresses_len(family: u8) -> Result<usize, HeaderError> {
    match (family >> 4, family & 0xF) {
        (0, 0..=2) => Ok(0),
        (1, 0..=2) => Ok(12),
        (2, 0..=2) => Ok(36),
        (3, 0..=2) => Ok(216),
        _ => malformed("its family or protocol is not defined"),
    }
}

/// The source address; `Some(None)` where it is that of no TCP connection, and `None` if it is cut off.
fn v2_client(family: u8, content: &[u8]) -> Option<Option<SocketAddr>> {
    let port = |at: usize| content.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
    match family {
        0x11 => {
            let address = IpAddr::from(*content.first_chunk::<4>()?);
            Some(Some(SocketAddr::new(address, port(8)?)))
        }
        0x21 => {
            let address = IpAddr::from(*content.first_chunk::<16>()?);
            Some(Some(SocketAddr::new(address, port(32)?)))
        }
        _ => Some(None),
    }
}

/// Where in the extensions (type, length, value) the value of the checksum begins.
fn find_checksum(extensions: &[u8]) -> Result<Option<usize>, HeaderError> {
    let (mut rest, mut found) = (extensions, None);
    while let Some((&[kind, len_high, len_low], values)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes([len_high, len_low]));
        let Some(after) = values.get(len..) else { return malformed("an extension is cut off") };
        if kind == CRC32C.0 {
            if len != CRC32C.1 || found.is_some() {
                return malformed("its checksum has a wrong length, or is there twice");
            }
            found = Some(extensions.len() - values.len());
        }
        rest = after;
    }
    if rest.is_empty() { Ok(found) } else { malformed("an extension is cut off") }
}

/// Compares the checksum at this place with that of the header, in which it counts as zero.
fn verify(header: &[u8], at: usize) -> Result<(), HeaderError> {
    let (before, rest) = header.split_at(at);
    let (written, after) = rest.split_at(CRC32C.1);
    let sum = [before, &[0; CRC32C.1], after].into_iter().fold(!0, crc32c);
    if written == (!sum).to_be_bytes() { Ok(()) } else { Err(HeaderError::Checksum) }
}

/// CRC32C bit by bit: a header is short, and there is one for a connection.
fn crc32c(sum: u32, bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82F6_3B78;
    bytes.iter().fold(sum, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ if sum & 1 == 1 { POLYNOMIAL } else { 0 })
    })
}

#[cfg(test)]
mod tests;
