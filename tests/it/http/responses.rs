//! Corners of RFC 9110 and RFC 9112 that need more than a transcript.

use std::time::Duration;

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};
use filewharf::platform::Health;

use super::{Response, heard, server};
use support::rig::{Mode, Rig};

const GET: &str = "GET /f HTTP/1.1\r\nHost: x\r\n";

// covers: endless-head
#[test]
fn a_target_that_is_too_long_is_414_and_fields_that_are_too_long_are_431() {
    // RFC 9110 §15.5.15, RFC 6585 §5.
    let limits = Limits::default().with(|l| l.fixed.head_len_max = 512);
    for (says, code) in [
        (format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(600)), 414),
        (format!("GET /{}", "a".repeat(600)), 414),
        (format!("{GET}X: {}\r\n\r\n", "a".repeat(600)), 431),
        (format!("{GET}X: {}", "a".repeat(600)), 431),
        (format!("{GET}{}\r\n", "X: y\r\n".repeat(63)), 200),
        (format!("{GET}{}\r\n", "X: y\r\n".repeat(64)), 431),
    ] {
        let limits = if says.contains("X: y") { Limits::default() } else { limits.clone() };
        let mut rig = server(limits);
        let response = Response::new(&heard(&mut rig, &says));
        assert_eq!(response.code, code, "{}", &says[..40]);
        assert_eq!(response.field("Connection").is_some(), code != 200, "a head without an end is the last");
    }
}

#[test]
fn a_path_of_4096_bytes_is_taken_and_a_longer_one_is_414() {
    // RFC 9110 §15.5.15: the request line may be longer than the path.
    let component = format!("/{}", "a".repeat(200));
    let path = |len: usize| component.repeat(30)[..len].to_owned();
    for (target, code) in [
        (path(1025), 404),
        (path(4096), 404),
        (path(4097), 414),
        (format!("/f?{}", "q".repeat(7980)), 200),
        (format!("/{}", "a".repeat(7980)), 414),
        ("/a/..".repeat(1500) + "/f", 200),
    ] {
        let mut rig = server(Limits::default());
        let response = Response::new(&heard(&mut rig, format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")));
        assert_eq!(response.code, code, "{} bytes: {}", target.len(), response.body);
    }
    let mut rig = server(Limits::default());
    let put = format!("PUT {} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx", path(4096));
    assert_eq!(Response::new(&heard(&mut rig, put)).code, 201);
    assert_eq!(rig.file(&path(4096)[1..]), Some(b"x".to_vec()));
}

#[test]
fn every_response_has_a_date_and_exactly_one_length_or_none_by_its_status() {
    // RFC 9110 §6.6.1, §8.6; RFC 9112 §6.3.
    let mut rig = server(Limits::default());
    for (request, code) in [
        (format!("{GET}\r\n"), 200),
        (format!("{GET}Range: bytes=0-1\r\n\r\n"), 206),
        (format!("{GET}Range: bytes=0-0,2-2\r\n\r\n"), 206),
        (format!("{GET}Range: bytes=50-\r\n\r\n"), 416),
        (format!("{GET}If-None-Match: *\r\n\r\n"), 304),
        (format!("{GET}If-Match: \"x\"\r\n\r\n"), 412),
        ("GET /none HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 404),
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 200),
        ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 204),
        ("PUT /g HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".to_owned(), 201),
        ("PUT /g HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".to_owned(), 204),
        ("PUT /g HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 411),
        ("DELETE /g HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 204),
        ("POST /g HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 405),
        ("BREW /g HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 501),
        ("GET /g HTTP/3.0\r\nHost: x\r\n\r\n".to_owned(), 505),
    ] {
        let response = Response::new(&heard(&mut rig, &request));
        assert_eq!(response.code, code, "{request}");
        assert!(response.field("Date").is_some_and(|date| date.ends_with(" GMT")), "{}", response.head);
        let len = response.field("Content-Length").map(|len| len.parse::<usize>().expect("a number"));
        let wanted = if matches!(code, 204 | 304) { None } else { Some(response.body.len()) };
        assert_eq!(len, wanted, "{request}: {}", response.head);
        assert!(response.code < 400 || response.body.ends_with('\n'), "{request}: an error says why");
    }
}

#[test]
fn head_has_the_fields_of_get_and_no_content() {
    // RFC 9110 §9.3.2.
    let mut rig = server(Limits::default());
    rig.place("d/x.html", b"<p>");
    for (path, fields) in [
        ("/f", ""),
        ("/d/x.html", ""),
        ("/none", ""),
        ("/", ""),
        ("/", "Accept: application/json\r\n"),
        ("/f", "If-None-Match: *\r\n"),
        ("/f", "If-Match: \"x\"\r\n"),
        ("/.filewharf/health", ""),
        ("/%2e%2e/x", ""),
    ] {
        let get = heard(&mut rig, format!("GET {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
        let head = heard(&mut rig, format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
        assert_eq!(Response::new(&head).body, "", "{path}");
        assert_eq!(Response::new(&head).head, Response::new(&get).head, "{path}");
    }
}

#[test]
fn head_with_a_wish_for_a_digest_has_no_content_either() {
    // RFC 9110 §9.3.2: the next response must begin where the head ends.
    let mut rig = server(Limits::default());
    let wish = "HEAD /f HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nWant-Repr-Digest: sha-256=5\r\n\r\n";
    let text = heard(&mut rig, format!("{wish}{GET}\r\n"));
    assert_eq!(text.matches("0123456789").count(), 1, "{text}");
    assert!(Response::new(&text).body.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
}

#[test]
fn trailers_are_asked_for_by_their_whole_name_in_any_case() {
    // RFC 9110 §10.1.4.
    let mut rig = server(Limits::default());
    for (te, chunked) in
        [("trailers", true), ("Trailers", true), ("gzip;q=0.5, trailers", true), ("xtrailers", false), ("gzip", false)]
    {
        let text = heard(&mut rig, format!("{GET}TE: {te}\r\nWant-Repr-Digest: sha-256=1\r\n\r\n"));
        assert_eq!(Response::new(&text).field("Transfer-Encoding").is_some(), chunked, "TE: {te}");
    }
}

#[test]
fn the_page_of_a_directory_is_guarded_html() {
    let mut rig = server(Limits::default());
    rig.place("<b>&\"x", b"1");
    let page = Response::new(&heard(&mut rig, "GET / HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n"));
    assert_eq!(page.field("Content-Type"), Some("text/html; charset=utf-8"));
    assert_eq!(page.field("Vary"), Some("Accept"));
    assert!(page.field("Content-Security-Policy").is_some_and(|policy| policy.contains("default-src 'none'")));
    assert!(page.body.contains("&lt;b&gt;") && !page.body.contains("<b>&"), "names are escaped");
    assert!(page.body.contains("href=\"%3Cb%3E%26%22x\"") || page.body.contains("%3Cb%3E%26%22x"), "and linked");
}

#[test]
fn metrics_are_the_text_of_prometheus() {
    let mut rig = server(Limits::default());
    let metrics = Response::new(&heard(&mut rig, "GET /.filewharf/metrics HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_eq!(metrics.field("Content-Type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(metrics.field("Cache-Control"), Some("no-store"));
    assert_eq!(metrics.field("Transfer-Encoding"), Some("chunked"));
    let old = Response::new(&heard(&mut rig, "GET /.filewharf/metrics HTTP/1.0\r\n\r\n"));
    assert_eq!((old.field("Connection"), old.field("Transfer-Encoding")), (Some("close"), None));
    assert!(old.body.lines().all(|line| line.starts_with("# ") || line.starts_with("filewharf_")), "{}", old.body);
    let head = "HEAD /.filewharf/metrics HTTP/1.1\r\nHost: x\r\n\r\nGET /.filewharf/health HTTP/1.1\r\nHost: x\r\n\r\n";
    assert!(Response::new(&heard(&mut rig, head)).body.starts_with("HTTP/1.1 200 OK"));
}

// covers: expectations
#[test]
fn a_go_ahead_is_not_given_before_the_store_is_ready() {
    // RFC 9110 §10.1.1: the only slot is taken, so the second upload waits without its go-ahead.
    let limits = Limits::default().with(|l| l.fixed.slots = 1);
    let mut rig = server(limits);
    let upload =
        |name: &str| format!("PUT /{name} HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    let (first, second) = (rig.connect(), rig.connect());
    rig.send(&first, upload("a").as_bytes());
    rig.send(&second, upload("b").as_bytes());
    assert_eq!(first.heard(), b"HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(second.heard(), b"");
    rig.send(&first, b"abc");
    assert_eq!(second.heard(), b"HTTP/1.1 100 Continue\r\n\r\n");
    rig.send(&second, b"def");
    assert_eq!((rig.file("a"), rig.file("b")), (Some(b"abc".to_vec()), Some(b"def".to_vec())));
}

#[test]
fn a_request_without_a_slot_in_time_is_answered_429_and_when_to_come_back() {
    // RFC 6585 §4.
    let mut rig = server(Limits::default().with(|l| l.fixed.slots = 1));
    let first = rig.connect();
    rig.send(&first, b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n");
    let second = rig.connect();
    rig.send(&second, b"PUT /b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    rig.pass(Duration::from_secs(31));
    let told = Response::new(&String::from_utf8(second.heard()).expect("text"));
    assert_eq!((told.code, told.field("Retry-After")), (429, Some("1")));
}

// covers: too-many-connections
#[test]
fn what_a_crowded_server_says_is_a_whole_response() {
    let text = String::from_utf8(filewharf::dialect::http::TURNED_AWAY.to_vec()).expect("text");
    let told = Response::new(&text);
    assert_eq!((told.code, told.field("Connection")), (429, Some("close")));
    assert_eq!(told.field("Content-Length"), Some(told.body.len().to_string().as_str()));
}

#[test]
fn parts_of_several_ranges_add_up_to_the_length_that_is_said() {
    // RFC 9110 §14.6.
    let mut rig = server(Limits::default());
    let response = Response::new(&heard(&mut rig, format!("{GET}Range: bytes=9-9,0-0,4-6\r\n\r\n")));
    let boundary = response.field("Content-Type").and_then(|kind| kind.split_once("boundary=")).expect("a boundary").1;
    let parts: Vec<&str> = response.body.split(&format!("\r\n--{boundary}")).collect();
    let contents: Vec<&str> = parts[1..4].iter().map(|part| part.split_once("\r\n\r\n").expect("a head").1).collect();
    assert_eq!((contents, parts[4]), (vec!["9", "0", "456"], "--\r\n"));
    assert_eq!(response.field("Content-Length"), Some(response.body.len().to_string().as_str()));
}

#[test]
fn a_page_offers_changes_only_where_they_are_taken() {
    for (read_only, health, offered) in
        [(false, Health::Good, true), (true, Health::Good, false), (false, Health::Degraded, false)]
    {
        let listening = Listening::new(Kind::Http, &[], 0).expect("no options");
        let mut rig = Rig::speaking(listening, Mode::PLAIN, Limits::default(), Access::new(None, read_only));
        rig.ails(health);
        let page = Response::new(&heard(&mut rig, "GET / HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n"));
        assert_eq!(page.body.contains("<body data-may=\"rlcwd\""), offered, "read-only: {read_only}, {health:?}");
    }
}

/// RFC 9112 §9.6: a client that said that nothing follows need not be waited for. What follows all the same, unread
/// after a close, would turn the answer into a reset.
#[test]
fn a_client_that_said_that_nothing_follows_is_closed_with_the_reply() {
    for (kind, says, at_once) in [
        (Kind::Http, "GET /f HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", true),
        (Kind::Http, "GET /f HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nmore", false),
        (Kind::Http, "PUT /g HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc", false),
        (Kind::Line, "GET /f\nQUIT\n", false),
    ] {
        let listening = Listening::new(kind, &[], 0).expect("no options");
        let mut rig = Rig::speaking(listening, Mode::PLAIN, Limits::default(), Access::default());
        rig.place("f", b"0123456789");
        let peer = rig.connect();
        rig.send(&peer, says.as_bytes());
        assert!(peer.is_closed() && !peer.is_reset(), "{}", peer.heard().escape_ascii());
        assert_eq!(peer.is_gone(), at_once, "{says:?}");
    }
}
