//! The chunked coding (RFC 9112 §7.1): a decoder for bodies that come in any pieces, and the
//! writing of chunks.
//!
//! Extensions and trailers are checked, counted and skipped. A bare LF or a
//! size that is not plain hex digits is refused: parsers disagree about them.

#[cfg(test)]
mod tests;

use std::io::Write as _;

use crate::error::Failure;
use crate::wire::body::{self, BodyPart, Then};
use crate::wire::http::syntax::{is_token, is_value};

/// Longest extensions of one chunk, in bytes.
pub const EXTENSION_LEN_MAX: u32 = 256;
/// Longest extensions and trailers of one body together, in bytes.
pub const EXTRAS_LEN_MAX: u32 = 8 * 1024;
/// Most trailers.
pub const TRAILERS_MAX: u8 = 64;
/// Most digits of a size.
const DIGITS_MAX: u8 = 16;

/// Follows the bytes of every chunk.
pub const CHUNK_END: &[u8] = b"\r\n";
/// The last chunk, and the end of a body without trailers.
pub const END: &[u8] = b"0\r\n\r\n";
/// The last chunk, where trailers and an empty line follow it.
pub const LAST: &[u8] = b"0\r\n";

/// Appends the size line of a chunk, which must not be empty: that would be the last one.
pub fn chunk_head(len: u64, out: &mut Vec<u8>) {
    debug_assert!(len > 0, "an empty chunk ends the body");
    let _ = write!(out, "{len:x}\r\n"); // writing to a Vec cannot fail
}

/// Decodes one body.
#[derive(Clone, Debug, Default)]
pub struct Chunked {
    state: State,
    /// Bytes of extensions and trailers so far.
    extras: u32,
    trailers: u8,
}

/// What the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A digit of the size, or what ends it.
    Size {
        size: u64,
        digits: u8,
    },
    /// After whitespace that follows the size: an extension must come (RFC 9112 §7.1.1).
    Blank {
        size: u64,
        len: u32,
    },
    /// Inside the extensions of a chunk; `len` bytes of them were received.
    Extension {
        size: u64,
        len: u32,
    },
    /// The LF after the size.
    SizeLf {
        size: u64,
    },
    Data {
        left: u64,
    },
    /// The CR after the content.
    DataCr,
    DataLf,
    /// The first byte of a trailer, or the CR of the last line.
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerLf,
    /// The LF of the last line.
    EndLf,
    /// The body is complete.
    End,
    /// The framing was invalid: the end of the body is unknown.
    Invalid,
}

impl Default for State {
    fn default() -> Self {
        Self::Size { size: 0, digits: 0 }
    }
}

impl Chunked {
    /// Finds the next piece of content in `raw`, at most `payload_max` bytes of it. The bytes of `skip` and `payload`
    /// are consumed. After an error every call returns an error.
    pub fn step(&mut self, raw: &[u8], payload_max: usize) -> Result<BodyPart, Failure> {
        let mut skip = 0;
        loop {
            match self.state {
                State::End => return Ok(BodyPart { skip, payload: 0, then: Then::End }),
                State::Invalid => return Err(Failure::Malformed("the framing of a chunk was wrong")),
                State::Data { mut left } => {
                    let shown = raw.len() - skip;
                    let payload = body::take(&mut left, shown, payload_max);
                    self.state = if left == 0 { State::DataCr } else { State::Data { left } };
                    let then = if payload == shown { Then::Wait } else { Then::Look };
                    return Ok(BodyPart { skip, payload, then });
                }
                _ => match raw.get(skip) {
                    None => return Ok(BodyPart { skip, payload: 0, then: Then::Wait }),
                    Some(byte) => {
                        let state = std::mem::replace(&mut self.state, State::Invalid);
                        self.state = self.after(state, *byte)?;
                    }
                },
            }
            skip += 1;
        }
    }

    /// At least this many more bytes belong to the body.
    pub fn left_min(&self) -> u64 {
        // Every chunk is followed by CRLF and at least the last chunk.
        let end = END.len() as u64;
        match self.state {
            State::Size { digits: 0, .. } => end,
            State::Size { size, .. } | State::Blank { size, .. } | State::Extension { size, .. } => {
                len_after_size(size).saturating_add(2)
            }
            State::SizeLf { size } => len_after_size(size).saturating_add(1),
            State::Data { left } => left.saturating_add(2 + end),
            State::DataCr => 2 + end,
            State::DataLf => 1 + end,
            State::Trailer => 2,
            State::TrailerName | State::TrailerValue => 4,
            State::TrailerLf => 3,
            State::EndLf => 1,
            State::End | State::Invalid => 0,
        }
    }

    /// The state after one byte that is not content.
    fn after(&mut self, state: State, byte: u8) -> Result<State, Failure> {
        Ok(match (state, byte) {
            (State::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                if digits == DIGITS_MAX {
                    return Err(Failure::Malformed("a chunk size has more than 16 digits"));
                }
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                State::Size { size: size << 4 | u64::from(digit), digits: digits + 1 }
            }
            (State::Size { digits: 0, .. }, _) => return Err(Failure::Malformed("a chunk size is not hex digits")),
            (State::Size { size, .. } | State::Extension { size, .. }, b'\r') => State::SizeLf { size },
            (State::Size { size, .. }, b';') => self.extension(size, 0)?,
            (State::Blank { size, len }, b';') => self.extension(size, len)?,
            (State::Size { size, .. }, b' ' | b'\t') => self.blank(size, 0)?,
            (State::Blank { size, len }, b' ' | b'\t') => self.blank(size, len)?,
            (State::Size { .. } | State::Blank { .. }, _) => {
                return Err(Failure::Malformed("a chunk size is not hex digits"));
            }
            (State::Extension { size, len }, _) if is_value(byte) => self.extension(size, len)?,
            (State::SizeLf { size: 0 }, b'\n') => State::Trailer,
            (State::SizeLf { size }, b'\n') => State::Data { left: size },
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::default(),
            (State::DataCr | State::DataLf, _) => return Err(Failure::Malformed("a chunk is longer than its size")),
            (State::Trailer, b'\r') => State::EndLf,
            (State::Trailer, _) if is_token(byte) => self.trailer()?,
            (State::TrailerName, _) if is_token(byte) => self.extra(State::TrailerName)?,
            (State::TrailerName, b':') => self.extra(State::TrailerValue)?,
            (State::TrailerValue, b'\r') => State::TrailerLf,
            (State::TrailerValue, _) if is_value(byte) => self.extra(State::TrailerValue)?,
            (State::TrailerLf, b'\n') => State::Trailer,
            (State::EndLf, b'\n') => State::End,
            _ => return Err(Failure::Malformed("the framing of a chunk has a byte that does not belong there")),
        })
    }

    fn extension(&mut self, size: u64, len: u32) -> Result<State, Failure> {
        self.extra(State::Extension { size, len: longer(len)? })
    }

    fn blank(&mut self, size: u64, len: u32) -> Result<State, Failure> {
        self.extra(State::Blank { size, len: longer(len)? })
    }

    fn trailer(&mut self) -> Result<State, Failure> {
        if self.trailers == TRAILERS_MAX {
            return Err(Failure::Malformed("the body has more than 64 trailers"));
        }
        self.trailers += 1;
        self.extra(State::TrailerName)
    }

    /// Counts a byte that is skipped.
    fn extra(&mut self, next: State) -> Result<State, Failure> {
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

/// Bytes that must follow the size line of a chunk.
fn len_after_size(size: u64) -> u64 {
    match size {
        0 => 2,
        size => size.saturating_add(2 + END.len() as u64),
    }
}
