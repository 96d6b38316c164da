//! Outside programs, and what they make: traced processes, mounts, network namespaces. Everything
//! made here is undone when its value is dropped, also by a test that fails.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::server::dir;

/// Runs a command that must succeed; what it printed.
#[track_caller]
pub fn run(words: &[&str]) -> String {
    try_run(words).unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

/// The same; what it complained of if it did not succeed.
pub fn try_run(words: &[&str]) -> Result<String, String> {
    let output = Command::new(words[0]).args(&words[1..]).output().map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// A tracer of one process or of some of its threads.
pub struct Strace {
    child: Child,
    out: tempfile::NamedTempFile,
    _errors: BufReader<ChildStderr>,
}

impl Strace {
    /// Attaches to every thread of a process, or only to this thread, and waits until it has.
    pub fn attach(target: Target, options: &[String]) -> Self {
        let out = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a file");
        let mut command = Command::new("strace");
        let id = match target {
            Target::Process(pid) => {
                command.arg("-f");
                pid
            }
            Target::Thread(tid) => tid,
        };
        command.args(["-e", "signal=none", "-p", &id.to_string(), "-o"]).arg(out.path()).args(options);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("strace can be run");
        let mut errors = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut line = String::new();
        errors.read_line(&mut line).expect("strace says that it has attached");
        assert!(line.contains("attached"), "strace: {line}");
        Self { child, out, _errors: errors }
    }

    /// Detaches, and returns what was seen, one line for each call.
    pub fn detach(mut self) -> String {
        // It has gone already if the process has.
        let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
        self.child.wait().expect("strace ends");
        fs::read_to_string(self.out.path()).expect("the trace is text")
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
        let _ = self.child.wait();
    }
}

/// What is traced.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    Process(u32),
    Thread(u32),
}

/// A mounted file system of its own. Unmounted when dropped.
pub struct Mounted {
    point: TempDir,
    image: Option<TempDir>,
}

/// What was on a disk at one moment.
pub struct Cut(TempDir);

impl Cut {
    /// As after a power cut. The file system it was made of must not be mounted any more: they have
    /// the same name.
    pub fn mount(self) -> Mounted {
        Mounted::of(self.0, "")
    }
}

impl Mounted {
    /// A file system in memory.
    pub fn tmpfs(options: &str) -> Self {
        let point = dir();
        run(&["mount", "-t", "tmpfs", "-o", options, "filewharf-faults", &text(point.path())]);
        Self::checked(point, None)
    }

    /// A file system in a sparse file of this size, made by a command such as `mkfs.ext4 -q`.
    pub fn image(mebibytes: u64, make: &[&str], options: &str) -> Self {
        Self::image_in(dir(), mebibytes, make, options)
    }

    /// The same, in this directory.
    pub fn image_in(image: TempDir, mebibytes: u64, make: &[&str], options: &str) -> Self {
        assert!(mebibytes <= 512, "images are kept small");
        let file = image.path().join("image");
        fs::File::create(&file).and_then(|file| file.set_len(mebibytes << 20)).expect("a sparse file");
        run(&[make, &[&text(&file)]].concat());
        Self::of(image, options)
    }

    fn of(image: TempDir, options: &str) -> Self {
        let point = dir();
        let file = image.path().join("image");
        run(&["mount", "-o", &format!("loop{options}"), &text(&file), &text(point.path())]);
        Self::checked(point, Some(image))
    }

    /// Everything that has reached the disk by now.
    pub fn cut(&self) -> Cut {
        let image = self.image.as_ref().expect("a disk, not memory");
        let copy = dir();
        let names = [image, &copy].map(|dir| text(&dir.path().join("image")));
        run(&["cp", "--sparse=always", &names[0], &names[1]]);
        Cut(copy)
    }

    /// Nothing is ever written to a mount that is none.
    fn checked(point: TempDir, image: Option<TempDir>) -> Self {
        let mounted = Self { point, image };
        run(&["mountpoint", "-q", &text(mounted.path())]);
        mounted
    }

    pub fn path(&self) -> &Path {
        self.point.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = try_run(&["fsfreeze", "-u", &text(self.path())]);
        if try_run(&["umount", &text(self.path())]).is_err() {
            // A server that a failed test has left may still be in it for a moment.
            let _ = try_run(&["umount", "-l", &text(self.path())]);
        }
    }
}

/// A path as text.
pub fn text(path: &Path) -> String {
    path.to_str().expect("temporary folders have plain names").to_owned()
}

/// Two network namespaces with a cable between them: `10.201.0.1` for the server, `10.201.0.2` for
/// clients. Gone when dropped.
pub struct Cable {
    pub server: String,
    pub client: String,
}

impl Cable {
    pub fn lay() -> Self {
        static CABLES: AtomicU32 = AtomicU32::new(0);
        let id = format!("{}-{}", std::process::id(), CABLES.fetch_add(1, Relaxed));
        let (server, client) = (format!("fws{id}"), format!("fwc{id}"));
        // What an earlier process of this number may have left.
        let _ = (try_run(&["ip", "netns", "del", &server]), try_run(&["ip", "netns", "del", &client]));
        let cable = Self { server, client };
        for name in [&cable.server, &cable.client] {
            run(&["ip", "netns", "add", name]);
            run(&["ip", "-n", name, "link", "set", "lo", "up"]);
        }
        let (server, client) = (cable.server.as_str(), cable.client.as_str());
        run(&["ip", "-n", server, "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", client]);
        for (name, address) in [(server, "10.201.0.1/24"), (client, "10.201.0.2/24")] {
            run(&["ip", "-n", name, "addr", "add", address, "dev", "wire"]);
            run(&["ip", "-n", name, "link", "set", "wire", "up"]);
        }
        cable
    }

    /// Runs a command on one side.
    pub fn on(side: &str, words: &[&str]) -> String {
        run(&[&["ip", "netns", "exec", side], words].concat())
    }

    /// Lets both ends send again after a second at most, where the system can (Linux 6.15): it doubles the
    /// wait with every loss otherwise, and five in a row, not rare at 20 %, look like a stalled peer.
    pub fn retry_every_second(&self) {
        for side in [&self.server, &self.client] {
            let set = "test ! -e /proc/sys/net/ipv4/tcp_rto_max_ms || echo 1000 > /proc/sys/net/ipv4/tcp_rto_max_ms";
            Self::on(side, &["sh", "-c", set]);
            // Nor is a connection given up that has been asked for in vain so often.
            Self::on(
                side,
                &["sh", "-c", "echo 30 | tee /proc/sys/net/ipv4/tcp_syn_retries /proc/sys/net/ipv4/tcp_synack_retries"],
            );
        }
    }

    /// Does `work` on a thread that is on the clients' side.
    pub fn as_client<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.client);
        std::thread::scope(|scope| {
            let worker = scope.spawn(move || {
                #[allow(clippy::disallowed_methods, reason = "no peer names this file")]
                let namespace = fs::File::open(path).expect("the namespace is there");
                let kind = Some(rustix::thread::LinkNameSpaceType::Network);
                rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), kind)
                    .expect("root may change the namespace of a thread");
                work()
            });
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        let _ = (try_run(&["ip", "netns", "del", &self.server]), try_run(&["ip", "netns", "del", &self.client]));
    }
}
