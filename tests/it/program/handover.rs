//! A process takes over from the one that runs: what each of the two serves, and what happens when one of them fails or
//! is killed.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Stdio;

use tempfile::TempDir;

use support::client::{Client, wait_until};
use support::server::Program;

use crate::program::BINARY;

/// A directory, and the control socket of the server of it.
struct Site {
    dir: TempDir,
    address: String,
}

impl Site {
    /// Starts the first process, too.
    fn start(options: &[&str]) -> (Self, Program) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut site = Self { dir, address: "127.0.0.1:0".to_owned() };
        let first = site.run("--control", options).expect("it starts");
        site.address = first.address().to_string();
        (site, first)
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn control(&self) -> String {
        self.dir.path().join("control").to_string_lossy().into_owned()
    }

    fn run(&self, flag: &str, options: &[&str]) -> Result<Program, String> {
        let control = self.control();
        let words = [&[flag, &control, "--quiet", "--listen", &self.address][..], options].concat();
        Program::try_start(&[], BINARY, &self.root(), &words, Stdio::inherit())
    }

    /// A process that has taken over: it answers new connections.
    fn take_over(&self, options: &[&str]) -> Program {
        // Once it says where it listens, the other process accepts nothing more.
        self.run("--takeover", options).expect("it starts")
    }
}

/// A connection that the next process must not get, because the present one has read of it.
fn accepted(address: SocketAddr) -> Client {
    let mut client = Client::connect(address);
    client.expect("PING", "OK 0");
    client
}

#[test]
fn the_next_process_serves_new_connections_and_the_present_one_ends_what_it_has_begun() {
    let (site, mut first) = Site::start(&["--idle-timeout", "5"]);
    let mut busy = accepted(first.address());
    busy.send("PUT 10 /half\n12345");
    let mut idle = accepted(first.address());
    let next = site.take_over(&[]);
    assert_eq!(next.addresses, first.addresses);
    let mut new = accepted(next.address());
    new.put("/new", b"by the next one");
    assert!(!first.has_ended(), "a transfer is under way");
    idle.expect("PING", "OK 0");
    idle.expect_eof();
    busy.send("67890");
    assert!(busy.line().starts_with("OK 0 etag="));
    busy.expect_eof();
    assert_eq!(first.wait(), Some(0), "by itself");
    assert_eq!(new.get("/half"), b"1234567890");
    new.put("/half", b"again");
    drop(new);
    next.end();
}

#[test]
fn each_process_takes_over_from_the_one_before() {
    let (site, mut present) = Site::start(&[]);
    for n in 0..5 {
        let next = site.take_over(&[]);
        let mut client = accepted(next.address());
        client.put(&format!("/{n}"), b"content");
        drop(client);
        assert_eq!(present.wait(), Some(0));
        present = next;
    }
    present.end();
}

#[test]
fn a_process_that_cannot_start_leaves_the_present_one_serving() {
    let (site, first) = Site::start(&[]);
    let mut open = accepted(first.address());
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let refused = site.run("--takeover", &["--listen", &address]).err().expect("the address is in use");
    assert!(refused.contains("exit status: 1"), "{refused}");
    for _ in 0..3 {
        open.expect("PING", "OK 0");
        drop(accepted(first.address()));
    }
    open.put("/x", b"still here");
    drop(open);
    let next = site.take_over(&[]);
    next.end();
}

#[test]
fn where_the_next_process_is_killed_the_present_one_accepts_again() {
    let (site, first) = Site::start(&[]);
    let mut busy = accepted(first.address());
    busy.send("PUT 10 /half\n12345");
    for _ in 0..3 {
        let mut next = site.take_over(&[]);
        accepted(next.address()).put("/x", b"by the next one");
        next.kill();
        assert_eq!(accepted(first.address()).get("/x"), b"by the next one");
    }
    let staging = site.root().join(".filewharf/staging");
    wait_until("what they have left is removed", || {
        std::fs::read_dir(&staging).expect("the first process has its own there").count() == 1
    });
    busy.send("67890");
    assert!(busy.line().starts_with("OK 0 etag="));
    busy.expect("PING", "OK 0");
    drop(busy);
    first.end();
}

#[test]
fn a_fifth_generation_is_refused_until_one_has_ended() {
    let (site, first) = Site::start(&[]);
    let mut generations = vec![(accepted(first.address()), first)];
    for (busy, _) in &mut generations {
        busy.send("PUT 10 /0\n12345");
    }
    for n in 1..4 {
        let next = site.take_over(&[]);
        let mut busy = accepted(next.address());
        busy.send(format!("PUT 10 /{n}\n12345"));
        generations.push((busy, next));
    }
    assert!(site.run("--takeover", &[]).is_err(), "four run");
    // One in the middle: the others are still known to each other.
    let (mut busy, mut ended) = generations.remove(1);
    busy.send("67890");
    assert!(busy.line().starts_with("OK 0 etag="));
    drop(busy);
    assert_eq!(ended.wait(), Some(0));
    let newest = site.take_over(&[]);
    for (mut busy, mut program) in generations {
        busy.send("67890");
        assert!(busy.line().starts_with("OK 0 etag="));
        drop(busy);
        assert_eq!(program.wait(), Some(0));
    }
    newest.end();
}

#[test]
fn where_no_server_answers_at_the_control_socket_the_process_starts_as_always() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let site = Site { dir, address: "127.0.0.1:0".to_owned() };
    let mut first = site.run("--takeover", &[]).expect("it starts");
    first.kill();
    // The socket of one that was killed.
    let second = site.run("--takeover", &[]).expect("it starts");
    let site = Site { address: second.address().to_string(), ..site };
    assert!(site.run("--control", &[]).is_err(), "another server has the socket");
    site.take_over(&[]).end();
}

#[test]
fn an_address_of_a_server_that_is_about_to_end_is_waited_for() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let address = "127.0.0.1:0".to_owned();
    let ending = TcpListener::bind(&address).expect("a free port");
    let site = Site { dir, address: ending.local_addr().expect("it is bound").to_string() };
    assert!(site.run("--takeover", &[]).is_err(), "it does not end");
    std::fs::remove_file(site.control()).expect("it had made its own");
    // Until the process has found that nothing answers at its control socket, that is left of a server that was killed.
    let control = UnixListener::bind(site.control()).expect("a socket");
    std::thread::spawn(move || {
        let asked = control.accept();
        drop(control);
        drop(asked);
        std::thread::sleep(std::time::Duration::from_millis(100));
        drop(ending);
    });
    site.run("--takeover", &[]).expect("it starts").end();
}

#[test]
fn where_the_server_ends_before_it_answers_the_process_starts_as_always() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let site = Site { dir, address: "127.0.0.1:0".to_owned() };
    let killed = UnixListener::bind(site.control()).expect("a socket");
    std::thread::spawn(move || {
        let asked = killed.accept();
        drop(killed);
        drop(asked);
    });
    site.run("--takeover", &[]).expect("it starts").end();
}

#[test]
fn an_upload_continues_at_the_next_process() {
    let (site, mut first) = Site::start(&[]);
    let request = "PUT 10 resume=token /file";
    let mut old = accepted(first.address());
    assert_eq!(old.ask(request), "GO 0");
    old.send("12345");
    let next = site.take_over(&[]);
    let mut begun = None;
    // The process that has it is asked to leave it.
    wait_until("the upload is free", || {
        let mut new = next.client();
        let told = new.ask(request);
        assert!(told.starts_with("GO ") || told.starts_with("ERR 423 "), "{told}");
        begun = told.strip_prefix("GO ").map(|offset| (new, offset.parse().expect("an offset")));
        begun.is_some()
    });
    let (mut new, offset): (_, usize) = begun.expect("it is free");
    assert_eq!(old.line(), "ERR 409 another request resumed this upload: /file");
    drop(old);
    new.send(&"1234567890"[offset..]);
    assert!(new.line().starts_with("OK 0 etag="));
    assert_eq!(new.get("/file"), b"1234567890");
    drop(new);
    assert_eq!(first.wait(), Some(0));
    next.end();
}

#[test]
fn a_process_can_begin_to_share_the_folder_but_not_have_it_alone_where_others_may_share_it() {
    let (site, mut first) = Site::start(&[]);
    let beside = |options: &[&str]| Program::try_start(&[], BINARY, &site.root(), options, Stdio::inherit());
    assert!(beside(&["--shared"]).is_err(), "the first has it alone");
    let sharing = site.take_over(&["--shared"]);
    assert_eq!(first.wait(), Some(0));
    let other = beside(&["--shared"]).expect("they share it");
    assert!(site.run("--takeover", &[]).is_err());
    accepted(sharing.address()).put("/x", b"content");
    assert_eq!(accepted(other.address()).get("/x"), b"content");
    let next = site.take_over(&["--shared"]);
    other.end();
    next.end();
}

/// Status of the response to one request, and its `Lock-Token`.
fn ask_http(client: &mut Client, request: &str) -> (String, Option<String>) {
    client.send(request);
    let (mut lines, mut len) = (vec![client.line()], 0);
    while lines.last().is_some_and(|line| !line.trim_end().is_empty()) {
        let line = client.line().trim_end().to_owned();
        len = line.strip_prefix("Content-Length: ").map_or(len, |len| len.parse().expect("a number"));
        lines.push(line);
    }
    client.bytes(len);
    let token = lines.iter().find_map(|line| Some(line.strip_prefix("Lock-Token: ")?.to_owned()));
    (lines[0].split(' ').nth(1).unwrap_or_default().to_owned(), token)
}

#[cfg(feature = "webdav")]
#[test]
fn a_lock_that_the_next_process_has_granted_binds_the_one_before() {
    let (site, mut first) = Site::start(&[]);
    accepted(first.address()).put("/free", b"old");
    accepted(first.address()).put("/locked", b"old");
    // A connection for each, with a transfer that ends once the lock is granted, or a request that comes then.
    let mut uploads: Vec<_> = ["/free", "/locked"]
        .map(|path| {
            let mut client = accepted(first.address());
            client.send(format!("PUT * {path}\n3\nnew"));
            client
        })
        .into();
    let [mut lock_request, mut put, mut other_put, mut own_put] = [(); 4].map(|()| {
        let mut client = first.client();
        assert_eq!(ask_http(&mut client, "GET /free HTTP/1.1\r\nHost: localhost\r\n\r\n").0, "200");
        client
    });
    let mut delete = accepted(first.address());
    let next = site.take_over(&[]);
    let body = "<lockinfo xmlns='DAV:'><lockscope><exclusive/></lockscope><locktype><write/></locktype></lockinfo>";
    let lock = format!(
        "LOCK /locked HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let (status, token) = ask_http(&mut next.client(), &lock);
    assert_eq!(status, "200");
    let token = token.expect("a token");
    // To grant one is for the newest alone.
    assert_eq!(ask_http(&mut lock_request, &lock).0, "503");
    let request =
        |headers: &str| format!("PUT /locked HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: 3\r\n\r\nhis");
    assert_eq!(ask_http(&mut put, &request("")).0, "423");
    let other = "If: (<urn:uuid:00112233-4455-6677-8899-aabbccddeeff>)\r\n";
    assert_eq!(ask_http(&mut other_put, &request(other)).0, "412");
    assert!(delete.ask("DELETE /locked").starts_with("ERR 423 "));
    assert_eq!(ask_http(&mut own_put, &request(&format!("If: ({token})\r\n"))).0, "204", "its own");
    for (client, wanted) in uploads.iter_mut().zip(["OK 0 etag=", "ERR 423 "]) {
        client.send("0\n");
        let told = client.line();
        assert!(told.starts_with(wanted), "{told}");
    }
    drop((uploads, lock_request, put, other_put, own_put, delete));
    assert_eq!(first.wait(), Some(0));
    assert_eq!((next.client().get("/free"), next.client().get("/locked")), (b"new".to_vec(), b"his".to_vec()));
    let unlock = format!("UNLOCK /locked HTTP/1.1\r\nHost: localhost\r\nLock-Token: {token}\r\n\r\n");
    assert_eq!(ask_http(&mut next.client(), &unlock).0, "204");
    next.end();
}
