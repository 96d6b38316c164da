//! Servers after proxies: which client a connection or a request counts for, in virtual time.

mod forwarded;
mod proxy_protocol;
