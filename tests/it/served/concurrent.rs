//! Many at once, and which version is read when: a reader has one version, and never an older one than it
//! could have known of.

use std::thread;

use super::{Setting, in_every_setting};
use support::client::{Running, assert_same, content, value, wait_until};

in_every_setting!(
    many_clients_move_files_both_ways_at_once,
    a_reader_in_the_middle_keeps_its_version,
    no_client_reads_an_older_version_than_a_body_accepted_in_full,
    a_version_that_was_acknowledged_is_what_everybody_gets,
    of_many_writers_of_one_name_each_stores_a_whole_version,
    of_many_creators_of_one_name_exactly_one_succeeds,
);

fn many_clients_move_files_both_ways_at_once(setting: &Setting) {
    let server = setting.start();
    let size = setting.largest.min(1 << 20);
    let clients = if setting.largest > 1 << 20 { 64 } else { 8 };
    thread::scope(|scope| {
        for n in 0..clients {
            let server = &server;
            scope.spawn(move || {
                let bytes = content(n, size + n as usize);
                let path = format!("/{}/file {n}", n % 5);
                let mut client = server.client();
                client.put(&path, &bytes);
                let mut other = server.client();
                assert_same(&other.get(&path), &bytes, &path);
                assert_same(&client.get(&path), &bytes, &path);
            });
        }
    });
    server.wait_until_quiet();
    assert!(server.counters().accepted >= 2 * clients);
    assert_eq!(server.counters().requests[4], clients);
}

// covers: replaced-while-sent deleted-while-sent
fn a_reader_in_the_middle_keeps_its_version(setting: &Setting) {
    let server = setting.start();
    let (old, new) = (content(1, setting.largest), content(2, setting.largest / 2 + 1));
    let mut writer = server.client();
    let etag = writer.put("/file", &old);
    let mut reader = server.client();
    let line = reader.expect("GET /file", &format!("OK {} ", old.len()));
    assert_eq!(value(&line, "etag"), Some(etag));
    let mut got = reader.bytes(1000);
    writer.put("/file", &new);
    assert_same(&writer.get("/file"), &new, "the new version");
    got.extend(reader.bytes(old.len() - 1000));
    assert_same(&got, &old, "the version that was being read");
    let mut reader = server.client();
    reader.expect("GET /file", &format!("OK {} ", new.len()));
    let mut got = reader.bytes(1000);
    writer.expect("DELETE /file", "OK 0");
    got.extend(reader.bytes(new.len() - 1000));
    assert_same(&got, &new, "the version that was deleted while it was read");
}

/// The server has taken the whole body (its counter says so), its `OK` may not have left yet: a
/// request that is sent now must wait for the commit.
// covers: reads-beside-replaces
fn no_client_reads_an_older_version_than_a_body_accepted_in_full(setting: &Setting) {
    let server = setting.start();
    let mut writer = server.client();
    let mut readers = [server.client(), server.client(), server.client()];
    for size in [50, setting.largest.min(200_000)] {
        writer.put("/file", b"the oldest");
        for seed in 0..20 {
            let bytes = content(seed, size);
            let accepted = server.counters().bytes_in + size as u64;
            writer.send(format!("PUT {size} /file\n"));
            writer.send(&bytes);
            wait_until("the whole body at the server", || server.counters().bytes_in >= accepted);
            let [gets, stats, lists] = &mut readers;
            gets.send("GET /file\n");
            stats.send("STAT /file\n");
            lists.send("LIST /\n");
            let head = gets.line();
            assert!(head.starts_with(&format!("OK {size} ")), "an older version: {head}");
            assert_same(&gets.bytes(size), &bytes, "an older version");
            let stat = stats.line();
            let (etag, list) = (value(&head, "etag").expect("an etag"), lists.line());
            assert_eq!(value(&stat, "etag").as_ref(), Some(&etag), "an older version by STAT");
            let list_len = list.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("a size");
            let list = String::from_utf8(lists.bytes(list_len)).expect("UTF-8");
            assert!(list.contains(&etag), "an older version by LIST: {list}");
            let stored = writer.line();
            assert_eq!(value(&stored, "etag"), Some(etag));
        }
    }
}

fn a_version_that_was_acknowledged_is_what_everybody_gets(setting: &Setting) {
    let server = setting.start();
    let mut writer = server.client();
    let mut reader = server.client();
    for version in 0..100_u64 {
        let bytes = content(version, 1 + version as usize * 20);
        writer.put("/file", &bytes);
        assert_same(&reader.get("/file"), &bytes, &format!("version {version}"));
    }
}

/// A body that names its writer, so that a mix of two shows.
fn signed(writer: u64, version: u64, size: usize) -> Vec<u8> {
    let mut bytes = format!("{writer:08}{version:08}").into_bytes();
    bytes.extend(content(writer << 32 | version, size));
    bytes
}

fn assert_signed(bytes: &[u8], size: usize) {
    let number = |range| std::str::from_utf8(&bytes[range]).ok().and_then(|digits| digits.parse().ok());
    let (writer, version) = (number(0..8).expect("a writer"), number(8..16).expect("a version"));
    assert_same(bytes, &signed(writer, version, size), "one whole version");
}

// covers: replaced-by-many
fn of_many_writers_of_one_name_each_stores_a_whole_version(setting: &Setting) {
    let server = setting.start();
    let size = setting.largest.min(150_000);
    server.client().put("/file", &signed(0, 0, size));
    thread::scope(|scope| {
        for writer in 1..=4 {
            let server = &server;
            scope.spawn(move || {
                let mut client = server.client();
                for version in 0..5 {
                    client.put("/file", &signed(writer, version, size));
                    assert_signed(&client.get("/file"), size);
                }
            });
        }
    });
    assert_signed(&server.client().get("/file"), size);
    server.wait_until_quiet();
}

// covers: created-by-many
fn of_many_creators_of_one_name_exactly_one_succeeds(setting: &Setting) {
    let server = setting.start();
    for (round, size) in [10, 100, setting.largest.min(150_000)].into_iter().enumerate() {
        let path = format!("if=absent /file {round}");
        let replies: Vec<String> = thread::scope(|scope| {
            let (server, path) = (&server, &path);
            let creators: Vec<_> =
                (0..6).map(|n| scope.spawn(move || server.client().try_put(path, &content(n, size)))).collect();
            creators.into_iter().map(|creator| creator.join().expect("a reply")).collect()
        });
        let stored = replies.iter().filter(|reply| reply.starts_with("OK ")).count();
        let refused = replies.iter().filter(|reply| reply.starts_with("ERR 412 ")).count();
        assert_eq!((stored, refused), (1, 5), "{replies:?}");
    }
}

// covers: shared-directory
#[test]
fn two_servers_may_share_a_directory() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let one = Running::on(dir.path(), |builder| builder.shared(true));
    let two = Running::on(dir.path(), |builder| builder.shared(true));
    let (mut here, mut there) = (one.client(), two.client());
    for version in 0..20_u64 {
        let bytes = content(version, 100_000);
        here.put("/file", &bytes);
        assert_same(&there.get("/file"), &bytes, "through the other server");
        there.put("/file", &bytes[1..]);
        assert_same(&here.get("/file"), &bytes[1..], "and back");
    }
    // One that ends must leave the uploads of the other alone.
    there.send("PUT 100000 /late\n");
    there.send([7; 50_000]);
    wait_until("half an upload", || two.counters().slots_used == 1);
    drop(here);
    drop(one);
    let three = Running::on(dir.path(), |builder| builder.shared(true));
    three.assert_serves();
    there.send([7; 50_000]);
    assert!(there.line().starts_with("OK 0 "));
    assert_same(&three.client().get("/late"), &[7; 100_000], "stored by the one that went on");
    drop(there);
    two.wait_until_quiet();
}

// covers: own-files
#[test]
fn the_reserved_directory_of_a_nested_server_is_not_served() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let inner = Running::on(&dir.path().join("show"), |builder| builder);
    let outer = Running::on(dir.path(), |builder| builder);
    let mut client = outer.client();
    let staging = std::fs::read_dir(inner.path(".filewharf/staging")).expect("a folder").next().expect("an entry");
    let lock = format!("/show/.filewharf/staging/{}/LOCK", staging.expect("an entry").file_name().display());
    for request in ["GET", "STAT", "DELETE"].map(|verb| format!("{verb} {lock}")) {
        client.expect(&request, "ERR 403");
    }
    for request in ["LIST /show/.filewharf/", "MKDIR /show/.filewharf/new", "RENAME /show/.filewharf\t/other"] {
        client.expect(request, "ERR 403");
    }
    assert!(client.try_put(&lock, b"x").starts_with("ERR 403 "));
    client.expect("LIST /show/", "OK 0");
    inner.assert_serves();
}
