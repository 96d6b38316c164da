//! Uploads that can be resumed, by the clients that people use, as the registries have them: whole
//! (`whole`), on a link that breaks (`cuts`), refused (`refused`), with `curl`, and by the IETF `draft`. Each file is compared byte by byte: a client that reports success has stored what it sent.

mod curl;
mod cuts;
mod cutting_proxy;
mod draft;
mod refused;
mod whole;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use support::client::{assert_same, content};
use support::process;

use cutting_proxy::Unsteady;

/// What speaks.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Client {
    /// tus-js-client, in Node.
    TusJs,
    /// Uppy with its plugin @uppy/tus, in Node.
    Uppy,
    /// tuspy, in Python.
    TusPy,
}

/// What the registry of Node has to have for it.
const NODE: [&str; 3] = ["tus-js-client@4.3.1", "@uppy/core@6.3.1", "@uppy/tus@6.0.0"];
const PYTHON: [&str; 1] = ["tuspy==1.1.0"];

/// A directory in which a command has installed these packages: once for every run of the tests.
pub(super) fn installed(name: &str, packages: &[&str], command: impl FnOnce(&Path) -> Command) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let (mark, list) = (dir.join("installed"), packages.join("\n"));
    if fs::read_to_string(&mark).is_ok_and(|found| found == list) {
        return dir;
    }
    // Of another version, or of an attempt that failed; usually there is none.
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("a folder");
    let output = command(&dir).args(packages).output().expect("the package manager can be run");
    assert!(output.status.success(), "{packages:?}: {}", String::from_utf8_lossy(&output.stderr));
    fs::write(mark, list).expect("a file");
    dir
}

pub(super) fn npm(dir: &Path) -> Command {
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]).arg(dir);
    npm
}

pub(super) fn pip(dir: &Path) -> Command {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]).arg(dir);
    pip
}

fn for_node() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = installed("clients-node", &NODE, npm);
        // Node looks for packages beside the script.
        fs::write(dir.join("client.mjs"), include_str!("client.mjs")).expect("a file");
        dir
    })
}

fn for_python() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = installed("clients-python", &PYTHON, pip);
        fs::write(dir.join("client.py"), include_str!("client.py")).expect("a file");
        dir
    })
}

/// How a client ended, and what it was answered.
#[derive(Debug)]
struct Report {
    /// The addresses of the uploads that it calls complete.
    successes: Vec<String>,
    failures: Vec<String>,
    /// Of the one that was given up.
    stopped: Option<String>,
    /// Method, status and offset of each reply; of none where the client does not show them.
    replies: Vec<String>,
}

impl Report {
    fn new(said: &str) -> Self {
        let all = |word: &str| {
            let rest = |line: &str| line.strip_prefix(word)?.strip_prefix(' ').map(str::to_owned);
            said.lines().filter_map(rest).collect::<Vec<_>>()
        };
        let stopped = all("stopped").pop();
        Self { successes: all("success"), failures: all("failure"), stopped, replies: all("request") }
    }

    /// This many uploads succeeded and none failed.
    #[track_caller]
    fn succeeded(&self, count: usize) {
        assert!(self.successes.len() == count && self.failures.is_empty(), "{self:#?}");
    }

    fn count(&self, start: &str) -> usize {
        self.replies.iter().filter(|reply| reply.starts_with(start)).count()
    }
}

/// A server after a link that may break, and files to send.
struct Bench {
    link: Unsteady,
    dir: TempDir,
}

impl Bench {
    fn new(options: &[&str]) -> Self {
        let dir = process::dir(env!("CARGO_TARGET_TMPDIR"));
        fs::create_dir(dir.path().join("here")).expect("a folder");
        Self { link: Unsteady::new(&dir.path().join("files"), options), dir }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.link.address())
    }

    fn served(&self, name: &str) -> PathBuf {
        self.dir.path().join("files").join(name)
    }

    /// Makes a file to send; returns its content.
    fn file(&self, name: &str, len: u64) -> Vec<u8> {
        let bytes = content(len, usize::try_from(len).expect("it fits memory"));
        fs::write(self.dir.path().join("here").join(name), &bytes).expect("a file");
        bytes
    }

    #[track_caller]
    fn assert_stored(&self, name: &str, bytes: &[u8]) {
        let stored = fs::read(self.served(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_same(&stored, bytes, name);
    }

    /// Runs a client until it ends, which it must; `words` are of the scripts.
    #[track_caller]
    fn run(&self, client: Client, words: &[&str]) -> Report {
        let mut command = Command::new("timeout");
        match client {
            Client::TusJs | Client::Uppy => {
                command.args(["300", "node"]).arg(for_node().join("client.mjs"));
                command.arg(if client == Client::Uppy { "client=uppy" } else { "client=tus" });
            }
            Client::TusPy => {
                let dir = for_python();
                command.args(["300", "python3"]).arg(dir.join("client.py")).env("PYTHONPATH", dir);
            }
        }
        if !words.iter().any(|word| word.starts_with("endpoint=")) {
            command.arg(format!("endpoint={}", self.url("/")));
        }
        let output = command.args(words).current_dir(self.dir.path().join("here")).output().expect("it can be run");
        let said = String::from_utf8_lossy(&output.stdout);
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{client:?} {words:?}: {}\n{said}\n{complaints}", output.status);
        Report::new(&said)
    }

    /// The head and the body that curl was answered.
    #[track_caller]
    fn curl(&self, arguments: &[&str]) -> (u16, String) {
        let mut command = Command::new("curl");
        command.args(["-sS", "-i", "--max-time", "60"]).args(arguments).current_dir(self.dir.path().join("here"));
        let output = command.output().expect("curl can be run");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
        // The final reply is the last one.
        let last = said.rfind("HTTP/1.1 ").unwrap_or_else(|| panic!("no reply: {said:?}"));
        let status = said[last + 9..][..3].parse().unwrap_or_else(|_| panic!("no status: {said:?}"));
        (status, said)
    }
}

/// The value of a field of a reply.
fn field<'a>(reply: &'a str, name: &str) -> Option<&'a str> {
    let last = reply.rfind("HTTP/1.1 ")?;
    let head = reply[last..].split("\r\n\r\n").next()?;
    head.lines().find_map(|line| {
        let (own, value) = line.split_once(": ")?;
        own.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// Where a reply to a request for a name in the root says that the upload is.
#[track_caller]
fn address(bench: &Bench, head: &str) -> String {
    let location = field(head, "Location").unwrap_or_else(|| panic!("no address: {head}"));
    if location.contains("://") {
        location.to_owned()
    } else {
        bench.url(&format!("/{}", location.trim_start_matches('/')))
    }
}
