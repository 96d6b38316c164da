//! Detects HTTP requests at listeners that speak something else: a page in a browser can send one to any port, and
//! parts of it could be valid in another protocol.

use crate::wire::http::syntax::is_token;

/// The first bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    Request,
    /// More bytes are needed to decide.
    Unfinished,
    Other,
}

/// Why such a connection is reset.
pub const NOT_HTTP: &str = "HTTP is not spoken here";

/// What browsers and common tools send. CONNECT is only sent to proxies.
const METHODS: [&[u8]; 8] = [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE"];

/// Looks for a common method and the first byte of a target; for protocols that never begin so.
pub fn opening(input: &[u8]) -> Opening {
    let Some((method, rest)) = METHODS.iter().find_map(|method| {
        let common = method.len().min(input.len());
        (method[..common] == input[..common]).then(|| (*method, &input[common..]))
    }) else {
        return Opening::Other;
    };
    match rest {
        [b' ', b'/' | b'*' | b'h' | b'H', ..] => Opening::Request,
        [] | [b' '] if input.len() <= method.len() + 1 => Opening::Unfinished,
        _ => Opening::Other,
    }
}

/// True for any method, a space, and a `/`; for protocols that may begin with the name of a file. This excludes only
/// names in a directory with a name of one word and a space.
pub fn is_path_request(input: &[u8]) -> bool {
    let Some(blank) = memchr::memchr(b' ', input) else { return false };
    let method = &input[..blank];
    method.first().is_some_and(u8::is_ascii_alphabetic)
        && method.iter().all(|byte| is_token(*byte))
        && input.get(blank + 1) == Some(&b'/')
}

/// True if the first line is complete and is `METHOD SP target SP HTTP/1.x`; for protocols in which the
/// beginning of one may be a name.
pub fn has_request_line(input: &[u8]) -> bool {
    // Names hold no CR, so the line ends at the first one.
    let Some(end) = memchr::memchr2(b'\r', b'\n', input) else { return false };
    let mut parts = input[..end].split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    // RFC 9112 §3.2: the authority form is for CONNECT only.
    let is_target = match target.first() {
        Some(b'/' | b'*') => true,
        // A scheme begins with a letter; a size followed by the beginning of a file does not.
        Some(first) => first.is_ascii_alphabetic() && memchr::memmem::find(target, b"://").is_some(),
        None => false,
    };
    !method.is_empty()
        && method.iter().all(|byte| is_token(*byte))
        && (is_target || method == b"CONNECT" && target.contains(&b':'))
        && matches!(version, [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'..=b'9'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_recognized_by_its_method_and_the_first_byte_of_its_target() {
        for (input, wanted) in [
            ("", Opening::Unfinished),
            ("P", Opening::Unfinished),
            ("PUT", Opening::Unfinished),
            ("PUT ", Opening::Unfinished),
            ("PUT /x", Opening::Request),
            ("GET http://x/", Opening::Request),
            ("OPTIONS *", Opening::Request),
            ("PUT x", Opening::Other),
            ("PUTS /", Opening::Other),
            ("PX", Opening::Other),
            ("send", Opening::Other),
            ("get /", Opening::Other),
        ] {
            assert_eq!(opening(input.as_bytes()), wanted, "{input}");
        }
    }

    #[test]
    fn a_name_with_a_blank_is_no_request_unless_a_slash_follows_one_word() {
        for (input, wanted) in [
            ("POST /x:PUT", true),
            ("M-SEARCH /", true),
            ("POST ", false),
            ("a b/c.txt:PUT", false),
            ("a  /c.txt:PUT", false),
            ("3a /c.txt:PUT", false),
            (" /x", false),
        ] {
            assert_eq!(is_path_request(input.as_bytes()), wanted, "{input}");
        }
    }

    #[test]
    fn a_request_line_is_a_method_a_target_and_a_version() {
        for line in [
            "GET / HTTP/1.1\r\n",
            "x * HTTP/1.0\n",
            "GET http://a/ HTTP/1.1\r\nHost: a",
            "CONNECT 127.0.0.1:1 HTTP/1.1\r\n",
        ] {
            assert!(has_request_line(line.as_bytes()), "{line}");
        }
        for line in [
            "GET / HTTP/1.1",
            "a 12x HTTP/1.1\r\n",
            "a b /c HTTP/1.1\r\n",
            " / HTTP/1.1\r\n",
            // A name, a size, and the first line of the file.
            "urls.txt 24http://a/b HTTP/1.1\n",
            "GET / HTTP/2.0\r\n",
            "\n",
        ] {
            assert!(!has_request_line(line.as_bytes()), "{line}");
        }
    }
}
