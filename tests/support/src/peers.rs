//! The servers that filewharf is compared with: how each is set up for its best, started on one
//! core, and seen from outside.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::Wire;
use super::process;
use super::server::{Program, address_said_by};

/// Where the congestion control of new sockets is chosen for the whole machine.
const CONGESTION: &str = "/proc/sys/net/ipv4/tcp_congestion_control";

/// Pins the congestion control of the machine, as the peers have no setting for it; put back when
/// dropped. So the program must end by returning from `main`: see [`interrupted`].
pub struct Congestion(Option<String>);

impl Congestion {
    pub fn cubic() -> Self {
        let before = fs::read_to_string(CONGESTION).ok();
        match fs::write(CONGESTION, "cubic") {
            Ok(()) => Self(before),
            Err(error) => {
                println!("compare: cannot pin cubic for the peers ({error}): their figures may be off");
                Self(None)
            }
        }
    }
}

impl Drop for Congestion {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = fs::write(CONGESTION, before.trim());
        }
    }
}

/// Set by SIGTERM, SIGINT and SIGHUP, which would else end the program with the machine changed and the
/// peers alive. Look at it between rounds.
pub fn interrupted() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&flag)).expect("a signal can be caught");
    }
    flag
}

/// What a server is in the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It is compared with the best of the peers.
    Own,
    Peer,
    /// The lower bound; no peer.
    Limit,
}

/// How a server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    Driven(Wire),
    /// With the directory to go to first.
    Ftp(&'static str),
}

/// How its CPU time is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clock {
    /// To the nanosecond; of threads and processes that live. Right as long as none of them ends.
    Living,
    /// In steps of 10 ms; of threads that ended, too.
    WithEnded,
}

/// Of servers with TLS.
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// A server that cannot be had, and why.
pub struct Missing(pub String);

/// A server under comparison, on the first core.
pub struct Peer {
    /// Without blanks: it is a part of file names, too.
    pub name: &'static str,
    pub role: Role,
    pub speaks: Speaks,
    pub address: SocketAddr,
    /// The directory that it serves.
    pub root: PathBuf,
    /// The peer that its figures are divided by, if that is not the best one.
    pub baseline: Option<&'static str>,
    /// The process that was started; it may have started others.
    pub pid: u32,
    clock: Clock,
    running: Running,
}

enum Running {
    Filewharf(#[allow(dead_code, reason = "ends the program when dropped")] Program),
    Other(Child),
}

/// What runs a command on the first core, and ends it should this program be killed.
const PINNED: [&str; 6] = ["setpriv", "--pdeathsig", "TERM", "taskset", "-c", "0"];

/// Where vsftpd listens for data: not where clients get their ports (ip(7), `ip_local_port_range`). Of those, the
/// works before leave thousands that are not free for a minute, and it gives up at the tenth.
const PASSIVE_PORTS: RangeInclusive<u16> = 10_000..=32_000;

/// All clients have one address.
const OWN_FLAGS: [&str; 6] = ["--durability", "none", "--max-connections", "20000", "--per-address", "100"];

impl Peer {
    /// Without a log. Each protocol has a server of its own, so that memory can be measured for each.
    pub fn filewharf(name: &'static str, wire: Wire, binary: &str, root: &Path) -> Self {
        let program = Program::start(&PINNED, binary, root, &OWN_FLAGS);
        Self::own(name, wire, program, root)
    }

    /// HTTP over TLS.
    pub fn filewharf_tls(name: &'static str, binary: &str, root: &Path, files: &TlsFiles) -> Self {
        let [certificate, key] = [&files.certificate, &files.key].map(|file| file.display().to_string());
        let tls = ["--listen", "http@127.0.0.1:0?tls", "--tls-cert", &certificate, "--tls-key", &key];
        let program = Program::start(&PINNED, binary, root, &[&OWN_FLAGS[..], &tls].concat());
        Self::own(name, Wire::Http, program, root)
    }

    /// With a line in its log for every request, as by default; the others write none.
    pub fn logging(name: &'static str, binary: &str, root: &Path, work: &Path) -> Self {
        let log = fs::File::create(work.join("filewharf.log")).expect("room for a log");
        let program = Program::start_logging(&PINNED, binary, root, &OWN_FLAGS, log.into());
        Self::own(name, Wire::Http, program, root)
    }

    fn own(name: &'static str, wire: Wire, program: Program, root: &Path) -> Self {
        Self {
            name,
            role: Role::Own,
            speaks: Speaks::Driven(wire),
            address: program.address(),
            root: root.to_owned(),
            baseline: None,
            pid: program.pid(),
            clock: Clock::Living,
            running: Running::Filewharf(program),
        }
    }

    /// With mod_webdav.
    pub fn lighttpd(root: &Path, work: &Path) -> Result<Self, Missing> {
        let (port, work) = (free_port(), work.display());
        let conf = format!(
            "server.modules = (\"mod_webdav\")\nserver.document-root = \"{}\"\nserver.port = {port}\n\
             server.bind = \"127.0.0.1\"\nserver.upload-dirs = (\"{work}\")\nserver.max-fds = 19900\n\
             server.max-connections = 12000\nserver.max-keep-alive-idle = 300\nserver.max-keep-alive-requests = 1000000\n\
             server.network-backend = \"sendfile\"\nserver.max-request-size = 0\nwebdav.activate = \"enable\"\n\
             webdav.is-readonly = \"disable\"\nmimetype.assign = (\"\" => \"application/octet-stream\")\n",
            root.display()
        );
        let path = written(&format!("{work}/lighttpd.conf"), &conf);
        Self::start("lighttpd", &["lighttpd", "-D", "-f", &path], port, root)
    }

    /// One worker, sendfile, DAV.
    pub fn nginx(root: &Path, work: &Path) -> Result<Self, Missing> {
        Self::nginx_at(root, work, "")
    }

    /// The same over TLS.
    pub fn nginx_tls(root: &Path, work: &Path, files: &TlsFiles) -> Result<Self, Missing> {
        let TlsFiles { certificate, key } = files;
        let tls = format!(
            "ssl; ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {}; ssl_certificate_key {}",
            certificate.display(),
            key.display()
        );
        Self::nginx_at(root, work, &tls)
    }

    /// `ssl`: what stands after its address.
    fn nginx_at(root: &Path, work: &Path, ssl: &str) -> Result<Self, Missing> {
        let (port, work) = (free_port(), work.display());
        let conf = format!(
            "daemon off; worker_processes 1; worker_rlimit_nofile 16384; pid {work}/nginx.pid; error_log {work}/nginx.log;\n\
             events {{ worker_connections 12000; }}\n\
             http {{ access_log off; sendfile on; tcp_nopush on; client_max_body_size 0;\n\
             client_body_temp_path {work}/nginx-body; keepalive_requests 1000000; keepalive_timeout 300;\n\
             server {{ listen 127.0.0.1:{port} {ssl}; root {}; location / {{ dav_methods PUT; }} }} }}\n",
            root.display()
        );
        let path = written(&format!("{work}/nginx.conf"), &conf);
        Self::start("nginx", &["nginx", "-c", &path, "-g", "user root;"], port, root)
    }

    /// One file over TLS, from its memory: it is no file server.
    pub fn haproxy_tls(file: &Path, work: &Path, files: &TlsFiles) -> Result<Self, Missing> {
        let (port, pem) = (free_port(), format!("{}/haproxy.pem", work.display()));
        let [certificate, key] = [&files.certificate, &files.key].map(|file| fs::read_to_string(file).expect("PEM"));
        written(&pem, &(certificate + &key));
        let conf = format!(
            "global\n nbthread 1\n maxconn 5000\ndefaults\n mode http\n timeout client 300s\n timeout connect 5s\n \
             timeout server 300s\nfrontend all\n bind 127.0.0.1:{port} ssl crt {pem}\n \
             http-request return status 200 content-type application/octet-stream file {}\n",
            file.display()
        );
        let path = written(&format!("{}/haproxy.cfg", work.display()), &conf);
        let root = file.parent().expect("the file lies in a folder");
        Self::start("haproxy", &["haproxy", "-db", "-f", &path], port, root)
    }

    /// FTP: two processes for each control connection. It refuses to serve a directory that it can write to
    /// as the root of everything, so that is the directory above, and `name` is that of the directory itself.
    pub fn vsftpd(root: &Path, name: &'static str, work: &Path) -> Result<Self, Missing> {
        let (port, above) = (free_port(), root.parent().expect("a folder of ours").to_owned());
        for (dir, mode) in [(above.as_path(), 0o755), (root, 0o777)] {
            fs::set_permissions(dir, fs::Permissions::from_mode(mode)).expect("folders of ours");
        }
        let (above, work) = (above.display(), work.display());
        let conf = format!(
            "listen=YES\nlisten_address=127.0.0.1\nlisten_port={port}\nbackground=NO\nanonymous_enable=YES\n\
             anon_root={above}\nwrite_enable=YES\nanon_upload_enable=YES\nanon_other_write_enable=YES\n\
             anon_world_readable_only=NO\nxferlog_enable=NO\nconnect_from_port_20=NO\nseccomp_sandbox=NO\n\
             secure_chroot_dir={work}\nmax_clients=0\nmax_per_ip=0\n\
             pasv_min_port={}\npasv_max_port={}\n",
            PASSIVE_PORTS.start(),
            PASSIVE_PORTS.end(),
        );
        let path = written(&format!("{work}/vsftpd.conf"), &conf);
        let mut peer = Self::start("vsftpd", &["vsftpd", &path], port, root)?;
        peer.speaks = Speaks::Ftp(name);
        Ok(peer)
    }

    /// A thread for each client, in Python.
    pub fn python(script: &str, root: &Path) -> Result<Self, Missing> {
        let port = free_port();
        let (number, dir) = (port.to_string(), root.display().to_string());
        let mut peer = Self::start("python-threads", &["python3", script, &number, &dir], port, root)?;
        peer.clock = Clock::WithEnded;
        Ok(peer)
    }

    /// A program that says where it listens, and is the limit.
    pub fn limit(name: &'static str, program: &Path, argument: &str, root: &Path) -> Self {
        let mut child = Command::new(PINNED[0])
            .args(&PINNED[1..])
            .arg(program)
            .arg(argument)
            .arg(root)
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts again");
        let address = address_said_by(&mut child);
        Self::other(name, Role::Limit, address, root, child)
    }

    fn start(name: &'static str, command: &[&str], port: u16, root: &Path) -> Result<Self, Missing> {
        let mut pinned = Command::new(PINNED[0]);
        pinned.args(&PINNED[1..]).args(command).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(mut child) = pinned.spawn() else {
            return Err(Missing(format!("{name} left out: setpriv cannot be started")));
        };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            if child.try_wait().is_ok_and(|ended| ended.is_some()) || began.elapsed() > Duration::from_secs(5) {
                let _ = child.kill();
                let _ = child.wait();
                return Err(Missing(format!("{name} left out: it does not start (is it installed?)")));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Self::other(name, Role::Peer, address, root, child))
    }

    fn other(name: &'static str, role: Role, address: SocketAddr, root: &Path, child: Child) -> Self {
        Self {
            name,
            role,
            speaks: Speaks::Driven(Wire::Http),
            address,
            root: root.to_owned(),
            baseline: None,
            pid: child.id(),
            clock: Clock::Living,
            running: Running::Other(child),
        }
    }

    /// Waits until the processes that it had for connections have ended, so that none of them does so while
    /// CPU time is counted. What ended is nowhere to be found: where a session has a process of its own that
    /// has another, the latter's time does not reach the one that listens.
    pub fn wait_for_rest(&self) {
        let began = Instant::now();
        while self.processes().len() > 1 {
            assert!(began.elapsed() < Duration::from_secs(10), "processes of {} do not end", self.name);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until its threads sleep, but not longer than `most`; false if they do not. Thousands of threads
    /// with closed connections want the core for seconds, and the next server would get a small part of it.
    pub fn comes_to_rest(&self, most: Duration) -> bool {
        let began = Instant::now();
        // More than once: a thread may be between two steps of its work.
        let is_asleep = || {
            (0..3).all(|_| {
                std::thread::sleep(Duration::from_millis(1));
                self.processes().into_iter().all(process::is_asleep)
            })
        };
        while !is_asleep() {
            if began.elapsed() > most {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }

    /// `kill -9` to all its processes: a client that waits for it sees the end of the connection.
    pub fn kill(&self) {
        for pid in self.processes() {
            let _ = kill_process(process_id(pid), Signal::KILL);
        }
        // Thousands of threads take a while to end, and would be in the way of others. The exit code is
        // left for the owner of the child.
        let _ = waitid(WaitId::Pid(process_id(self.pid)), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
    }

    /// The processes that work for it now.
    pub fn processes(&self) -> Vec<u32> {
        process::family(self.pid)
    }

    /// CPU time of all its processes and threads so far.
    pub fn cpu(&self) -> Duration {
        match self.clock {
            Clock::Living => self.processes().into_iter().map(process::cpu).sum(),
            Clock::WithEnded => self.processes().into_iter().map(process::cpu_with_ended).sum(),
        }
    }

    /// How long its threads have waited for the core so far.
    pub fn waited_for_core(&self) -> Duration {
        self.processes().into_iter().map(process::waited_for_core).sum()
    }

    /// A number of `/proc/PID/status` that is memory, in bytes, added over its processes.
    pub fn memory(&self, name: &str) -> u64 {
        self.processes().into_iter().map(|pid| process::bytes(pid, name)).sum()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Running::Other(child) = &mut self.running {
            // A polite end, so that a master takes its worker along.
            let _ = kill_process(process_id(child.id()), Signal::TERM);
            let _ = child.wait();
        }
    }
}

fn process_id(pid: u32) -> Pid {
    Pid::from_raw(pid.cast_signed()).expect("0 is no process")
}

fn written(path: &str, text: &str) -> String {
    fs::write(path, text).expect("a configuration file");
    path.to_owned()
}

/// They cannot be asked for any free port, so one is found for them.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}
