//! Listeners on Unix sockets: what is served there, and the file that leads to one.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use support::client::{Client, assert_same, content, wait_until};
use support::server::Program;
use tempfile::TempDir;

use super::{fails, start, try_by_shell, try_with_listener};

/// A directory with a place for a socket, and one to serve.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("root")
    }

    fn socket(&self) -> PathBuf {
        self.0.path().join("socket")
    }

    /// To listen on, with these options.
    fn unix(&self, options: &str) -> String {
        format!("unix:{}{options}", self.socket().display())
    }

    fn serve(&self, options: &[&str]) -> Program {
        start(&self.root(), &[&["--listen", &self.unix("")], options].concat())
    }

    /// Why a server does not start here.
    fn refused(&self, options: &str) -> String {
        fails(&["serve", self.root().to_str().expect("UTF-8"), "--listen", &self.unix(options)], 1)
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.0.path()).expect("a folder").filter_map(Result::ok);
        names.map(|entry| entry.file_name().to_string_lossy().into_owned()).filter(|name| name != "root").collect()
    }
}

fn connect(socket: &Path) -> Client {
    let stream = UnixStream::connect(socket).expect("the server listens");
    // A socket is a socket, but for the options of TCP.
    Client::over(OwnedFd::from(stream).into())
}

fn ask(client: &mut Client, head: &str) -> String {
    client.send(format!("{head} HTTP/1.1\r\nHost: files.example\r\nConnection: close\r\n\r\n"));
    client.last_words()
}

#[test]
fn every_dialect_and_the_operator_are_served_there_in_the_sandbox() {
    let place = Place::new();
    let admin = place.0.path().join("admin");
    let options = ["--sandbox", "auto", "--admin", &format!("unix:{}?mode=600", admin.display())];
    let program = place.serve(&options);
    let paths = [place.socket(), admin.clone()].map(|path| path.display().to_string());
    let said = format!("listening on unix:{} (auto)\nlistening on unix:{} (admin)\n", paths[0], paths[1]);
    assert_eq!(program.said, said);
    // More than a socket takes at once, so that the loop waits for either side.
    let bytes = content(1, 5_000_000);
    let mut line = connect(&place.socket());
    line.put("/large", &bytes);
    assert_same(&line.get("/large"), &bytes, "as a line asks for it");
    line.put("/small", b"hello");
    let said = ask(&mut connect(&place.socket()), "GET /small");
    assert!(said.starts_with("HTTP/1.1 200 ") && said.ends_with("\r\n\r\nhello"), "{said}");
    let mut http = connect(&place.socket());
    http.send("PUT /new HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc");
    assert!(http.last_words().starts_with("HTTP/1.1 201 "));
    assert!(ask(&mut connect(&admin), "GET /connections").contains("\"peer\":\"127.0.0.1:0\",\"dialect\":\"line\""));
    assert_eq!(fs::metadata(&admin).expect("a socket").permissions().mode() & 0o7777, 0o600);
    // The end of what one side sends is no end of the connection.
    let mut half = connect(&place.socket());
    half.send("GET /small\n");
    half.finish();
    assert!(half.line().starts_with("OK 5 "));
    assert_eq!(half.bytes(5), b"hello");
    half.expect_eof();
    drop(line);
    program.end();
}

#[test]
fn the_file_has_its_mode_and_its_owner_whatever_the_umask() {
    let place = Place::new();
    let ids = fs::metadata(place.0.path()).expect("a folder");
    let (uid, gid) = if ids.uid() == 0 { (4242, 4343) } else { (ids.uid(), ids.gid()) };
    for (options, mode, owner) in [
        ("", 0o660, (ids.uid(), ids.gid())),
        ("?mode=0606", 0o606, (ids.uid(), ids.gid())),
        (&*format!("?mode=622&owner={uid}:{gid}"), 0o622, (uid, gid)),
    ] {
        let options = ["--listen", &place.unix(options)];
        let mut program = try_by_shell(&place.root(), "umask 077", &options, Stdio::null()).expect("it starts");
        let file = fs::symlink_metadata(place.socket()).expect("a socket");
        assert_eq!((file.mode() & 0o7777, (file.uid(), file.gid())), (mode, owner));
        program.kill();
    }
    let refused = place.refused("?owner=no-such-user");
    assert!(refused.contains("there is no user \"no-such-user\""), "{refused}");
}

#[test]
fn the_socket_of_an_ended_server_is_replaced_and_that_of_a_running_one_is_not() {
    let place = Place::new();
    let mut program = place.serve(&[]);
    let refused =
        fails(&["serve", place.0.path().join("other").to_str().expect("UTF-8"), "--listen", &place.unix("")], 1);
    assert!(refused.contains(&format!("another server listens at {}", place.socket().display())), "{refused}");
    connect(&place.socket()).expect("PING", "OK 0");
    program.kill();
    let left = fs::symlink_metadata(place.socket()).expect("it is left over").ino();
    let program = place.serve(&[]);
    assert_ne!(fs::symlink_metadata(place.socket()).expect("another one").ino(), left);
    connect(&place.socket()).expect("PING", "OK 0");
    program.end();
    assert_eq!(place.names(), ["socket"], "nothing else is left");
}

#[test]
fn a_server_with_a_full_backlog_runs() {
    let place = Place::new();
    let _full = UnixListener::bind(place.socket()).expect("a socket");
    rustix::net::listen(&_full, 0).expect("it listens");
    let _waits = UnixStream::connect(place.socket()).expect("one may wait");
    assert!(place.refused("").contains("another server listens at"));
}

#[test]
fn what_is_no_socket_is_never_removed() {
    let place = Place::new();
    fs::write(place.socket(), "precious").expect("a file");
    let refused = place.refused("");
    assert!(refused.contains("a file that is no socket stays where it is: "), "{refused}");
    assert_eq!(fs::read(place.socket()).expect("it is there"), b"precious");
    fs::remove_file(place.socket()).expect("it goes");
    drop(UnixListener::bind(place.0.path().join("left")).expect("a socket"));
    std::os::unix::fs::symlink("left", place.socket()).expect("a link");
    assert!(place.refused("").contains("no socket"));
    assert!(fs::symlink_metadata(place.0.path().join("left")).is_ok_and(|file| file.file_type().is_socket()));
}

#[test]
fn a_path_that_no_socket_can_have_is_refused() {
    let place = Place::new();
    let long = "x".repeat(108);
    let listen = format!("unix:{}/{long}", place.0.path().display());
    let refused = fails(&["serve", place.root().to_str().expect("UTF-8"), "--listen", &listen], 1);
    assert!(refused.contains("is too long for a socket: at most 107 bytes"), "{refused}");
    let refused = fails(&["serve", place.root().to_str().expect("UTF-8"), "--listen", "unix:/no/such/folder"], 1);
    assert!(refused.contains("cannot listen on unix:/no/such/folder (auto): No such file"), "{refused}");
}

#[test]
fn its_clients_have_no_address_that_would_be_full() {
    let place = Place::new();
    let options = ["--max-connections", "8", "--per-address", "50", "--listen", "127.0.0.1:0"];
    let program = place.serve(&options);
    let mut local: Vec<Client> = (0..6).map(|_| connect(&place.socket())).collect();
    for client in &mut local {
        client.expect("PING", "OK 0");
    }
    // Those of the loopback interface have their share beside them.
    let mut remote = Client::connect(program.addresses[1]);
    remote.expect("PING", "OK 0");
}

#[test]
fn a_proxy_there_names_the_client_and_is_believed_as_one_on_this_machine() {
    let place = Place::new();
    let log = fs::File::create(place.0.path().join("log")).expect("a file");
    let (proxied, trusted) = (place.0.path().join("proxied"), place.0.path().join("trusted"));
    let listens = [
        format!("line@unix:{}?proxy=127.0.0.1", proxied.display()),
        format!("http@unix:{}?trust=127.0.0.1", trusted.display()),
        format!("line@unix:{}?proxy=10.0.0.1", place.socket().display()),
    ];
    let options: Vec<&str> = listens.iter().flat_map(|listen| ["--listen", listen]).collect();
    let (mut program, _) = super::logging(&place.root(), &options, log.into());
    let mut client = connect(&proxied);
    client.send("PROXY TCP4 192.0.2.7 192.0.2.1 4711 7070\r\n");
    client.put("/file", b"content");
    drop(client);
    let mut client = connect(&trusted);
    client.send("GET /file HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.8\r\nConnection: close\r\n\r\n");
    assert!(client.last_words().starts_with("HTTP/1.1 200 "));
    let mut other = connect(&place.socket());
    other.send_in_vain("PROXY TCP4 192.0.2.7 192.0.2.1 4711 7070\r\nPING\n");
    assert_eq!(other.rest().0, b"", "its network is not that of a proxy");
    program.signal(rustix::process::Signal::TERM);
    assert_eq!(program.wait(), Some(0));
    let log = fs::read_to_string(place.0.path().join("log")).expect("a log");
    assert!(log.contains("peer=192.0.2.7:4711 ") && log.contains("peer=192.0.2.8 via=127.0.0.1:0 "), "{log}");
}

#[test]
fn passwords_are_private_there() {
    let place = Place::new();
    let access = place.0.path().join("access");
    let hash = "$argon2id$v=19$m=64,t=3,p=2$c2FsdHNhbHQ$k0HLucYuLGcaHP6da/QjG+HIbs1P1yHr";
    fs::write(&access, format!("user anna {hash}\nallow anna rl /\n")).expect("a file");
    fs::set_permissions(&access, fs::Permissions::from_mode(0o600)).expect("our file");
    let program = place.serve(&["--access", access.to_str().expect("UTF-8"), "--listen", "0.0.0.0:0"]);
    let asked = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Basic YW5uYTpww6Rzc3dvcmQ=\r\n\r\n";
    let mut client = connect(&place.socket());
    client.send(asked);
    let said = client.last_words();
    assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
    let mut client = Client::connect(([127, 0, 0, 1], program.addresses[1].port()).into());
    client.send(asked);
    let said = client.last_words();
    assert!(!said.starts_with("HTTP/1.1 200 "), "{said}");
}

#[test]
#[cfg(feature = "systemd")]
fn a_socket_of_systemd_is_known_by_its_path() {
    let place = Place::new();
    let listener = UnixListener::bind(place.socket()).expect("a socket");
    let mut early = connect(&place.socket());
    early.send("PING\n");
    let with = |path: &str| try_with_listener(&listener, &place.root(), &["--listen", path]);
    let program = with(&place.unix("")).expect("the server starts");
    assert_eq!(early.line(), "OK 0");
    drop(early);
    program.end();
    assert!(with(&format!("unix:{}/other", place.0.path().display())).is_err(), "nothing would serve it");
    let mut later = connect(&place.socket());
    let _program = with(&place.unix("")).expect("the server starts");
    later.expect("PING", "OK 0");
    wait_until("it is a socket still", || place.socket().exists());
}
