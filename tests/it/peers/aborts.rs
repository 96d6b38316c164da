//! Connections that end early: at every byte of a conversation, politely or with a reset.

use std::fs;

use filewharf::error::CloseReason;

use support::client::{Running, assert_same, content, visible, wait_until};

/// One upload, as it goes over the wire.
struct Upload {
    wire: Vec<u8>,
    content: Vec<u8>,
    /// How the reply begins if it is stored.
    stored: &'static str,
}

/// In several framings, small and large, in both protocols.
fn uploads() -> Vec<Upload> {
    let (small, large) = (content(1, 40), content(2, 3000));
    let chunks = |end: &str| {
        let mut chunks = Vec::new();
        for chunk in large.chunks(1100) {
            chunks.extend(format!("{:x}{end}", chunk.len()).bytes());
            chunks.extend(chunk);
            chunks.extend(if end == "\n" { "".bytes() } else { end.bytes() });
        }
        chunks
    };
    let trailer = format!("sha256={}\n", support::client::sha256(&small));
    let http = |field: &str| format!("PUT /file HTTP/1.1\r\nHost: localhost\r\n{field}\r\n\r\n").into_bytes();
    let line = |wire: Vec<u8>, content: &[u8]| Upload { wire, content: content.to_vec(), stored: "OK 0 " };
    let web = |wire: Vec<u8>, content: &[u8]| Upload { wire, content: content.to_vec(), stored: "HTTP/1.1 20" };
    vec![
        line([b"PUT 40 /file\n", &small[..]].concat(), &small),
        line([b"PUT 40 trailer=sha256 /file\n", &small[..], trailer.as_bytes()].concat(), &small),
        line([b"PUT 3000 /file\n", &large[..]].concat(), &large),
        line([b"PUT * /file\n", &chunks("\n")[..], b"0\n"].concat(), &large),
        web([http("Content-Length: 40"), small.clone()].concat(), &small),
        web([http("Content-Length: 3000"), large.clone()].concat(), &large),
        web([http("Transfer-Encoding: chunked"), chunks("\r\n"), b"0\r\n\r\n".to_vec()].concat(), &large),
    ]
}

/// A server on which 3,000 bytes do not fit a chunk, and a few bytes are a lot.
fn server() -> Running {
    Running::limited(|limits| {
        limits.fixed.chunk_bytes = 1000;
        limits.fixed.read_buffer_bytes = 700;
    })
}

/// Every offset of a short one, every boundary and some others of a long one.
fn offsets(len: usize) -> Vec<usize> {
    let mut offsets: Vec<usize> = (0..len.min(60)).chain(len.saturating_sub(30)..len).collect();
    offsets.extend((0..len).step_by(311));
    offsets.sort_unstable();
    offsets.dedup();
    offsets
}

// covers: stream-ends-in-upload
#[test]
fn an_upload_that_ends_early_leaves_the_old_file_and_nothing_else() {
    let server = server();
    server.client().put("/file", b"the old content");
    for upload in uploads() {
        for offset in offsets(upload.wire.len()) {
            let mut client = server.client();
            client.send(&upload.wire[..offset]);
            client.finish();
            let said = client.last_words();
            assert!(!said.starts_with(upload.stored), "acknowledged {offset} of {}: {said}", upload.wire.len());
        }
    }
    server.wait_until_quiet();
    assert_eq!(fs::read(server.path("file")).expect("the old file"), b"the old content");
    assert_eq!(visible(&server.path("")), ["file"]);
    server.assert_serves();
}

// covers: reset-in-upload
#[test]
fn a_reset_at_any_byte_of_an_upload_leaves_the_old_file_and_nothing_else() {
    let server = server();
    server.client().put("/file", b"the old content");
    for upload in uploads() {
        for offset in offsets(upload.wire.len()) {
            let mut client = server.client();
            client.send(&upload.wire[..offset]);
            client.reset();
        }
    }
    server.assert_serves();
    server.wait_until_quiet();
    assert_eq!(fs::read(server.path("file")).expect("the old file"), b"the old content");
    assert_eq!(visible(&server.path("")), ["file"]);
}

// covers: close-after-sending
#[test]
fn a_complete_upload_is_stored_even_if_its_reply_is_not_read() {
    let server = server();
    for upload in uploads() {
        for half in [true, false] {
            let stored = server.counters().requests[4];
            let mut client = server.client();
            client.send(&upload.wire);
            if half {
                client.finish();
            }
            drop(client);
            wait_until("the upload is stored", || server.counters().requests[4] > stored);
            assert_same(&fs::read(server.path("file")).expect("the file"), &upload.content, "nobody heard of it");
        }
    }
    server.wait_until_quiet();
}

#[test]
fn a_reader_that_leaves_in_the_middle_costs_nothing() {
    for portable in [false, true] {
        let server = Running::with(|builder| builder.portable(portable));
        let bytes = content(3, 8 << 20);
        server.client().put("/file", &bytes);
        for n in 0..20_usize {
            let mut client = server.client();
            client.send(if n % 2 == 0 { "GET /file\n" } else { "GET trailer=sha256 /file\n" });
            let _ = client.line();
            let _ = client.bytes(n * n * 1000);
            if n % 3 == 0 { client.reset() } else { drop(client) }
        }
        server.wait_until_quiet();
        assert!(server.closed(CloseReason::PeerReset) > 0);
        assert_same(&server.client().get("/file"), &bytes, "afterwards");
    }
}

// covers: storm-of-resets
#[test]
fn a_storm_of_resets_leaves_nothing() {
    let server = Running::start();
    for n in 0..500 {
        let mut client = server.client();
        if n % 2 == 0 {
            client.send_in_vain("PUT 100000 /file\nhalf");
        }
        client.reset();
    }
    server.assert_serves();
    server.wait_until_quiet();
    assert_eq!(visible(&server.path("")), Vec::<String>::new());
}
