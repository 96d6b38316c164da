//! One connection, from its head to what it keeps.

use std::net::IpAddr;

use super::*;
use crate::access::Access;
use crate::dialect::protocol::TrustedProxy;
use crate::dialect::testing::call_protocol;
use crate::object::{Etag, Meta};

#[test]
fn a_head_that_is_too_long_is_refused_though_all_of_it_is_there() {
    let mut http = Http::new(Arc::new(Listener::default()));
    call_protocol(Phase::Serving, &Access::default(), |context| {
        let long = "a".repeat(context.limits.fixed.head_len_max);
        let (_, action) = http.decode(format!("GET /f HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n").as_bytes(), context);
        assert!(matches!(action, Action::Close(_)), "{action:?}");
    });
}

#[test]
#[allow(clippy::disallowed_methods, reason = "any instant will do")]
fn the_client_of_a_request_is_found_at_every_split_and_forgotten_before_the_next() {
    let trust = [("trust".to_owned(), "10.0.0.0/8".to_owned())];
    let listener = Arc::new(Listener::listen(&trust, 0).expect("good"));
    let proxy = IpAddr::from([10, 0, 0, 1]);
    for (fields, named) in [
        ("X-Forwarded-For: 192.0.2.1, 192.0.2.5", Some(IpAddr::from([192, 0, 2, 5]))),
        ("Forwarded: for=192.0.2.1, for=\"192.0.2.5:80\"", Some(IpAddr::from([192, 0, 2, 5]))),
        ("Accept: */*", None),
    ] {
        let head = format!("GET /f HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n");
        for split in 0..=head.len() {
            for (peer, wanted) in [(Some(proxy), named.unwrap_or(proxy)), (None, [203, 0, 113, 9].into())] {
                let mut http = Http::new(Arc::clone(&listener));
                call_protocol(Phase::Serving, &Access::default(), |context| {
                    context.client = [203, 0, 113, 9].into();
                    context.proxy = peer.map(|address| TrustedProxy { address, user: None });
                    if split < head.len() {
                        assert_eq!(http.decode(&head.as_bytes()[..split], context), (0, Action::More));
                        assert_eq!(context.client, peer.unwrap_or([203, 0, 113, 9].into()), "{fields}, {split}");
                    }
                    let (used, action) = http.decode(head.as_bytes(), context);
                    assert!(used == head.len() && matches!(action, Action::Run(_)), "{action:?}");
                    assert_eq!(context.client, wanted, "{fields}, {split}");
                });
            }
        }
    }
}

/// RFC 9110 §8.8.2.1: what is said of its time must not lie in the future.
#[test]
fn a_file_from_the_future_has_the_present_for_its_time() {
    let mut http = Http::new(Arc::new(Listener::default()));
    let meta = Meta { len: 1, mtime: 1_800_000_000, etag: Etag([1; 16]), sha256: None, is_executable: false };
    for (now_s, time) in [(1_700_000_000, "Tue, 14 Nov 2023 22:13:20"), (1_700_000_001, "Tue, 14 Nov 2023 22:13:21")] {
        let heard = call_protocol(Phase::Serving, &Access::default(), |context| {
            context.wall_clock_s = now_s;
            let _ = http.decode(b"GET /f HTTP/1.1\r\nHost: x\r\n\r\n", context);
            http.answered(Ok(Answer::Opened(meta)), context)
        });
        let said = String::from_utf8_lossy(&heard.said).into_owned();
        assert!(said.contains(&format!("Last-Modified: {time} GMT\r\n")), "{said}");
    }
}

#[test]
fn an_idle_connection_keeps_nothing_of_what_it_last_asked() {
    let mut http = Http::new(Arc::new(Listener::default()));
    let meta = Meta { len: 1, mtime: 0, etag: Etag([0; 16]), sha256: None, is_executable: false };
    for answer in [Ok(Answer::Opened(meta)), Err(Failure::NotFound), Err(Failure::Conflict("a folder"))] {
        call_protocol(Phase::Serving, &Access::default(), |context| {
            let (_, action) = http.decode(b"GET /f?long HTTP/1.1\r\nHost: x\r\n\r\n", context);
            assert!(matches!(action, Action::Run(_)), "{action:?}");
            if let Action::Send { .. } = http.answered(answer, context) {
                assert_eq!(http.sent(None, context), Action::Next);
            }
        });
        assert!(http.exchange.is_none());
    }
}
