//! Flags in a file and in the environment: what a server makes of them, and what `check` says about them.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};

use rustix::process::Signal;
use support::client::{PATIENCE, assert_same, content};

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

/// The lines of a log as they come.
fn lines_of(log: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (told, lines) = channel();
    std::thread::spawn(move || BufReader::new(log).lines().map_while(Result::ok).try_for_each(|line| told.send(line)));
    lines
}

/// Those up to one that has this in it.
#[track_caller]
fn until(lines: &Receiver<String>, end: &str) -> String {
    let mut all = String::new();
    while !all.contains(end) {
        all.push_str(&lines.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{end}: {error}: {all}")));
        all.push('\n');
    }
    all
}

#[test]
fn a_hangup_reads_the_file_again_for_what_is_under_way_and_names_what_needs_a_restart() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let (root, file) = (path("served"), path("etc/conf"));
    fs::create_dir_all(path("etc")).expect("a folder");
    fs::create_dir_all(&root).expect("a folder");
    let bytes = content(1, 8 << 20);
    fs::write(path("served/large"), &bytes).expect("a file");
    // It would take an hour.
    fs::write(&file, "max-size 10\nclient-download-rate 2K\n").expect("a file");
    let (program, log) = logging(Path::new(&root), &["--config", &file], Stdio::piped());
    let lines = lines_of(log.expect("a pipe"));
    let (mut client, mut large) = (program.client(), program.client());
    assert!(client.try_put("/f", &[b'x'; 10]).starts_with("OK "));
    large.send("GET /large\n");
    assert!(large.line().starts_with("OK "));

    // As an editor does: another file takes the name.
    fs::write(path("etc/new"), "max-size 5\nslots 600\nverbose\n").expect("a file");
    fs::rename(path("etc/new"), &file).expect("the name is replaced");
    program.signal(Signal::HUP);
    let told = until(&lines, " again");
    for wanted in [
        format!("{file}:2: slots 600 needs a restart, 512 stays in effect"),
        "client-download-rate 0 instead of 2K".to_owned(),
        "max-size 5 instead of 10".to_owned(),
        "verbose on instead of off".to_owned(),
    ] {
        assert!(told.contains(&wanted), "{wanted}: {told}");
    }
    assert_same(&large.bytes(bytes.len()), &bytes, "what began with a rate");
    assert!(client.try_put("/f", &[b'x'; 6]).starts_with("ERR 413 "));

    fs::write(&file, "max-size 100\nmax-sise 1\n").expect("a file");
    program.signal(Signal::HUP);
    let told = until(&lines, "stays in effect");
    assert!(told.contains(&format!("{file}:2: unknown flag 'max-sise', the nearest is 'max-size'")), "{told}");
    assert!(client.try_put("/f", &[b'x'; 6]).starts_with("ERR 413 "));
    assert!(client.try_put("/f", &[b'x'; 5]).starts_with("OK "));
    drop((client, large));
    drop(lines);
    program.end();
}

#[test]
fn a_mistake_in_one_of_the_files_keeps_what_all_of_them_said() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let (file, access) = (path("conf"), path("access"));
    let write = |size: u32, rules: &str| {
        fs::write(&file, format!("max-size {size}\naccess {access}\n")).expect("a file");
        fs::write(&access, rules).expect("a file");
        fs::set_permissions(&access, fs::Permissions::from_mode(0o600)).expect("a mode");
    };
    write(10, "allow @ cw /\n");
    let (program, log) = logging(&dir.path().join("served"), &["--config", &file], Stdio::piped());
    let lines = lines_of(log.expect("a pipe"));
    let mut client = program.client();
    write(100, "allow\n");
    program.signal(Signal::HUP);
    let told = until(&lines, "stays in effect");
    assert!(told.contains(&format!("{access}:1: write: allow")), "{told}");
    assert!(client.try_put("/f", &[b'x'; 11]).starts_with("ERR 413 "));
    write(100, "allow @ rl /\n");
    program.signal(Signal::HUP);
    until(&lines, &format!("read {access} again"));
    assert!(client.try_put("/f", b"x").starts_with("ERR 403 ") || client.try_put("/f", b"x").starts_with("ERR 401 "));
    drop((client, lines));
    program.end();
}
