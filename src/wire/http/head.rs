//! The head of a request: where it ends, its request line and its fields.
//!
//! All strictness about framing stands here: a head that two parsers could read in two ways, and
//! so two ends of a chain could take for different requests, is an error, and the connection ends
//! with it. What the fields mean to a file is not decided here.

mod fields;
#[cfg(test)]
mod tests;

use std::mem::MaybeUninit;

use crate::wire::http::is_token;
use fields::{Control, NAME_LEN_MAX, lower_case};
pub use fields::{Fields, VALUES_MAX, Values};

/// Most field lines of one head.
pub const FIELDS_MAX: usize = 64;

/// Why a head was refused. The connection closes after any of them: where the next request would
/// begin is not certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// It breaks the grammar, or could be read in two ways.
    BadRequest(&'static str),
    /// It has a transfer coding or a method that changes the framing and is not offered.
    NotImplemented(&'static str),
    /// The request line does not end in time.
    TargetTooLong,
    /// The fields are too many or too long.
    TooLarge,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    Version,
}

impl HeadError {
    /// The status code.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest(_) => 400,
            Self::TargetTooLong => 414,
            Self::TooLarge => 431,
            Self::NotImplemented(_) => 501,
            Self::Version => 505,
        }
    }

    /// A few words for a person; lower case, no full stop.
    pub const fn words(self) -> &'static str {
        match self {
            Self::BadRequest(why) | Self::NotImplemented(why) => why,
            Self::TargetTooLong => "the request line is too long",
            Self::TooLarge => "the head is too long",
            Self::Version => "this server speaks HTTP/1.0 and HTTP/1.1",
        }
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method<'a> {
    /// DELETE.
    Delete,
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// OPTIONS.
    Options,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// Any other, as it was written.
    Other(&'a str),
}

impl<'a> Method<'a> {
    /// Methods are told apart by case (RFC 9110 §9.1).
    fn new(name: &'a str) -> Self {
        match name {
            "DELETE" => Self::Delete,
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "OPTIONS" => Self::Options,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            other => Self::Other(other),
        }
    }

    /// As it was written.
    pub const fn name(self) -> &'a str {
        match self {
            Self::Delete => "DELETE",
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Other(name) => name,
        }
    }
}

/// Which HTTP the request is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// How the body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks, for `chunked::Chunked`.
    Chunked,
}

/// What the client waits for before it sends the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    None,
    /// `100 Continue`, or a final response.
    Continue,
    /// Something no server knows: 417.
    Unknown,
}

/// A head that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// What is to be done.
    pub method: Method<'a>,
    /// Begins with `/`, still percent-encoded, without the query; `*` of OPTIONS only.
    pub path: &'a str,
    /// Behind the `?`, still percent-encoded.
    pub query: Option<&'a str>,
    /// Which HTTP.
    pub version: Version,
    /// How the body is delimited.
    pub framing: Framing,
    /// The client asks to keep the connection open after the response. HTTP/1.0 clients expect
    /// `Connection: keep-alive` in it.
    pub keep_alive: bool,
    /// Does the client wait before its body?
    pub expect: Expect,
    /// The other fields that matter.
    pub fields: Fields<'a>,
}

/// Finds the end of the head at the start of `input`: how many bytes it takes, its empty line
/// included. `Ok(None)` means it has not come yet; then the next call may say in `from` how many
/// bytes were seen by this one. One empty line may stand before it (RFC 9112 §2.2).
pub fn end(input: &[u8], from: usize) -> Result<Option<usize>, HeadError> {
    let start = if input.starts_with(b"\r\n") { 2 } else { 0 };
    // The last byte seen may be a CR whose LF was missing.
    let from = from.saturating_sub(1).clamp(start, input.len().max(start));
    // Plainly byte by byte: lines are short, and to begin a vector search anew behind each costs more.
    let mut at = from;
    while let Some(&byte) = input.get(at) {
        at += 1;
        if byte > b'\r' {
            continue;
        }
        let at = at - 1;
        match byte {
            b'\r' if input.get(at + 1).is_none_or(|next| *next == b'\n') => {}
            b'\r' => return Err(HeadError::BadRequest("a CR stands alone")),
            b'\n' if at == start || input[at - 1] != b'\r' => {
                return Err(HeadError::BadRequest("a line ends without CR"));
            }
            b'\n' if at == start + 1 => return Err(HeadError::BadRequest("the request line is empty")),
            b'\n' if input[start..at].ends_with(b"\r\n\r") => return Ok(Some(at + 1)),
            0 => return Err(HeadError::BadRequest("the head has a NUL")),
            _ => {}
        }
    }
    Ok(None)
}

/// What to say about a head that is longer than it may be: what is too long, its target or its
/// fields?
pub fn overlong(input: &[u8]) -> HeadError {
    let start = if input.starts_with(b"\r\n") { 2 } else { 0 };
    match memchr::memchr(b'\n', &input[start..]) {
        None => HeadError::TargetTooLong,
        Some(_) => HeadError::TooLarge,
    }
}

/// Is this the first line of an HTTP/1 request? With or without its end.
pub fn looks_like_http(first_line: &[u8]) -> bool {
    let line = first_line.strip_suffix(b"\n").unwrap_or(first_line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    matches!(line, [.., b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'..=b'9'])
}

/// Reads a head that ends where it should.
pub fn parse(head: &[u8]) -> Result<Head<'_>, HeadError> {
    match end(head, 0)? {
        Some(len) if len == head.len() => parse_found(head),
        _ => Err(HeadError::BadRequest("the head does not end where it should")),
    }
}

/// The same for just the bytes that [`end`] found, and for nothing else: `httparse` also takes lines
/// without CR.
pub fn parse_found(head: &[u8]) -> Result<Head<'_>, HeadError> {
    debug_assert_eq!(end(head, 0), Ok(Some(head.len())), "a head that nobody looked at");
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    // Nothing is written there but the lines that are found.
    let mut lines = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(head, &mut lines) {
        Ok(httparse::Status::Complete(used)) if used == head.len() => {}
        Ok(_) => return Err(HeadError::BadRequest("the head does not end where it should")),
        // `httparse` cannot tell another version from none.
        Err(error) => return Err(version(head).err().unwrap_or_else(|| refused(error))),
    }
    let version = if request.version == Some(0) { Version::Http10 } else { Version::Http11 };
    let method = request.method.ok_or(HeadError::BadRequest("there is no method"))?;
    let target = request.path.ok_or(HeadError::BadRequest("there is no target"))?;
    let mut fields = Fields::default();
    let mut control = Control::default();
    for line in request.headers.iter() {
        let mut room = [0; NAME_LEN_MAX];
        let name = lower_case(line.name, &mut room);
        if !control.take(name, line.value)? {
            fields.take(name, line.value)?;
        }
    }
    let method = Method::new(method);
    let Target { authority, path, query } = split(method, target)?;
    control.check_host(version)?;
    let (framing, keep_alive, expect) =
        (control.framing(version)?, control.keep_alive(version), control.expect(version));
    // RFC 9112 §3.2.2: the host of an absolute target takes the place of the field.
    fields.host = authority.or(control.host());
    Ok(Head { method, path, query, version, framing, keep_alive, expect, fields })
}

fn refused(error: httparse::Error) -> HeadError {
    HeadError::BadRequest(match error {
        httparse::Error::TooManyHeaders => return HeadError::TooLarge,
        httparse::Error::HeaderName => "a field name is not a token, or its colon does not follow at once",
        httparse::Error::HeaderValue => "a field value has control bytes",
        httparse::Error::Token => "the method or the target has bytes that do not belong there",
        httparse::Error::Version => "the request line does not end in a version",
        httparse::Error::NewLine | httparse::Error::Status => "a line does not end where it should",
    })
}

/// The same head in HTTP/1.1 if it is of a later minor version, which is processed as the latest that is
/// known (RFC 9110 §2.5).
pub fn as_http_1_1(head: &[u8]) -> Option<Vec<u8>> {
    let start = if head.starts_with(b"\r\n") { 2 } else { 0 };
    let minor = start + memchr::memchr(b'\r', &head[start..])?.checked_sub(1)?;
    let is_later = head[..minor].ends_with(b" HTTP/1.") && matches!(head[minor], b'2'..=b'9');
    is_later.then(|| [&head[..minor], b"1", &head[minor + 1..]].concat())
}

/// The version at the end of the request line.
fn version(head: &[u8]) -> Result<Version, HeadError> {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let last = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    match last.strip_prefix(b"HTTP/") {
        Some(b"1.1") => Ok(Version::Http11),
        Some(b"1.0") => Ok(Version::Http10),
        Some([major, b'.', minor]) if major.is_ascii_digit() && minor.is_ascii_digit() => Err(HeadError::Version),
        _ => Err(HeadError::BadRequest("the request line does not end in a version")),
    }
}

/// The parts of a target.
struct Target<'a> {
    /// The host and perhaps a port, where the target is absolute.
    authority: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
}

/// Cuts a target into its parts (RFC 9112 §3.2).
fn split<'a>(method: Method<'a>, target: &'a str) -> Result<Target<'a>, HeadError> {
    if method == Method::Other("CONNECT") {
        return Err(HeadError::NotImplemented("this server is no proxy"));
    }
    if target == "*" {
        return match method {
            Method::Options => Ok(Target { authority: None, path: "*", query: None }),
            _ => Err(HeadError::BadRequest("only OPTIONS may have the target *")),
        };
    }
    if target.contains('#') {
        return Err(HeadError::BadRequest("the target has a fragment"));
    }
    let (authority, local) = if target.starts_with('/') { (None, target) } else { absolute(target)? };
    let (path, query) = match local.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (local, None),
    };
    Ok(Target { authority, path: if path.is_empty() { "/" } else { path }, query })
}

/// The authority in `http://host/path`, and what follows it; that may be empty or begin with `?`.
fn absolute(target: &str) -> Result<(Option<&str>, &str), HeadError> {
    let bad = HeadError::BadRequest("the target is neither a path nor an http address");
    let (scheme, rest) = target.split_once("://").ok_or(bad)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(bad);
    }
    let (authority, local) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if authority.is_empty() || !fields::is_host(authority) { Err(bad) } else { Ok((Some(authority), local)) }
}

/// Is it a token, as every method and field name must be?
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token)
}
