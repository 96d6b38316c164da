//! The line of a request in the log, in each format. What comes from a peer is escaped: none of it can end a line or
//! begin a field. Never writes a query, a secret, or the whole id of an upload: see `dialect::asked`.

use std::fmt;
#[cfg(feature = "access-log")]
use std::fmt::Write as _;
#[cfg(feature = "access-log")]
use std::net::IpAddr;
use std::net::SocketAddr;

use crate::access::Identity;
use crate::config::LogFormat;
use crate::reactor::clock::Clock;
use crate::session::{Answer, Ended, Report};
#[cfg(feature = "access-log")]
use crate::time::Utc;
use crate::wire::http::forwarded::UNKNOWN;
use crate::wire::status;
#[cfg(feature = "access-log")]
use crate::wire::{http::target, json};

/// Writes the lines of requests.
#[derive(Debug, Default)]
pub(super) struct RequestLines {
    pub format: LogFormat,
    line: String,
}

impl RequestLines {
    /// Writing to a `String` cannot fail.
    pub(super) fn log(&mut self, ended: &Ended, peer: SocketAddr, clock: &Clock) {
        let request = Request { ended, peer, clock };
        self.line.clear();
        match self.format {
            LogFormat::Text if request.is_end_of_parts() => {}
            LogFormat::Text => log::info!(target: Report::TARGET, "{request}"),
            // The bytes of a part count for the whole.
            #[cfg(feature = "access-log")]
            _ if ended.answer == Answer::Part => {}
            #[cfg(feature = "access-log")]
            LogFormat::Combined => {
                let _ = request.combined(&mut self.line);
                log::info!(target: LogFormat::BARE_TARGET, "{}", self.line);
            }
            #[cfg(feature = "access-log")]
            LogFormat::Json => {
                let _ = request.json(&mut self.line);
                log::info!(target: LogFormat::BARE_TARGET, "{}", self.line);
            }
        }
    }
}

struct Request<'a> {
    ended: &'a Ended,
    peer: SocketAddr,
    clock: &'a Clock,
}

/// As text: words for people, and fields with names.
impl fmt::Display for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ended { word, key, caller, bytes, client, result, asked, .. } = self.ended;
        write!(f, "{word} peer=")?;
        match client {
            None => self.peer.fmt(f),
            Some(UNKNOWN) => write!(f, "unknown via={}", self.peer),
            Some(client) => write!(f, "{client} via={}", self.peer),
        }?;
        match caller.identity() {
            None => Ok(()),
            Some(Identity::Secret) => f.write_str(" secret=full"),
            Some(Identity::ReadSecret) => f.write_str(" secret=read"),
            Some(Identity::Named { name, .. }) => write!(f, " user={name}"),
            Some(Identity::Link { link, .. }) => write!(f, " link={}", link.key_id),
        }?;
        match asked.as_ref().filter(|_| *word == "request") {
            Some(asked) => write!(f, " key=\"{}\"", asked.path.escape_debug())?,
            None => write!(f, " key=\"/{}\"", key.as_str().escape_debug())?,
        }
        write!(f, " bytes={bytes} result=")?;
        match result {
            Ok(()) => f.write_str("ok"),
            Err(error) => write!(f, "failed told=\"{}\" cause=\"{}\"", error.failure, error.cause.escape_debug()),
        }?;
        write!(f, " ms={}", self.clock.now.saturating_duration_since(self.ended.began).as_millis())?;
        if cfg!(feature = "access-log") {
            write!(f, " method={}", self.method().escape_debug())?;
            if self.ended.answer != Answer::Part {
                write!(f, " status={}", self.status())?;
            }
            write!(f, " agent=\"{}\"", self.agent().escape_debug())?;
        }
        Ok(())
    }
}

impl Request<'_> {
    /// True for a response after parts, each of which has its line.
    fn is_end_of_parts(&self) -> bool {
        let has_parts = matches!(self.ended.answer, Answer::Whole { bytes_before: 1.., .. });
        has_parts && self.ended.word == "request" && self.ended.result.is_ok()
    }

    /// That of HTTP for the same, in the other dialects; empty for what was not understood.
    fn method(&self) -> &str {
        match (&self.ended.asked, self.ended.word) {
            (Some(asked), _) => &asked.method,
            (None, "get" | "list") => "GET",
            (None, "put" | "append") => "PUT",
            (None, "stat") => "HEAD",
            (None, "delete") => "DELETE",
            (None, "mkdir") => "MKCOL",
            (None, "rename") => "MOVE",
            (None, "copy") => "COPY",
            (None, "space") => "PROPFIND",
            (None, "time") => "PROPPATCH",
            (None, _) => "",
        }
    }

    /// The same.
    fn status(&self) -> u16 {
        match (self.ended.answer, &self.ended.result, self.ended.word) {
            (Answer::Whole { status: Some(status), .. }, ..) => status,
            (_, Err(error), _) => status::code(error.failure),
            (_, Ok(()), "put" | "append" | "mkdir" | "rename" | "copy") => 201,
            (_, Ok(()), "delete") => 204,
            (_, Ok(()), _) => 200,
        }
    }

    /// The name of the dialect, where clients do not tell which program they are.
    fn agent(&self) -> &str {
        self.ended.asked.as_ref().map_or_else(|| self.ended.dialect.name(), |asked| &asked.agent)
    }
}

#[cfg(feature = "access-log")]
impl Request<'_> {
    /// NCSA combined, as Apache, nginx and GoAccess have it.
    fn combined(&self, line: &mut String) -> fmt::Result {
        write!(line, "{} - ", self.client())?;
        escape(self.user().unwrap_or("-"), line)?;
        let Utc { year, month, day, second } = Utc::new(i64::try_from(self.clock.wall_clock_s).unwrap_or(i64::MAX));
        let month = MONTHS[usize::try_from(month - 1).unwrap_or(0)];
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(line, " [{day:02}/{month}/{year}:{hour:02}:{minute:02}:{second:02} +0000] \"")?;
        if self.method().is_empty() {
            line.push('-');
        } else {
            escape(self.method(), line)?;
            line.push(' ');
            self.escape_path(line)?;
            // Programs that read this know no other protocol.
            write!(line, " {}", self.version().unwrap_or("HTTP/1.1"))?;
        }
        write!(line, "\" {} {} \"-\" \"", self.status(), self.bytes())?;
        escape(self.agent(), line)?;
        line.push('"');
        Ok(())
    }

    /// As Caddy has it.
    fn json(&self, line: &mut String) -> fmt::Result {
        let (s, ms) = (self.clock.wall_clock_s, self.clock.wall_clock_ms % 1000);
        write!(
            line,
            "{{\"level\":\"info\",\"ts\":{s}.{ms:03},\"logger\":\"http.log.access\",\"msg\":\"handled request\","
        )?;
        write!(line, "\"request\":{{\"remote_ip\":\"{}\",\"remote_port\":\"{}\",", self.peer.ip(), self.peer.port())?;
        write!(line, "\"client_ip\":\"{}\",", self.client())?;
        if let Some(version) = self.version() {
            write!(line, "\"proto\":\"{version}\",")?;
        }
        line.push_str("\"method\":");
        json::quote(self.method(), line);
        line.push_str(",\"host\":");
        json::quote(self.ended.asked.as_ref().map_or("", |asked| &asked.host), line);
        line.push_str(",\"uri\":");
        match &self.ended.asked {
            Some(asked) => json::quote(&asked.path, line),
            None => write!(line, "\"/{}\"", target::escaped(&self.ended.key))?,
        }
        line.push_str(",\"headers\":{");
        if !self.agent().is_empty() {
            line.push_str("\"User-Agent\":[");
            json::quote(self.agent(), line);
            line.push(']');
        }
        line.push_str("}},\"user_id\":");
        json::quote(self.user().unwrap_or_default(), line);
        let took = self.clock.now.saturating_duration_since(self.ended.began);
        write!(line, ",\"duration\":{}.{:06},\"size\":{}", took.as_secs(), took.subsec_micros(), self.bytes())?;
        write!(line, ",\"status\":{}", self.status())?;
        if let Err(error) = &self.ended.result {
            line.push_str(",\"error\":");
            json::quote(&error.cause, line);
        }
        line.push('}');
        Ok(())
    }

    fn client(&self) -> IpAddr {
        self.ended.client.unwrap_or(self.peer.ip())
    }

    /// The name that was proved, or that of the key of a link.
    fn user(&self) -> Option<&str> {
        let Ended { caller, .. } = self.ended;
        caller.name().or_else(|| Some(&*caller.link()?.key_id))
    }

    fn version(&self) -> Option<&'static str> {
        self.ended.asked.as_ref().map(|asked| asked.version)
    }

    /// Of all parts.
    fn bytes(&self) -> u64 {
        let before = if let Answer::Whole { bytes_before, .. } = self.ended.answer { bytes_before } else { 0 };
        self.ended.bytes + before
    }

    fn escape_path(&self, line: &mut String) -> fmt::Result {
        match &self.ended.asked {
            Some(asked) => escape(&asked.path, line),
            None => write!(line, "/{}", target::escaped(&self.ended.key)),
        }
    }
}

#[cfg(feature = "access-log")]
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// As nginx does it: what is not plain text in ASCII becomes `\xHH`.
#[cfg(feature = "access-log")]
fn escape(text: &str, line: &mut String) -> fmt::Result {
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => write!(line, "\\x{byte:02X}")?,
            b' '..=b'~' => line.push(char::from(byte)),
            _ => write!(line, "\\x{byte:02X}")?,
        }
    }
    Ok(())
}
