//! The web page of a directory in a real browser: `tests/page/browser.py` drives it, against a server
//! that may be written to and one that may not, in the same directory.
//!
//! Pictures of the page are left in `target/page`, for people to look at.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use support::process;
use support::server::Program;

use crate::program;

/// The whole script; each wait within it has its own, shorter end.
const PATIENCE: Duration = Duration::from_secs(900);

/// A server of the directory, and the address of its page.
fn serve(dir: &Path, flags: &[&str]) -> (Program, String) {
    let server = program::start(dir, &[&["--listen", "http@127.0.0.1:0"], flags].concat());
    let page = format!("http://{}/", server.address());
    (server, page)
}

#[test]
#[ignore = "needs chromium, chromedriver and python3"]
fn the_page_of_a_directory_does_in_a_browser_what_it_offers() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let temporary = process::dir(env!("CARGO_TARGET_TMPDIR"));
    let dir = temporary.path().join("files");
    let (_writable, writable) = serve(&dir, &["--max-size", "32M", "--upload-sync", "1M"]);
    // The one that is read asks for a secret, which a browser takes from the address.
    let secret = temporary.path().join("secret");
    fs::write(&secret, "open sesame").expect("a file can be made");
    let (_read_only, read_only) = serve(&dir, &["--read-only", "--token-file", &secret.to_string_lossy()]);
    let read_only = read_only.replacen("://", "://somebody:open%20sesame@", 1);
    let mut command = Command::new("python3");
    command.arg(root.join("tests/page/browser.py")).args([&writable, &read_only]).arg(&dir);
    command.arg(Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("page"));
    // The script ends the browser when it is told to end; a pipe that closes tells it.
    let mut script = command.stdin(Stdio::piped()).spawn().expect("python3 can be run");
    let told = script.stdin.take().expect("a pipe");
    let (ended, end) = mpsc::channel();
    let waiting = thread::spawn(move || ended.send(script.wait().expect("it can be waited for")));
    let status = end.recv_timeout(PATIENCE);
    drop(told);
    let _ = waiting.join();
    let status = status.expect("the script ends in time");
    assert!(status.success(), "{status}");
}
