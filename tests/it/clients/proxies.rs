//! Proxies in front (nginx under a path, HAProxy with health checks), apt, and forms that curl and wget post.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::http::Bench;
use rustix::process::Signal;
use socket2::{Domain, Socket, Type};
use support::client::{PATIENCE, wait_until};

/// A program in the foreground; killed when dropped.
pub(super) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An address of this machine that is free now.
pub(super) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

/// Starts a program with a configuration that it finds in its last argument, and waits until it listens.
pub(super) fn proxy(
    program: &str,
    arguments: &[&str],
    dir: &Path,
    configuration: &str,
    address: SocketAddr,
) -> Running {
    let file = dir.join(format!("{program}.conf"));
    fs::write(&file, configuration).expect("a file");
    let mut command = Command::new(program);
    command.args(arguments).arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
    let running = Running(command.spawn().unwrap_or_else(|error| panic!("{program}: {error}")));
    wait_until("the proxy listens", || TcpStream::connect(address).is_ok());
    running
}

#[test]
#[ignore = "needs nginx and curl"]
fn redirections_and_pages_through_nginx_stay_under_its_path() {
    let bench = Bench::new(&["--allow-host", "files.example"]);
    for name in ["d e/a", "d e/b", "d e/c"] {
        fs::create_dir_all(bench.served("d e")).expect("a folder");
        fs::write(bench.served(name), name).expect("a file");
    }
    let (address, home) = (free_address(), bench.here(""));
    let configuration = format!(
        "daemon off; worker_processes 1; pid {home}/nginx.pid; error_log {home}/nginx.log;\n\
         events {{}}\n\
         http {{ access_log off; client_body_temp_path {home}/body; proxy_temp_path {home}/proxy;\n\
         fastcgi_temp_path {home}/f; uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;\n\
         server {{ listen {address}; location /files/ {{ proxy_pass http://{}/; }}\n\
         location /named/ {{ proxy_pass http://{}/; proxy_set_header Host files.example; }}\n\
         location /other/ {{ proxy_pass http://{}/; proxy_set_header Host other.example; }} }} }}\n",
        bench.server.address(),
        bench.server.address(),
        bench.server.address(),
        home = home.display(),
    );
    let _nginx = proxy("nginx", &["-c"], &home, &configuration, address);
    let at = |path: &str| format!("http://{address}{path}");
    // curl resolves Location against the address it asked for, as browsers do.
    let (code, said) =
        bench.curl(&["-L", "-o", "page", "-w", "%{url_effective} %{num_redirects} %{http_code}", &at("/files/d%20e")]);
    let said = String::from_utf8(said).expect("text");
    assert_eq!((code, said.trim_end()), (200, format!("{} 1", at("/files/d%20e/")).as_str()));
    // Every page of a listing is found by the link of the one before.
    let (mut url, mut names) = (at("/files/d%20e/?limit=1"), Vec::new());
    loop {
        let listing = ["-H", "Accept: application/x-ndjson", "-D", "head", &url];
        let (code, body) = bench.curl(&listing);
        assert_eq!(code, 200, "{url}");
        names.push(String::from_utf8(body).expect("text"));
        let head = fs::read_to_string(bench.here("head")).expect("a head");
        let Some(link) = head.lines().find_map(|line| line.strip_prefix("Link: <")?.split_once('>')) else { break };
        assert!(link.0.starts_with("?after="), "{}", link.0);
        url = at("/files/d%20e/") + link.0;
    }
    assert_eq!(names.len(), 3, "{names:?}");
    // A stored file is where Location says.
    fs::write(bench.here("up"), "content").expect("a file");
    let (code, said) =
        bench.curl(&["-T", "up", "-w", "%{redirect_url} %header{location} %{http_code}", &at("/files/new/n%3Am")]);
    assert_eq!((code, String::from_utf8(said).expect("text").trim()), (201, "n%3Am"));
    // The host that nginx passes on must be one that is allowed.
    assert_eq!(bench.curl(&[&at("/named/new/n%3Am")]), (200, b"content".to_vec()));
    let (code, said) = bench.curl(&[&at("/other/new/n%3Am")]);
    assert!(code == 421 && String::from_utf8_lossy(&said).contains("--allow-host"), "{code}");
    bench.server.end();
}

#[test]
#[ignore = "needs haproxy and curl"]
fn haproxy_finds_a_server_healthy_that_asks_for_a_secret() {
    let bench = Bench::new(&["--token-file", "TOKEN"]);
    fs::write(bench.served("f"), "content").expect("a file");
    let (address, stats) = (free_address(), free_address());
    let configuration = format!(
        "defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n\
         frontend in\n bind {address}\n default_backend files\n\
         frontend stats\n bind {stats}\n stats enable\n stats uri /\n\
         backend files\n option httpchk GET /.filewharf/health\n http-check expect status 200\n\
         server one {} check inter 100ms fall 1 rise 2\n",
        bench.server.address(),
    );
    let _haproxy = proxy("haproxy", &["-db", "-f"], &bench.here(""), &configuration, address);
    let state = || String::from_utf8(bench.curl(&[&format!("http://{stats}/;csv")]).1).expect("text");
    // L7OK is said once a check has been answered as expected.
    wait_until("a check passed", || {
        state().lines().any(|line| line.starts_with("files,one,") && line.contains(",L7OK,"))
    });
    assert!(state().lines().any(|line| line.starts_with("files,one,") && line.contains(",UP,")), "{}", state());
    let url = format!("http://{address}/f");
    assert_eq!(bench.curl(&[&url]).0, 401);
    assert_eq!(bench.curl(&["-u", ":s3cret", &url]), (200, b"content".to_vec()));
    bench.server.end();
}

/// curl from this address; its exit code and what it said, the status last.
pub(super) fn curl_from(bench: &Bench, host: u8, arguments: &[&str]) -> (i32, String) {
    let from = format!("127.0.0.{host}");
    let all = [&["-sS", "-m", "60", "--interface", &from, "-w", "%{http_code}"], arguments].concat();
    let (code, said) = bench.run("curl", &all);
    (code, String::from_utf8(said).expect("text"))
}

/// What is answered to a client at this address.
pub(super) fn forged(to: SocketAddr, host: u8, says: &[u8]) -> String {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, host], 0)).into()).expect("an address of this machine");
    socket.connect(&to.into()).expect("it listens");
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    let mut said = Vec::new();
    // A reset is an answer as well.
    let _ = stream.write_all(says).and_then(|()| stream.shutdown(Shutdown::Write));
    let _ = stream.read_to_end(&mut said);
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
#[ignore = "needs haproxy and curl"]
fn haproxy_says_which_client_it_is_and_no_other_peer_is_believed() {
    let bench = Bench::new(&["--token-file", "TOKEN"]);
    let (v1, v2, server) = (free_address(), free_address(), free_address());
    let (http_v1, http_v2, log) = (free_address(), free_address(), bench.here("log"));
    let token = bench.here("../token");
    let listen = format!("auto@{server}?proxy=127.0.0.1,10.0.0.0/8");
    let options = ["--token-file", token.to_str().expect("UTF-8"), "--listen", &listen];
    let out = fs::File::create(&log).expect("a file");
    let (mut proxied, _) = crate::program::logging(&bench.here("proxied"), &options, out.into());
    let configuration = format!(
        "defaults\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n\
         listen tcp1\n mode tcp\n bind {v1}\n server s {server} send-proxy\n\
         listen tcp2\n mode tcp\n bind {v2}\n server s {server} send-proxy-v2 proxy-v2-options crc32c,unique-id\n\
         listen http1\n mode http\n http-reuse always\n bind {http_v1}\n server s {server} send-proxy\n\
         listen http2\n mode http\n http-reuse always\n bind {http_v2}\n\
         server s {server} send-proxy-v2 check check-send-proxy inter 100ms proxy-v2-options crc32c\n",
    );
    let _haproxy = proxy("haproxy", &["-db", "-f"], &bench.here(""), &configuration, v1);
    wait_until("every port is bound", || {
        [v2, http_v1, http_v2].iter().all(|address| TcpStream::connect(address).is_ok())
    });
    fs::write(bench.here("up"), "content").expect("a file");
    let log_of = |word: &str| {
        let lines = fs::read_to_string(&log).expect("a log");
        lines.lines().filter(|line| line.contains(word)).map(str::to_owned).collect::<Vec<_>>()
    };
    // Each client is known by its own address, also where the proxy uses a connection again.
    for (n, through) in [v1, v2, http_v1, http_v2].into_iter().enumerate() {
        for host in [5, 6, 5, 7, 6] {
            let url = format!("http://{through}/{n}-{host}");
            let stored = curl_from(&bench, host, &["-u", ":s3cret", "-T", "up", &url]);
            assert!(matches!((stored.0, stored.1.as_str()), (0, "200" | "201" | "204")), "{through}: {stored:?}");
            let read = curl_from(&bench, host, &["-u", ":s3cret", &url]);
            assert_eq!((read.0, read.1.as_str()), (0, "content200"));
        }
        for host in [5, 6, 7] {
            let key = format!("key=\"/{n}-{host}\"");
            let by = format!("peer=127.0.0.{host}:");
            wait_until("the log has the transfers", || log_of(&key).len() == if host == 7 { 2 } else { 4 });
            let lines = log_of(&key);
            assert!(lines.iter().all(|line| line.contains(&by)), "{lines:?}");
        }
    }
    // A header that the client sends itself is part of what it asks, after the true one; straight to the server
    // from another address, or where no proxy is expected, it is no header at all.
    let text = b"PROXY TCP4 203.0.113.9 203.0.113.1 4000 80\r\n";
    let binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x09\xcb\0\x71\x01\x0f\xa0\0\x50";
    let asks = b"PUT /forged HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer s3cret\r\nContent-Length: 1\r\n\r\nx";
    for to in [v1, v2, http_v1, http_v2, server, bench.server.address()] {
        for host in [5, 9] {
            for header in [&text[..], binary] {
                let said = forged(to, host, &[header, asks].concat());
                assert!(!said.contains("HTTP/1.1 20"), "{to}: {said:?}");
            }
        }
    }
    // Without a header there is no connection, not even from the proxy's address.
    assert_ne!(curl_from(&bench, 1, &["-u", ":s3cret", &format!("http://{server}/0-5")]).0, 0);
    assert_eq!(log_of("203.0.113.9"), [""; 0]);
    assert!(
        fs::read_dir(bench.here("proxied"))
            .expect("a folder")
            .flatten()
            .all(|entry| { !entry.file_name().to_string_lossy().starts_with("forged") })
    );
    // One client that guesses is slowed down, and the others after the same proxy are not.
    for _ in 0..20 {
        let _ = curl_from(&bench, 5, &["-m", "1", "-u", ":wrong", &format!("http://{v2}/0-5")]);
    }
    let knows = curl_from(&bench, 6, &["-m", "5", "-u", ":s3cret", &format!("http://{v2}/0-5")]);
    assert_eq!((knows.0, knows.1.as_str()), (0, "content200"));
    proxied.signal(Signal::TERM);
    assert_eq!(proxied.wait(), Some(0));
    assert!(!bench.served("forged").exists());
    bench.server.end();
}

#[test]
#[ignore = "needs apt-get and dpkg-deb"]
fn apt_updates_from_a_flat_repository() {
    let bench = Bench::new(&[]);
    let home = bench.here("");
    fs::create_dir_all(home.join("pkg/DEBIAN")).expect("a folder");
    let control =
        "Package: wharf-probe\nVersion: 1\nArchitecture: all\nMaintainer: nobody <n@example.org>\nDescription: probe\n";
    fs::write(home.join("pkg/DEBIAN/control"), control).expect("a file");
    let deb = bench.served("wharf-probe_1_all.deb");
    assert_eq!(bench.run("dpkg-deb", &["--build", "pkg", deb.to_str().expect("UTF-8")]).0, 0);
    let size = fs::metadata(&deb).expect("a package").len();
    let (_, sum) = bench.run("sha256sum", &[deb.to_str().expect("UTF-8")]);
    let sum = String::from_utf8(sum).expect("text");
    let packages = format!(
        "{control}Filename: ./wharf-probe_1_all.deb\nSize: {size}\nSHA256: {}\n",
        sum.split_whitespace().next().expect("a sum")
    );
    fs::write(bench.served("Packages"), packages).expect("a file");
    for dir in ["lists/partial", "cache/archives/partial", "etc"] {
        fs::create_dir_all(home.join("apt").join(dir)).expect("a folder");
    }
    fs::write(home.join("apt/etc/sources.list"), format!("deb [trusted=yes] {} ./\n", bench.url("/"))).expect("a file");
    fs::write(home.join("apt/status"), "").expect("a file");
    let apt = |command: &[&str]| {
        let options = format!(
            "-oDir::Etc::sourcelist={h}/apt/etc/sources.list -oDir::Etc::sourceparts=- -oDir::State::lists={h}/apt/lists \
             -oDir::Cache={h}/apt/cache -oDir::State::status={h}/apt/status -oAPT::Sandbox::User=root -oAcquire::http::Proxy=false",
            h = home.display()
        );
        let all: Vec<&str> = options.split_whitespace().chain(command.iter().copied()).collect();
        bench.run("apt-get", &all)
    };
    let (code, said) = apt(&["update", "--error-on=any"]);
    assert_eq!(code, 0, "{}", String::from_utf8_lossy(&said));
    let (code, said) = apt(&["download", "wharf-probe"]);
    assert_eq!(code, 0, "{}", String::from_utf8_lossy(&said));
    assert_eq!(fs::metadata(home.join("wharf-probe_1_all.deb")).expect("downloaded").len(), size);
    bench.server.end();
}

#[test]
#[ignore = "needs curl and wget"]
fn a_posted_form_is_refused_so_that_clients_see_it() {
    let bench = Bench::new(&[]);
    let url = bench.url("/f");
    // Small: skipped. Large: the connection ends; wget reads the reply only once it has sent everything.
    for len in [10, 500_000, 40_000_000] {
        fs::write(bench.here("form"), vec![b'x'; len]).expect("a file");
        for more in [&[][..], &["-H", "Expect:"], &["-H", "Transfer-Encoding: chunked"]] {
            let arguments = [&["--data-binary", "@form", "-D", "head"], more, &[&*url]].concat();
            assert_eq!(bench.curl(&arguments).0, 405, "{len} {more:?}");
            let head = fs::read_to_string(bench.here("head")).expect("a head");
            assert!(
                head.contains("\r\nAllow: GET, HEAD, PUT, DELETE, MKCOL, COPY, MOVE, PROPFIND, PROPPATCH, LOCK, UNLOCK, OPTIONS\r\n"),
                "{head}"
            );
        }
        // 8: the server issued an error response.
        assert_eq!(bench.run("wget", &["-q", "-t1", "--post-file=form", "-O", "-", &url]).0, 8, "{len}");
    }
    assert!(!bench.served("f").exists());
    bench.server.end();
}
