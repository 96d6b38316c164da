//! The log of requests, read by programs that were made for those of other servers, and renamed by logrotate.

use std::fs;
use std::path::PathBuf;

use support::client::wait_until;

use super::http::Bench;

/// A server that logs so, to a file in a directory of its own.
fn logging(format: &str, log: &tempfile::TempDir) -> (Bench, PathBuf) {
    let file = log.path().join("requests.log");
    (Bench::new(&["--log-format", format, "--log-file", file.to_str().expect("UTF-8")]), file)
}

/// Requests of every kind; the number of lines that they have, and bytes of content.
fn ask(bench: &Bench) -> (usize, u64) {
    fs::write(bench.here("up"), "content").expect("a file");
    let hostile = "a\" 200 \u{202e}\\";
    for arguments in [
        &["-T", "up", &bench.url("/d/a%20b?x=1")][..],
        &[&bench.url("/d/a%20b"), "-A", hostile],
        &["-I", &bench.url("/d/a%20b")],
        &[&bench.url("/d/")],
        &[&bench.url("/none%22")],
        &["-X", "DELETE", &bench.url("/none")],
        &["-X", "OPTIONS", &bench.url("/")],
        &["-X", "PROPFIND", "-H", "Depth: 1", &bench.url("/")],
        &[&bench.url("/.filewharf/health")],
        &["-X", "GET \x01", &bench.url("/")],
    ] {
        let _ = bench.curl(arguments);
    }
    let mut line = bench.server.client();
    line.put("/line \u{85}", b"abc");
    line.put("/line", b"abc");
    assert_eq!(line.get("/line"), b"abc");
    line.expect("STAT /line", "OK ");
    line.expect("NONSENSE", "ERR 400");
    (15, 7 + 7 + 3 + 3 + 3)
}

/// The log once it has this number of lines.
fn written(file: &PathBuf, lines: usize) -> String {
    wait_until("the lines of all requests", || {
        fs::read_to_string(file).is_ok_and(|text| text.lines().count() == lines)
    });
    fs::read_to_string(file).expect("text")
}

#[test]
#[ignore = "needs goaccess, jq and curl"]
fn goaccess_reads_every_line_of_either_format() {
    for (format, known_as) in [("combined", "COMBINED"), ("json", "CADDY")] {
        let log = tempfile::tempdir().expect("a folder");
        let (bench, file) = logging(format, &log);
        let (lines, bytes) = ask(&bench);
        let text = written(&file, lines);
        let (input, known_as) = (file.to_str().expect("UTF-8"), format!("--log-format={known_as}"));
        let (code, _) = bench.run("goaccess", &[input, &known_as, "--no-global-config", "-o", "report.json"]);
        assert_eq!(code, 0, "{format}: {text}");
        let figures = ".general | \"\\(.total_requests) \\(.valid_requests) \\(.failed_requests) \\(.bandwidth)\"";
        let (_, said) = bench.run("jq", &["-r", figures, "report.json"]);
        assert_eq!(String::from_utf8_lossy(&said).trim(), format!("{lines} {lines} 0 {bytes}"), "{format}: {text}");
        // Those that were not found, by their paths.
        let (_, said) = bench.run("jq", &["-r", "[.not_found.data[].data] | sort | join(\" \")", "report.json"]);
        assert_eq!(String::from_utf8_lossy(&said).trim(), "/none /none\"", "{format}: {text}");
        bench.server.end();
    }
}

#[test]
#[ignore = "needs jq and curl"]
fn jq_reads_every_line_and_finds_each_field() {
    let log = tempfile::tempdir().expect("a folder");
    let (bench, file) = logging("json", &log);
    let (lines, bytes) = ask(&bench);
    written(&file, lines);
    let name = file.to_str().expect("UTF-8");
    let jq = |filter: &str| {
        let (code, said) = bench.run("jq", &["-c", "-s", filter, name]);
        assert_eq!(code, 0, "{filter}");
        String::from_utf8(said).expect("text").trim().to_owned()
    };
    assert_eq!(jq("[length, (map(.size) | add)]"), format!("[{lines},{bytes}]"));
    let types = "map([.ts, .status, .size, .duration, .user_id, .request.method, .request.uri, .request.host, \
                 .request.client_ip, .request.headers] | map(type)) | unique";
    let wanted = r#"[["number","number","number","number","string","string","string","string","string","object"]]"#;
    assert_eq!(jq(types), wanted);
    assert_eq!(jq("map(.request.proto) | unique"), r#"[null,"HTTP/1.1"]"#);
    let agents = jq("map(.request.headers[\"User-Agent\"][0]) | unique | map(select(startswith(\"a\")))");
    assert_eq!(agents, "[\"a\\\" 200 \u{202e}\\\\\"]");
    bench.server.end();
}

#[test]
#[ignore = "needs logrotate and curl"]
fn logrotate_renames_the_log_and_no_line_is_lost() {
    let log = tempfile::tempdir().expect("a folder");
    let (bench, file) = logging("json", &log);
    let configuration = log.path().join("logrotate.conf");
    let text = format!(
        "{} {{\n rotate 9\n create\n postrotate\n kill -USR1 {}\n endscript\n}}\n",
        file.display(),
        bench.server.pid()
    );
    fs::write(&configuration, text).expect("a file");
    let paths = [configuration.clone(), log.path().join("state")];
    let [configuration, state] = paths.each_ref().map(|path| path.to_str().expect("UTF-8"));
    let mut client = bench.server.client();
    client.put("/f", b"x");
    for _ in 0..5 {
        for _ in 0..100 {
            client.expect("STAT /f", "OK ");
        }
        let (code, _) = bench.run("logrotate", &["-f", "-s", state, configuration]);
        assert_eq!(code, 0);
    }
    client.expect("STAT /f", "OK ");
    let all = || {
        let files =
            fs::read_dir(log.path()).expect("a folder").filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
        files
            .flat_map(|text| {
                text.lines()
                    .filter(|line| line.ends_with("200}") || line.ends_with("201}"))
                    .map(str::len)
                    .collect::<Vec<_>>()
            })
            .count()
    };
    wait_until("every line", || all() == 502);
    bench.server.end();
    assert!(log.path().join("requests.log.5").exists());
}
