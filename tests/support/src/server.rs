//! A server: the built program as a child process, or the library on a thread.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

use filewharf::config::Limits;
use filewharf::object::Durability;
use filewharf::server::{Handle, Server};
use rustix::process::{Pid, Signal, kill_process};

use crate::client::{Client, wait_until};

/// A command without the variables that would be flags of `serve`.
pub fn without_settings(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FILEWHARF_")) {
        command.env_remove(name);
    }
    command
}

/// The built program, serving a directory. Killed when dropped.
pub struct Program {
    child: Child,
    out: BufReader<ChildStdout>,
    /// The addresses of its listeners, in the order of the options.
    pub addresses: Vec<SocketAddr>,
    /// The lines that named them.
    pub said: String,
}

impl Program {
    /// Runs `binary serve ROOT OPTIONS`, listening on a free port of 127.0.0.1 if no option names an address.
    /// `before` is a command that runs it (`taskset`). Its exit status and first line if it does not start.
    pub fn try_start(before: &[&str], binary: &str, root: &Path, options: &[&str], log: Stdio) -> Result<Self, String> {
        let words: Vec<&str> = before.iter().copied().chain([binary]).collect();
        let mut command = without_settings(words[0]);
        command.args(&words[1..]).arg("serve").arg(root).args(options);
        // To run all tests with another sandbox than the default.
        if let Some(mode) = std::env::var_os("FILEWHARF_TEST_SANDBOX").filter(|_| !options.contains(&"--sandbox")) {
            command.arg("--sandbox").arg(mode);
        }
        if !options.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let listeners = options.iter().filter(|option| **option == "--listen").count().max(1)
            + usize::from(options.contains(&"--admin"));
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().expect("the built binary can be run");
        let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
        let (mut addresses, mut said) = (Vec::new(), String::new());
        for _ in 0..listeners {
            let at = said.len();
            out.read_line(&mut said).expect("text");
            let Some(address) = address_in(&said[at..]) else {
                let status = child.wait().expect("a child can be waited for");
                return Err(format!("{status}: {said}"));
            };
            addresses.push(address);
        }
        Ok(Self { child, out, addresses, said })
    }

    /// To be measured: without its log.
    pub fn start(before: &[&str], binary: &str, root: &Path, options: &[&str]) -> Self {
        Self::start_logging(before, binary, root, &[&["--quiet"], options].concat(), Stdio::inherit())
    }

    /// The same with the log that it writes by default, which goes to `log`.
    pub fn start_logging(before: &[&str], binary: &str, root: &Path, options: &[&str], log: Stdio) -> Self {
        let options = [&["--congestion", "cubic"], options].concat();
        Self::try_start(before, binary, root, &options, log).expect("the program starts")
    }

    /// The address of its first listener.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its log, if that is a pipe.
    pub fn take_log(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the server runs");
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_some()
    }

    /// Waits for the end: the exit code, if it was no signal.
    pub fn wait(&mut self) -> Option<i32> {
        wait_until("the server ends", || self.has_ended());
        self.child.wait().expect("it has ended").code()
    }

    /// Drains, and must end well, without another word.
    pub fn end(mut self) {
        self.signal(Signal::TERM);
        assert_eq!(self.wait(), Some(0));
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).expect("text");
        assert_eq!(rest, "");
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Where a program listens that says so in its first line.
pub fn address_said_by(child: &mut Child) -> SocketAddr {
    let mut line = String::new();
    let out = child.stdout.take().expect("piped");
    BufReader::new(out).read_line(&mut line).expect("the program says where it listens");
    address_in(&line).unwrap_or_else(|| panic!("not an address: {line:?}"))
}

/// `listening on ADDRESS (DIALECT)`, whole; a Unix socket has no port.
fn address_in(line: &str) -> Option<SocketAddr> {
    let (address, _) = line.strip_prefix("listening on ")?.strip_suffix(")\n")?.split_once(" (")?;
    if address.starts_with("unix:") { Some(([127, 0, 0, 1], 0).into()) } else { address.parse().ok() }
}

/// The library on a thread of this process. Stopped when dropped.
pub struct Local {
    pub handle: Handle,
    pub address: SocketAddr,
    running: Option<JoinHandle<()>>,
}

impl Local {
    pub fn start(root: &Path, durability: Durability) -> Self {
        // All clients have one address.
        let limits = Limits::default().with(|l| l.fixed.per_address_percent = 100);
        let server = Server::builder().root(root).listen("127.0.0.1:0").durability(durability).congestion("cubic");
        let server = server.limits(limits).build().expect("a server on a free port");
        let handle = server.handle();
        let address = handle.addresses()[0].0.socket_addr().expect("over TCP");
        let running = std::thread::spawn(move || {
            server.run().expect("the loop runs");
        });
        Self { handle, address, running: Some(running) }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(running) = self.running.take() {
            let _ = running.join();
        }
    }
}
