//! Errors of the client, with messages that say what happened and what to do.
//!
//! [`ErrorKind`] is what happened; [`ClientError`] adds the file and the server. The messages never hold control
//! characters, whatever the server sent.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::wire::line::Reply;

/// An operation that failed.
#[derive(Debug)]
pub struct ClientError {
    /// The server, as `HOST:PORT` or `tls://HOST:PORT`.
    pub peer: String,
    /// The file or directory on the server; empty if the request names none.
    pub path: String,
    /// What happened.
    pub kind: ErrorKind,
}

/// What happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The path cannot be requested, with the reason.
    InvalidPath(&'static str),
    /// The file on the server changed again and again while it was downloaded.
    KeepsChanging,
    /// The file on the server does not have the digest that it had when it was stored.
    DamagedAtServer,
    /// The content does not have the digest that was sent with it.
    DigestMismatch,
    /// A local file could not be read or written.
    LocalFile {
        /// What failed, such as `"read"` or `"write"`.
        operation: &'static str,
        /// The local file; `-` for a stream.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The connection ended or timed out; trying again may work.
    ConnectionLost(io::Error),
    /// The host's name could not be resolved.
    UnknownHost(io::Error),
    /// The server refused the request.
    Refused {
        /// The HTTP status with the same meaning.
        code: u16,
        /// The server's message.
        message: String,
        /// When to try again, if the server sent it.
        retry_after: Option<Duration>,
    },
    /// The local file was changed while it was sent.
    SourceChanged,
    /// The reply is not one of the `line` protocol.
    Protocol(String),
    /// There is no TLS between server and client, above all because the certificate is not trusted; says why.
    Tls(String),
    /// The directory holds this number of names that the protocol cannot carry, so its listing is not complete.
    Unlisted(u64),
    /// No connection could be made; trying again may work.
    Unreachable(io::Error),
    /// The server does not take the secret, token or password that was sent, or not any more.
    WrongSecret {
        /// The server's message.
        message: String,
    },
}

impl ErrorKind {
    /// The refusal that an `ERR` reply stands for.
    pub(super) fn from_reply(reply: &Reply) -> Option<Self> {
        let Reply::Err { code, words, .. } = reply else { return None };
        let retry_after = reply.key("retry").and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
        Some(Self::Refused { code: *code, message: words.clone(), retry_after })
    }

    /// What the server would answer (409), where this is seen before it is asked.
    pub(crate) fn conflict(message: &str) -> Self {
        Self::Refused { code: 409, message: message.to_owned(), retry_after: None }
    }

    pub(crate) fn local(operation: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::LocalFile { operation, path: path.into(), source }
    }

    /// What this means where a secret was sent.
    pub(super) fn into_answer_to_secret(self) -> Self {
        match self {
            Self::Refused { code: 401, message, .. } => Self::WrongSecret { message },
            other => other,
        }
    }

    /// The code of a refusal.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::WrongSecret { .. } => Some(401),
            _ => None,
        }
    }

    /// True if the same request may succeed a little later.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::DigestMismatch
                | Self::ConnectionLost(_)
                | Self::Unreachable(_)
                | Self::Refused { code: 408 | 423 | 429 | 503, .. }
        )
    }

    /// True if every other request to this server will fail the same way.
    pub fn affects_server(&self) -> bool {
        matches!(self, Self::UnknownHost(_) | Self::Unreachable(_) | Self::Tls(_)) || self.code() == Some(401)
    }

    pub(crate) fn at(self, peer: impl fmt::Display, path: &str) -> ClientError {
        ClientError { peer: peer.to_string(), path: path.to_owned(), kind: self }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidPath(why) => write!(f, "invalid path: {why}"),
            Self::KeepsChanging => {
                f.write_str("the file kept changing on the server while it was downloaded; try again later")
            }
            Self::DamagedAtServer => f.write_str(
                "the file is damaged on the server: its SHA-256 is not the one it was stored with; store it again",
            ),
            Self::DigestMismatch => {
                f.write_str("the content was damaged on its way or on the server (its SHA-256 differs); try again")
            }
            Self::LocalFile { operation, path, source } => {
                write!(f, "could not {operation} {}: {source}", printable(&path.to_string_lossy()))
            }
            Self::ConnectionLost(source) if is_timeout(source) => {
                f.write_str("the server did not respond in time; try again")
            }
            Self::ConnectionLost(source) => write!(f, "the connection was lost ({source}); try again"),
            Self::UnknownHost(source) => write!(f, "no such host ({source})"),
            Self::Refused { code, message, .. } => {
                write!(f, "refused: {} ({code})", printable(message))?;
                f.write_str(match code {
                    401 => {
                        "; name a file with the server's secret in its first line, --token-file FILE, or a user, --user NAME"
                    }
                    423 | 429 | 503 => "; try again later",
                    507 => "; the server's disk is full",
                    _ => "",
                })
            }
            Self::SourceChanged => {
                f.write_str("the local file changed while it was sent, so nothing was stored; send it again")
            }
            // What a web server or a proxy says to a line that it does not know.
            Self::Protocol(got) if got.starts_with("HTTP/") || got.starts_with('<') => f.write_str(
                "this port speaks HTTP only: it is another web server, a proxy, or a listener http@ of filewharf; name a \
                 listener that speaks line, or use curl",
            ),
            Self::Protocol(got) => {
                write!(f, "the server does not speak the line protocol: {}", printable(got))
            }
            Self::Unlisted(count) => {
                let are = if *count == 1 { "name in this folder is" } else { "names in this folder are" };
                write!(f, "{count} {are} not listed by the server: not UTF-8, or with control characters")
            }
            Self::Tls(why) => f.write_str(why),
            Self::WrongSecret { message } => write!(f, "refused: {} (401)", printable(message)),
            Self::Unreachable(source) if is_timeout(source) => {
                f.write_str("could not connect in time; is the server running there?")
            }
            Self::Unreachable(source) => write!(f, "could not connect ({source}); is the server running there?"),
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            write!(f, "{}: {}", self.peer, self.kind)
        } else {
            write!(f, "{}{}: {}", self.peer, printable(&self.path), self.kind)
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            ErrorKind::LocalFile { source, .. } => Some(source),
            ErrorKind::ConnectionLost(source) | ErrorKind::UnknownHost(source) | ErrorKind::Unreachable(source) => {
                Some(source)
            }
            _ => None,
        }
    }
}

/// Which error a socket timeout gives depends on the call.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// The text with all characters escaped that could control a terminal, reorder what it shows or make two names look
/// the same. The joiners U+200C and U+200D stay: Persian, Hindi and emoji need them.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unseen(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    shown
}

/// True for controls, separators of lines, and characters of format (Unicode's Cf) or without a shape.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: line-ends-in-names
    #[test]
    fn messages_of_a_server_cannot_steer_the_terminal() {
        let reply = Reply::parse("ERR 404 \u{1b}[2Jgone\u{202e}").expect("a reply");
        let error = ErrorKind::from_reply(&reply).expect("a refusal").at("h:1", "/a\u{7}");
        assert_eq!(error.to_string(), "h:1/a\\u{7}: refused: \\u{1b}[2Jgone\\u{202e} (404)");
    }

    #[test]
    fn characters_without_a_width_and_those_that_reorder_are_spelled_out() {
        let told = printable("a\u{200b}b\u{2028}c\u{61c}d\u{2067}e\u{200f}f\u{feff}g\u{ad}h\u{e0041}i");
        assert_eq!(told, "a\\u{200b}b\\u{2028}c\\u{61c}d\\u{2067}e\\u{200f}f\\u{feff}g\\u{ad}h\\u{e0041}i");
        for plain in ["naïve café", "日本語 テスト", "می\u{200c}خواهم", "👨\u{200d}👩\u{200d}👧 ❤\u{fe0f}", "שלום"]
        {
            assert_eq!(printable(plain), plain);
        }
    }

    #[test]
    fn a_web_server_is_named_as_such() {
        for said in ["HTTP/1.1 400 Bad Request", "<html>"] {
            assert!(
                ErrorKind::Protocol(said.to_owned()).to_string().starts_with("this port speaks HTTP only"),
                "{said}"
            );
        }
    }

    #[test]
    fn only_what_may_work_later_is_tried_again() {
        let refused = |code| ErrorKind::Refused { code, message: String::new(), retry_after: None };
        for code in [408, 423, 429, 503] {
            assert!(refused(code).is_retryable(), "{code}");
        }
        for code in [400, 401, 403, 404, 409, 412, 413, 416, 500, 507] {
            assert!(!refused(code).is_retryable(), "{code}");
        }
        assert!(ErrorKind::DigestMismatch.is_retryable());
        assert!(!ErrorKind::SourceChanged.is_retryable());
    }
}
