//! What the log has of the head of a request: never a query, which may have the right to more than the request, nor the
//! whole id of an upload, which is the right to continue it.

use std::sync::Arc;

use percent_encoding::percent_decode_str;

use crate::config::LogFormat;
use crate::wire::http::head::Head;

/// Under this path, the digits of an id after these are left out.
const UPLOADS: &str = ".filewharf/uploads/";
const ID_DIGITS: usize = 4;
/// More of a name that a program has given itself is left out.
const AGENT_LEN_MAX: usize = 512;

/// What a head of HTTP asked, without what is secret.
#[derive(Debug, PartialEq, Eq)]
pub struct Asked {
    pub method: Box<str>,
    /// The path, still percent-encoded, without the query.
    pub path: Box<str>,
    pub version: &'static str,
    pub host: Box<str>,
    /// Empty if the program does not name itself.
    pub agent: Box<str>,
}

impl Asked {
    /// `None` where requests are not logged.
    pub(super) fn log(head: &Head<'_>) -> Option<Arc<Self>> {
        let is_logged =
            cfg!(feature = "access-log") && log::log_enabled!(target: LogFormat::TEXT_TARGET, log::Level::Info);
        is_logged.then(|| Arc::new(Self::new(head)))
    }

    /// Bytes of heap.
    pub fn bytes(&self) -> usize {
        let Self { method, path, host, agent, .. } = self;
        size_of::<Self>() + [method, path, host, agent].map(|text| text.len()).iter().sum::<usize>()
    }

    fn new(head: &Head<'_>) -> Self {
        let agent = head.fields.user_agent.unwrap_or_default();
        Self {
            method: head.method.name().into(),
            path: without_id([head.mount, head.path].concat()).into(),
            version: head.version.name(),
            host: head.fields.host.unwrap_or_default().into(),
            agent: String::from_utf8_lossy(&agent[..agent.len().min(AGENT_LEN_MAX)]).into(),
        }
    }
}

/// The same path, but for the id of an upload.
fn without_id(path: String) -> String {
    let Ok(plain) = percent_decode_str(&path).decode_utf8() else { return path };
    match plain.find(UPLOADS) {
        None => path,
        Some(at) => {
            plain.chars().take(plain[..at].chars().count() + UPLOADS.len() + ID_DIGITS).collect::<String>() + "..."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::head;

    fn asked(line: &str, fields: &str) -> Asked {
        let head = format!("{line} HTTP/1.1\r\nHost: a.example:80\r\n{fields}\r\n");
        Asked::new(&head::parse(head.as_bytes()).expect("a good head"))
    }

    #[test]
    fn neither_a_query_nor_the_id_of_an_upload_is_kept() {
        let id = "00112233445566778899aabbccddeeff";
        for (target, path) in [
            ("/a%20b?link=SECRET".to_owned(), "/a%20b"),
            ("http://b.example/a?password=SECRET".to_owned(), "/a"),
            (format!("/.filewharf/uploads/{id}"), "/.filewharf/uploads/0011..."),
            (format!("/p/.filewharf/uploads/{id}?q"), "/p/.filewharf/uploads/0011..."),
            (format!("/%2efilewharf/uploads%2F{id}"), "/.filewharf/uploads/0011..."),
        ] {
            let asked = asked(&format!("PATCH {target}"), "Authorization: Bearer SECRET\r\nReferer: /?link=SECRET\r\n");
            assert_eq!((&*asked.method, &*asked.path), ("PATCH", path));
            assert!(!format!("{asked:?}").contains("SECRET"), "{asked:?}");
        }
    }

    #[test]
    fn a_program_names_itself_once_and_in_few_bytes() {
        let fields = "User-Agent: a/1\r\nuser-agent: b/2\r\n";
        assert_eq!(&*asked("GET /", fields).agent, "a/1");
        assert_eq!(&*asked("GET /", "").agent, "");
        assert_eq!(asked("GET /", &format!("User-Agent: {}\r\n", "x".repeat(1000))).agent.len(), AGENT_LEN_MAX);
    }
}
