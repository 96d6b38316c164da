//! The fields of MOVE, COPY and DELETE that say where to, over what and how deep: `Destination`, `Overwrite` and `Depth`
//! (RFC 4918 §10). The one place that reads them.

use crate::error::Failure;
use crate::wire::http::head::{self, Head};
use crate::wire::http::target;
use crate::wire::key::Path;

/// What a `Destination` field names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    Here(Path),
    /// Something on another server.
    Elsewhere,
}

/// What is done where something has the new name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    Replace,
    Refuse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    Zero,
    One,
    Infinity,
}

/// An address or a path, with or without a final `/`; its query is ignored. The scheme is not compared: a proxy may have
/// ended the TLS of the client.
pub fn destination(head: &Head<'_>) -> Result<Destination, Failure> {
    let text = head.upload.as_ref().and_then(|fields| fields.destination);
    here(head, text.ok_or(Failure::Malformed("the request has no Destination"))?)
}

/// What an address or a path of such a field names.
pub fn here(head: &Head<'_>, text: &str) -> Result<Destination, Failure> {
    let bad = Failure::Malformed("Destination is neither a path nor an http address");
    let (authority, local) =
        if text.starts_with('/') { (None, text) } else { head::absolute(text).map_err(|_| bad)? };
    if local.contains('#') {
        return Err(Failure::Malformed("Destination has a fragment"));
    }
    if authority.is_some_and(|authority| !is_own(head, authority)) {
        return Ok(Destination::Elsewhere);
    }
    let path = local.split('?').next().unwrap_or_default();
    let path = if head.mount.is_empty() { Some(path) } else { target::under(head.mount, path) };
    let Some(path) = path else { return Ok(Destination::Elsewhere) };
    target::path(if path.is_empty() { "/" } else { path }).map(Destination::Here)
}

/// Without the field, what is there is replaced (RFC 4918 §10.6).
pub fn overwrite(head: &Head<'_>) -> Result<Overwrite, Failure> {
    match head.upload.as_ref().and_then(|fields| fields.overwrite) {
        None | Some("T" | "t") => Ok(Overwrite::Replace),
        Some("F" | "f") => Ok(Overwrite::Refuse),
        Some(_) => Err(Failure::Malformed("Overwrite is neither T nor F")),
    }
}

/// `None` without the field: what that means depends on the method.
pub fn depth(head: &Head<'_>) -> Result<Option<Depth>, Failure> {
    match head.upload.as_ref().and_then(|fields| fields.depth) {
        None => Ok(None),
        Some("0") => Ok(Some(Depth::Zero)),
        Some("1") => Ok(Some(Depth::One)),
        Some(depth) if depth.eq_ignore_ascii_case("infinity") => Ok(Some(Depth::Infinity)),
        Some(_) => Err(Failure::Malformed("Depth is not 0, 1 or infinity")),
    }
}

/// True for the host that the request was sent to, or that the client of a trusted proxy has asked for.
fn is_own(head: &Head<'_>, authority: &str) -> bool {
    let mut forwarded = head.forwarded.iter().flat_map(|fields| fields.x_forwarded_host.iter());
    let is_same = |host: &[u8]| is_same(authority.as_bytes(), host);
    head.fields.host.is_some_and(|host| is_same(host.as_bytes()))
        || forwarded.any(|line| line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).any(is_same))
}

/// Many proxies pass on the name of the host alone: then the port is not compared.
fn is_same(authority: &[u8], host: &[u8]) -> bool {
    let ((name, port), (own, own_port)) = (split_port(authority), split_port(host));
    let unusual = |port: Option<&[u8]>| port.filter(|port| !matches!(*port, b"" | b"80" | b"443")).map(<[u8]>::to_vec);
    name.eq_ignore_ascii_case(own) && (own_port.is_none() || unusual(port) == unusual(own_port))
}

fn split_port(host: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memrchr(b':', host) {
        Some(at) if !host[at..].contains(&b']') => (&host[..at], Some(&host[at + 1..])),
        _ => (host, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::ExpectedKind;
    use crate::wire::http::head::Sender;
    use proptest::prelude::*;

    fn with_head<T>(lines: &str, sender: Sender, read: impl Fn(&Head<'_>) -> T) -> T {
        let text = format!("MOVE /a HTTP/1.1\r\nHost: Files.example:7070\r\n{lines}\r\n");
        read(&head::parse_found(text.as_bytes(), sender).expect(lines))
    }

    fn go(value: &str) -> Result<Destination, Failure> {
        with_head(&format!("Destination: {value}\r\n"), Sender::Client, destination)
    }

    #[test]
    fn a_destination_is_a_path_or_an_address_of_this_server() {
        for (value, key, is_dir) in [
            ("/b", "b", false),
            ("/b/", "b", true),
            ("/a%20b/%C3%BC", "a b/ü", false),
            ("/b?x=1", "b", false),
            ("/", "", true),
            ("/x/../b", "b", false),
            ("http://files.example:7070/b", "b", false),
            ("HTTPS://FILES.EXAMPLE:7070/b/", "b", true),
            ("http://files.example:7070", "", true),
            ("http://files.example:7070?x", "", true),
        ] {
            let Ok(Destination::Here(path)) = go(value) else { panic!("{value}: {:?}", go(value)) };
            assert_eq!((path.key.as_str(), path.expected_kind == ExpectedKind::Dir), (key, is_dir), "{value}");
        }
        for value in ["http://other.example:7070/b", "http://files.example/b", "http://files.example:7071/b"] {
            assert_eq!(go(value), Ok(Destination::Elsewhere), "{value}");
        }
        for value in [
            "",
            "b",
            "*",
            "//files.example:7070/b/%2e%2e",
            "ftp://files.example:7070/b",
            "http:///b",
            "http://a@files.example:7070/b",
            "http://files.example:7070#b",
            "/b#c",
            "/b%2Fc",
            "/%2e%2e/b",
            "/b%",
            "/%00",
        ] {
            assert!(matches!(go(value), Err(Failure::Malformed(_))), "{value}: {:?}", go(value));
        }
        assert!(matches!(go("/.filewharf/x"), Err(Failure::Denied(_))));
        let twice = "Destination: /b\r\nDestination: /b\r\n";
        for lines in ["", twice] {
            assert!(with_head(lines, Sender::Client, destination).is_err(), "{lines}");
        }
    }

    #[test]
    fn usual_ports_need_not_be_said_and_others_are_compared_where_the_host_has_one() {
        for (host, authority, is_here) in [
            ("h", "h:80", true),
            ("h", "h:443", true),
            ("h:80", "h", true),
            ("h:443", "h:", true),
            ("[::1]", "[::1]:443", true),
            ("h", "h:8443", true),
            ("[::1]", "[::2]", false),
            ("h:8080", "h", false),
            ("h:80", "h:8080", false),
        ] {
            let text = format!("MOVE /a HTTP/1.1\r\nHost: {host}\r\nDestination: https://{authority}/b\r\n\r\n");
            let got = destination(&head::parse(text.as_bytes()).expect("a head")).expect("well-formed");
            assert_eq!(matches!(got, Destination::Here(_)), is_here, "{host} {authority}");
        }
    }

    #[test]
    fn only_a_trusted_proxy_says_which_host_the_client_has_asked_for() {
        for (hosts, is_here) in [
            ("X-Forwarded-Host: public.example\r\n", true),
            ("X-Forwarded-Host: PUBLIC.example:443\r\n", true),
            ("X-Forwarded-Host: other, public.example\r\n", true),
            ("X-Forwarded-Host: other\r\nX-Forwarded-Host: public.example\r\n", true),
            ("X-Forwarded-Host: public.example.org\r\n", false),
            ("", false),
        ] {
            let lines = format!("Destination: https://public.example/b\r\n{hosts}");
            for (sender, expected) in [(Sender::Proxy, is_here), (Sender::Client, false)] {
                let got = with_head(&lines, sender, destination).expect("well-formed");
                assert_eq!(matches!(got, Destination::Here(_)), expected, "{hosts} {sender:?}");
            }
        }
    }

    #[test]
    fn overwrite_and_depth_have_few_values_and_no_guesses() {
        let overwrite = |lines: &str| with_head(lines, Sender::Client, overwrite);
        assert_eq!(overwrite(""), Ok(Overwrite::Replace));
        assert_eq!(overwrite("Overwrite: T\r\n"), Ok(Overwrite::Replace));
        assert_eq!(overwrite("overwrite: F\r\n"), Ok(Overwrite::Refuse));
        for value in ["", "TT", "true", "0", "T,F", "T\r\nOverwrite: T"] {
            assert!(overwrite(&format!("Overwrite: {value}\r\n")).is_err(), "{value}");
        }
        let depth = |lines: &str| with_head(lines, Sender::Client, depth);
        assert_eq!(depth(""), Ok(None));
        for (value, expected) in [("0", Depth::Zero), ("1", Depth::One), ("infinity", Depth::Infinity)] {
            assert_eq!(depth(&format!("Depth: {value}\r\n")), Ok(Some(expected)));
        }
        assert_eq!(depth("DEPTH: Infinity\r\n"), Ok(Some(Depth::Infinity)));
        for value in ["", "2", "-1", "00", "1,noroot", "infinite", "0\r\nDepth: 0"] {
            assert!(depth(&format!("Depth: {value}\r\n")).is_err(), "{value}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in "(http|s|://|files[.]example|:7070|/|%2F|%|[a-z.]|[?#@]|\u{fc}|T|F|infinity| ){0,12}") {
            let lines = format!("Destination: {text}\r\nOverwrite: {text}\r\nDepth: {text}\r\n");
            with_head(&lines, Sender::Proxy, |head| drop((destination(head), overwrite(head), depth(head))));
        }
    }
}
