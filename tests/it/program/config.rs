//! Flags in a file and in the environment: what a server makes of them, and what `check` says about them.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;

use super::{fails, logging, run_in, run_well, stderr};

#[test]
fn a_server_serves_what_the_file_says_and_check_shows_it() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let (file, root) = (path("conf"), path("served"));
    fs::write(&file, "slots 7\nmax-size 1KiB # small\nlisten http@127.0.0.1:0\n").expect("a file");
    let (mut program, log) = logging(Path::new(&root), &["--config", &file, "--slots", "9"], Stdio::piped());
    let line = program.client().try_put("/f", &[b'x'; 1025]);
    assert!(line.starts_with("ERR 413 "), "{line}");
    program.signal(Signal::TERM);
    assert_eq!(program.wait(), Some(0));
    let mut told = String::new();
    log.expect("a pipe").read_to_string(&mut told).expect("text");
    assert!(told.contains("9 slots of "), "{told}");

    let output = run_in(&[("FILEWHARF_CHUNKS", "3"), ("FILEWHARF_X", "")], &["check", "--config", &file, &root]);
    let (shown, warned) = (String::from_utf8(output.stdout.clone()).expect("UTF-8"), stderr(&output));
    for line in [
        &format!("config\t{file}\tflag"),
        &format!("root\t{root}\tflag"),
        &format!("listen\thttp@127.0.0.1:0\t{file}:3"),
        &format!("slots\t7\t{file}:1"),
        "chunks\t3\tFILEWHARF_CHUNKS",
        "read-only\toff\tdefault",
        "sandbox\tauto\tdefault",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
    }
    let last = shown.lines().last().unwrap_or_default();
    assert!(last.starts_with("memory: at most ") && last.contains("7 slots of "), "{shown}");
    assert_eq!(warned, "filewharf: the unknown variable FILEWHARF_X is ignored\n");
}

#[test]
fn a_mistake_in_the_file_ends_serve_and_check_with_two_and_names_its_line() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = dir.path().join("conf").to_string_lossy().into_owned();
    fs::write(&file, "\nmax-sise 1G\n").expect("a file");
    for command in ["serve", "check"] {
        let told = fails(&[command, "--config", &file], 2);
        assert_eq!(told, format!("{file}:2: unknown flag 'max-sise', the nearest is 'max-size'\n"));
    }
}

#[test]
fn check_finds_what_a_server_would_only_find_as_it_starts_and_changes_nothing() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let (file, root) = (path("conf"), path("served"));
    let (access, own) = (path("access"), path("tls"));
    fs::write(&access, "allow\n").expect("a file");
    let tls = format!("listen 127.0.0.1:0?tls\ntls-self-signed {own}\n");
    for (text, wanted) in [
        (format!("access {access}\n"), &*access),
        (format!("token-file {access}.none\n"), "access.none"),
        (format!("root {root}/no/such\n"), "cannot serve"),
        ("listen 127.0.0.1:0?tls\ntls-cert none\ntls-key none\n".to_owned(), "none"),
        ("slots 18446744073709551615\n".to_owned(), "memory"),
    ] {
        let text = if text.starts_with("root") { text } else { format!("root {root}\n{text}") };
        fs::write(&file, &text).expect("a file");
        let told = fails(&["check", "--config", &file], 1);
        assert!(told.contains(wanted) && told.lines().count() == 1, "{text}: {told}");
    }
    fs::write(&file, format!("root {root}\n{tls}")).expect("a file");
    run_well(&["check", "--config", &file]);
    let left: Vec<_> =
        fs::read_dir(dir.path()).expect("a folder").map(|entry| entry.expect("one").file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}
