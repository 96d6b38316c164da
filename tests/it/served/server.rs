//! Front doors: listeners, secrets, what is refused when read-only, draining and stopping.

use std::fs;

use filewharf::Server;
use filewharf::dialect::Kind;
use filewharf::object::Durability;

use super::{Setting, in_every_setting};
use support::client::{Client, PATIENCE, Running, assert_same, content, value, visible, wait_until};

in_every_setting!(
    a_drain_lets_a_running_upload_finish_and_refuses_the_next_request,
    a_drain_lets_a_running_download_finish,
    while_a_transfer_runs_idle_clients_hear_why_they_are_refused,
    a_second_drain_stops,
    a_stop_cuts_off_and_leaves_nothing_visible,
);

fn is_refused(server: &Running) -> bool {
    std::net::TcpStream::connect(server.address()).is_err()
}

// covers: drain
fn a_drain_lets_a_running_upload_finish_and_refuses_the_next_request(setting: &Setting) {
    let mut server = setting.start();
    let bytes = content(1, setting.largest.min(1 << 20));
    let (early, late) = bytes.split_at(bytes.len() / 2);
    let mut client = server.client();
    client.send(format!("PUT {} /file\n", bytes.len()));
    client.send(early);
    wait_until("a running upload", || server.counters().slots_used == 1);
    server.handle().drain();
    wait_until("a closed listener", || is_refused(&server));
    client.send([late, b"GET /file\n"].concat());
    assert!(client.line().starts_with("OK 0 etag="));
    assert!(client.line().starts_with("ERR 503 retry="));
    client.expect_eof();
    drop(client);
    assert_eq!(server.end(), 0);
    let on_disk = fs::read(server.path("file")).expect("the file is there");
    assert_same(&on_disk, &bytes, "stored while draining");
}

fn a_drain_lets_a_running_download_finish(setting: &Setting) {
    let mut server = setting.start();
    let bytes = content(2, setting.largest);
    let mut client = server.client();
    client.put("/file", &bytes);
    client.send("GET /file\nPING\n");
    assert!(client.line().starts_with("OK "));
    let mut got = client.bytes(100);
    server.handle().drain();
    wait_until("a closed listener", || is_refused(&server));
    got.extend(client.bytes(bytes.len() - 100));
    assert_same(&got, &bytes, "sent while draining");
    // The next request may have been seen before the drain began.
    let next = client.last_words();
    assert!(next == "OK 0\n" || next.starts_with("ERR 503 "), "{next}");
    drop(client);
    assert_eq!(server.end(), 0);
}

fn while_a_transfer_runs_idle_clients_hear_why_they_are_refused(setting: &Setting) {
    let mut server = setting.start();
    let (mut idle, mut silent, mut busy) = (server.client(), server.client(), server.client());
    idle.expect("PING", "OK 0");
    silent.expect("PING", "OK 0");
    busy.send("PUT 10 /file\nhalf ");
    wait_until("a running upload", || server.counters().slots_used == 1);
    server.handle().drain();
    wait_until("a closed listener", || is_refused(&server));
    idle.expect("GET /file", "ERR 503 retry=");
    idle.expect_eof();
    busy.send("done.");
    assert!(busy.line().starts_with("OK 0 etag="));
    busy.expect_eof();
    silent.expect_eof();
    drop((idle, silent, busy));
    assert_eq!(server.end(), 0);
}

fn begin_upload(server: &Running, setting: &Setting) -> Client {
    let mut client = server.client();
    client.put("/file", b"the old content");
    let size = setting.largest.min(1 << 20);
    client.send(format!("PUT {size} /file\n"));
    client.send(content(3, size - 1));
    // A slot in use may still be that of the upload before.
    wait_until("a running upload", || server.counters().bytes_in > 15);
    client
}

fn assert_cut_off(mut server: Running, mut client: Client) {
    let (said, _) = client.rest();
    assert_eq!(said, b"", "an answer to half an upload");
    assert_eq!(server.end(), 1);
    server.may_cut_off();
    assert_eq!(fs::read(server.path("file")).expect("the old file"), b"the old content");
    assert_eq!(visible(&server.path("")), ["file"]);
}

fn a_second_drain_stops(setting: &Setting) {
    let server = setting.start();
    let client = begin_upload(&server, setting);
    server.handle().drain();
    wait_until("a closed listener", || is_refused(&server));
    server.handle().drain();
    assert_cut_off(server, client);
}

fn a_stop_cuts_off_and_leaves_nothing_visible(setting: &Setting) {
    let server = setting.start();
    let client = begin_upload(&server, setting);
    server.handle().stop();
    assert_cut_off(server, client);
}

// covers: drain
#[test]
fn a_drain_that_lasts_too_long_ends_in_a_stop() {
    let server = Running::limited(|limits| limits.live.drain_timeout = std::time::Duration::from_millis(50));
    let mut client = server.client();
    client.put("/file", b"the old content");
    client.send("PUT 10 /file\nnine byte");
    // A slot in use may still be that of the upload before.
    wait_until("a running upload", || server.counters().bytes_in == 15 + 9);
    server.handle().drain();
    assert_cut_off(server, client);
}

#[test]
fn while_it_drains_with_grace_new_clients_are_refused_with_an_answer() {
    let server = Running::limited(|limits| limits.live.drain_grace = 10 * PATIENCE);
    server.handle().drain();
    wait_until("an answer that says so", || {
        let Ok(stream) = std::net::TcpStream::connect(server.address()) else { panic!("the listener is closed") };
        let mut client = Client::over(stream);
        client.send_in_vain("PING\n");
        let said = client.last_words();
        assert!(said.is_empty() || said == "OK 0\n" || said.starts_with("ERR 503 retry="), "{said}");
        said.starts_with("ERR 503 retry=")
    });
}

#[test]
fn several_listeners_serve_one_directory() {
    let server =
        Running::with(|builder| builder.listen("127.0.0.1:0").listen_as(Kind::Line, "127.0.0.1:0").listen("[::1]:0"));
    let addresses: Vec<_> =
        server.handle().addresses().iter().filter_map(|(address, _)| address.socket_addr()).collect();
    assert_eq!(addresses.len(), 4);
    for (n, writer) in addresses.iter().enumerate() {
        let bytes = content(n as u64, 1000);
        Client::connect(*writer).put("/file", &bytes);
        for reader in &addresses {
            assert_same(&Client::connect(*reader).get("/file"), &bytes, "by another door");
        }
    }
}

// covers: cannot-start
#[test]
fn an_address_that_is_taken_is_named_and_nothing_is_half_started() {
    let server = Running::start();
    let taken = server.address().to_string();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let root = dir.path().join("not made");
    let error = Server::builder().root(&root).listen("127.0.0.1:0").listen(&taken).build().err().expect("an error");
    assert!(error.to_string().contains(&taken), "{error}");
    assert!(!root.exists(), "the folder was made before the address was tried");
}

// covers: wrong-secret
#[test]
fn a_secret_is_asked_of_everybody() {
    let server = Running::with(|builder| builder.secret("open sesame"));
    let mut client = server.client();
    for request in ["PING", "GET /x", "LIST /", "STAT /", "DELETE /x", "MKDIR /x/", "RENAME /x\t/y"] {
        client.expect(request, "ERR 401 ");
    }
    assert!(client.try_put("/file", b"content").starts_with("ERR 401 "));
    client.expect("AUTH open sesame", "OK 0");
    client.put("/file", b"content");
    assert_eq!(client.get("/file"), b"content");
    for wrong in ["", "open", "open sesame ", "open sesamf", "Open sesame"] {
        let mut client = server.client();
        client.expect(&format!("AUTH {wrong}"), "ERR 401 ");
        client.expect_eof();
    }
    let mut client = server.client();
    client.send("AUTH open sesame\nGET /file\n");
    assert_eq!(client.line(), "OK 0");
    assert!(client.line().starts_with("OK 7 "));
}

#[test]
fn a_server_without_a_secret_takes_any() {
    let server = Running::start();
    server.client().expect("AUTH whatever", "OK 0");
}

#[test]
fn a_read_only_server_changes_nothing() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    fs::write(dir.path().join("file"), "content").expect("a file");
    let server = Running::on(dir.path(), |builder| builder.read_only(true));
    let mut client = server.client();
    assert_eq!(client.get("/file"), b"content");
    for request in ["DELETE /file", "MKDIR /folder/", "RENAME /file\t/other"] {
        client.expect(request, "ERR 403 ");
    }
    assert!(client.try_put("/file", b"changed").starts_with("ERR 403 "));
    assert!(client.try_put("/file", &content(1, 200_000)).starts_with("ERR 403 "));
    client.send("PUT * /file\n3\nabc0\n");
    assert!(client.line().starts_with("ERR 403 "));
    assert_eq!(client.get("/file"), b"content");
    drop(client);
    server.wait_until_quiet();
    let names: Vec<_> = fs::read_dir(dir.path()).expect("the folder").collect();
    assert_eq!(names.len(), 1, "not even a staging folder");
}

#[test]
fn the_reply_says_what_was_promised() {
    for (durability, level) in [(Durability::Durable, "durable"), (Durability::Written, "written")] {
        let server = Running::with(|builder| builder.durability(durability).trust_file_system(true));
        let mut client = server.client();
        for size in [0, 10, 100_000] {
            let line = client.try_put("/file", &content(1, size));
            assert_eq!(value(&line, "stored").as_deref(), Some(level), "{line}");
        }
    }
}
