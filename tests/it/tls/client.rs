//! The built binary as a client over TLS: which servers it trusts, its errors for the others, and connections that break
//! off.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use support::client::{assert_same, content};
use support::server::Program;
use support::tls::rcgen::date_time_ymd;
use support::tls::{Authority, Identity};
use tempfile::TempDir;

use crate::program::{self, run, run_well, stderr};
use crate::resumable::cut_client::{Direction, Link, Started};

/// A server with TLS, and the files of its client.
struct Served {
    dir: TempDir,
    server: Program,
}

impl Served {
    /// `identity`: of the server. `options`: more of it.
    fn with(identity: &Identity, options: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().join("root");
        fs::create_dir(&root).expect("created");
        identity.write(dir.path());
        let [certificate, key] = ["cert.pem", "key.pem"].map(|name| dir.path().join(name).display().to_string());
        let always = ["--listen", "line@127.0.0.1:0?tls", "--tls-cert", &certificate, "--tls-key", &key];
        let server = program::start(&root, &[&always, options].concat());
        Self { dir, server }
    }

    /// The path of a local file.
    fn local(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// A local file with this content.
    fn has(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        fs::write(self.local(name), content).expect("written");
        self.local(name)
    }

    fn remote(&self, path: &str) -> String {
        format!("tls://{}{path}", self.server.address())
    }

    /// Runs `filewharf ls` with these flags: the exit code, and what it says after the address.
    fn ls(&self, flags: &[&str]) -> (Option<i32>, String) {
        let remote = self.remote("/");
        let output = run(&[&["ls", &remote], flags].concat());
        let told = stderr(&output).trim_end().replace(&remote, "").replace(remote.trim_end_matches('/'), "");
        (output.status.code(), told.replace("filewharf: : ", "").replace("filewharf: ", ""))
    }
}

/// A server with a certificate of `authority` for `127.0.0.1`.
fn served(authority: &Authority) -> Served {
    let served = Served::with(&authority.signs("127.0.0.1"), &[]);
    served.has("ca.pem", authority.pem());
    served
}

#[test]
fn files_are_put_listed_fetched_and_removed_over_tls() {
    let served = served(&Authority::new("one"));
    let ca = served.local("ca.pem");
    let bytes = content(1, 9_000_000);
    let (local, small, back) = (served.has("big", &bytes), served.has("small", "some words"), served.local("back/"));
    let dir = served.remote("/d/");
    run_well(&["put", &local, &small, &dir, "--ca", &ca, "--quiet"]);
    assert_same(&fs::read(served.dir.path().join("root/d/big")).expect("stored"), &bytes, "what is stored");
    let listing = String::from_utf8(run_well(&["ls", &dir, "--ca", &ca])).expect("text");
    let names: Vec<_> = listing.lines().filter_map(|line| line.rsplit('\t').next()).collect();
    assert_eq!(names, ["big", "small"]);
    run_well(&["get", "--recursive", &dir, &back, "--ca", &ca, "--quiet"]);
    assert_same(&fs::read(served.local("back/d/big")).expect("fetched"), &bytes, "what is fetched");
    let content = run_well(&["get", &served.remote("/d/small"), "-", "--ca", &ca, "--quiet"]);
    assert_eq!(content, b"some words");
    run_well(&["rm", &served.remote("/d/big"), &served.remote("/d/small"), &dir, "--ca", &ca]);
    assert!(!served.dir.path().join("root/d").exists());
    served.server.end();
}

#[test]
fn a_certificate_that_signs_itself_is_trusted_if_it_is_named_or_its_fingerprint_is() {
    let identity = Identity::own("127.0.0.1");
    let served = Served::with(&identity, &[]);
    assert_eq!(served.ls(&["--ca", &served.local("cert.pem")]), (Some(0), String::new()));
    let pin = fingerprint(&identity);
    assert_eq!(served.ls(&["--fingerprint", &pin]), (Some(0), String::new()));
    let (code, told) = served.ls(&["--fingerprint", &format!("sha256:{}", "00:".repeat(32))]);
    assert_eq!((code, told), (Some(1), format!("the fingerprint of the server's certificate is another: {pin}")));
}

fn fingerprint(identity: &Identity) -> String {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(identity.certificate.der());
    format!("sha256:{}", filewharf::wire::line::hex(&digest))
}

#[test]
fn a_fingerprint_stands_for_any_name_and_any_date() {
    let identity = Authority::new("one").signs_with("elsewhere", |params| params.not_after = date_time_ymd(2020, 1, 1));
    let served = Served::with(&identity, &[]);
    assert_eq!(served.ls(&["--fingerprint", &fingerprint(&identity)]), (Some(0), String::new()));
}

#[test]
fn servers_that_are_not_trusted_are_named_with_what_is_wrong_and_not_tried_again() {
    let authority = Authority::new("one");
    let good = authority.signs("127.0.0.1");
    let other_name = authority.signs("elsewhere.example");
    let old = authority.signs_with("127.0.0.1", |params| params.not_after = date_time_ymd(2020, 1, 1));
    let young = authority.signs_with("127.0.0.1", |params| params.not_before = date_time_ymd(4000, 1, 1));
    let own_of_other = Identity::own("elsewhere.example");
    let ca = |served: &Served| served.has("ca.pem", authority.pem());
    let own = |served: &Served| served.local("cert.pem");
    let another = |served: &Served| served.has("ca.pem", Authority::new("two").pem());
    type File<'a> = &'a dyn Fn(&Served) -> String;
    let cases: [(&Identity, File<'_>, &str); 5] = [
        (&good, &another, "is not trusted: name its file, or that of the authority that signed it, with --ca FILE"),
        (&other_name, &ca, "is not for 127.0.0.1, but for elsewhere.example"),
        (&old, &ca, "has expired"),
        (&young, &ca, "is not valid yet; is the clock of this machine right?"),
        (&own_of_other, &own, "is not for 127.0.0.1, but for elsewhere.example"),
    ];
    for (identity, file, what) in cases {
        let served = Served::with(identity, &[]);
        let (code, told) = served.ls(&["--ca", &file(&served)]);
        let pin = fingerprint(identity);
        let remedy = format!("if the server tells this fingerprint at its start, trust it with --fingerprint {pin}");
        assert_eq!((code, told), (Some(1), format!("the server's certificate {what}; {remedy}")));
    }
}

#[test]
fn a_port_without_tls_is_distinguished_from_one_with_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = program::start(dir.path(), &["--listen", "line@127.0.0.1:0"]);
    let ca = dir.path().join("ca.pem");
    fs::write(&ca, Authority::new("one").pem()).expect("written");
    let output = run(&["ls", &format!("tls://{}/", server.address()), "--ca", ca.to_str().expect("UTF-8")]);
    assert!(stderr(&output).ends_with(": the server does not speak TLS on this port\n"), "{}", stderr(&output));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_port_with_tls_is_distinguished_from_one_without_it() {
    let served = served(&Authority::new("one"));
    let (local, remote) = (served.has("f", content(1, 9_000_000)), format!("{}/", served.server.address()));
    let (file, back) = (format!("{remote}f"), served.local("back"));
    for command in [&["ls", &remote][..], &["get", &file, &back], &["put", &local, &remote]] {
        let output = run(command);
        let told = stderr(&output);
        assert!(told.contains("speaks TLS on this port: write tls:// before its name"), "{command:?}: {told}");
        assert_eq!(output.status.code(), Some(1));
    }
}

#[test]
fn files_and_flags_that_do_not_fit_are_wrong_usage() {
    let served = served(&Authority::new("one"));
    let (ca, cert, key) = (served.local("ca.pem"), served.local("cert.pem"), served.local("key.pem"));
    let none = served.local("none");
    let empty = served.has("empty", "");
    let cases: [(&[&str], &str); 7] = [
        (&["--ca", &none], "none: No such file"),
        (&["--ca", &empty], "empty: there is no certificate in it (PEM)"),
        (&["--ca", &ca, "--cert", &cert], "--cert FILE --key FILE"),
        (&["--ca", &ca, "--cert", &cert, "--key", &ca], "ca.pem: no private key"),
        (&["--ca", &ca, "--cert", &ca, "--key", &key], "ca.pem: not usable with"),
        (&["--ca", &ca, "--fingerprint", &"0".repeat(64)], "give one"),
        (&["--fingerprint", "sha256:0"], "is not sha256:"),
    ];
    for (flags, what) in cases {
        let (code, told) = served.ls(flags);
        assert!(told.contains(what), "{flags:?}: {told}");
        assert_eq!(code, Some(2), "{flags:?}");
    }
    let output = run(&["ls", "127.0.0.1:1", "--ca", &ca]);
    assert!(stderr(&output).contains("are for tls://HOST:PORT"), "{}", stderr(&output));
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_client_shows_its_certificate_and_one_that_the_server_refuses_is_not_tried_again() {
    let (authority, other) = (Authority::new("one"), Authority::new("two"));
    let ca_dir = tempfile::tempdir().expect("a folder");
    let ca = ca_dir.path().join("ca.pem").display().to_string();
    fs::write(&ca, authority.pem()).expect("written");
    let served = Served::with(&authority.signs("127.0.0.1"), &["--tls-client-ca", &ca]);
    let show = |identity: Identity| {
        let dir = served.dir.path().join("client");
        fs::create_dir_all(&dir).expect("created");
        identity.write(&dir);
        served.ls(&["--ca", &ca, "--cert", &path(&dir, "cert.pem"), "--key", &path(&dir, "key.pem")])
    };
    assert_eq!(show(authority.signs("box7")), (Some(0), String::new()));
    let refused = (Some(1), "the server refuses the certificate of this client".to_owned());
    assert_eq!(show(other.signs("box7")), refused);
}

fn path(dir: &Path, name: &str) -> String {
    dir.join(name).display().to_string()
}

#[test]
fn transfers_that_break_off_without_a_word_resume_where_they_stopped() {
    const LEN: usize = 9_000_000;
    let served = served(&Authority::new("one"));
    let ca = served.local("ca.pem");
    let bytes = content(2, LEN);
    let (local, back) = (served.has("big", &bytes), served.local("back"));
    let state = served.dir.path().join("state");
    for direction in [Direction::ToServer, Direction::ToClient] {
        let link = Link::to(served.server.address(), direction);
        let remote = format!("tls://{}/f", link.address);
        let words = match direction {
            Direction::ToServer => ["put", &local, &remote],
            Direction::ToClient => ["get", &remote, &back],
        };
        let mut client = Started::start(&state, &[&words[..], &["--ca", &ca, "--retry-for", "1000"]].concat());
        for _ in 0..5 {
            link.pass(LEN as u64 / 6, || client.ended().is_some());
            assert_eq!(client.ended(), None, "it cannot be done before all has passed");
            link.cut();
        }
        link.allow(u64::MAX);
        client.ends_well();
        assert!(link.passed() < 2 * LEN as u64, "{} bytes passed", link.passed());
    }
    assert_same(&fs::read(served.dir.path().join("root/f")).expect("stored"), &bytes, "what is stored");
    assert_same(&fs::read(&back).expect("fetched"), &bytes, "what is fetched");
}

#[test]
fn a_server_that_made_its_certificate_is_reached_under_every_name_that_it_was_given() {
    let dir = tempfile::tempdir().expect("a folder");
    let own = path(dir.path(), "own");
    let serve = |options: &[&str]| {
        let flags = [&["--listen", "line@0.0.0.0:0?tls", "--tls-self-signed", &own], options].concat();
        program::logging(&dir.path().join("served"), &flags, Stdio::piped())
    };
    let ends_with_log = |(server, log): (Program, Option<std::process::ChildStderr>)| {
        server.end();
        std::io::read_to_string(log.expect("a pipe")).expect("text")
    };
    let (server, log) = serve(&["--tls-name", "127.0.0.9", "--tls-name", "files.example"]);
    let port = server.address().port();
    let ca = path(dir.path(), "own/cert.pem");
    for host in ["127.0.0.1", "localhost", "127.0.0.9"] {
        run_well(&["ls", &format!("tls://{host}:{port}"), "--ca", &ca]);
    }
    // Every address of this machine is listened on.
    for ip in filewharf::os::net::of_interfaces().into_iter().filter(std::net::IpAddr::is_ipv4) {
        run_well(&["ls", &format!("tls://{ip}:{port}"), "--ca", &ca]);
    }
    // The command that the message names works.
    let told = run(&["ls", &format!("tls://127.0.0.8:{port}"), "--ca", &ca]);
    let told = stderr(&told);
    let pin = told.trim().rsplit(' ').next().expect("a fingerprint").to_owned();
    assert!(told.contains("is not for 127.0.0.8") && told.contains("--fingerprint sha256:"), "{told}");
    run_well(&["ls", &format!("tls://127.0.0.8:{port}"), "--fingerprint", &pin]);
    let log = ends_with_log((server, log));
    assert!(log.contains(&format!("--ca {ca}, or --fingerprint {pin}")) && !log.contains("is not for"), "{log}");
    // It is kept, and the log names the addresses that it is not for.
    let log = ends_with_log(serve(&["--tls-name", "files.example", "--tls-name", "new.example"]));
    assert!(log.contains(&format!("--fingerprint {pin}")) && log.contains("is not for new.example: remove"), "{log}");
}
