//! What reading requests costs: nanoseconds per line, name and range.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench ends at the first surprise")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

use filewharf::wire::key;
use filewharf::wire::line::{self, LINE_LEN_MAX};
use filewharf::wire::range::ByteRange;

const GET: &str = "GET /inbox/photo.jpg\n";
const PUT: &str =
    "PUT 1048576 if=00112233445566778899aabbccddeeff mtime=1700000000 trailer=sha256 /a folder/some file.bin\n";
const LIST: &str = "LIST limit=1000 after=some%20file.bin /a folder/\n";

fn longest() -> String {
    let component = "x".repeat(200);
    let options = format!("after={}", "%20".repeat(1000));
    let path = [&*component; 4].join("/");
    format!("LIST {options} /{path}\n")
}

fn lines(c: &mut Criterion) {
    let longest = longest();
    assert!(longest.len() <= LINE_LEN_MAX);
    let mut group = c.benchmark_group("parse");
    for (name, text) in [("get", GET), ("put with options", PUT), ("list", LIST), ("longest line", &longest)] {
        let bytes = text.as_bytes();
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                let (line, used) = line::cut(black_box(bytes)).unwrap().unwrap();
                let request = line::request(line).unwrap();
                let path = key::absolute(request.path.as_bytes()).unwrap();
                black_box((path, request.options.len(), used))
            });
        });
    }
    group.throughput(Throughput::Bytes(GET.len() as u64));
    group.bench_function("get, one byte at a time", |b| {
        b.iter(|| {
            let bytes = black_box(GET.as_bytes());
            (1..=bytes.len()).find_map(|len| line::cut(&bytes[..len]).unwrap().map(|(line, _)| line.len()))
        });
    });
    group.finish();
}

fn pieces(c: &mut Criterion) {
    let mut group = c.benchmark_group("pieces");
    group.bench_function("key", |b| b.iter(|| key::absolute(black_box(b"/inbox/2024/photo one.jpg")).unwrap()));
    group.bench_function("range", |b| {
        b.iter(|| ByteRange::parse(black_box("1048576-2097151")).unwrap().resolve(1 << 30).unwrap());
    });
    group.bench_function("reply", |b| {
        let reply = "OK 4096 etag=00112233445566778899aabbccddeeff mtime=1700000000";
        b.iter(|| line::Reply::parse(black_box(reply)).unwrap());
    });
    group.finish();
}

criterion_group!(benches, lines, pieces);
criterion_main!(benches);
