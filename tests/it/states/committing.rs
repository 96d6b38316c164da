//! Waiting for commits: small uploads that a client sends together are at the store together, and are answered in their
//! order; what comes after them waits for that.

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};
use filewharf::session::Session;

use super::{said, seconds};
use support::rig::{Mode, Peer, Rig};

/// As many as may be under way.
const UPLOADS_MAX: usize = 32;

fn limits() -> Limits {
    Limits::default().with(|l| l.fixed.slots = 1)
}

fn rig(limits: Limits) -> Rig {
    Rig::new(Mode { deferred: true, ..Mode::PLAIN }, limits, Access::default())
}

/// A server of HTTP.
fn http() -> Rig {
    let listening = Listening::new(Kind::Http, &[], 0).expect("no options");
    Rig::speaking(listening, Mode { deferred: true, ..Mode::PLAIN }, limits(), Access::default())
}

fn put(key: &str, content: &str) -> String {
    format!("PUT {} {key}\n{content}", content.len())
}

fn http_put(key: &str, fields: &str, content: &str) -> String {
    format!("PUT {key} HTTP/1.1\r\nHost: h\r\n{fields}Content-Length: {}\r\n\r\n{content}", content.len())
}

/// The first word and the second of each line that begins a reply.
fn replies(peer: &Peer) -> Vec<String> {
    let text = said(peer);
    let heads =
        text.lines().filter(|line| line.starts_with("OK ") || line.starts_with("ERR ") || line.contains("HTTP/1.1"));
    heads.map(|head| head.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn uploads_that_are_sent_together_are_at_the_store_together_and_answered_in_their_order() {
    let line = ["/a", "/b", "/c"].map(|key| put(key, key)).concat().replacen("PUT 2 /b", "PUT 2 if=absent /b", 1);
    let fields = [("/a", ""), ("/b", "If-None-Match: *\r\n"), ("/c", "")];
    let heads = fields.map(|(key, fields)| http_put(key, fields, key)).concat();
    for (mut rig, requests, told) in [
        (rig(limits()), line, ["OK 0", "ERR 412", "OK 0"]),
        (http(), heads, ["HTTP/1.1 201", "HTTP/1.1 412", "HTTP/1.1 201"]),
    ] {
        rig.place("b", b"before");
        rig.reverse_completions();
        let peer = rig.connect();
        rig.hold_completions(true);
        rig.send(&peer, requests.as_bytes());
        let stored = ["a", "b", "c"].map(|key| rig.file(key).unwrap_or_default());
        assert_eq!(stored, [&b"/a"[..], b"before", b"/c"], "each has come to the store");
        assert_eq!(said(&peer), "");
        rig.hold_completions(false);
        assert_eq!(replies(&peer), told);
        let counters = rig.counters();
        assert_eq!((counters.requests.iter().sum::<u64>(), counters.failed, counters.slots_used), (2, 1, 0));
    }
}

#[test]
fn a_reply_waits_for_the_one_before_it_also_when_its_upload_is_stored_first() {
    let mut rig = rig(Limits::default());
    let (other, peer) = (rig.connect(), rig.connect());
    rig.hold_completions(true);
    rig.send(&other, put("/a", "other").as_bytes());
    rig.send(&peer, (put("/a", "last") + &put("/b", "b")).as_bytes());
    assert_eq!(rig.file("a").as_deref(), Some(&b"other"[..]), "the change of the other comes first");
    assert_eq!(rig.file("b").as_deref(), Some(&b"b"[..]));
    rig.complete_in_turn();
    assert_eq!((replies(&other), replies(&peer).len()), (vec!["OK 0".to_owned()], 0));
    rig.hold_completions(false);
    assert_eq!(replies(&peer), ["OK 0", "OK 0"]);
    assert_eq!(rig.file("a").as_deref(), Some(&b"last"[..]));
}

#[test]
fn of_uploads_of_one_name_that_are_sent_together_the_last_is_what_stays_and_what_is_read_then() {
    for mode in Mode::all() {
        let mut rig = Rig::new(mode, limits(), Access::default());
        rig.reverse_completions();
        let peer = rig.connect();
        let puts: String = (0..9).map(|n| put(["/x", "/y"][n % 2], &n.to_string())).collect();
        rig.send(&peer, (puts + "GET /x\nGET /y\n").as_bytes());
        let text = said(&peer);
        assert_eq!((text.matches("OK 0").count(), text.matches("OK 1").count()), (9, 2), "{mode:?} {text}");
        let bodies: Vec<_> = text.lines().filter(|line| line.len() == 1 || line.starts_with("7OK")).collect();
        assert!(text.contains("\n8OK 1") && text.ends_with("\n7"), "{mode:?} {bodies:?}");
    }
}

/// Requests after an upload of `/a`, and the beginnings of their replies.
const OTHERS: [(&str, &str); 14] = [
    ("GET /a\n", "OK 1"),
    ("LIST /\n", "OK "),
    ("STAT /a\n", "OK 0"),
    ("DELETE /a\n", "OK 0"),
    ("RENAME /a\t/b\n", "OK 0"),
    ("COPY /a\t/b\n", "OK 0"),
    ("MKDIR /b\n", "OK 0"),
    ("PING\n", "OK 0"),
    ("NONSENSE\n", "ERR 400"),
    ("PUT * /b\n1\nb0\n", "OK 0"),
    ("PUT 1 if-differs=1 sha256=3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d /c\n", "GO 0"),
    ("PUT 3 /../b\nabc", "ERR 4"),
    ("PUT 1 sha256=0000000000000000000000000000000000000000000000000000000000000000 /b\nb", "ERR 4"),
    ("QUIT\n", "OK 0"),
];

#[test]
fn every_other_request_is_answered_after_the_uploads_before_it_and_sees_them() {
    for (request, told) in OTHERS {
        let mut rig = rig(limits());
        let peer = rig.connect();
        rig.hold_completions(true);
        rig.send(&peer, (put("/a", "1") + request + &put("/last", "2")).as_bytes());
        assert_eq!((said(&peer), rig.file("last")), (String::new(), None), "{request}");
        assert!(rig.file("a").is_some() && rig.names().len() == 1, "nothing else has begun: {request}");
        rig.hold_completions(false);
        let text = said(&peer);
        let after = text.split_once('\n').expect("a reply").1;
        assert!(text.starts_with("OK 0 etag=") && after.starts_with(told), "{request} {text}");
    }
}

#[test]
fn a_large_upload_begins_after_the_small_ones_before_it() {
    let limits = Limits::default().with(|l| l.fixed.chunk_bytes = 8192);
    let mut rig = rig(limits);
    let peer = rig.connect();
    rig.hold_completions(true);
    rig.send(&peer, (put("/a", "1") + &put("/b", "2") + &put("/c", &"3".repeat(9000))).as_bytes());
    assert_eq!((rig.open_files(), rig.names()), (0, vec!["a".to_owned(), "b".to_owned()]));
    rig.hold_completions(false);
    assert_eq!((replies(&peer), rig.names().len()), (vec!["OK 0".to_owned(); 3], 3));
}

// covers: memory-limit
#[test]
fn the_uploads_of_one_connection_are_bounded_in_number_and_in_memory() {
    for (len, chunk_bytes) in [(1, 64 << 10), (3000, 64 << 10), (1, 1 << 20)] {
        let limits = limits().with(|l| l.fixed.chunk_bytes = chunk_bytes);
        let mut rig = rig(limits.clone());
        let peer = rig.connect();
        rig.hold_completions(true);
        let content = "x".repeat(len);
        let puts: String = (0..100).map(|n| put(&format!("/{n}"), &content)).collect();
        rig.send(&peer, puts.as_bytes());
        let under_way = rig.names().len();
        let slot = limits.fixed.chunk_bytes * limits.fixed.chunks_per_slot;
        let held = rig.content_bytes(&limits);
        assert!(held <= slot + limits.fixed.head_len_max + Session::WORK_BYTES, "{held} bytes for {under_way} uploads");
        assert!(under_way <= UPLOADS_MAX && under_way >= if len == 1 { UPLOADS_MAX - 1 } else { 8 }, "{under_way}");
        rig.hold_completions(false);
        assert_eq!((replies(&peer).len(), rig.names().len(), rig.counters().slots_used), (100, 100, 0));
    }
}

#[test]
fn a_client_with_uploads_under_way_does_not_keep_its_slot_from_one_that_waits() {
    let mut rig = rig(limits());
    let (peer, other) = (rig.connect(), rig.connect_from(2));
    rig.hold_completions(true);
    rig.send(&peer, put("/a", "1").as_bytes());
    rig.send(&other, put("/b", "2").as_bytes());
    rig.send(&peer, put("/c", "3").as_bytes());
    assert_eq!(rig.names(), ["a"]);
    rig.complete_in_turn();
    rig.turn();
    assert_eq!(rig.names(), ["a", "b"], "the slot was given to the one that waits");
    rig.hold_completions(false);
    assert_eq!((replies(&peer).len(), replies(&other).len()), (2, 1));
}

#[test]
fn where_clients_have_limits_one_upload_is_done_after_the_other_and_counts_until_then() {
    let limited = limits().with(|l| l.live.client_uploads_max = 1);
    for begins_limited in [true, false] {
        let mut rig = rig(if begins_limited { limited.clone() } else { limits() });
        let (peer, other) = (rig.connect(), rig.connect());
        rig.hold_completions(true);
        rig.send(&peer, put("/a", "1").as_bytes());
        rig.set_limits(limited.live.clone());
        rig.send(&peer, put("/b", "2").as_bytes());
        assert_eq!(rig.names(), ["a"]);
        if begins_limited {
            rig.send(&other, put("/c", "3").as_bytes());
            assert_eq!(replies(&other), ["ERR 429"]);
        }
        rig.hold_completions(false);
        assert_eq!(replies(&peer), ["OK 0", "OK 0"], "none is refused for the one before it");
    }
}

// covers: reset-in-commit
#[test]
fn uploads_that_are_stored_after_their_connection_was_cut_count_as_stored() {
    let mut rig = rig(limits());
    let peer = rig.connect();
    rig.hold_completions(true);
    rig.send(&peer, (put("/a", "1") + &put("/b", "2") + "PUT 5 /c\nhel").as_bytes());
    rig.cut(&peer);
    rig.hold_completions(false);
    let counters = rig.counters();
    assert_eq!((counters.requests.iter().sum::<u64>(), counters.failed, rig.names().len()), (2, 1, 2));
    assert_eq!((counters.open, counters.slots_used), (0, 0));
}

#[test]
fn uploads_whose_client_has_closed_its_half_are_answered_before_the_end() {
    for rest in ["", "PUT 5 /c\nhel", "GET /a"] {
        let mut rig = rig(limits());
        let peer = rig.connect();
        rig.hold_completions(true);
        rig.send(&peer, (put("/a", "1") + &put("/b", "2") + rest).as_bytes());
        rig.finish(&peer);
        assert!(said(&peer).is_empty() && !peer.is_closed());
        rig.hold_completions(false);
        rig.pass(seconds(3));
        assert_eq!(replies(&peer)[..2], ["OK 0", "OK 0"], "{rest}");
        assert_eq!(replies(&peer).get(2).map(String::as_str), (!rest.is_empty()).then_some("ERR 400"), "{rest}");
        assert!(peer.is_gone() && !peer.is_reset(), "{rest}");
    }
}

#[test]
fn a_drain_waits_for_replies_that_are_owed_and_a_stop_cuts_them_off() {
    for stops in [false, true] {
        let mut rig = rig(limits());
        let peer = rig.connect();
        rig.hold_completions(true);
        rig.send(&peer, (put("/a", "1") + &put("/b", "2")).as_bytes());
        rig.drain();
        rig.send(&peer, put("/c", "3").as_bytes());
        assert!(!rig.has_ended());
        if stops {
            rig.stop_in_turn();
        }
        rig.hold_completions(false);
        let told: &[&str] = if stops { &[] } else { &["OK 0", "OK 0", "ERR 503"] };
        assert_eq!((replies(&peer), rig.names().len()), (told.iter().map(ToString::to_string).collect(), 2));
        rig.finish(&peer);
        assert_eq!(rig.end().cut_off, usize::from(stops));
        assert_eq!(rig.counters().requests.iter().sum::<u64>(), 2);
    }
}

#[test]
fn the_last_request_of_a_connection_is_answered_after_the_uploads_before_it() {
    let mut rig = http();
    let peer = rig.connect();
    rig.hold_completions(true);
    let last = http_put("/b", "Connection: close\r\n", "2");
    rig.send(&peer, (http_put("/a", "", "1") + &last + &http_put("/c", "", "3")).as_bytes());
    assert_eq!((said(&peer), rig.names().len()), (String::new(), 2));
    rig.hold_completions(false);
    assert_eq!((replies(&peer).len(), said(&peer).matches("Connection: close").count()), (2, 1));
    assert!(peer.is_closed() && rig.file("c").is_none());
}

#[test]
fn each_upload_under_way_is_that_of_the_lock_token_that_it_has_shown() {
    let mut rig = http();
    let peer = rig.connect();
    let body = "<lockinfo xmlns=\"DAV:\"><lockscope><exclusive/></lockscope><locktype><write/></locktype></lockinfo>";
    let lock = format!("LOCK /x HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    rig.send(&peer, lock.as_bytes());
    let text = said(&peer);
    let token = text.lines().find_map(|line| line.strip_prefix("Lock-Token: ")).expect("it is granted").to_owned();
    rig.hold_completions(true);
    let own = http_put("/x", &format!("If: ({token})\r\n"), "own");
    rig.send(&peer, [own, http_put("/x", "", "strange"), http_put("/y", "", "y")].concat().as_bytes());
    rig.hold_completions(false);
    assert_eq!(replies(&peer)[1..], ["HTTP/1.1 204", "HTTP/1.1 423", "HTTP/1.1 201"]);
    assert_eq!(rig.file("x").as_deref(), Some(&b"own"[..]));
}

#[test]
fn a_client_that_reads_no_reply_is_given_up_though_it_still_sends() {
    let mut rig = Rig::new(Mode { deferred: true, window: 1, ..Mode::PLAIN }, limits(), Access::default());
    let peer = rig.connect();
    for n in 0..1000 {
        rig.send_unread(&peer, put(&format!("/{n}"), "x").as_bytes());
    }
    assert!(rig.names().len() < 200, "{}", rig.names().len());
    rig.pass(limits().live.stall_timeout);
    assert!(peer.is_reset());
}
