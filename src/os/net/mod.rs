//! TCP and Unix sockets: addresses, listeners, connections, and how large files are sent over them.

mod address;
mod connection;
mod listener;
pub(crate) mod send;
#[cfg(all(test, target_os = "linux"))]
mod testing;
#[cfg_attr(not(feature = "tls"), path = "tls/absent.rs")]
pub mod tls;
mod unix;

#[cfg(feature = "share")]
pub use address::for_clients;
pub use address::{Address, UNIX, of_interfaces, resolve};
pub use connection::TcpConnection;
pub use listener::{Listener, Listeners, adopt, defer, listen};
pub use unix::{ids_of, listen as listen_unix};
