//! Resumable uploads as the IETF draft has them: with curl from the draft's examples, and with
//! tus-js-client, which speaks version 6.

use std::fs;
use std::process::Command;

use super::cutting_proxy::Break::{Connection, Reply, Server};
use super::{Bench, Client, address, field};
use support::client::wait_until;

/// The versions that are spoken; a client that names one hears of its upload before the end.
const VERSIONS: [&str; 3] = ["6", "8", "9"];

/// What curl sends, and what the draft's fields say.
fn ask(bench: &Bench, method: &str, url: &str, fields: &[&str], data: Option<&str>) -> (u16, String) {
    let mut all = vec!["-X", method, "-H", "Expect:"];
    all.extend(fields.iter().flat_map(|field| ["-H", *field]));
    let data = data.map(|file| format!("@{file}"));
    all.extend(data.iter().flat_map(|data| ["--data-binary", data]));
    if method == "HEAD" {
        all.push("-I");
    }
    bench.curl(&[&all[..], &[url]].concat())
}

/// Sends the last part, a file, from its offset: `/a` is then stored with all the bytes, and is removed again.
#[track_caller]
fn complete_with(bench: &Bench, url: &str, named: &str, (offset, part): (u64, &str), bytes: &[u8]) {
    let at = format!("Upload-Offset: {offset}");
    let fields = [named, "Upload-Complete: ?1", "Content-Type: application/partial-upload", &at];
    let (status, said) = ask(bench, "PATCH", url, &fields, Some(part));
    assert!(matches!(status, 200 | 201 | 204), "{said}");
    bench.assert_stored("a", bytes);
    fs::remove_file(bench.served("a")).expect("it is there");
}

/// The offset, once it is more than nothing.
#[track_caller]
fn offset(bench: &Bench, url: &str) -> u64 {
    let mut offset = 0;
    wait_until("an offset", || {
        let (status, head) = ask(bench, "HEAD", url, &[], None);
        assert!(matches!(status, 200 | 204), "{head}");
        assert_eq!((field(&head, "Cache-Control"), field(&head, "Upload-Complete")), (Some("no-store"), Some("?0")));
        offset = field(&head, "Upload-Offset").and_then(|text| text.parse().ok()).expect("an offset");
        offset > 0
    });
    offset
}

#[test]
#[ignore = "needs curl"]
fn an_upload_in_one_request_is_announced_to_clients_that_name_a_version() {
    let bench = Bench::new(&[]);
    let bytes = bench.file("f", 500_000);
    for method in ["POST", "PUT"] {
        for version in VERSIONS {
            let named = format!("Upload-Draft-Interop-Version: {version}");
            let (status, said) = ask(&bench, method, &bench.url("/a"), &[&named, "Upload-Complete: ?1"], Some("f"));
            assert!(matches!(status, 200 | 201 | 204), "{method} {said}");
            let interim = said.split("\r\n\r\n").find(|head| head.starts_with("HTTP/1.1 104"));
            let interim = interim.unwrap_or_else(|| panic!("{method} {version}: no 104: {said}"));
            assert_eq!(field(interim, "Upload-Draft-Interop-Version"), Some(version), "{said}");
            assert!(field(interim, "Location").is_some(), "{said}");
            bench.assert_stored("a", &bytes);
        }
        // Such as a telephone sends with each upload, of a version not spoken here, or of none.
        for fields in [&["Upload-Complete: ?1", "Upload-Draft-Interop-Version: 3"][..], &["Upload-Complete: ?1"]] {
            let (status, said) = ask(&bench, method, &bench.url("/b"), fields, Some("f"));
            assert!(matches!(status, 200 | 201 | 204) && !said.contains("HTTP/1.1 104"), "{method} {said}");
            bench.assert_stored("b", &bytes);
            fs::remove_file(bench.served("b")).expect("it is there");
        }
    }
    bench.link.end();
}

#[test]
#[ignore = "needs curl"]
fn an_upload_in_parts_is_visible_at_its_end() {
    let bench = Bench::new(&[]);
    let bytes = bench.file("f", 300_000);
    for (n, part) in bytes.chunks(100_000).enumerate() {
        fs::write(bench.dir.path().join(format!("here/{n}")), part).expect("a file");
    }
    for (method, version) in [("POST", "6"), ("PUT", "8"), ("PATCH", "9"), ("POST", "9")] {
        let named = format!("Upload-Draft-Interop-Version: {version}");
        let partial = "Content-Type: application/partial-upload";
        let fields = [&*named, "Upload-Complete: ?0", "Upload-Length: 300000"];
        let fields =
            if method == "PATCH" { [&fields[..], &[partial, "Upload-Offset: 0"]].concat() } else { fields.to_vec() };
        let (status, head) = ask(&bench, method, &bench.url("/a"), &fields, Some("0"));
        assert_eq!(status, 201, "{head}");
        let url = address(&bench, &head);
        assert_eq!(offset(&bench, &url), 100_000);
        // A mismatch says what the offset is, also to a program.
        let wrong = [&*named, "Upload-Complete: ?0", partial, "Upload-Offset: 99999"];
        let (status, said) = ask(&bench, "PATCH", &url, &wrong, Some("1"));
        assert_eq!((status, field(&said, "Upload-Offset")), (409, Some("100000")), "{said}");
        assert_eq!(field(&said, "Content-Type"), Some("application/problem+json"), "{said}");
        assert!(said.contains("mismatching-upload-offset"), "{said}");
        let second = [&*named, "Upload-Complete: ?0", partial, "Upload-Offset: 100000"];
        let (status, said) = ask(&bench, "PATCH", &url, &second, Some("1"));
        assert_eq!((status, field(&said, "Upload-Offset")), (204, Some("200000")), "{said}");
        assert!(!bench.served("a").exists(), "a part is never visible");
        complete_with(&bench, &url, &named, (200_000, "2"), &bytes);
    }
    bench.link.end();
}

/// curl gives up in the middle; another one continues at the offset that the first was sent.
#[test]
#[ignore = "needs curl"]
fn an_upload_that_was_cut_is_resumed() {
    let bench = Bench::new(&[]);
    let bytes = bench.file("f", 3_000_000);
    let (here, target) = (bench.dir.path().join("here"), bench.url("/a"));
    for version in VERSIONS {
        let named = format!("Upload-Draft-Interop-Version: {version}");
        let slow = ["-sS", "-i", "--limit-rate", "500K", "--max-time", "1", "-X", "POST", "--data-binary", "@f"];
        let mut curl = Command::new("curl");
        curl.args(slow).args(["-H", "Expect:", "-H", &named, "-H", "Upload-Complete: ?1", &target]).current_dir(&here);
        let output = curl.output().expect("curl can be run");
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(28), "curl gives up: {said}");
        let url = address(&bench, &said);
        let offset = offset(&bench, &url);
        fs::write(here.join("rest"), &bytes[usize::try_from(offset).expect("small")..]).expect("a file");
        complete_with(&bench, &url, &named, (offset, "rest"), &bytes);
    }
    bench.link.end();
}

#[test]
#[ignore = "needs curl"]
fn limits_are_said_and_cancelled_uploads_are_gone() {
    let bench = Bench::new(&["--max-size", "1M"]);
    bench.file("part", 1000);
    bench.file("large", 2_000_000);
    let (status, head) = ask(&bench, "OPTIONS", &bench.url("/a"), &[], None);
    assert!(matches!(status, 200 | 204), "{head}");
    assert!(field(&head, "Upload-Limit").is_some_and(|limit| limit.contains("max-size=1048576")), "{head}");
    let version = "Upload-Draft-Interop-Version: 8";
    let (status, said) = ask(&bench, "POST", &bench.url("/a"), &[version, "Upload-Complete: ?1"], Some("large"));
    assert_eq!(status, 413, "{said}");
    let (status, head) = ask(&bench, "POST", &bench.url("/a"), &[version, "Upload-Complete: ?0"], Some("part"));
    assert_eq!(status, 201, "{head}");
    let url = address(&bench, &head);
    assert_eq!(ask(&bench, "DELETE", &url, &[version], None).0, 204);
    assert!(matches!(ask(&bench, "HEAD", &url, &[version], None).0, 404 | 410));
    // Nor is a digest of something else accepted.
    let digest = "Repr-Digest: sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:";
    let (status, said) = ask(&bench, "POST", &bench.url("/a"), &[version, "Upload-Complete: ?1", digest], Some("part"));
    assert!((400..500).contains(&status), "{said}");
    assert!(!bench.served("a").exists());
    bench.link.end();
}

#[test]
#[ignore = "needs node, npm and a registry"]
fn tus_js_speaks_the_draft() {
    const MIB: u64 = 1 << 20;
    let bench = Bench::new(&["--upload-sync", "1M"]);
    let endpoint = format!("endpoint={}", bench.url("/a"));
    for words in [&[][..], &["chunk=10000000"]] {
        let bytes = bench.file("f", 40 * MIB + 1);
        bench.link.plan([(10 * MIB, Connection), (20 * MIB, Server), (30 * MIB, Connection), (40 * MIB, Reply)]);
        let report = bench.run(Client::TusJs, &[&["file=f", &*endpoint, "protocol=ietf-draft-05"], words].concat());
        report.succeeded(1);
        bench.assert_stored("a", &bytes);
        assert_eq!(report.count("POST"), 1, "{report:#?}");
        let _ = bench.link.sent();
        fs::remove_file(bench.served("a")).expect("it is there");
    }
    bench.link.end();
}
