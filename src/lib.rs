//! filewharf
pub mod buffer;
#[cfg(any(feature = "client", feature = "serve"))]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
pub mod command;
pub mod config;
pub mod dialect;
pub mod error;
pub mod ids;
pub mod object;
pub mod os;
pub mod platform;
pub mod reactor;
pub mod session;
pub mod transfer;
pub mod wire;
