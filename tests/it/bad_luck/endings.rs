//! Connections that end early: at every byte of a conversation, politely or with a reset.

use std::fs;

use filewharf::error::CloseReason;

use crate::client::{Running, assert_same, content, visible, wait_until};

/// One upload in several framings, small and large, as it goes over the wire.
fn uploads() -> Vec<Vec<u8>> {
    let small = content(1, 40);
    let large = content(2, 3000);
    let mut chunks = b"PUT * /file\n".to_vec();
    for chunk in large.chunks(1100) {
        chunks.extend(format!("{:x}\n", chunk.len()).bytes());
        chunks.extend(chunk);
    }
    chunks.extend(b"0\n");
    let trailer = format!("sha256={}\n", crate::client::sha256(&small));
    vec![
        [b"PUT 40 /file\n", &small[..]].concat(),
        [b"PUT 40 trailer=sha256 /file\n", &small[..], trailer.as_bytes()].concat(),
        [b"PUT 3000 /file\n", &large[..]].concat(),
        chunks,
    ]
}

/// A server on which 3,000 bytes do not fit a chunk, and a few bytes are a lot.
fn server() -> Running {
    Running::limited(|limits| {
        limits.chunk_bytes = 1000;
        limits.read_buffer_bytes = 700;
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

#[test]
fn an_upload_that_ends_early_leaves_the_old_file_and_nothing_else() {
    let server = server();
    server.client().put("/file", b"the old content");
    for upload in uploads() {
        for offset in offsets(upload.len()) {
            let mut client = server.client();
            client.send(&upload[..offset]);
            client.finish();
            let said = client.last_words();
            assert!(!said.contains("OK"), "acknowledged {offset} of {} bytes: {said}", upload.len());
        }
    }
    server.wait_until_quiet();
    assert_eq!(fs::read(server.path("file")).expect("the old file"), b"the old content");
    assert_eq!(visible(&server.path("")), ["file"]);
    server.assert_serves();
}

#[test]
fn a_reset_at_any_byte_of_an_upload_leaves_the_old_file_and_nothing_else() {
    let server = server();
    server.client().put("/file", b"the old content");
    for upload in uploads() {
        for offset in offsets(upload.len()) {
            let mut client = server.client();
            client.send(&upload[..offset]);
            client.reset();
        }
    }
    server.assert_serves();
    server.wait_until_quiet();
    assert_eq!(fs::read(server.path("file")).expect("the old file"), b"the old content");
    assert_eq!(visible(&server.path("")), ["file"]);
}

#[test]
fn a_complete_upload_is_stored_even_if_nobody_hears_it() {
    let server = server();
    for (n, upload) in uploads().into_iter().enumerate() {
        for half in [true, false] {
            let stored = server.counters().requests[4];
            let mut client = server.client();
            client.send(&upload);
            if half {
                client.finish();
            }
            drop(client);
            wait_until("the upload is stored", || server.counters().requests[4] > stored);
            let wanted = if n < 2 { content(1, 40) } else { content(2, 3000) };
            assert_same(&fs::read(server.path("file")).expect("the file"), &wanted, "nobody heard of it");
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

#[test]
fn a_storm_of_resets_leaves_nothing_behind() {
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
