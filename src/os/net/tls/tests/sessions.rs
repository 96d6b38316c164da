//! Certificates of both sides, and what a session has after its handshake: new keys, no buffers, a ticket to resume with.

use super::*;

#[test]
fn a_pair_that_is_wrong_is_named_and_the_one_before_stays() {
    let (own, other) = (Server::new(), Server::new());
    let dir = own.dir.path();
    let shown = || {
        // Without a session to resume, which would keep its certificate.
        let mut pair = own.pair(&config());
        pair.shake_hands();
        pair.client.peer_certificates().expect("a handshake")[0].to_vec()
    };
    let first = shown();
    let wrong = |wanted: &str| {
        let error = own.acceptor.reload().map(drop).expect_err("it is wrong").to_string();
        assert!(error.contains(wanted), "{error}");
        assert_eq!(shown(), first);
    };
    let copy = |name: &str| std::fs::copy(other.dir.path().join(name), dir.join(name)).expect("it is there");
    copy("key.pem");
    wrong("/key.pem: not the key of /");
    std::fs::write(dir.join("key.pem"), "no key").expect("the folder is there");
    wrong("/key.pem: there is no private key in it");
    std::fs::remove_file(dir.join("key.pem")).expect("it is there");
    wrong("/key.pem: No such file");
    copy("key.pem");
    std::fs::write(dir.join("cert.pem"), "").expect("the folder is there");
    wrong("/cert.pem: there is no certificate in it");
    copy("cert.pem");
    own.acceptor.reload().expect("a good pair")();
    assert_ne!(shown(), first);
}

#[test]
fn the_certificate_of_a_client_and_its_end_are_known_also_when_a_session_is_resumed() {
    let dir = TempDir::new().expect("a temporary folder");
    let authority = support::tls::Authority::new("authority");
    authority.signs("localhost").write(dir.path());
    let path = |name: &str| Some(dir.path().join(name));
    std::fs::write(dir.path().join("ca.pem"), authority.pem()).expect("the folder is there");
    let client_ca = path("ca.pem");
    let files = TlsFiles { certificate: path("cert.pem"), key: path("key.pem"), client_ca, ..TlsFiles::default() };
    let server = Server { acceptor: Acceptor::open(files, None).expect("good files"), dir };
    let client = authority.signs_with("box7", |params| params.not_after = rcgen::date_time_ymd(2099, 2, 1));
    let digest = sha2::Digest::finalize(sha2::Digest::chain_update(sha2::Sha256::default(), client.certificate.der()));
    let showing = support::tls::showing(&client);
    for wanted in [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed] {
        let mut pair = server.pair(&showing);
        pair.shake_hands();
        assert_eq!(pair.client.handshake_kind(), Some(wanted));
        let known = ClientCertificate { sha256: digest.into(), expires_s: 4_073_587_201 };
        assert_eq!(pair.session.peer_certificate(), Some(known));
    }
    assert_eq!(server.connected().session.peer_certificate(), None);
}

#[test]
fn a_certificate_of_a_client_is_verified_only_when_the_key_may_be_used_and_not_where_a_session_is_resumed() {
    let dir = TempDir::new().expect("a temporary folder");
    let authority = support::tls::Authority::new("authority");
    authority.signs("localhost").write(dir.path());
    std::fs::write(dir.path().join("ca.pem"), authority.pem()).expect("the folder is there");
    let path = |name: &str| Some(dir.path().join(name));
    let (certificate, key, client_ca) = (path("cert.pem"), path("key.pem"), path("ca.pem"));
    let files = TlsFiles { certificate, key, client_ca, ..TlsFiles::default() };
    let server = Server { acceptor: Acceptor::open(files, None).expect("good files"), dir };
    let showing = support::tls::showing(&authority.signs("box7"));
    for uses in [2, 1] {
        let mut pair = server.pair(&showing);
        let mut used = 0;
        loop {
            let up = pair.up();
            pair.socket.incoming.extend(up);
            match pair.shake_without_key() {
                Handshake::Done => break,
                Handshake::NeedsKey => {
                    used += 1;
                    pair.session.lend().use_key();
                }
                state => assert_eq!(state, Handshake::Waits),
            }
            pair.down();
        }
        assert_eq!(used, uses);
        // The ticket.
        pair.down();
        assert!(pair.session.peer_certificate().is_some());
    }
}

#[test]
fn both_directions_continue_with_new_keys_and_in_both_versions() {
    let server = Server::new();
    for (versions, changes) in [(&rustls::version::TLS13, true), (&rustls::version::TLS12, false)] {
        let mut pair = server.pair(&Arc::new(support::tls::versions(&[versions])));
        pair.shake_hands();
        let content = content(50_000);
        for most in [100_000, 3000, 1] {
            if changes {
                pair.client.refresh_traffic_keys().expect("a connection");
            }
            let content = &content[..content.len().min(most)];
            for _ in 0..3 {
                pair.says(content);
                assert!(pair.recv(most).expect("content") == *content);
                let (first, second) = content.split_at(content.len() / 2);
                assert_eq!(pair.session.send(&mut pair.socket, &[first, second]).expect("space"), content.len());
                assert!(pair.heard() == *content);
            }
        }
    }
}

#[test]
fn a_session_without_work_holds_no_buffer() {
    let server = Server::new();
    let mut pair = server.connected();
    let content = content(50_000);
    pair.says(&content);
    let (last, all) = pair.socket.incoming.make_contiguous().split_last().expect("records");
    let (last, all) = (*last, all.to_vec());
    pair.socket.incoming = all.into();
    let mut received = pair.recv(3000).expect("content");
    pair.socket.window = 10_000;
    pair.session.send(&mut pair.socket, &[&content]).expect_err("the socket is full");
    assert!(pair.session.buffered() > 10_000, "{}", pair.session.buffered());
    pair.socket.window = usize::MAX;
    pair.socket.incoming.push_back(last);
    received.extend(pair.recv(3000).expect("content"));
    pair.session.send(&mut pair.socket, &[&content]).expect("space");
    assert!(received == content && pair.heard() == content);
    assert_eq!(pair.session.buffered(), 0);
}

#[test]
fn a_reload_lets_clients_resume_unless_their_authorities_have_changed() {
    let dir = TempDir::new().expect("a temporary folder");
    let authority = support::tls::Authority::new("authority");
    authority.signs("localhost").write(dir.path());
    let path = |name: &str| Some(dir.path().join(name));
    let (certificate, key, client_ca) = (path("cert.pem"), path("key.pem"), path("ca.pem"));
    let trust = |trusted: &[&support::tls::Authority]| {
        let pem: String = trusted.iter().map(|authority| authority.pem()).collect();
        std::fs::write(dir.path().join("ca.pem"), pem).expect("the folder is there");
    };
    trust(&[&authority]);
    let files = TlsFiles { certificate, key, client_ca, ..TlsFiles::default() };
    let acceptor = Acceptor::open(files, None).expect("good files");
    let config = support::tls::showing(&authority.signs("box7"));
    let kind = || {
        let session = acceptor.accept(true, &[]);
        let mut pair = Pair { session, socket: Socket::default(), client: client(&config) };
        pair.shake_hands();
        pair.client.handshake_kind().expect("a handshake")
    };
    assert_eq!(kind(), rustls::HandshakeKind::Full);
    authority.signs("localhost").write(dir.path());
    acceptor.reload().expect("another pair")();
    assert_eq!(kind(), rustls::HandshakeKind::Resumed);
    trust(&[&authority, &support::tls::Authority::new("another")]);
    acceptor.reload().expect("another authority")();
    assert_eq!(kind(), rustls::HandshakeKind::Full);
}

#[test]
fn clients_resume_at_one_server_what_they_began_at_another_only_where_the_servers_share_tickets() {
    let dir = TempDir::new().expect("a temporary folder");
    make_self_signed(dir.path(), vec!["localhost".to_owned()], process::unix_time()).expect("a certificate");
    let files = TlsFiles { self_signed: Some(dir.path().to_owned()), ..TlsFiles::default() };
    for (shares, wanted) in [(true, rustls::HandshakeKind::Resumed), (false, rustls::HandshakeKind::Full)] {
        let tickets = || shares.then(|| dir.path().join("TICKETS"));
        let servers = [(); 2].map(|()| Acceptor::open(files.clone(), tickets()).expect("good files"));
        servers.iter().for_each(|server| server.refresh_tickets().expect("the folder is there"));
        for versions in [&[&rustls::version::TLS13], &[&rustls::version::TLS12]] {
            let config = Arc::new(support::tls::versions(versions));
            let kinds = servers.each_ref().map(|server| {
                let session = server.accept(true, &[]);
                let mut pair = Pair { session, socket: Socket::default(), client: client(&config) };
                pair.shake_hands();
                pair.client.handshake_kind().expect("a handshake")
            });
            assert_eq!(kinds, [rustls::HandshakeKind::Full, wanted], "{versions:?}");
        }
    }
}
