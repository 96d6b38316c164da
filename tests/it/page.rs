//! The web page of a directory in a real browser: `tests/page/browser.py` drives it, against a server
//! that may be written to and one that may not, in the same directory.
//!
//! Pictures of the page are left in `target/page`, for people to look at.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use support::process;

/// The whole script; each wait within it has its own, shorter end.
const PATIENCE: Duration = Duration::from_secs(900);

/// A process that is killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server of the directory, and the address of its page.
fn serve(dir: &Path, flags: &[&str]) -> (Running, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_filewharf"));
    command.arg("serve").arg(dir).args(["--listen", "http@127.0.0.1:0"]).args(flags);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the built binary can be run");
    let mut server = Running(child);
    let mut line = String::new();
    let stdout = server.0.stdout.take().expect("a pipe");
    BufReader::new(stdout).read_line(&mut line).expect("a line for the listener");
    let address =
        line.strip_prefix("listening on ").and_then(|rest| rest.split(' ').next()).expect("listening on ADDR");
    (server, format!("http://{address}/"))
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
