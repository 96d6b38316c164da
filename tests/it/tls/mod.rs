//! Encrypted connections: the server with rustls as its client, and the built binary as a client.

mod client;
mod server;
