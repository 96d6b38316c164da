//! Rules that change while requests run, and proofs that end.

use filewharf::config::Limits;
use filewharf::dialect::Kind;
use sha2::{Digest as _, Sha256};

use crate::access::{TOKEN, http, line, rig, rig_with, rules};
use support::rig::Rig;

fn allow(allows: &str) -> filewharf::access::Rules {
    rules(&["anna", "bob", "ci"], allows)
}

/// Begins an upload of ten bytes, changes the rules in the middle of it, and ends it.
fn upload_across(kind: Kind, before: &str, after: &str, chunked: bool) -> (String, Rig) {
    let mut rig = rig(kind, before);
    let peer = rig.connect();
    let head = match (kind, chunked) {
        (Kind::Line, false) => format!("AUTH anna{TOKEN}\nPUT 10 /a/f\n"),
        (Kind::Line, true) => format!("AUTH anna{TOKEN}\nPUT * /a/f\n5\n"),
        (_, false) => {
            format!("PUT /a/f HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer anna{TOKEN}\r\nContent-Length: 10\r\n\r\n")
        }
        (_, true) => format!(
            "PUT /a/f HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer anna{TOKEN}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n"
        ),
    };
    rig.send(&peer, format!("{head}01234").as_bytes());
    rig.replace_rules(allow(after));
    let rest = match (kind, chunked) {
        (_, false) => "56789",
        (Kind::Line, true) => "5\n567890\n",
        (_, true) => "\r\n5\r\n56789\r\n0\r\n\r\n",
    };
    rig.send(&peer, rest.as_bytes());
    let heard = String::from_utf8_lossy(&peer.heard()).into_owned();
    rig.finish(&peer);
    assert_eq!(rig.open_files(), 0, "no staging file is left");
    let last = heard.strip_prefix("OK 0\n").unwrap_or(&heard);
    (last.split("\r\n").next().unwrap_or_default().split(' ').take(2).collect::<Vec<_>>().join(" "), rig)
}

#[test]
fn an_upload_is_refused_and_leaves_nothing_if_its_rule_was_removed_meanwhile() {
    for kind in [Kind::Line, Kind::Http] {
        let (done, refused, unmet) = match kind {
            Kind::Line => ("OK 0", "ERR 403", "ERR 412"),
            _ => ("HTTP/1.1 201", "HTTP/1.1 403", "HTTP/1.1 412"),
        };
        for chunked in [false, true] {
            for (before, after, want) in [
                ("allow anna cw /a", "allow anna cw /a", done),
                ("allow anna cw /a", "allow anna rl /a", refused),
                ("allow anna cw /a", "", refused),
                ("allow anna cw /a", "allow anna cw /a\nallow bob cw /a/f", refused),
                ("allow anna cw /a", "allow anna w /a", unmet),
                ("allow anna cw /a", "allow anna cr /a", done),
                ("allow anna cw /", "allow @ cw /", done),
            ] {
                let (told, mut rig) = upload_across(kind, before, after, chunked);
                assert_eq!(told.trim_end_matches('\n'), want, "{kind:?} {before} -> {after}");
                assert_eq!(rig.file("a/f").is_some(), want == done, "{kind:?} {before} -> {after}");
                assert_eq!(rig.names().len(), usize::from(want == done));
            }
        }
    }
}

#[test]
fn an_upload_is_refused_if_its_token_was_removed_and_stored_if_it_expired() {
    let token = crate::access::entries(&["anna"], "");
    let expired = format!("{} expires=2023-11-01\nallow anna cw /\n", token.trim_end());
    for (after, is_stored) in [
        (expired, true),
        (crate::access::entries(&["bob"], "allow bob cw /"), false),
        // Also where anybody may store, perhaps less.
        (crate::access::entries(&["bob"], "allow @ cw /"), false),
    ] {
        let mut rig = rig(Kind::Line, "allow anna cw /");
        let peer = rig.connect();
        rig.send(&peer, format!("AUTH anna{TOKEN}\nPUT 4 /f\nab").as_bytes());
        rig.replace_rules(filewharf::access::file::parse(&after).expect("rules"));
        rig.send(&peer, b"cdPUT 0 /g\n");
        let heard = String::from_utf8_lossy(&peer.heard()).into_owned();
        assert_eq!(rig.file("f").is_some(), is_stored, "{after}: {heard}");
        // The next request needs a token that is valid now.
        assert!(rig.file("g").is_none() && heard.contains("ERR 401 "), "{after}: {heard}");
        rig.send(&peer, format!("AUTH anna{TOKEN}\n").as_bytes());
        assert_eq!(rig.names().len(), usize::from(is_stored));
        assert!(peer.is_closed(), "a wrong secret ends the connection");
    }
}

const TUS: &str = "Tus-Resumable: 1.0.0\r\n";
const DRAFT: &str = "Upload-Draft-Interop-Version: 8\r\n";

/// Makes an upload: its id.
fn made(rig: &mut Rig, name: &str, path: &str, fields: &str) -> String {
    let (status, heard) = http(rig, name, &format!("POST {path}"), fields, "");
    assert_eq!(status, 201, "{heard}");
    heard.split("uploads/").nth(1).and_then(|rest| rest.get(..32)).expect("an id").to_owned()
}

#[test]
fn the_size_that_a_rule_permits_bounds_uploads_that_announce_their_length_later() {
    let rules = "allow @ c /drop max-size=4\nallow anna cw /a max-size=4\nallow bob cw /a\n";
    let unknown = format!("{TUS}Upload-Defer-Length: 1\r\n");
    let draft = format!("{DRAFT}Upload-Complete: ?0\r\nContent-Length: 0\r\n");
    for (name, path) in [("", "/drop/f"), ("anna", "/a/f")] {
        for len in [4, 5] {
            let mut rig = rig(Kind::Http, rules);
            let (body, status) = (&"fives"[..len], if len == 4 { 204 } else { 413 });
            let id = made(&mut rig, name, path, &unknown);
            let kind = "Content-Type: application/offset+octet-stream\r\n";
            let fields = format!("{TUS}{kind}Upload-Offset: 0\r\nUpload-Length: {len}\r\nContent-Length: {len}\r\n");
            assert_eq!(http(&mut rig, name, &format!("PATCH /.filewharf/uploads/{id}"), &fields, body).0, status);
            assert_eq!(rig.names().len(), usize::from(len == 4), "{path} {len}");
            let id = made(&mut rig, name, &format!("{path}2"), &draft);
            let kind = "Content-Type: application/partial-upload\r\n";
            let length = format!("Upload-Length: {len}\r\nContent-Length: {len}\r\n");
            let fields = format!("{DRAFT}{kind}Upload-Offset: 0\r\nUpload-Complete: ?1\r\n{length}");
            let told = http(&mut rig, name, &format!("PATCH /.filewharf/uploads/{id}"), &fields, body).0;
            assert!(if len == 4 { (200..300).contains(&told) } else { told == 413 }, "{path} {len}: {told}");
            assert_eq!(rig.names().len(), 2 * usize::from(len == 4), "{path} {len}");
        }
    }
    // One that was made by a rule without a bound is not ended by a caller with another, and continues for its own.
    let mut rig = rig(Kind::Http, rules);
    let id = made(&mut rig, "bob", "/a/f", &format!("{TUS}Upload-Length: 5\r\n"));
    assert_eq!(tus(&mut rig, "anna", "PATCH", &id, 0, "fives"), 413);
    assert!(rig.names().is_empty());
    assert_eq!(tus(&mut rig, "bob", "PATCH", &id, 0, "fives"), 204);
    assert_eq!(rig.file("a/f").as_deref(), Some(&b"fives"[..]));
}

fn tus(rig: &mut Rig, name: &str, method: &str, id: &str, at: usize, body: &str) -> u16 {
    let more = match method {
        "PATCH" => format!(
            "Content-Type: application/offset+octet-stream\r\nUpload-Offset: {at}\r\nContent-Length: {}\r\n",
            body.len()
        ),
        _ => String::new(),
    };
    http(rig, name, &format!("{method} /.filewharf/uploads/{id}"), &format!("{TUS}{more}"), body).0
}

#[test]
fn every_request_about_a_resumable_upload_needs_the_rights_at_its_name() {
    let mut rig = rig(Kind::Http, "allow anna cw /a\nallow bob rlcwd /b\nallow @ rl /");
    let fields = format!("{TUS}Upload-Length: 6\r\n");
    assert_eq!(http(&mut rig, "bob", "POST /a/f", &fields, "").0, 403);
    assert_eq!(http(&mut rig, "", "POST /a/f", &fields, "").0, 401);
    let id = made(&mut rig, "anna", "/a/f", &fields);
    for (name, refused) in [("bob", 403), ("", 401), ("ci", 403)] {
        for method in ["PATCH", "HEAD", "GET", "DELETE"] {
            let body = if method == "PATCH" { "xx" } else { "" };
            // A client that asks where to continue gets no answer that it would take for the end of the upload.
            let refused = if (name, method) == ("", "HEAD") { 0 } else { refused };
            assert_eq!(tus(&mut rig, name, method, &id, 0, body), refused, "{name} {method}");
        }
    }
    assert_eq!(tus(&mut rig, "anna", "PATCH", &id, 0, "ab"), 204);
    // The rule is gone, and comes back: the upload was kept.
    rig.replace_rules(allow("allow anna rl /a\nallow bob rlcwd /b"));
    for method in ["PATCH", "HEAD", "DELETE"] {
        assert_eq!(tus(&mut rig, "anna", method, &id, 2, if method == "PATCH" { "cd" } else { "" }), 403, "{method}");
    }
    rig.replace_rules(allow("allow anna c /a\nallow @ r /a\nallow bob rlcwd /b"));
    assert_eq!(tus(&mut rig, "anna", "PATCH", &id, 2, "cd"), 204);
    // Another client stores a file of that name meanwhile: it may not be replaced.
    rig.place("a/f", b"of another");
    assert_eq!(tus(&mut rig, "anna", "PATCH", &id, 4, "ef"), 412);
    assert_eq!(rig.file("a/f").as_deref(), Some(&b"of another"[..]));
}

#[test]
fn the_last_part_of_a_resumable_upload_is_refused_when_the_rule_went_while_it_came() {
    let mut rig = rig(Kind::Http, "allow anna cw /a");
    let id = made(&mut rig, "anna", "/a/f", &format!("{TUS}Upload-Length: 6\r\n"));
    let peer = rig.connect();
    let head = format!(
        "PATCH /.filewharf/uploads/{id} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer anna{TOKEN}\r\n{TUS}\
         Content-Type: application/offset+octet-stream\r\nUpload-Offset: 0\r\nContent-Length: 6\r\n\r\nabc"
    );
    rig.send(&peer, head.as_bytes());
    rig.replace_rules(allow("allow bob cw /a"));
    rig.send(&peer, b"def");
    let heard = String::from_utf8_lossy(&peer.heard()).into_owned();
    assert!(heard.contains("HTTP/1.1 403 "), "{heard}");
    assert!(rig.names().is_empty());
    rig.replace_rules(allow("allow anna cw /a"));
    assert_eq!(tus(&mut rig, "anna", "HEAD", &id, 0, ""), 404, "nothing of it stays");
}

#[test]
fn a_resumable_upload_into_a_drop_box_continues_under_its_own_name() {
    let limits = Limits::default().with(|limits| limits.live.upload_sync_bytes = 1);
    let mut rig = rig_with(Kind::Line, "allow ci c /drop", limits);
    rig.place("drop/f.txt", b"there");
    for round in 0..2 {
        let (first, rest) = line(&mut rig, "ci", "PUT 6 resume=token-of-the-client /drop/f.txt\nabcdef");
        assert!(first.starts_with("GO "), "{round}: {first} {rest}");
        let dropped: Vec<_> = rig.names().into_iter().filter(|name| name.starts_with("drop/f-")).collect();
        assert!(dropped.len() == 1 && dropped[0].ends_with(".txt"), "{dropped:?}");
    }
    assert_eq!(rig.file("drop/f.txt").as_deref(), Some(&b"there"[..]));
    // A client that missed the answer and sends the digest learns that its file is there; other clients learn nothing.
    let digest: String = Sha256::digest("ghijkl").iter().map(|byte| format!("{byte:02x}")).collect();
    let ask = |token: &str| format!("PUT 6 resume={token} sha256={digest} /drop/g.txt\n");
    let (first, rest) = line(&mut rig, "ci", &(ask("another-token") + "ghijkl"));
    assert!(first.starts_with("GO 0") && rest.starts_with("OK "), "{first} {rest}");
    let (first, rest) = line(&mut rig, "ci", &ask("another-token"));
    assert!(first == "GO 6" && rest.starts_with("OK 0 "), "{first} {rest}");
    assert!(line(&mut rig, "ci", &ask("a-third-token")).0.starts_with("GO 0"));
    let (first, _) = line(&mut rig, "ci", "STAT resume=token-of-the-client /drop/f.txt\n");
    assert!(!first.contains("ERR 403"), "{first}");
}
