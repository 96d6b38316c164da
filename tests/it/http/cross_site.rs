//! What pages of other sites can do from a browser: names that are made to lead here (DNS rebinding), and
//! requests across sites.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use filewharf::access::{Access, file};
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};
use tempfile::TempDir;

use super::{Response, heard};
use crate::program;
use support::rig::{Mode, Rig};
use support::server::Program;

/// A server with these options, on a listener that knows the machine as `box`.
fn restricted(options: &[(&str, &str)]) -> Rig {
    restricted_with(options, Access::default())
}

fn restricted_with(options: &[(&str, &str)], access: Access) -> Rig {
    let options: Vec<_> = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut listening = Listening::new(Kind::Http, &options, 0).expect("good options");
    listening.restrict_hosts("box");
    let mut rig = Rig::speaking(listening, Mode::PLAIN, Limits::default(), access);
    rig.place("f", b"0123456789");
    rig
}

#[test]
fn a_request_for_a_foreign_host_is_misdirected_and_changes_nothing() {
    let mut rig = restricted(&[]);
    for request in [
        "GET /f HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: evil.example:7070\r\nAccept: text/html\r\n\r\n",
        "GET http://evil.example/f HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /.filewharf/metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "PUT /g HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 1\r\n\r\nx",
        "DELETE /f HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "OPTIONS /f HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "POST /f HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 1\r\n\r\nx",
    ] {
        // A head that is kept because it came before must be judged as the first.
        for _ in 0..4 {
            let response = Response::new(&heard(&mut rig, request));
            assert_eq!(response.code, 421, "{request}");
            assert!(response.body.contains("--allow-host NAME"), "{}", response.body);
        }
    }
    assert_eq!((rig.file("f").is_some(), rig.file("g")), (true, None));
    // Load balancers ask for any host, and learn one word.
    let health = heard(&mut rig, "GET /.filewharf/health HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    assert_eq!(Response::new(&health).body, "ok\n");
}

#[test]
fn names_of_this_machine_and_those_that_are_allowed_are_answered() {
    for host in
        ["Host: localhost:7070\r\n", "Host: 127.0.0.1\r\n", "Host: [::1]:7070\r\n", "Host: BOX\r\n", "Host:\r\n"]
    {
        let mut rig = restricted(&[]);
        for _ in 0..3 {
            assert_eq!(Response::new(&heard(&mut rig, format!("GET /f HTTP/1.1\r\n{host}\r\n"))).code, 200, "{host}");
        }
    }
    assert_eq!(Response::new(&heard(&mut restricted(&[]), "GET /f HTTP/1.0\r\n\r\n")).code, 200);
    let put = "PUT /g HTTP/1.1\r\nHost: files.example\r\nContent-Length: 1\r\n\r\nx";
    for (names, code) in [(&["files.example"][..], 201), (&["a", "files.example"], 201), (&["*"], 201), (&["a"], 421)] {
        let options: Vec<_> = names.iter().map(|name| ("allow-host", *name)).collect();
        assert_eq!(Response::new(&heard(&mut restricted(&options), put)).code, code, "{names:?}");
    }
}

#[test]
fn a_page_of_another_site_changes_nothing_unless_it_is_let_in() {
    const SITE: &str = "Sec-Fetch-Site: cross-site\r\nOrigin: https://a.example\r\n";
    for (cors, fields, put, delete) in [
        (None, SITE, 403, 403),
        (Some("https://b.example"), SITE, 403, 403),
        (Some("https://a.example"), SITE, 201, 204),
        (Some("*"), SITE, 201, 204),
        (None, "Sec-Fetch-Site: same-origin\r\n", 201, 204),
        (None, "Sec-Fetch-Site: none\r\n", 201, 204),
        (None, "", 201, 204),
        // Over plain HTTP browsers send the origin only.
        (None, "Origin: http://a.example\r\n", 403, 403),
        (None, "Origin: http://localhost.a.example\r\n", 403, 403),
        (None, "Origin: http://a.localhost\r\n", 403, 403),
        (None, "Origin: http://localhost@a.example\r\n", 403, 403),
        (None, "Origin: null\r\n", 403, 403),
        (None, "Origin: \r\n", 403, 403),
        (None, "Origin: http://\r\n", 403, 403),
        (None, "Origin: http://[::1]:80\r\n", 403, 403),
        (Some("http://a.example"), "Origin: http://a.example\r\n", 201, 204),
        (Some("*"), "Origin: null\r\n", 201, 204),
        (None, "Origin: http://LOCALHOST:3000\r\n", 201, 204),
        (None, "Sec-Fetch-Site: same-origin\r\nOrigin: http://public.example\r\n", 201, 204),
    ] {
        let options: Vec<_> = cors.iter().map(|origin| ("cors", *origin)).collect();
        let mut rig = restricted(&options);
        let request = |what: &str| format!("{what} HTTP/1.1\r\nHost: localhost\r\n{fields}");
        let stored = heard(&mut rig, request("PUT /g") + "Content-Length: 1\r\n\r\nx");
        assert_eq!(Response::new(&stored).code, put, "{cors:?} {fields}");
        assert_eq!(rig.file("g").is_some(), put == 201);
        let deleted = heard(&mut rig, request("DELETE /f") + "\r\n");
        assert_eq!(Response::new(&deleted).code, delete, "{cors:?} {fields}");
        assert_eq!(rig.file("f").is_none(), delete == 204);
        rig.place("f", b"x");
        assert_eq!(Response::new(&heard(&mut rig, request("GET /f") + "\r\n")).code, 200, "reading is not writing");
    }
}

#[test]
fn no_other_site_may_embed_what_is_here_or_show_it_in_a_frame() {
    for (cors, policy) in [(None, Some("same-origin")), (Some("*"), None), (Some("https://a.example"), None)] {
        let options: Vec<_> = cors.iter().map(|origin| ("cors", *origin)).collect();
        let mut rig = restricted(&options);
        for (request, frames) in [("GET /f", true), ("HEAD /f", true), ("GET /none", false), ("GET /", false)] {
            let request = format!("{request} HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n");
            let response = Response::new(&heard(&mut rig, &request));
            assert_eq!(response.field("Cross-Origin-Resource-Policy"), policy, "{request}");
            let in_frames = response.field("X-Frame-Options") == Some("SAMEORIGIN")
                || response.field("Content-Security-Policy").is_some_and(|csp| csp.contains("frame-ancestors 'none'"));
            assert!(!frames || in_frames, "{request}: {}", response.head);
        }
    }
}

/// The status of a GET of `/` for this host.
fn status(server: &Program, host: &str, more: &str) -> u16 {
    let mut stream = TcpStream::connect(server.address()).expect("a connection");
    write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n").expect("a request");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("a response");
    Response::new(&text).code
}

#[test]
fn rules_ask_for_a_host_where_they_permit_something_to_anybody() {
    let named = format!("token ci sha256:{}\nallow ci r /\n", "0".repeat(64));
    for (rules, code) in [(named.clone(), 401), (format!("{named}allow @ r /public/\n"), 421)] {
        let rules = file::parse(&rules).expect("good rules");
        let mut rig = restricted_with(&[], Access::with_rules(Arc::new(rules), false));
        let response = Response::new(&heard(&mut rig, "GET /f HTTP/1.1\r\nHost: evil.example\r\n\r\n"));
        assert_eq!(response.code, code, "{}", response.body);
    }
}

#[test]
fn the_program_asks_for_a_host_only_on_loopback_without_a_secret() {
    let dir = TempDir::new().expect("a folder");
    let token = dir.path().join("token");
    std::fs::write(&token, "a long enough secret\n").expect("a file");
    let token = token.to_str().expect("UTF-8");
    let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "localhost".to_owned());
    for (options, host, more, code) in [
        (&[][..], "evil.example", "", 421),
        (&[], "localhost:1", "", 200),
        (&[], own.trim(), "", 200),
        (&["--allow-host", "files.example", "--allow-host", "b"], "files.example", "", 200),
        (&["--allow-host", "files.example", "--allow-host", "b"], "evil.example", "", 421),
        (&["--allow-host", "*"], "evil.example", "", 200),
        (&["--token-file", token], "evil.example", "Authorization: Bearer a long enough secret\r\n", 200),
    ] {
        let server = program::start(&dir.path().join("files"), options);
        assert_eq!(status(&server, host, more), code, "{options:?} {host}");
        server.end();
    }
}
