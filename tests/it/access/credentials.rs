//! Credentials: what is proved, for how long, and from where.

use crate::access::{TOKEN, http, rig};
use filewharf::dialect::Kind;
use support::rig::STARTED_S;

#[test]
fn wrong_credentials_are_refused_also_where_none_are_needed() {
    let mut rig = rig(Kind::Http, "allow @ r /\n");
    rig.place("f", b"x");
    for (value, status) in [
        (format!("Bearer anna{TOKEN}"), 200),
        ("Basic OmFubmEtcy10b2tlbg==".to_owned(), 200),
        ("Bearer nonsense".to_owned(), 401),
        ("Basic nonsense".to_owned(), 401),
        ("Digest nonsense".to_owned(), 401),
        (String::new(), 401),
    ] {
        let heard = http(&mut rig, "", "GET /f", &format!("Authorization: {value}\r\n"), "");
        assert_eq!(heard.0, status, "{value}");
        assert_eq!(heard.1.contains("WWW-Authenticate: "), status == 401, "{}", heard.1);
    }
    assert_eq!(http(&mut rig, "", "GET /.filewharf/health", "", "").0, 200);
    assert_eq!(http(&mut rig, "", "GET /.filewharf/metrics", "", "").0, 200);
    rig.replace_rules(crate::access::rules(&["anna"], "allow anna r /\nallow @ r /pub"));
    assert_eq!(http(&mut rig, "", "GET /.filewharf/metrics", "", "").0, 401);
    assert_eq!(http(&mut rig, "anna", "GET /.filewharf/metrics", "", "").0, 200);
    assert_eq!(http(&mut rig, "", "GET /.filewharf/health", "", "").0, 200);
}

#[cfg(feature = "webdav")]
#[test]
fn a_condition_on_locks_is_answered_only_where_the_caller_may_change_something() {
    let mut rig = rig(Kind::Http, "allow @ r /\nallow @ c /drop\nallow anna rwd /\n");
    rig.place("f", b"x");
    let unmet = "If: (<urn:uuid:00112233-4455-6677-8899-aabbccddeeff>)\r\nContent-Length: 0\r\n";
    for (user, head, status) in [
        ("", "DELETE /f", 401),
        ("", "PUT /f", 401),
        ("", "PUT /drop/f", 412),
        ("bob", "PUT /f", 403),
        ("anna", "DELETE /f", 412),
    ] {
        assert_eq!(http(&mut rig, user, head, unmet, "").0, status, "{user} {head}");
    }
}

#[test]
fn a_proof_holds_for_one_request_over_http_and_for_the_connection_in_line() {
    let mut rig = rig(Kind::Http, "allow anna r /\n");
    rig.place("f", b"secret");
    let peer = rig.connect();
    let get = |proof: &str| format!("GET /f HTTP/1.1\r\nHost: x\r\n{proof}\r\n");
    let proof = format!("Authorization: Bearer anna{TOKEN}\r\n");
    rig.send(&peer, [get(&proof), get(""), get(&proof), get("")].concat().as_bytes());
    let heard = String::from_utf8_lossy(&peer.heard()).into_owned();
    let statuses: Vec<_> = heard.match_indices("HTTP/1.1 ").map(|(at, _)| &heard[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["200", "401", "200", "401"]);
    let mut rig = crate::access::rig(Kind::Line, "allow anna r /\n");
    rig.place("f", b"secret");
    let peer = rig.connect();
    rig.send(&peer, format!("GET /f\nAUTH anna{TOKEN}\nGET /f\nGET /f\n").as_bytes());
    let heard = String::from_utf8_lossy(&peer.heard()).into_owned();
    assert!(
        heard.starts_with("ERR 401 ") && heard.matches("secretOK").count() == 1 && heard.ends_with("secret"),
        "{heard}"
    );
}

#[test]
fn a_certificate_proves_a_name_in_every_dialect_until_the_request_proves_another() {
    let entries = format!("cert box sha256:{}\nallow box r /f\nallow anna r /g\nallow @ r /h\n", "07".repeat(32));
    for kind in [Kind::Line, Kind::Http, Kind::LengthPrefix] {
        let mut rig = rig(kind, &entries);
        for key in ["f", "g", "h"] {
            rig.place(key, format!("content of {key}").as_bytes());
        }
        let mut sees = |certificate: Option<u8>, key: &str, proof: bool| {
            let peer = rig.connect();
            if let Some(byte) = certificate {
                peer.shows_certificate([byte; 32], u64::MAX);
            }
            let get = format!("GET /{key}");
            let proves = |text: String| if proof { text } else { String::new() };
            let says = match kind {
                Kind::Line => format!("{}{get}\n", proves(format!("AUTH anna{TOKEN}\n"))),
                Kind::Http => {
                    let proof = proves(format!("Authorization: Bearer anna{TOKEN}\r\n"));
                    format!("{get} HTTP/1.1\r\nHost: x\r\n{proof}\r\n")
                }
                _ => {
                    format!("{}{:<64}{get}", proves(format!("{:<64}AUTH anna{TOKEN}", 12 + TOKEN.len() - 3)), get.len())
                }
            };
            rig.send(&peer, says.as_bytes());
            let heard = String::from_utf8_lossy(&peer.heard()).into_owned();
            rig.finish(&peer);
            heard.contains(&format!("content of {key}"))
        };
        for (certificate, proof, seen) in [
            (None, false, "h"),
            (Some(7), false, "fh"),
            (Some(8), false, "h"),
            (Some(7), true, "gh"),
            (None, true, "gh"),
        ] {
            for key in ["f", "g", "h"] {
                assert_eq!(sees(certificate, key, proof), seen.contains(key), "{kind:?} {certificate:?} {key} {proof}");
            }
        }
    }
}

#[test]
fn the_rights_of_a_certificate_end_with_it_also_on_a_connection_that_stays_open() {
    let entries = format!("cert box sha256:{}\nallow box r /f\n", "07".repeat(32));
    for kind in [Kind::Line, Kind::Http] {
        let mut rig = rig(kind, &entries);
        rig.place("f", b"content");
        let get = if kind == Kind::Line { "GET /f\n" } else { "GET /f HTTP/1.1\r\nHost: x\r\n\r\n" };
        for (expires_s, sees) in [(STARTED_S + 3, true), (STARTED_S, false), (0, false)] {
            let peer = rig.connect();
            peer.shows_certificate([7; 32], expires_s);
            rig.send(&peer, get.as_bytes());
            assert_eq!(peer.heard().ends_with(b"content"), sees, "{kind:?} {expires_s}");
        }
        // The clock of the rig stands still, so the end comes to it.
        let open = rig.connect();
        for left_s in [2, 1, 0, 0] {
            open.shows_certificate([7; 32], STARTED_S + left_s);
            rig.send(&open, get.as_bytes());
            assert_eq!(open.heard().ends_with(b"content"), left_s > 0, "{kind:?}");
        }
    }
}

#[test]
fn a_rule_for_an_address_holds_there_only_and_a_size_bounds_one_upload() {
    let mut rig = rig(Kind::Http, "allow @ rcw /here max-size=4 from=127.0.0.2\nallow @ r / from=10.0.0.0/8\n");
    rig.place("here/f", b"here");
    let mut ask = |host: u8, request: &str| {
        let peer = rig.connect_from(host);
        rig.send(&peer, request.as_bytes());
        let heard = String::from_utf8_lossy(&peer.heard()).into_owned();
        rig.finish(&peer);
        heard.get(9..12).map(str::to_owned).unwrap_or_default()
    };
    assert_eq!(ask(2, "GET /here/f HTTP/1.1\r\nHost: x\r\n\r\n"), "200");
    assert_eq!(ask(3, "GET /here/f HTTP/1.1\r\nHost: x\r\n\r\n"), "401");
    assert_eq!(ask(2, "GET /there/f HTTP/1.1\r\nHost: x\r\n\r\n"), "401");
    assert_eq!(ask(2, "PUT /here/g HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nfour"), "201");
    assert_eq!(ask(2, "PUT /here/g HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nfives"), "413");
    let chunked = "PUT /here/g HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfives\r\n0\r\n\r\n";
    assert_eq!(ask(2, chunked), "413");
    assert_eq!(rig.file("here/g").as_deref(), Some(&b"four"[..]));
}
