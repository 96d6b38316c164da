//! Two servers of one folder behind HAProxy, which gives the next request or connection to the other one: what a client
//! began at one continues at the other.

use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use support::client::{Client, wait_until};
use support::server::Program;
use support::tls::Authority;

use super::http::Bench;
use super::proxies::{Running, free_address, proxy};

const TUS: &str = "Tus-Resumable: 1.0.0";

/// The server of the bench, another one, and HAProxy in front of both.
struct Pair {
    bench: Bench,
    other: Program,
    address: SocketAddr,
    _haproxy: Running,
}

impl Pair {
    /// `mode`: lines of HAProxy besides.
    fn new(options: &[&str], mode: &str) -> Self {
        let options = [&["--shared"], options].concat();
        let bench = Bench::new(&options);
        let other = crate::program::start(&bench.served(""), &options);
        let address = free_address();
        let configuration = format!(
            "defaults\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n option redispatch 1\n\
             listen in\n bind {address}\n balance roundrobin\n {mode}\n server one {}\n server two {}\n",
            bench.server.address(),
            other.address(),
        );
        let haproxy = proxy("haproxy", &["-db", "-f"], &bench.here(""), &configuration, address);
        Self { bench, other, address, _haproxy: haproxy }
    }

    fn of_http() -> Self {
        Self::new(&[], "mode http\n http-response set-header X-Server %s")
    }

    /// The status, and which server answered; its head is in the file `head`.
    #[track_caller]
    fn ask(&self, arguments: &[&str], path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.address);
        let (status, _) = self.bench.curl(&[&["-D", "head"], arguments, &[&url]].concat());
        (status, self.field("X-Server").unwrap_or_default())
    }

    fn field(&self, name: &str) -> Option<String> {
        let head = fs::read_to_string(self.bench.here("head")).expect("a head");
        let mut fields = head.lines().rev().filter_map(|line| line.split_once(": "));
        fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    }
}

#[test]
#[ignore = "needs haproxy and curl"]
fn an_upload_continues_at_the_other_server_also_where_one_was_killed() {
    let mut pair = Pair::of_http();
    fs::write(pair.bench.here("part"), [b'x'; 100_000]).expect("a file");
    let (status, mut last) = pair.ask(&["-X", "POST", "-H", TUS, "-H", "Upload-Length: 600000"], "/f");
    assert_eq!(status, 201);
    let path = format!("/{}", pair.field("Location").expect("where the upload is"));
    let append = |pair: &Pair, n: u32| {
        let offset = format!("Upload-Offset: {}", n * 100_000);
        let fields = ["-H", TUS, "-H", "Content-Type: application/offset+octet-stream", "-H", &offset];
        let (status, server) = pair.ask(&[&["-X", "PATCH", "--data-binary", "@part"][..], &fields].concat(), &path);
        assert_eq!((status, pair.field("Upload-Offset")), (204, Some(((n + 1) * 100_000).to_string())), "part {n}");
        server
    };
    for n in 0..4 {
        let server = append(&pair, n);
        assert_ne!(server, last, "part {n}");
        last = server;
    }
    pair.other.kill();
    // HAProxy finds that one is gone, and asks the other.
    for n in 4..6 {
        assert_eq!(append(&pair, n), "one");
    }
    assert_eq!(fs::read(pair.bench.served("f")).expect("it is whole"), [b'x'; 600_000]);
    pair.bench.server.end();
}

#[test]
#[ignore = "needs haproxy and openssl"]
fn a_session_of_tls_is_resumed_at_the_other_server() {
    let identities = tempfile::tempdir().expect("a folder");
    Authority::new("strangers").signs("localhost").write(identities.path());
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| identities.path().join(name).display().to_string());
    let options =
        ["--listen", "auto@127.0.0.1:0?tls", "--listen", "127.0.0.1:0", "--tls-cert", &certificate, "--tls-key", &key];
    let pair = Pair::new(&options, "mode tcp");
    fs::write(pair.bench.served("f"), "content").expect("a file");
    for version in ["-tls1_2", "-tls1_3"] {
        for (session, wanted) in [("-sess_out", "New"), ("-sess_in", "Reused"), ("-sess_in", "Reused")] {
            let request = "GET /f HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n";
            let flags = format!("-connect {} -ign_eof {version} {session} session", pair.address);
            let (_, said) =
                pair.bench.run("sh", &["-c", &format!("printf '{request}' | openssl s_client {flags} 2>&1")]);
            let said = String::from_utf8_lossy(&said);
            assert!(
                said.contains(&format!("{wanted}, TLSv1.")) && said.contains("\r\n\r\ncontent"),
                "{wanted}: {said}"
            );
        }
    }
    for server in [&pair.bench.server, &pair.other] {
        let (_, metrics) = pair.bench.curl(&[&format!("http://{}/.filewharf/metrics", server.addresses[1])]);
        let metrics = String::from_utf8(metrics).expect("text");
        let accepted = metrics.lines().find_map(|line| line.strip_prefix("filewharf_connections_accepted_total "));
        let accepted: u64 = accepted.and_then(|count| count.parse().ok()).expect("a count");
        assert!(accepted > 3, "half of them, and this one: {accepted}");
    }
    let Pair { bench, other, .. } = pair;
    bench.server.end();
    other.end();
}

/// Lets every sync of a process fail, until it is dropped.
struct FailingSyncs(Child);

impl FailingSyncs {
    fn of(server: &Program) -> Self {
        let mut command = Command::new("strace");
        command.args([
            "-f",
            "-e",
            "signal=none",
            "-e",
            "trace=fsync,fdatasync",
            "-e",
            "inject=fsync,fdatasync:error=EIO",
        ]);
        let traced = command.args(["-p", &server.pid().to_string(), "-o", "/dev/null"]).stderr(Stdio::null()).spawn();
        let traced = Self(traced.expect("strace can be run"));
        let tracer = format!("TracerPid:\t{}", traced.0.id());
        let tasks = format!("/proc/{}/task", server.pid());
        wait_until("every thread is traced", || {
            let mut tasks = fs::read_dir(&tasks).expect("it runs").filter_map(Result::ok);
            tasks.all(|task| fs::read_to_string(task.path().join("status")).is_ok_and(|text| text.contains(&tracer)))
        });
        traced
    }
}

impl Drop for FailingSyncs {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::INT);
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "needs haproxy, curl, strace and root"]
fn a_disk_that_failed_for_one_server_takes_no_change_of_either() {
    let mut pair = Pair::of_http();
    let root = pair.bench.served("");
    fs::write(pair.bench.here("up"), "content").expect("a file");
    let (status, _) = pair.ask(&["-T", "up"], "/before");
    assert_eq!(status, 201);
    let failing = FailingSyncs::of(&pair.bench.server);
    let mut client = pair.bench.server.client();
    assert!(client.try_put("/lost", b"content").starts_with("ERR 500 "));
    drop((client, failing));
    // Health is what a proxy asks for, and each learns of the other within a second.
    for address in [pair.bench.server.address(), pair.other.address()] {
        let health = format!("http://{address}/.filewharf/health");
        wait_until("it says that it is degraded", || pair.bench.curl(&[&health]).0 == 503);
        let mut client = Client::connect(address);
        assert!(client.try_put("/late", b"content").starts_with("ERR 500 "));
        assert_eq!(client.get("/before"), b"content");
    }
    for _ in 0..4 {
        assert_eq!(pair.ask(&["-T", "up"], "/late").0, 500);
        assert_eq!(pair.ask(&[], "/before").0, 200);
    }
    assert!(!pair.bench.served("late").exists());
    // One that starts is no better off, until both have ended.
    for (server, wanted) in [(&mut pair.other, "ERR 500 "), (&mut pair.bench.server, "OK ")] {
        server.signal(Signal::TERM);
        assert_eq!(server.wait(), Some(1), "the exit code tells it");
        let anew = crate::program::start(&root, &["--shared"]);
        let reply = anew.client().try_put("/anew", b"content");
        assert!(reply.starts_with(wanted), "{reply}");
    }
}
