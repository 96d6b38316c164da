//! Peers that break off, stall, lie or attack, and resources that run out. After every case
//! another client goes on as before, and no slot, connection or staging file has leaked.

mod crowds;
mod disk;
mod endings;
mod paths;
mod process;
mod races;
mod requests;
mod slow;
mod urgent;
mod versions;
