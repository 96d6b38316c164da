//! What benches and slow checks share: content that can be recognised, a client that drives many
//! connections from one thread, and a look at a server process from outside.
#![allow(dead_code, reason = "every bench and check uses another part of it")]
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench measures with the clock, reports to people, and ends at the first surprise"
)]

pub mod codec;
pub mod content;
pub mod driver;
pub mod figures;
pub mod ftp;
pub mod peers;
pub mod process;
pub mod server;

pub use codec::{Task, Wire};
pub use content::Content;
pub use driver::Driver;
