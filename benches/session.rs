//! The server without the kernel: the real reactor on the platform in memory that the tests use.
//! What is measured includes that platform, which copies every byte through a queue.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench ends at the first surprise")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use filewharf::access::Access;
use filewharf::config::Limits;

use support::rig::{Mode, Peer, Rig};

const MIB: usize = 1 << 20;

fn rig() -> (Rig, Peer) {
    let mut rig = Rig::new(Mode::PLAIN, Limits::default(), Access::default());
    let peer = rig.connect();
    (rig, peer)
}

fn put(len: usize, options: &str, content: &[u8]) -> Vec<u8> {
    let mut bytes = format!("PUT {len} {options}/file\n").into_bytes();
    bytes.extend_from_slice(content);
    bytes
}

/// Asks again and again on one connection. What was heard is thrown away now and then, so that the
/// memory of the rig does not grow.
fn ask(c: &mut Criterion, group: &str, name: &str, bytes: u64, setup: &[u8], request: &[u8]) {
    let mut group = c.benchmark_group(group);
    group.throughput(if bytes == 0 { Throughput::Elements(1) } else { Throughput::Bytes(bytes) });
    let started = || {
        let (mut rig, peer) = rig();
        rig.send(&peer, setup);
        (rig, peer)
    };
    group.bench_function(name, |b| {
        b.iter_batched_ref(started, |(rig, peer)| rig.send(peer, request), BatchSize::NumIterations(16));
    });
    let (mut rig, peer) = started();
    rig.send(&peer, request);
    let heard = peer.heard();
    assert!(!heard.windows(4).any(|word| word == b"ERR "), "{}", heard[..heard.len().min(200)].escape_ascii());
    group.finish();
}

fn small(c: &mut Criterion) {
    let upload = put(16, "", &[b'x'; 16]);
    ask(c, "session requests", "ping", 0, b"", b"PING\n");
    ask(c, "session requests", "get of 16 bytes", 0, &upload, b"GET /file\n");
    ask(c, "session requests", "put of 16 bytes", 0, b"", &upload);
    let pipelined = b"GET /file\n".repeat(64);
    ask(c, "session requests", "64 gets of 16 bytes, pipelined", 0, &upload, &pipelined);
}

fn large(c: &mut Criterion) {
    let content = vec![b'x'; MIB];
    let digest = {
        use sha2::Digest as _;
        filewharf::wire::line::hex(&sha2::Sha256::digest(&content))
    };
    let plain = put(MIB, "", &content);
    let checked = put(MIB, &format!("sha256={digest} "), &content);
    ask(c, "session 1 MiB", "put", MIB as u64, b"", &plain);
    ask(c, "session 1 MiB", "put with sha256", MIB as u64, b"", &checked);
    ask(c, "session 1 MiB", "get", MIB as u64, &plain, b"GET /file\n");
    ask(c, "session 1 MiB", "get with sha256", MIB as u64, &plain, b"GET trailer=sha256 /file\n");
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .measurement_time(std::time::Duration::from_secs(2))
        .warm_up_time(std::time::Duration::from_millis(500))
        .sample_size(20);
    targets = small, large
}
criterion_main!(benches);
