//! The built binary: what it prints, how it exits, and its client against its server.

#[cfg(feature = "admin")]
mod admin;
mod config;
#[cfg(target_os = "linux")]
mod handover;
#[cfg(feature = "access-log")]
mod log_file;
mod process;
mod sandbox;
mod share;
mod signals;
mod sync;
#[cfg(target_os = "linux")]
mod systemd;
#[cfg(target_os = "linux")]
mod terminal;
mod unix_sockets;

use std::fs;
use std::io::Read as _;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{ChildStderr, Output, Stdio};
use std::sync::mpsc::channel;

use rustix::process::{Pid, Signal, kill_process};

use support::client::{Client, PATIENCE, assert_same, content, sha256};
use support::server::{Program, without_settings};

pub const BINARY: &str = env!("CARGO_BIN_EXE_filewharf");

/// A server without a log.
pub fn start(root: &Path, options: &[&str]) -> Program {
    Program::try_start(&[], BINARY, root, options, Stdio::null()).expect("the server starts")
}

/// On an address that must be free.
pub fn at(root: &Path, address: SocketAddr) -> Program {
    start(root, &["--listen", &address.to_string()])
}

/// With a log, and its other end if it is a pipe.
pub fn logging(root: &Path, options: &[&str], log: Stdio) -> (Program, Option<ChildStderr>) {
    let mut program = Program::try_start(&[], BINARY, root, options, log).expect("the server starts");
    let log = program.take_log();
    (program, log)
}

/// In a shell that runs a command first.
pub fn run_by_shell(root: &Path, first: &str) -> Program {
    run_by_shell_logging(root, first, Stdio::null())
}

/// The same, with its log there.
pub fn run_by_shell_logging(root: &Path, first: &str, log: Stdio) -> Program {
    try_by_shell(root, first, &[], log).expect("the server starts")
}

/// The same with options, which may prevent the start.
pub fn try_by_shell(root: &Path, first: &str, options: &[&str], log: Stdio) -> Result<Program, String> {
    let shell = ["sh", "-c", &format!("{first} && exec \"$0\" \"$@\"")];
    Program::try_start(&shell, BINARY, root, options, log)
}

/// A server with this listener as the first that systemd hands over. The shell gets it in place of its messages: it knows
/// numbers of one digit, and no other program that starts meanwhile must hold it open.
pub fn try_with_listener(listener: &impl AsFd, root: &Path, options: &[&str]) -> Result<Program, String> {
    let listener = listener.as_fd().try_clone_to_owned().expect("another descriptor");
    let first = "exec 3<&2 2>/dev/null && export LISTEN_FDS=1 LISTEN_PID=$$";
    try_by_shell(root, first, options, Stdio::from(listener))
}

/// Runs the binary to its end, which must come.
pub fn run(arguments: &[&str]) -> Output {
    run_in(&[], arguments)
}

/// With these variables in its environment besides.
pub fn run_in(environment: &[(&str, &str)], arguments: &[&str]) -> Output {
    let child = without_settings(BINARY)
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the built binary can be run");
    let pid = Pid::from_child(&child);
    let (done, ended) = channel();
    std::thread::spawn(move || done.send(child.wait_with_output()));
    match ended.recv_timeout(PATIENCE) {
        Ok(output) => output.expect("output"),
        Err(error) => {
            let _ = kill_process(pid, Signal::KILL);
            panic!("{arguments:?} never ended: {error}");
        }
    }
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
pub fn run_well(arguments: &[&str]) -> Vec<u8> {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
    output.stdout
}

#[track_caller]
fn fails(arguments: &[&str], code: i32) -> String {
    let output = run(arguments);
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
    assert_eq!(output.stdout, b"", "{arguments:?}");
    error
}

#[test]
fn the_server_prints_where_it_listens_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let options = ["--listen", "127.0.0.1:0", "--listen", "line@127.0.0.1:0", "--verbose"];
    let program = start(dir.path(), &options);
    program.client().put("/file", b"content");
    let [first, second] = program.addresses[..] else { panic!("{}", program.said) };
    assert_eq!(program.said, format!("listening on {first} (auto)\nlistening on {second} (line)\n"));
    assert!([first, second].iter().all(|address| address.ip().is_loopback() && address.port() > 0));
    program.end();
}

#[test]
#[cfg(target_os = "linux")]
fn the_threads_of_a_server_share_their_free_memory() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let program = start(dir.path(), &[]);
    program.client().put("/file", b"content");
    // glibc reserves 64 MiB for each heap but the first; what is not in use of it can be neither read nor written.
    let is_heap = |line: &&str| {
        let mut ends = line
            .split_once(' ')
            .filter(|(_, rest)| rest.starts_with("---p"))
            .into_iter()
            .flat_map(|(range, _)| range.split('-'));
        let mut next = || ends.next().and_then(|end| u64::from_str_radix(end, 16).ok()).unwrap_or(0);
        let start = next();
        next().saturating_sub(start) > 48 << 20
    };
    let maps = fs::read_to_string(format!("/proc/{}/maps", program.pid())).expect("the process lives");
    let heaps: Vec<_> = maps.lines().filter(is_heap).collect();
    assert!(heaps.len() <= 1, "{heaps:#?}");
    program.end();
}

// covers: cannot-start
#[test]
fn a_port_in_use_is_named_and_the_exit_code_is_one() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let program = start(dir.path(), &[]);
    let address = program.address().to_string();
    let root = dir.path().join("other");
    let error = fails(&["serve", &root.to_string_lossy(), "--quiet", "--listen", &address], 1);
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.contains(&address), "{error}");
    program.end();
}

// covers: cannot-start
#[test]
fn a_root_that_is_a_file_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = dir.path().join("file");
    fs::write(&file, "").expect("a file");
    let error = fails(&["serve", &file.to_string_lossy(), "--quiet", "--listen", "127.0.0.1:0"], 1);
    assert!(error.lines().count() == 1 && error.contains("file"), "{error}");
}

// covers: wrong-options
#[test]
fn wrong_usage_exits_with_two() {
    for arguments in [
        &["serve", "--no-such-flag"][..],
        &["serve", "--listen", "nonsense"],
        &["serve", "--max-size", "-1"],
        &["steal"],
        &["put"],
        &[],
    ] {
        let error = fails(arguments, 2);
        assert!(!error.is_empty(), "{arguments:?}");
    }
    for arguments in [&["--help"][..], &["serve", "--help"], &["put", "--help"], &["get", "--help"], &["--version"]] {
        assert!(!run_well(arguments).is_empty());
    }
}

#[test]
fn directories_survive_a_round_trip() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let source = dir.path().join("source");
    let mut files = Vec::new();
    for n in 0..50_usize {
        let name = format!("{}/file {n}", ["a", "a/b", "c é"][n % 3]);
        let bytes = content(n as u64, n * n * 20);
        fs::create_dir_all(source.join(&name).parent().expect("a parent")).expect("a folder");
        fs::write(source.join(&name), &bytes).expect("a file");
        files.push((name, bytes));
    }
    let program = start(&dir.path().join("served"), &[]);
    let address = program.address();
    run_well(&["put", "--recursive", &source.to_string_lossy(), &format!("{address}/in/")]);
    let listed = String::from_utf8(run_well(&["ls", &format!("{address}/in/source/")])).expect("UTF-8");
    assert!(listed.contains("a/") && listed.contains("c é/"), "{listed}");
    let back = dir.path().join("back");
    fs::create_dir(&back).expect("a folder");
    run_well(&["get", "--recursive", &format!("{address}/in/source"), &back.to_string_lossy()]);
    for (name, bytes) in &files {
        let path = [back.join("source").join(name), back.join(name)].into_iter().find(|path| path.exists());
        assert_same(&fs::read(path.expect(name)).expect("a file"), bytes, name);
    }
    program.end();
}

#[test]
fn a_large_file_survives_a_round_trip_and_is_removed() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let secret = dir.path().join("secret");
    fs::write(&secret, "open sesame\n").expect("a file");
    let secret = secret.to_string_lossy().into_owned();
    let program = start(&dir.path().join("served"), &["--token-file", &secret]);
    let url = format!("{}/big file", program.address());
    let (from, to) = (dir.path().join("big file"), dir.path().join("copy"));
    let bytes = content(1, 5 << 20);
    fs::write(&from, &bytes).expect("a file");
    let (from, to) = (from.to_string_lossy().into_owned(), to.to_string_lossy().into_owned());
    let server = program.address().to_string();
    fails(&["put", &from, &server], 1);
    run_well(&["put", "--token-file", &secret, &from, &server]);
    run_well(&["get", "--token-file", &secret, &url, &to]);
    assert_eq!(sha256(&fs::read(&to).expect("a file")), sha256(&bytes));
    run_well(&["rm", "--token-file", &secret, &url]);
    fails(&["get", "--token-file", &secret, &url, &to], 1);
    fails(&["rm", "--token-file", &secret, &url], 1);
    program.end();
}

#[test]
fn an_unreachable_server_is_a_failure() {
    let program = start(tempfile::tempdir().expect("a temporary folder").path(), &[]);
    let address = program.address().to_string();
    program.end();
    fails(&["get", "--retry-for", "0", &format!("{address}/file"), "-"], 1);
}

// covers: no-threads
#[test]
#[cfg(target_os = "linux")]
fn the_server_is_at_most_twelve_threads() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let program = start(dir.path(), &[]);
    let bytes = content(1, 200_000);
    let mut clients: Vec<Client> = (0..20).map(|_| program.client()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.put(&format!("/file {n}"), &bytes);
    }
    let threads = fs::read_dir(format!("/proc/{}/task", program.pid())).expect("proc").count();
    assert!(threads <= 12, "{threads}");
    drop(clients);
    program.end();
}

#[test]
fn wrong_usage_of_serve_names_the_right_flag() {
    for (arguments, wanted) in [
        (&["--port", "8080"][..], &["--listen 127.0.0.1:PORT"][..]),
        (&["--host", "0.0.0.0"], &["--listen ADDR:PORT"]),
        (&["--listen", ":22001"], &["127.0.0.1:22001", "0.0.0.0:22001", "[::]:22001"]),
        (&["--listen", "*:22001"], &["127.0.0.1:22001", "0.0.0.0:22001", "[::]:22001"]),
        (&["--listen", "127.0.0.1:99999"], &["port 99999", "65535"]),
        (&["--listen", "8080"], &["127.0.0.1:8080"]),
        (&["--max-connections", "0"], &["'--max-connections <N>'", "at least 1"]),
        (&["--chunk-size", "0"], &["'--chunk-size <BYTES>'", "at least 1"]),
        (&["--chunks", "129"], &["'--chunks <N>'", "at most 128"]),
        (&["--max-head", "1"], &["'--max-head <BYTES>'", "at least 4096"]),
        (&["--turn-bytes", "0"], &["'--turn-bytes <BYTES>'", "at least 1"]),
        (&["--max-size", "1GX"], &["'--max-size <BYTES>'", "1G", "powers of 1024"]),
        (&["--tls-cert", "c", "--tls-key", "k"], &["'--tls-cert'", "--listen '127.0.0.1:7070?tls'"]),
        (&["--tls-self-signed", "d", "--listen", "http@[::1]:0"], &["--listen 'http@[::1]:0?tls'"]),
        (&["--tls-self-signed", "d", "--listen", "127.0.0.1:0?cors=*"], &["--listen '127.0.0.1:0?cors=*&tls'"]),
        (&["--tls-client-ca", "c", "--legacy"], &["'--tls-client-ca'", "--listen '127.0.0.1:7070?tls'"]),
        (&["--tls-cert", "c", "--listen", "127.0.0.1:0?tls"], &["'--tls-key'"]),
        (&["--tls-key", "k", "--listen", "127.0.0.1:0?tls"], &["'--tls-cert'"]),
        (&["--tls-cert", "c", "--tls-key", "k", "--tls-self-signed", "d"], &["'--tls-self-signed' cannot"]),
        (&["--tls-name", "a.example", "--listen", "127.0.0.1:0?tls"], &["'--tls-name' needs '--tls-self-signed'"]),
        (&["--tls-name", "https://a.example"], &["'--tls-name <NAME>'", "name of a host"]),
        (&["--listen", "127.0.0.1:0?tls"], &["--tls-cert FILE --tls-key FILE", "--tls-self-signed FOLDER"]),
    ] {
        let error = fails(&[&["serve"], arguments].concat(), 2);
        for words in wanted {
            assert!(error.contains(words), "{arguments:?}: {words} is missing in {error}");
        }
        assert!(!error.contains("--cors"), "{error}");
    }
}

#[test]
fn an_unusable_root_is_reported_with_a_remedy() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    fs::write(at("file"), "").expect("a file");
    for (root, wanted) in [
        (at("file"), &["file", "is not a folder"][..]),
        (at("file/below"), &["file", "is not a folder"]),
        (at("no/such"), &["no", "make it first"]),
        #[cfg(target_os = "linux")]
        ("/proc".to_owned(), &["/proc", "--read-only"]),
    ] {
        let error = fails(&["serve", &root, "--quiet", "--listen", "127.0.0.1:0"], 1);
        assert_eq!(error.lines().count(), 1, "{error}");
        for words in wanted {
            assert!(error.contains(words), "{root}: {words} is missing in {error}");
        }
    }
    assert!(!Path::new(&at("no")).exists(), "only one level is made");
    start(Path::new(&at("one")), &[]).end();
}

#[test]
fn help_has_defaults_and_no_flag_without_effect() {
    let help = |command: &str| String::from_utf8(run_well(&[command, "--help"])).expect("UTF-8");
    let serve = String::from_utf8(run_well(&["serve", "--help=all"])).expect("UTF-8");
    for default in ["[default: 10000]", "[default: 1T]", "[default: 64K]", "[default: 60]"] {
        assert!(serve.contains(default), "{default} is missing in {serve}");
    }
    for command in ["ls", "rm"] {
        let help = help(command);
        for flag in ["--parallel", "--quiet"] {
            assert!(!help.contains(flag), "{command} has no use for {flag}: {help}");
        }
    }
    assert!(help("put").contains("--parallel") && help("get").contains("--quiet"));
}

#[test]
fn an_invalid_secret_is_refused_and_a_readable_file_is_warned_about() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str, text: &str, mode: u32| {
        let path = dir.path().join(name);
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
        path.to_string_lossy().into_owned()
    };
    let root = dir.path().join("served").to_string_lossy().into_owned();
    for (secret, why) in
        [("x\n", "at least 4"), ("    \t  \n", "blank"), ("abc", "at least 4"), ("\nsecond", "first line")]
    {
        let weak = file("weak", secret, 0o600);
        let told = [
            fails(&["serve", &root, "--quiet", "--listen", "127.0.0.1:0", "--token-file", &weak], 1),
            fails(&["ls", "127.0.0.1:1", "--token-file", &weak], 2),
        ];
        assert!(told.iter().all(|told| told.contains(&weak) && told.contains(why)), "{secret:?}: {told:?}");
    }
    let (open, closed) = (file("open", "s3cret\n", 0o644), file("closed", "s3cret\n", 0o600));
    for (secret, warns) in [(&open, true), (&closed, false)] {
        let (mut program, log) = logging(Path::new(&root), &["--token-file", secret], Stdio::piped());
        let address = program.address().to_string();
        let told = stderr(&run(&["put", secret, &address, "--token-file", secret]));
        program.signal(Signal::TERM);
        let mut server = String::new();
        log.expect("a pipe").read_to_string(&mut server).expect("text");
        for told in [told, server] {
            assert_eq!(told.contains(&format!("chmod 600 {secret}")), warns, "{told}");
        }
        assert_eq!(program.wait(), Some(0));
    }
    assert_eq!(
        stderr(&run(&["get", "-q", "127.0.0.1:1/x", "--retry-for", "0", "--token-file", &open])).lines().count(),
        1
    );
}

#[test]
fn users_that_a_proxy_names_need_a_trusted_proxy_and_an_access_file() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let root = dir.path().to_string_lossy().into_owned();
    for (options, wanted) in [
        ("remote-user", "remote-user: needs trust=NETWORK"),
        ("trust=::1&remote-user", "remote-user: needs an access file"),
    ] {
        let out = run(&["serve", &root, "--listen", &format!("http@127.0.0.1:0?{options}")]);
        assert!(out.status.code().is_some_and(|code| code != 0) && stderr(&out).contains(wanted), "{out:?}");
    }
}

#[test]
fn a_missing_secret_is_reported_with_its_flag_and_a_wrong_one_as_wrong() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let [secret, wrong] = ["secret", "wrong"].map(|name| dir.path().join(name).to_string_lossy().into_owned());
    fs::write(&secret, "open sesame\n").expect("a file");
    fs::write(&wrong, "wrong\n").expect("a file");
    let program = start(&dir.path().join("served"), &["--token-file", &secret]);
    let address = program.address().to_string();
    let told = fails(&["ls", &address], 1);
    assert!(told.contains("(401)") && told.contains("--token-file") && told.contains("--user"), "{told}");
    let in_environment = stderr(&run_in(&[("FILEWHARF_TOKEN", "wrong")], &["ls", &address]));
    for told in [fails(&["ls", &address, "--token-file", &wrong], 1), in_environment] {
        assert!(told.contains("refused: the secret is wrong or has expired (401)"), "{told}");
        assert!(!told.contains("--token-file"), "{told}");
    }
    for (token, arguments) in [("open sesame", &[][..]), ("wrong", &["--token-file", &secret])] {
        let output = run_in(&[("FILEWHARF_TOKEN", token)], &[&["ls", &address], arguments].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
    program.end();
}

#[test]
fn one_file_takes_the_name_of_the_target() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let served = dir.path().join("served");
    let local = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    for name in ["photo.jpg", "b"] {
        fs::write(local(name), name).expect("a file");
    }
    let program = start(&served, &[]);
    let to = |path: &str| format!("{}{path}", program.address());
    let (photo, other) = (local("photo.jpg"), local("b"));
    for (arguments, stored, content) in [
        (vec![&*photo, "/x/renamed.jpg"], "x/renamed.jpg", "photo.jpg"),
        // A final slash says that a directory is meant.
        (vec![&*photo, "/x/"], "x/photo.jpg", "photo.jpg"),
        (vec![&*photo, "/new/"], "new/photo.jpg", "photo.jpg"),
        (vec![&*other, "/x/renamed.jpg"], "x/renamed.jpg", "b"),
        (vec![&*photo, &*other, "/many"], "many/b", "b"),
        (vec![&*photo, "--name", "n", "/named"], "named/n", "photo.jpg"),
        (vec!["--recursive", &*photo, "/alone"], "alone", "photo.jpg"),
    ] {
        let (target, rest) = arguments.split_last().expect("a target");
        run_well(&[&["put"], rest, &[&to(target)]].concat());
        assert_eq!(fs::read_to_string(served.join(stored)).expect(stored), content);
    }
    // Standard input has no name of its own.
    run_well(&["put", "-", &to("/from/stdin")]);
    assert_eq!(fs::read(served.join("from/stdin")).expect("stored"), b"");
    let told = fails(&["put", "-", &to("/from/")], 2);
    assert!(told.contains("--name"), "{told}");
    let told = fails(&["put", &photo, &to("/from")], 1);
    assert!(told.contains(&format!("is a folder; to put the file into it, write {}", to("/from/"))), "{told}");
    program.end();
}

#[test]
fn what_was_probably_meant_is_suggested() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().to_str().expect("UTF-8");
    for (arguments, wanted) in [
        (&["."][..], "to serve this folder, write 'filewharf serve .'"),
        (&[path], &format!("to serve this folder, write 'filewharf serve {path}'")),
        (&["serve", path, "--max-connections", "-1"], "must be at least 1"),
        (&["serve", path, "--max-connections", "many"], "is not a whole number"),
        (&["serve", path, "--listen", "https://0.0.0.0:8443"], "write 0.0.0.0:8443?tls"),
        (&["serve", path, "--listen", "127.0.0.1:0?tsl"], "tls, reuseport, proxy=NETWORK"),
        (&["put", "/dev/null", "127.0.0.1:/tmp"], "write 127.0.0.1/tmp"),
    ] {
        let error = fails(arguments, 2);
        assert!(error.contains(wanted), "{arguments:?}: {error}");
    }
}

#[test]
fn a_folder_that_is_fetched_onto_a_folder_needs_recursive_and_the_error_says_so() {
    let (dir, here) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    fs::create_dir_all(here.path().join("d")).expect("a folder");
    let program = start(dir.path(), &[]);
    program.client().put("/d/f", b"content");
    let [address] = program.addresses[..] else { panic!("{}", program.said) };
    let into = here.path().to_str().expect("UTF-8");
    for remote in ["d", "d/"] {
        let error = fails(&["get", "-q", &format!("{address}/{remote}"), into], 1);
        assert!(error.contains("use --recursive"), "{error}");
    }
    program.end();
}
