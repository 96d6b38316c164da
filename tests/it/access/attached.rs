//! A caller that may not store under the name of an upload does not end the connection that sends to it, though it knows
//! the id: not while that connection is attached, not while it is opening the upload, and not while all slots are taken.

use std::sync::Arc;

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};

use support::rig::{Mode, Peer, Rig};

use super::{TOKEN, rules};

const RULES: &str = "allow anna cw /a\nallow anna cw /b\nallow bob cw /b\nallow bob cw /a/bob";
const METHODS: [&str; 3] = ["PATCH", "HEAD", "DELETE"];

/// Where the disk lags, an upload keeps its slot.
fn rig(slots: usize) -> (Rig, String) {
    let limits = Limits::default().with(|limits| limits.fixed.slots = slots);
    let access = Access::with_rules(Arc::new(rules(&["anna", "bob", "ci"], RULES)), false);
    let mode = Mode { deferred: true, lags: slots == 1, ..Mode::PLAIN };
    let mut rig = Rig::speaking(Listening::new(Kind::Http, &[], 0).expect("no options"), mode, limits, access);
    let peer = rig.connect();
    rig.send(&peer, request("anna", "POST", "/a/f", "Upload-Length: 6\r\n").as_bytes());
    let heard = text(&peer);
    let id = heard.split("uploads/").nth(1).and_then(|rest| rest.get(..32)).expect("an id").to_owned();
    (rig, id)
}

fn request(name: &str, method: &str, path: &str, more: &str) -> String {
    let proof = format!("Authorization: Bearer {name}{TOKEN}\r\nTus-Resumable: 1.0.0\r\n");
    format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{proof}{more}\r\n")
}

/// A request about the upload; that to continue announces six bytes.
fn about(name: &str, method: &str, id: &str) -> String {
    let content = "Content-Type: application/offset+octet-stream\r\nUpload-Offset: 0\r\nContent-Length: 6\r\n";
    request(name, method, &format!("/.filewharf/uploads/{id}"), if method == "PATCH" { content } else { "" })
}

fn text(peer: &Peer) -> String {
    String::from_utf8_lossy(&peer.heard()).into_owned()
}

fn asks(rig: &mut Rig, name: &str, method: &str, id: &str) -> Peer {
    let peer = rig.connect();
    rig.send(&peer, about(name, method, id).as_bytes());
    peer
}

fn assert_stores(rig: &mut Rig, sender: &Peer, rest: &[u8]) {
    assert_eq!(text(sender), "", "it was disturbed");
    rig.send(sender, rest);
    assert!(text(sender).starts_with("HTTP/1.1 204 "), "{}", text(sender));
    assert_eq!(rig.file("a/f").as_deref(), Some(&b"abcdef"[..]));
}

#[test]
fn a_connection_that_sends_is_not_disturbed_by_a_caller_without_the_right() {
    for method in METHODS {
        let (mut rig, id) = rig(8);
        let sender = asks(&mut rig, "anna", "PATCH", &id);
        rig.send(&sender, b"abc");
        for name in ["bob", "ci"] {
            let refused = asks(&mut rig, name, method, &id);
            assert!(text(&refused).starts_with("HTTP/1.1 403 "), "{method}: {}", text(&refused));
        }
        assert_stores(&mut rig, &sender, b"def");
    }
}

#[test]
fn a_connection_that_opens_its_upload_is_not_disturbed_by_a_caller_without_the_right() {
    for method in METHODS {
        let (mut rig, id) = rig(8);
        rig.hold_completions(true);
        let sender = asks(&mut rig, "anna", "PATCH", &id);
        let refused = ["bob", "ci", "bob"].map(|name| asks(&mut rig, name, method, &id));
        assert!(refused.iter().all(|refused| text(refused).is_empty()), "{method}");
        rig.hold_completions(false);
        for refused in refused {
            assert!(text(&refused).starts_with("HTTP/1.1 403 "), "{method}: {}", text(&refused));
        }
        assert_stores(&mut rig, &sender, b"abcdef");
    }
}

#[test]
fn a_request_that_waits_for_a_slot_ends_no_connection_if_its_caller_lacks_the_right() {
    let (mut rig, id) = rig(1);
    let sender = asks(&mut rig, "anna", "PATCH", &id);
    rig.send(&sender, b"abc");
    let _waits = asks(&mut rig, "bob", "PATCH", &id);
    assert_stores(&mut rig, &sender, b"def");
}

#[test]
fn one_with_the_right_takes_over_between_others_without() {
    for (held, slots) in [(false, 8), (true, 8), (false, 1)] {
        let (mut rig, id) = rig(slots);
        rig.hold_completions(held);
        let sender = asks(&mut rig, "anna", "PATCH", &id);
        let _before = asks(&mut rig, "bob", "PATCH", &id);
        let newer = asks(&mut rig, "anna", "PATCH", &id);
        let _after = asks(&mut rig, "bob", "DELETE", &id);
        rig.hold_completions(false);
        assert!(text(&sender).starts_with("HTTP/1.1 409 "), "{held} {slots}: {}", text(&sender));
        assert_stores(&mut rig, &newer, b"abcdef");
    }
}
