//! The built binary: what it prints, how it exits, what it does on signals, and its client against
//! its server.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc::channel;

use rustix::process::{Pid, Signal, kill_process};

use crate::client::{Client, PATIENCE, assert_same, content, sha256, wait_until};

const BINARY: &str = env!("CARGO_BIN_EXE_filewharf");

/// A server in a process of its own; killed when dropped.
pub struct Program {
    child: Child,
    out: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Program {
    pub fn start(root: &Path, options: &[&str]) -> Self {
        let mut command = Command::new(BINARY);
        command.arg("serve").arg(root).args(["--listen", "127.0.0.1:0"]).args(options);
        Self::run(command)
    }

    /// On an address that must be free.
    pub fn at(root: &Path, address: SocketAddr) -> Self {
        let mut command = Command::new(BINARY);
        command.arg("serve").arg(root).args(["--listen", &address.to_string()]);
        Self::run(command)
    }

    /// With a log, and what it can be read from if it is a pipe.
    pub fn logging(root: &Path, options: &[&str], log: Stdio) -> (Self, Option<ChildStderr>) {
        let mut command = Command::new(BINARY);
        command.arg("serve").arg(root).args(["--listen", "127.0.0.1:0"]).args(options).stderr(log);
        let mut program = Self::spawn(command);
        let log = program.child.stderr.take();
        (program, log)
    }

    /// In a shell that was told this before.
    pub fn behind(root: &Path, told: &str) -> Self {
        let mut command = Command::new("sh");
        let script = format!("{told} && exec \"$0\" serve \"$1\" --listen 127.0.0.1:0");
        command.arg("-c").arg(script).arg(BINARY).arg(root);
        Self::run(command)
    }

    /// With so few descriptors.
    pub fn limited(root: &Path, descriptors: usize) -> Self {
        Self::behind(root, &format!("ulimit -n {descriptors}"))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn run(mut command: Command) -> Self {
        command.stderr(Stdio::null());
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the built binary can be run");
        let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        out.read_line(&mut line).expect("a line");
        let address = line.strip_prefix("listening on ").and_then(|rest| rest.strip_suffix(" (auto)\n"));
        let address = address.and_then(|address| address.parse().ok());
        Self { address: address.unwrap_or_else(|| panic!("the first line is {line:?}")), child, out }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the server runs");
    }

    /// Waits for the end: the exit code and what was left on standard output.
    pub fn wait(mut self) -> (Option<i32>, String) {
        let mut status = None;
        wait_until("the server ends", || {
            status = self.child.try_wait().expect("a child can be waited for");
            status.is_some()
        });
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).expect("text");
        (status.and_then(|status| status.code()), rest)
    }

    /// Drains, and must end well.
    pub fn end(self) {
        self.signal(Signal::TERM);
        assert_eq!(self.wait(), (Some(0), String::new()));
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail when it has ended, as it should have.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the binary to its end, which must come.
fn run(arguments: &[&str]) -> Output {
    let child = Command::new(BINARY)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the built binary can be run");
    let pid = Pid::from_child(&child);
    let (done, ended) = channel();
    std::thread::spawn(move || done.send(child.wait_with_output()));
    match ended.recv_timeout(PATIENCE) {
        Ok(output) => output.expect("output"),
        Err(error) => {
            let _ = kill_process(pid, Signal::KILL);
            panic!("{arguments:?} never ended: {error}");
        }
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn run_well(arguments: &[&str]) -> Vec<u8> {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
    output.stdout
}

#[track_caller]
fn fails(arguments: &[&str], code: i32) -> String {
    let output = run(arguments);
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
    assert_eq!(output.stdout, b"", "{arguments:?}");
    error
}

#[test]
fn the_server_prints_where_it_listens_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = Program::start(folder.path(), &["--listen", "line@127.0.0.1:0", "--verbose"]);
    program.client().put("/file", b"content");
    program.signal(Signal::TERM);
    let (code, rest) = program.wait();
    assert_eq!(code, Some(0));
    let second = rest.strip_prefix("listening on 127.0.0.1:").and_then(|rest| rest.strip_suffix(" (line)\n"));
    assert!(second.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0)), "{rest:?}");
}

#[test]
fn both_signals_drain_and_a_second_one_ends_it_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let program = Program::start(folder.path(), &[]);
        let mut client = program.client();
        client.send("PUT 10 /file\nhalf ");
        client.stream.set_nodelay(true).expect("a socket takes an option");
        let mut idle = program.client();
        idle.expect("PING", "OK 0");
        program.signal(signal);
        wait_until("a closed listener", || std::net::TcpStream::connect(program.address()).is_err());
        client.send("done.");
        assert!(client.line().starts_with("OK 0 "));
        drop((client, idle));
        assert_eq!(program.wait().0, Some(0), "{signal:?}");
        let program = Program::start(folder.path(), &[]);
        let mut client = program.client();
        client.send("PUT 10 /file\nhalf ");
        program.client().expect("PING", "OK 0");
        program.signal(signal);
        wait_until("a closed listener", || std::net::TcpStream::connect(program.address()).is_err());
        program.signal(signal);
        assert_eq!(program.wait().0, Some(1), "{signal:?} twice cuts off");
        assert_eq!(fs::read(folder.path().join("file")).expect("the old file"), b"half done.");
    }
}

#[test]
fn a_hangup_drains_and_its_repetition_cuts_nothing_off() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = Program::start(folder.path(), &[]);
    let mut client = program.client();
    client.send("PUT 10 /file\nhalf ");
    program.client().expect("PING", "OK 0");
    program.signal(Signal::HUP);
    wait_until("a closed listener", || std::net::TcpStream::connect(program.address()).is_err());
    // A terminal that closes sends one to its foreground group, and its shell another one.
    program.signal(Signal::HUP);
    client.send("done.");
    assert!(client.line().starts_with("OK 0 "));
    drop(client);
    assert_eq!(program.wait().0, Some(0));
}

#[test]
#[cfg(target_os = "linux")]
fn a_hangup_that_is_ignored_from_the_start_changes_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = Program::behind(folder.path(), "trap '' HUP");
    program.signal(Signal::HUP);
    program.client().expect("PING", "OK 0");
    program.end();
}

#[test]
fn a_port_in_use_is_named_and_the_exit_code_is_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = Program::start(folder.path(), &[]);
    let address = program.address().to_string();
    let root = folder.path().join("other");
    let error = fails(&["serve", &root.to_string_lossy(), "--quiet", "--listen", &address], 1);
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.contains(&address), "{error}");
    program.end();
}

#[test]
fn a_root_that_is_a_file_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("a file");
    let error = fails(&["serve", &file.to_string_lossy(), "--quiet", "--listen", "127.0.0.1:0"], 1);
    assert!(error.lines().count() == 1 && error.contains("file"), "{error}");
}

#[test]
fn wrong_usage_exits_with_two() {
    for arguments in [
        &["serve", "--no-such-flag"][..],
        &["serve", "--listen", "nonsense"],
        &["serve", "--max-size", "-1"],
        &["steal"],
        &["put"],
        &[],
    ] {
        let error = fails(arguments, 2);
        assert!(!error.is_empty(), "{arguments:?}");
    }
    for arguments in [&["--help"][..], &["serve", "--help"], &["put", "--help"], &["get", "--help"], &["--version"]] {
        assert!(!run_well(arguments).is_empty());
    }
}

#[test]
fn folders_go_both_ways_unchanged() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = folder.path().join("source");
    let mut files = Vec::new();
    for n in 0..50_usize {
        let name = format!("{}/file {n}", ["a", "a/b", "c é"][n % 3]);
        let bytes = content(n as u64, n * n * 20);
        fs::create_dir_all(source.join(&name).parent().expect("a parent")).expect("a folder");
        fs::write(source.join(&name), &bytes).expect("a file");
        files.push((name, bytes));
    }
    let program = Program::start(&folder.path().join("served"), &[]);
    let address = program.address();
    run_well(&["put", "--recursive", &source.to_string_lossy(), &format!("{address}/in/")]);
    let listed = String::from_utf8(run_well(&["ls", &format!("{address}/in/source/")])).expect("UTF-8");
    assert!(listed.contains("a/") && listed.contains("c é/"), "{listed}");
    let back = folder.path().join("back");
    fs::create_dir(&back).expect("a folder");
    run_well(&["get", "--recursive", &format!("{address}/in/source"), &back.to_string_lossy()]);
    for (name, bytes) in &files {
        let path = [back.join("source").join(name), back.join(name)].into_iter().find(|path| path.exists());
        assert_same(&fs::read(path.expect(name)).expect("a file"), bytes, name);
    }
    program.end();
}

#[test]
fn a_large_file_goes_both_ways_and_away() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let secret = folder.path().join("secret");
    fs::write(&secret, "open sesame\n").expect("a file");
    let secret = secret.to_string_lossy().into_owned();
    let program = Program::start(&folder.path().join("served"), &["--token-file", &secret]);
    let url = format!("{}/big file", program.address());
    let (from, to) = (folder.path().join("big file"), folder.path().join("copy"));
    let bytes = content(1, 5 << 20);
    fs::write(&from, &bytes).expect("a file");
    let (from, to) = (from.to_string_lossy().into_owned(), to.to_string_lossy().into_owned());
    let server = program.address().to_string();
    fails(&["put", &from, &server], 1);
    run_well(&["put", "--token-file", &secret, &from, &server]);
    run_well(&["get", "--token-file", &secret, &url, &to]);
    assert_eq!(sha256(&fs::read(&to).expect("a file")), sha256(&bytes));
    run_well(&["rm", "--token-file", &secret, &url]);
    fails(&["get", "--token-file", &secret, &url, &to], 1);
    fails(&["rm", "--token-file", &secret, &url], 1);
    program.end();
}

#[test]
fn nobody_there_is_a_failure() {
    let program = Program::start(tempfile::tempdir().expect("a temporary folder").path(), &[]);
    let address = program.address().to_string();
    program.end();
    fails(&["get", "--retries", "0", &format!("{address}/file"), "-"], 1);
}

#[test]
#[cfg(target_os = "linux")]
fn the_server_is_at_most_twelve_threads() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = Program::start(folder.path(), &[]);
    let bytes = content(1, 200_000);
    let mut clients: Vec<Client> = (0..20).map(|_| program.client()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.put(&format!("/file {n}"), &bytes);
    }
    let threads = fs::read_dir(format!("/proc/{}/task", program.child.id())).expect("proc").count();
    assert!(threads <= 12, "{threads}");
    drop(clients);
    program.end();
}
