//! The documented recipes for other programs: links signed by `openssl`, hashes made by other programs, and
//! `filewharf passwd` on a terminal. The commands are taken from the documentation, so that it stays true.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use support::server::Program;

use crate::program::{BINARY, start};

const DOCS: &str = include_str!("../../../src/docs/access.md");
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";
const PASSWORD: &str = "correct horse";

/// What stands in the documentation between the first `from` before these words and `to`.
fn documented(words: &str, from: &str, to: &str) -> String {
    let (before, after) = DOCS.split_once(words).expect("the documentation has these words");
    let begin = before.rsplit(from).next().expect("split gives one");
    let end = after.split(to).next().expect("split gives one");
    format!("{begin}{words}{end}")
}

fn well(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("the program can be run");
    assert!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("text").trim().to_owned()
}

/// A server of a directory with `pub/report.pdf` and these entries.
fn serve(dir: &Path, entries: &str, options: &[&str]) -> Program {
    let (file, root) = (dir.join("access"), dir.join("served"));
    fs::create_dir_all(root.join("pub")).expect("a folder");
    fs::write(root.join("pub/report.pdf"), "the report").expect("a file");
    fs::write(&file, entries).expect("a file");
    fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("a mode");
    start(&root, &[&["--quiet", "--access", &file.to_string_lossy()], options].concat())
}

/// The status and the content that curl gets.
fn curl(server: &Program, options: &[&str], target: &str) -> (u16, String) {
    let url = format!("http://127.0.0.1:{}{target}", server.address().port());
    let said = well(Command::new("curl").args(["-sS", "-w", "\n%{http_code}"]).args(options).arg(url));
    let (content, status) = said.rsplit_once('\n').expect("a status after the content");
    (status.parse().expect("a status"), content.to_owned())
}

/// What `anna` gets with the right password and with another one.
fn logins(dir: &Path, hash: &str, options: &[&str]) -> [u16; 2] {
    let server = serve(dir, &format!("user anna {hash}\nallow anna r /"), options);
    let ask = |password: &str| curl(&server, &["-u", &format!("anna:{password}")], "/pub/report.pdf").0;
    let statuses = [ask(PASSWORD), ask("wrong horse")];
    server.end();
    statuses
}

#[test]
#[ignore = "needs curl and openssl"]
fn a_link_that_openssl_signed_as_documented_is_good_until_it_expires() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let recipe = documented("openssl dgst -sha256 -mac HMAC", "```sh\n", "\n```");
    let signed = |recipe: &str| well(Command::new("sh").args(["-c", recipe]).env("BASE64_OF_THE_KEY", KEY));
    let server = serve(dir.path(), &format!("key k1 base64:{KEY}\nuser anna proxy\nallow anna r /"), &[]);
    let get = |link: &str| curl(&server, &[], &format!("/pub/report.pdf?fw={link}"));
    let link = signed(&recipe);
    assert_eq!(get(&link), (200, "the report".to_owned()));
    let other = if link.ends_with('A') { "E" } else { "A" };
    assert_eq!(get(&format!("{}{other}", &link[..link.len() - 1])).0, 403);
    let expired = signed(&recipe.replace("+ 7200", "- 1"));
    assert_ne!(recipe.replace("+ 7200", "- 1"), recipe);
    assert_eq!(get(&expired).0, 410);
    assert_eq!(curl(&server, &[], "/pub/report.pdf").0, 401);
    server.end();
}

#[test]
#[ignore = "needs curl and argon2"]
fn a_hash_that_the_argon2_program_made_as_documented_is_accepted() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let recipe = documented("| argon2 SALT", "`", "`").replace("PASSWORD", "\"$1\"").replace("SALT", "\"$2\"");
    let hash = well(Command::new("sh").args(["-c", &recipe, "sh", PASSWORD, "some salt of it"]));
    assert_eq!(logins(dir.path(), &hash, &[]), [200, 401], "{hash}");
}

#[test]
#[ignore = "needs curl, python3, pip and a registry"]
fn a_hash_that_argon2_cffi_made_is_accepted() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let packages = dir.path().join("packages");
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "argon2-cffi", "--target"];
    well(Command::new("python3").args(install).arg(&packages));
    let script = "import argon2, sys; print(argon2.PasswordHasher().hash(sys.argv[1]))";
    let hash = well(Command::new("python3").args(["-c", script, PASSWORD]).env("PYTHONPATH", &packages));
    assert_eq!(logins(dir.path(), &hash, &[]), [200, 401], "{hash}");
}

#[test]
#[ignore = "needs curl"]
fn a_listener_that_others_can_reach_takes_passwords_only_where_that_is_permitted() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut passwd = Command::new(BINARY).args(["passwd", "anna"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let passwd = passwd.as_mut().expect("the built binary can be run");
    passwd.stdin.take().expect("a pipe").write_all(PASSWORD.as_bytes()).expect("it reads");
    let mut line = String::new();
    std::io::Read::read_to_string(&mut passwd.stdout.take().expect("a pipe"), &mut line).expect("text");
    assert!(passwd.wait().expect("it ends").success());
    let hash = line.trim().strip_prefix("user anna ").expect("an entry");
    let listen = ["--listen", "http@0.0.0.0:0"];
    assert_eq!(logins(dir.path(), hash, &listen), [403, 403]);
    assert_eq!(logins(dir.path(), hash, &[&listen[..], &["--allow-plain-passwords"]].concat()), [200, 401]);
    assert_eq!(logins(dir.path(), hash, &["--listen", "http@127.0.0.1:0"]), [200, 401]);
}

#[test]
#[ignore = "needs python3"]
fn a_password_is_read_from_a_terminal_which_does_not_show_it() {
    well(Command::new("python3").args(["-c", include_str!("terminal.py"), BINARY]));
}
