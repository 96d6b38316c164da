//! The grammar of the `line` protocol: request lines, reply lines, and the escaping of values.
//!
//! Requests are parsed into borrowed pieces; what they mean is `dialect::line`'s business. The
//! client reads replies with the same file, so both ends agree by construction.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::error::Failure;
use crate::wire::percent;
use crate::wire::range::decimal;

/// Longest request line, in bytes, its end of line included.
pub const LINE_LEN_MAX: usize = 4096;
/// Most options of one request.
const OPTIONS_MAX: usize = 16;
/// What a value may not hold unescaped: blank, `%`, controls and everything that is not ASCII.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

/// A request line cut into its pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    pub verb: &'a str,
    /// Words without `=` between the verb and the path (only PUT and AUTH have one).
    pub word: Option<&'a str>,
    /// `option=value` in their order, values still escaped.
    pub options: Vec<(&'a str, &'a str)>,
    /// From the first token that begins with `/` to the end of the line; empty if there is none.
    pub path: &'a str,
}

/// Finds the first line in `input`: its text without the end of line, and the bytes it took.
/// `Ok(None)` means its end has not come yet.
pub fn cut(input: &[u8]) -> Result<Option<(&[u8], usize)>, Failure> {
    let window = &input[..input.len().min(LINE_LEN_MAX)];
    match memchr::memchr(b'\n', window) {
        Some(at) => {
            let line = &input[..at];
            Ok(Some((line.strip_suffix(b"\r").unwrap_or(line), at + 1)))
        }
        None if input.len() >= LINE_LEN_MAX => Err(Failure::Malformed("the request line is longer than 4096 bytes")),
        None => Ok(None),
    }
}

/// Cuts a request line (without its end of line) into pieces.
pub fn request(line: &[u8]) -> Result<Request<'_>, Failure> {
    let line = std::str::from_utf8(line).map_err(|_| Failure::Malformed("the request line is not UTF-8"))?;
    let (verb, mut rest) = line.split_once(' ').unwrap_or((line, ""));
    if verb.is_empty() {
        return Err(Failure::Malformed("the request line is blank"));
    }
    let mut request = Request { verb, word: None, options: Vec::new(), path: "" };
    while !rest.is_empty() {
        if rest.starts_with('/') {
            request.path = rest;
            break;
        }
        let (token, tail) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = tail;
        match token.split_once('=') {
            _ if token.is_empty() => return Err(Failure::Malformed("two blanks stand where one is meant")),
            Some(pair) if request.options.len() < OPTIONS_MAX => request.options.push(pair),
            Some(_) => return Err(Failure::Malformed("too many options")),
            None if request.word.is_none() && request.options.is_empty() => request.word = Some(token),
            None => return Err(Failure::Malformed("an option has no =")),
        }
    }
    Ok(request)
}

/// Escapes a value of an option or of a reply.
pub fn escape(value: &str) -> Cow<'_, str> {
    utf8_percent_encode(value, ESCAPED).into()
}

/// The inverse of [`escape`].
pub fn unescape(value: &str) -> Result<Cow<'_, str>, Failure> {
    let text = percent::decode(value).and_then(|bytes| bytes.decode_utf8().ok());
    text.ok_or(Failure::Malformed("a value is not percent-encoded UTF-8"))
}

/// Reads 64 hex digits.
pub fn sha256(text: &str) -> Option<[u8; 32]> {
    let bytes = text.as_bytes();
    if bytes.len() != 64 || !bytes.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut digest = [0; 32];
    for (at, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(digest)
}

/// The same, perhaps with colons between them, as programs for certificates write a fingerprint.
pub fn fingerprint(text: &str) -> Option<[u8; 32]> {
    sha256(&text.replace(':', ""))
}

/// Writes bytes as lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// The line after a body: `sha256=HEX`.
pub fn trailer(line: &[u8]) -> Result<[u8; 32], Failure> {
    std::str::from_utf8(line)
        .ok()
        .and_then(|line| line.strip_prefix("sha256="))
        .and_then(sha256)
        .ok_or(Failure::Malformed("the trailer is not sha256=HEX"))
}

/// The line before a chunk of a `PUT *` body: its length in hex digits, at most 16 of them.
pub fn chunk_len(line: &[u8]) -> Result<u64, Failure> {
    let bad = Failure::Malformed("a chunk length is not 1 to 16 hex digits");
    if line.is_empty() || line.len() > 16 || !line.iter().all(u8::is_ascii_hexdigit) {
        return Err(bad);
    }
    let text = std::str::from_utf8(line).map_err(|_| bad)?;
    u64::from_str_radix(text, 16).map_err(|_| bad)
}

/// A reply line, as the client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `OK SIZE key=value …`.
    Ok {
        size: u64,
        keys: Vec<(String, String)>,
    },
    Go(u64),
    /// `ERR CODE key=value … words`.
    Err {
        code: u16,
        keys: Vec<(String, String)>,
        words: String,
    },
}

impl Reply {
    /// Reads a reply line without its end of line.
    pub fn parse(line: &str) -> Option<Self> {
        let (kind, rest) = line.split_once(' ')?;
        let (number, mut rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let mut keys = Vec::new();
        while let Some((token, tail)) = (!rest.is_empty()).then(|| rest.split_once(' ').unwrap_or((rest, ""))) {
            let Some((key, value)) = token.split_once('=') else { break };
            // Words of a refusal may begin with the name of an option: `range= is not …`.
            if value.is_empty() || !key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
                break;
            }
            keys.push((key.to_owned(), unescape(value).ok()?.into_owned()));
            rest = tail;
        }
        match kind {
            "OK" => Some(Self::Ok { size: decimal(number)?, keys }),
            "GO" => Some(Self::Go(decimal(number)?)),
            "ERR" => Some(Self::Err { code: number.parse().ok()?, keys, words: rest.to_owned() }),
            _ => None,
        }
    }

    pub fn key(&self, name: &str) -> Option<&str> {
        let (Self::Ok { keys, .. } | Self::Err { keys, .. }) = self else { return None };
        keys.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_line_falls_into_its_pieces() {
        let got = request(b"PUT 12 if=absent mtime=5 /a b/c=d e").expect("a good line");
        assert_eq!((got.verb, got.word, got.path), ("PUT", Some("12"), "/a b/c=d e"));
        assert_eq!(got.options, [("if", "absent"), ("mtime", "5")]);
        assert_eq!(request(b"PING").expect("a good line").path, "");
        for bad in [&b""[..], b" GET /", b"GET  /a", b"GET a=b c /x", b"GET \xff"] {
            assert!(request(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_line_is_found_at_every_cut_and_bounded() {
        let whole = b"GET /a\r\nGET /b\n";
        for cut_at in 0..whole.len() {
            let got = cut(&whole[..cut_at]).expect("short");
            assert_eq!(got.is_some(), cut_at >= 8, "{cut_at}");
        }
        assert_eq!(cut(whole), Ok(Some((&b"GET /a"[..], 8))));
        assert_eq!(cut(&[b'x'; LINE_LEN_MAX - 1]), Ok(None));
        assert!(cut(&[b'x'; LINE_LEN_MAX]).is_err());
        let mut longest = vec![b'x'; LINE_LEN_MAX - 1];
        longest.push(b'\n');
        assert!(matches!(cut(&longest), Ok(Some((_, LINE_LEN_MAX)))));
    }

    #[test]
    fn replies_are_read_with_and_without_keys() {
        let ok = Reply::parse("OK 5 etag=00 mtime=7 range=0-4/9").expect("a reply");
        assert_eq!((ok.key("etag"), ok.key("range"), ok.key("nothing")), (Some("00"), Some("0-4/9"), None));
        let known = Reply::parse("OK 5 etag=00 sha256=0a mtime=7").expect("a reply");
        assert_eq!((known.key("sha256"), known.key("mtime")), (Some("0a"), Some("7")));
        let Some(Reply::Err { words, .. }) = Reply::parse("ERR 400 sha256= is wrong") else { panic!("a refusal") };
        assert_eq!(words, "sha256= is wrong");
        let busy = Reply::parse("ERR 429 retry=1 the server is busy = full").expect("a reply");
        assert_eq!(busy.key("retry"), Some("1"));
        assert!(matches!(busy, Reply::Err { code: 429, words, .. } if words == "the server is busy = full"));
        assert_eq!(Reply::parse("GO 17"), Some(Reply::Go(17)));
        for bad in ["", "OK", "OK x", "NO 1", "GO -1"] {
            assert_eq!(Reply::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn chunk_lengths_and_trailers_are_strict() {
        assert_eq!(chunk_len(b"1aF"), Ok(0x1af));
        assert_eq!(chunk_len(b"ffffffffffffffff"), Ok(u64::MAX));
        for bad in [&b""[..], b"0x1", b"-1", b"+1", b" 1", b"1 ", b"g", b"1;x", b"1;a=b", b"00000000000000001"] {
            assert!(chunk_len(bad).is_err(), "{bad:?}");
        }
        let digest = hex(&[7; 32]);
        assert_eq!(trailer(format!("sha256={digest}").as_bytes()), Ok([7; 32]));
        for bad in ["", "sha256=", "sha256=00", "sha1=abc", "\u{e9}", &digest] {
            assert!(trailer(bad.as_bytes()).is_err(), "{bad:?}");
        }
        for bad in ["", "x", &digest[1..], &format!("{digest}0"), &digest.replace('7', "g")] {
            assert_eq!(sha256(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_value_survives_escaping(value in "\\PC{0,40}") {
            let escaped = escape(&value).into_owned();
            prop_assert!(escaped.bytes().all(|b| b > 0x20 && b < 0x7f));
            prop_assert_eq!(unescape(&escaped).expect("own escaping"), value);
        }

        #[test]
        fn no_line_makes_the_parsers_panic(line in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = (cut(&line), request(&line), trailer(&line), chunk_len(&line));
            let _ = Reply::parse(&String::from_utf8_lossy(&line));
        }
    }
}
