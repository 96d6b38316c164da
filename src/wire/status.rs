//! The status codes of RFC 9110 §15 that this server says, in HTTP and as `CODE` of the `line`
//! protocol. The one place where a [`Failure`] becomes a number.

use crate::error::Failure;

/// The status with this meaning.
pub const fn code(failure: Failure) -> u16 {
    match failure {
        Failure::Malformed(_) => 400,
        Failure::Unauthorized | Failure::WrongSecret => 401,
        Failure::Denied(_) => 403,
        Failure::NotFound => 404,
        Failure::TimedOut => 408,
        Failure::Conflict(_) => 409,
        Failure::Gone => 410,
        Failure::PreconditionFailed => 412,
        Failure::TooLarge => 413,
        Failure::PathTooLong => 414,
        Failure::RangeUnsatisfiable => 416,
        Failure::WrongHost => 421,
        Failure::DigestMismatch => 422,
        Failure::Locked | Failure::Protected => 423,
        Failure::Busy | Failure::ClientLimit | Failure::GuessLimit => 429,
        Failure::Internal => 500,
        Failure::NotImplemented(_) => 501,
        Failure::Draining | Failure::Unavailable | Failure::Counting => 503,
        Failure::NoSpace | Failure::OverQuota => 507,
    }
}

/// In how many seconds trying again may help; for [`Failure::GuessLimit`] and [`Failure::ClientLimit`] that is not always
/// the same.
pub const fn retry_after_s(failure: Failure) -> Option<u32> {
    match failure {
        Failure::Busy | Failure::Locked => Some(1),
        Failure::Draining | Failure::Unavailable | Failure::Counting => Some(5),
        _ => None,
    }
}

/// The words after a status; they mean nothing to a program.
pub const fn reason(code: u16) -> &'static str {
    match code {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        301 => "Moved Permanently",
        303 => "See Other",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        423 => "Locked",
        424 => "Failed Dependency",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        // tus 1.0.0, not RFC 9110.
        460 => "Checksum Mismatch",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "",
    }
}
