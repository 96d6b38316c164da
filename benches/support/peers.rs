//! The servers that filewharf is compared with: how each is set up for its best, started on one
//! core, and seen from outside.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::Wire;
use super::process;
use super::server::Program;

/// The names of filewharf: in its two protocols without a log of every request, and with one.
const OWN: [&str; 3] = ["filewharf http", "filewharf line", "http and log"];

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

/// A server under comparison, on the first core.
pub struct Peer {
    pub name: &'static str,
    pub wire: Wire,
    pub address: SocketAddr,
    /// The process that does the work.
    pub pid: u32,
    running: Running,
}

enum Running {
    Filewharf(#[allow(dead_code, reason = "ends the program when dropped")] Rc<Program>),
    Other(Child),
}

impl Peer {
    /// One server, spoken to in each of its two protocols.
    pub fn filewharf(binary: &str, root: &Path) -> [Self; 2] {
        let program = Program::start(&["taskset", "-c", "0"], binary, root, &["--durability", "none"]);
        let (address, pid, program) = (program.address, program.pid(), Rc::new(program));
        [(OWN[0], Wire::Http), (OWN[1], Wire::Line)].map(|(name, wire)| {
            let running = Running::Filewharf(Rc::clone(&program));
            Self { name, wire, address, pid, running }
        })
    }

    /// Is it the one that is compared with the others?
    pub fn is_own(&self) -> bool {
        OWN.contains(&self.name)
    }

    /// With a line in its log for every request, as by default; the others write none.
    pub fn logging(binary: &str, root: &Path, work: &Path) -> Self {
        let log = fs::File::create(work.join("filewharf.log")).expect("room for a log");
        let arguments = ["--durability", "none"];
        let program = Program::start_logging(&["taskset", "-c", "0"], binary, root, &arguments, log.into());
        let (address, pid) = (program.address, program.pid());
        Self { name: OWN[2], wire: Wire::Http, address, pid, running: Running::Filewharf(Rc::new(program)) }
    }

    /// With mod_webdav; `None` and a word of why if it cannot be had.
    pub fn lighttpd(root: &Path, work: &Path) -> Option<Self> {
        let (port, root, work) = (free_port(), root.display(), work.display());
        let conf = format!(
            "server.modules = (\"mod_webdav\")\nserver.document-root = \"{root}\"\nserver.port = {port}\n\
             server.bind = \"127.0.0.1\"\nserver.upload-dirs = (\"{work}\")\nserver.max-fds = 19900\n\
             server.max-connections = 12000\nserver.max-keep-alive-idle = 300\nserver.max-keep-alive-requests = 1000000\nserver.network-backend = \"sendfile\"\n\
             server.max-request-size = 0\nwebdav.activate = \"enable\"\nwebdav.is-readonly = \"disable\"\n\
             mimetype.assign = (\"\" => \"application/octet-stream\")\n"
        );
        let path = format!("{work}/lighttpd.conf");
        fs::write(&path, conf).expect("a configuration file");
        Self::start("lighttpd", &["lighttpd", "-D", "-f", &path], port)
    }

    /// One worker, sendfile, DAV.
    pub fn nginx(root: &Path, work: &Path) -> Option<Self> {
        let (port, root, work) = (free_port(), root.display(), work.display());
        let conf = format!(
            "daemon off; worker_processes 1; worker_rlimit_nofile 16384; pid {work}/nginx.pid; error_log {work}/nginx.log;\n\
             events {{ worker_connections 12000; }}\n\
             http {{ access_log off; sendfile on; tcp_nopush on; client_max_body_size 0;\n\
             client_body_temp_path {work}/nginx-body; keepalive_requests 1000000; keepalive_timeout 300;\n\
             server {{ listen 127.0.0.1:{port}; root {root}; location / {{ dav_methods PUT; }} }} }}\n"
        );
        let path = format!("{work}/nginx.conf");
        fs::write(&path, conf).expect("a configuration file");
        let user = "user root;";
        let mut peer = Self::start("nginx", &["nginx", "-c", &path, "-g", user], port)?;
        let children = format!("/proc/{0}/task/{0}/children", peer.pid);
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(5) {
            let text = fs::read_to_string(&children).unwrap_or_default();
            if let Some(worker) = text.split_whitespace().next().and_then(|pid| pid.parse().ok()) {
                peer.pid = worker;
                return Some(peer);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        println!("compare: nginx left out: its worker is not to be found");
        None
    }

    fn start(name: &'static str, command: &[&str], port: u16) -> Option<Self> {
        let spawned =
            Command::new("taskset").args(["-c", "0"]).args(command).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let Ok(mut child) = spawned else {
            println!("compare: {name} left out: taskset cannot be started");
            return None;
        };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            if child.try_wait().is_ok_and(|ended| ended.is_some()) || began.elapsed() > Duration::from_secs(5) {
                println!("compare: {name} left out: it does not start (is it installed?)");
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let pid = child.id();
        Some(Self { name, wire: Wire::Http, address, pid, running: Running::Other(child) })
    }

    /// CPU time of all its threads so far.
    pub fn cpu(&self) -> Duration {
        process::cpu(self.pid)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Running::Other(child) = &mut self.running {
            // A polite end, so that a master takes its worker along.
            let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).expect("a process");
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let _ = child.wait();
        }
    }
}

/// They cannot be asked for any free port, so one is found for them.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}
