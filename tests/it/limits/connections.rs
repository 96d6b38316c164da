//! Connections: descriptors, the share of one address, and wrong secrets.

use super::{limits, rig};
use filewharf::access::Access;
use filewharf::config::Live;
use filewharf::dialect::{Kind, Listening};
use std::time::Duration;
use support::rig::{Mode, Peer, Rig};

#[test]
fn without_descriptors_new_connections_wait_and_the_log_says_so() {
    let mut rig = rig(limits());
    rig.exhaust(true);
    let waits = rig.connect();
    assert_eq!((rig.counters().accept_exhausted, rig.shed(), rig.counters().accepted), (1, 1, 0));
    let retry = limits().live.accept_retry;
    rig.pass(retry - Duration::from_millis(1));
    assert_eq!(rig.counters().accept_exhausted, 1, "too early");
    rig.pass(Duration::from_millis(1));
    assert_eq!((rig.counters().accept_exhausted, rig.shed()), (2, 2), "looked at again");
    rig.exhaust(false);
    rig.pass(retry - Duration::from_millis(1));
    assert_eq!(rig.counters().accepted, 0);
    rig.pass(Duration::from_millis(1));
    rig.send(&waits, b"PING\n");
    assert_eq!(waits.heard(), b"OK 0\n");
}

#[test]
fn a_connection_that_ends_makes_room_for_one_that_waits() {
    let mut rig = rig(limits());
    let first = rig.connect();
    rig.exhaust(true);
    let waits = rig.connect();
    rig.exhaust(false);
    rig.send(&first, b"PING\n");
    assert_eq!(rig.counters().accepted, 1, "nothing has changed for who waits");
    rig.finish(&first);
    rig.send(&waits, b"PING\n");
    assert_eq!(waits.heard(), b"OK 0\n");
}

#[test]
fn one_address_has_its_part_of_the_connections() {
    let limits = limits().with(|l| l.fixed.connections_max = 6);
    let mut rig = rig(limits);
    let peers: Vec<Peer> = (0..5).map(|_| rig.connect()).collect();
    let served = |rig: &mut Rig, peer: &Peer| {
        rig.send(peer, b"PING\n");
        peer.heard() == b"OK 0\n"
    };
    assert!(peers[..3].iter().all(|peer| served(&mut rig, peer)));
    assert!(peers[3..].iter().all(|peer| peer.heard().starts_with(b"ERR 429 ") && peer.is_gone()));
    rig.finish(&peers[0]);
    let next = rig.connect();
    assert!(served(&mut rig, &next), "there is room again");
}

fn with_a_secret(kind: Kind) -> Rig {
    let listening = Listening::new(kind, &[], 0).expect("no options");
    Rig::speaking(listening, Mode::PLAIN, limits(), Access::new(Some(b"s3cret".to_vec()), false))
}

#[test]
fn guesses_of_the_secret_on_one_connection_are_slowed_down_and_end_it() {
    let mut rig = with_a_secret(Kind::Http);
    let [guesser, knows] = [0; 2].map(|_| rig.connect());
    let guess = b"GET /x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer wrong\r\n\r\n";
    rig.send(&guesser, &guess.repeat(100));
    let Live { wrong_secrets_free, wrong_secrets_max, wrong_secret_delay, .. } = limits().live;
    let refused = || guesser.heard().windows(12).filter(|words| words == b"HTTP/1.1 401").count();
    assert_eq!(refused(), usize::from(wrong_secrets_free) + 1);
    let mut delays = 0;
    while !guesser.is_closed() {
        let before = refused();
        rig.pass(wrong_secret_delay);
        assert!(refused() <= before + 1 && delays < 100, "{before}, {}", refused());
        delays += 1;
    }
    assert_eq!(refused(), usize::from(wrong_secrets_max));
    rig.send(&knows, b"GET /x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer s3cret\r\n\r\n");
    assert!(knows.heard().starts_with(b"HTTP/1.1 404 "), "at once, from the same address");
}

#[test]
fn an_address_that_guesses_the_secret_has_its_new_connections_read_one_after_the_other() {
    for kind in [Kind::Line, Kind::Auto, Kind::LengthPrefix] {
        let framed = |text: &str| match kind {
            Kind::LengthPrefix => format!("{:<64}{text}", text.len()),
            _ => format!("{text}\n"),
        };
        let [wrong, right, ping, ok] = ["AUTH wrong", "AUTH s3cret", "PING", "OK 0"].map(framed);
        let mut rig = with_a_secret(kind);
        let knows = rig.connect();
        rig.send(&knows, right.as_bytes());
        let guess = |rig: &mut Rig| {
            let peer = rig.connect();
            rig.send(&peer, wrong.as_bytes());
            peer
        };
        for _ in 0..limits().live.wrong_secrets_max {
            assert!(guess(&mut rig).heard().windows(8).any(|words| words == b"ERR 401 "));
        }
        let guessers = [0; 3].map(|_| guess(&mut rig));
        let answered = |peers: &[Peer]| peers.iter().filter(|peer| !peer.heard().is_empty()).count();
        let late = rig.connect();
        rig.send(&late, right.as_bytes());
        for n in 1..=3 {
            assert_eq!(answered(&guessers), n);
            assert!(late.heard().is_empty());
            rig.send(&knows, ping.as_bytes());
            rig.pass(limits().live.wrong_secret_delay);
        }
        assert_eq!(knows.heard(), ok.as_bytes().repeat(4), "who has shown the secret does not wait");
        assert_eq!(late.heard(), ok.as_bytes());
        let crowd: Vec<Peer> = (0..100).map(|_| guess(&mut rig)).collect();
        let refused = |peer: &&Peer| peer.heard().windows(8).any(|words| words == b"ERR 429 ");
        assert!(crowd.iter().filter(refused).count() > 70, "neither read late nor told whether the secret is right");
    }
}
