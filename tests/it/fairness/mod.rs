//! What each client gets while others want it too: bytes, turns, rates.

mod clients;
mod rates;
mod shares;
mod slow_readers;
