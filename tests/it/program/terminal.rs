//! What a command shows on a terminal, and not in a pipe.

use std::fs;
use std::io::Read as _;
use std::process::{Command, Stdio};

use support::client::{content, sha256, wait_until};

use super::{BINARY, run, run_well, start, stderr};

/// Runs a command with a terminal as standard error; returns what was shown there.
fn on_a_terminal(arguments: &[&str]) -> String {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("a terminal");
    let name = ptsname(&ours, Vec::new()).expect("a name").into_string().expect("ASCII");
    let theirs = fs::OpenOptions::new().read(true).write(true).open(name).expect("the other side");
    let size = rustix::termios::Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&theirs, size).expect("a size");
    let mut child = Command::new(BINARY)
        .args(arguments)
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(theirs)
        .spawn()
        .expect("the built binary can be run");
    let reader = std::thread::spawn(move || {
        let mut shown = Vec::new();
        // It fails when nothing has the other side open any more.
        let _ = fs::File::from(ours).read_to_end(&mut shown);
        String::from_utf8_lossy(&shown).into_owned()
    });
    wait_until("the command ends", || child.try_wait().expect("a child can be waited for").is_some());
    reader.join().expect("no panic")
}

#[test]
fn a_terminal_gets_one_summary_and_no_amount_before_it_is_known() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let bytes = content(1, 3 << 20);
    let served = dir.path().join("served");
    fs::create_dir(&served).expect("a folder");
    fs::write(served.join("big"), &bytes).expect("a file");
    let program = start(&served, &[]);
    let big = format!("{}/big", program.address());
    let copy = dir.path().join("copy").to_string_lossy().into_owned();
    fs::write(format!("{copy}.part"), &bytes[..2 << 20]).expect("a part");
    let server_says = run_well(&["ls", &big]);
    assert!(!server_says.is_empty());
    let etag = program.client().ask("STAT /big").split("etag=").nth(1).expect("a version").to_owned();
    let record = format!("{etag} {}\n{} {}\n", bytes.len(), 2 << 20, sha256(&bytes[..2 << 20]));
    fs::write(format!("{copy}.part.etag"), record).expect("a record");
    let shown = on_a_terminal(&["get", &big, &copy]);
    assert!(!shown.contains("0 B/0 B"), "{shown:?}");
    assert_eq!(shown.matches("1 file, 3.00 MiB").count(), 1, "{shown:?}");
    assert!(shown.contains("2.00 MiB of them kept from before"), "{shown:?}");
    let target = format!("{}/in/", program.address());
    let shown = on_a_terminal(&["put", &copy, &copy, &target]);
    assert_eq!(shown.matches("2 files, 6.00 MiB").count(), 1, "{shown:?}");
    assert_eq!(on_a_terminal(&["put", "--quiet", &copy, &target]), "");
    assert_eq!(stderr(&run(&["put", &copy, &target])), "", "a pipe is shown nothing");
    program.end();
}
