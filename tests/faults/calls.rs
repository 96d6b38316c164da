//! Every system call of a whole conversation fails once, with every error that fits; and start.
//!
//! The calls are found by tracing the conversation, so a new one is walked over too. One thread is
//! traced at a time, and the n-th call of a name fails; n grows until the conversation has no more
//! of it. Left out: calls that only memory or a mistake of ours can make fail (`mmap`, `futex`,
//! `eventfd` writes), `close` (an injected error leaves the descriptor open, which the kernel does
//! not), and errors that would be lies (`EAGAIN` from a socket that is ready never comes again).

use std::collections::BTreeMap;

use crate::outside::{Strace, Target};
use crate::script::{Refusal, Step, Told, all_served, check, converse, prepare};
use crate::server::{Served, dir};
use crate::wire::{Reply, Wire};

/// One thread of each kind, so that the n-th call is the same one every time.
pub const ONE_OF_EACH: [&str; 4] = ["--io-workers", "1", "--sync-workers", "1"];

/// Calls of the store: whatever they return, the peer gets an answer in its dialect.
const STORE: [&str; 18] = [
    "openat2",
    "openat",
    "newfstatat",
    "fstat",
    "statfs",
    "fallocate",
    "pwrite64",
    "sync_file_range",
    "fdatasync",
    "fsync",
    "renameat",
    "renameat2",
    "unlinkat",
    "mkdirat",
    "getdents64",
    "pread64",
    "preadv2",
    "fcntl",
];
/// Those that change something: a read-only file system refuses them.
const CHANGING: [&str; 7] = ["openat", "fallocate", "pwrite64", "renameat", "renameat2", "unlinkat", "mkdirat"];
/// Those that an answer may never hide.
const TOLD: [&str; 7] = ["openat", "pwrite64", "fdatasync", "fsync", "renameat", "renameat2", "mkdirat"];

/// The errors that a call is made to fail with.
fn errors(thread: &str, call: &str) -> Vec<&'static str> {
    let mut errors = match call {
        "accept4" => vec!["EINTR", "ECONNABORTED", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EPERM", "EPROTO"],
        "epoll_wait" => vec!["EINTR"],
        "epoll_ctl" => vec!["ENOMEM", "ENOSPC"],
        "recvfrom" => vec!["EINTR", "ECONNRESET", "ETIMEDOUT", "ENOMEM"],
        "sendto" | "sendmsg" => vec!["EINTR", "EPIPE", "ECONNRESET", "ENOBUFS", "ENOMEM"],
        "sendfile" => vec!["EINTR", "EPIPE", "ECONNRESET", "ENOMEM", "EIO"],
        "setsockopt" | "getsockopt" | "ioctl" | "shutdown" => vec!["ENOMEM", "ENOTCONN"],
        "write" if thread == "log" => vec!["EIO", "ENOSPC", "EPIPE", "EINTR"],
        call if STORE.contains(&call) => {
            vec!["EIO", "ENOSPC", "EDQUOT", "EINTR", "EMFILE", "ENFILE", "ENOMEM", "EAGAIN"]
        }
        _ => vec![],
    };
    if CHANGING.contains(&call) {
        errors.push("EROFS");
    }
    errors
}

/// The codes that a client may be sent.
fn codes(error: &str) -> &'static [u16] {
    match error {
        "ENOSPC" | "EDQUOT" => &[507],
        "EMFILE" | "ENFILE" | "ENOMEM" | "EAGAIN" => &[429, 500],
        _ => &[500],
    }
}

/// One fault.
struct Fault<'a> {
    thread: &'a str,
    call: &'a str,
    error: &'a str,
    nth: usize,
}

impl Fault<'_> {
    fn words(&self) -> String {
        format!("{} of {} #{} in {}", self.error, self.call, self.nth, self.thread)
    }

    /// Whether it leaves the store read-only until a restart.
    fn degrades(&self) -> bool {
        let passing = ["ENOSPC", "EDQUOT", "EINTR"].contains(&self.error);
        matches!(self.call, "fdatasync" | "fsync") && !passing || self.error == "EROFS"
    }

    /// After these the change may be visible although it was refused.
    fn refusal(&self) -> Refusal {
        // `unlinkat` also takes away what a failed change has left.
        if matches!(self.call, "fsync" | "fstat" | "unlinkat") { Refusal::MayBeVisible } else { Refusal::IsCertain }
    }

    /// New directories that are perhaps not durable stay open until a change in them has been synced.
    fn settle(&self, server: &Served) {
        if self.refusal() == Refusal::MayBeVisible {
            let mut client = server.client();
            for dir in ["new/deep", "moved", "made/deep"] {
                client.put(&format!("/{dir}/settled"), b"x");
                client.expect(&format!("DELETE /{dir}/settled"), "OK 0");
            }
        }
    }

    fn judge(&self, told: &Told) {
        let (what, of_store) = (self.words(), STORE.contains(&self.call));
        for (step, reply) in told {
            match reply {
                Reply::Served(_) => {}
                Reply::Refused(503) | Reply::Refused(500) if self.degrades() => {}
                Reply::Refused(code) => {
                    assert!(of_store && codes(self.error).contains(code), "{what}: {step:?} was told {code}");
                }
                // A head that waits for the first bytes of its body goes with them.
                Reply::Cut { reset, .. } => {
                    let reads = matches!(step, Step::Download | Step::HeldDownload);
                    assert!(!of_store || reads, "{what}: {step:?} was cut instead of told");
                    assert!(!of_store || *reset, "{what}: {step:?} ended as if it were whole");
                }
            }
        }
        let is_repeated = self.error == "EINTR" && matches!(self.call, "openat" | "pwrite64");
        if TOLD.contains(&self.call) && !is_repeated {
            assert!(!all_served(told), "{what}: nobody was told");
        }
    }
}

/// How often each thread makes each call in the conversation: thread, id, call, times. Calls that this strace has no
/// name for are left out, as it can do nothing to them.
pub fn sites(server: &Served, wire: Wire) -> Vec<(String, u32, String, usize)> {
    prepare(&server.root);
    calls_of(server, |server| {
        let told = converse(wire, server.address());
        check(&server.root, wire, &told, Refusal::IsCertain, "nothing failed");
        assert!(all_served(&told), "all are served");
    })
}

/// The same while anything is done.
pub fn calls_of(server: &Served, body: impl FnOnce(&Served)) -> Vec<(String, u32, String, usize)> {
    let strace = Strace::attach(Target::Process(server.pid()), &[]);
    body(server);
    let trace = strace.detach();
    let mut counts = BTreeMap::<(u32, &str), usize>::new();
    for line in trace.lines() {
        let Some((id, call)) = line.split_once(' ') else { continue };
        if let (Ok(id), Some((call, _))) = (id.parse(), call.trim_start().split_once('('))
            && call.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && !call.starts_with("syscall_")
        {
            *counts.entry((id, call)).or_default() += 1;
        }
    }
    let threads: BTreeMap<u32, String> = server.threads().into_iter().collect();
    let name = |id| threads.get(&id).cloned().unwrap_or_default();
    counts.into_iter().map(|((id, call), times)| (name(id), id, call.to_owned(), times)).collect()
}

/// Has the fault; true if there was such a call.
fn suffer(server: &Served, wire: Wire, base: usize, id: u32, fault: &Fault<'_>, tally: &mut Tally) -> bool {
    let what = fault.words();
    prepare(&server.root);
    let inject = format!("inject={}:error={}:when={}", fault.call, fault.error, fault.nth);
    let options = ["-e".into(), format!("trace={}", fault.call), "-e".into(), inject];
    let strace = Strace::attach(Target::Thread(id), &options);
    let told = converse(wire, server.address());
    server.wait_until_asleep();
    let happened = strace.detach().contains("(INJECTED)");
    if !happened {
        assert!(all_served(&told), "{what}: did not happen");
        return false;
    }
    fault.judge(&told);
    check(&server.root, wire, &told, fault.refusal(), &what);
    if !fault.degrades() {
        fault.settle(server);
        server.assert_back_to(base, &what);
    }
    tally.add(fault, &told);
    true
}

/// What was seen, for people.
#[derive(Default)]
struct Tally(BTreeMap<String, BTreeMap<String, usize>>);

impl Tally {
    fn add(&mut self, fault: &Fault<'_>, told: &Told) {
        let first = told.iter().map(|(_, reply)| reply).find(|reply| !matches!(reply, Reply::Served(_)));
        let word = match first {
            None => "survived".to_owned(),
            Some(Reply::Refused(code)) => format!("told {code}"),
            Some(_) => "cut".to_owned(),
        };
        *self.0.entry(format!("{} {}", fault.thread, fault.call)).or_default().entry(word).or_default() += 1;
    }

    fn print(&self, wire: Wire) {
        for (call, seen) in &self.0 {
            let words: Vec<_> = seen.iter().map(|(word, times)| format!("{times} {word}")).collect();
            println!("calls: {wire:?}: {call}: {}", words.join(", "));
        }
        let all: usize = self.0.values().flat_map(BTreeMap::values).sum();
        println!("calls: {wire:?}: {all} faults injected");
    }
}

// covers: accept-errors no-descriptors-for-files full-disk write-fails directory-sync-fails read-fails short-calls
#[test]
#[ignore = "needs root, strace and a release build"]
fn every_call_of_a_conversation_fails_once_and_the_client_gets_the_truth() {
    every_call_fails_once(Wire::Line);
}

// covers: no-descriptors-for-files file-sync-fails
#[test]
#[ignore = "needs root, strace and a release build"]
fn every_call_of_a_conversation_in_http_fails_once_and_the_client_gets_the_truth() {
    every_call_fails_once(Wire::Http);
}

fn every_call_fails_once(wire: Wire) {
    let root = dir();
    let mut server = Served::start(root.path(), &ONE_OF_EACH);
    server.wait_until_swept();
    server.assert_serves();
    let calls: Vec<(String, String)> =
        sites(&server, wire).into_iter().map(|(thread, _, call, _)| (thread, call)).collect();
    let mut base = server.descriptors_at_rest();
    let mut tally = Tally::default();
    for (thread, call) in &calls {
        for error in errors(thread, call) {
            for nth in 1.. {
                let fault = Fault { thread, call, error, nth };
                let id = server.thread(thread);
                if !suffer(&server, wire, base, id, &fault, &mut tally) {
                    break;
                }
                if fault.degrades() && server.log().contains("store.degraded") {
                    let mut client = server.client();
                    assert!(client.try_put("/late", b"x").starts_with("ERR 500 "), "{}", fault.words());
                    client.expect("STAT /served", "OK 0 ");
                    drop(client);
                    assert_eq!(server.end(), Some(1), "a failed sync shows in the exit code");
                    server = Served::start(root.path(), &ONE_OF_EACH);
                    server.wait_until_swept();
                    server.assert_serves();
                    base = server.descriptors_at_rest();
                } else {
                    assert!(!fault.degrades() || fault.error == "EROFS", "{}: continues", fault.words());
                }
            }
        }
    }
    server.assert_serves();
    tally.print(wire);
    assert_eq!(server.end(), Some(0));
}
