//! Names: listing in pages, looking, making, moving, removing.

use std::fs;

use super::{Setting, in_every_setting};
use support::client::{Client, value};

in_every_setting!(
    a_directory_is_listed_in_pages_without_a_gap,
    a_listing_holds_files_and_directories_only,
    directories_are_made_with_their_parents_and_removed_when_empty,
    names_are_moved_with_what_they_hold,
    names_may_hold_anything_but_control_bytes,
    names_that_only_look_the_same_are_different,
);

/// The escaping of an option's value.
fn escaped(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b' ' | b'%' | 0..=31 | 127.. => format!("%{byte:02X}"),
            _ => char::from(byte).to_string(),
        })
        .collect()
}

/// Every name of a directory, page by page, and how many pages it took.
fn list_all(client: &mut Client, dir: &str, options: &str) -> (Vec<String>, usize) {
    let (mut names, mut pages): (Vec<String>, usize) = (Vec::new(), 0);
    loop {
        let after = names.last().map(|name| format!(" after={}", escaped(name.trim_end_matches('/'))));
        let (line, body) = client.fetch(&format!("LIST{options}{} {dir}", after.unwrap_or_default()));
        let body = String::from_utf8(body).expect("UTF-8");
        names.extend(body.lines().map(|line| line.splitn(4, ' ').nth(3).expect("a name").to_owned()));
        pages += 1;
        if value(&line, "more").is_none() {
            return (names, pages);
        }
        assert!(!body.is_empty(), "more names are left, but the page is empty");
    }
}

// covers: long-listing
fn a_directory_is_listed_in_pages_without_a_gap(setting: &Setting) {
    let server = setting.start();
    fs::create_dir(server.path("many")).expect("a folder");
    let mut wanted: Vec<String> = (0..setting.names).map(|n| format!("name {} of % é {n}", n % 7)).collect();
    for name in &wanted {
        fs::write(server.path("many").join(name), name).expect("a file");
    }
    wanted.sort();
    let mut client = server.client();
    let (names, pages) = list_all(&mut client, "/many/", "");
    assert_eq!(names, wanted);
    assert!(pages >= setting.names.div_ceil(1000), "{pages}");
    let (names, pages) = list_all(&mut client, "/many", " limit=11");
    assert_eq!(names, wanted);
    assert!(pages >= setting.names.div_ceil(11), "{pages}");
    let (line, body) = client.fetch("LIST limit=100000 /many/");
    let lines = body.split(|byte| *byte == b'\n').count() - 1;
    assert!(lines <= 1000, "at most 1,000 names a page: {line}");
    assert_eq!(client.fetch(&format!("LIST after={} /many/", escaped(&wanted[setting.names - 1]))).1, b"");
}

// covers: own-files
fn a_listing_holds_files_and_directories_only(setting: &Setting) {
    let server = setting.start();
    let mut client = server.client();
    let etag = client.put("/f/b.txt", b"four");
    fs::create_dir(server.path("f/a")).expect("a folder");
    std::os::unix::fs::symlink("b.txt", server.path("f/link")).expect("a link");
    std::os::unix::net::UnixListener::bind(server.path("f/socket")).expect("a socket");
    fs::write(server.path("f/line\nbreak"), "").expect("a file");
    let (names, _) = list_all(&mut client, "/f/", "");
    assert_eq!(names, ["a/", "b.txt"]);
    let (_, body) = client.fetch("LIST after=a /f/");
    let body = String::from_utf8(body).expect("UTF-8");
    let stat = client.ask("STAT /f/b.txt");
    let mtime = value(&stat, "mtime").expect("a time");
    assert_eq!(body, format!("4 {mtime} {etag} b.txt\n"));
    let (names, _) = list_all(&mut client, "/", "");
    assert_eq!(names, ["f/"], "no staging folder");
}

// covers: special-files
fn directories_are_made_with_their_parents_and_removed_when_empty(setting: &Setting) {
    let server = setting.start();
    let mut client = server.client();
    client.expect("MKDIR /a/b/c/", "OK 0");
    client.expect("MKDIR /a/b/c/", "OK 0");
    assert!(server.path("a/b/c").is_dir());
    client.expect("STAT /a/b", "OK 0 folder=1 mtime=");
    client.expect("DELETE /a/b", "ERR 409 ");
    client.put("/a/b/c/file", b"x");
    client.expect("MKDIR /a/b/c/file/", "ERR 409 ");
    client.expect("MKDIR /a/b/c/file/below/", "ERR 409 ");
    assert!(client.try_put("/a/b/c/file/below", b"x").starts_with("ERR 409 "));
    assert!(client.try_put("/a/b", b"x").starts_with("ERR 409 "));
    client.expect("GET /a/b", "ERR 409 ");
    client.expect("LIST /a/b/c/file", "ERR 409 ");
    client.expect("DELETE /a/b/c", "ERR 409 ");
    client.expect("DELETE /a/b/c/file", "OK 0");
    for dir in ["/a/b/c", "/a/b", "/a"] {
        client.expect(&format!("DELETE {dir}"), "OK 0");
    }
    client.expect("STAT /a", "ERR 404 ");
    assert!(!server.path("a").exists());
}

fn names_are_moved_with_what_they_hold(setting: &Setting) {
    let server = setting.start();
    let mut client = server.client();
    let etag = client.put("/from/file", b"content");
    client.put("/other", b"other");
    client.expect("RENAME if=absent /from/file\t/other", "ERR 412 ");
    client.expect("RENAME if=absent /from/file\t/from/new name", "OK 0");
    client.expect("GET /from/file", "ERR 404 ");
    let _ = etag;
    assert_eq!(client.get("/from/new name"), b"content");
    client.expect("RENAME /from\t/to", "OK 0");
    assert_eq!(client.get("/to/new name"), b"content");
    client.expect("RENAME /to/new name\t/other", "OK 0");
    assert_eq!(client.get("/other"), b"content");
    client.expect("RENAME /none\t/other", "ERR 404 ");
    client.expect("RENAME /to\t/to/inside", "ERR 4");
    client.expect("RENAME /other\t/other", "OK 0");
    assert_eq!(client.get("/other"), b"content");
}

// covers: odd-names
fn names_may_hold_anything_but_control_bytes(setting: &Setting) {
    let server = setting.start();
    let mut client = server.client();
    let long = "n".repeat(255);
    let names = [" ", "a  b", "ä", "%41", "a=b", "...", ".hidden", "\\", "CON", "a:b", "\u{202E}txt", "🦀", &long];
    for name in names {
        client.put(&format!("/{name}"), name.as_bytes());
        assert_eq!(client.get(&format!("/{name}")), name.as_bytes(), "{name}");
        assert_eq!(fs::read(server.path(name)).expect("what you type is the name"), name.as_bytes());
    }
    let mut wanted: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    wanted.sort();
    let mut listed = list_all(&mut client, "/", "").0;
    listed.sort();
    assert_eq!(listed, wanted);
    let deep = "/d".repeat(50);
    client.put(&deep, b"deep");
    assert_eq!(client.get(&deep), b"deep");
}

/// Nothing is folded or normalised: what you type is the name.
// covers: names-differ-in-case
fn names_that_only_look_the_same_are_different(setting: &Setting) {
    let server = setting.start();
    let mut client = server.client();
    let twins = ["a", "A", "\u{e9}", "e\u{301}", "\u{fb01}", "fi", "\u{212a}", "K", "x", "x ", "x."];
    for (n, name) in (0..).zip(twins) {
        client.put(&format!("/{name}"), &[n]);
    }
    for (n, name) in (0..).zip(twins) {
        assert_eq!(client.get(&format!("/{name}")), [n], "{name:?}");
    }
    for name in ["B", "b"] {
        assert!(client.try_put(&format!("if=absent /{name}"), b"x").starts_with("OK 0 "), "{name}");
    }
}
