//! Peers that break off, stall, lie or attack, and resources that run out. After every case
//! another client continues as before, and no slot, connection or staging file has leaked.

mod aborts;
mod crowds;
mod malformed;
mod slow;
mod urgent;
