//! The disk of the simulation: a file system that forgets in a power cut (`tree`), and the store
//! of the server on it (`store`), with operations as explicit steps with time between them.

mod begin;
mod bytes;
mod commit;
mod copies;
mod jobs;
mod names;
mod store;
mod tree;
mod uploads;

pub use jobs::{Damage, Disk};
pub use store::MemStore;
pub use tree::{Child, Ino};
