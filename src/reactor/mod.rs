//! The event loop: one thread, one slab of connections, one bounded amount of work for each per turn.
//!
//! It runs unchanged on the real platform and in the simulator. Its rules:
//! * Readiness is edge-triggered: events set it, and only `WouldBlock` (or
//!   [`SentUntilFull`](crate::platform::SendFile::SentUntilFull), which means the same) clears it. A
//!   short write never does; a short read does only while no event has reported an end: see
//!   [`Readable`](crate::platform::Readable).
//! * Of all connections that wait for a request, the input is received first, then the requests are
//!   answered: the store validates its cached metadata once for all of them.
//! * A connection that is still ready when its budget is spent goes to the run queue, and while that is
//!   not empty the loop does not sleep. So a turn is bounded whatever one client does.
//! * Every wait has a waker: an event, a completion, a slot, the run queue, or a deadline.
//! * An entry of the slab is freed only when the socket is closed and no operation is in flight.
//!
//! | file | what it does |
//! |---|---|
//! | `parts` | the [`Reactor`] and the parts it consists of |
//! | `turn` | one turn: wait, dispatch events, run what is queued |
//! | `accept`, `listeners`, `addresses` | new connections, and when they are refused or delayed |
//! | `arrivals` | connections before their first request: admission, the handshake |
//! | `key_queue` | handshakes that wait for the private key |
//! | `connections` | the slab: entries, generations, how many are admitted |
//! | `scheduling`, `bulk_queue` | which connections run in a turn, and their byte budgets; shares of clients |
//! | `driver`, `drive`, `receive`, `send` | one connection: its operations, its input, its output |
//! | `pacing` | connections that wait until their client may move more |
//! | `contention` | slow holders of transfer slots |
//! | `name_locks` | the order of changes and reads of one name |
//! | `clock`, `timers` | the time of a turn, deadlines |
//! | `crowd` | memory that many transfers leave |
//! | `drain` | ending: drain, then stop |
//! | `env`, `logging` | what every call of a session is lent; the log of requests |
//! | `check` | what must hold between turns |

mod accept;
mod addresses;
mod arrivals;
mod bulk_queue;
mod check;
mod clock;
mod connection_list;
mod connections;
mod contention;
mod crowd;
mod drain;
mod drive;
mod driver;
mod env;
mod key_queue;
mod listeners;
mod lock_check;
mod locking;
mod logging;
mod name_locks;
mod pacing;
mod parts;
mod receive;
mod request_lines;
mod scheduling;
mod send;
mod timers;
mod turn;
mod upload_locks;

pub use connection_list::CONNECTION_LIST_BYTES;
pub use connections::OPERATOR_CONNECTIONS;
pub use listeners::ListenerSetup;
pub use parts::{Ended, Reactor, Setup};
