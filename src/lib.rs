//! filewharf
pub mod buffer;
pub mod command;
pub mod config;
pub mod error;
pub mod ids;
pub mod object;
pub mod os;
pub mod platform;
pub mod wire;
