//! Requests that are logged to a file: one that other programs rename, one that is full, one that cannot be had.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;

use super::{fails, logging, run, start};
use support::client::wait_until;

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn requests_are_logged_to_a_file_and_after_sigusr1_to_another_with_its_name() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(dir.path().join("log")).expect("a folder");
    let [file, old] = ["log/requests", "log/requests.1"].map(|name| dir.path().join(name));
    let name = file.to_str().expect("UTF-8");
    for (format, first, second) in [
        ("text", " put peer=127.0.0.1:", "method=HEAD status=200 agent=\"line\""),
        ("combined", "\"PUT /f HTTP/1.1\" 201 1", "\"HEAD /f HTTP/1.1\" 200 0"),
        ("json", "\"method\":\"PUT\"", "\"method\":\"HEAD\""),
    ] {
        let options = ["--quiet", "--log-format", format, "--log-file", name];
        let (program, log) = logging(&dir.path().join("root"), &options, Stdio::piped());
        let mut client = program.client();
        client.put("/f", b"x");
        wait_until("the first line", || text(&file).contains(first));
        fs::rename(&file, &old).expect("it is there");
        program.signal(Signal::USR1);
        wait_until("the other file", || file.exists());
        assert!(client.ask("STAT /f").starts_with("OK "));
        wait_until("the second line", || text(&file).contains(second));
        drop(client);
        program.end();
        let lines = [&old, &file].map(|file| text(file).lines().count());
        assert_eq!(lines, [1, 1], "{format}: {}", text(&file));
        assert_eq!(std::io::read_to_string(log.expect("a pipe")).expect("text"), "", "--quiet is of the rest");
        fs::remove_file(&file).expect("it is there");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_log_that_takes_nothing_stops_no_request_and_what_it_lacks_is_counted() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let pipe = dir.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).expect("a pipe");
    let name = pipe.to_str().expect("UTF-8");
    let without_reader = fails(&["serve", "--listen", "127.0.0.1:0", "--log-file", name, "files"], 1);
    assert!(without_reader.contains("cannot open the log file ") && without_reader.contains(name), "{without_reader}");
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let reader = OpenOptions::new().read(true).custom_flags(nonblocking).open(&pipe).expect("the pipe");
    let program = start(&dir.path().join("root"), &["--log-file", name]);
    let mut client = program.client();
    client.put("/f", b"x");
    let dropped = || {
        let mut client = program.client();
        client.send("GET /.filewharf/metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let said = client.last_words();
        let count = said.lines().find_map(|line| line.strip_prefix("filewharf_log_lines_dropped_total "));
        count.and_then(|count| count.parse::<u64>().ok()).expect("a metric")
    };
    wait_until("a pipe that is full", || {
        for _ in 0..100 {
            assert!(client.ask("STAT /f").starts_with("OK "));
        }
        dropped() > 0
    });
    drop((client, reader));
    program.end();
}

#[test]
fn a_log_that_cannot_be_had_is_named() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = dir.path().join("none/requests");
    let name = file.to_str().expect("UTF-8");
    let error = fails(&["serve", "--listen", "127.0.0.1:0", "--log-file", name, "files"], 1);
    assert_eq!(error, format!("filewharf: cannot open the log file {name}: No such file or directory (os error 2)\n"));
    let output = run(&["serve", "--log-format", "xml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(super::stderr(&output).contains("is none of text, combined and json"), "{}", super::stderr(&output));
}
