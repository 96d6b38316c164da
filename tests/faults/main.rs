//! Faults, from outside: the real program beside `strace`, on small and failing disks, on bad links,
//! under jumping clocks, and for as long as one likes under all of them at once.
//!
//! `faults.txt` lists every fault and what is expected; the tests that show one name it (`covers: half-close`), here and
//! elsewhere.
//!
//! Everything here is ignored unless asked for, but the check of that list: it needs root, Linux, and
//! outside programs (`.ci/run` installs them). Figures are printed, never asserted. `FILEWHARF_BINARY`
//! names the program under test, else it is the one built beside this:
//!
//! ```text
//! cargo build --release
//! FILEWHARF_BINARY=$PWD/target/release/filewharf cargo test --test faults -- --ignored --nocapture --test-threads=1
//! ```
//!
//! | fault | expected, and observed unless a note says otherwise | test |
//! |---|---|---|
//! | each system call of a conversation fails, with each error that fits | the client gets the reason (507 full or quota, 429 short of descriptors or memory, 500 else) or the server continues; nothing partial, nothing staged, no descriptor left | `calls::every_call_of_a_conversation_*` |
//! | a sync fails | 500, never repeated; read-only until a restart, exit code 1 (full, quota and `EINTR` pass) | the same |
//! | the sync of a directory fails, or the look at a file just renamed | not acknowledged; the new file may be visible; new directories stay open until a change in them is synced | the same |
//! | reading fails in a download | a reset, never padded; before the first byte has left the head goes with it | the same |
//! | `accept` fails, for one connection or for want of descriptors | it recovers; while there are none a peer may be turned away by a close | the same; `links::a_server_with_few_descriptors_*` |
//! | none: the calls of each change are seen in their order | nothing is named before it is synced, or acknowledged before its directories are | `order::*` |
//! | `kill -9` at each call of a conversation | what was acknowledged is there, all else old or whole; swept at the next start; empty new directories may stay | `kills::a_server_that_dies_at_any_call_*` |
//! | the same for an upload in parts: each call fails or is the last, the disk is full or read-only | no byte that was said to be safe is lost; 507 or 500, and it is resumed as soon as the disk permits | `parts::*` |
//! | `kill -9` at each call of a start and its sweep | taken up by the next start | `kills::a_recovery_that_dies_*` |
//! | a start beside what a dead process left | all of the file system is synced before a client is served, or it says why not | `kills::what_a_dead_process_*` |
//! | a start beside 10,000 files of the dead | serves before they are swept, then sweeps them | `kills::a_start_beside_*` |
//! | each step of a start fails | one line and exit code 1, or done without | `kills::a_start_that_cannot_succeed_*` |
//! | the log is full or closed | clients notice nothing, lines are counted as dropped | `kills::a_log_that_is_full_or_gone_*` |
//! | disk full, no inodes, quota used up (btrfs) | 507, old files untouched, all well when there is room | `disks::a_small_*`, `disks::a_disk_without_inodes_*`, `disks::a_quota_*` |
//! | the file system turns read-only | 500 for changes until a restart, reading continues, exit code 1 | `disks::a_disk_that_becomes_read_only_*` |
//! | the file system shuts down | errors, the server lives; read-only mode only once a sync has met it | `disks::a_file_system_that_shuts_down_*` |
//! | the disk hangs, or syncs take long | requests that need it wait, all others are served; no deadline runs against a client | `disks::a_frozen_disk_*`, `disks::a_slow_disk_*` |
//! | opens fail with `ESTALE` or `ENOTCONN`, as on a mount after its server was restarted | tried again, then 503 with a time to retry; health is 503 until uploads can be stored; no restart is needed | `remote::a_stale_*` |
//! | a mount does not answer | requests that need it wait, the loop does not | `remote::a_mount_that_*` |
//! | a mount inside the folder does not answer, or is dead | listed by its name; no listing waits for it | `remote::a_mount_in_*` |
//! | two servers on one directory, each rename delayed | a compare-and-swap counter loses nothing; without common locks it does | `sharing::*` |
//! | a client resets while its upload is committed | stored all the same | `disks::an_upload_is_stored_although_*` |
//! | the power is cut while a file is being replaced, half of it brought to the disk by another's sync | the old one or the new one is there, whole | `cuts::a_cut_while_*` |
//! | staging on another file system | refused at the start | `disks::a_staging_directory_on_another_*` |
//! | file systems are mounted inside the root, and unmounted | read and written like the rest; one that does not answer holds up only what is in it; one that is not used can be unmounted | `mounts::*` |
//! | links: 8 Mbit/s, 5 % and 20 % lost, segments of 100 bytes | slower, every byte right | `links::every_byte_arrives_*` |
//! | peers vanish in an upload, a download, a head, between requests | given up by their deadlines, nothing left | `links::peers_that_vanish_*` |
//! | 3,000 half-open connections | others get in | `links::thousands_of_half_open_*` |
//! | 20,000 resets; 2,000 slow heads and bodies; 500 readers that do not read | ended by their deadlines; a client beside them is served | `links::a_storm_of_resets_*`, `links::slow_heads_*`, `links::readers_*` |
//! | a head or a body that is too slow | 408, in HTTP also that it is over; nothing stored | `links::a_head_or_a_body_*` |
//! | 200 clients at 40 descriptors | it recovers each time | `links::a_server_with_few_descriptors_*` |
//! | the wall clock jumps by decades, also across a crash; the monotonic clock begins late | only the times in replies and the log change | `clocks::a_wall_clock_*`, `clocks::a_monotonic_clock_*` |
//! | the process is stopped for longer than every deadline | a client that did its part meanwhile is served | `clocks::deadlines_that_passed_*` |
//! | all dialects, broken connections, killed clients and servers, drains, a filling disk, hostile clients under limits | no loss, nothing torn, no leak | `soak` |
//!
//! Each failure is tried in the line protocol and in HTTP: a conversation continues after a refusal
//! where it may, and a body that broke off never looks whole. What needs nothing from outside is tried
//! elsewhere: `grep -rn "covers: half-close" src tests`.
//!
//! Not here: failures of memory (they end the process by design), a `close` that fails (an injected
//! failure leaves the descriptor open, the kernel does not), errors that would be lies (`EAGAIN`
//! from a socket that is ready), power cuts, and quotas of ext4 and xfs, delays and reordering by
//! `netem`, device-mapper targets, which need kernels that have them.
#![allow(clippy::disallowed_methods, reason = "tests stand outside: they have clocks, threads and files")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "figures are for people")]

mod calls;
mod cases;
mod clocks;
mod cuts;
mod disks;
mod kills;
mod links;
mod mounts;
mod order;
mod outside;
mod parts;
mod remote;
mod roots;
mod script;
mod server;
mod sharing;
mod soak;
mod space;
mod wire;
