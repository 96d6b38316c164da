//! Access control. `file` reads the access file, `rules` decides by names, `permission` by what a command needs, and
//! [`Access`] is the whole of it that a server has; `guesses` counts wrong secrets, and `sharing` makes links. Nothing
//! here opens a file, asks the time or knows a dialect.

mod caller;
mod control;
pub mod file;
mod guesses;
pub mod link;
mod names;
pub mod password;
mod permission;
mod rights;
mod rules;
mod sharing;
#[cfg(test)]
mod tests;

pub use caller::{Caller, ClientCertificate, Identity, Proof};
pub use control::Access;
pub use guesses::Guesses;
pub use permission::{Asking, DENIED, Permit, denied};
pub use rights::Rights;
pub use rules::{Admission, LinkKey, Rules};
