//! AwaitHeader: the first bytes of a conversation and of a request.

use std::time::Duration;

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};

use support::rig::{Mode, Rig};

use super::{STEP, said, seconds, short_limits, speaking};
use filewharf::wire::line::LINE_LEN_MAX;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use support::client::Running;

#[test]
fn a_first_line_of_whatever_protocol_may_be_as_long_as_a_line_is() {
    let mut rig = speaking(Kind::Auto);
    let peer = rig.connect();
    rig.send(&peer, &[b'x'; LINE_LEN_MAX]);
    assert_eq!(said(&peer), "");
    rig.send(&peer, b"x");
    assert!(said(&peer).starts_with("ERR 400 ") && peer.is_closed(), "{}", said(&peer));
}

/// Where the client speaks first, its connection may be reported with its first bytes; otherwise it must not.
#[test]
fn a_dialect_that_speaks_first_does_not_wait_for_its_client() {
    for kind in Kind::ALL {
        let mut rig = speaking(kind);
        let peer = rig.connect();
        rig.pass(seconds(30));
        let speaks = !peer.heard().is_empty();
        assert!(!speaks || !kind.traits().client_speaks_first, "{kind}");
    }
    assert!([Kind::Auto, Kind::Line, Kind::Http].into_iter().all(|kind| kind.traits().client_speaks_first));
}

#[test]
fn a_name_is_waited_for_from_when_its_count_was_taken() {
    let limits = short_limits().with(|l| l.live.head_timeout = seconds(300));
    let listening = Listening::new(Kind::NameChoice, &[], 0).expect("no options");
    let mut rig = Rig::speaking(listening, Mode::PLAIN, limits, Access::default());
    let peer = rig.connect();
    rig.send(&peer, b"1");
    // Only now is it sure that no second digit follows.
    rig.pass(Duration::from_millis(20));
    rig.pass(seconds(10) - STEP);
    assert!(!peer.is_closed());
    rig.pass(STEP);
    assert!(peer.is_closed());
}

#[test]
fn an_upload_that_comes_once_its_connection_is_given_up_is_reset_where_a_plain_end_means_success() {
    let name_quiet = seconds(10);
    let limits = short_limits().with(|l| l.live.head_timeout = seconds(60));
    for (kind, early, late, drains) in [
        (Kind::NameSize, "", "late 5", true),
        (Kind::NameChoice, "", "late:PUT", true),
        (Kind::NameChoice, "", "late:PUT", false),
        (Kind::NameChoice, "la", "te:PUT", false),
        (Kind::Menu, "", "sendimagelate.jpg", true),
        (Kind::Menu, "sendimage", "late.jpg", true),
    ] {
        let listening = Listening::new(kind, &[], 0).expect("no options");
        let mut rig = Rig::speaking(listening, Mode::PLAIN, limits.clone(), Access::default());
        let peer = rig.connect();
        rig.send(&peer, early.as_bytes());
        if drains {
            rig.drain();
        } else {
            rig.pass(name_quiet);
        }
        assert!(peer.is_closed() && !peer.is_gone(), "{kind:?} {early}: it is given up");
        rig.send(&peer, late.as_bytes());
        rig.send(&peer, b"\xFF2345");
        rig.finish(&peer);
        assert!(peer.is_gone() && peer.is_reset(), "{kind:?} {early}");
    }
}

/// A first line that might have become HTTP and was longer than any head was refused, and then
/// looked at and refused again without end: few bytes asked, and the answer never ended.
#[test]
fn a_first_line_that_is_too_long_for_everything_is_refused_once() {
    for head_len_max in [4096, 8192] {
        let limits = Limits::default().with(|l| l.fixed.head_len_max = head_len_max);
        let server = Running::with(|builder| builder.limits(limits));
        for begin in ["GET /", "POST http://x/", "GET x", "", " "] {
            let mut peer = TcpStream::connect(server.handle().addresses()[0].0.socket_addr().expect("over TCP"))
                .expect("listening");
            // One line, and after it what must not be taken for a request.
            let says = format!("{begin}{}\nPING\n", "a".repeat(2 * head_len_max));
            peer.write_all(says.as_bytes()).expect("it is read");
            let mut heard = String::new();
            (&peer).take(10_000).read_to_string(&mut heard).expect("text");
            assert!(heard.starts_with("ERR 400 "), "{begin}: {heard}");
            assert_eq!(heard.lines().count(), 1, "{begin}: {heard}");
        }
    }
}
