//! Certificates of the server and of clients, while it runs and at its start.

use super::*;

/// A server with the identity in this directory.
fn identified(dir: &Path, change: impl FnOnce(Builder) -> Builder) -> Running {
    Running::with(|builder| {
        change(builder.tls(dir.join("cert.pem"), dir.join("key.pem")))
            .listen_at("http@127.0.0.1:0?tls".parse().expect("an address"))
    })
}

fn certificate_of(stream: &TlsStream) -> Vec<u8> {
    stream.conn.peer_certificates().expect("a handshake")[0].to_vec()
}

#[test]
fn after_a_reload_new_connections_see_the_new_certificate_and_older_ones_continue() {
    let dir = TempDir::new().expect("a temporary folder");
    let authority = Authority::new("authority");
    let identities: Vec<Identity> = ["localhost", "localhost"].map(|name| authority.signs(name)).into();
    identities[0].write(dir.path());
    let server = identified(dir.path(), |builder| builder);
    let seen = |stream: &mut TlsStream| {
        put(stream, "/f", b"x");
        identities.iter().position(|own| certificate_of(stream) == own.certificate.der().to_vec())
    };
    let client = config();
    let mut first = connect(server.address(), &client);
    assert_eq!(seen(&mut first), Some(0));
    identities[1].write(dir.path());
    server.handle().reload();
    wait_until("the new certificate", || seen(&mut connect(server.address(), &config())) == Some(1));
    assert_eq!(seen(&mut first), Some(0), "this one continues");
    let mut resumed = connect(server.address(), &client);
    assert_eq!((seen(&mut resumed), resumed.conn.handshake_kind()), (Some(0), Some(HandshakeKind::Resumed)));
}

#[test]
fn a_reload_in_the_middle_of_many_transfers_breaks_none() {
    let dir = TempDir::new().expect("a temporary folder");
    let authority = Authority::new("authority");
    authority.signs("localhost").write(dir.path());
    let server = identified(dir.path(), |builder| builder);
    let bytes = content(3, 3_000_000);
    fs::write(server.path("f"), &bytes).expect("the folder is there");
    let mut streams: Vec<_> = (0..20).map(|_| connect(server.address(), &config())).collect();
    for stream in &mut streams {
        stream.write_all(b"GET /f HTTP/1.0\r\nHost: localhost\r\n\r\n").expect("the server reads");
    }
    for (nth, stream) in streams.iter_mut().enumerate() {
        let mut heard = Vec::new();
        std::io::Read::by_ref(stream).take(100_000).read_to_end(&mut heard).expect("a part in time");
        if nth % 5 == 0 {
            authority.signs("localhost").write(dir.path());
            server.handle().reload();
        }
        stream.read_to_end(&mut heard).expect("an end");
        assert!(heard.ends_with(&bytes), "{nth}");
    }
}

#[test]
fn a_client_may_show_a_certificate_of_the_authority_and_no_other() {
    let dir = TempDir::new().expect("a temporary folder");
    let (authority, other) = (Authority::new("authority"), Authority::new("another"));
    authority.signs("localhost").write(dir.path());
    fs::write(dir.path().join("ca.pem"), authority.pem()).expect("the folder is there");
    let server = identified(dir.path(), |builder| builder.tls_client_ca(dir.path().join("ca.pem")));
    let ask = |config: &Arc<ClientConfig>| {
        let mut stream = connect(server.address(), config);
        let request = b"GET /missing HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let mut reply = [0; 12];
        stream.write_all(request).and_then(|()| stream.read_exact(&mut reply)).is_ok()
    };
    let known = showing(&authority.signs("box7"));
    assert!(ask(&known) && ask(&known), "the second time it is resumed");
    assert!(ask(&config()), "without one");
    assert!(!ask(&showing(&other.signs("box7"))));
    await_failed(&server, 1);
}

#[test]
fn a_client_may_end_its_stream_after_a_handshake_in_which_its_certificate_is_asked_for() {
    let dir = TempDir::new().expect("a temporary folder");
    let authority = Authority::new("authority");
    authority.signs("localhost").write(dir.path());
    fs::write(dir.path().join("ca.pem"), authority.pem()).expect("the folder is there");
    let server = identified(dir.path(), |builder| builder.tls_client_ca(dir.path().join("ca.pem")));
    fs::write(server.path("small"), b"small").expect("the folder is there");
    for count in [1, 60] {
        let mut streams: Vec<_> = (0..count).map(|_| connect(server.address(), &config())).collect();
        let mut flights = Vec::new();
        for TlsStream { conn, sock, .. } in &mut streams {
            conn.write_tls(sock).expect("the server reads");
        }
        for TlsStream { conn, sock, .. } in &mut streams {
            // Until only its own last messages are missing.
            while conn.is_handshaking() && !conn.wants_write() {
                conn.read_tls(sock).expect("the server answers");
                conn.process_new_packets().expect("a handshake");
            }
        }
        for TlsStream { conn, .. } in &mut streams {
            conn.writer()
                .write_all(b"GET /small HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                .expect("memory");
            conn.send_close_notify();
            let mut flight = Vec::new();
            while conn.wants_write() {
                conn.write_tls(&mut flight).expect("memory");
            }
            flights.push(flight);
        }
        // The last of the handshake, the request and the end, together.
        for (stream, flight) in streams.iter_mut().zip(flights) {
            stream.sock.write_all(&flight).expect("the server reads");
            stream.sock.shutdown(Shutdown::Write).expect("a socket");
        }
        for stream in &mut streams {
            let mut reply = Vec::new();
            let _ = stream.read_to_end(&mut reply);
            assert!(reply.ends_with(b"small"), "{}", String::from_utf8_lossy(&reply));
        }
    }
}

#[test]
fn a_certificate_of_its_own_is_made_once_and_its_key_is_for_the_owner_only() {
    let dir = TempDir::new().expect("a temporary folder");
    let own = dir.path().join("tls/own");
    let start = || {
        let listen = "http@127.0.0.1:0?tls".parse().expect("an address");
        Running::with(|builder| builder.tls_self_signed(&own).listen_at(listen))
    };
    let see = |server: &Running| {
        let mut stream = connect(server.address(), &config());
        put(&mut stream, "/f", b"x");
        certificate_of(&stream)
    };
    let first = see(&start());
    assert_eq!(see(&start()), first);
    let mode = fs::metadata(own.join("key.pem")).expect("a key").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(fs::read_dir(&own).expect("the folder is there").count(), 2);
}

#[test]
fn a_server_without_a_certificate_does_not_start_and_says_what_is_missing() {
    let dir = TempDir::new().expect("a temporary folder");
    fs::write(dir.path().join("empty"), "").expect("the folder is there");
    let path = |name: &str| dir.path().join(name);
    let build = |change: &dyn Fn(Builder) -> Builder| {
        let listen = "line@127.0.0.1:0?tls".parse().expect("an address");
        let server = change(Server::builder().root(path("root")).listen_at(listen)).build();
        server.err().expect("it cannot start").to_string()
    };
    assert!(build(&|builder| builder).contains("--tls-cert"));
    for with in [Builder::tls_self_signed, Builder::tls_client_ca] {
        let server = with(Server::builder().root(path("root")).listen("127.0.0.1:0"), path("own")).build();
        assert!(server.err().expect("nothing is encrypted").to_string().contains("?tls"));
    }
    assert!(build(&|builder| builder.tls(path("none"), path("none"))).contains("/none: No such file"));
    assert!(build(&|builder| builder.tls(path("empty"), path("empty"))).contains("/empty: there is no certificate"));
    assert!(!path("root").exists(), "nothing is half started");
}

#[test]
fn a_key_and_a_secret_that_every_user_can_read_are_named_in_a_warning() {
    let dir = TempDir::new().expect("a temporary folder");
    let path = |name: &str| dir.path().join(name).display().to_string();
    Authority::new("authority").signs("localhost").write(dir.path());
    fs::write(path("token"), "a secret").expect("the folder is there");
    for (mode, warns) in [(0o644, true), (0o604, true), (0o640, false), (0o600, false)] {
        for name in ["key.pem", "token"] {
            fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).expect("it is there");
        }
        let [certificate, key, token] = ["cert.pem", "key.pem", "token"].map(path);
        let options = ["--listen", "line@127.0.0.1:0?tls", "--tls-cert", &certificate, "--tls-key", &key];
        let options = [&options[..], &["--token-file", &token]].concat();
        let (program, log) = logging(&dir.path().join("root"), &options, Stdio::piped());
        drop(program);
        let mut text = String::new();
        log.expect("a pipe").read_to_string(&mut text).expect("text");
        for file in [&key, &token] {
            assert_eq!(text.contains(&format!("chmod 600 {file}")), warns, "{mode:o}: {text}");
        }
    }
}
