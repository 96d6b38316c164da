//! The one integration binary: everything that is tested from outside the crate.
//!
//! | module | what belongs there |
//! |---|---|
//! | `access` | rights, rules, quotas, passwords, signed links: every right, operation and dialect against an oracle |
//! | `bench_tables` | the figures and tables that benches report |
//! | `clients` | programs of other projects against the built binary |
//! | `corpus` | the fuzz targets over their committed inputs |
//! | `counters` | the metrics for the operator |
//! | `dialects` | the older dialects: what takes more than a transcript |
//! | `fairness` | what each client gets while others want it too |
//! | `files` | the directory on disk while other programs use it too |
//! | `golden` | whole conversations, at every cut, on the platform in memory, and on the real one |
//! | `http` | HTTP by the sections of its RFCs |
//! | `layers` | reads the sources: which module imports which, and where system calls may stand |
//! | `library` | the server driven by a program's own loop, limits that are refused |
//! | `limits` | what is bounded stays within its bound: turns, memory, slots, connections |
//! | `load` | slow checks that print figures |
//! | `logged` | the lines of the log, word for word |
//! | `pages` | the README and the manual: links, length, completeness |
//! | `peers` | peers that abort, stall, lie or attack, on real sockets |
//! | `program` | the built binary: its lines, exit codes, signals, sandbox |
//! | `proxies` | which client a connection or request of a proxy counts for |
//! | `real` | the real platform, with clocks that stand still |
//! | `resumable` | transfers that are cut off and resumed |
//! | `served` | the main job, on real sockets and a real directory, in every setting |
//! | `states` | the table of states; deadlines, drains and ends of stream in virtual time |
//! | `tls` | encrypted connections: handshakes, certificates, ends, and what goes wrong |
//!
//! Where a test belongs: what computes is tested beside its code; bytes in and out are a transcript in `tests/golden`;
//! what depends on time is in `states`; what depends on the disk, in `src/store/tests`; what takes another program, in
//! `clients`. All else goes by its subject to one of these modules.
//!
//! What they share is `tests/support`: the platform in memory (`support::rig`), a raw client and a server in
//! a thread (`support::client`).
//!
//! A test that needs nothing but virtual time belongs to `states`. Nothing here sleeps, asks for
//! a fixed port or asserts how long something took; every wait has an end ([`support::client::PATIENCE`]).
#![allow(clippy::disallowed_methods, reason = "tests stand outside: they have clocks, threads and files")]

mod access;
mod bench_tables;
mod clients;
mod corpus;
mod counters;
mod dialects;
mod fairness;
mod files;
mod golden;
mod http;
mod layers;
mod library;
mod limits;
mod load;
mod logged;
mod pages;
mod peers;
mod program;
mod proxies;
mod real;
mod resumable;
mod served;
mod states;
mod tls;
