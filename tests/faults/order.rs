//! The order of the system calls that a promise stands on: written, synced, named, its directory
//! synced, and only then acknowledged.
//!
//! No kernel that continues running shows a difference when one of these is missing or comes too
//! late, and a power cut shows it only if it falls into a few milliseconds. Here every call is seen.

use std::collections::BTreeMap;
use std::path::Path;

use crate::calls::ONE_OF_EACH;
use crate::outside::{Mounted, Strace, Target, text};
use crate::server::{Served, dir};
use support::client::content;

/// What makes, names and syncs, and what tells a client.
const CALLS: &str =
    "trace=pwrite64,utimensat,fdatasync,fsync,syncfs,ioctl,mkdirat,renameat,renameat2,linkat,unlinkat,sendto,sendmsg";

/// Syncs take their time, so that a reply that does not wait for one is seen.
const SLOWLY: &str = "inject=fdatasync,fsync,syncfs:delay_enter=20000";

/// Changes, one after the other, and the calls that each must make in this order. `UPLOAD` is a
/// file in staging. Directories may be synced in any order, except those of a move.
const CHANGES: [(&str, &[&str]); 10] = [
    // The ways to a new directory are owed too.
    (
        "PUT 5 /new/deep/small",
        &[
            "pwrite64 UPLOAD",
            "fdatasync UPLOAD",
            "mkdirat /new",
            "mkdirat /new/deep",
            "renameat UPLOAD /new/deep/small",
            "fsync /",
            "fsync /new",
            "fsync /new/deep",
            "OK",
        ],
    ),
    (
        "PUT 300000 /new/deep/large",
        &["pwrite64 UPLOAD", "fdatasync UPLOAD", "renameat UPLOAD /new/deep/large", "fsync /new/deep", "OK"],
    ),
    // A time is no data: `fdatasync` need not keep it.
    (
        "PUT 5 mtime=5 /new/deep/small",
        &[
            "pwrite64 UPLOAD",
            "utimensat UPLOAD",
            "fsync UPLOAD",
            "renameat UPLOAD /new/deep/small",
            "fsync /new/deep",
            "OK",
        ],
    ),
    ("PUT 5 if=absent /file", &["pwrite64 UPLOAD", "fdatasync UPLOAD", "renameat2 UPLOAD /file", "fsync /", "OK"]),
    // A copy has the time of its source.
    ("COPY /file\t/copy", &["utimensat UPLOAD", "fsync UPLOAD", "renameat UPLOAD /copy", "fsync /", "OK"]),
    // What is moved was acknowledged: the way to its new place is there before it goes, and its
    // new place before its old one forgets it.
    (
        "RENAME /file\t/made/file",
        &["mkdirat /made", "fsync /", "renameat /file /made/file", "fsync /made", "fsync /", "OK"],
    ),
    ("RENAME /made\t/new/made", &["renameat /made /new/made", "fsync /new", "fsync /", "OK"]),
    ("DELETE /new/made/file", &["unlinkat /new/made/file", "fsync /new/made", "OK"]),
    ("DELETE /new/made", &["unlinkat /new/made", "fsync /new", "OK"]),
    ("MKDIR /other/deep/", &["mkdirat /other", "mkdirat /other/deep", "fsync /", "fsync /other", "OK"]),
];

/// The same where a sync of the file system is all that keeps the order of changes: the content of a file
/// is known to the tree (a map of it was asked for) before it is named, and the tree is synced.
const CHANGES_ON_BTRFS: [(&str, &[&str]); 10] = [
    (
        "PUT 5 /new/deep/small",
        &[
            "pwrite64 UPLOAD",
            "ioctl UPLOAD",
            "mkdirat /new",
            "mkdirat /new/deep",
            "renameat UPLOAD /new/deep/small",
            "syncfs /",
            "OK",
        ],
    ),
    (
        "PUT 300000 /new/deep/large",
        &["pwrite64 UPLOAD", "ioctl UPLOAD", "renameat UPLOAD /new/deep/large", "syncfs /", "OK"],
    ),
    (
        "PUT 5 mtime=5 /new/deep/small",
        &["pwrite64 UPLOAD", "utimensat UPLOAD", "ioctl UPLOAD", "renameat UPLOAD /new/deep/small", "syncfs /", "OK"],
    ),
    ("PUT 5 if=absent /file", &["pwrite64 UPLOAD", "ioctl UPLOAD", "renameat2 UPLOAD /file", "syncfs /", "OK"]),
    ("COPY /file\t/copy", &["utimensat UPLOAD", "ioctl UPLOAD", "renameat UPLOAD /copy", "syncfs /", "OK"]),
    ("RENAME /file\t/made/file", &["mkdirat /made", "renameat /file /made/file", "syncfs /", "OK"]),
    ("RENAME /made\t/new/made", &["renameat /made /new/made", "syncfs /", "OK"]),
    ("DELETE /new/made/file", &["unlinkat /new/made/file", "syncfs /", "OK"]),
    ("DELETE /new/made", &["unlinkat /new/made", "syncfs /", "OK"]),
    ("MKDIR /other/deep/", &["mkdirat /other", "mkdirat /other/deep", "syncfs /", "OK"]),
];

/// The calls of a trace, each where it ended, in the words of [`CHANGES`].
fn calls(trace: &str, root: &Path) -> Vec<String> {
    let mut begun = BTreeMap::new();
    let mut calls: Vec<String> = Vec::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(first) = rest.strip_suffix("<unfinished ...>") {
            begun.insert(thread, first);
            continue;
        }
        let whole = match rest.split_once(" resumed>") {
            Some((_, last)) => format!("{}{last}", begun.remove(thread).unwrap_or_default()),
            None => rest.to_owned(),
        };
        let call = words(&whole, root);
        // A long body is written in as many calls as it takes.
        if !call.is_empty() && calls.last() != Some(&call) {
            calls.push(call);
        }
    }
    calls
}

/// One call: its name, and the paths of its directories and names, as the server's clients know them.
fn words(call: &str, root: &Path) -> String {
    let Some((name, arguments)) = call.split_once('(') else { return String::new() };
    if name.starts_with("send") {
        return if arguments.contains("\"OK ") { "OK".to_owned() } else { String::new() };
    }
    let enters_tree = ["FS_IOC_FIEMAP", "fm_flags=FIEMAP_FLAG_SYNC"].iter().all(|words| arguments.contains(words));
    // A call that this strace has no name for is shown whatever was asked for: it reads the list of a file.
    if name.starts_with("syscall_") || name == "ioctl" && !enters_tree {
        return String::new();
    }
    let mut words = name.to_owned();
    for argument in arguments.split(", ") {
        if let Some((_, path)) = argument.split_once('<') {
            let path = path.split('>').next().unwrap_or_default();
            let path = path.strip_prefix(&text(root)).unwrap_or(path);
            words.push(' ');
            words.push_str(if path.starts_with("/.filewharf/staging/") { "UPLOAD" } else { path });
            if words.ends_with(' ') {
                words.push('/');
            }
        } else if let Some(name) = argument.strip_prefix('"')
            && !words.ends_with("UPLOAD")
            && !words.starts_with("pwrite64")
        {
            words.push_str(if words.ends_with('/') { "" } else { "/" });
            words.push_str(name.split('"').next().unwrap_or_default());
        }
    }
    words
}

// covers: cut-before-directory-sync deletion-lasts directories-last
#[test]
#[ignore = "needs root and strace"]
fn a_change_is_acknowledged_only_after_every_sync_it_owes_and_nothing_is_named_before_its_own() {
    make(&CHANGES, dir().path());
}

#[test]
#[ignore = "needs root, strace, loop devices, mkfs.btrfs and a release build"]
fn on_btrfs_a_change_is_acknowledged_only_after_a_sync_of_all_and_no_file_is_synced_alone() {
    let disk = Mounted::image(256, &["mkfs.btrfs", "-q"], "");
    make(&CHANGES_ON_BTRFS, &disk.path().join("served"));
}

fn make(changes: &[(&str, &[&str])], root: &Path) {
    let server = Served::start(root, &ONE_OF_EACH);
    server.wait_until_swept();
    let mut client = server.client();
    client.expect("PING", "OK 0");
    for (change, wanted) in changes {
        let options = ["-y", "-s", "9", "-e", CALLS, "-e", SLOWLY].map(str::to_owned);
        let strace = Strace::attach(Target::Process(server.pid()), &options);
        client.send(format!("{change}\n"));
        if let Some(len) = change.strip_prefix("PUT ").and_then(|rest| rest.split(' ').next()) {
            client.send(content(1, len.parse().expect("a size")));
        }
        let said = client.line();
        server.wait_until_asleep();
        let trace = strace.detach();
        assert!(said.starts_with("OK 0"), "{change}: {said}");
        let mut made = calls(&trace, root);
        if !change.starts_with("RENAME ") {
            for syncs in made.chunk_by_mut(|a, b| a.starts_with("fsync /") && b.starts_with("fsync /")) {
                syncs.sort_unstable();
            }
        }
        assert_eq!(made, *wanted, "{change}\n{trace}");
    }
}

// covers: directories-last
#[test]
#[ignore = "needs root and strace"]
fn a_served_directory_that_was_made_at_the_start_is_durable_before_a_client_is_served() {
    let base = dir();
    let trace = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a file");
    let out = text(trace.path());
    let strace = ["strace", "-D", "-f", "-y", "-qq", "-o", &out, "-e", "trace=fsync,sendto,sendmsg"];
    let server = Served::run_by(&strace, &base.path().join("new"), &[]);
    server.client().expect("PING", "OK 0");
    assert_eq!(server.end(), Some(0));
    let trace = std::fs::read_to_string(trace.path()).expect("text");
    assert_eq!(calls(&trace, base.path()), ["fsync /", "OK"], "{trace}");
}
