//! Programs of other projects, unchanged, against the built binary: browsers, HTTP clients, proxies, tus clients, and the
//! clients of the older systems in Python. All of them are ignored unless asked for: a bare machine has none.

#[cfg(feature = "archives")]
mod archives;
mod browser;
mod credentials;
mod http;
mod instances;
mod legacy;
#[cfg(feature = "access-log")]
mod logs;
#[cfg(feature = "admin")]
mod metrics;
mod mirrors;
mod proxies;
mod resumable;
mod shells;
mod tls;
mod trusted_proxies;
mod unix_sockets;
#[cfg(feature = "webdav")]
mod webdav;
