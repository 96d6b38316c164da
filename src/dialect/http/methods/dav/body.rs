//! The XML that a request brings: it is gathered whole, together with its head.

use crate::dialect::http::incoming::Incoming;
use crate::dialect::http::response::Refusal;
use crate::dialect::protocol::BodyPart;
use crate::error::Failure;
use crate::wire::body::Then;
use crate::wire::http::chunked::Chunked;
use crate::wire::http::head::{Framing, Head, HeadError};

/// The body of such a request.
#[derive(Debug)]
pub(crate) enum Body {
    /// Empty where there is none.
    Xml(Vec<u8>),
    /// With the head, it is longer than a head may be.
    TooLong(Incoming),
}

const TOO_LONG: Failure =
    Failure::Conflict("the XML of a request and its head must together be at most as long as a head (--max-head)");

impl Body {
    /// Finds the body in the bytes after the head, of which there are `room` at most, and takes it from that. `None` while
    /// it is not complete; else with the number of bytes that it took.
    pub(crate) fn gather(head: &mut Head<'_>, after: &[u8], room: usize) -> Result<Option<(usize, Self)>, HeadError> {
        let found = match head.framing {
            Framing::None => Some((0, Self::Xml(Vec::new()))),
            Framing::Length(len) => match usize::try_from(len).ok().filter(|len| *len <= room) {
                None => Some((0, Self::TooLong(Incoming::new(head)))),
                Some(len) => after.get(..len).map(|body| (len, Self::Xml(body.to_vec()))),
            },
            Framing::Chunked => match unchunked(after) {
                Ok(Some((len, body))) => Some((len, Self::Xml(body))),
                Ok(None) if after.len() < room => None,
                Ok(None) => Some((0, Self::TooLong(Incoming::new(head)))),
                Err(_) => return Err(HeadError::BadRequest("a chunk of the body is malformed")),
            },
        };
        if let Some((_, Self::Xml(_))) = found {
            head.framing = Framing::None;
        }
        Ok(found)
    }

    /// Its text, once.
    pub(super) fn take(&mut self) -> Result<String, Refusal<'static>> {
        match self {
            Self::Xml(bytes) => {
                String::from_utf8(std::mem::take(bytes)).map_err(|_| Failure::Malformed("the body is not UTF-8").into())
            }
            Self::TooLong(_) => Err(Refusal { status: 413, failure: TOO_LONG, field: None }),
        }
    }

    pub(super) fn incoming(&mut self) -> Option<&mut Incoming> {
        if let Self::TooLong(incoming) = self { Some(incoming) } else { None }
    }

    pub(super) fn left(&self) -> u64 {
        if let Self::TooLong(incoming) = self { incoming.left() } else { 0 }
    }
}

/// The content of a body in chunks, with the number of bytes that it took; `None` if it does not end here.
fn unchunked(after: &[u8]) -> Result<Option<(usize, Vec<u8>)>, Failure> {
    let (mut chunked, mut body, mut at) = (Chunked::default(), Vec::new(), 0);
    loop {
        let BodyPart { skip, payload, then } = chunked.step(&after[at..], usize::MAX)?;
        body.extend_from_slice(&after[at + skip..][..payload]);
        at += skip + payload;
        match then {
            Then::End => return Ok(Some((at, body))),
            Then::Look => {}
            Then::Wait => return Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::head;

    type Found = Option<(usize, Option<Vec<u8>>)>;

    /// What is found after a head with this field.
    fn gathered(field: &str, after: &[u8], room: usize) -> Result<Found, HeadError> {
        let text = format!("PROPFIND / HTTP/1.1\r\nHost: x\r\n{field}\r\n\r\n");
        let mut head = head::parse(text.as_bytes())?;
        Ok(Body::gather(&mut head, after, room)?.map(|(len, body)| match body {
            Body::Xml(body) => (len, Some(body)),
            Body::TooLong(_) => (len, None),
        }))
    }

    #[test]
    fn a_body_is_gathered_at_every_split_and_never_beyond_its_room() {
        let chunked = "Transfer-Encoding: chunked";
        for (field, sent) in
            [("Content-Length: 5", &b"<a/>\nGET"[..]), (chunked, b"2\r\n<a\r\n3;x=y\r\n/>\n\r\n0\r\nt: v\r\n\r\nGET")]
        {
            let end = sent.len() - 3;
            for cut in 0..end {
                assert_eq!(gathered(field, &sent[..cut], end), Ok(None), "{cut}");
            }
            for cut in end..=sent.len() {
                assert_eq!(gathered(field, &sent[..cut], end), Ok(Some((end, Some(b"<a/>\n".to_vec())))), "{cut}");
            }
        }
        assert_eq!(gathered("Content-Length: 6", b"", 5), Ok(Some((0, None))));
        assert_eq!(gathered("Content-Length: 9223372036854775807", b"", 5), Ok(Some((0, None))));
        assert_eq!(gathered(chunked, b"9\r\na", 4), Ok(Some((0, None))));
        assert!(gathered(chunked, b"x\r\n", 40).is_err());
        assert_eq!(gathered("A: b", b"GET", 9), Ok(Some((0, Some(Vec::new())))));
    }
}
