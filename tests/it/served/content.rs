//! Bytes in, the same bytes out: sizes, framings, trailers, ranges, versions.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use super::{Setting, in_every_setting};
use support::client::{Client, assert_same, content, sha256, value};

in_every_setting!(
    files_of_every_size_come_back_as_they_were,
    bodies_in_chunks_are_stored_whole,
    trailers_are_right_both_ways,
    a_wrong_trailer_stores_nothing,
    ranges_are_cut_out_of_the_file,
    the_modification_time_is_kept,
    a_thousand_requests_may_be_pipelined,
    a_half_closed_client_gets_every_answer,
    a_put_and_the_next_requests_may_share_a_packet,
);

/// Sizes on both sides of every boundary inside.
fn sizes(setting: &Setting) -> Vec<usize> {
    let mut sizes = vec![0, 1, 6, 7, 8, 4095, 4096, 65_535, 65_536, 65_537, (1 << 20) + 1, 20 << 20];
    sizes.retain(|size| *size <= setting.largest);
    sizes
}

/// The body of a `PUT *`, in chunks of growing size.
fn chunked(bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    let (mut rest, mut size) = (bytes, 1);
    while !rest.is_empty() {
        let (chunk, tail) = rest.split_at(size.min(rest.len()));
        body.extend(format!("{:x}\n", chunk.len()).bytes());
        body.extend(chunk);
        rest = tail;
        size = (size * 3 + 1).min(200_000);
    }
    body.extend(b"0\n");
    body
}

fn files_of_every_size_come_back_as_they_were(setting: &Setting) {
    let server = setting.start();
    let mut client = server.client();
    for (seed, size) in sizes(setting).into_iter().enumerate() {
        let path = format!("/folder/of {size}/file");
        let bytes = content(seed as u64, size);
        let etag = client.put(&path, &bytes);
        let on_disk = fs::read(server.path(&path[1..])).expect("the file is there");
        assert_same(&on_disk, &bytes, &path);
        let (line, body) = client.fetch(&format!("GET {path}"));
        assert_same(&body, &bytes, &path);
        assert_eq!(value(&line, "etag").as_ref(), Some(&etag));
        let line = client.ask(&format!("STAT {path}"));
        assert_eq!(value(&line, "size"), Some(size.to_string()));
        assert_eq!(value(&line, "etag"), Some(etag));
    }
    drop(client);
    server.wait_until_quiet();
    let counters = server.counters();
    let total = sizes(setting).iter().sum::<usize>() as u64;
    assert_eq!((counters.bytes_in, counters.bytes_out), (total, total));
    assert_eq!(counters.failed, 0);
}

fn bodies_in_chunks_are_stored_whole(setting: &Setting) {
    let server = setting.start();
    let mut client = server.client();
    for (seed, size) in sizes(setting).into_iter().enumerate() {
        let bytes = content(seed as u64 + 100, size);
        client.send("PUT * /chunks\n");
        client.send(chunked(&bytes));
        let line = client.line();
        assert!(line.starts_with("OK 0 etag="), "{size}: {line}");
        assert_same(&client.get("/chunks"), &bytes, &format!("{size} in chunks"));
    }
}

fn trailers_are_right_both_ways(setting: &Setting) {
    let server = setting.start();
    let mut client = server.client();
    // Digests are slow in a debug build.
    for (seed, size) in sizes(setting).into_iter().filter(|size| *size < 2 << 20).enumerate() {
        let bytes = content(seed as u64 + 200, size);
        let trailer = format!("sha256={}\n", sha256(&bytes));
        client.send(format!("PUT {size} trailer=sha256 /counted\n"));
        client.send(&bytes);
        client.send(&trailer);
        assert!(client.line().starts_with("OK 0 etag="), "counted, {size}");
        client.send("PUT * trailer=sha256 /chunks\n");
        client.send(chunked(&bytes));
        client.send(&trailer);
        assert!(client.line().starts_with("OK 0 etag="), "in chunks, {size}");
        for path in ["/counted", "/chunks"] {
            let (_, body) = client.fetch(&format!("GET trailer=sha256 {path}"));
            assert_same(&body, &bytes, path);
            assert_eq!(client.line() + "\n", trailer, "{path} of {size}");
        }
    }
}

fn a_wrong_trailer_stores_nothing(setting: &Setting) {
    let server = setting.start();
    let mut client = server.client();
    let old = content(1, 300.min(setting.largest));
    client.put("/file", &old);
    for size in sizes(setting).into_iter().filter(|size| *size > 0 && *size < 1 << 20) {
        let bytes = content(2, size);
        client.send(format!("PUT {size} trailer=sha256 /file\n"));
        client.send(&bytes);
        client.send(format!("sha256={}\n", sha256(&old)));
        let line = client.line();
        assert!(line.starts_with("ERR 422 "), "{size}: {line}");
        client.send(format!("PUT {size} sha256={} /file\n", sha256(&old)));
        client.send(&bytes);
        let line = client.line();
        assert!(line.starts_with("ERR 422 "), "{size}: {line}");
        assert_same(&client.get("/file"), &old, "the old file");
    }
    drop(client);
    server.wait_until_quiet();
}

// covers: odd-ranges
fn ranges_are_cut_out_of_the_file(setting: &Setting) {
    let server = setting.start();
    let mut client = server.client();
    let size = setting.largest.min((1 << 20) + 1);
    let bytes = content(3, size);
    client.put("/file", &bytes);
    let last = size - 1;
    let cases = [
        ("0-0".to_owned(), 0..1),
        (format!("0-{last}"), 0..size),
        ("1-".to_owned(), 1..size),
        (format!("{last}-"), last..size),
        ("-1".to_owned(), last..size),
        (format!("-{}", size * 2), 0..size),
        ("3-77".to_owned(), 3..78),
        (format!("{}-{}", size / 2, size * 2), size / 2..size),
        (format!("{}-{}", size / 3, size / 2), size / 3..size / 2 + 1),
    ];
    for (range, wanted) in cases {
        let (line, body) = client.fetch(&format!("GET range={range} /file"));
        let said = format!("{}-{}/{size}", wanted.start, wanted.end - 1);
        assert_eq!(value(&line, "range"), Some(said), "{range}");
        assert_same(&body, &bytes[wanted.clone()], &range);
        let (_, body) = client.fetch(&format!("GET trailer=sha256 range={range} /file"));
        assert_same(&body, &bytes[wanted.clone()], &range);
        assert_eq!(client.line(), format!("sha256={}", sha256(&bytes[wanted])));
    }
    client.expect(&format!("GET range={size}- /file"), "ERR 416 ");
    client.expect("GET range=5-4 /file", "ERR 400 ");
    client.put("/empty", b"");
    client.expect("GET range=0- /empty", "ERR 416 ");
    client.expect("PING", "OK 0");
}

fn the_modification_time_is_kept(setting: &Setting) {
    let server = setting.start();
    let mut client = server.client();
    for size in [5, setting.largest.min(100_000)] {
        for seconds in [0_i64, 1, 1_000_000_000, 4_102_444_800, -1, -2_000_000_000] {
            let bytes = content(5, size);
            assert!(client.try_put(&format!("mtime={seconds} /file"), &bytes).starts_with("OK "));
            let (line, _) = client.fetch("GET /file");
            assert_eq!(value(&line, "mtime"), Some(seconds.to_string()));
            let on_disk = fs::metadata(server.path("file")).expect("its times");
            assert_eq!((on_disk.mtime(), on_disk.mtime_nsec()), (seconds, 0));
        }
    }
}

// covers: pipelined
fn a_thousand_requests_may_be_pipelined(setting: &Setting) {
    let server = setting.start();
    let mut client = server.client();
    client.put("/file", b"content");
    let mut requests = String::new();
    for n in 0..1000 {
        requests += match n % 4 {
            0 => "PING\n",
            1 => "GET /file\n",
            2 => "STAT /none\n",
            _ => "PUT 3 /other\nabc",
        };
    }
    let mut writer = client.stream.try_clone().expect("a socket can be cloned");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            use std::io::Write as _;
            writer.write_all(requests.as_bytes()).expect("the server reads");
        });
        for n in 0..1000 {
            let line = client.line();
            match n % 4 {
                0 => assert_eq!(line, "OK 0", "{n}"),
                1 => {
                    assert!(line.starts_with("OK 7 etag="), "{n}: {line}");
                    assert_eq!(client.bytes(7), b"content", "{n}");
                }
                2 => assert_eq!(line, "ERR 404 no such file or folder: /none", "{n}"),
                _ => assert!(line.starts_with("OK 0 etag="), "{n}: {line}"),
            }
        }
    });
    client.expect("PING", "OK 0");
}

// covers: half-close
fn a_half_closed_client_gets_every_answer(setting: &Setting) {
    let server = setting.start();
    let bytes = content(6, setting.largest.min(3 << 20));
    let mut client = server.client();
    client.send(format!("PING\nPUT {} /file\n", bytes.len()));
    client.send(&bytes);
    client.send("GET /file\nSTAT /none\n");
    client.finish();
    assert_eq!(client.line(), "OK 0");
    assert!(client.line().starts_with("OK 0 etag="));
    assert!(client.line().starts_with(&format!("OK {} etag=", bytes.len())));
    assert_same(&client.bytes(bytes.len()), &bytes, "after our half was closed");
    assert!(client.line().starts_with("ERR 404 "));
    client.expect_eof();
    drop(client);
    server.wait_until_quiet();
}

// covers: pipelined more-body-than-announced
fn a_put_and_the_next_requests_may_share_a_packet(setting: &Setting) {
    let server = setting.start();
    for size in sizes(setting).into_iter().filter(|size| *size < 1 << 20) {
        let bytes = content(7, size);
        let mut all = format!("PUT {size} /a\n").into_bytes();
        all.extend(&bytes);
        all.extend(b"PUT * /b\n");
        all.extend(chunked(&bytes));
        all.extend(b"RENAME /b\t/c\nGET /a\nGET /c\nDELETE /a\nDELETE /c\nQUIT\n");
        let mut client = server.client();
        client.send(&all);
        assert_conversation(&mut client, &bytes);
    }
}

fn assert_conversation(client: &mut Client, bytes: &[u8]) {
    assert!(client.line().starts_with("OK 0 etag="));
    assert!(client.line().starts_with("OK 0 etag="));
    assert_eq!(client.line(), "OK 0");
    for path in ["/a", "/c"] {
        assert!(client.line().starts_with(&format!("OK {} ", bytes.len())));
        assert_same(&client.bytes(bytes.len()), bytes, path);
    }
    for _ in 0..3 {
        assert_eq!(client.line(), "OK 0");
    }
    client.expect_eof();
}

#[test]
fn the_smallest_kernel_buffers_only_make_it_slower() {
    let server = support::client::Running::limited(|limits| {
        limits.fixed.recv_buffer_bytes = 1;
        limits.fixed.send_buffer_bytes = 1;
    });
    let bytes = content(8, 10_000);
    let mut client = server.client();
    client.put("/file", &bytes);
    assert_same(&client.get("/file"), &bytes, "through a window of a few hundred bytes");
}
