//! Requests that break the grammar, lie about sizes, or are not requests at all.

use filewharf::config::Limits;

use support::client::{Client, Running, content, random, visible};

/// One connection that sends this and hears that, then the server closes.
#[track_caller]
fn refused_for_good(server: &Running, request: &[u8], reply: &str) {
    let mut client = server.client();
    client.send_in_vain(request);
    let said = client.last_words();
    let shown = request[..request.len().min(60)].escape_ascii();
    assert!(said.starts_with(reply) && said.lines().count() == 1, "{shown}: {said:?} and not {reply:?}");
}

// covers: other-protocol endless-head odd-lengths impossible-size
#[test]
fn a_request_that_cannot_be_read_or_taken_is_refused_and_the_connection_closed() {
    let server = Running::start();
    let requests: [&[u8]; 12] = [
        b"FETCH /x\n",
        b"get /x\n",
        b" GET /x\n",
        b"\0\n",
        b"\xff\xfe\n",
        b"GET\0/x\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        b"EHLO example.org\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abc\n",
        b"{\"jsonrpc\": \"2.0\"}\n",
        b"PUT\n",
    ];
    requests.iter().for_each(|request| refused_for_good(&server, request, "ERR 400 "));
    let thirty = "1".repeat(30);
    for size in ["+5", "-1", "5x", "0x5", "5,5", "5.0", "", "٣", "18446744073709551616", &thirty, "**", "5 5"] {
        refused_for_good(&server, format!("PUT {size} /x\nhello").as_bytes(), "ERR 400 ");
    }
    for size in ["1099511627777", "9223372036854775807", "9223372036854775808", "18446744073709551615"] {
        refused_for_good(&server, format!("PUT {size} /x\n").as_bytes(), "ERR 413 ");
    }
    for len in [4097, 8192, 8193, 100_000, 2_000_000] {
        refused_for_good(&server, &vec![b'a'; len], "ERR 400 ");
        // This could still become a request line of HTTP, which may be longer.
        let mut named = b"GET /".to_vec();
        named.resize(len.max(8192), b'a');
        refused_for_good(&server, &named, "ERR 400 ");
    }
    server.assert_serves();
    server.wait_until_quiet();
    assert_eq!(visible(&server.path("")), Vec::<String>::new());
}

// covers: endless-head
#[test]
fn the_longest_line_is_served_and_one_byte_more_is_not() {
    let server = Running::start();
    let mut client = server.client();
    let line = |len: usize| format!("GET {}\n", "/aaaaaaa".repeat(len)[..len - 5].to_owned());
    // A key this long is refused for itself, and the conversation continues.
    client.send(line(4096));
    assert!(client.line().starts_with("ERR 4"), "4096 bytes are a line");
    client.expect("PING", "OK 0");
    refused_for_good(&server, line(4097).as_bytes(), "ERR 400 ");
}

// covers: impossible-size
#[test]
fn a_size_that_no_disk_has_is_refused_or_fails_without_being_allocated() {
    let server = Running::limited(|limits| limits.live.request_bytes_max = u64::MAX);
    for size in ["9223372036854775807", "18446744073709551615"] {
        let mut client = server.client();
        client.send(format!("PUT {size} /x\nx"));
        client.finish();
        let said = client.last_words();
        assert!(said.starts_with("ERR "), "{said}");
    }
    server.assert_serves();
    server.wait_until_quiet();
    assert_eq!(visible(&server.path("")), Vec::<String>::new());
}

// covers: refused-while-sending
#[test]
fn a_refused_body_is_thrown_away_and_the_next_request_found() {
    let server = Running::start();
    let mut client = server.client();
    for size in [0, 1, 70_000, 1 << 20] {
        assert!(client.try_put("/a/../x", &content(1, size)).starts_with("ERR 400 "), "{size}");
        client.expect("PING", "OK 0");
    }
    drop(client);
    // Beyond the bound the answer still arrives, then the connection closes.
    let mut client = server.client();
    client.send_in_vain(format!("PUT {} /a/../x\n", 3 << 20));
    let mut writer = client.stream.try_clone().expect("a socket can be cloned");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let _ = std::io::Write::write_all(&mut writer, &content(1, 3 << 20));
        });
        assert!(client.line().starts_with("ERR 400 "));
        let _ = client.rest();
    });
    drop(client);
    server.assert_serves();
    server.wait_until_quiet();
}

// covers: random-bytes
#[test]
fn random_bytes_never_stop_the_server() {
    let server = Running::limited(|limits: &mut Limits| limits.fixed.chunk_bytes = 100);
    let mut seed = 42;
    let verbs =
        ["PUT 5", "PUT *", "GET", "LIST", "STAT", "DELETE", "RENAME", "AUTH", "PUT 999", "PUT 5 trailer=sha256"];
    for round in 0..200_u64 {
        let mut client = server.client();
        let mut bytes = Vec::new();
        for _ in 0..=random(&mut seed) % 5 {
            if round % 2 == 0 {
                let verb = verbs[random(&mut seed) as usize % verbs.len()];
                bytes.extend(format!("{verb} /x{}\n", round % 10).bytes());
            }
            bytes.extend(content(random(&mut seed), random(&mut seed) as usize % 3000));
        }
        client.send_in_vain(&bytes);
        let mut writer = client.stream.try_clone().expect("a socket can be cloned");
        match random(&mut seed) % 3 {
            0 => client.reset(),
            1 => drop(client),
            _ => hear_out(client, &mut writer),
        }
    }
    server.assert_serves();
    server.wait_until_quiet();
}

fn hear_out(mut client: Client, writer: &mut std::net::TcpStream) {
    let _ = writer.shutdown(std::net::Shutdown::Write);
    for line in client.rest().0.split(|byte| *byte == b'\n').take(1) {
        let known = line.is_empty() || line.starts_with(b"OK ") || line.starts_with(b"ERR ");
        assert!(known, "{}", line.escape_ascii());
    }
}
