//! Sessions that another thread has for a step of their handshakes, and the worker that is that thread.

use super::*;
use crate::ids::ConnId;
use crate::platform::KeyUse;

#[test]
fn a_handshake_continues_after_a_step_that_another_thread_has_taken() {
    let server = Server::new();
    for versions in [&[&rustls::version::TLS13][..], &[&rustls::version::TLS12]] {
        let mut pair = server.pair(&Arc::new(support::tls::versions(versions)));
        pair.needs_key();
        let lent = pair.session.lend();
        assert_eq!(pair.shake_without_key(), Handshake::Waits);
        assert_eq!(pair.session.recv(&mut pair.socket, &mut [0]).expect_err("nothing").kind(), ErrorKind::WouldBlock);
        assert!(pair.session.finish(&mut pair.socket).is_ok() && pair.socket.outgoing.is_empty());
        std::thread::scope(|scope| drop(scope.spawn(move || lent.use_key())));
        while pair.shake_without_key() != Handshake::Done {
            pair.down();
            let up = pair.up();
            pair.socket.incoming.extend(up);
        }
        pair.down();
        pair.says(b"PING\n");
        assert_eq!(pair.recv(100).expect("content"), b"PING\n");
    }
}

#[test]
fn a_client_gets_an_alert_for_a_mistake_that_another_thread_has_found() {
    let server = Server::new();
    let mut pair = server.pair(&config());
    // A first message that is empty.
    pair.socket.incoming.extend([22, 3, 1, 0, 4, 1, 0, 0, 0]);
    assert_eq!(pair.shake_without_key(), Handshake::NeedsKey);
    pair.session.lend().use_key();
    let state = pair.shake_without_key();
    assert!(matches!(&state, Handshake::Failed { reason, is_answered: true } if !reason.is_empty()), "{state:?}");
    assert_eq!(pair.socket.outgoing[0], 21, "an alert");
}

#[test]
fn a_session_that_never_comes_back_is_an_error() {
    let server = Server::new();
    let mut pair = server.pair(&config());
    pair.needs_key();
    drop(pair.session.lend());
    assert!(pair.session.handshake(&mut pair.socket).is_err());
}

#[test]
fn the_worker_takes_a_bounded_number_of_handshakes_and_gives_each_back() {
    let server = Server::new();
    let (woken, wakes) = std::sync::mpsc::sync_channel(0);
    let mut worker = KeyWorker::start(move || woken.send(()).unwrap_or_default()).expect("a thread");
    let mut pairs = Vec::new();
    loop {
        let mut pair = server.pair(&config());
        pair.needs_key();
        let id = ConnId::new(pairs.len() as u32, 1);
        if worker.take(id, &mut pair.session).expect("the thread runs") == KeyUse::Later {
            assert_eq!(pair.shake_without_key(), Handshake::NeedsKey, "what is not taken stays as it is");
            break;
        }
        pairs.push(pair);
        assert!(pairs.len() < 1000, "a bound");
    }
    assert!(pairs.len() >= 16, "{}", pairs.len());
    // One that is closed meanwhile is no matter.
    pairs.pop();
    for (nth, pair) in pairs.iter_mut().enumerate() {
        wakes.recv().expect("the thread runs");
        assert_eq!(worker.next_done(), Some(ConnId::new(nth as u32, 1)));
        assert_eq!(pair.shake_without_key(), Handshake::Waits);
        assert!(!pair.socket.outgoing.is_empty());
    }
    let mut pair = server.pair(&config());
    pair.needs_key();
    let taken = worker.take(ConnId::new(99, 1), &mut pair.session).expect("the thread runs");
    assert_eq!(taken, KeyUse::UnderWay, "there is space again");
    drop(wakes);
}
