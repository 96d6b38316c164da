//! The grammar of messages behind a 64-byte decimal length, and where such a message ends.
//!
//! The length may count bytes or characters: classroom programs write `str(len(text))` and send
//! `text.encode()`. [`Extent`] finds the end of a message under either reading while its bytes
//! stream by; only where both readings fit does it look at what follows, at most 64 bytes and as
//! many as are in doubt. It never holds a byte itself.

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
pub fn announce(len: u64, out: &mut Vec<u8>) {
    let _ = write!(out, "{len:<HEADER_LEN$}"); // writing to a Vec cannot fail
}

/// Writes a message, in pieces if it is longer than one may be.
pub fn say(text: &[u8], out: &mut Vec<u8>) {
    for piece in text.chunks(PIECE_LEN_MAX as usize) {
        announce(piece.len() as u64, out);
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
    /// That the message is over: its length counts bytes.
    Bytes,
    /// That its length counts characters: what has come is its tail.
    Characters,
    /// Nothing yet.
    Nothing,
}

/// What [`Extent::step`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many bytes belong to the message, and more will.
    Part(usize),
    /// So many bytes, and then it is over.
    Last(usize),
    /// The end is in doubt: show the same bytes with more behind them, or report the silence.
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
    /// Of a message behind a header that said `len`.
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

    /// At least so many bytes of it are to come.
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
                    // No text at all, so nobody counted its characters.
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
                    if self.text.place == Place::Broken {
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
        self.reading = match self.text.place {
            Place::Broken => Reading::Over,
            Place::Between if self.text.chars == self.len => Reading::Over,
            Place::Between => Reading::Doubt(Silence::Bytes),
            Place::Inside { .. } => Reading::Inside,
        };
    }
}

enum Weighed {
    Bytes,
    Characters,
    Silence(Silence),
}

/// What follows a text whose length fits both readings: a header, so the length counted bytes, or
/// the `missing` last characters of the text, so it counted characters? If those characters are
/// digits and a header stands behind them, it looks like both.
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
    let behind = tail.and_then(|tail| next.get(tail..));
    // The second header must begin with a digit, as those that count characters do.
    let fits = behind.is_some_and(|behind| behind.first().is_none_or(u8::is_ascii_digit) && header(behind).is_ok());
    match (complete, fits) {
        (true, false) => Weighed::Bytes,
        (true, true) if behind.is_some_and(|behind| behind.len() >= HEADER_LEN) => Weighed::Characters,
        (true, true) => Weighed::Silence(Silence::Bytes),
        (false, true) => Weighed::Silence(Silence::Characters),
        (false, false) => Weighed::Silence(Silence::Nothing),
    }
}

/// Counts the characters of a text that arrives in pieces.
#[derive(Debug, Default)]
struct Utf8 {
    chars: u64,
    place: Place,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
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

    /// Stops behind so many characters, and where the text breaks; says how many bytes it took.
    fn push_up_to(&mut self, bytes: &[u8], chars_max: u64) -> usize {
        for (at, byte) in bytes.iter().enumerate() {
            if self.chars == chars_max || self.place == Place::Broken {
                return at;
            }
            self.place = match self.place {
                Place::Inside { left, low, high } if (low..=high).contains(byte) => match left {
                    1 => Place::Between,
                    left => Place::Inside { left: left - 1, low: 0x80, high: 0xbf },
                },
                Place::Inside { .. } | Place::Broken => Place::Broken,
                Place::Between => Self::lead(*byte),
            };
            self.chars += u64::from(self.place == Place::Between);
        }
        bytes.len()
    }

    /// The Unicode standard, table 3-7.
    const fn lead(byte: u8) -> Place {
        let (left, low, high) = match byte {
            0..=0x7f => return Place::Between,
            0xc2..=0xdf => (1, 0x80, 0xbf),
            0xe0 => (2, 0xa0, 0xbf),
            0xed => (2, 0x80, 0x9f),
            0xe1..=0xef => (2, 0x80, 0xbf),
            0xf0 => (3, 0x90, 0xbf),
            0xf1..=0xf3 => (3, 0x80, 0xbf),
            0xf4 => (3, 0x80, 0x8f),
            _ => return Place::Broken,
        };
        Place::Inside { left, low, high }
    }

    fn continues(&self, byte: u8) -> bool {
        matches!(self.place, Place::Inside { low, high, .. } if (low..=high).contains(&byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head(len: usize) -> Vec<u8> {
        let mut out = Vec::new();
        announce(len as u64, &mut out);
        out
    }

    /// The bytes of the first message in `stream`, whose header says `len`, and whether it took a
    /// silence to find its end; shown in pieces of `cut` bytes, unused ones again.
    fn extent(len: u64, stream: &[u8], cut: usize) -> Result<Option<(usize, bool)>, Failure> {
        let (mut extent, mut used, mut shown) = (Extent::new(len), 0, 0);
        loop {
            match extent.step(&stream[used..shown], usize::MAX)? {
                Step::Last(n) => return Ok(Some((used + n, false))),
                Step::Part(n) if used + n < shown => used += n,
                Step::Part(n) if shown < stream.len() => (used, shown) = (used + n, (shown + cut).min(stream.len())),
                Step::Look if shown < stream.len() => shown = (shown + cut).min(stream.len()),
                Step::Part(n) if n > 0 => used += n,
                Step::Part(_) | Step::Look => match extent.silence() {
                    Decided::Over => return Ok(Some((used, true))),
                    Decided::LookAgain => {}
                    Decided::Nothing => return Ok(None),
                },
            }
        }
    }

    // covers: H15
    #[test]
    fn headers_are_digits_among_blanks() {
        let padded = |text: &str| format!("{text:<64}").into_bytes();
        assert_eq!(header(&padded("14")), Ok(Header::Len(14)));
        assert_eq!(header(&padded("  007")), Ok(Header::Len(7)));
        assert_eq!(header(format!("{:>64}", 5).as_bytes()), Ok(Header::Len(5)));
        assert_eq!(header(format!("5{}", "\0".repeat(63)).as_bytes()), Ok(Header::Len(5)));
        assert_eq!(header(&padded("16777216")), Ok(Header::Len(MESSAGE_LEN_MAX)));
        for bad in ["", "-5", "+3", "1_0", "0x1", "1 2", "5\n", "16777217", "99999999999999999999999", "\0 5"] {
            assert!(matches!(header(&padded(bad)), Err(Failure::Malformed(_))), "{bad:?}");
        }
        assert_eq!(header(b""), Ok(Header::Partial));
        assert_eq!(header(&padded("5")[..63]), Ok(Header::Partial));
        assert!(header(b"GET / HTTP/1.1").is_err(), "hopeless before 64 bytes have come");
    }

    #[test]
    fn a_text_in_doubt_is_decided_by_what_follows() {
        let two = "grüße".as_bytes(); // 5 characters, 7 bytes
        let more = [two, &head(3), b"abc"].concat();
        for cut in [1, 3, 64, 200] {
            assert_eq!(extent(7, two, cut), Ok(Some((7, true))), "bytes, then silence");
            assert_eq!(extent(5, two, cut), Ok(Some((7, false))), "characters: five bytes end inside one");
            assert_eq!(extent(7, &more, cut), Ok(Some((7, false))));
            assert_eq!(extent(5, &more, cut), Ok(Some((7, false))));
        }
        // Three bytes are whole characters here; the tail decides.
        for (text, chars) in [("üab", 3), ("ü1", 2), ("ü 7", 3), ("ü12", 3)] {
            let alone = text.as_bytes();
            let more = [alone, &head(3), b"abc"].concat();
            for cut in [1, 3, 64, 200] {
                assert_eq!(extent(chars, alone, cut).map(|end| end.map(|(n, _)| n)), Ok(Some(alone.len())), "{text}");
                assert_eq!(extent(chars, &more, cut), Ok(Some((alone.len(), false))), "{text}");
                let bytes = alone.len() as u64;
                assert_eq!(extent(bytes, &more, cut), Ok(Some((alone.len(), false))), "{text}");
            }
        }
    }

    #[test]
    fn a_header_whose_end_looks_like_one_is_not_taken_for_the_end_of_a_text() {
        let more = ["üab".as_bytes(), &head(123), &[b'a'; 123]].concat();
        for cut in [1, 64, 300] {
            assert_eq!(extent(4, &more, cut), Ok(Some((4, false))));
        }
    }

    #[test]
    fn the_first_and_the_last_of_every_length_are_characters() {
        let ends = ['\0', '\x7f', '\u{80}', '\u{7ff}', '\u{800}', '\u{fff}', '\u{1000}', '\u{d7ff}', '\u{e000}'];
        for char in ends.into_iter().chain(['\u{ffff}', '\u{10000}', '\u{3ffff}', '\u{40000}', '\u{10ffff}']) {
            let mut utf8 = Utf8::default();
            utf8.push(char.to_string().as_bytes());
            assert_eq!((utf8.chars, utf8.place), (1, Place::Between), "{char:?}");
        }
        for bytes in [&b"\xc1\xbf"[..], b"\xe0\x9f\xbf", b"\xed\xa0\x80", b"\xf0\x8f\xbf\xbf", b"\xf4\x90\x80\x80"] {
            let mut utf8 = Utf8::default();
            utf8.push(bytes);
            assert_eq!(utf8.place, Place::Broken, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn what_is_no_text_counts_bytes() {
        for cut in [1, 64, 200] {
            assert_eq!(extent(4, &[b"caf\xe9", &head(2)[..]].concat(), cut), Ok(Some((4, false))));
            assert_eq!(extent(3, &[b"\xff\xfe\xfd", &head(2)[..]].concat(), cut), Ok(Some((3, false))));
            assert_eq!(extent(4, b"caf\xe9", cut), Ok(None), "more of the character must come");
            assert!(extent(3, b"a\xe9\xa0\xa0\xa0", cut).is_err());
        }
    }

    proptest! {
        #[test]
        fn both_readings_find_the_end_at_every_cut(
            text in "[a-z0-9 üß€😀*]{1,40}", next in "[a-zü*][a-z ]{0,9}", cut in 1_usize..90,
        ) {
            let stream = [text.as_bytes(), &head(next.len()), next.as_bytes()].concat();
            let by_bytes = extent(text.len() as u64, &stream, cut);
            prop_assert_eq!(by_bytes, Ok(Some((text.len(), false))));
            let by_chars = extent(text.chars().count() as u64, &stream, cut);
            prop_assert_eq!(by_chars, Ok(Some((text.len(), false))));
        }

        #[test]
        fn the_pieces_of_a_text_have_its_characters(text in "[ -~üß€😀\u{d7ff}\u{e000}\u{10ffff}]{0,20}", cut in 1_usize..5) {
            let mut utf8 = Utf8::default();
            text.as_bytes().chunks(cut).for_each(|piece| utf8.push(piece));
            prop_assert_eq!((utf8.chars, utf8.place), (text.chars().count() as u64, Place::Between));
        }

        #[test]
        fn what_the_standard_library_refuses_is_no_text(bytes in prop::collection::vec(any::<u8>(), 0..6)) {
            let mut utf8 = Utf8::default();
            utf8.push(&bytes);
            prop_assert_eq!(utf8.place == Place::Between, std::str::from_utf8(&bytes).is_ok());
        }

        #[test]
        fn no_bytes_break_it(len in 0_u64..50, bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 1_usize..90) {
            if let Ok(Some((end, _))) = extent(len, &bytes, cut) {
                prop_assert!(end <= bytes.len() && end as u64 >= len);
            }
        }
    }
}
