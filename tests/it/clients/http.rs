//! The clients everybody has, unchanged, against the built binary. Every file is compared byte by
//! byte.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::program;
use support::client::{assert_same, content, wait_until};
use support::server::Program;

/// A server in a process, and a directory for what a client stores.
pub(super) struct Bench {
    pub(super) server: Program,
    dir: TempDir,
}

impl Bench {
    pub(super) fn new(options: &[&str]) -> Self {
        let dir = TempDir::new().expect("a folder");
        fs::create_dir(dir.path().join("here")).expect("a folder");
        fs::write(dir.path().join("token"), "s3cret").expect("a file");
        let token = dir.path().join("token");
        let options: Vec<&str> = options
            .iter()
            .map(|option| if *option == "TOKEN" { token.to_str().expect("UTF-8") } else { option })
            .collect();
        Self { server: program::start(&dir.path().join("files"), &options), dir }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address())
    }

    pub(super) fn here(&self, name: &str) -> PathBuf {
        self.dir.path().join("here").join(name)
    }

    pub(super) fn served(&self, name: &str) -> PathBuf {
        self.dir.path().join("files").join(name)
    }

    /// Runs a client in its directory: its exit code, and what it said on standard output.
    pub(super) fn run(&self, program: &str, arguments: &[&str]) -> (i32, Vec<u8>) {
        let mut command = Command::new("timeout");
        command.args(["900", program]).args(arguments).current_dir(self.dir.path().join("here"));
        let output = command.output().expect("timeout can be run");
        (output.status.code().unwrap_or(-1), output.stdout)
    }

    /// The same of curl, which says the status last.
    #[track_caller]
    pub(super) fn curl(&self, arguments: &[&str]) -> (u16, Vec<u8>) {
        let all: Vec<&str> = ["-sS", "-w", "%{http_code}"].iter().chain(arguments).copied().collect();
        let (code, mut said) = self.run("curl", &all);
        assert_eq!(code, 0, "curl {arguments:?}: {}", said.escape_ascii());
        let status = said.split_off(said.len() - 3);
        (String::from_utf8(status).expect("digits").parse().expect("a status"), said)
    }

    /// Nothing of an upload is left over.
    fn check_staging(&self) {
        let staging = self.served(".filewharf/staging");
        wait_until("the staging folder is empty", || files_under(&staging) == 0);
    }
}

/// Files with content under a directory.
fn files_under(dir: &Path) -> usize {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let count = |entry: fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => files_under(&entry.path()),
        Ok(meta) => usize::from(meta.len() > 0 && entry.file_name() != "lock"),
        Err(_) => 0,
    };
    entries.flatten().map(count).sum()
}

#[test]
#[ignore = "needs curl"]
fn curl_uploads_downloads_and_resumes() {
    let bench = Bench::new(&[]);
    let bytes = content(1, 3_000_000);
    fs::write(bench.here("up"), &bytes).expect("a file");
    let up = bench.url("/a%20b/up");
    assert_eq!(bench.curl(&["-T", "up", &up]).0, 201);
    assert_eq!(bench.curl(&["-T", "up", &up]).0, 204);
    assert_same(&fs::read(bench.served("a b/up")).expect("stored"), &bytes, "curl -T");
    assert_same(&bench.curl(&[&up]).1, &bytes, "curl");
    assert_same(&bench.curl(&["-0", &up]).1, &bytes, "curl -0");
    assert_same(&bench.curl(&["-r", "1000-1999", &up]).1, &bytes[1000..2000], "curl -r");
    let (code, parts) = bench.curl(&["-r", "0-9,20-29", &up]);
    assert_eq!((code, parts.windows(10).filter(|w| *w == &bytes[20..30]).count()), (206, 1));
    // A download that continues where it stopped.
    fs::write(bench.here("down"), &bytes[..1_234_567]).expect("a file");
    assert_eq!(bench.curl(&["-C", "-", "-o", "down", &up]).0, 206);
    assert_same(&fs::read(bench.here("down")).expect("resumed"), &bytes, "curl -C -");
    // An upload cannot continue: it is refused, and the file stays as it was.
    assert_eq!(bench.curl(&["-C", "1000", "-T", "up", &up]).0, 400);
    assert_same(&bench.curl(&[&up]).1, &bytes, "curl -C -T changed nothing");
    // Chunks, of known and of unknown length.
    let piped = format!("curl -sS --fail -T - {} < up", bench.url("/piped"));
    assert_eq!(bench.run("sh", &["-c", &piped]).0, 0);
    assert_same(&fs::read(bench.served("piped")).expect("stored"), &bytes, "curl -T -");
    let chunked = ["-H", "Transfer-Encoding: chunked", "-T", "up", &bench.url("/chunked")];
    assert_eq!(bench.curl(&chunked).0, 201);
    assert_same(&fs::read(bench.served("chunked")).expect("stored"), &bytes, "chunks");
    assert_eq!(bench.curl(&["--expect100-timeout", "60", "-T", "up", &bench.url("/expected")]).0, 201);
    assert_eq!(bench.curl(&["-H", "Expect:", "-T", "up", &bench.url("/expected")]).0, 204);
    // Many at once, on kept connections.
    fs::create_dir(bench.here("many")).expect("a folder");
    assert_eq!(
        bench.run("curl", &["-sS", "--fail", "-Z", "-o", "many/#1", &bench.url("/{piped,chunked,expected}")]).0,
        0
    );
    for name in ["piped", "chunked", "expected"] {
        assert_same(&fs::read(bench.here("many").join(name)).expect("fetched"), &bytes, "curl -Z");
    }
    bench.check_staging();
    bench.server.end();
}

#[test]
#[ignore = "needs curl"]
fn curl_asks_on_conditions_deletes_and_hears_refusals() {
    let bench = Bench::new(&[]);
    fs::write(bench.here("up"), "content").expect("a file");
    let up = bench.url("/up");
    assert_eq!(bench.curl(&["-T", "up", &up]).0, 201);
    assert_eq!(bench.curl(&["--etag-save", "tag", &up]), (200, b"content".to_vec()));
    assert_eq!(bench.curl(&["--etag-compare", "tag", &up]), (304, Vec::new()));
    assert_eq!(bench.curl(&["-z", "Fri, 01 Jan 2100 00:00:00 GMT", &up]).0, 304);
    assert_eq!(bench.curl(&["-z", "Thu, 01 Jan 2015 00:00:00 GMT", &up]).0, 200);
    assert_eq!(bench.curl(&["-T", "up", "-H", "If-None-Match: *", &up]).0, 412);
    assert_eq!(bench.curl(&["-I", &up]).0, 200);
    assert_eq!(bench.curl(&["-L", &bench.url("/"), "-H", "Accept: application/json"]).1.first(), Some(&b'['));
    assert_eq!(bench.curl(&["-X", "DELETE", &up]).0, 204);
    assert_eq!(bench.run("curl", &["-sS", "--fail", &up]).0, 22, "404 fails");
    assert_eq!(bench.curl(&["--path-as-is", &bench.url("/%2e%2e/up")]).0, 400);
    assert_eq!(bench.curl(&[&bench.url("/.filewharf/health")]), (200, b"ok\n".to_vec()));
    bench.server.end();
}

#[test]
#[ignore = "needs curl"]
fn curl_shows_its_secret_in_both_ways() {
    let bench = Bench::new(&["--token-file", "TOKEN"]);
    fs::write(bench.here("up"), content(2, 1_000_000)).expect("a file");
    let up = bench.url("/up");
    assert_eq!(bench.curl(&["-T", "up", &up]).0, 401);
    assert_eq!(bench.curl(&["-u", ":wrong", "-T", "up", &up]).0, 401);
    assert!(!bench.served("up").exists());
    assert_eq!(bench.curl(&["-u", ":s3cret", "-T", "up", &up]).0, 201);
    assert_eq!(bench.curl(&["--anyauth", "-u", "me:s3cret", "-o", "down", &up]).0, 200);
    assert_same(&fs::read(bench.here("down")).expect("fetched"), &content(2, 1_000_000), "curl -u");
    assert_eq!(bench.curl(&["--oauth2-bearer", "s3cret", "-X", "DELETE", &up]).0, 204);
    bench.server.end();
}

#[test]
#[ignore = "needs curl"]
fn an_interrupted_upload_of_curl_leaves_nothing_visible() {
    let bench = Bench::new(&[]);
    fs::write(bench.here("up"), content(3, 3_000_000)).expect("a file");
    for (arguments, name) in [(vec![], "counted"), (vec!["-H", "Transfer-Encoding: chunked"], "chunked")] {
        let url = bench.url(&format!("/{name}"));
        let all = [vec!["-sS", "--limit-rate", "200K", "--max-time", "2", "-T", "up"], arguments, vec![&*url]].concat();
        assert_eq!(bench.run("curl", &all).0, 28, "curl gives up");
        assert_eq!(bench.curl(&[&url]).0, 404);
    }
    bench.check_staging();
    bench.server.end();
}

#[test]
#[ignore = "needs wget"]
fn wget_resumes_what_was_interrupted() {
    let bench = Bench::new(&[]);
    let bytes = content(4, 8_000_000);
    fs::write(bench.served("big"), &bytes).expect("a file");
    let url = bench.url("/big");
    let mut wget = Command::new("wget");
    wget.args(["-q", "--limit-rate=1m", &url]).current_dir(bench.dir.path().join("here"));
    let mut wget = wget.spawn().expect("wget can be run");
    wait_until("a part", || fs::metadata(bench.here("big")).is_ok_and(|part| part.len() > 0));
    wget.kill().expect("it can be killed");
    assert_eq!(wget.wait().expect("it ends").code(), None, "wget is interrupted");
    let part = fs::read(bench.here("big")).expect("a part");
    assert!(part.len() < bytes.len(), "nothing is left to resume");
    assert_eq!(bench.run("wget", &["-q", "-c", &url]).0, 0);
    assert_same(&fs::read(bench.here("big")).expect("whole"), &bytes, "wget -c");
    assert_eq!(bench.run("wget", &["-q", "-c", &url]).0, 0, "a complete file is left alone");
    assert_eq!(bench.run("wget", &["-q", "-N", &url]).0, 0, "and its time is understood");
    assert_same(&fs::read(bench.here("big")).expect("whole"), &bytes, "wget -N");
    bench.server.end();
}

#[test]
#[ignore = "needs aria2c"]
fn aria2c_fetches_one_file_over_eight_connections() {
    let bench = Bench::new(&[]);
    let bytes = content(5, 64 << 20);
    fs::write(bench.served("big"), &bytes).expect("a file");
    let url = bench.url("/big");
    assert_eq!(bench.run("aria2c", &["-q", "-x8", "-s8", "-k1M", "--file-allocation=none", &url]).0, 0);
    assert_same(&fs::read(bench.here("big")).expect("fetched"), &bytes, "aria2c");
    bench.server.end();
}

#[test]
#[ignore = "needs python3"]
fn the_client_in_the_library_of_python_is_served() {
    let bench = Bench::new(&[]);
    fs::write(bench.served("f"), content(6, 100_000)).expect("a file");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/clients/client.py");
    let (address, served) = (bench.server.address(), bench.served(""));
    let arguments =
        [script.to_str(), Some(&address.ip().to_string()), Some(&address.port().to_string()), served.to_str()]
            .map(|argument| argument.expect("UTF-8").to_owned());
    let (code, said) = bench.run("python3", &arguments.each_ref().map(String::as_str));
    assert_eq!(code, 0, "{}", String::from_utf8_lossy(&said));
    bench.check_staging();
    bench.server.end();
}

#[test]
#[ignore = "needs wrk"]
fn wrk_sees_no_error() {
    let bench = Bench::new(&[]);
    fs::write(bench.served("small"), content(7, 4096)).expect("a file");
    let (code, said) = bench.run("wrk", &["-t1", "-c64", "-d3s", "--timeout", "30s", &bench.url("/small")]);
    let said = String::from_utf8_lossy(&said);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("requests in") && !said.contains("Non-2xx") && !said.contains("Socket errors"), "{said}");
    println!("{said}");
    bench.server.end();
}
