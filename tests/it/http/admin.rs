//! The address of the operator: the state of the server, its metrics, its connections, and nothing else.

use std::time::Duration;

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};
use filewharf::platform::Health;

use support::rig::{Mode, Peer, Rig};

fn served() -> Rig {
    let options = [("admin".to_owned(), String::new())];
    let listening = Listening::new(Kind::Http, &options, 0).expect("a good option");
    let mut rig =
        Rig::speaking(listening, Mode::PLAIN, Limits::default(), Access::new(Some(b"s3cret".to_vec()), false));
    rig.place("f", b"content");
    rig
}

/// The status and the content of the last answer.
fn ask(rig: &mut Rig, peer: &Peer, head: &str) -> (String, String) {
    let before = peer.heard().len();
    rig.send(peer, format!("{head} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
    let heard = String::from_utf8_lossy(&peer.heard()[before..]).into_owned();
    let content = heard.split_once("\r\n\r\n").map(|(_, content)| content.to_owned());
    (heard.get(9..12).unwrap_or_default().to_owned(), content.unwrap_or_default())
}

#[test]
fn the_state_is_answered_without_a_secret() {
    let mut rig = served();
    let peer = rig.connect();
    for path in ["/health", "/ready"] {
        let get = format!("GET {path}");
        assert_eq!(ask(&mut rig, &peer, &get), ("200".to_owned(), "ok\n".to_owned()));
        for (health, word) in
            [(Health::Degraded, "degraded\n"), (Health::Failing, "failing\n"), (Health::Gone, "gone\n")]
        {
            rig.ails(health);
            assert_eq!(ask(&mut rig, &peer, &get), ("503".to_owned(), word.to_owned()));
        }
        rig.ails(Health::Good);
    }
    assert_eq!(ask(&mut rig, &peer, "HEAD /ready"), ("200".to_owned(), String::new()));
    let (status, metrics) = ask(&mut rig, &peer, "GET /metrics");
    assert!(status == "200" && metrics.contains("\nfilewharf_connections{state=\"await-header\"} "), "{metrics}");
}

#[test]
fn a_server_that_drains_is_well_and_not_ready() {
    for (path, status, word) in [("/health", "200", "ok\n"), ("/ready", "503", "draining\n")] {
        let mut rig = Rig::speaking(
            Listening::new(Kind::Http, &[("admin".to_owned(), String::new())], 0).expect("a good option"),
            Mode::PLAIN,
            Limits::default().with(|l| l.live.drain_grace = Duration::from_secs(5)),
            Access::default(),
        );
        rig.drain();
        let peer = rig.connect();
        assert_eq!(ask(&mut rig, &peer, &format!("GET {path}")), (status.to_owned(), word.to_owned()));
    }
}

#[test]
fn nothing_else_is_served_there() {
    let mut rig = served();
    for (head, wanted) in [
        ("GET /", "404"),
        ("GET /f", "404"),
        ("GET /.filewharf/metrics", "404"),
        ("GET /health/", "404"),
        ("PUT /g", "403"),
        ("DELETE /f", "403"),
        ("PROPFIND /", "403"),
        ("OPTIONS /", "403"),
        ("POST /health", "403"),
        ("GET /.filewharf/uploads/00112233445566778899aabbccddeeff", "404"),
    ] {
        let peer = rig.connect();
        assert_eq!(ask(&mut rig, &peer, head).0, wanted, "{head}");
    }
    assert_eq!(rig.names(), ["f"]);
}

#[test]
fn connections_are_listed_with_what_they_do_and_not_all_of_them() {
    let mut rig = served();
    let peer = rig.connect();
    rig.pass(Duration::from_secs(7));
    let (status, text) = ask(&mut rig, &peer, "GET /connections");
    let entry = r#"{"peer":"127.0.0.1:50851","dialect":"http","state":"await-header","age":7,"rate":0,"user":""}"#;
    assert_eq!(
        (status.as_str(), text.as_str()),
        ("200", &*format!("{{\"connections\":[\n{entry}\n],\"shown\":1,\"open\":1}}\n"))
    );
    // Twice in one packet, and in pieces.
    let before = peer.heard().len();
    rig.send(&peer, &b"GET /connections HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2));
    for byte in b"GET /connections HTTP/1.1\r\nHost: x\r\n\r\n" {
        rig.send(&peer, &[*byte]);
    }
    assert_eq!(String::from_utf8_lossy(&peer.heard()[before..]).matches("\"open\":1}").count(), 3);
    let mut rig = Rig::new(Mode::PLAIN, Limits::default(), Access::default());
    let _peers: Vec<_> = (0..400).map(|_| rig.connect()).collect();
    let text = rig.connection_list();
    assert!(text.ends_with("],\"shown\":256,\"open\":400}\n"), "{text}");
    assert!(text.len() < 40 * 1024 && text.matches("\"peer\"").count() == 256);
}

#[test]
fn a_transfer_is_listed_first_with_its_rate() {
    let mut rig = Rig::new(Mode::PLAIN, Limits::default(), Access::default());
    let idle = rig.connect();
    let peer = rig.connect();
    rig.send(&peer, format!("PUT 4000000 /big\n{}", "a".repeat(2_000_000)).as_bytes());
    rig.pass(Duration::from_secs(2));
    let text = rig.connection_list();
    let first = text.lines().nth(1).expect("a connection");
    assert!(first.contains("\"state\":\"receiving-body\",\"age\":2,\"rate\":1000000,"), "{text}");
    drop((idle, peer));
}
