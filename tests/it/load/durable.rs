//! How many small uploads a second are made durable, by how many connections at once.
//!
//! `cargo test --release --test it -- --ignored --nocapture durable`

use filewharf::object::Durability;

use support::driver::Loss;
use support::server::Local;
use support::{Content, Driver, Task, Wire, driver, process};

const LEN: u64 = 16 << 10;
/// This many uploads, but this many by one connection at most: one after the other, each waits for its syncs.
const UPLOADS: usize = 2000;
const EACH_MAX: usize = 100;

#[test]
#[ignore = "needs a disk of its own and a release build; prints figures"]
fn small_uploads_share_the_syncs_of_their_directory() {
    for durability in [Durability::Durable, Durability::Written] {
        for connections in [1, 4, 16, 64, 256] {
            let root = process::dir(env!("CARGO_TARGET_TMPDIR"));
            let server = Local::start(root.path(), durability);
            let mut clients = Driver::connect(server.address, connections, Wire::Line, Loss::Panics);
            let each = UPLOADS.div_ceil(connections).min(EACH_MAX);
            let outcome = clients.run(driver::each(each, |at, n| Task::Put {
                path: format!("/f{at}-{n}"),
                content: Content::new((at * 1000 + n) as u64, LEN),
            }));
            let rate = outcome.done as f64 / outcome.elapsed.as_secs_f64();
            println!("durability={durability:?} connections={connections}: {rate:.0} uploads/s, {}", outcome.times);
            assert_eq!(outcome.done, (each * connections) as u64, "some uploads were not acknowledged");
        }
    }
}
