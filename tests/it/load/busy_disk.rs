//! Small downloads while the disk is kept busy: large durable uploads must not delay them.
//!
//! `cargo test --release --test it -- --ignored --nocapture busy`

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use filewharf::object::Durability;

use support::driver::{Loss, Step};
use support::server::Local;
use support::{Content, Driver, StopOnDrop, Task, Wire, driver, figures, process};

const UPLOADS: usize = 64;
const UPLOAD_LEN: u64 = 32 << 20;
const SMALL: Content = Content::new(9, 4096);
/// Printed against, never asserted: the machine may have other things to do.
const GOAL: Duration = Duration::from_millis(20);

fn small() -> String {
    "/small".to_owned()
}

// covers: transfers-at-full-speed
#[test]
#[ignore = "needs 2 GiB of a real disk and a release build; prints figures"]
fn small_downloads_stay_quick_while_large_uploads_are_synced() {
    let root = process::dir(env!("CARGO_TARGET_TMPDIR"));
    let server = Local::start(root.path(), Durability::Durable);
    let address = server.address;
    let mut reader = Driver::connect(address, 1, Wire::Line, Loss::Panics);
    reader.run(driver::each(1, |_, _| Task::Put { path: small(), content: SMALL }));
    let alone = reader.run(driver::each(5000, |_, _| Task::Get { path: small(), content: SMALL }));
    println!("busy: 4 KiB downloads, nothing else going on: {}", alone.times);

    let ended = AtomicBool::new(false);
    let (up, down) = thread::scope(|scope| {
        let reading = scope.spawn(|| {
            reader.run(|step| match step {
                Step::Next(_) if !ended.load(Ordering::Relaxed) => Some(Task::Get { path: small(), content: SMALL }),
                _ => None,
            })
        });
        let stop = StopOnDrop(&ended);
        let mut writers = Driver::connect(address, UPLOADS, Wire::Line, Loss::Panics);
        let up = writers.run(driver::each(1, |at, _| Task::Put {
            path: format!("/large{at}"),
            content: Content::new(at as u64, UPLOAD_LEN),
        }));
        drop(stop);
        (up, reading.join().expect("the reader does not panic"))
    });
    let counters = server.handle.counters();
    let rate = figures::rate(up.bytes, up.elapsed);
    println!("busy: {UPLOADS} durable uploads of 32 MiB in {:.1?}: {rate:.0} MiB/s", up.elapsed);
    println!("busy: 4 KiB downloads meanwhile: {}", down.times);
    println!(
        "busy: turns {}, the longest {} µs, yields {}, slots used at the end {}",
        counters.turns, counters.turn_longest_us, counters.yields, counters.slots_used
    );
    assert_eq!(up.done, UPLOADS as u64);
    let word = if down.times.permille(999) < GOAL { "met" } else { "missed" };
    println!("busy: the goal of p99.9 under {GOAL:?} is {word}");
}
