//! The chunked coding (RFC 9112 §7.1): a decoder for bodies that come in any pieces, and the
//! writing of chunks.
//!
//! Extensions and trailers are stepped over, counted and checked, and never kept. A bare LF or a
//! size that is not plain hex digits is refused: parsers disagree about them.

#[cfg(test)]
mod tests;

use std::io::Write as _;

use crate::error::Failure;
use crate::wire::body::{self, BodyPart, Then};
use crate::wire::http::{is_token, is_value};

/// Longest extensions of one chunk, in bytes.
pub const EXTENSION_LEN_MAX: u32 = 256;
/// Longest extensions and trailers of one body together, in bytes.
pub const EXTRAS_LEN_MAX: u32 = 8 * 1024;
/// Most trailers.
pub const TRAILERS_MAX: u8 = 64;
/// Most digits of a size.
const DIGITS_MAX: u8 = 16;

/// Stands behind the bytes of every chunk.
pub const CHUNK_END: &[u8] = b"\r\n";
/// The last chunk, and the end of a body without trailers.
pub const END: &[u8] = b"0\r\n\r\n";
/// The last chunk, where trailers and an empty line follow it.
pub const LAST: &[u8] = b"0\r\n";

/// Writes what stands before the bytes of a chunk. An empty one would be the last: not for that.
pub fn chunk_head(len: u64, out: &mut Vec<u8>) {
    debug_assert!(len > 0, "an empty chunk ends the body");
    let _ = write!(out, "{len:x}\r\n"); // writing to a Vec cannot fail
}

/// Decodes one body.
#[derive(Clone, Debug, Default)]
pub struct Chunked {
    place: Place,
    /// Bytes of extensions and trailers so far.
    extras: u32,
    trailers: u8,
}

/// What the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A digit of the size, or what ends it.
    Size { size: u64, digits: u8 },
    /// Behind blanks that follow the size: an extension must come (RFC 9112 §7.1.1).
    Blank { size: u64, len: u32 },
    /// Inside the extensions of a chunk, of which so many bytes have come.
    Extension { size: u64, len: u32 },
    /// The LF behind the size.
    SizeLf { size: u64 },
    /// Content, so many bytes of it.
    Data { left: u64 },
    /// The CR behind the content.
    DataCr,
    /// The LF behind the content.
    DataLf,
    /// The first byte of a trailer, or the CR of the last line.
    Trailer,
    /// Inside the name of a trailer.
    TrailerName,
    /// Inside the value of a trailer.
    TrailerValue,
    /// The LF behind a trailer.
    TrailerLf,
    /// The LF of the last line.
    EndLf,
    /// Nothing: the body is complete.
    Over,
    /// The framing was wrong: where anything else begins is unknown.
    Broken,
}

impl Default for Place {
    fn default() -> Self {
        Self::Size { size: 0, digits: 0 }
    }
}

impl Chunked {
    /// Finds the next piece of content in `raw`, at most `payload_max` bytes of it. Every byte of
    /// `skip` and `payload` is used and not to be shown again. After an error there is only that
    /// error.
    pub fn step(&mut self, raw: &[u8], payload_max: usize) -> Result<BodyPart, Failure> {
        let mut skip = 0;
        loop {
            match self.place {
                Place::Over => return Ok(BodyPart { skip, payload: 0, then: Then::End }),
                Place::Broken => return Err(Failure::Malformed("the framing of a chunk was wrong")),
                Place::Data { mut left } => {
                    let shown = raw.len() - skip;
                    let payload = body::take(&mut left, shown, payload_max);
                    self.place = if left == 0 { Place::DataCr } else { Place::Data { left } };
                    let then = if payload == shown { Then::Wait } else { Then::Look };
                    return Ok(BodyPart { skip, payload, then });
                }
                _ => match raw.get(skip) {
                    None => return Ok(BodyPart { skip, payload: 0, then: Then::Wait }),
                    Some(byte) => {
                        let place = std::mem::replace(&mut self.place, Place::Broken);
                        self.place = self.behind_byte(place, *byte)?;
                    }
                },
            }
            skip += 1;
        }
    }

    /// At least so many bytes from here on belong to the body.
    pub fn left_min(&self) -> u64 {
        // Behind every chunk stand its CRLF and at least the last chunk.
        let end = END.len() as u64;
        match self.place {
            Place::Size { digits: 0, .. } => end,
            Place::Size { size, .. } | Place::Blank { size, .. } | Place::Extension { size, .. } => {
                behind(size).saturating_add(2)
            }
            Place::SizeLf { size } => behind(size).saturating_add(1),
            Place::Data { left } => left.saturating_add(2 + end),
            Place::DataCr => 2 + end,
            Place::DataLf => 1 + end,
            Place::Trailer => 2,
            Place::TrailerName | Place::TrailerValue => 4,
            Place::TrailerLf => 3,
            Place::EndLf => 1,
            Place::Over | Place::Broken => 0,
        }
    }

    /// Where one byte that is no content leads.
    fn behind_byte(&mut self, place: Place, byte: u8) -> Result<Place, Failure> {
        Ok(match (place, byte) {
            (Place::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                if digits == DIGITS_MAX {
                    return Err(Failure::Malformed("a chunk size has more than 16 digits"));
                }
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                Place::Size { size: size << 4 | u64::from(digit), digits: digits + 1 }
            }
            (Place::Size { digits: 0, .. }, _) => return Err(Failure::Malformed("a chunk size is not hex digits")),
            (Place::Size { size, .. } | Place::Extension { size, .. }, b'\r') => Place::SizeLf { size },
            (Place::Size { size, .. }, b';') => self.extension(size, 0)?,
            (Place::Blank { size, len }, b';') => self.extension(size, len)?,
            (Place::Size { size, .. }, b' ' | b'\t') => self.blank(size, 0)?,
            (Place::Blank { size, len }, b' ' | b'\t') => self.blank(size, len)?,
            (Place::Size { .. } | Place::Blank { .. }, _) => {
                return Err(Failure::Malformed("a chunk size is not hex digits"));
            }
            (Place::Extension { size, len }, _) if is_value(byte) => self.extension(size, len)?,
            (Place::SizeLf { size: 0 }, b'\n') => Place::Trailer,
            (Place::SizeLf { size }, b'\n') => Place::Data { left: size },
            (Place::DataCr, b'\r') => Place::DataLf,
            (Place::DataLf, b'\n') => Place::default(),
            (Place::DataCr | Place::DataLf, _) => return Err(Failure::Malformed("a chunk is longer than its size")),
            (Place::Trailer, b'\r') => Place::EndLf,
            (Place::Trailer, _) if is_token(byte) => self.trailer()?,
            (Place::TrailerName, _) if is_token(byte) => self.extra(Place::TrailerName)?,
            (Place::TrailerName, b':') => self.extra(Place::TrailerValue)?,
            (Place::TrailerValue, b'\r') => Place::TrailerLf,
            (Place::TrailerValue, _) if is_value(byte) => self.extra(Place::TrailerValue)?,
            (Place::TrailerLf, b'\n') => Place::Trailer,
            (Place::EndLf, b'\n') => Place::Over,
            _ => return Err(Failure::Malformed("the framing of a chunk has a byte that does not belong there")),
        })
    }

    fn extension(&mut self, size: u64, len: u32) -> Result<Place, Failure> {
        let len = longer(len)?;
        self.extra(Place::Extension { size, len })
    }

    fn blank(&mut self, size: u64, len: u32) -> Result<Place, Failure> {
        let len = longer(len)?;
        self.extra(Place::Blank { size, len })
    }

    fn trailer(&mut self) -> Result<Place, Failure> {
        if self.trailers == TRAILERS_MAX {
            return Err(Failure::Malformed("the body has more than 64 trailers"));
        }
        self.trailers += 1;
        self.extra(Place::TrailerName)
    }

    /// Counts a byte that nobody wants.
    fn extra(&mut self, next: Place) -> Result<Place, Failure> {
        if self.extras == EXTRAS_LEN_MAX {
            return Err(Failure::Malformed("the extensions and trailers of a body are longer than 8 KiB"));
        }
        self.extras += 1;
        Ok(next)
    }
}

/// Counts one more byte of the extensions of a chunk.
const fn longer(len: u32) -> Result<u32, Failure> {
    if len == EXTENSION_LEN_MAX {
        return Err(Failure::Malformed("the extensions of a chunk are longer than 256 bytes"));
    }
    Ok(len + 1)
}

/// What must follow the line of a chunk of this size.
fn behind(size: u64) -> u64 {
    match size {
        0 => 2,
        size => size.saturating_add(2 + END.len() as u64),
    }
}
