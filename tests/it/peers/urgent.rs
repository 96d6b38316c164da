//! Urgent data (`MSG_OOB`): one byte outside of the stream. The system stops a `recv` short of where it
//! stood, and steps over it: nothing of that may be seen in what is stored or answered.

use support::client::{Client, Running, assert_same, content, wait_until};

fn send_urgent(client: &Client) -> std::io::Result<usize> {
    socket2::SockRef::from(&client.stream).send_out_of_band(b"!")
}

/// An upload of each framing, in both protocols, with a request after it; what each says.
fn conversations() -> Vec<(Vec<u8>, Vec<u8>, &'static str)> {
    let (small, large) = (content(1, 40), content(2, 200_000));
    let mut conversations = Vec::new();
    for bytes in [small, large] {
        let (len, half) = (bytes.len(), bytes.len() / 2);
        let chunks = |end: &str| {
            let mut body = Vec::new();
            for (chunk, last) in [(&bytes[..half], ""), (&bytes[half..], "0")] {
                body.extend(format!("{:x}{end}", chunk.len()).bytes());
                body.extend(chunk);
                body.extend(format!("{}{last}", if end == "\n" { "" } else { end }).bytes());
            }
            body.extend(format!("{end}{}", if end == "\n" { "" } else { end }).bytes());
            body
        };
        let uploads = [
            (format!("PUT {len} /file\n"), bytes.clone(), "OK 0 etag=", "PING\n"),
            ("PUT * /file\n".to_owned(), chunks("\n"), "OK 0 etag=", "PING\n"),
            (
                format!("PUT /file HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len}\r\n\r\n"),
                bytes.clone(),
                "HTTP/1.1 20",
                "GET /none HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            ),
            (
                "PUT /file HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
                chunks("\r\n"),
                "HTTP/1.1 20",
                "GET /none HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            ),
        ];
        for (head, body, reply, next) in uploads {
            conversations.push(([head.as_bytes(), &body, next.as_bytes()].concat(), bytes.clone(), reply));
        }
    }
    conversations
}

// covers: urgent-data
#[test]
fn an_urgent_byte_anywhere_in_an_upload_changes_nothing() {
    let server = Running::start();
    for (conversation, bytes, reply) in conversations() {
        let step = conversation.len() / 11;
        let places = (0..conversation.len()).step_by(step).chain([1, conversation.len() - 1, conversation.len()]);
        for place in places {
            let mut client = server.client();
            client.send(&conversation[..place]);
            send_urgent(&client).expect("a socket takes urgent data");
            client.send(&conversation[place..]);
            client.finish();
            let said = client.last_words();
            assert!(said.starts_with(reply), "{place} of {}: {said}", conversation.len());
            let next = if reply.starts_with("OK") { "\nOK 0\n" } else { "\r\nHTTP/1.1 404 " };
            assert!(said.contains(next), "{place} of {}: {said}", conversation.len());
            assert_same(&std::fs::read(server.path("file")).expect("the file"), &bytes, "with an urgent byte");
        }
    }
    server.wait_until_quiet();
    server.assert_serves();
}

// covers: urgent-data
#[test]
fn an_urgent_byte_during_a_download_changes_nothing() {
    let server = Running::start();
    let bytes = content(3, 4 << 20);
    server.client().put("/file", &bytes);
    let mut client = server.client();
    client.send("GET /file\n");
    let line = client.line();
    assert!(line.starts_with("OK 4194304 "), "{line}");
    let mut got = client.bytes(1000);
    send_urgent(&client).expect("a socket takes urgent data");
    got.extend(client.bytes(bytes.len() - 1000));
    assert_same(&got, &bytes, "beside an urgent byte");
    client.expect("PING", "OK 0");
    client.finish();
    client.expect_eof();
    server.wait_until_quiet();
    server.assert_serves();
}

/// Of several urgent bytes only the last one is urgent to the system; the others are bytes of the
/// stream like any. So this is a client that says nonsense, and must be treated as one.
// covers: urgent-data
#[test]
fn a_flood_of_urgent_bytes_stops_no_client() {
    let server = Running::start();
    for begin in [
        "",
        "PING\n",
        "PUT 100000 /file\nhalf",
        "PUT /file HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n",
    ] {
        let mut client = server.client();
        client.send(begin);
        for _ in 0..1000 {
            // A server that has refused it may have closed.
            let _ = send_urgent(&client);
        }
        server.assert_serves();
        client.finish();
        let _ = client.rest();
        drop(client);
        wait_until("the client is gone", || server.counters().open == 0);
    }
    server.wait_until_quiet();
    assert!(!server.path("file").exists());
}
