//! The grammar of messages after a 64-byte decimal length, and where such a message ends.
//!
//! The length may count bytes or characters: classroom programs write `str(len(text))` and send
//! `text.encode()`. [`Extent`] finds the end of a message under either reading while its bytes
//! stream by; only where both readings fit does it look at what follows, at most 64 bytes and as
//! many as are in doubt. It never holds a byte itself.

#[cfg(test)]
mod tests;

use std::io::Write as _;

use crate::error::Failure;

pub const HEADER_LEN: usize = 64;
/// The longest message that a header may announce.
pub const MESSAGE_LEN_MAX: u64 = 16 * 1024 * 1024;
/// The longest message we send, in bytes.
pub const PIECE_LEN_MAX: u64 = 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// It is not complete; nothing is wrong with it so far.
    Partial,
    Len(u64),
}

/// Reads a header: blanks, digits, then blanks or NULs up to 64 bytes. What can never become one
/// is refused without waiting for the rest.
pub fn header(input: &[u8]) -> Result<Header, Failure> {
    let bad = Failure::Malformed("the header is not a length in digits, filled up to 64 bytes with blanks");
    let head = &input[..input.len().min(HEADER_LEN)];
    let first = head.iter().position(|byte| *byte != b' ').unwrap_or(head.len());
    let digits = head[first..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, fill) = head[first..].split_at(digits);
    if fill.iter().any(|byte| !matches!(byte, b' ' | 0)) || (number.is_empty() && !fill.is_empty()) {
        return Err(bad);
    }
    if head.len() < HEADER_LEN {
        return Ok(Header::Partial);
    }
    let digit = |byte: &u8| u64::from(byte - b'0');
    match number.iter().fold(0_u64, |len, byte| len.saturating_mul(10).saturating_add(digit(byte))) {
        _ if number.is_empty() => Err(bad),
        len if len > MESSAGE_LEN_MAX => Err(Failure::Malformed("a message has at most 16777216 bytes")),
        len => Ok(Header::Len(len)),
    }
}

/// Writes the header of a message of `len` bytes.
pub fn write_header(len: u64, out: &mut Vec<u8>) {
    let _ = write!(out, "{len:<HEADER_LEN$}"); // writing to a Vec cannot fail
}

/// Writes a message, in pieces if it is longer than one may be.
pub fn write_message(text: &[u8], out: &mut Vec<u8>) {
    for piece in text.chunks(PIECE_LEN_MAX as usize) {
        write_header(piece.len() as u64, out);
        out.extend_from_slice(piece);
    }
}

/// How far a message reaches.
#[derive(Debug)]
pub struct Extent {
    len: u64,
    bytes: u64,
    text: Utf8,
    reading: Reading,
}

/// What the length is known to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// As many bytes as announced have not come yet: they belong to it either way.
    Open,
    /// They have, and the last of them is inside a character.
    Inside,
    /// They have, and are whole characters, but fewer than announced; what a silence means.
    Doubt(Silence),
    /// It counts characters.
    Characters,
    Over,
}

/// What a silence would mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Silence {
    /// The length counted bytes; the message is complete.
    Bytes,
    /// That its length counts characters: what has come is its tail.
    Characters,
    /// Nothing yet.
    Nothing,
}

/// What [`Extent::step`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// This many bytes belong to the message, and more will.
    Part(usize),
    /// This many bytes, and then it is over.
    Last(usize),
    /// The end is in doubt: show the same bytes with more after them, or report the silence.
    Look,
}

/// What [`Extent::silence`] decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// Nothing: wait on.
    Nothing,
    /// Bytes that were shown belong to it: show them again.
    LookAgain,
    /// The message is over, before the bytes that were shown.
    Over,
}

impl Extent {
    /// Of a message after a header that said `len`.
    pub fn new(len: u64) -> Self {
        let reading = if len == 0 { Reading::Over } else { Reading::Open };
        Self { len, bytes: 0, text: Utf8::default(), reading }
    }

    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// True once its end was found.
    pub fn is_over(&self) -> bool {
        self.reading == Reading::Over
    }

    /// True while a silence would decide something.
    pub fn awaits_silence(&self) -> bool {
        matches!(self.reading, Reading::Doubt(Silence::Bytes | Silence::Characters))
    }

    /// At least this many bytes of it are to come.
    pub const fn left_min(&self) -> u64 {
        match self.reading {
            Reading::Open => self.len - self.bytes,
            Reading::Characters => self.len - self.text.chars,
            Reading::Inside | Reading::Doubt(_) | Reading::Over => 0,
        }
    }

    /// Finds how many of the bytes in `input`, at most `most`, belong to it.
    pub fn step(&mut self, input: &[u8], most: usize) -> Result<Step, Failure> {
        let shown = input.len().min(most);
        let mut used = 0;
        loop {
            match self.reading {
                Reading::Open | Reading::Characters if used == shown => return Ok(Step::Part(used)),
                Reading::Open => {
                    let left = usize::try_from(self.len - self.bytes).unwrap_or(usize::MAX);
                    let part = &input[used..used.saturating_add(left).min(shown)];
                    self.text.push(part);
                    self.bytes += part.len() as u64;
                    used += part.len();
                    self.close();
                }
                Reading::Inside => match input.get(used) {
                    None => return Ok(Step::Part(used)),
                    // No text at all, so its length does not count characters.
                    Some(next) if !self.text.continues(*next) => self.reading = Reading::Over,
                    Some(_) => self.reading = Reading::Characters,
                },
                Reading::Doubt(_) if used > 0 => return Ok(Step::Part(used)),
                Reading::Doubt(_) => match weigh(input, self.len - self.text.chars) {
                    Weighed::Bytes => self.reading = Reading::Over,
                    Weighed::Characters => self.reading = Reading::Characters,
                    Weighed::Silence(silence) => {
                        self.reading = Reading::Doubt(silence);
                        return Ok(Step::Look);
                    }
                },
                Reading::Characters => {
                    let n = self.text.push_up_to(&input[used..shown], self.len);
                    self.bytes += n as u64;
                    used += n;
                    if self.text.char_state == CharState::Broken {
                        return Err(Failure::Malformed("a text is longer than its header says, and not UTF-8"));
                    }
                    if self.text.chars == self.len {
                        self.reading = Reading::Over;
                    }
                }
                Reading::Over => return Ok(Step::Last(used)),
            }
        }
    }

    /// Nothing followed the bytes that were last shown.
    pub fn silence(&mut self) -> Decided {
        match self.reading {
            Reading::Doubt(Silence::Bytes) => {
                self.reading = Reading::Over;
                Decided::Over
            }
            Reading::Doubt(Silence::Characters) => {
                self.reading = Reading::Characters;
                Decided::LookAgain
            }
            _ => Decided::Nothing,
        }
    }

    /// As many bytes as announced may have come.
    fn close(&mut self) {
        if self.bytes < self.len {
            return;
        }
        self.reading = match self.text.char_state {
            CharState::Broken => Reading::Over,
            CharState::Between if self.text.chars == self.len => Reading::Over,
            CharState::Between => Reading::Doubt(Silence::Bytes),
            CharState::Inside { .. } => Reading::Inside,
        };
    }
}

enum Weighed {
    Bytes,
    Characters,
    Silence(Silence),
}

/// What follows a text with a length that fits both readings: a header, so the length counted bytes, or
/// the `missing` last characters of the text, so it counted characters? If those characters are
/// digits and a header stands after them, it looks like both.
fn weigh(next: &[u8], missing: u64) -> Weighed {
    if next.is_empty() {
        return Weighed::Silence(Silence::Bytes);
    }
    let complete = match header(next) {
        Err(_) => return Weighed::Characters,
        Ok(Header::Partial) => false,
        Ok(Header::Len(_)) => true,
    };
    // What looks like a header is ASCII: as many bytes as characters. A tail as long as a header
    // that looks like one is taken for one.
    let tail = usize::try_from(missing).ok().filter(|missing| *missing < HEADER_LEN);
    let after = tail.and_then(|tail| next.get(tail..));
    // The second header must begin with a digit, as those that count characters do.
    let fits = after.is_some_and(|after| after.first().is_none_or(u8::is_ascii_digit) && header(after).is_ok());
    match (complete, fits) {
        (true, false) => Weighed::Bytes,
        (true, true) if after.is_some_and(|after| after.len() >= HEADER_LEN) => Weighed::Characters,
        (true, true) => Weighed::Silence(Silence::Bytes),
        (false, true) => Weighed::Silence(Silence::Characters),
        (false, false) => Weighed::Silence(Silence::Nothing),
    }
}

/// Counts the characters of a text that arrives in pieces.
#[derive(Debug, Default)]
struct Utf8 {
    chars: u64,
    char_state: CharState,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum CharState {
    #[default]
    Between,
    /// `left` bytes are missing, the next of them from `low` to `high`.
    Inside { left: u8, low: u8, high: u8 },
    /// Not UTF-8.
    Broken,
}

impl Utf8 {
    fn push(&mut self, bytes: &[u8]) {
        self.push_up_to(bytes, u64::MAX);
    }

    /// Stops after this many characters, and where the text breaks; says how many bytes it took.
    fn push_up_to(&mut self, bytes: &[u8], chars_max: u64) -> usize {
        for (at, byte) in bytes.iter().enumerate() {
            if self.chars == chars_max || self.char_state == CharState::Broken {
                return at;
            }
            self.char_state = match self.char_state {
                CharState::Inside { left, low, high } if (low..=high).contains(byte) => match left {
                    1 => CharState::Between,
                    left => CharState::Inside { left: left - 1, low: 0x80, high: 0xbf },
                },
                CharState::Inside { .. } | CharState::Broken => CharState::Broken,
                CharState::Between => Self::lead(*byte),
            };
            self.chars += u64::from(self.char_state == CharState::Between);
        }
        bytes.len()
    }

    /// The Unicode standard, table 3-7.
    const fn lead(byte: u8) -> CharState {
        let (left, low, high) = match byte {
            0..=0x7f => return CharState::Between,
            0xc2..=0xdf => (1, 0x80, 0xbf),
            0xe0 => (2, 0xa0, 0xbf),
            0xed => (2, 0x80, 0x9f),
            0xe1..=0xef => (2, 0x80, 0xbf),
            0xf0 => (3, 0x90, 0xbf),
            0xf1..=0xf3 => (3, 0x80, 0xbf),
            0xf4 => (3, 0x80, 0x8f),
            _ => return CharState::Broken,
        };
        CharState::Inside { left, low, high }
    }

    fn continues(&self, byte: u8) -> bool {
        matches!(self.char_state, CharState::Inside { low, high, .. } if (low..=high).contains(&byte))
    }
}
