//! tus with curl: what no client here sends, and what a person would type.

use std::fs;

use super::{Bench, address, field};
use support::client::wait_until;

const TUS: [&str; 2] = ["-H", "Tus-Resumable: 1.0.0"];

/// Creates an upload of this many bytes by tus; returns its address.
#[track_caller]
fn created(bench: &Bench, path: &str, length: usize) -> String {
    let length = format!("Upload-Length: {length}");
    let (status, head) = bench.curl(&[&TUS[..], &["-X", "POST", "-H", &length, &bench.url(path)]].concat());
    assert_eq!(status, 201, "{head}");
    address(bench, &head)
}

/// Appends a file by tus: the status and the offset that is said.
fn append(bench: &Bench, url: &str, offset: u64, file: &str, more: &[&str]) -> (u16, Option<String>) {
    let (offset, data) = (format!("Upload-Offset: {offset}"), format!("@{file}"));
    let fields = ["-H", "Content-Type: application/offset+octet-stream", "-H", &offset];
    let all = [&TUS[..], &["-X", "PATCH", "--data-binary", &data], &fields, more, &[url]].concat();
    let (status, head) = bench.curl(&all);
    (status, field(&head, "Upload-Offset").map(str::to_owned))
}

#[test]
#[ignore = "needs curl"]
fn what_the_server_can_do_is_said() {
    let bench = Bench::new(&["--max-size", "5M"]);
    let (status, head) = bench.curl(&["-X", "OPTIONS", &bench.url("/")]);
    assert!(matches!(status, 200 | 204), "{head}");
    assert_eq!((field(&head, "Tus-Version"), field(&head, "Tus-Max-Size")), (Some("1.0.0"), Some("5242880")), "{head}");
    let extensions = field(&head, "Tus-Extension").unwrap_or_default();
    let all = "creation,creation-with-upload,creation-defer-length,termination,checksum,expiration,concatenation";
    for wanted in all.split(',') {
        assert!(extensions.split(',').any(|own| own.trim() == wanted), "{wanted} is not in {extensions}");
    }
    let algorithms = field(&head, "Tus-Checksum-Algorithm").unwrap_or_default();
    assert!(["sha1", "sha256"].iter().all(|wanted| algorithms.split(',').any(|own| own == *wanted)), "{head}");
    let (status, head) =
        bench.curl(&["-X", "POST", "-H", "Tus-Resumable: 0.2.2", "-H", "Upload-Length: 1", &bench.url("/f")]);
    assert_eq!((status, field(&head, "Tus-Version")), (412, Some("1.0.0")), "{head}");
    bench.link.end();
}

#[test]
#[ignore = "needs curl"]
fn a_piece_with_a_wrong_digest_is_not_appended() {
    let bench = Bench::new(&[]);
    fs::write(bench.dir.path().join("here/piece"), "hello world").expect("a file");
    let url = created(&bench, "/f", 22);
    let sha1 = "Upload-Checksum: sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=";
    let wrong = "Upload-Checksum: sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let sha256 = "Upload-Checksum: sha256 uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=";
    assert_eq!(append(&bench, &url, 0, "piece", &["-H", wrong]).0, 460);
    assert_eq!(append(&bench, &url, 0, "piece", &["-H", "Upload-Checksum: md9 AAAA"]).0, 400);
    let (_, head) = bench.curl(&[&TUS[..], &["-I", &url]].concat());
    assert_eq!(field(&head, "Upload-Offset"), Some("0"), "{head}");
    assert_eq!(append(&bench, &url, 0, "piece", &["-H", sha1]), (204, Some("11".to_owned())));
    assert_eq!(append(&bench, &url, 11, "piece", &["-H", wrong]).0, 460);
    assert!(!bench.served("f").exists());
    assert_eq!(append(&bench, &url, 11, "piece", &["-H", sha256]), (204, Some("22".to_owned())));
    bench.assert_stored("f", b"hello worldhello world");
    bench.link.end();
}

#[test]
#[ignore = "needs curl"]
fn an_offset_never_says_more_than_came() {
    let bench = Bench::new(&[]);
    let bytes = bench.file("f", 3_000_000);
    let url = created(&bench, "/f", bytes.len());
    // curl gives up in the middle of a slow upload.
    let all = [
        "-sS",
        "--limit-rate",
        "500K",
        "--max-time",
        "1",
        "-X",
        "PATCH",
        "-H",
        "Tus-Resumable: 1.0.0",
        "-H",
        "Upload-Offset: 0",
        "-H",
        "Content-Type: application/offset+octet-stream",
        "--data-binary",
        "@f",
        &url,
    ];
    let here = bench.dir.path().join("here");
    let output = std::process::Command::new("curl").args(all).current_dir(&here).output().expect("curl can be run");
    assert_eq!(output.status.code(), Some(28), "curl gives up");
    // What came before the break is made durable at once, and only then said.
    let mut offset = 0;
    wait_until("an offset", || {
        let (status, head) = bench.curl(&[&TUS[..], &["-I", &url]].concat());
        assert!(matches!(status, 200 | 204), "{head}");
        assert_eq!(field(&head, "Cache-Control"), Some("no-store"), "{head}");
        offset = field(&head, "Upload-Offset").and_then(|text| text.parse().ok()).expect("an offset");
        offset > 0
    });
    assert!(offset < bytes.len(), "{offset}");
    fs::write(here.join("rest"), &bytes[offset..]).expect("a file");
    assert_eq!(append(&bench, &url, offset as u64, "rest", &[]), (204, Some(bytes.len().to_string())));
    bench.assert_stored("f", &bytes);
    bench.link.end();
}
