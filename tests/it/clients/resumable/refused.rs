//! Uploads that cannot be: the client hears of it, reports a failure or starts again as it should,
//! and nothing else comes of it.

use std::fs;

use super::{Bench, Client, field};
use support::client::wait_until;

#[test]
#[ignore = "needs node, npm, python3, pip and a registry"]
fn a_file_that_may_not_be_replaced_stays_as_it_is() {
    let bench = Bench::new(&[]);
    bench.file("f", 1_000_000);
    fs::write(bench.served("f"), "what was there before").expect("a file");
    for client in [Client::TusJs, Client::Uppy, Client::TusPy] {
        let report = bench.run(client, &["file=f", "header.If-None-Match=*"]);
        assert!(report.successes.is_empty() && report.failures.len() == 1, "{client:?}: {report:#?}");
        assert_eq!(fs::read(bench.served("f")).expect("it is there"), b"what was there before");
    }
    bench.link.end();
}

#[test]
#[ignore = "needs node, npm, python3, pip and a registry"]
fn one_that_is_too_large_is_refused_at_once() {
    let bench = Bench::new(&["--max-size", "1M"]);
    bench.file("f", 10_000_000);
    for client in [Client::TusJs, Client::Uppy, Client::TusPy] {
        bench.link.plan([]);
        let report = bench.run(client, &["file=f"]);
        assert!(report.successes.is_empty() && report.failures.len() == 1, "{client:?}: {report:#?}");
        assert!(bench.link.sent() < 100_000, "{client:?}: {} bytes were sent", bench.link.sent());
        assert!(!bench.served("f").exists());
    }
    // A length that is said late is a length.
    let report = bench.run(Client::TusJs, &["file=f", "defer=1", "chunk=300000"]);
    assert!(report.successes.is_empty() && report.failures.len() == 1, "{report:#?}");
    assert!(!bench.served("f").exists());
    bench.link.end();
}

#[test]
#[ignore = "needs node, npm, python3, pip and a registry"]
fn a_secret_is_asked_for() {
    let secret = tempfile::NamedTempFile::new().expect("a file");
    fs::write(secret.path(), "s3cret").expect("a file");
    let bench = Bench::new(&["--token-file", secret.path().to_str().expect("UTF-8")]);
    let bytes = bench.file("f", 1_000_000);
    for client in [Client::TusJs, Client::Uppy, Client::TusPy] {
        for words in [&["file=f"][..], &["file=f", "header.Authorization=Bearer wrong"]] {
            let report = bench.run(client, words);
            assert!(report.successes.is_empty() && report.failures.len() == 1, "{client:?}: {report:#?}");
            assert!(!bench.served("f").exists());
        }
        bench.run(client, &["file=f", "header.Authorization=Bearer s3cret"]).succeeded(1);
        bench.assert_stored("f", &bytes);
        fs::remove_file(bench.served("f")).expect("it is there");
    }
    bench.link.end();
}

#[test]
#[ignore = "needs node, npm and a registry"]
fn an_upload_that_has_expired_is_started_again() {
    let bench = Bench::new(&["--upload-expiry", "1"]);
    let bytes = bench.file("f", 3_000_000);
    let report = bench.run(Client::TusJs, &["file=f", "chunk=1000000", "stop=1000000"]);
    let url = report.stopped.as_ref().unwrap_or_else(|| panic!("{report:#?}"));
    wait_until("the upload expires", || {
        let (status, head) = bench.curl(&["-I", "-H", "Tus-Resumable: 1.0.0", url]);
        assert!(matches!(status, 200 | 204 | 410), "{head}");
        status == 410
    });
    let report = bench.run(Client::TusJs, &["file=f", &format!("url={url}")]);
    report.succeeded(1);
    assert_eq!((report.count("HEAD 410"), report.count("POST 201")), (1, 1), "{report:#?}");
    bench.assert_stored("f", &bytes);
    bench.link.end();
}

/// A second client is ahead of the first: the answer to the first says where to continue.
#[test]
#[ignore = "needs node, npm, curl and a registry"]
fn a_client_that_is_wrong_about_the_offset_is_refused_with_the_right_one() {
    let bench = Bench::new(&[]);
    let bytes = bench.file("f", 3_000_000);
    let report = bench.run(Client::TusJs, &["file=f", "chunk=1000000", "stop=1000000"]);
    let url = report.stopped.as_ref().unwrap_or_else(|| panic!("{report:#?}"));
    let patch = |offset: &str| {
        let offset = format!("Upload-Offset: {offset}");
        let fields =
            ["-H", "Tus-Resumable: 1.0.0", "-H", "Content-Type: application/offset+octet-stream", "-H", &offset];
        bench.curl(&[&["-X", "PATCH", "--data-binary", "x"], &fields[..], &[url]].concat())
    };
    for wrong in ["0", "999999", "1000001", "3000000"] {
        let (status, head) = patch(wrong);
        assert_eq!((status, field(&head, "Upload-Offset")), (409, Some("1000000")), "{head}");
    }
    for nonsense in ["", "-1", "x", "18446744073709551616"] {
        assert!(matches!(patch(nonsense).0, 400 | 409), "{:?}", patch(nonsense));
    }
    bench.run(Client::TusJs, &["file=f", &format!("url={url}")]).succeeded(1);
    bench.assert_stored("f", &bytes);
    bench.link.end();
}
