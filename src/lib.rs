//! filewharf: a file-transfer server that serves very many concurrent file streams from one
//! thread, with durable acknowledgements and memory known in advance.
//!
//! Embedders need four names: [`Server`], its [`server::Builder`], [`server::Handle`] and
//! [`config::Limits`]; see the example at [`Server::builder`]. The blocking client is in
//! [`client`]. Everything else is public so that tests, benches and a simulator can reach it, and
//! may change in any release.
//!
//! # One connection
//!
//! ```text
//!                         ┌──────────── next request ─────────────┐
//!                         ▼                                       │
//!   accept ──▶ AwaitHeader ──▶ AwaitSlot ──▶ Opening ──▶ ReceivingBody ──▶ Settling ──▶ Committing
//!                │   │  │          │           │
//!                │   │  │          └───────────┴──▶ SendingBody ──▶ AwaitHeader
//!                │   │  └──▶ Executing ──▶ SendingPart ──▶ AwaitSlot, or AwaitHeader
//!                │   └──▶ Discarding ──▶ AwaitHeader        (a refused body is thrown away)
//!                └──▶ SendingReply ──▶ Lingering ──▶ Done    (from any state, once it is over)
//! ```
//!
//! [`session::state`] has every state and the table of what may follow what.
//!
//! # Layers
//!
//! | layer | modules | what |
//! |---|---|---|
//! | 0 | [`ids`] [`error`] [`object`] [`command`] [`config`] [`counters`] [`calendar`] | words |
//! | 1 | [`buffer`] [`wire`] | held bytes; byte grammars |
//! | 2 | [`dialect`] [`transfer`] [`platform`] | meaning; accounting of one body; the ports |
//! | 3 | [`session`] | the state machine of one connection |
//! | 4 | [`reactor`] | the loop |
//! | 5 | [`os`] | the only system calls |
//! | 6 | [`server`] [`client`] [`cli`] | front doors |
//!
//! A module imports only from its own layer and those above it in this table; a test reads the
//! `use` lines.

pub mod buffer;
pub mod calendar;
#[cfg(any(feature = "client", feature = "serve"))]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
pub mod command;
pub mod config;
pub mod counters;
pub mod dialect;
#[cfg(any(doc, doctest))]
pub mod docs;
pub mod error;
pub mod ids;
pub mod object;
pub mod os;
pub mod platform;
pub mod reactor;
pub mod server;
pub mod session;
pub mod transfer;
pub mod wire;

pub use config::Limits;
pub use server::Server;
