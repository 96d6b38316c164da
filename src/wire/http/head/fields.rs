//! The field lines of a head: those that control the connection, and those that concern the file. All others are
//! checked by the grammar and then ignored.

use std::net::IpAddr;

use crate::wire::http::head::message::{Expect, Framing, HeadError, Version};
use crate::wire::http::syntax::{is_token, trimmed};
use crate::wire::range::decimal;

/// Longest name that is known here; longer ones are ignored.
pub(super) const NAME_LEN_MAX: usize = 32;

/// Most lines of one list field.
pub const VALUES_MAX: usize = 4;

/// The lines of a list field, which may come several times, in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Values<'a> {
    lines: [&'a str; VALUES_MAX],
    len: usize,
}

impl<'a> Values<'a> {
    /// Empty if the field is absent.
    pub fn lines(&self) -> &[&'a str] {
        &self.lines[..self.len]
    }

    /// Another line.
    pub fn add(&mut self, value: &'a str) -> Result<(), HeadError> {
        *self.lines.get_mut(self.len).ok_or(HeadError::TooLarge)? = value;
        self.len += 1;
        Ok(())
    }
}

/// The fields that concern the file, as they were received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields<'a> {
    pub accept: Values<'a>,
    pub access_control_request_headers: Values<'a>,
    pub access_control_request_method: Option<&'a str>,
    pub authorization: Option<&'a str>,
    pub content_digest: Values<'a>,
    pub content_encoding: Values<'a>,
    pub content_range: Option<&'a str>,
    /// A host and an optional port, or empty.
    pub host: Option<&'a str>,
    pub if_match: Values<'a>,
    /// Empty, which is no date, if it came more than once; `if_unmodified_since` likewise.
    pub if_modified_since: Option<&'a str>,
    pub if_none_match: Values<'a>,
    pub if_range: Option<&'a str>,
    pub if_unmodified_since: Option<&'a str>,
    pub origin: Option<&'a str>,
    pub range: Option<&'a str>,
    pub repr_digest: Values<'a>,
    /// From browsers (Fetch Metadata).
    pub sec_fetch_site: Option<&'a str>,
    pub te: Values<'a>,
    /// The first; for the log only.
    pub user_agent: Option<&'a [u8]>,
    pub want_repr_digest: Values<'a>,
}

impl<'a> Fields<'a> {
    /// Stores the line if its name is known; `name` is in lower case, see [`lower_case`].
    pub(super) fn take(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), HeadError> {
        if name == b"user-agent" {
            self.user_agent.get_or_insert(value);
            return Ok(());
        }
        let Some(slot) = self.slot(name) else { return Ok(()) };
        let value = text(value)?;
        match slot {
            Slot::List(values) => values.add(value),
            Slot::Single(single) => once(single, value),
            Slot::Date(date) => {
                // RFC 9110 §13.1.3: with more than one member, the precondition is ignored.
                *date = Some(if date.is_none() { value } else { "" });
                Ok(())
            }
        }
    }

    fn slot(&mut self, name: &[u8]) -> Option<Slot<'_, 'a>> {
        Some(match name {
            b"te" => Slot::List(&mut self.te),
            b"range" => Slot::Single(&mut self.range),
            b"accept" => Slot::List(&mut self.accept),
            b"origin" => Slot::Single(&mut self.origin),
            b"if-match" => Slot::List(&mut self.if_match),
            b"if-range" => Slot::Single(&mut self.if_range),
            b"repr-digest" => Slot::List(&mut self.repr_digest),
            b"authorization" => Slot::Single(&mut self.authorization),
            b"sec-fetch-site" => Slot::Single(&mut self.sec_fetch_site),
            b"content-range" => Slot::Single(&mut self.content_range),
            b"if-none-match" => Slot::List(&mut self.if_none_match),
            b"content-digest" => Slot::List(&mut self.content_digest),
            b"content-encoding" => Slot::List(&mut self.content_encoding),
            b"want-repr-digest" => Slot::List(&mut self.want_repr_digest),
            b"if-modified-since" => Slot::Date(&mut self.if_modified_since),
            b"if-unmodified-since" => Slot::Date(&mut self.if_unmodified_since),
            b"access-control-request-method" => Slot::Single(&mut self.access_control_request_method),
            b"access-control-request-headers" => Slot::List(&mut self.access_control_request_headers),
            _ => return None,
        })
    }
}

/// Where a line is stored.
enum Slot<'f, 'a> {
    List(&'f mut Values<'a>),
    Single(&'f mut Option<&'a str>),
    Date(&'f mut Option<&'a str>),
}

/// The fields that control the connection.
#[derive(Debug, Default)]
pub(super) struct Control<'a> {
    connection: Connection,
    content_length: Option<&'a str>,
    expect: Option<&'a str>,
    host: Option<&'a str>,
    transfer_encoding: Option<&'a str>,
}

/// What the `Connection` fields ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Connection {
    #[default]
    Silent,
    KeepAlive,
    Close,
}

impl<'a> Control<'a> {
    /// Stores the line if it controls the connection, and returns whether it does; `name` as above.
    pub(super) fn take(&mut self, name: &[u8], value: &'a [u8]) -> Result<bool, HeadError> {
        let single = match name {
            b"host" => &mut self.host,
            b"expect" => &mut self.expect,
            b"content-length" => &mut self.content_length,
            b"transfer-encoding" => &mut self.transfer_encoding,
            b"connection" => {
                self.connection(text(value)?);
                return Ok(true);
            }
            _ => return Ok(false),
        };
        once(single, text(value)?)?;
        Ok(true)
    }

    /// Close overrides keep-alive, in any order (RFC 9112 §9.3).
    fn connection(&mut self, value: &str) {
        for option in value.split(',').map(trimmed) {
            if option.eq_ignore_ascii_case("close") {
                self.connection = Connection::Close;
            } else if option.eq_ignore_ascii_case("keep-alive") && self.connection == Connection::Silent {
                self.connection = Connection::KeepAlive;
            }
        }
    }

    pub(super) const fn host(&self) -> Option<&'a str> {
        self.host
    }

    /// RFC 9112 §3.2.
    pub(super) fn check_host(&self, version: Version) -> Result<(), HeadError> {
        match (self.host, version) {
            (None, Version::Http10) => Ok(()),
            (None, Version::Http11) => Err(HeadError::BadRequest("HTTP/1.1 requires a Host field")),
            (Some(host), _) if is_host(host) => Ok(()),
            (Some(_), _) => Err(HeadError::BadRequest("the Host field is not a host")),
        }
    }

    /// RFC 9112 §6.3, without any of its error recovery.
    pub(super) fn framing(&self, version: Version) -> Result<Framing, HeadError> {
        match (self.transfer_encoding, self.content_length) {
            (None, None) => Ok(Framing::None),
            (None, Some(text)) => length(text).map(Framing::Length),
            (Some(_), Some(_)) => Err(HeadError::BadRequest("Content-Length and Transfer-Encoding exclude each other")),
            (Some(_), None) if version == Version::Http10 => {
                Err(HeadError::BadRequest("HTTP/1.0 has no Transfer-Encoding"))
            }
            (Some(codings), None) => chunked(codings).map(|()| Framing::Chunked),
        }
    }

    /// RFC 9112 §9.3.
    pub(super) fn keep_alive(&self, version: Version) -> bool {
        match self.connection {
            Connection::Close => false,
            Connection::KeepAlive => true,
            Connection::Silent => version == Version::Http11,
        }
    }

    /// RFC 9110 §10.1.1: from HTTP/1.0 it is ignored.
    pub(super) fn expect(&self, version: Version) -> Expect {
        match (self.expect, version) {
            (None, _) | (Some(_), Version::Http10) => Expect::None,
            (Some(value), Version::Http11) if value.eq_ignore_ascii_case("100-continue") => Expect::Continue,
            (Some(_), Version::Http11) => Expect::Unknown,
        }
    }
}

/// Decimal digits for a number below 2^63; leading zeros are valid (RFC 9110 §8.6).
fn length(text: &str) -> Result<u64, HeadError> {
    decimal(text)
        .filter(|len| *len <= i64::MAX as u64)
        .ok_or(HeadError::BadRequest("Content-Length is not one plain number"))
}

/// Exactly `chunked`. Another coding under it is not offered; anything else leaves the end of the body undefined
/// (RFC 9112 §6.3).
fn chunked(codings: &str) -> Result<(), HeadError> {
    let is_chunked = |coding: &str| trimmed(coding).eq_ignore_ascii_case("chunked");
    match codings.rsplit_once(',') {
        None if is_chunked(codings) => Ok(()),
        Some((under, last))
            if is_chunked(last) && under.split(',').all(|coding| !is_chunked(coding) && is_name(trimmed(coding))) =>
        {
            Err(HeadError::NotImplemented("of the transfer codings only chunked is offered"))
        }
        _ => Err(HeadError::BadRequest("the Transfer-Encoding does not say where the body ends")),
    }
}

/// `host`, `host:port`, `[v6]:port`, or empty (RFC 3986 §3.2.2).
pub(super) fn is_host(text: &str) -> bool {
    let (host, port) = match memchr::memrchr(b':', text.as_bytes()) {
        Some(at) if !text[at..].contains(']') => (&text[..at], &text[at + 1..]),
        _ => (text, ""),
    };
    let good = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(is_bracketed_address),
        None => is_registered_name(host),
    };
    good && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// An IPv6 address, perhaps with a zone (RFC 6874), or an address of a later version.
fn is_bracketed_address(text: &str) -> bool {
    if let Some(later) = text.strip_prefix(['v', 'V']) {
        return later.split_once('.').is_some_and(|(version, address)| {
            let is_hex = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_hex && !address.is_empty() && address.bytes().all(|byte| byte == b':' || is_name_byte(byte))
        });
    }
    let (address, zone) = text.split_once("%25").unwrap_or((text, "0"));
    address.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6()) && !zone.is_empty() && is_registered_name(zone)
}

/// `reg-name`: letters, digits, a few marks, and whole escapes.
fn is_registered_name(text: &str) -> bool {
    let mut pieces = text.split('%');
    let plain = |piece: &str| piece.bytes().all(is_name_byte);
    let escaped =
        |piece: &str| piece.len() >= 2 && piece.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit) && plain(piece);
    pieces.next().is_some_and(plain) && pieces.all(escaped)
}

/// `unreserved` and `sub-delims` without the comma: two Host lines that a proxy joined must not look like one.
const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\''..=b'+' | b';' | b'=')
}

/// The name in lower case, in `buffer`; empty if it is longer than any known one.
pub(super) fn lower_case<'r>(name: &str, buffer: &'r mut [u8; NAME_LEN_MAX]) -> &'r [u8] {
    let Some(buffer) = buffer.get_mut(..name.len()) else { return b"" };
    buffer.copy_from_slice(name.as_bytes());
    buffer.make_ascii_lowercase();
    buffer
}

fn text(value: &[u8]) -> Result<&str, HeadError> {
    std::str::from_utf8(value).map_err(|_| HeadError::BadRequest("a field value is not UTF-8"))
}

fn once<'a>(slot: &mut Option<&'a str>, value: &'a str) -> Result<(), HeadError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(HeadError::BadRequest("a field that may stand once stands twice")),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token)
}
