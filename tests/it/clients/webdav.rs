//! WebDAV: the conformance tests of litmus, and programs that copy and mount.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::Command;

use super::http::Bench;
use super::proxies::{free_address, proxy};
use super::resumable::{installed, npm, pip};
use super::tls::Encrypted;
use support::client::{assert_same, content, random};

/// Runs a client and returns what it said; it must end well.
#[track_caller]
fn said(bench: &Bench, program: &str, arguments: &[&str]) -> String {
    let (code, out) = bench.run(program, arguments);
    let out = String::from_utf8_lossy(&out).into_owned();
    assert_eq!(code, 0, "{program} {arguments:?}: {out}");
    out
}

/// What litmus runs, and the tests of each group. It skips one of `http` itself where the address is one of TLS.
const GROUPS: [(&str, usize); 5] = [("basic", 16), ("copymove", 13), ("props", 30), ("locks", 41), ("http", 4)];

/// Runs litmus against an address; every test has to pass.
#[track_caller]
fn litmus(bench: &Bench, arguments: &[&str]) {
    let skips = usize::from(arguments[0].starts_with("https"));
    let output = Command::new("timeout")
        .args(["300", "litmus", "-k"])
        .args(arguments)
        .env("TESTS", GROUPS.map(|(group, _)| group).join(" "))
        .current_dir(bench.here("."))
        .output()
        .expect("timeout can be run");
    let out = String::from_utf8_lossy(&output.stdout);
    for (group, tests) in GROUPS {
        let tests = if group == "http" { tests - skips } else { tests };
        let summary = format!("<- summary for `{group}': of {tests} tests run: {tests} passed, 0 failed. 100.0%");
        assert!(out.contains(&summary), "{summary} not in:\n{out}");
    }
    let skipped = |words| out.matches(words).count();
    assert_eq!((skipped("SKIPPED"), skipped("SKIPPED (skipping for SSL server)")), (skips, skips), "{out}");
}

#[test]
#[ignore = "needs litmus"]
fn litmus_passes_and_skips_nothing() {
    let bench = Bench::new(&[]);
    litmus(&bench, &[&bench.url("/")]);
    bench.server.end();
    let bench = Bench::new(&["--token-file", "TOKEN"]);
    litmus(&bench, &[&bench.url("/"), "anna", "s3cret"]);
    bench.server.end();
}

#[test]
#[ignore = "needs litmus and curl"]
fn litmus_passes_over_tls_with_a_password() {
    let secret = tempfile::NamedTempFile::new().expect("a file");
    fs::write(&secret, "s3cret").expect("a file");
    let encrypted = Encrypted::new(&["--token-file", secret.path().to_str().expect("UTF-8")]);
    let (bench, url) = (&encrypted.bench, encrypted.url("/expected"));
    litmus(bench, &[&encrypted.url("/"), "anna", "s3cret"]);
    // What litmus skips here: that an upload may begin is said before it does.
    fs::write(bench.here("f"), b"hello").expect("a file");
    let expects = ["--cacert", "ca.pem", "-u", "anna:s3cret", "-H", "Expect: 100-continue", "-i", "-T", "f", &url];
    let (code, out) = bench.curl(&expects);
    assert!(code == 201 && out.starts_with(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 "), "{}", out.escape_ascii());
    encrypted.server.end();
}

#[test]
#[ignore = "needs litmus, haproxy and nginx"]
fn litmus_passes_through_proxies_and_under_a_path() {
    let bench = Bench::new(&["--path-prefix", "/files"]);
    let (server, home) = (bench.server.address(), bench.here(""));
    let (haproxy, nginx) = (free_address(), free_address());
    let configuration = format!(
        "defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n\
         listen all\n bind {haproxy}\n server s {server}\n"
    );
    let _haproxy = proxy("haproxy", &["-db", "-f"], &home, &configuration, haproxy);
    let configuration = format!(
        "daemon off; worker_processes 1; pid {home}/nginx.pid; error_log {home}/nginx.log;\n\
         events {{}}\n\
         http {{ access_log off; client_body_temp_path {home}/body; proxy_temp_path {home}/proxy;\n\
         fastcgi_temp_path {home}/f; uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;\n\
         server {{ listen {nginx}; location / {{ proxy_pass http://{server}; proxy_set_header Host $http_host; }} }} }}\n",
        home = home.display(),
    );
    let _nginx = proxy("nginx", &["-c"], &home, &configuration, nginx);
    for address in [haproxy, nginx] {
        litmus(&bench, &[&format!("http://{address}/files/")]);
    }
    bench.server.end();
}

#[test]
#[ignore = "needs rclone"]
fn rclone_copies_checks_and_purges() {
    let bench = Bench::new(&[]);
    for (path, len) in [("a.txt", 5), ("sub/deep/zero", 0), ("sub/ü näme &<1>", 300_000), ("big", 3_000_000)] {
        let path = bench.here("from").join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        fs::write(path, content(len as u64, len)).expect("a file");
    }
    for vendor in ["other", "owncloud"] {
        let remote = format!(":webdav,url='{}',vendor={vendor}:dir", bench.url("/"));
        said(&bench, "rclone", &["copy", "from", &remote]);
        said(&bench, "rclone", &["check", "--download", "from", &remote]);
        assert!(said(&bench, "rclone", &["lsf", "-R", &remote]).contains("sub/ü näme &<1>\n"));
        said(&bench, "rclone", &["moveto", &format!("{remote}/big"), &format!("{remote}/sub/big2")]);
        assert_eq!(fs::metadata(bench.served("dir/sub/big2")).expect("moved").len(), 3_000_000);
        said(&bench, "rclone", &["purge", &remote]);
        assert!(!bench.served("dir").exists());
    }
    bench.server.end();
}

#[test]
#[ignore = "needs rclone"]
fn rclone_finds_out_which_names_and_uploads_are_possible() {
    // On `auto`, a name of more than a head is refused in the words of `line`, and rclone tries each ten times.
    let bench = Bench::new(&["--listen", "http@127.0.0.1:0"]);
    let remote = format!(":webdav,url='{}',vendor=owncloud:dir", bench.url("/"));
    let out = said(&bench, "rclone", &["test", "info", "--all", &remote]);
    for found in [
        "maxFileLength = 255 // for 1 byte",
        "maxFileLength = 63 // for 4 byte",
        "canWriteUnnormalized = true",
        "canReadUnnormalized   = true",
        "canStream = true",
    ] {
        assert!(out.contains(found), "{found} is not in:\n{out}");
    }
    said(&bench, "rclone", &["purge", &remote]);
    assert!(!bench.served("dir").exists());
    bench.server.end();
}

#[test]
#[ignore = "needs node, npm and a registry"]
fn the_library_of_node_uploads_lists_moves_and_locks() {
    let dir = installed("webdav-node", &["webdav@5.11.0"], npm);
    let script = dir.join("webdav.mjs");
    fs::write(&script, include_str!("webdav.mjs")).expect("a file");
    let (bench, bytes) = (Bench::new(&[]), content(8, 300_000));
    fs::write(bench.here("from"), &bytes).expect("a file");
    said(&bench, "node", &[script.to_str().expect("UTF-8"), &bench.url("/"), "from"]);
    assert_same(&fs::read(bench.served("d/moved")).expect("stored"), &bytes, "webdav");
    bench.server.end();
}

#[test]
#[ignore = "needs python3, pip and a registry"]
fn the_libraries_of_python_upload_list_move_and_lock() {
    let dir = installed("webdav-python", &["webdav4==0.11.0", "webdavclient3==3.14.7"], pip);
    let script = dir.join("client.py");
    fs::write(&script, include_str!("webdav.py")).expect("a file");
    let (bench, bytes) = (Bench::new(&[]), content(9, 300_000));
    fs::write(bench.here("from"), &bytes).expect("a file");
    said(&bench, "python3", &[script.to_str().expect("UTF-8"), &bench.url("/"), "from"]);
    for name in ["four/moved", "three/moved"] {
        assert_same(&fs::read(bench.served(name)).expect("stored"), &bytes, name);
    }
    bench.server.end();
}

#[test]
#[ignore = "needs cadaver"]
fn cadaver_uploads_moves_and_removes() {
    let bench = Bench::new(&[]);
    fs::write(bench.here("f"), b"hello").expect("a file");
    let script =
        "mkcol d\nput f d/g\nmove d/g d/h\npropset d/h color blue\npropget d/h color\nls d\nget d/h back\nquit\n";
    fs::write(bench.here("script"), script).expect("a file");
    let url = bench.url("/");
    let out = said(&bench, "sh", &["-c", &format!("cadaver {url} <script")]);
    assert!(!out.contains("failed") && out.contains("Value of color is: blue"), "{out}");
    assert_eq!(fs::read(bench.here("back")).expect("fetched"), b"hello");
    let out = said(&bench, "sh", &["-c", &format!("printf 'rmcol d\\nquit\\n' | cadaver {url}")]);
    assert!(!out.contains("failed") && !bench.served("d").exists(), "{out}");
    bench.server.end();
}

#[test]
#[ignore = "needs gvfs and dbus"]
fn gnome_copies_moves_and_removes() {
    let bench = Bench::new(&[]);
    fs::write(bench.here("a"), b"hello").expect("a file");
    let root = format!("dav://{}/", bench.server.address());
    let script = format!(
        "set -e\n gio mount {root} </dev/null\n gio copy a {root}a\n gio mkdir {root}d\n gio copy {root}a {root}d/b\n\
         gio move {root}d/b {root}d/c\n gio rename {root}d e\n gio cat {root}e/c\n gio list {root}e\n\
         gio info -f {root} | grep filesystem::free\n gio remove {root}e/c\n gio remove {root}e\n"
    );
    fs::write(bench.here("script"), script).expect("a file");
    let out = said(&bench, "dbus-run-session", &["--", "sh", "script"]);
    assert!(out.contains("helloc\n") && out.contains("filesystem::free: "), "{out}");
    assert_eq!(fs::read(bench.served("a")).expect("a file"), b"hello");
    assert!(!bench.served("d").exists() && !bench.served("e").exists());
    bench.server.end();
}

/// A directory that something is mounted on until this is dropped.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        // This waits until all is uploaded.
        let _ = Command::new("umount").arg(&self.0).output();
    }
}

#[test]
#[ignore = "needs davfs2 and root"]
fn what_is_written_in_a_mount_of_davfs2_is_on_the_server() {
    let bench = Bench::new(&[]);
    let at = bench.here("mnt");
    fs::create_dir(&at).expect("a folder");
    let options = bench.here("davfs2.conf");
    fs::write(&options, "buf_size 64\ndelay_upload 0\nask_auth 0\n").expect("a file");
    fs::set_permissions(&options, fs::Permissions::from_mode(0o600)).expect("root may");
    let option = format!("conf={}", options.display());
    said(&bench, "mount", &["-t", "davfs", "-o", &option, &bench.url("/"), "mnt"]);
    let mounted = Mounted(at);
    let (mut seed, mut model) = (7, BTreeMap::<String, Vec<u8>>::new());
    for _ in 0..2000 {
        let [name, other, at, len] = [9, 9, 5000, 3000].map(|n| random(&mut seed) % n);
        let (name, other) = (format!("f{name}"), format!("f{other}"));
        let path = mounted.0.join(&name);
        match (random(&mut seed) % 8, model.contains_key(&name)) {
            (0, true) => {
                fs::rename(&path, mounted.0.join(&other)).expect("moved");
                let bytes = model.remove(&name).unwrap_or_default();
                model.insert(other, bytes);
            }
            (1, true) => {
                fs::remove_file(&path).expect("removed");
                model.remove(&name);
            }
            (kind, _) => {
                let file = File::options().create(true).truncate(false).write(true).open(&path).expect("opened");
                let bytes = model.entry(name).or_default();
                if kind == 2 {
                    file.set_len(at).expect("truncated");
                    bytes.resize(at as usize, 0);
                } else {
                    let (at, piece) = ((at as usize).min(bytes.len()), content(at, len as usize));
                    file.write_all_at(&piece, at as u64).expect("written");
                    bytes.resize(bytes.len().max(at + piece.len()), 0);
                    bytes[at..at + piece.len()].copy_from_slice(&piece);
                }
            }
        }
    }
    drop(mounted);
    for (name, bytes) in &model {
        assert!(fs::read(bench.served(name)).expect("on the server") == *bytes, "{name}");
    }
    assert_eq!(fs::read_dir(bench.served("")).expect("a folder").count(), model.len() + 1, "and what the server keeps");
    bench.server.end();
}
