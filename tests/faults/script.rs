//! One conversation that uses every kind of request, what the directory must look like before it, and
//! what it may look like after it, whatever failed on the way.

use std::fs;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::path::Path;

use crate::wire::{Expects, Framing, Reply, Talker, Wire};
use support::client::content;

const LARGE: usize = 300_000;
const SERVED: usize = 400_000;

/// The requests, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Replace,
    Upload,
    Download,
    HeldDownload,
    List,
    Stat,
    Rename,
    Delete,
    MakeDir,
}

/// HTTP neither moves nor makes directories.
const STEPS: [Step; 9] = [
    Step::Replace,
    Step::Upload,
    Step::Download,
    Step::HeldDownload,
    Step::List,
    Step::Stat,
    Step::Delete,
    Step::Rename,
    Step::MakeDir,
];

/// The requests of a conversation, and what became of each.
pub type Told = Vec<(Step, Reply)>;

impl Step {
    /// `None` if there are no words for it.
    fn request(self, wire: Wire) -> Option<(Vec<u8>, Expects)> {
        let (words, expects) = match self {
            Self::Replace => return Some((wire.upload("/replaced", &content(2, 300), Framing::Length), Expects::Body)),
            Self::Upload => {
                return Some((wire.upload("/new/deep/large", &content(3, LARGE), Framing::Length), Expects::Body));
            }
            Self::Download => (wire.get("/served"), Expects::Body),
            Self::HeldDownload => (wire.get_with_digest("/served"), Expects::BodyAndDigest),
            Self::List => (wire.list("/folder/"), Expects::Body),
            Self::Stat => (wire.stat("/served"), Expects::Nothing),
            Self::Delete => (wire.delete("/gone"), Expects::Body),
            Self::Rename | Self::MakeDir if wire == Wire::Http => return None,
            Self::Rename => ("RENAME /from\t/moved/to\n".to_owned(), Expects::Body),
            Self::MakeDir => ("MKDIR /made/deep/\n".to_owned(), Expects::Body),
        };
        Some((words.into_bytes(), expects))
    }
}

/// Makes the directory what it is before the conversation.
pub fn prepare(root: &Path) {
    for name in ["new", "moved", "made"] {
        let _ = fs::remove_dir_all(root.join(name));
    }
    for (name, seed, len) in [("replaced", 1, 200), ("from", 4, 500), ("gone", 5, 50)] {
        fs::write(root.join(name), content(seed, len)).expect("a file");
    }
    if !root.join("served").exists() {
        fs::create_dir_all(root.join("folder")).expect("a folder");
        for name in ["a", "b", "c"] {
            fs::write(root.join("folder").join(name), name).expect("a file");
        }
        fs::write(root.join("served"), content(6, SERVED)).expect("a file");
    }
    // Out of the page cache, so that a disk worker must read it.
    let served = fs::OpenOptions::new().read(true).open(root.join("served")).expect("the file");
    served.sync_all().expect("a sync");
    rustix::fs::fadvise(served.as_fd(), 0, None, rustix::fs::Advice::DontNeed).expect("advice is free");
}

/// Has the conversation on one connection, and on a new one after each that ended.
pub fn converse(wire: Wire, address: SocketAddr) -> Told {
    let mut talker = Talker::new(wire, address);
    let ask = |step: Step| {
        let (words, expects) = step.request(wire)?;
        Some((step, talker.ask(words, expects)))
    };
    STEPS.into_iter().filter_map(ask).collect()
}

/// Whether everything was served.
pub fn all_served(told: &Told) -> bool {
    told.iter().all(|(_, reply)| matches!(reply, Reply::Served(_)))
}

/// How sure one can be of a change that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It has not happened, and has left nothing after.
    IsCertain,
    /// It may be visible: the failure came after that.
    MayBeVisible,
}

/// True if everything is what the replies said, and nothing is torn.
#[track_caller]
pub fn check(root: &Path, wire: Wire, told: &Told, refusal: Refusal, what: &str) {
    for (step, reply) in told {
        let (old, new) = state(root, *step, refusal);
        let good = match reply {
            Reply::Served(_) => new,
            Reply::Refused(_) if refusal == Refusal::IsCertain => old,
            Reply::Refused(_) | Reply::Cut { .. } => old || new,
        };
        assert!(good, "{what}: after {step:?} was {}, before it: {old}, done: {new}", reply.words());
        check_body(wire, *step, reply, what);
    }
    let mut names: Vec<_> = fs::read_dir(root).expect("the folder").filter_map(Result::ok).collect();
    names.retain(|entry| {
        let known = ["replaced", "served", "folder", "from", "gone", "new", "moved", "made", ".filewharf"];
        !known.iter().any(|name| entry.file_name() == *name)
    });
    assert!(names.is_empty(), "{what}: {names:?} appeared");
}

/// Does the directory look as before the step, and as after it? Neither means torn or lost. Directories
/// that were made for a change are only gone again where a client was left to remove them.
fn state(root: &Path, step: Step, refusal: Refusal) -> (bool, bool) {
    let holds = |name: &str, seed, len| fs::read(root.join(name)).is_ok_and(|bytes| bytes == content(seed, len));
    let absent = |name: &str| !root.join(name).exists();
    let untouched = |dir: &str, name: &str| absent(if refusal == Refusal::IsCertain { dir } else { name });
    match step {
        Step::Replace => (holds("replaced", 1, 200), holds("replaced", 2, 300)),
        Step::Upload => (untouched("new", "new/deep/large"), holds("new/deep/large", 3, LARGE)),
        Step::Rename => {
            let (from, to) = (holds("from", 4, 500), holds("moved/to", 4, 500));
            (from && untouched("moved", "moved/to"), to && absent("from"))
        }
        Step::Delete => (holds("gone", 5, 50), absent("gone")),
        Step::MakeDir => (untouched("made", "made/deep"), root.join("made/deep").is_dir()),
        Step::Download | Step::HeldDownload | Step::List | Step::Stat => (true, holds("served", 6, SERVED)),
    }
}

/// No byte of an answer is wrong, also of one that broke off.
fn check_body(wire: Wire, step: Step, reply: &Reply, what: &str) {
    let (body, whole) = match reply {
        Reply::Served(body) => (body, true),
        Reply::Cut { body, .. } => (body, false),
        Reply::Refused(_) => return,
    };
    match step {
        Step::Download | Step::HeldDownload => {
            let wanted = content(6, SERVED);
            let good = wanted.starts_with(body) && (!whole || body.len() == wanted.len());
            assert!(good, "{what}: wrong bytes in {step:?}");
        }
        Step::List if whole => {
            let names = wire.names(body);
            assert_eq!(names, ["a", "b", "c"], "{what}");
        }
        _ => {}
    }
}
