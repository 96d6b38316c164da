//! The path under which a proxy in front passes this server on (`--path-prefix`): requests come with it.

use crate::dialect::http::unserved::Answer;
use crate::error::Failure;
use crate::wire::http::head::{Head, Method};
use crate::wire::http::target;

/// What a request has of the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mount {
    Inside,
    /// All of it, without a `/` at its end.
    Bare,
    Outside,
}

/// Takes the prefix off the path of a request. Load balancers and monitors may ask this server itself, without it.
pub(super) fn take_off(prefix: &str, head: &mut Head<'_>) -> Mount {
    if prefix.is_empty() || matches!(head.path, "*" | "/.filewharf/health" | "/.filewharf/metrics") {
        return Mount::Inside;
    }
    let Some(path) = target::under(prefix, head.path) else { return Mount::Outside };
    head.mount = &head.path[..prefix.len()];
    if !path.is_empty() {
        head.path = path;
        return Mount::Inside;
    }
    head.path = "/";
    if matches!(head.method, Method::Get | Method::Head) { Mount::Bare } else { Mount::Inside }
}

impl Mount {
    /// The answer to a request that does not reach the served directory: where it finds that, if it has only to add a `/`.
    pub(super) fn answer(self, head: &Head<'_>) -> Option<Answer> {
        match self {
            Self::Inside => None,
            Self::Bare => {
                let query = head.query.map(|query| format!("?{query}")).unwrap_or_default();
                Some(Ok(format!("{}/{query}", head.mount)))
            }
            Self::Outside => Some(Err(Failure::NotFound)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::head;

    #[test]
    fn only_the_whole_prefix_is_taken_off() {
        for (method, path, expected) in [
            ("GET", "/files/", (Mount::Inside, "/")),
            ("GET", "/files/a/../b", (Mount::Inside, "/a/../b")),
            ("PUT", "/files/files/a", (Mount::Inside, "/files/a")),
            ("GET", "http://x/files/a?q", (Mount::Inside, "/a")),
            ("GET", "/files", (Mount::Bare, "/")),
            ("OPTIONS", "/files", (Mount::Inside, "/")),
            ("OPTIONS", "*", (Mount::Inside, "*")),
            ("GET", "/.filewharf/health", (Mount::Inside, "/.filewharf/health")),
            ("GET", "/files/.filewharf/health", (Mount::Inside, "/.filewharf/health")),
            ("GET", "/.filewharf/uploads/x", (Mount::Outside, "/.filewharf/uploads/x")),
            ("GET", "/", (Mount::Outside, "/")),
            ("GET", "/filesystem", (Mount::Outside, "/filesystem")),
            ("GET", "/files%2Fa", (Mount::Outside, "/files%2Fa")),
            ("GET", "/Files/a", (Mount::Outside, "/Files/a")),
            ("GET", "/x/../files/a", (Mount::Outside, "/x/../files/a")),
            // What a browser or a proxy makes of these is not under the prefix.
            ("GET", "/files/../a", (Mount::Outside, "/files/../a")),
            ("GET", "/files/a/../../files/a", (Mount::Outside, "/files/a/../../files/a")),
        ] {
            let text = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n");
            let mut head = head::parse(text.as_bytes()).expect(path);
            let mount = take_off("/files", &mut head);
            assert_eq!((mount, head.path), expected, "{method} {path}");
            let mut head = head::parse(text.as_bytes()).expect(path);
            let before = head.clone();
            assert_eq!((take_off("", &mut head), &head), (Mount::Inside, &before), "{path}");
        }
    }
}
