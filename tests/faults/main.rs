//! Faults, from outside: the real program beside `strace`, on small and failing disks, on bad links.
#![allow(clippy::disallowed_methods, reason = "tests stand outside: they have clocks, threads and files")]

mod calls;
#[allow(dead_code, reason = "the other tests use the rest of it")]
#[path = "../it/client.rs"]
mod client;
mod kills;
mod outside;
mod script;
mod server;
mod soak;
#[path = "../../benches/support/mod.rs"]
mod support;
