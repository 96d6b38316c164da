//! `NAME SIZE` directly followed by `SIZE` bytes: finds the end of the name and of the number.
//!
//! Nothing separates the number from the content, and nothing separates a blank inside the name
//! from the one before the number. But when the stream has ended its length is known: with the
//! first `k` digits after a blank read as the size, and `T` bytes after that blank,
//!
//! ```text
//! number of the first k digits + k = T
//! ```
//!
//! must hold. The left side grows with every `k`, so at most one fits, whatever the content is and
//! however the bytes arrived. Every blank that a digit follows is a `Reading`; the first whose
//! equation holds is right.

use crate::error::Failure;
use crate::object::Key;
use crate::wire::key::{self, COMPONENT_LEN_MAX};

/// Most digits of a size: what 64 bits hold.
pub const DIGITS_MAX: usize = 20;
const NAME_LEN_MAX: usize = 1024;
/// After this many bytes no head can end.
pub const HEAD_LEN_MAX: usize = NAME_LEN_MAX + 1 + DIGITS_MAX;
/// Most places in one head where the name may end.
pub const READINGS_MAX: usize = 16;
/// What a client sends before it closes.
pub const FAREWELL: &[u8] = b"!DISCONNECT";

/// One way to read a head: the name ends here, and these digits begin with the size.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reading {
    key: Key,
    /// Where the digits begin.
    start: usize,
    /// Where they end.
    end: usize,
}

/// Whether more bytes can still change how a head may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    Open,
    /// No: what follows cannot belong to a name or to a size.
    Closed,
}

/// The front of a stream and every way to read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    bytes: Vec<u8>,
    readings: Vec<Reading>,
}

/// A reading for a stream of known length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fit {
    pub key: Key,
    pub size: u64,
    /// Where the content begins; everything after it is content.
    pub content: usize,
    /// Where the digits end: the content may begin before.
    pub digits_end: usize,
    /// The equation holds for another reading too.
    pub rival: bool,
}

impl Head {
    /// Finds every way to read the front of `input`, and whether more bytes can add another.
    pub fn scan(input: &[u8]) -> (Self, Edge) {
        let front = &input[..input.len().min(HEAD_LEN_MAX)];
        let (reach, mut edge) = name_reach(front);
        let mut readings = Vec::new();
        for blank in memchr::memchr_iter(b' ', front).take_while(|blank| *blank <= reach) {
            let start = blank + 1;
            let Some(next) = front.get(start) else {
                edge = Edge::Open;
                break;
            };
            if !next.is_ascii_digit() {
                continue;
            }
            let digits = front[start..].iter().take(DIGITS_MAX).take_while(|byte| byte.is_ascii_digit()).count();
            let end = start + digits;
            if end == input.len() && digits < DIGITS_MAX {
                edge = Edge::Open;
            }
            if let Ok(key) = name(&front[..blank])
                && readings.len() < READINGS_MAX
            {
                readings.push(Reading { key, start, end });
            }
        }
        if input.len() >= HEAD_LEN_MAX {
            edge = Edge::Closed;
        }
        (Self { bytes: input.to_vec(), readings }, edge)
    }

    /// True where it can be read at all.
    pub fn is_readable(&self) -> bool {
        !self.readings.is_empty()
    }

    /// Why it cannot be read.
    pub fn fault(&self) -> Failure {
        let front = &self.bytes[..self.bytes.len().min(HEAD_LEN_MAX)];
        let blank = front.windows(2).position(|pair| pair[0] == b' ' && pair[1].is_ascii_digit());
        match blank.map(|blank| name(&front[..blank])) {
            Some(Err(failure)) => failure,
            Some(Ok(_)) | None => Failure::Malformed("no name, blank and size at the front"),
        }
    }

    /// Keeps only what may belong to a name or a size, and what lies between. What is after is
    /// content in every reading.
    pub fn cut(&mut self) -> usize {
        let end = self.readings.last().map_or(0, |reading| reading.end);
        self.bytes.truncate(end);
        self.bytes.shrink_to_fit();
        end
    }

    pub fn kept_len(&self) -> usize {
        self.bytes.len()
    }

    pub fn kept_from(&self, from: usize) -> &[u8] {
        self.bytes.get(from..).unwrap_or_default()
    }

    pub fn key(&self, number: usize) -> Option<&Key> {
        self.readings.get(number).map(|reading| &reading.key)
    }

    /// The first reading for which the equation holds when the stream has `total` bytes.
    pub fn fit(&self, total: u64) -> Option<Fit> {
        let mut fits = self.readings.iter().filter_map(|reading| {
            let (size, digits) =
                self.sizes(reading).find(|(size, digits)| ends(reading, *size, *digits) == Some(total))?;
            Some(self.fitted(reading, size, digits))
        });
        let first = fits.next()?;
        Some(Fit { rival: fits.next().is_some(), ..first })
    }

    /// The likeliest reading when the equation holds for none: the first that announces more than
    /// has come, else the first.
    pub fn guess(&self, total: u64) -> Option<Fit> {
        let mut whole = self.readings.iter().filter_map(|reading| self.whole(reading));
        let short = whole.clone().find(|fit| fit.size.saturating_add(fit.content as u64) > total);
        short.or_else(|| whole.next())
    }

    /// All digits are the size.
    fn whole(&self, reading: &Reading) -> Option<Fit> {
        let (size, digits) = self.sizes(reading).last()?;
        Some(self.fitted(reading, size, digits))
    }

    fn fitted(&self, reading: &Reading, size: u64, digits: usize) -> Fit {
        let Reading { key, start, end } = reading;
        Fit { key: key.clone(), size, content: start + digits, digits_end: *end, rival: false }
    }

    /// The number of the first digit, of the first two, and so on.
    fn sizes(&self, reading: &Reading) -> impl Iterator<Item = (u64, usize)> {
        let mut size = Some(0_u64);
        self.bytes[reading.start..reading.end].iter().zip(1..).map_while(move |(digit, count)| {
            size = size?.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
            Some((size?, count))
        })
    }
}

/// Where a stream of this size ends.
fn ends(reading: &Reading, size: u64, digits: usize) -> Option<u64> {
    size.checked_add((reading.start + digits) as u64)
}

fn name(bytes: &[u8]) -> Result<Key, Failure> {
    let text = std::str::from_utf8(bytes).map_err(|_| Failure::Malformed("the name is not UTF-8"))?;
    key::relative(text)
}

/// How many bytes of `front` can be a name or the beginning of one.
fn name_reach(front: &[u8]) -> (usize, Edge) {
    let (text, mut edge) = match std::str::from_utf8(front) {
        Ok(_) => (front, Edge::Open),
        Err(error) if error.error_len().is_none() => (&front[..error.valid_up_to()], Edge::Open),
        Err(error) => (&front[..error.valid_up_to()], Edge::Closed),
    };
    let mut component = 0;
    let mut reach = text.len();
    for (at, byte) in text.iter().enumerate() {
        let last = &text[at - component..at];
        let continues = match byte {
            b'/' => !matches!(last, b"" | b"." | b".."),
            0..0x20 | 0x7f => false,
            _ => component < COMPONENT_LEN_MAX,
        };
        if !continues || at >= NAME_LEN_MAX {
            (reach, edge) = (at, Edge::Closed);
            break;
        }
        component = if *byte == b'/' { 0 } else { component + 1 };
    }
    (reach, edge)
}

/// Cuts a stream that has ended into several files, each with its head: clients that keep the
/// connection between files are distinguished by silences, but a network may have swallowed them. All
/// digits after the first blank are the size here, but in the last file: an upload that was cut
/// must not be taken for several small ones.
pub fn chain(stream: &[u8]) -> Option<Vec<(Key, Vec<u8>)>> {
    let mut files = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() && rest != FAREWELL {
        let (head, _) = Head::scan(rest);
        let fit = match head.fit(rest.len() as u64) {
            Some(fit) => fit,
            None => head.whole(head.readings.first()?)?,
        };
        let content = rest.get(fit.content..)?;
        let (content, after) = content.split_at_checked(usize::try_from(fit.size).ok()?)?;
        files.push((fit.key, content.to_vec()));
        rest = after;
    }
    Some(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_has_no_blank_before_a_digit_has_no_name() {
        let (head, _) = Head::scan(b"\xff\xff1");
        assert_eq!(head.fault(), Failure::Malformed("no name, blank and size at the front"));
    }

    #[test]
    fn the_readings_of_a_head_are_bounded() {
        let (head, _) = Head::scan(&b"a 1 ".repeat(READINGS_MAX + 5));
        assert_eq!(head.readings.len(), READINGS_MAX);
    }

    fn read(stream: &[u8]) -> Option<(String, Vec<u8>)> {
        let (head, _) = Head::scan(stream);
        let fit = head.fit(stream.len() as u64)?;
        Some((fit.key.as_str().to_owned(), stream[fit.content..].to_vec()))
    }

    #[test]
    fn the_equation_finds_name_and_content() {
        for (stream, name, content) in [
            ("1.csv 61,2,3\n", "1.csv", "1,2,3\n"),
            ("a 0", "a", ""),
            ("a 10", "a", "0"),
            ("a 1112345678901", "a", "12345678901"),
            ("my file.csv 12abcdefghijkl", "my file.csv", "abcdefghijkl"),
            ("report 2024.csv 5hello", "report 2024.csv", "hello"),
            ("a/b c/ü 3.txt 2ok", "a/b c/ü 3.txt", "ok"),
            ("name  3abc", "name ", "abc"),
            ("two 3 45", "two", " 45"),
        ] {
            assert_eq!(read(stream.as_bytes()), Some((name.to_owned(), content.into())), "{stream}");
        }
        for stream in [
            "a 5hell",
            "a 5hello!",
            "a",
            "a ",
            " 5hello",
            "../a 5hello",
            "/a 5hello",
            "a\n 5hello",
            "a 99999999999999999999999",
        ] {
            assert_eq!(read(stream.as_bytes()), None, "{stream}");
        }
    }

    #[test]
    fn a_head_closes_where_no_name_continues() {
        for closed in ["a 5x\n", "a 12\n", "\n", "a/", "/", "../", "a//", "a 12345678901234567890\0"] {
            let wanted = if closed == "a/" { Edge::Open } else { Edge::Closed };
            assert_eq!(Head::scan(closed.as_bytes()).1, wanted, "{closed}");
        }
        for open in ["a", "a ", "a 1", "a 12", "a 1 b", "a 1 b 3", "x\u{e9}"] {
            assert_eq!(Head::scan(open.as_bytes()).1, Edge::Open, "{open}");
        }
        assert_eq!(Head::scan(b"a 5\xff").1, Edge::Closed);
        assert_eq!(Head::scan(b"a 5\xc3").1, Edge::Open, "half a character");
        assert_eq!(Head::scan(&[b'x'; 256]).1, Edge::Closed);
        let longest = [&[b'x'; 255][..], b" 1"].concat();
        assert_eq!(Head::scan(&longest).1, Edge::Open, "the number may continue");
        assert!(Head::scan(&longest).0.is_readable());
    }

    #[test]
    fn faults_are_named() {
        let fault = |stream: &str| Head::scan(stream.as_bytes()).0.fault();
        assert_eq!(fault("hello"), Failure::Malformed("no name, blank and size at the front"));
        assert_eq!(fault("../a 5hello"), Failure::Malformed("the path has a . or .. component"));
        assert!(matches!(fault(".filewharf/a 5hello"), Failure::Denied(_)));
    }

    #[test]
    fn a_chain_is_cut_where_each_file_ends() {
        let files = |stream: &str| {
            chain(stream.as_bytes()).map(|files| {
                let shown = files.into_iter().map(|(key, content)| format!("{key}={}", content.escape_ascii()));
                shown.collect::<Vec<_>>().join(" ")
            })
        };
        assert_eq!(files("a.txt 6hello\nb.txt 4abc\n").as_deref(), Some("/a.txt=hello\\n /b.txt=abc\\n"));
        assert_eq!(files("a 2x\nb 2\n\nc 3123").as_deref(), Some("/a=x\\n /b=\\n\\n /c=123"));
        assert_eq!(files("a.txt 5hello!DISCONNECT").as_deref(), Some("/a.txt=hello"));
        assert_eq!(files("a.txt 6hello\nb.txt 4ab\n"), None, "the last is cut");
        assert_eq!(files("a.txt 61,2,3\nb.txt 4ab\nc"), None, "digits after the size");
        assert_eq!(files("a.txt 500the\nfirst 1x 1y"), None);
        assert_eq!(files("a.txt 5hell"), None);
    }

    fn content() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..300),
            "[0-9]{0,120}".prop_map(String::into_bytes),
            "[0-9 ]{0,120}".prop_map(String::into_bytes),
            "[0-9]{0,22}[ -~\\n]{0,80}".prop_map(String::into_bytes),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        // covers: two-readings
        #[test]
        fn any_file_of_a_name_without_such_blanks_is_recovered(name in "[a-z0-9_.é]{1,12}(/[a-z0-9 ]{0,6}[a-z]){0,2}( [a-z.]{1,5}){0,2}", content in content()) {
            prop_assume!(key::relative(&name).is_ok() && !name.as_bytes().windows(2).any(|w| w[0] == b' ' && w[1].is_ascii_digit()));
            let stream = [format!("{name} {}", content.len()).as_bytes(), &content].concat();
            prop_assert_eq!(read(&stream), Some((name, content)));
        }

        #[test]
        fn bytes_that_follow_a_closed_head_change_nothing(stream in proptest::collection::vec(prop_oneof![Just(b' '), b'0'..=b'9', any::<u8>(), Just(b'a')], 0..300)) {
            let (whole, edge) = Head::scan(&stream);
            for cut in 0..stream.len() {
                let (head, then) = Head::scan(&stream[..cut]);
                if then == Edge::Closed {
                    prop_assert_eq!(edge, Edge::Closed);
                    prop_assert_eq!(&head.readings, &whole.readings);
                }
            }
        }

        #[test]
        fn no_bytes_make_it_panic(stream in proptest::collection::vec(any::<u8>(), 0..1500), total in any::<u64>()) {
            let (head, _) = Head::scan(&stream);
            let _ = (head.fit(total), head.guess(total), head.fault(), chain(&stream));
        }
    }
}
