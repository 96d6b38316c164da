//! filewharf: a file-transfer server that serves very many concurrent file streams from one
//! thread, with durable acknowledgements and memory known in advance.
//!
//! * To embed the server: [`Server::builder`] has an example, and [`Server::turn`] one for a program with a loop of
//!   its own.
//! * To tune it: [`Limits`].
//! * To use the blocking client: [`client`].
//!
//! The other modules are hidden: tests, benches and the simulator use them, and they may change in any release.
//!
//! # One connection
//!
//! ```text
//! begin      ProxyHeader ─▶ Handshake ─▶ AwaitHeader
//! download   AwaitHeader ─▶ Opening ─▶ SendingBody ─▶ AwaitHeader
//! upload     AwaitHeader ─▶ Opening ─▶ ReceivingBody ─▶ FinishingWrites ─▶ Committing ─▶ AwaitHeader
//! end        AwaitHeader ─▶ SendingReply ─▶ Lingering ─▶ Done
//! ```
//!
//! [`session`] shows every state; [`session::state`] has the table of transitions.
//!
//! # Layers
//!
//! | layer | modules | what |
//! |---|---|---|
//! | 0 | [`ids`] [`error`] [`object`] [`order`] [`command`] [`config`] [`counters`] [`dav_locks`] [`properties`] [`time`] [`upload`] `fair_queue` | words |
//! | 1 | [`buffer`] [`wire`] | held bytes; byte grammars |
//! | 2 | [`access`] [`admission`] [`groups`] | rights and rules; transfer slots; what counts as one client |
//! | 3 | [`dialect`] [`transfer`] [`platform`] | meaning; accounting of one body; the ports |
//! | 4 | [`session`] | the state machine of one connection |
//! | 5 | [`reactor`] | the loop |
//! | 6 | [`os`] | system calls for sockets, events and the clock; the only `unsafe` code |
//! | 7 | [`store`] | system calls for files, and the worker threads |
//! | 8 | [`server`] [`client`] [`cli`] `docs` | front doors |
//!
//! A module imports only from its own layer and those above it in this table. Of those above [`os`], [`os`] and
//! [`store`] use only words, [`buffer`], [`platform`] and `wire::key`; [`client`] uses only layers 0 and 1. A test reads
//! this table, and that of [`store`], and compares them with the paths in the code.

// The public API.
#[cfg(feature = "client")]
pub mod client;
#[cfg(any(doc, doctest))]
pub mod docs;
pub mod server;

pub use config::Limits;
pub use server::Server;

// Internals: public only for the program, tests, benches and the simulator. They may change in any release, so the
// documentation does not show them and `missing_docs` is not asked of them.
#[doc(hidden)]
pub mod access;
#[doc(hidden)]
pub mod admission;
#[doc(hidden)]
pub mod buffer;
#[cfg(any(feature = "client", feature = "serve"))]
#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod command;
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod counters;
#[doc(hidden)]
pub mod dav_locks;
#[doc(hidden)]
pub mod dialect;
#[doc(hidden)]
pub mod error;
mod fair_queue;
#[doc(hidden)]
pub mod groups;
#[doc(hidden)]
pub mod ids;
#[doc(hidden)]
pub mod object;
#[doc(hidden)]
pub mod order;
#[doc(hidden)]
pub mod os;
#[doc(hidden)]
pub mod platform;
#[doc(hidden)]
pub mod properties;
#[doc(hidden)]
pub mod reactor;
#[doc(hidden)]
pub mod session;
#[doc(hidden)]
pub mod store;
#[doc(hidden)]
pub mod time;
#[doc(hidden)]
pub mod transfer;
#[doc(hidden)]
pub mod upload;
#[doc(hidden)]
pub mod wire;
