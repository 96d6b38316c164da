//! What a server that gave up its rights can still do, and what an intruder in it cannot: seen from outside on every
//! thread, tried in confined threads of this process, and called in the real one by a tracer.
#![cfg(target_os = "linux")]

#[cfg(target_arch = "x86_64")]
mod injected;

use std::fs;
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use filewharf::config::SandboxMode;
use filewharf::os::sandbox::{Allowed, Sandbox};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open};
use rustix::process::{geteuid, getpid, test_kill_process};

use crate::program::{self, BINARY, stderr};
use support::client::{content, wait_until};
use support::process;
use support::server::Program;

const SIGSYS: i32 = 31;

/// The measures that a server has in force, as its log tells, and the server.
fn start(root: &Path, options: &[&str]) -> (Program, String) {
    let log = tempfile::NamedTempFile::new().expect("a file");
    let sink = log.reopen().expect("the same file").into();
    let server = Program::try_start(&[], BINARY, root, options, sink).expect("the server starts");
    let measures = told(log.path(), "sandbox=");
    (server, measures)
}

/// The rest of the line of a log that has these words, which a thread of its own writes.
fn told(log: &Path, words: &str) -> String {
    let mut rest = None;
    wait_until("a line of the log", || {
        let log = fs::read_to_string(log).expect("text");
        let mut lines = log.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        rest = lines.find_map(|line| Some(line.split_once(words)?.1.to_owned()));
        rest.is_some()
    });
    rest.expect("it was waited for")
}

/// What is said under this name of each thread.
fn of_threads(pid: u32, name: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives");
    let status = tasks.map(|task| fs::read_to_string(task.expect("a thread").path().join("status")).expect("it lives"));
    let value = |status: String| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.expect("the kernel tells").trim().to_owned()
    };
    status.map(value).collect()
}

#[track_caller]
fn all_are(pid: u32, name: &str, wanted: &str) {
    let all = of_threads(pid, name);
    assert!(all.len() > 5, "the loop, the log and the workers: {all:?}");
    assert!(all.iter().all(|value| value == wanted), "{name} {all:?}");
}

// covers: sandbox
#[test]
fn every_thread_has_given_up_its_rights() {
    let root = tempfile::tempdir().expect("a directory");
    let access = tempfile::tempdir().expect("a directory");
    let access = access.path().join("access");
    fs::write(&access, "allow @ rlcwd /\n").expect("a file");
    fs::set_permissions(&access, fs::Permissions::from_mode(0o600)).expect("a mode");
    let (server, measures) = start(root.path(), &["--access", access.to_str().expect("UTF-8")]);
    let pid = server.pid();
    let mut seen = 0;
    for measure in measures.split(',') {
        match measure {
            "no-new-privs" => all_are(pid, "NoNewPrivs:", "1"),
            "seccomp" => {
                all_are(pid, "Seccomp:", "2");
                all_are(pid, "Seccomp_filters:", "3");
            }
            "no-caps" => {
                for set in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
                    all_are(pid, set, "0000000000000000");
                }
            }
            _ => assert!(measure.starts_with("landlock-abi"), "{measure:?}"),
        }
        seen += 1;
    }
    assert!(seen >= 2, "every kernel has some: {measures}");
    if geteuid().is_root() {
        all_are(pid, "CapBnd:", "0000000000000000");
    }
    server.end();
    let (server, measures) = start(root.path(), &["--sandbox", "off"]);
    assert_eq!(measures, "off");
    assert!(of_threads(server.pid(), "Seccomp:").iter().all(|value| value != "3"));
}

/// Runs something in a confined thread, and in one that this starts; nothing where the kernel lacks a measure.
#[allow(clippy::print_stdout, reason = "says that it is skipped")]
fn confined(root: &Path, files: &[PathBuf], act: impl Fn() + Copy + Send + 'static) {
    let (root, files) = (root.to_owned(), files.to_vec());
    let confined = std::thread::spawn(move || {
        let mut sandbox = Sandbox::begin(SandboxMode::Auto, None).expect("nothing is required");
        let root = open(&root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).expect("a root");
        let allowed = Allowed {
            root: std::os::fd::AsFd::as_fd(&root),
            writes: true,
            may_be_remounted: false,
            files: &files,
            log_file: None,
        };
        sandbox.confine(&allowed).expect("nothing is required");
        if let Some(missing) = sandbox.missing() {
            return println!("skipped: the kernel has no {missing}");
        }
        act();
        std::thread::spawn(act).join().expect("the same in a thread of its own");
    });
    confined.join().expect("a confined thread");
}

// covers: sandbox
#[test]
fn a_confined_thread_reaches_nothing_else() {
    let root = tempfile::tempdir().expect("a directory");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    confined(root.path(), &[], move || {
        let denied = |path: &str| fs::File::open(path).expect_err(path).kind();
        for path in ["/etc/passwd", "/proc/self/environ", "/", "/tmp", "/usr/bin/env"] {
            assert_eq!(denied(path), ErrorKind::PermissionDenied, "{path}");
        }
        assert!(fs::File::open("/dev/null").is_ok());
        assert!(fs::OpenOptions::new().write(true).open("/dev/null").is_err());
        let temporary = std::env::temp_dir().join(format!("filewharf-{}", getpid().as_raw_nonzero()));
        assert!(fs::write(&temporary, "").is_err() && fs::create_dir(&temporary).is_err());
        assert_eq!(TcpStream::connect(address).expect_err("a socket").kind(), ErrorKind::PermissionDenied);
        assert_eq!(TcpListener::bind("127.0.0.1:0").expect_err("a socket").kind(), ErrorKind::PermissionDenied);
        assert_eq!(test_kill_process(getpid()), Err(rustix::io::Errno::PERM), "signals");
        assert_eq!(rustix::system::sethostname(b"mine"), Err(rustix::io::Errno::PERM));
    });
}

#[test]
fn a_confined_thread_serves_its_folder() {
    let (root, files) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let (dir, file) = (root.path().to_owned(), files.path().join("access"));
    fs::write(&file, "old").expect("a file");
    // The closure is copied into a second thread.
    let (dir, beside): (&'static Path, &'static Path) = (dir.leak(), file.clone().leak());
    confined(root.path(), &[file], move || {
        let at = |name: &str| dir.join(name);
        fs::create_dir(at("a")).and_then(|()| fs::create_dir(at("b"))).expect("directories");
        fs::write(at("a/x"), content(1, 10_000)).expect("a file");
        fs::rename(at("a/x"), at("b/x")).expect("into another directory");
        let cut = fs::OpenOptions::new().write(true).truncate(true).open(at("b/x")).expect("cut");
        cut.set_permissions(fs::Permissions::from_mode(0o2640)).expect("a mode");
        let set_uid = cut.set_permissions(fs::Permissions::from_mode(0o4755)).expect_err("the owner's rights");
        assert_eq!(set_uid.kind(), ErrorKind::PermissionDenied);
        cut.try_clone().expect("a copy of a descriptor");
        let unnamed = open(at("a"), OFlags::TMPFILE | OFlags::RDWR, Mode::RUSR).expect("a file without a name");
        let name = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&unnamed));
        linkat(CWD, name, CWD, at("b/y"), AtFlags::SYMLINK_FOLLOW).expect("a name in another directory");
        assert_eq!(fs::read_dir(at("b")).expect("a listing").count(), 2);
        fs::remove_dir_all(at("a")).and_then(|()| fs::remove_dir_all(at("b"))).expect("removed");
        assert_eq!(fs::read_to_string(beside).expect("it is read again"), "old");
        assert!(fs::write(beside, "new").is_err() && fs::remove_file(beside).is_err());
    });
}

/// In a process of its own, which it ends.
const EXECUTES: &str = "FILEWHARF_TEST_EXECUTES";

#[test]
fn a_confined_process_that_executes_a_program_is_killed() {
    if std::env::var_os(EXECUTES).is_some() {
        let root = tempfile::tempdir().expect("a directory");
        return confined(root.path(), &[], || {
            use std::os::unix::process::CommandExt as _;
            panic!("{}", Command::new("/bin/true").exec());
        });
    }
    let name = "program::sandbox::a_confined_process_that_executes_a_program_is_killed";
    let this = std::env::current_exe().expect("this program");
    let output = Command::new(this).args(["--exact", name, "--nocapture"]).env(EXECUTES, "1").output();
    let output = output.expect("this program runs again");
    let skipped = String::from_utf8_lossy(&output.stdout).contains("skipped");
    assert!(skipped || output.status.signal() == Some(SIGSYS), "{output:?}");
}

#[test]
fn what_cannot_be_had_stops_the_start_with_a_reason() {
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path().to_str().expect("UTF-8");
    for (options, reason) in [
        (["--user", "no-such-user"], "cannot change the user: there is no user \"no-such-user\""),
        (["--user", "0:0"], "cannot change the user: \"0:0\" is root"),
    ] {
        let output = program::run(&[&["serve", root, "--listen", "127.0.0.1:0"], &options[..]].concat());
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(reason), "{}", stderr(&output));
    }
    let output = program::run(&["serve", root, "--sandbox", "perhaps"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("none of auto, require and off"), "{}", stderr(&output));
}

// covers: sandbox
#[test]
#[ignore = "needs root"]
fn root_becomes_the_user_of_the_option() {
    const UID: u32 = 65_534;
    let (root, secret) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    chown(root.path(), Some(UID), Some(UID)).expect("root gives it away");
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o700)).expect("a mode");
    let access = secret.path().join("access");
    fs::write(&access, "allow @ rlcwd /\n").expect("a file");
    fs::set_permissions(&access, fs::Permissions::from_mode(0o600)).expect("a mode");
    let log = tempfile::NamedTempFile::new().expect("a file");
    let access = access.to_str().expect("UTF-8");
    let options = ["--sandbox", "require", "--user", "65534:65534", "--access", access];
    let server = Program::try_start(&[], BINARY, root.path(), &options, log.reopen().expect("a file").into());
    let server = server.expect("the server starts");
    server.client().put("/f", &content(1, 100));
    assert_eq!(fs::metadata(root.path().join("f")).expect("a file").uid(), UID);
    all_are(server.pid(), "Uid:", "65534\t65534\t65534\t65534");
    all_are(server.pid(), "Gid:", "65534\t65534\t65534\t65534");
    all_are(server.pid(), "Groups:", "");
    for set in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:", "CapBnd:"] {
        all_are(server.pid(), set, "0000000000000000");
    }
    let measures = told(log.path(), "sandbox=");
    assert!(measures.starts_with("uid-65534,no-new-privs,no-caps,landlock-abi"), "{measures}");
    // It is root's.
    told(log.path(), "stays in effect as it is, because it cannot be read again");
    server.end();
}

/// A group that the server is not in can only be given by the kernel.
#[test]
#[ignore = "needs root"]
fn files_get_the_group_of_their_folder_also_where_the_server_is_not_in_it() {
    const UID: u32 = 65_534;
    let root = tempfile::tempdir().expect("a directory");
    for (dir, mode) in [(root.path().to_owned(), 0o755), (root.path().join("team"), 0o2770)] {
        fs::create_dir_all(&dir).expect("a directory");
        chown(&dir, Some(UID), Some(4711)).expect("root gives it away");
        fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).expect("a mode");
    }
    let (server, _) = start(root.path(), &["--sandbox", "require", "--user", "65534:65534"]);
    for (name, gid) in [("team/small", 4711), ("team/large", 4711), ("team/new/f", 4711), ("other/f", UID)] {
        let len = if name.ends_with("large") { 300_000 } else { 100 };
        server.client().put(&format!("/{name}"), &content(1, len));
        assert_eq!(fs::metadata(root.path().join(name)).expect("a file").gid(), gid, "{name}");
    }
    server.end();
}

#[test]
fn a_root_that_is_replaced_is_served_only_after_a_restart_where_the_sandbox_forbids_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("root");
    for sandbox in ["auto", "off"] {
        let log = tempfile::NamedTempFile::new().expect("a file");
        let sink = log.reopen().expect("the same file").into();
        let server = Program::try_start(&[], BINARY, &root, &["--sandbox", sandbox], sink).expect("the server starts");
        let is_confined = told(log.path(), "sandbox=").contains("landlock");
        server.client().put("/f", b"one");
        fs::rename(&root, dir.path().join(sandbox)).expect("it is moved away");
        fs::create_dir(&root).expect("a directory");
        fs::write(root.join("f"), "two").expect("a file");
        told(log.path(), "the served folder is not at its path any more");
        if is_confined {
            told(log.path(), "a restart is needed to serve it: Permission denied");
            let line = server.client().ask("GET /f");
            assert!(line.starts_with("ERR 503 ") && line.contains("retry="), "{line}");
        } else {
            told(log.path(), "is served from now on");
            assert_eq!(server.client().get("/f"), b"two");
        }
        server.end();
    }
}

// covers: sandbox
#[test]
#[ignore = "needs root and setpriv"]
fn a_program_that_is_the_user_already_gives_up_its_other_groups_or_does_not_start() {
    let dir = tempfile::tempdir().expect("a directory");
    // The directory of the build may be closed to that user.
    let (binary, root) = (dir.path().join("filewharf"), dir.path().join("root"));
    fs::copy(BINARY, &binary).and_then(|_| fs::create_dir(&root)).expect("a copy, and a folder");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
    chown(&root, Some(65_534), Some(65_534)).expect("root gives it away");
    let start = |own: &[&str]| {
        let log = tempfile::NamedTempFile::new().expect("a file");
        let before = [&["setpriv", "--reuid=65534"], own, &["--"]].concat();
        let sink = log.reopen().expect("the same file").into();
        let server =
            Program::try_start(&before, binary.to_str().expect("UTF-8"), &root, &["--user", "65534:65534"], sink);
        server.map_err(|_| fs::read_to_string(log.path()).expect("text"))
    };
    for own in [&["--regid=65534", "--clear-groups"][..], &["--regid=65534", "--groups=65534"]] {
        start(own).expect("there is nothing to give up").end();
    }
    let server = start(&["--rgid=65534", "--egid=65533", "--clear-groups"]).expect("it is its real group");
    all_are(server.pid(), "Gid:", "65534\t65534\t65534\t65534");
    server.end();
    for (own, reason) in [
        (["--regid=65533", "--clear-groups"], "the program has another group than 65534"),
        (["--regid=65534", "--groups=65534,65533"], "the program is also in group 65533"),
    ] {
        let said = start(&own).err().expect("it has another group");
        assert!(said.contains(reason), "{said}");
    }
}

/// Code that came into the real program from outside.
// covers: sandbox
#[test]
#[cfg(target_arch = "x86_64")]
#[ignore = "needs to trace processes, and a kernel with Landlock"]
fn what_any_thread_of_the_server_is_made_to_call_fails() {
    use injected::{Argument::*, call};
    use nix::errno::Errno;
    use nix::libc;

    let root = tempfile::tempdir().expect("a directory");
    let (mut server, _) = start(root.path(), &["--sandbox", "require"]);
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).expect("the server lives");
    let name = |task: std::io::Result<fs::DirEntry>| task.expect("a thread").file_name().into_string();
    let threads: Vec<u32> = tasks.map(|task| name(task).expect("a number").parse().expect("a number")).collect();
    assert!(threads.len() > 5);
    wait_until("all threads wait", || process::is_asleep(server.pid()));
    let here = libc::AT_FDCWD as u64;
    let passwd = "/etc/passwd";
    let errno = |errno: Errno| Some(-i64::from(errno as i32));
    for thread in threads.iter().copied() {
        let open = |path, flags: i32| call(thread, libc::SYS_openat, &[Number(here), Text(path), Number(flags as u64)]);
        assert_eq!(open(passwd, libc::O_RDONLY), errno(Errno::EACCES));
        assert_eq!(open(passwd, libc::O_WRONLY | libc::O_TRUNC), errno(Errno::EACCES));
        assert_eq!(open("/tmp/filewharf-new", libc::O_WRONLY | libc::O_CREAT), errno(Errno::EACCES));
        assert_eq!(open("/dev/null", libc::O_RDONLY).filter(|fd| *fd < 0), None);
        for (number, arguments) in [
            (libc::SYS_connect, [Number(0), Number(0), Number(0)]),
            (libc::SYS_socket, [Number(2), Number(1), Number(0)]),
            (libc::SYS_bind, [Number(0), Number(0), Number(0)]),
            // Landlock does not look at these.
            (libc::SYS_fchmodat, [Number(here), Text("/etc/passwd"), Number(0o666)]),
            (libc::SYS_utimensat, [Number(here), Text("/etc/passwd"), Number(0)]),
            (libc::SYS_fcntl, [Number(0), Number(libc::F_SETOWN as u64), Number(1)]),
            // `F_SETSIG`.
            (libc::SYS_fcntl, [Number(0), Number(10), Number(9)]),
            (libc::SYS_fchmod, [Number(0), Number(0o4755), Number(0)]),
            (libc::SYS_kill, [Number(1), Number(0), Number(0)]),
            (libc::SYS_setuid, [Number(0), Number(0), Number(0)]),
            (libc::SYS_io_uring_setup, [Number(1), Number(0), Number(0)]),
            (libc::SYS_fork, [Number(0), Number(0), Number(0)]),
            (libc::SYS_prctl, [Number(4), Number(1), Number(0)]),
        ] {
            assert_eq!(call(thread, number, &arguments), errno(Errno::EPERM), "{number}");
        }
        let code = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
        assert_eq!(call(thread, libc::SYS_mmap, &[Number(0), Number(4096), Number(code as u64)]), errno(Errno::EPERM));
        assert_eq!(call(thread, libc::SYS_clone3, &[]), errno(Errno::ENOSYS));
        assert!(call(thread, libc::SYS_getpid, &[]) == Some(server.pid().into()), "it can make calls");
    }
    server.client().put("/f", &content(1, 100_000));
    let last = *threads.iter().max().expect("there are some");
    assert_eq!(call(last, libc::SYS_execve, &[Text("/bin/true"), Number(0), Number(0)]), None);
    assert_eq!(server.wait(), None, "killed");
}
