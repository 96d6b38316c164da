//! Names that no protocol can carry are not listed: every form of listing tells how many there are, so that no listing
//! looks complete that is not.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;

use support::client::{Running, value};

/// A directory with two of them and one file, and one in which nothing else is.
fn served() -> Running {
    let server = Running::start();
    for dir in ["mixed", "odd"] {
        fs::create_dir(server.path(dir)).expect("a folder");
        fs::write(server.path(dir).join(OsStr::from_bytes(b"caf\xe9.txt")), "x").expect("a file");
    }
    fs::create_dir(server.path("mixed").join("two\nlines")).expect("a folder");
    fs::write(server.path("mixed/file"), "x").expect("a file");
    fs::create_dir(server.path("plain")).expect("a folder");
    fs::write(server.path("plain/file"), "x").expect("a file");
    server
}

fn http(server: &Running, request: &str, accept: &str) -> String {
    let mut client = server.client();
    client.send(format!("{request} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"));
    client.last_words()
}

#[test]
fn every_form_of_listing_tells_how_many_names_it_leaves_out() {
    let server = served();
    let mut client = server.client();
    for (dir, unlisted) in [("mixed", Some("2")), ("odd", Some("1")), ("plain", None)] {
        let (line, _) = client.fetch(&format!("LIST limit=1 /{dir}/"));
        assert_eq!(value(&line, "unlisted").as_deref(), unlisted, "{line}");
        let sum = client.ask(&format!("LIST sum=1 /{dir}/"));
        assert_eq!(value(&sum, "unlisted").as_deref(), unlisted, "{sum}");
        for accept in ["application/json", "application/x-ndjson", "text/html", "*/*"] {
            let said = http(&server, &format!("GET /{dir}/"), accept);
            assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
            let header = unlisted.map(|count| format!("\r\nUnlisted-Names: {count}\r\n"));
            assert_eq!(
                header.is_some_and(|header| said.contains(&header)),
                unlisted.is_some(),
                "{dir} {accept} {said}"
            );
            let is_told =
                said.contains(if unlisted == Some("1") { "1 name is not listed" } else { "2 names are not listed" });
            assert_eq!(
                is_told,
                unlisted.is_some() && accept.contains("*/*") | accept.contains("html"),
                "{accept} {said}"
            );
        }
    }
}

#[test]
fn a_folder_that_only_seems_empty_is_not_removed_and_the_reason_is_said() {
    let server = served();
    server.client().expect("DELETE /odd/", "ERR 409 the folder is not empty: it holds only what is not listed");
    server.client().expect("DELETE /plain/", "ERR 409 the folder is not empty:");
    let said = http(&server, "DELETE /odd/", "*/*\r\nDepth: 0");
    assert!(said.starts_with("HTTP/1.1 409 ") && said.contains("it holds only what is not listed"), "{said}");
}

#[test]
fn ls_and_a_recursive_get_fail_and_name_the_folder_with_the_incomplete_listing() {
    let server = served();
    let dest = tempfile::tempdir().expect("a temporary folder");
    let run = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_filewharf")).args(words).current_dir(dest.path()).output();
        let output = output.expect("the program runs");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let at = |path: &str| format!("{}{path}", server.address());
    for (words, path, is_whole) in [
        (&["ls"][..], "/mixed/", false),
        (&["ls"], "/plain/", true),
        (&["get", "--recursive"], "/mixed/", false),
        (&["get", "--recursive"], "/plain/", true),
        (&["get", "--recursive"], "/", false),
    ] {
        let remote = at(path);
        let (code, said) = run(&[words, &[&remote]].concat());
        assert_eq!(code, Some(i32::from(!is_whole)), "{words:?} {path} {said}");
        let is_named = said.contains("/mixed/") && said.contains("2 names in this folder are not listed");
        assert_eq!(is_named, !is_whole, "{words:?} {path} {said}");
    }
    assert!(dest.path().join("mixed/file").exists() && dest.path().join("plain/file").exists());
}
