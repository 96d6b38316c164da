//! The one integration binary: everything that is tested from outside the crate.
//!
//! | module | what belongs there |
//! |---|---|
//! | `golden` | whole conversations, at every cut, on the platform in memory, and on the real one |
//! | `states` | the table of states; deadlines, drains and ends of stream in virtual time |
//! | `bounds` | what is bounded stays within its bound: slices of a turn, memory, descriptors |
//! | `fairness` | what each client has of the bytes, and the limits of one client |
//! | `served` | the main job, on real sockets and a real directory, in every setting |
//! | `sharing` | several servers on one directory |
//! | `slow` | downloads of a crowd of fast and slow readers, on real sockets |
//! | `fresh` | files that others change, on real sockets: the old content is never served |
//! | `bad_luck` | peers that break off, stall, lie or attack; resources that run out |
//! | `program` | the built binary: its lines, its exit codes |
//! | `signals` | what signals do to it, and limits of the system that send some |
//! | `resumed_client` | the client of the built binary, whose transfers are cut off wherever it hurts |
//! | `legacy` | the dialects of older systems against clients in Python |
//! | `http` | HTTP by the sections of its RFCs, and its everyday clients |
//! | `corpus` | the fuzz targets over their committed inputs |
//! | `big_directory` | a directory with 100,000 files |
//! | `moments` | limits at their last moment, and how long the loop sleeps |
//! | `logged` | the lines of the log, word for word |
//! | `counters` | the facts for the operator follow what happens |
//! | `page` | the web page of a directory, in a browser |
//! | `passwords` | users with passwords: the check off the loop, its bounds, and signed links |
//! | `pages` | the README and the manual: links, length, completeness |
//! | `layers` | reads the sources: which module imports which, and where system calls may stand |
//! | `regressions` | defects once found, each with the events that showed it |
//! | `proxied` | listeners for proxies: whose a connection is, and whom the server believes that |
//! | `forwarded` | HTTP proxies that say for which client each request is, and whom the server believes that |
//! | `access` | who may do what: every right, operation and dialect against an oracle, and tricks with names |
//! | `tls` | encrypted connections: handshakes, certificates, ends, and what goes wrong |
//! | `tls_client` | the built binary as a client over TLS: whom it trusts, and connections that break off |
//! | `real` | the real platform, with clocks that stand still |
//!
//! What they share is `tests/support`: the platform in memory (`support::rig`), a raw client and a server in
//! a thread (`support::client`).
//!
//! A test that needs nothing but virtual time belongs to `states`. Nothing here sleeps, asks for
//! a fixed port or asserts how long something took; every wait has an end ([`support::client::PATIENCE`]).
#![allow(clippy::disallowed_methods, reason = "tests stand outside: they have clocks, threads and files")]

mod access;
mod bad_luck;
mod bounds;
mod corpus;
mod counters;
mod fairness;
mod figures;
mod forwarded;
mod fresh;
mod golden;
mod http;
mod layers;
mod legacy;
mod length_prefix;
mod logged;
mod moments;
mod name_choice;
mod name_size;
mod overlaps;
mod page;
mod pages;
mod passwords;
mod program;
mod proxied;
mod rates;
mod real;
mod regressions;
mod resumed;
mod resumed_client;
mod sandbox;
mod served;
mod sharing;
mod signals;
mod slow;
mod states;
mod tls;
mod tls_client;
mod turns;
mod unlisted;
mod visits;

// Slow checks that print figures; they are ignored unless asked for.
mod big_directory;
mod busy;
mod crowd;
mod durable;
mod hostile;
mod shares;
mod storm;
