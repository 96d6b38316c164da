//! What reading requests costs: nanoseconds per line, name and range.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench ends at the first surprise")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

use filewharf::wire::http::chunked::Chunked;
use filewharf::wire::http::{head, target};
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
                let path = key::absolute(request.path).unwrap();
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
    group.bench_function("key", |b| b.iter(|| key::absolute(black_box("/inbox/2024/photo one.jpg")).unwrap()));
    group.bench_function("range", |b| {
        b.iter(|| ByteRange::parse(black_box("1048576-2097151")).unwrap().resolve(1 << 30).unwrap());
    });
    group.bench_function("reply", |b| {
        let reply = "OK 4096 etag=00112233445566778899aabbccddeeff mtime=1700000000";
        b.iter(|| line::Reply::parse(black_box(reply)).unwrap());
    });
    group.finish();
}

const CURL: &str =
    "GET /inbox/photo.jpg HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n";
const BROWSER: &str = "GET /a%20folder/?limit=100 HTTP/1.1\r\nHost: files.example:8080\r\nConnection: keep-alive\r\n\
    Cache-Control: max-age=0\r\nUpgrade-Insecure-Requests: 1\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Referer: http://files.example:8080/\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9\r\nIf-None-Match: \"00112233445566778899aabbccddeeff\"\r\n\
    If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";

fn http(c: &mut Criterion) {
    let mut group = c.benchmark_group("http");
    for (name, text) in [("head of curl", CURL), ("head of a browser", BROWSER)] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                let bytes = black_box(text.as_bytes());
                let len = head::end(bytes, 0).unwrap().unwrap();
                let head = head::parse_found(&bytes[..len], head::Sender::Client).unwrap();
                black_box((target::path(head.path).unwrap(), head.framing))
            });
        });
    }
    group.throughput(Throughput::Bytes(CURL.len() as u64));
    group.bench_function("head of curl, one byte at a time", |b| {
        b.iter(|| {
            let bytes = black_box(CURL.as_bytes());
            (1..=bytes.len()).find_map(|len| head::end(&bytes[..len], len - 1).unwrap())
        });
    });
    let chunk = [b"1\r\nx\r\n".repeat(1000), b"0\r\n\r\n".to_vec()].concat();
    group.throughput(Throughput::Bytes(chunk.len() as u64));
    group.bench_function("a thousand chunks of one byte", |b| {
        b.iter(|| {
            let (mut chunked, mut used) = (Chunked::default(), 0);
            while used < chunk.len() {
                let step = chunked.step(black_box(&chunk[used..]), usize::MAX).unwrap();
                used += step.skip + step.payload;
            }
            used
        });
    });
    group.finish();
}

criterion_group!(benches, lines, pieces, http);
criterion_main!(benches);
