//! Heads that are taken, and every shape that is refused.

mod splits;

use super::*;

/// The whole of what a connection does with its first head: `None` if its end has not come.
fn read(input: &[u8]) -> Result<Option<Head<'_>>, HeadError> {
    match end(input, 0)? {
        None => Ok(None),
        Some(len) => parse(&input[..len]).map(Some),
    }
}

fn good(head: &str) -> Head<'_> {
    read(head.as_bytes()).unwrap_or_else(|error| panic!("{head:?}: {error:?}")).expect("complete")
}

fn refused(head: &str) -> u16 {
    match read(head.as_bytes()) {
        Ok(parsed) => panic!("{head:?} was taken: {parsed:?}"),
        Err(error) => error.status(),
    }
}

/// A request of these fields, their lines ended.
fn with(fields: &str) -> String {
    format!("PUT /a HTTP/1.1\r\nHost: h\r\n{fields}\r\n")
}

#[test]
fn a_plain_request_is_cut_into_its_pieces() {
    let head = good("GET /a%20b/c.txt?after=x&limit=5 HTTP/1.1\r\nHost: files:8080\r\nRange:bytes=0-4\r\nX: ü\r\n\r\n");
    assert_eq!((head.method, head.path, head.query), (Method::Get, "/a%20b/c.txt", Some("after=x&limit=5")));
    assert_eq!((head.version, head.framing), (Version::Http11, Framing::None));
    assert_eq!((head.keep_alive, head.expect), (true, Expect::None));
    assert_eq!((head.fields.host, head.fields.range), (Some("files:8080"), Some("bytes=0-4")));
    assert!(head.fields.accept.lines().is_empty());
}

#[test]
fn every_field_that_matters_is_kept_whatever_its_case() {
    let names = [
        "Accept",
        "Access-Control-Request-Headers",
        "Access-Control-Request-Method",
        "Authorization",
        "Content-Digest",
        "Content-Encoding",
        "Content-Range",
        "If-Match",
        "If-Modified-Since",
        "If-None-Match",
        "If-Range",
        "If-Unmodified-Since",
        "Origin",
        "Range",
        "Repr-Digest",
        "Want-Repr-Digest",
        "TE",
        "Sec-Fetch-Site",
    ];
    let fields: String = names.iter().enumerate().map(|(at, name)| format!("{name}: \t{at} \r\n")).collect();
    for text in [with(&fields), with(&fields.to_lowercase()), with(&fields.to_uppercase())] {
        let Fields {
            accept,
            access_control_request_headers,
            access_control_request_method,
            authorization,
            content_digest,
            content_encoding,
            content_range,
            host,
            if_match,
            if_modified_since,
            if_none_match,
            if_range,
            if_unmodified_since,
            origin,
            range,
            repr_digest,
            sec_fetch_site,
            te,
            want_repr_digest,
            user_agent: _,
        } = good(&text).fields;
        assert_eq!(host.map(str::to_lowercase).as_deref(), Some("h"));
        let lists = [
            (accept, "0"),
            (access_control_request_headers, "1"),
            (content_digest, "4"),
            (content_encoding, "5"),
            (if_match, "7"),
            (if_none_match, "9"),
            (repr_digest, "14"),
            (want_repr_digest, "15"),
            (te, "16"),
        ];
        lists.iter().for_each(|(values, want)| assert_eq!(values.lines(), [*want]));
        let singles = [
            (access_control_request_method, "2"),
            (authorization, "3"),
            (content_range, "6"),
            (if_modified_since, "8"),
            (if_range, "10"),
            (if_unmodified_since, "11"),
            (origin, "12"),
            (range, "13"),
            (sec_fetch_site, "17"),
        ];
        singles.iter().for_each(|(value, want)| assert_eq!(*value, Some(*want)));
    }
}

#[test]
fn lists_may_come_in_several_lines_and_single_values_may_not() {
    let text = with("If-None-Match: \"a\", \"b\"\r\nX: y\r\nIf-None-Match: \"c\"\r\n");
    assert_eq!(good(&text).fields.if_none_match.lines(), ["\"a\", \"b\"", "\"c\""]);
    assert_eq!(refused(&with(&"Accept: */*\r\n".repeat(VALUES_MAX + 1))), 431);
    for name in ["Range", "If-Range", "Authorization", "Content-Range", "Origin", "Expect"] {
        assert_eq!(refused(&with(&format!("{name}: x\r\n{name}: x\r\n"))), 400, "{name}");
    }
}

#[test]
fn a_date_that_comes_twice_is_no_date() {
    for name in ["If-Modified-Since", "If-Unmodified-Since"] {
        let date = "Tue, 14 Nov 2023 22:13:20 GMT";
        for count in 1..4 {
            let text = with(&format!("{name}: {date}\r\n").repeat(count));
            let fields = good(&text).fields;
            let kept = fields.if_modified_since.or(fields.if_unmodified_since);
            assert_eq!(kept, Some(if count == 1 { date } else { "" }), "{name}, {count} times");
        }
    }
}

#[test]
fn one_empty_line_may_come_first() {
    assert_eq!(good("\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n").path, "/");
    assert_eq!(refused("\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"), 400);
}

#[test]
fn only_a_whole_head_is_parsed() {
    for head in
        ["", "GET / HTTP/1.1\r\nHost: h\r\n", "GET / HTTP/1.1\r\nHost: h\r\n\r\nX", "GET / HTTP/1.1\nHost: h\n\n"]
    {
        assert_eq!(parse(head.as_bytes()).map_err(HeadError::status), Err(400), "{head:?}");
    }
}

#[test]
fn versions_are_two() {
    let line = |line: &str| format!("{line}\r\nHost: h\r\n\r\n");
    assert_eq!(good("GET / HTTP/1.0\r\n\r\n").version, Version::Http10);
    for text in ["GET / HTTP/2.0", "PRI * HTTP/2.0", "GET / HTTP/0.9"] {
        assert_eq!(refused(&line(text)), 505, "{text}");
        assert_eq!(as_http_1_1(line(text).as_bytes()), None, "{text}");
    }
    for minor in 2..10 {
        let later = line(&format!("\r\nGET /a HTTP/1.{minor}"));
        let known = as_http_1_1(later.as_bytes()).expect("a later minor version");
        assert_eq!(known, line("\r\nGET /a HTTP/1.1").into_bytes());
    }
    assert_eq!(as_http_1_1(line("GET / HTTP/1.1").as_bytes()), None);
    assert_eq!(as_http_1_1(line("GET / HTTP/1.0").as_bytes()), None);
    for text in [
        "GET /",
        "GET / ",
        "GET / http/1.1",
        "GET / HTTP/1",
        "GET / HTTP/1.10",
        "GET / HTTP/01.1",
        "GET / HTTP/1.1 ",
        "GET / HTTPS/1.1",
        "HTTP/1.1",
        " GET / HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /\tHTTP/1.1",
        "G(T / HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET /\x7f HTTP/1.1",
        "SSH-2.0-OpenSSH_9.9",
    ] {
        assert_eq!(refused(&line(text)), 400, "{text}");
    }
}

#[test]
fn methods_differ_by_case() {
    for (name, method) in [
        ("GET", Method::Get),
        ("HEAD", Method::Head),
        ("PUT", Method::Put),
        ("POST", Method::Post),
        ("DELETE", Method::Delete),
        ("OPTIONS", Method::Options),
        ("get", Method::Other("get")),
        ("PROPFIND", Method::PropFind),
        ("M-SEARCH", Method::Other("M-SEARCH")),
    ] {
        let text = format!("{name} / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(good(&text).method, method);
    }
}

#[test]
fn targets_are_paths_or_addresses() {
    for (target, path, query) in [
        ("/", "/", None),
        ("/?", "/", Some("")),
        ("/a?b?c", "/a", Some("b?c")),
        ("//a", "//a", None),
        ("/http://x/", "/http://x/", None),
        ("/ü", "/ü", None),
        ("http://other.example/a/b?c", "/a/b", Some("c")),
        ("HTTP://h:80", "/", None),
        ("https://[::1]:443?x", "/", Some("x")),
    ] {
        let text = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        let head = good(&text);
        assert_eq!((head.path, head.query), (path, query), "{target}");
    }
    for target in [
        "*",
        "a",
        "a/b",
        "h:80",
        "?x",
        "ftp://h/",
        "http:///a",
        "http://u@h/",
        "http://h:x/",
        "http:/a",
        "://h/",
        "/a#b",
        "http://h#b",
    ] {
        assert_eq!(refused(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")), 400, "{target}");
    }
    assert_eq!(good("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n").path, "*");
    assert_eq!(refused("CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n"), 501);
}

#[test]
fn http_1_1_names_one_host() {
    for host in [
        "h",
        "",
        "h:8080",
        "127.0.0.1:1",
        "[::1]",
        "[fe80::1%25eth0]:80",
        "[::ffff:1.2.3.4]",
        "[v1.a:b]:1",
        "a-b_c.example",
        "%c3%bc",
        "xn--ss-xka",
    ] {
        let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(good(&text).fields.host, Some(host));
    }
    for host in [
        "a b",
        "a,b",
        "a/b",
        "u@h",
        "h:",
        "h:-1",
        "h:123456",
        "[::1",
        "::1",
        "[]",
        "h?",
        "h#",
        "\"h\"",
        "h:80:80",
        "[0:0:G:0:0:0:0:0]",
        "[0::0::0]",
        "[1.2.3.4]",
        "[v1]",
        "[vx.y]",
        "[v1.]",
        "[::1%eth0]",
        "[::1%25]",
        "[::1]x",
        "%uf%80",
        "%",
        "h%4",
        "h%zz",
    ] {
        let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        if host == "h:" {
            assert_eq!(good(&text).fields.host, Some("h:"), "RFC 3986 §3.2.3 allows an empty port");
        } else {
            assert_eq!(refused(&text), 400, "{host}");
        }
    }
    assert_eq!(refused("GET / HTTP/1.1\r\n\r\n"), 400);
    assert_eq!(refused("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), 400);
    assert_eq!(refused("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n"), 400);
    assert_eq!(refused("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"), 400);
}

// covers: odd-lengths
#[test]
fn a_length_is_one_plain_number() {
    for (text, len) in
        [("0", 0), ("00", 0), ("5", 5), ("0000000000000000000000007", 7), ("9223372036854775807", i64::MAX as u64)]
    {
        assert_eq!(good(&with(&format!("Content-Length: {text}\r\n"))).framing, Framing::Length(len));
    }
    assert_eq!(good(&with("Content-Length:\t 5 \t\r\n")).framing, Framing::Length(5));
    for text in [
        "",
        "+5",
        "-5",
        "5,5",
        "5, 5",
        "5,6",
        "0x5",
        "5 5",
        "5a",
        "5.0",
        "1e3",
        "٥",
        "9223372036854775808",
        "18446744073709551616",
        "111111111111111111111111111111",
        "\"5\"",
        "5;q=1",
    ] {
        assert_eq!(refused(&with(&format!("Content-Length: {text}\r\n"))), 400, "{text}");
    }
    assert_eq!(refused(&with("Content-Length: 5\r\nContent-Length: 5\r\n")), 400);
    assert_eq!(refused(&with("Content-Length: 5\r\nContent-Length: 6\r\n")), 400);
    assert_eq!(refused(&with("Content-Length: 5\r\nContent-length: 5\r\n")), 400);
}

// covers: both-lengths
#[test]
fn the_only_transfer_coding_is_chunked() {
    for text in ["chunked", "Chunked", "CHUNKED", " \tchunked \t"] {
        assert_eq!(good(&with(&format!("Transfer-Encoding:{text}\r\n"))).framing, Framing::Chunked, "{text}");
    }
    for text in ["gzip, chunked", "gzip , deflate,chunked", "identity, chunked"] {
        assert_eq!(refused(&with(&format!("Transfer-Encoding: {text}\r\n"))), 501, "{text}");
    }
    for text in [
        "",
        "identity",
        "gzip",
        "xchunked",
        "chunkedx",
        "chunked, identity",
        "chunked, gzip",
        "chunked, chunked",
        "chunked,",
        ", chunked",
        "gzip,,chunked",
        "chunked;q=1",
        "\"chunked\"",
        "\x0bchunked",
        "\x0cchunked",
        "chunked\x0b",
        "gzip chunked",
        "\u{a0}chunked",
        "c\u{212a}chunked",
    ] {
        assert_eq!(refused(&with(&format!("Transfer-Encoding: {text}\r\n"))), 400, "{text:?}");
    }
}

// covers: odd-lines
#[test]
fn smuggling_shapes_are_refused() {
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: identity\r\ntransfer-encoding: chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\t: chunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "X: y\r\n Transfer-Encoding: chunked\r\n",
        "X: y\r\n\tfolded\r\n",
        "Content-Length : 5\r\n",
        "Content-Length:\n5\r\n",
        "X: y\nContent-Length: 5\r\n",
        "X: y\rContent-Length: 5\r\n",
        "X: y\0\r\n",
        "X: y\x01\r\n",
        "X: y\x7f\r\n",
        ": empty\r\n",
        "NoColon\r\n",
        "Bad Name: x\r\n",
        "Bad\x0bName: x\r\n",
        "Bad(Name): x\r\n",
        "Nämé: x\r\n",
        "\u{feff}Content-Length: 5\r\n",
    ] {
        assert_eq!(refused(&with(fields)), 400, "{fields:?}");
    }
    assert_eq!(refused("GET / HTTP/1.1\r\n Host: h\r\n\r\n"), 400);
    assert_eq!(refused("PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
}

#[test]
fn a_field_that_means_nothing_cannot_change_the_framing() {
    let long = format!("{}: x\r\n", "Transfer-Encoding".repeat(3));
    for fields in [
        "Content_Length: 5\r\n",
        "X-Content-Length: 5\r\n",
        "Transfer_Encoding: chunked\r\n",
        "Content-Len: 5\r\n",
        &long,
    ] {
        assert_eq!(good(&with(fields)).framing, Framing::None, "{fields:?}");
    }
}

#[test]
fn connections_persist_as_rfc_9112_says() {
    for (version, field, want) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: keep-alive, Close\r\n", false),
        ("1.1", "Connection: close\r\nConnection: keep-alive\r\n", false),
        ("1.1", "Connection: upgrade\r\n", true),
        ("1.1", "Connection: closed\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: x , keep-alive\r\n", true),
        ("1.0", "Connection: keep-alive\r\nConnection: close\r\n", false),
    ] {
        let text = format!("GET / HTTP/{version}\r\nHost: h\r\n{field}\r\n");
        assert_eq!(good(&text).keep_alive, want, "{text:?}");
    }
}

#[test]
fn only_http_1_1_expects() {
    for (version, value, want) in [
        ("1.1", "100-continue", Expect::Continue),
        ("1.1", "100-Continue", Expect::Continue),
        ("1.1", "200-ok", Expect::Unknown),
        ("1.1", "100-continue, x", Expect::Unknown),
        ("1.0", "100-continue", Expect::None),
        ("1.0", "x", Expect::None),
    ] {
        let text = format!("PUT /a HTTP/{version}\r\nHost: h\r\nExpect: {value}\r\n\r\n");
        assert_eq!(good(&text).expect, want, "{text:?}");
    }
}

#[test]
fn values_that_matter_are_utf_8() {
    for (name, status) in [("X-Other", None), ("Range", Some(400)), ("Accept", Some(400)), ("Connection", Some(400))] {
        let head = [b"GET / HTTP/1.1\r\nHost: h\r\n", name.as_bytes(), b": \xff\r\n\r\n"].concat();
        assert_eq!(parse(&head).err().map(HeadError::status), status, "{name}");
    }
    assert_eq!(parse(b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n").map_err(HeadError::status), Err(400));
}

// covers: many-fields
#[test]
fn fields_are_bounded() {
    let lines = |count: usize| with(&"X: y\r\n".repeat(count - 1));
    assert_eq!(good(&lines(FIELDS_MAX)).path, "/a");
    assert_eq!(refused(&lines(FIELDS_MAX + 1)), 431);
    assert_eq!(overlong(b"GET /aaaaaaaaaaa").status(), 414);
    assert_eq!(overlong(b"\r\nGET /aaaaaaaaaaa").status(), 414);
    assert_eq!(overlong(b"GET / HTTP/1.1\r\nX: aaaaa").status(), 431);
}

#[test]
fn http_is_recognized_by_its_first_line() {
    for line in ["GET / HTTP/1.1", "GET / HTTP/1.0\r\n", "GET / HTTP/1.1\r", "PUT /a b HTTP/1.1\n"] {
        assert!(looks_like_http(line.as_bytes()), "{line:?}");
    }
    for line in ["", "GET /a", "HTTP/1.1", "GET / HTTP/2.0", "PUT 5 /HTTP/1.1", "GET / HTTP/1.1 "] {
        assert!(!looks_like_http(line.as_bytes()), "{line:?}");
    }
}
