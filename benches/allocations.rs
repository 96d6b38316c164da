//! Allocations of one kept GET of a small file: the whole server over loopback, counted on the thread of
//! its loop once everything has been asked for a few times. `--most N` makes more than N of any kind a
//! failure; see `.ci/instructions`.
#![allow(unsafe_code, reason = "to count what is allocated, an allocator must be wrapped")]
#![allow(missing_docs, clippy::print_stdout, reason = "a bench reports to people")]
#![allow(clippy::disallowed_methods, reason = "the loop is watched on a thread of its own")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use filewharf::config::Limits;
use filewharf::server::Server;

/// On threads that are watched.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
}

struct Counting;

// SAFETY: everything is done by the allocator of the system; counting touches no memory of its caller.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if WATCHED.try_with(Cell::get).unwrap_or(false) {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller keeps the promises of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the promises of `dealloc`.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Requests before the count, and in it.
const BEFORE: usize = 100;
const COUNTED: u64 = 1000;

fn ask(stream: &mut TcpStream, request: &[u8], reply: &mut [u8]) {
    stream.write_all(request).expect("the server takes it");
    stream.read_exact(reply).expect("as long as the first");
    assert!(reply.ends_with(b"the end"), "the first and every other reply are of the same length");
}

/// Allocations of one request, rounded up.
fn of(stream: &mut TcpStream, request: &[u8]) -> u64 {
    stream.write_all(request).expect("the server takes it");
    let mut reply = Vec::new();
    while !reply.ends_with(b"the end") {
        let mut bytes = [0; 8192];
        let n = stream.read(&mut bytes).expect("a reply");
        assert!(n > 0, "the server has closed the connection");
        reply.extend_from_slice(&bytes[..n]);
    }
    (0..BEFORE).for_each(|_| ask(stream, request, &mut reply));
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    (0..COUNTED).for_each(|_| ask(stream, request, &mut reply));
    (ALLOCATIONS.load(Ordering::Relaxed) - before).div_ceil(COUNTED)
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let most = arguments
        .iter()
        .position(|argument| argument == "--most")
        .map(|at| arguments.get(at + 1).and_then(|most| most.parse().ok()).expect("a number after --most"));
    let dir = tempfile::tempdir().expect("a folder");
    let content = [&[b'x'; 4089][..], b"the end"].concat();
    std::fs::write(dir.path().join("photo.jpg"), content).expect("room for a file");
    // To look at a kept file again is no part of a request.
    let limits = Limits::default().with(|l| l.fixed.cache_age_max = Duration::from_secs(600));
    let server = Server::builder().root(dir.path()).listen("127.0.0.1:0").limits(limits).build();
    let server = server.expect("a free port");
    let handle = server.handle();
    let address = handle.addresses()[0].0.socket_addr().expect("over TCP");
    let running = std::thread::spawn(move || {
        WATCHED.with(|watched| watched.set(true));
        server.run()
    });
    let mut worst = 0;
    for (name, request) in [
        ("http", &b"GET /photo.jpg HTTP/1.1\r\nHost: 127.0.0.1:7070\r\nUser-Agent: counted/1\r\n\r\n"[..]),
        ("line", b"GET /photo.jpg\n"),
    ] {
        let mut stream = TcpStream::connect(address).expect("the server listens");
        let allocations = of(&mut stream, request);
        println!("{name}-get {allocations} allocations");
        worst = worst.max(allocations);
    }
    handle.stop();
    let _ = running.join().expect("the server does not panic");
    assert!(most.is_none_or(|most: u64| worst <= most), "more allocations than the {most:?} there should be");
}
