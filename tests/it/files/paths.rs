//! Names that want to leave the root, and things that stand where a file is meant.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

use support::client::{Running, content, visible};

/// The store with every call it likes, and with those that every unix has.
fn servers() -> [Running; 2] {
    [Running::start(), Running::with(|builder| builder.portable(true))]
}

/// A directory outside of every root, with a secret.
fn outside() -> TempDir {
    let outside = TempDir::new().expect("a temporary folder");
    fs::write(outside.path().join("secret"), "secret").expect("a file");
    outside
}

fn assert_untouched(outside: &Path) {
    assert_eq!(visible(outside), ["secret"], "something was made outside of the root");
    assert_eq!(fs::read(outside.join("secret")).expect("still there"), b"secret", "changed outside of the root");
}

// covers: odd-names names-that-escape
#[test]
fn no_trick_of_a_path_is_accepted() {
    let server = Running::start();
    let mut client = server.client();
    let tricks = [
        "/..",
        "/../x",
        "/a/../x",
        "/a/..",
        "/./x",
        "/x/.",
        "//x",
        "/x//y",
        "/x/../../y",
        "/\0",
        "/a\0b",
        "/a\x01b",
        "/a\x7f",
        "/a\x1b[31m",
        "//",
        "/..\0",
    ];
    for path in tricks {
        // A connection is closed after some malformed requests in a row.
        client.expect("PING", "OK 0");
        for verb in ["GET", "STAT", "LIST", "DELETE", "MKDIR", "PUT 0", "PUT 3"] {
            let body = if verb == "PUT 3" { "abc" } else { "" };
            client.send(format!("{verb} {path}\n{body}"));
            let line = client.line();
            assert!(line.starts_with("ERR 400 "), "{verb} {path:?}: {line}");
        }
        client.expect(&format!("RENAME {path}\t/y"), "ERR 400 ");
        client.expect(&format!("RENAME /y\t{path}"), "ERR 400 ");
    }
    let long = format!("/{}", "n".repeat(256));
    client.expect(&format!("GET {long}"), "ERR 4");
    assert!(client.try_put(&long, b"abc").starts_with("ERR 400 "));
    client.send(b"GET /\xff\n");
    assert!(client.line().starts_with("ERR 400 "), "not UTF-8");
    drop(client);
    assert_eq!(visible(&server.path("")), Vec::<String>::new());
}

// covers: reserved-name own-files
#[test]
fn the_staging_directory_cannot_be_named() {
    let server = Running::start();
    let mut client = server.client();
    for path in ["/.filewharf", "/.filewharf/", "/.filewharf/staging", "/.filewharf/x"] {
        for verb in ["GET", "STAT", "LIST", "DELETE", "MKDIR"] {
            client.expect(&format!("{verb} {path}"), "ERR 403 ");
        }
        client.expect(&format!("RENAME {path}\t/y"), "ERR 403 ");
        client.expect(&format!("RENAME /y\t{path}"), "ERR 403 ");
    }
    assert!(client.try_put("/.filewharf/x", b"x").starts_with("ERR 403 "));
    assert!(client.try_put("/.filewharf", b"x").starts_with("ERR 403 "));
}

// covers: symbolic-links
#[test]
fn a_link_never_leads_out_of_the_root() {
    for server in servers() {
        let outside = outside();
        symlink(outside.path(), server.path("out")).expect("a link");
        symlink(outside.path().join("secret"), server.path("leaf")).expect("a link");
        // Both directories stand side by side.
        let aside = Path::new("..").join(outside.path().file_name().expect("a name"));
        symlink(&aside, server.path("aside")).expect("a link");
        symlink("/", server.path("slash")).expect("a link");
        symlink("/proc/self/cwd", server.path("magic")).expect("a link");
        let mut client = server.client();
        client.put("/own", b"own");
        for path in ["/leaf", "/out/secret", "/aside/secret", "/slash/etc/passwd", "/magic/Cargo.toml"] {
            for verb in ["GET", "STAT"] {
                client.expect(&format!("{verb} {path}"), "ERR 4");
            }
        }
        for request in [
            "LIST /out/",
            "LIST /aside/",
            "DELETE /aside/secret",
            "LIST /slash/",
            "MKDIR /out/new/",
            "DELETE /out/secret",
            "RENAME /out/secret\t/got",
        ] {
            client.expect(request, "ERR 4");
        }
        client.expect("RENAME /own\t/out/own", "ERR 4");
        for size in [3, 100_000] {
            for path in ["/out/new", "/out/secret", "/out/deep/new", "/aside/new", "/aside/deep/new"] {
                let line = client.try_put(path, &content(1, size));
                assert!(line.starts_with("ERR 4"), "{path}: {line}");
            }
        }
        assert_untouched(outside.path());
        assert_eq!(client.get("/own"), b"own");
        drop(client);
        server.wait_until_quiet();
    }
}

#[test]
fn a_link_where_a_file_is_to_be_put_is_never_followed() {
    for server in servers() {
        let outside = outside();
        let mut client = server.client();
        for size in [3, 100_000] {
            for (name, target) in [("leaf", "secret"), ("dangling", "not there")] {
                let _ = fs::remove_file(server.path(name));
                symlink(outside.path().join(target), server.path(name)).expect("a link");
                let bytes = content(2, size);
                let line = client.try_put(&format!("/{name}"), &bytes);
                assert_untouched(outside.path());
                let replaced = fs::symlink_metadata(server.path(name)).expect("something").is_file();
                assert_eq!(replaced, line.starts_with("OK "), "{name}: {line}");
                assert!(replaced || line.starts_with("ERR 4"), "{line}");
            }
        }
        // Removing or moving a link concerns the link.
        let _ = fs::remove_file(server.path("leaf"));
        symlink(outside.path().join("secret"), server.path("leaf")).expect("a link");
        client.ask("RENAME /leaf\t/moved");
        client.ask("DELETE /leaf");
        client.ask("DELETE /moved");
        assert_untouched(outside.path());
    }
}

/// Another name of a file that lies outside: it is replaced, and never written through.
// covers: hard-links
#[test]
fn a_hard_link_to_a_file_outside_is_replaced_and_the_file_is_left_alone() {
    for server in servers() {
        let outside = outside();
        let mut client = server.client();
        for size in [3, 100_000] {
            let _ = fs::remove_file(server.path("link"));
            fs::hard_link(outside.path().join("secret"), server.path("link")).expect("one file system");
            client.put("/link", &content(1, size));
            assert_untouched(outside.path());
            assert_eq!(client.get("/link"), content(1, size));
        }
        for request in ["DELETE /link", "RENAME /link\t/moved"] {
            let _ = fs::remove_file(server.path("link"));
            fs::hard_link(outside.path().join("secret"), server.path("link")).expect("one file system");
            client.expect(request, "OK 0");
            assert_untouched(outside.path());
        }
    }
}

// covers: special-files
#[test]
fn what_is_no_regular_file_is_not_served() {
    for server in servers() {
        mknodat(CWD, server.path("fifo"), FileType::Fifo, Mode::from_raw_mode(0o666), 0).expect("a fifo");
        std::os::unix::net::UnixListener::bind(server.path("socket")).expect("a socket");
        fs::create_dir(server.path("folder")).expect("a folder");
        let mut client = server.client();
        for name in ["/fifo", "/socket"] {
            client.expect(&format!("GET {name}"), "ERR 4");
            client.expect(&format!("LIST {name}/"), "ERR 4");
            client.expect(&format!("GET {name}/below"), "ERR 4");
        }
        for size in [3, 100_000] {
            assert!(client.try_put("/folder", &content(1, size)).starts_with("ERR 409 "));
            assert!(client.try_put("/fifo/below", &content(1, size)).starts_with("ERR 4"));
        }
        client.expect("PING", "OK 0");
        drop(client);
        server.assert_serves();
        server.wait_until_quiet();
    }
}
