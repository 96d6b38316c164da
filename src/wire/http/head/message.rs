//! The parts of a request head that decide about the connection and the body.

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method<'a> {
    Copy,
    Delete,
    Get,
    Head,
    Lock,
    MkCol,
    Move,
    Options,
    Post,
    PropFind,
    PropPatch,
    Put,
    Unlock,
    Other(&'a str),
}

impl<'a> Method<'a> {
    /// Methods are case-sensitive (RFC 9110 §9.1).
    pub(super) fn new(name: &'a str) -> Self {
        match name {
            "COPY" => Self::Copy,
            "DELETE" => Self::Delete,
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "LOCK" => Self::Lock,
            "MKCOL" => Self::MkCol,
            "MOVE" => Self::Move,
            "OPTIONS" => Self::Options,
            "POST" => Self::Post,
            "PROPFIND" => Self::PropFind,
            "PROPPATCH" => Self::PropPatch,
            "PUT" => Self::Put,
            "UNLOCK" => Self::Unlock,
            other => Self::Other(other),
        }
    }

    pub const fn name(self) -> &'a str {
        match self {
            Self::Copy => "COPY",
            Self::Delete => "DELETE",
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Lock => "LOCK",
            Self::MkCol => "MKCOL",
            Self::Move => "MOVE",
            Self::Options => "OPTIONS",
            Self::Post => "POST",
            Self::PropFind => "PROPFIND",
            Self::PropPatch => "PROPPATCH",
            Self::Put => "PUT",
            Self::Unlock => "UNLOCK",
            Self::Other(other) => other,
        }
    }

    /// True if a body of this method has no meaning (RFC 9110 §9.3, RFC 4918 §9).
    pub const fn is_without_body(self) -> bool {
        matches!(self, Self::Copy | Self::Delete | Self::Get | Self::Head | Self::Move | Self::Options | Self::Unlock)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http10,
    Http11,
}

impl Version {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
        }
    }
}

/// How the body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    Length(u64),
    /// See `chunked::Chunked`.
    Chunked,
}

/// What the client waits for before it sends the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    None,
    /// `100 Continue`, or a final response.
    Continue,
    /// An expectation that cannot be met: 417.
    Unknown,
}
