//! A server to be measured: the built program as a child process, or the library on a thread.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use filewharf::config::Limits;
use filewharf::object::Durability;
use filewharf::server::{Handle, Server};

/// The program, serving a directory on a port of its own. Killed when dropped.
pub struct Program {
    child: Child,
    pub address: SocketAddr,
}

impl Program {
    /// Starts it without its log and with `arguments` behind the directory. `before` is a command that
    /// runs it (`taskset`).
    pub fn start(before: &[&str], binary: &str, root: &Path, arguments: &[&str]) -> Self {
        let arguments: Vec<&str> = ["--quiet"].iter().chain(arguments).copied().collect();
        Self::start_logging(before, binary, root, &arguments, Stdio::inherit())
    }

    /// The same with the log that it writes by default, which goes to `log`.
    pub fn start_logging(before: &[&str], binary: &str, root: &Path, arguments: &[&str], log: Stdio) -> Self {
        let words: Vec<&str> = before.iter().copied().chain([binary]).collect();
        let mut child = Command::new(words[0])
            .args(&words[1..])
            .arg("serve")
            .arg(root)
            .args(["--listen", "127.0.0.1:0", "--congestion", "cubic"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the program starts");
        let address = address_said_by(&mut child);
        Self { child, address }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
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

/// Where a program listens that says so in its first line: `listening on ADDRESS …`.
pub fn address_said_by(child: &mut Child) -> SocketAddr {
    let mut line = String::new();
    let out = child.stdout.take().expect("piped");
    BufReader::new(out).read_line(&mut line).expect("the program says where it listens");
    let address = line.split_whitespace().nth(2).and_then(|address| address.parse().ok());
    address.unwrap_or_else(|| panic!("not an address: {line:?}"))
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
        let limits = Limits::default().with(|l| l.per_address_percent = 100);
        let server = Server::builder().root(root).listen("127.0.0.1:0").durability(durability).congestion("cubic");
        let server = server.limits(limits).build().expect("a server on a free port");
        let handle = server.handle();
        let address = handle.addresses()[0].0;
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
