//! One conversation that uses every kind of request, what the folder must look like before it, and
//! what it may look like after it, whatever failed on the way.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Duration;

use crate::client::content;

/// Nothing may take longer; a server that is silent for so long hangs.
const PATIENCE: Duration = Duration::from_secs(20);

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
    MakeFolder,
}

pub const STEPS: [Step; 9] = [
    Step::Replace,
    Step::Upload,
    Step::Download,
    Step::HeldDownload,
    Step::List,
    Step::Stat,
    Step::Rename,
    Step::Delete,
    Step::MakeFolder,
];

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Served, with this body.
    Served(Vec<u8>),
    /// Refused with this code.
    Refused(u16),
    /// The connection ended instead, in the middle of a body if `body` is not empty.
    Cut { body: Vec<u8>, reset: bool },
}

impl Step {
    fn request(self) -> Vec<u8> {
        let words: &[u8] = match self {
            Self::Replace => return [&b"PUT 300 /replaced\n"[..], &content(2, 300)].concat(),
            Self::Upload => return [&b"PUT 300000 /new/deep/large\n"[..], &content(3, LARGE)].concat(),
            Self::Download => b"GET /served\n",
            Self::HeldDownload => b"GET trailer=sha256 /served\n",
            Self::List => b"LIST /folder/\n",
            Self::Stat => b"STAT /served\n",
            Self::Rename => b"RENAME /from\t/moved/to\n",
            Self::Delete => b"DELETE /gone\n",
            Self::MakeFolder => b"MKDIR /made/deep/\n",
        };
        words.to_vec()
    }
}

/// Makes the folder what it is before the conversation.
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

/// Has the conversation on one connection, and on a new one after each that ended early.
pub fn converse(address: SocketAddr) -> Vec<Reply> {
    let mut line = None;
    STEPS.into_iter().map(|step| ask(&mut line, address, step)).collect()
}

fn ask(line: &mut Option<BufReader<TcpStream>>, address: SocketAddr, step: Step) -> Reply {
    let cut = Reply::Cut { body: Vec::new(), reset: false };
    if line.is_none() {
        let Ok(stream) = TcpStream::connect(address) else { return cut };
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("an option");
        *line = Some(BufReader::new(stream));
    }
    let reader = line.as_mut().expect("just connected");
    let reply = match reader.get_mut().write_all(&step.request()) {
        Err(_) => cut,
        Ok(()) => hear(reader, step),
    };
    if matches!(reply, Reply::Cut { .. }) {
        *line = None;
    }
    reply
}

fn hear(reader: &mut BufReader<TcpStream>, step: Step) -> Reply {
    let mut head = Vec::new();
    let ended = reader.read_until(b'\n', &mut head);
    assert!(!ended.as_ref().is_err_and(is_timeout), "{step:?}: the server hangs");
    let head = String::from_utf8(head).expect("a reply is text");
    let Some(head) = head.strip_suffix('\n') else { return Reply::Cut { body: Vec::new(), reset: ended.is_err() } };
    let number = head.split(' ').nth(1).and_then(|number| number.parse().ok());
    match (head.split(' ').next(), number) {
        (Some("OK"), Some(len)) => hear_body(reader, step, len),
        (Some("ERR"), Some(code)) => Reply::Refused(u16::try_from(code).expect("a code")),
        _ => panic!("{step:?}: {head:?} is no reply"),
    }
}

fn hear_body(reader: &mut BufReader<TcpStream>, step: Step, len: usize) -> Reply {
    let trailer = if step == Step::HeldDownload { "sha256=\n".len() + 64 } else { 0 };
    let mut body = Vec::new();
    let ended = reader.take((len + trailer) as u64).read_to_end(&mut body);
    assert!(!ended.as_ref().is_err_and(is_timeout), "{step:?}: the server hangs in a body");
    if body.len() < len + trailer { Reply::Cut { body, reset: ended.is_err() } } else { Reply::Served(body) }
}

fn is_timeout(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::WouldBlock
}

/// How sure one can be of a change that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It has not happened, and has left nothing behind.
    IsCertain,
    /// It may be visible: the failure came after that.
    MayBeVisible,
}

/// Is everything what the replies said, and nothing torn?
#[track_caller]
pub fn check(root: &Path, replies: &[Reply], refusal: Refusal, what: &str) {
    for (step, reply) in STEPS.into_iter().zip(replies) {
        let (old, new) = state(root, step, refusal);
        let good = match reply {
            Reply::Served(_) => new,
            Reply::Refused(_) if refusal == Refusal::IsCertain => old,
            Reply::Refused(_) | Reply::Cut { .. } => old || new,
        };
        assert!(good, "{what}: after {step:?} was answered {}, before it: {old}, done: {new}", reply.words());
        check_body(step, reply, what);
    }
    let mut names: Vec<_> = fs::read_dir(root).expect("the folder").filter_map(Result::ok).collect();
    names.retain(|entry| {
        let known = ["replaced", "served", "folder", "from", "gone", "new", "moved", "made", ".filewharf"];
        !known.iter().any(|name| entry.file_name() == *name)
    });
    assert!(names.is_empty(), "{what}: {names:?} appeared");
}

impl Reply {
    /// Not the megabytes.
    pub fn words(&self) -> String {
        match self {
            Self::Served(body) => format!("OK with {} bytes", body.len()),
            Self::Refused(code) => format!("ERR {code}"),
            Self::Cut { body, reset } => format!("an end after {} bytes of a body (reset: {reset})", body.len()),
        }
    }
}

/// Does the folder look as before the step, and as after it? Neither means torn or lost. Folders
/// that were made for a change are only gone again where somebody was there to take them away.
fn state(root: &Path, step: Step, refusal: Refusal) -> (bool, bool) {
    let holds = |name: &str, seed, len| fs::read(root.join(name)).is_ok_and(|bytes| bytes == content(seed, len));
    let absent = |name: &str| !root.join(name).exists();
    let untouched = |folder: &str, name: &str| absent(if refusal == Refusal::IsCertain { folder } else { name });
    match step {
        Step::Replace => (holds("replaced", 1, 200), holds("replaced", 2, 300)),
        Step::Upload => (untouched("new", "new/deep/large"), holds("new/deep/large", 3, LARGE)),
        Step::Rename => {
            let (from, to) = (holds("from", 4, 500), holds("moved/to", 4, 500));
            (from && untouched("moved", "moved/to"), to && absent("from"))
        }
        Step::Delete => (holds("gone", 5, 50), absent("gone")),
        Step::MakeFolder => (untouched("made", "made/deep"), root.join("made/deep").is_dir()),
        Step::Download | Step::HeldDownload | Step::List | Step::Stat => (true, holds("served", 6, SERVED)),
    }
}

/// No byte of an answer is wrong, also of one that broke off.
fn check_body(step: Step, reply: &Reply, what: &str) {
    let (body, whole) = match reply {
        Reply::Served(body) => (body, true),
        Reply::Cut { body, .. } => (body, false),
        Reply::Refused(_) => return,
    };
    match step {
        Step::Download | Step::HeldDownload => {
            let wanted = content(6, SERVED);
            let mut wanted = wanted.clone();
            if step == Step::HeldDownload {
                let trailer = format!("sha256={}\n", crate::client::sha256(&wanted));
                wanted.extend(trailer.bytes());
            }
            assert!(
                wanted.starts_with(body) && (!whole || body.len() == wanted.len()),
                "{what}: wrong bytes in {step:?}"
            );
        }
        Step::List if whole => {
            let text = String::from_utf8_lossy(body);
            let names: Vec<_> = text.lines().filter_map(|line| line.rsplit(' ').next()).collect();
            assert_eq!(names, ["a", "b", "c"], "{what}");
        }
        _ => {}
    }
}
