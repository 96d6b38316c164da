//! A copy is made in steps, between which the server notices that its client is gone.

use filewharf::access::Access;
use filewharf::dialect::{Kind, Listening};

use super::*;

const REQUESTS: [(Kind, &str); 2] =
    [(Kind::Line, "COPY /d/f\t/copy\n"), (Kind::Http, "COPY /d/f HTTP/1.1\r\nHost: x\r\nDestination: /copy\r\n\r\n")];

fn copying(kind: Kind, request: &str) -> (Rig, Peer) {
    let listening = Listening::new(kind, &[], 0).expect("no options");
    let mut rig = Rig::speaking(listening, SLOW, limits(), Access::default());
    rig.place("d/f", b"content");
    let peer = rig.connect();
    rig.hold_completions(true);
    rig.send(&peer, request.as_bytes());
    (rig, peer)
}

#[test]
fn a_copy_ends_with_its_connection_and_leaves_nothing() {
    for (kind, request) in REQUESTS {
        let (mut rig, peer) = copying(kind, request);
        rig.complete_in_turn();
        rig.cut(&peer);
        rig.hold_completions(false);
        rig.pass(seconds(1));
        assert_eq!((rig.file("copy"), rig.counters().open), (None, 0), "{kind:?}");
        assert_clean(&mut rig);
    }
}

#[test]
fn a_client_that_ends_its_stream_is_gone_in_http_and_waits_for_its_answer_in_line() {
    for (kind, request) in REQUESTS {
        let (mut rig, peer) = copying(kind, request);
        rig.complete_in_turn();
        rig.finish_in_turn(&peer);
        rig.hold_completions(false);
        rig.pass(seconds(5));
        let wanted = (kind == Kind::Line).then(|| b"content".to_vec());
        assert_eq!((rig.file("copy"), said(&peer).starts_with("OK 0\n")), (wanted, kind == Kind::Line), "{kind:?}");
        assert_clean(&mut rig);
    }
}

#[test]
fn what_comes_during_a_copy_is_served_after_it() {
    for (kind, request) in REQUESTS {
        let (mut rig, peer) = copying(kind, request);
        rig.complete_in_turn();
        rig.send(&peer, request.replace("/copy", "/other").as_bytes());
        rig.hold_completions(false);
        rig.pass(seconds(1));
        assert!(rig.file("copy").is_some() && rig.file("other").is_some(), "{kind:?}: {}", said(&peer));
        assert_clean(&mut rig);
    }
}
