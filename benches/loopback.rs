//! The whole server over loopback: 1, 100 and 4,000 connections, small and large files, both ways.
//! Server and client share the machine; what is measured is both together. Nothing is synced.
#![allow(missing_docs, clippy::print_stdout, reason = "a bench reports to people")]

use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use filewharf::object::Durability;

use support::driver::Loss;
use support::server::Local;
use support::{Content, Driver, Task, Wire, driver, process};

const SMALL: u64 = 4096;
const LARGE: u64 = 16 << 20;
/// Most bytes of one iteration, and most of all files together.
const BYTES_MAX: u64 = 256 << 20;

fn file(name: &str, at: usize, len: u64) -> (String, Content) {
    (format!("/{name}/{}", at % 100), Content::new(at as u64 % 100, len))
}

fn loopback(c: &mut Criterion) {
    let dir = process::dir(env!("CARGO_TARGET_TMPDIR"));
    let server = Local::start(dir.path(), Durability::Written);
    let mut first = Driver::connect(server.address, 1, Wire::Line, Loss::Panics);
    for (name, len) in [("small", SMALL), ("large", LARGE)] {
        first.run(driver::each(100, |_, n| {
            let (path, content) = file(name, n, len);
            Task::Put { path, content }
        }));
    }
    for connections in [1, 100, 4000] {
        if !process::permits(2 * connections + 1000, "loopback") {
            continue;
        }
        let mut clients = Driver::connect(server.address, connections, Wire::Line, Loss::Panics);
        let mut group = c.benchmark_group(format!("loopback, {connections} connections"));
        group.sample_size(10).sampling_mode(SamplingMode::Flat);
        group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
        for (name, len) in [("small", SMALL), ("large", LARGE)] {
            // This many connections with large files would take minutes.
            let busy = connections.min((BYTES_MAX / len) as usize);
            if name == "large" && connections == 4000 {
                continue;
            }
            group.throughput(Throughput::Bytes(len * busy as u64));
            for get in [true, false] {
                let what = if get { "get" } else { "put" };
                group.bench_function(format!("{what} {name}, {busy} at once"), |b| {
                    b.iter(|| {
                        let outcome = clients.run(driver::first(busy, |at| {
                            let (path, content) = file(name, at, len);
                            if get { Task::Get { path, content } } else { Task::Put { path, content } }
                        }));
                        assert_eq!(outcome.done, busy as u64);
                    });
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, loopback);
criterion_main!(benches);
