//! A body of `multipart/form-data` (RFC 7578, RFC 2046 §5.1), as browsers send a form with files. It is read piece by piece,
//! whatever its size.
//!
//! ```text
//! --BOUNDARY
//! Content-Disposition: form-data; name="file"; filename="a.txt"
//!
//! hello
//! --BOUNDARY--
//! ```

use memchr::memmem::{self, Finder};

use crate::error::Failure;
use crate::wire::body::{BodyPart, Then};
use crate::wire::http::syntax::trimmed;

/// The type of such a body.
pub const MEDIA_TYPE: &str = "multipart/form-data";
/// Longest head of a part, in bytes.
pub const HEAD_LEN_MAX: usize = 4096;
/// RFC 2046 §5.1.1.
const BOUNDARY_LEN_MAX: usize = 70;

/// A body that is being read.
#[derive(Clone, Debug)]
pub struct Multipart {
    /// A line end, `--` and the boundary.
    delimiter: Finder<'static>,
    /// The first boundary has no line end before it.
    is_begun: bool,
}

/// What begins after a boundary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// That takes more bytes than were shown.
    Unknown,
    /// The content of a file of this name.
    File(String),
    /// The content of a field that is no file, or has none.
    Field,
    /// Nothing more.
    End,
}

/// True if the value of a `Content-Type` field is that of such a body.
pub fn is_form(content_type: &str) -> bool {
    trimmed(content_type.split(';').next().unwrap_or_default()).eq_ignore_ascii_case(MEDIA_TYPE)
}

impl Multipart {
    /// For a body with this `Content-Type`.
    pub fn new(content_type: &str) -> Result<Self, Failure> {
        let parameters = content_type.split_once(';').map_or("", |(_, parameters)| parameters);
        let boundary = parameter(parameters, "boundary")?.unwrap_or_default();
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
        if boundary.is_empty() || boundary.len() > BOUNDARY_LEN_MAX || !boundary.bytes().all(is_good) {
            return Err(Failure::Malformed("the form has no valid boundary"));
        }
        let delimiter = Finder::new(&format!("\r\n--{boundary}")).into_owned();
        Ok(Self { delimiter, is_begun: false })
    }

    /// Reads a boundary and the head after it; returns how many bytes those are.
    pub fn next(&mut self, shown: &[u8]) -> Result<(usize, Piece), Failure> {
        let delimiter = &self.delimiter.needle()[if self.is_begun { 0 } else { 2 }..];
        if !shown.iter().zip(delimiter).all(|(one, other)| one == other) {
            return Err(Failure::Malformed("the form does not begin with its boundary"));
        }
        let (used, piece) = match shown.get(delimiter.len()..).unwrap_or_default() {
            [] | [b'-' | b'\r'] => return Ok((0, Piece::Unknown)),
            [b'-', b'-', ..] => (2, Piece::End),
            rest @ [b'\r', b'\n', ..] => match memmem::find(&rest[..rest.len().min(HEAD_LEN_MAX)], b"\r\n\r\n") {
                Some(len) => (len + 4, piece(&rest[..len])?),
                None if rest.len() >= HEAD_LEN_MAX => return Err(Failure::TooLarge),
                None => return Ok((0, Piece::Unknown)),
            },
            _ => return Err(Failure::Malformed("a boundary of the form does not end its line")),
        };
        let used = delimiter.len() + used;
        self.is_begun = true;
        Ok((used, piece))
    }

    /// Finds the next bytes of content in those that are shown, at most `payload_max`. The boundary after its end is left
    /// to [`Multipart::next`].
    pub fn content(&self, shown: &[u8], payload_max: usize) -> BodyPart {
        let end = self.delimiter.find(shown);
        let sure = end.unwrap_or_else(|| shown.len() - self.begun_len(shown));
        let payload = sure.min(payload_max);
        let then = match end {
            _ if payload < sure => Then::Look,
            Some(_) => Then::End,
            None => Then::Wait,
        };
        BodyPart { skip: 0, payload, then }
    }

    /// How many of the last bytes may be the beginning of a boundary. There is one CR in it, at its front.
    fn begun_len(&self, shown: &[u8]) -> usize {
        let needle = self.delimiter.needle();
        let tail = &shown[shown.len().saturating_sub(needle.len() - 1)..];
        let begun = memchr::memrchr(b'\r', tail).map_or(&[][..], |at| &tail[at..]);
        if needle.starts_with(begun) { begun.len() } else { 0 }
    }
}

/// What the head of a part announces.
fn piece(head: &[u8]) -> Result<Piece, Failure> {
    let head = str::from_utf8(head).map_err(|_| Failure::Malformed("a head in the form is not UTF-8"))?;
    let fields = head.split("\r\n").filter_map(|line| line.split_once(':'));
    let mut dispositions = fields.filter(|(name, _)| name.eq_ignore_ascii_case("content-disposition"));
    let (Some((_, value)), None) = (dispositions.next(), dispositions.next()) else {
        return Err(Failure::Malformed("a part of the form does not have one Content-Disposition"));
    };
    let (kind, parameters) = value.split_once(';').unwrap_or((value, ""));
    if !trimmed(kind).eq_ignore_ascii_case("form-data") {
        return Err(Failure::Malformed("a part of the form is no form-data"));
    }
    Ok(match parameter(parameters, "filename")?.unwrap_or_default() {
        // Nothing was chosen.
        "" => Piece::Field,
        // As browsers write a quote (the HTML standard, "multipart/form-data encoding algorithm").
        name => Piece::File(name.replace("%22", "\"")),
    })
}

/// The value of one of `name=value; name="value"`.
fn parameter<'a>(mut text: &'a str, wanted: &str) -> Result<Option<&'a str>, Failure> {
    const BAD: Failure = Failure::Malformed("a parameter in the form is not name=value");
    let mut found = None;
    while !trimmed(text).is_empty() {
        let (name, rest) = text.split_once('=').ok_or(BAD)?;
        let (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or(BAD)?,
            None => rest.split_at(rest.find(';').unwrap_or(rest.len())),
        };
        text = match trimmed(rest) {
            "" => "",
            rest => rest.strip_prefix(';').ok_or(BAD)?,
        };
        if trimmed(name).eq_ignore_ascii_case(wanted) && found.replace(trimmed(value)).is_some() {
            return Err(BAD);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TYPE: &str = "multipart/form-data; boundary=xY";

    type Parts = Vec<(Option<String>, Vec<u8>)>;

    /// What a body has in it: names with contents, fields as `None`. It arrives in pieces of these lengths, over and over.
    fn read(body: &[u8], pieces: &[usize]) -> Result<Parts, Failure> {
        let mut form = Multipart::new(TYPE).expect("a boundary");
        let (mut found, mut at, mut arrived, mut is_in_content) = (Vec::new(), 0, 0, false);
        let mut pieces = pieces.iter().cycle();
        loop {
            let shown = &body[at..arrived];
            let waits = if is_in_content {
                let part = form.content(shown, 3);
                let (_, content): &mut (_, Vec<u8>) = found.last_mut().expect("a part");
                content.extend_from_slice(&shown[..part.payload]);
                at += part.payload;
                is_in_content = part.then != Then::End;
                part.then == Then::Wait
            } else {
                let (used, piece) = form.next(shown)?;
                at += used;
                match piece {
                    Piece::Unknown => assert_eq!(used, 0),
                    Piece::End => return Ok(found),
                    Piece::File(name) => found.push((Some(name), Vec::new())),
                    Piece::Field => found.push((None, Vec::new())),
                }
                is_in_content = used > 0;
                used == 0
            };
            if waits && arrived == body.len() {
                return Err(Failure::TimedOut);
            }
            arrived = (arrived + if waits { *pieces.next().expect("a piece") } else { 0 }).min(body.len());
        }
    }

    fn part(disposition: &str, content: &[u8]) -> Vec<u8> {
        let head = format!("--xY\r\nContent-Type: text/plain\r\nContent-Disposition: {disposition}\r\n\r\n");
        [head.as_bytes(), content, b"\r\n"].concat()
    }

    /// What looks like a boundary and is none.
    const CONTENT: &[u8] = b"\r\n--x\r\r\n-\r\n--x\r\n\r\n--";

    #[test]
    fn a_form_reads_the_same_at_every_split() {
        let file = |name: &str| format!("form-data; name=\"file\"; filename=\"{name}\"");
        let body = [
            part(&file("a.txt"), CONTENT),
            part("form-data; name=\"note\"", b"filename=\"x\""),
            part(&file(""), b""),
            part(&file("\u{fc} %22b%22; c=d"), b""),
            part("FORM-DATA;filename=c;name=d", b"\r"),
            b"--xY--\r\nepilogue".to_vec(),
        ];
        let body = body.concat();
        let file = |name: &str, content: &[u8]| (Some(name.to_owned()), content.to_vec());
        let expected = vec![
            file("a.txt", CONTENT),
            (None, b"filename=\"x\"".to_vec()),
            (None, Vec::new()),
            file("\u{fc} \"b\"; c=d", b""),
            file("c", b"\r"),
        ];
        for first in 0..=body.len() {
            assert_eq!(read(&body, &[first, body.len()]).as_ref(), Ok(&expected), "after {first}");
        }
        for len in [1, 2, 3, 5, 7] {
            assert_eq!(read(&body, &[len]).as_ref(), Ok(&expected), "by {len}");
        }
        let end = body.len() - "\r\nepilogue".len();
        for len in 0..end {
            assert_eq!(read(&body[..len], &[len.max(1)]), Err(Failure::TimedOut), "cut at {len}");
        }
    }

    #[test]
    fn what_is_no_form_is_refused() {
        let head = |lines: &str| format!("--xY\r\n{lines}\r\n\r\nx\r\n--xY--").into_bytes();
        for body in [
            b"preamble\r\n--xY--".to_vec(),
            b"\r\n--xY--".to_vec(),
            b"--xYz\r\n".to_vec(),
            b"--xY \r\n".to_vec(),
            b"--xY-\r\n".to_vec(),
            head(""),
            head("Content-Type: a/b"),
            head("Content-Disposition: form-data; filename=\"a"),
            head("Content-Disposition: form-data; filename=\"a\\\"b\""),
            head("Content-Disposition: form-data; filename=\"a\"; filename=\"b\""),
            head("Content-Disposition: form-data; filename"),
            head("Content-Disposition: attachment; filename=\"a\""),
            head("Content-Disposition: form-data\r\nContent-Disposition: form-data"),
            [b"--xY\r\nContent-Disposition: form-data; filename=\"\xff\"\r\n\r\n".as_slice(), b"x"].concat(),
        ] {
            let refused = read(&body, &[body.len()]);
            assert!(
                matches!(refused, Err(Failure::Malformed(_))),
                "{:?}: {refused:?}",
                body.escape_ascii().to_string()
            );
        }
        let long = head(&format!("Content-Disposition: form-data; filename=\"{}\"", "a".repeat(HEAD_LEN_MAX)));
        assert_eq!(read(&long, &[long.len()]), Err(Failure::TooLarge));
        assert_eq!(read(&long, &[1]), Err(Failure::TooLarge));
    }

    #[test]
    fn a_boundary_is_a_parameter_of_the_type() {
        for (value, boundary) in [
            ("multipart/form-data; boundary=a", "a"),
            ("Multipart/Form-Data;charset=utf-8; Boundary=\"a b\"", "a b"),
            ("multipart/form-data; boundary=----WebKitFormBoundaryQ0", "----WebKitFormBoundaryQ0"),
        ] {
            assert!(is_form(value));
            let form = Multipart::new(value).expect(value);
            assert_eq!(form.delimiter.needle(), format!("\r\n--{boundary}").as_bytes());
        }
        let long = format!("multipart/form-data; boundary={}", "a".repeat(71));
        for value in
            ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=a\u{fc}", &long]
        {
            assert!(Multipart::new(value).is_err(), "{value}");
        }
        assert!(!is_form("application/x-www-form-urlencoded") && !is_form("multipart/form-data2"));
    }

    proptest! {
        #[test]
        fn any_contents_come_out_as_they_went_in(
            contents in proptest::collection::vec(proptest::collection::vec("\r|\n|-|x|Y|\r\n--x|a", 0..12), 0..5),
            pieces in proptest::collection::vec(1_usize..30, 1..6),
        ) {
            let contents: Vec<Vec<u8>> = contents.into_iter().map(|words| words.concat().into_bytes()).collect();
            prop_assume!(contents.iter().all(|content| memmem::find(content, b"\r\n--xY").is_none()));
            let mut body = Vec::new();
            for content in &contents {
                body.extend(part("form-data; filename=f", content));
            }
            body.extend(b"--xY--");
            let found = read(&body, &pieces).expect("a form");
            prop_assert_eq!(found.into_iter().map(|(_, content)| content).collect::<Vec<_>>(), contents);
        }

        #[test]
        fn whatever_comes_no_byte_is_read_twice_or_beyond_what_was_shown(
            body in proptest::collection::vec("--xY|\r\n|\r|Content-Disposition: form-data|; filename=|\"|a|-", 0..40),
            pieces in proptest::collection::vec(1_usize..30, 1..6),
        ) {
            let body = body.concat().into_bytes();
            let found = read(&body, &pieces);
            prop_assert_eq!(&found, &read(&body, &[body.len().max(1)]));
            if let Ok(found) = found {
                prop_assert!(found.iter().map(|(_, content)| content.len()).sum::<usize>() <= body.len());
            }
        }
    }
}
