//! What a server tells people at its start, and `filewharf share`: what its link opens, and what it does not.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::program::{BINARY, fails, logging, run};

/// A share that is running; killed when dropped.
struct Share {
    child: Child,
    /// `ADDR:PORT`.
    address: String,
    /// The path of its link, and the query.
    path: String,
    query: String,
}

impl Share {
    fn start(path: &Path, options: &[&str]) -> Self {
        let words = [&["share", "--listen", "127.0.0.1:0", "--quiet"], options].concat();
        let mut command = Command::new(BINARY);
        let mut child = command.args(words).arg(path).stdout(Stdio::piped()).spawn().expect("the binary can be run");
        let mut link = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut link).expect("text");
        let rest = link.trim_end().strip_prefix("http://").unwrap_or_else(|| panic!("{link:?}"));
        let (address, target) = rest.split_once('/').expect("a path");
        let (path, query) = target.split_once('?').expect("a query");
        Self { child, address: address.to_owned(), path: format!("/{path}"), query: format!("?{query}") }
    }

    /// The status of a request, and all that was answered.
    fn ask(&self, method: &str, target: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        let length = body.len();
        let head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        stream.write_all(format!("{head}Content-Length: {length}\r\n\r\n{body}").as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        (answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status"), answer)
    }

    /// The same by its link, for this path.
    fn by_link(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        self.ask(method, &format!("{path}{}", self.query), body)
    }

    fn end(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("it runs");
        assert_eq!(self.child.wait().expect("it ends").code(), Some(0));
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory with two files and one in a directory.
fn shared() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(dir.path().join("sub")).expect("a folder");
    for (name, text) in [("a file", "one"), ("b", "two"), ("sub/c", "three")] {
        fs::write(dir.path().join(name), text).expect("a file");
    }
    dir
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = entries.map(|name| name.to_str().expect("UTF-8").to_owned()).collect();
    names.sort();
    names
}

#[test]
fn the_link_of_a_file_opens_it_and_nothing_beside_it() {
    let dir = shared();
    let share = Share::start(&dir.path().join("a file"), &[]);
    assert_eq!(share.path, "/a%20file");
    assert!(share.by_link("GET", "/a%20file", "").1.ends_with("\r\n\r\none"));
    for path in ["/", "/b", "/sub/", "/sub/c"] {
        assert_eq!(share.by_link("GET", path, "").0, 403, "{path}");
        assert_eq!(share.ask("GET", path, "").0, 401, "{path}");
    }
    assert_eq!(share.ask("GET", "/a%20file", "").0, 401);
    for method in ["PUT", "DELETE"] {
        assert_eq!(share.by_link(method, "/a%20file", "").0, 403, "{method}");
    }
    share.end();
    assert_eq!(names(dir.path()), ["a file", "b", "sub"]);
}

#[test]
fn a_folder_is_shared_with_all_under_it_and_nothing_is_made_in_it() {
    let dir = shared();
    let share = Share::start(dir.path(), &[]);
    assert_eq!(share.path, "/");
    assert!(share.by_link("GET", "/", "").1.contains("a%20file"));
    assert!(share.by_link("GET", "/sub/c", "").1.ends_with("three"));
    assert_eq!(share.ask("GET", "/sub/c", "").0, 401);
    for (method, path) in [("PUT", "/new"), ("PUT", "/b"), ("DELETE", "/b"), ("MKCOL", "/dir/")] {
        assert_eq!(share.by_link(method, path, "").0, 403, "{method} {path}");
    }
    share.end();
    assert_eq!(names(dir.path()), ["a file", "b", "sub"]);
}

#[test]
fn a_share_that_receives_takes_new_names_and_replaces_none() {
    let dir = shared();
    let share = Share::start(dir.path(), &["--receive"]);
    assert_eq!(share.by_link("PUT", "/new", "content").0, 201);
    assert_eq!(share.by_link("PUT", "/b", "other").0, 412);
    assert_eq!(share.by_link("DELETE", "/b", "").0, 403);
    assert_eq!(share.ask("PUT", "/newer", "content").0, 401);
    share.end();
    assert_eq!(fs::read_to_string(dir.path().join("new")).expect("stored"), "content");
    assert_eq!(fs::read_to_string(dir.path().join("b")).expect("as before"), "two");
    assert!(!dir.path().join("newer").exists());
}

#[test]
fn a_share_ends_when_its_time_is_over() {
    let dir = shared();
    let mut share = Share::start(dir.path(), &["--for", "1s"]);
    assert_eq!(share.child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn a_share_of_what_cannot_be_shared_fails() {
    let dir = shared();
    let file = dir.path().join("b").to_string_lossy().into_owned();
    assert!(fails(&["share", &format!("{file}/x")], 1).contains(&file));
    assert!(fails(&["share", "--receive", &file], 1).contains("needs a folder"));
    assert!(fails(&["share", "/dev/null"], 1).contains("neither a file nor a folder"));
    assert!(fails(&["share", &file, "--for", "soon"], 2).contains("90s, 30m, 2h or 7d"));
    assert_eq!(run(&["share"]).status.code(), Some(2));
}

/// The address of a server, and what it prints after the measures of its sandbox.
fn welcome(root: &Path, options: &[&str]) -> (String, Vec<String>) {
    let (mut program, log) = logging(root, options, Stdio::piped());
    let address = program.address().to_string();
    program.signal(Signal::TERM);
    assert_eq!(program.wait(), Some(0));
    let lines = BufReader::new(log.expect("a pipe")).lines().map(|line| line.expect("text"));
    let lines = lines.skip_while(|line| !line.contains("] sandbox=")).skip(1);
    let lines = lines.take_while(|line| !line.contains("] draining"));
    (
        address,
        lines.map(|line| line.split_once("welcome] ").map_or(line.clone(), |(_, text)| text.to_owned())).collect(),
    )
}

#[test]
fn a_server_tells_where_to_click_what_is_open_and_how_to_stop_it() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let root = dir.path().join("served");
    let serves = format!("filewharf serves the folder {}", root.display());
    let (address, lines) = welcome(&root, &[]);
    let open = "No secret is asked for: anyone who can connect can read, replace and delete. Ctrl-C stops the server.";
    assert_eq!(lines, [&serves, &format!("  http://{address}/"), open]);
    let secret = dir.path().join("secret");
    fs::write(&secret, "open sesame").expect("a file");
    fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("a mode");
    let (address, lines) = welcome(&root, &["--token-file", &secret.to_string_lossy(), "--read-only", "--qr"]);
    assert_eq!(lines[..2], [serves, format!("  http://{address}/")]);
    assert_eq!(lines[2], "A secret is asked for. Ctrl-C stops the server.");
    assert!(lines[3].starts_with("\x1b[30;107m  ") && lines[3].ends_with(" \x1b[0m"), "{lines:?}");
    assert_eq!(welcome(&root, &["--quiet"]).1, [""; 0]);
}
