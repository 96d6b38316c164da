//! The web page of a directory in a real browser: `tests/page/browser.py` drives it, against a server
//! that may be written to and one that may not, in the same directory; `tests/page/sharing.py` the signed links of one,
//! `tests/page/managing.py` directories, selections and drop boxes, `tests/page/accessible.py` whether people can use it
//! in every state, and its forms without a script.
//!
//! Pictures of the page are left in `target/page`, for people to look at.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use support::process;
use support::server::Program;

use crate::access::{TOKEN, entries};
use crate::clients::resumable::{installed, npm};
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
    let temporary = process::dir(env!("CARGO_TARGET_TMPDIR"));
    let dir = temporary.path().join("files");
    let (_writable, writable) = serve(&dir, &["--max-size", "32M", "--upload-sync", "1M"]);
    // The one that is read asks for a secret, which a browser takes from the address.
    let secret = temporary.path().join("secret");
    fs::write(&secret, "open sesame").expect("a file can be made");
    let (_read_only, read_only) = serve(&dir, &["--read-only", "--token-file", &secret.to_string_lossy()]);
    let read_only = read_only.replacen("://", "://somebody:open%20sesame@", 1);
    let words = [&*writable, &read_only, &dir.to_string_lossy()];
    run("browser.py", &words);
}

#[test]
#[ignore = "needs chromium, chromedriver and python3"]
fn the_page_manages_directories_and_is_a_drop_box_where_only_uploads_are_permitted() {
    let temporary = process::dir(env!("CARGO_TARGET_TMPDIR"));
    let [dir, other, file] = ["files", "other", "access"].map(|name| temporary.path().join(name));
    fs::write(&file, entries(&["anna"], "allow @ c /drop/\n")).expect("a file can be made");
    fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("a mode can be set");
    // As behind a proxy that passes the whole path on.
    let (_writable, writable) = serve(&dir, &["--upload-sync", "1M", "--path-prefix", "/our/files"]);
    let writable = writable + "our/files/";
    let (_read_only, read_only) = serve(&dir, &["--read-only"]);
    let (_guarded, guarded) = serve(&other, &["--access", &file.to_string_lossy()]);
    let inbox = format!("{guarded}drop/");
    run("managing.py", &[&writable, &read_only, &inbox, &dir.to_string_lossy(), &other.to_string_lossy()]);
}

#[test]
#[ignore = "needs chromium, chromedriver, python3, npm and a registry"]
fn axe_finds_nothing_in_any_state_of_the_page_and_forms_are_sent_without_a_script() {
    let axe = installed("axe-core", &["axe-core@4.10.3"], npm).join("node_modules/axe-core/axe.min.js");
    let temporary = process::dir(env!("CARGO_TARGET_TMPDIR"));
    let [dir, other, file] = ["files", "other", "access"].map(|name| temporary.path().join(name));
    fs::write(&file, "allow @ c /drop/\n").expect("a file can be made");
    fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("a mode can be set");
    let (_writable, writable) = serve(&dir, &[]);
    let (_read_only, read_only) = serve(&dir, &["--read-only"]);
    let (_guarded, guarded) = serve(&other, &["--access", &file.to_string_lossy()]);
    let [dir, other, axe] = [&dir, &other, &axe].map(|path| path.to_string_lossy().into_owned());
    run("accessible.py", &[&writable, &read_only, &format!("{guarded}drop/"), &dir, &other, &axe]);
}

#[test]
#[ignore = "needs chromium, chromedriver and python3"]
fn the_page_makes_links_and_a_link_leads_to_all_that_it_is_for() {
    let temporary = process::dir(env!("CARGO_TARGET_TMPDIR"));
    let (dir, file) = (temporary.path().join("files"), temporary.path().join("access"));
    let allows = "key k base64:AAAAAAAAAAAAAAAAAAAAAA==\nallow anna rlcw /home/\nallow bob l /home/\n\
        allow @ rl /home/public/\n";
    fs::write(&file, entries(&["anna", "bob"], allows)).expect("a file can be made");
    fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("a mode can be set");
    let file = file.to_string_lossy();
    let (_server, page) = serve(&dir, &["--access", &file]);
    let login = |name: &str| page.replacen("://", &format!("://{name}:{name}{TOKEN}@"), 1) + "home/";
    let signed =
        program::run(&["sign", "--access", &file, "--key", "k", "--rights", "rlcw", "--expires", "1h", "/home/inbox/"]);
    let inbox = page.trim_end_matches('/').to_owned() + String::from_utf8_lossy(&signed.stdout).trim();
    let public = format!("{page}home/public/");
    run("sharing.py", &[&login("anna"), &login("bob"), &public, &inbox, &dir.to_string_lossy()]);
}

/// Runs a script of `tests/page` with these words, and after them the directory for pictures.
fn run(script: &str, words: &[&str]) {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page");
    let mut command = Command::new("python3");
    command.arg(scripts.join(script)).args(words);
    command.arg(Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("page"));
    // The script ends the browser when its standard input closes.
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
