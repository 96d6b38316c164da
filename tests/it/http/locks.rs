//! Locks of WebDAV: which writes they bind, in every dialect.

use std::time::Duration;

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};
use filewharf::platform::Signal;

use super::Response;
use crate::access::{http, rig as with_rules};
use support::rig::{Mode, Peer, Rig};

const EXCLUSIVE: &str = "<D:lockinfo xmlns:D=\"DAV:\"><D:lockscope><D:exclusive/></D:lockscope>\
    <D:locktype><D:write/></D:locktype><D:owner>me</D:owner></D:lockinfo>";

fn server() -> Rig {
    let listening = Listening::new(Kind::Auto, &[], 1_700_000_000).expect("no options");
    let mut rig = Rig::speaking(listening, Mode::PLAIN, Limits::default(), Access::default());
    rig.place("d/f", b"0123456789");
    rig.place("other", b"o");
    rig
}

fn ask(rig: &mut Rig, peer: &Peer, request: &str, fields: &str, body: &str) -> String {
    let before = peer.heard().len();
    let len = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    rig.send(peer, format!("{request} HTTP/1.1\r\nHost: x\r\n{len}{fields}\r\n{body}").as_bytes());
    String::from_utf8(peer.heard()[before..].to_vec()).expect("text")
}

fn code(rig: &mut Rig, request: &str, fields: &str, body: &str) -> u16 {
    let peer = rig.connect();
    Response::new(&ask(rig, &peer, request, fields, body)).code
}

/// Locks a name; the token as `If` and `Lock-Token` have it.
#[track_caller]
fn lock(rig: &mut Rig, name: &str, fields: &str) -> String {
    let peer = rig.connect();
    let heard = ask(rig, &peer, &format!("LOCK {name}"), fields, EXCLUSIVE);
    let response = Response::new(&heard);
    assert!(matches!(response.code, 200 | 201), "{heard}");
    response.field("Lock-Token").expect("a token").to_owned()
}

fn line(rig: &mut Rig, says: &str) -> String {
    let peer = rig.connect();
    rig.send(&peer, says.as_bytes());
    String::from_utf8(peer.heard()).expect("text")
}

#[test]
fn a_lock_refuses_every_write_without_its_token_and_none_with_it() {
    const WRITES: [(&str, &str, &str); 7] = [
        ("PUT /d/f", "", "new"),
        (
            "PROPPATCH /d/f",
            "",
            "<D:propertyupdate xmlns:D=\"DAV:\"><D:set><D:prop><D:lastmodified>7</D:lastmodified></D:prop></D:set></D:propertyupdate>",
        ),
        ("COPY /other", "Destination: /d/f\r\n", ""),
        ("MOVE /other", "Destination: /d/g\r\n", ""),
        ("MKCOL /d/new", "", ""),
        ("MOVE /d/f", "Destination: /moved\r\n", ""),
        ("DELETE /d/g", "", ""),
    ];
    let mut rig = server();
    let token = lock(&mut rig, "/d", "Timeout: Infinite\r\n");
    for (request, fields, body) in WRITES {
        assert_eq!(code(&mut rig, request, fields, body), 423, "{request}");
        let other = format!("{fields}If: (<opaquelocktoken:00000000-0000-0000-0000-000000000000>)\r\n");
        assert_eq!(code(&mut rig, request, &other, body), 412, "{request}");
        let own = format!("{fields}If: </d> ({token})\r\n");
        assert!(matches!(code(&mut rig, request, &own, body), 201 | 204 | 207), "{request}");
    }
    assert_eq!(code(&mut rig, "GET /d/new/", "Accept: application/json\r\n", ""), 200, "a lock is for writes");
    assert_eq!(code(&mut rig, "DELETE /d", "", ""), 423);
    assert_eq!(code(&mut rig, "DELETE /d", &format!("If: ({token})\r\n"), ""), 204);
    // The lock has ended with what it was for.
    assert_eq!(code(&mut rig, "MKCOL /d", "", ""), 201);
    assert_eq!(code(&mut rig, "PUT /d/f", "", "new"), 201);
}

#[test]
fn a_lock_binds_the_line_protocol_and_uploads_in_parts() {
    let mut rig = server();
    let token = lock(&mut rig, "/d/f", "");
    let refused = "ERR 423 a WebDAV client has locked this";
    for request in [
        "PUT 3 /d/f\nabc",
        "PUT 3 resume=t /d/f\nabc",
        "DELETE /d/f\n",
        "DELETE recursive=1 /d\n",
        "RENAME /d/f\t/g\n",
        "RENAME /d\t/e\n",
        "RENAME /other\t/d/f\n",
        "COPY /other\t/d/f\n",
        "TIME mtime=7 /d/f\n",
    ] {
        assert!(line(&mut rig, request).starts_with(refused), "{request}: {}", line(&mut rig, request));
    }
    assert_eq!(rig.file("d/f").as_deref(), Some(&b"0123456789"[..]));
    assert!(line(&mut rig, "GET /d/f\nCOPY /d/f\t/copy\nPUT 1 /d/g\nx").ends_with("stored=durable\n"));
    assert_eq!(code(&mut rig, "UNLOCK /d/f", &format!("Lock-Token: {token}\r\n"), ""), 204);
    assert!(line(&mut rig, "DELETE recursive=1 /d\n").starts_with("OK"));
    assert_eq!(rig.open_files(), 0);
}

#[test]
fn an_upload_that_began_before_a_lock_is_refused_when_it_would_get_its_name() {
    for large in [false, true] {
        let limits = Limits::default().with(|l| {
            if large {
                l.fixed.chunk_bytes = 16;
            }
        });
        let listening = Listening::new(Kind::Auto, &[], 1_700_000_000).expect("no options");
        let mut rig = Rig::speaking(listening, Mode::PLAIN, limits, Access::default());
        rig.place("f", b"old");
        let [plain, parts] = [rig.connect(), rig.connect()];
        rig.send(&plain, format!("PUT 100 /f\n{}", "x".repeat(50)).as_bytes());
        rig.send(&parts, format!("PUT 100 resume=t /f\n{}", "x".repeat(50)).as_bytes());
        lock(&mut rig, "/f", "");
        for peer in [&plain, &parts] {
            rig.send(peer, "x".repeat(50).as_bytes());
            let heard = String::from_utf8(peer.heard()).expect("text");
            assert!(heard.contains("ERR 423 a WebDAV client has locked this"), "{heard}");
        }
        assert_eq!((rig.file("f").as_deref(), rig.open_files()), (Some(&b"old"[..]), 0));
    }
}

#[test]
fn a_lock_ends_with_its_time_which_can_be_renewed() {
    let mut rig = server();
    let token = lock(&mut rig, "/other", "Timeout: Second-100\r\n");
    rig.pass_on_wall(Duration::from_secs(60));
    assert_eq!(code(&mut rig, "LOCK /other", "", ""), 400);
    assert_eq!(code(&mut rig, "LOCK /other", &format!("If: ({token})\r\nTimeout: Second-100\r\n"), ""), 200);
    rig.pass_on_wall(Duration::from_secs(90));
    assert_eq!(code(&mut rig, "PUT /other", "", "x"), 423);
    assert_eq!(code(&mut rig, "LOCK /other", "", EXCLUSIVE), 423);
    rig.pass_on_wall(Duration::from_secs(20));
    assert_eq!(code(&mut rig, "PUT /other", "", "x"), 204);
    assert_eq!(code(&mut rig, "UNLOCK /other", &format!("Lock-Token: {token}\r\n"), ""), 409);
}

#[test]
fn a_lock_of_a_name_that_nothing_has_makes_an_empty_file() {
    let mut rig = server();
    let peer = rig.connect();
    let heard = ask(&mut rig, &peer, "LOCK /new", "Depth: 0\r\n", EXCLUSIVE);
    let response = Response::new(&heard);
    let timeout = "<D:timeout>Second-3600</D:timeout>";
    assert!(response.code == 201 && heard.contains(timeout) && heard.contains(">me</D:owner>"), "{heard}");
    assert_eq!(rig.file("new").as_deref(), Some(&b""[..]));
    assert_eq!(code(&mut rig, "LOCK /no/new", "", EXCLUSIVE), 409);
    let found = ask(
        &mut rig,
        &peer,
        "PROPFIND /new",
        "Depth: 0\r\n",
        "<D:propfind xmlns:D=\"DAV:\"><D:prop><D:lockdiscovery/><D:supportedlock/></D:prop></D:propfind>",
    );
    assert!(found.contains(response.field("Lock-Token").expect("a token").trim_matches(['<', '>'])), "{found}");
    assert!(
        found.contains("<D:lockroot><D:href>/new</D:href></D:lockroot>") && found.contains("<D:shared/>"),
        "{found}"
    );
}

#[test]
fn a_lock_that_was_not_granted_is_not_kept_for_the_next_process() {
    let mut rig = server();
    lock(&mut rig, "/other", "");
    rig.fails_syncs();
    assert_eq!(code(&mut rig, "LOCK /new", "", EXCLUSIVE), 500);
    assert_eq!(rig.locks_kept(), ["other"]);
}

#[test]
fn conditions_of_versions_hold_with_those_of_locks() {
    let mut rig = server();
    let token = lock(&mut rig, "/other", "");
    let peer = rig.connect();
    let head = ask(&mut rig, &peer, "HEAD /other", "", "");
    let etag = Response::new(&head).field("ETag").expect("a version").to_owned();
    let put = |rig: &mut Rig, field: &str| code(rig, "PUT /other", &format!("If: {field}\r\n"), "x");
    assert_eq!(put(&mut rig, &format!("({token} [\"0\"])")), 412);
    assert_eq!(put(&mut rig, &format!("({token} [{etag}]) (Not <DAV:no-lock> [\"0\"])")), 204);
    assert_eq!(put(&mut rig, &format!("({token} [{etag}])")), 412, "it is another version now");
    assert_eq!(put(&mut rig, "(<DAV:no-lock>)"), 412);
    assert_eq!(put(&mut rig, "(Not <DAV:no-lock>)"), 423, "no token was shown");
    assert_eq!(put(&mut rig, "no list"), 400);
    assert_eq!(code(&mut rig, "PUT /free", &format!("If: </other> ({token})\r\n"), "x"), 201);
}

#[test]
fn a_lock_needs_the_right_to_write_and_its_token_the_same_user() {
    let mut rig = with_rules(
        Kind::Http,
        "allow anna rlcw /d\nallow bob rlcw /d\nallow bob r /r\nallow anna c /box\nallow anna rlc /c\n",
    );
    for path in ["d/f", "r/f", "box/f", "c/f"] {
        rig.place(path, b"1");
    }
    let ask = |rig: &mut Rig, name: &str, request: &str, fields: &str, body: &str| {
        http(rig, name, request, &format!("{fields}Content-Length: {}\r\n", body.len()), body)
    };
    for (name, path, wanted) in [
        ("anna", "/d/f", 200),
        ("", "/d/f", 401),
        ("bob", "/r/f", 403),
        ("anna", "/box/f", 403),
        ("anna", "/c/f", 403),
        ("anna", "/c/new", 201),
    ] {
        assert_eq!(ask(&mut rig, name, &format!("LOCK {path}"), "", EXCLUSIVE).0, wanted, "{name} {path}");
    }
    let heard = ask(&mut rig, "anna", "LOCK /d/g", "", EXCLUSIVE).1;
    let token = Response::new(&heard).field("Lock-Token").expect("a token").to_owned();
    let own = format!("If: ({token})\r\n");
    assert_eq!(ask(&mut rig, "bob", "PUT /d/g", &own, "x").0, 423);
    assert_eq!(ask(&mut rig, "bob", "UNLOCK /d/g", &format!("Lock-Token: {token}\r\n"), "").0, 403);
    assert_eq!(ask(&mut rig, "anna", "PUT /d/g", &own, "x").0, 204);
}

#[test]
fn a_lock_binds_writes_of_a_process_that_hands_over_until_the_token_is_shown() {
    for (shows, wanted) in [(false, "ERR 423 "), (true, "HTTP/1.1 204 ")] {
        let mut rig = server();
        let token = lock(&mut rig, "/d/f", "");
        let begun = rig.connect();
        let head = if shows {
            format!("PUT /d/f HTTP/1.1\r\nHost: x\r\nIf: ({token})\r\nContent-Length: 3\r\n\r\n")
        } else {
            "PUT 3 /d/f\n".to_owned()
        };
        rig.send(&begun, head.as_bytes());
        rig.signal(Signal::HandOver);
        rig.send(&begun, b"new");
        let heard = String::from_utf8(begun.heard()).expect("text");
        assert!(heard.contains(wanted), "{heard}");
        assert_eq!(rig.file("d/f").as_deref(), Some(if shows { &b"new"[..] } else { b"0123456789" }), "{heard}");
    }
}
