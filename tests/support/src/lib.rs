//! What tests, benches and fuzz targets share.
//!
//! | module | what it is |
//! |---|---|
//! | `memory` | a platform in memory: network, disk and time |
//! | `rig` | the reactor on it, driven step by step |
//! | `client` | a raw line-protocol client, and a server in a thread |
//! | `server` | the built program as a child process, or the library on a thread |
//! | `driver`, `codec` | a client that drives many connections from one thread |
//! | `content` | bytes that can be recognised anywhere |
//! | `figures`, `table` | measured values, and the tables they are printed in |
//! | `peers` | other servers, for comparison |
//! | `process` | a process seen from outside |
//! | `tls` | clients with TLS: the configuration, and a tunnel for those that know only sockets |
//! | `targets` | the bodies of the fuzz targets |
//!
//! and `StopOnDrop`, without which a failed assertion would leave the threads beside it running for ever.

use std::sync::atomic::{AtomicBool, Ordering};

pub mod client;
pub mod codec;
pub mod content;
pub mod driver;
pub mod figures;
pub mod memory;
pub mod peers;
pub mod process;
pub mod rig;
pub mod server;
pub mod table;
pub mod targets;
pub mod tls;

pub use codec::{Task, Wire};
pub use content::Content;
pub use driver::Driver;

/// Tells the threads of a scope to stop at its end, also when that is a failed assertion: the scope waits for them.
pub struct StopOnDrop<'a>(pub &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
