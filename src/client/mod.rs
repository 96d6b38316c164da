//! The client: a blocking library over the `line` protocol, as the commands of `filewharf` use it.
//!
//! * [`Client::connect`] opens a connection; [`Options`] has the secret, timeouts and how long to try again.
//! * [`Client::put_file`], [`Client::get_file`], [`Client::list`] and others transfer and list. A lost connection
//!   is opened again, transfers resume where they stopped, and all content is checked by SHA-256.
//! * A [`Progress`] is called back while a transfer runs; `&mut ()` ignores all calls.
//!
//! A client uses one connection at a time; use several clients in several threads for parallel transfers. Nothing
//! here prints.
//!
//! ```no_run
//! use std::path::Path;
//! use std::time::Duration;
//!
//! use filewharf::client::{Client, Options, Progress, RemotePath};
//!
//! struct Percent(u64);
//!
//! impl Progress for Percent {
//!     fn total(&mut self, bytes: u64) {
//!         self.0 = bytes;
//!     }
//!
//!     fn position(&mut self, bytes: u64) {
//!         println!("{} %", 100 * bytes / self.0.max(1));
//!     }
//! }
//!
//! let inbox = RemotePath::parse("127.0.0.1:7070/inbox/")?;
//! let options = Options { io_timeout: Duration::from_secs(10), ..Options::default() };
//! let mut client = Client::connect(&inbox.address, options)?;
//! let stored = client.put_file("/inbox/photo.jpg", Path::new("photo.jpg"), &mut Percent(0))?;
//! assert!(stored.durable);
//! for entry in client.list(&inbox.path) {
//!     let entry = entry?;
//!     println!("{} {}", entry.size, entry.name);
//! }
//! client.get_file("/inbox/photo.jpg", Path::new("copy.jpg"), &mut ())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![warn(missing_docs)]
#![allow(clippy::disallowed_methods, reason = "the client does I/O: files, sockets, waiting between tries")]

mod address;
mod compare;
mod connection;
mod dir;
mod download;
mod entry;
mod error;
mod get;
mod list;
mod options;
mod page;
mod partial_file;
mod pipeline;
mod prefix_digest;
mod put;
mod rate_limit;
mod requests;
mod retry;
mod sink;
mod socket;
mod stream;
pub(crate) mod sync;
mod tls;
mod upload;
mod upload_record;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

pub use address::{Address, DEFAULT_PORT, ParseError, RemotePath};
pub use compare::Equality;
pub use dir::Dir;
pub use entry::Entry;
pub use error::{ClientError, ErrorKind};
pub use get::{Download, GetOptions};
pub use list::Listing;
pub use options::{OnRetry, Options, Progress, Waiting};
pub use put::Stored;
pub use rate_limit::RateLimit;
pub use requests::Client;
pub use tls::{Tls, TlsOptions};

pub(crate) use {
    address::as_dir,
    error::printable,
    get::{keep_small, small_get},
    list::sum_line,
    options::Replaced,
    page::PageOptions,
    partial_file::Target,
    pipeline::{Answer, Jobs, Request},
    put::{SMALL_LEN_MAX, is_stored},
};
