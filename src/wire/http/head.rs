//! The head of a request: where it ends, its request line and its fields.
//!
//! All strictness about framing is here: a head that two parsers in a chain of proxies could read in two ways is an
//! error, and closes the connection (request smuggling, RFC 9112 §11.2).

mod fields;
mod forwarded_fields;
mod message;
#[cfg(test)]
mod tests;
mod upload_fields;

use std::mem::MaybeUninit;

use fields::{Control, NAME_LEN_MAX, lower_case};
pub use fields::{Fields, VALUES_MAX, Values};
pub use forwarded_fields::ForwardedFields;
pub use message::{Expect, Framing, HeadError, Method, Version};
pub use upload_fields::UploadFields;

/// Most field lines of one head.
pub const FIELDS_MAX: usize = 64;

/// A head that was parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    pub method: Method<'a>,
    /// What the path began with and was taken off it: that under which a proxy passes the server on.
    pub mount: &'a str,
    /// Begins with `/`, still percent-encoded, without the query; `*` of OPTIONS only.
    pub path: &'a str,
    /// After the `?`, still percent-encoded.
    pub query: Option<&'a str>,
    pub version: Version,
    pub framing: Framing,
    /// The client asks to keep the connection open after the response. HTTP/1.0 clients expect
    /// `Connection: keep-alive` in it.
    pub keep_alive: bool,
    pub expect: Expect,
    pub fields: Fields<'a>,
    /// `None` if there are none, and of GET.
    pub upload: Option<Box<UploadFields<'a>>>,
    /// `None` unless they were asked for.
    pub forwarded: Option<Box<ForwardedFields<'a>>>,
}

/// Length of the head at the start of `input`, its empty line included; `Ok(None)` if it is not complete. Then the
/// next call may pass the number of bytes seen by this one as `from`. One empty line may precede the head
/// (RFC 9112 §2.2).
pub fn end(input: &[u8], from: usize) -> Result<Option<usize>, HeadError> {
    let start = if input.starts_with(b"\r\n") { 2 } else { 0 };
    // The last byte seen may be a CR without its LF.
    let from = from.saturating_sub(1).clamp(start, input.len().max(start));
    // Byte by byte: lines are short, and starting a vector search after each costs more.
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

/// The error for a head above the limit: its target or its fields are too long.
pub fn overlong(input: &[u8]) -> HeadError {
    let start = if input.starts_with(b"\r\n") { 2 } else { 0 };
    match memchr::memchr(b'\n', &input[start..]) {
        None => HeadError::TargetTooLong,
        Some(_) => HeadError::TooLarge,
    }
}

/// True for the first line of an HTTP/1 request, with or without its line end.
pub fn looks_like_http(first_line: &[u8]) -> bool {
    let line = first_line.strip_suffix(b"\n").unwrap_or(first_line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    matches!(line, [.., b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'..=b'9'])
}

/// Parses a complete head.
pub fn parse(head: &[u8]) -> Result<Head<'_>, HeadError> {
    match end(head, 0)? {
        Some(len) if len == head.len() => parse_found(head, Sender::Client),
        _ => Err(HeadError::BadRequest("the head does not end where it should")),
    }
}

/// What has sent a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    Client,
    /// One that is trusted to say for which client.
    Proxy,
}

/// The same for exactly the bytes that [`end`] found: `httparse` alone would accept lines without CR.
pub fn parse_found(head: &[u8], sender: Sender) -> Result<Head<'_>, HeadError> {
    debug_assert_eq!(end(head, 0), Ok(Some(head.len())), "a head that end() did not find");
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    // Not initialised: most heads have few lines.
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
    let mut forwarded = (sender == Sender::Proxy).then(Box::<ForwardedFields<'_>>::default);
    for line in request.headers.iter() {
        let mut buffer = [0; NAME_LEN_MAX];
        let name = lower_case(line.name, &mut buffer);
        if !control.take(name, line.value)? {
            fields.take(name, line.value)?;
        }
        if let Some(forwarded) = &mut forwarded {
            forwarded.take(name, line.value);
        }
    }
    let method = Method::new(method);
    let upload = if method == Method::Get { None } else { upload_fields(request.headers) };
    let Target { authority, path, query } = split(method, target)?;
    control.check_host(version)?;
    let (framing, keep_alive, expect) =
        (control.framing(version)?, control.keep_alive(version), control.expect(version));
    // RFC 9112 §3.2.2: the host of an absolute target takes the place of the field.
    fields.host = authority.or(control.host());
    Ok(Head { method, mount: "", path, query, version, framing, keep_alive, expect, fields, upload, forwarded })
}

/// In a pass of their own, which GET does without.
fn upload_fields<'a>(lines: &[httparse::Header<'a>]) -> Option<Box<UploadFields<'a>>> {
    let mut found = None;
    for line in lines {
        let mut buffer = [0; NAME_LEN_MAX];
        UploadFields::take(&mut found, lower_case(line.name, &mut buffer), line.value);
    }
    found
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

/// The same head in HTTP/1.1 if it has a later minor version, which is processed as the latest known one
/// (RFC 9110 §2.5).
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

struct Target<'a> {
    /// The host and an optional port of a target in absolute form.
    authority: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
}

/// RFC 9112 §3.2.
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

/// Splits `http://host/path` after the authority; the rest may be empty or begin with `?`.
pub(super) fn absolute(target: &str) -> Result<(Option<&str>, &str), HeadError> {
    let bad = HeadError::BadRequest("the target is neither a path nor an http address");
    let (scheme, rest) = target.split_once("://").ok_or(bad)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(bad);
    }
    let (authority, local) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if authority.is_empty() || !fields::is_host(authority) { Err(bad) } else { Ok((Some(authority), local)) }
}
