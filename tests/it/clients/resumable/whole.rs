//! Uploads that nothing disturbs, in each form the clients have.

use std::fs;

use super::super::proxies::{free_address, proxy};
use super::{Bench, Client, field};

#[test]
#[ignore = "needs node, npm and a registry"]
fn tus_js_stores_a_file_in_each_of_its_forms() {
    let bench = Bench::new(&[]);
    let bytes = bench.file("f", 5_300_000);
    // The name in the metadata, and what else is said.
    let forms: [(&str, &[&str], &str); 6] = [
        ("at once", &[], "POST 201 PATCH 204"),
        ("in pieces", &["chunk=2000000"], "POST 201 PATCH 204 PATCH 204 PATCH 204"),
        ("within the creation", &["creation=1"], "POST 201"),
        ("a piece within the creation", &["creation=1", "chunk=2000000"], "POST 201 PATCH 204 PATCH 204"),
        ("of deferred length", &["defer=1", "chunk=2000000"], "POST 201 PATCH 204 PATCH 204 PATCH 204"),
        ("with another method", &["override=1"], "POST 201 POST 204"),
    ];
    for (name, words, wanted) in forms {
        let metadata = format!("meta.filename={name}");
        let report = bench.run(Client::TusJs, &[&["file=f", &*metadata], words].concat());
        report.succeeded(1);
        bench.assert_stored(name, &bytes);
        let replies: Vec<_> = report.replies.iter().map(|reply| &reply[..reply.rfind(' ').unwrap_or(0)]).collect();
        assert_eq!(replies.join(" "), wanted, "{name}: {report:#?}");
    }
    bench.link.end();
}

/// Each part is an upload of its own, without a name; the server joins them.
#[test]
#[ignore = "needs node, npm and a registry"]
fn tus_js_stores_a_file_in_parallel_parts() {
    let bench = Bench::new(&[]);
    let bytes = bench.file("f", (64 << 20) + 4321);
    for (parts, words) in [(4, &[][..]), (2, &[]), (3, &["chunk=10000000"])] {
        let (name, parallel) = (format!("meta.filename=of {parts}"), format!("parallel={parts}"));
        let report = bench.run(Client::TusJs, &[&["file=f", &*name, &*parallel], words].concat());
        report.succeeded(1);
        assert_eq!(report.count("POST 201"), parts + 1, "{report:#?}");
        bench.assert_stored(&format!("of {parts}"), &bytes);
        // Of the parts nothing is left; the record of the whole is.
        let kept = fs::read_dir(bench.served(".filewharf/uploads")).expect("a folder").flatten();
        let kept: Vec<_> = kept.map(|entry| entry.file_name()).filter(|name| name != "CLOCK").collect();
        assert!(kept.iter().all(|name| name.to_string_lossy().ends_with(".info")), "{kept:?}");
        let (status, head) = bench.curl(&["-I", "-H", "Tus-Resumable: 1.0.0", &report.successes[0]]);
        let length = bytes.len().to_string();
        assert_eq!((status, field(&head, "Upload-Length")), (200, Some(&*length)), "{head}");
        assert!(field(&head, "Upload-Concat").is_some_and(|concat| concat.starts_with("final;")), "{head}");
    }
    bench.link.end();
}

#[test]
#[ignore = "needs node, npm and a registry"]
fn tus_js_stores_an_empty_file() {
    let bench = Bench::new(&[]);
    bench.file("empty", 0);
    bench.run(Client::TusJs, &["file=empty"]).succeeded(1);
    bench.assert_stored("empty", b"");
    bench.link.end();
}

#[test]
#[ignore = "needs node, npm and a registry"]
fn tus_js_stores_four_files_at_once() {
    let bench = Bench::new(&[]);
    let files = [("a", 3_000_001), ("b", 4_000_003), ("c", 0), ("d", 2_500_007)]
        .map(|(name, len)| (name, bench.file(name, len)));
    let report = bench.run(Client::TusJs, &["file=a", "file=b", "file=c", "file=d", "chunk=1000000"]);
    report.succeeded(4);
    for (name, bytes) in &files {
        bench.assert_stored(name, bytes);
    }
    bench.link.end();
}

#[test]
#[ignore = "needs node, npm and a registry"]
fn uppy_stores_four_files_at_once() {
    let bench = Bench::new(&[]);
    let files = [("a", 3_000_001), ("b", 4_000_003), ("c", 1), ("naïve ☃ 名前.bin", 2_500_007)];
    let files = files.map(|(name, len)| (name, bench.file(name, len)));
    let words: Vec<_> = files.iter().map(|(name, _)| format!("file={name}")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).chain(["chunk=1000000"]).collect();
    // Each has the text "null" as its relative path, as Uppy's pages send it.
    let report = bench.run(Client::Uppy, &words);
    report.succeeded(4);
    for (name, bytes) in &files {
        bench.assert_stored(name, bytes);
    }
    assert!(!bench.served("null").exists(), "no path is not a name");
    bench.link.end();
}

#[test]
#[ignore = "needs python3, pip and a registry"]
fn tuspy_stores_a_file_in_each_of_its_forms() {
    let bench = Bench::new(&[]);
    let bytes = bench.file("f", 5_300_000);
    let forms: [(&str, &[&str]); 3] =
        [("at once", &[]), ("in pieces", &["chunk=1000000"]), ("with digests", &["chunk=1000000", "checksum=1"])];
    for (name, words) in forms {
        let metadata = format!("meta.filename={name}");
        bench.run(Client::TusPy, &[&["file=f", &*metadata], words].concat()).succeeded(1);
        bench.assert_stored(name, &bytes);
    }
    bench.file("empty", 0);
    bench.run(Client::TusPy, &["file=empty"]).succeeded(1);
    bench.assert_stored("empty", b"");
    bench.link.end();
}

#[test]
#[ignore = "needs node, npm, python3, pip and a registry"]
fn names_in_metadata_and_addresses_are_kept() {
    let bench = Bench::new(&[]);
    let bytes = bench.file("f", 100_000);
    // The path asked for, metadata, and the file that is made.
    let names: [(&str, &[&str], &str); 6] = [
        ("/", &["meta.filename=naïve ☃ 名前.bin"], "naïve ☃ 名前.bin"),
        ("/d/", &["meta.filename=a#b?c%41&d"], "d/a#b?c%41&d"),
        ("/d/e/", &["meta.filename=x", "meta.relativePath=Fotos/Été/x"], "d/e/Fotos/Été/x"),
        ("/", &["meta.filename=", "meta.name=by name"], "by name"),
        ("/final%20name", &["meta.filename=other"], "final name"),
        ("/", &["meta.filename=plain", "meta.filetype=text/plain", "meta.anything="], "plain"),
    ];
    for client in [Client::TusJs, Client::TusPy] {
        for (path, metadata, wanted) in names {
            let endpoint = format!("endpoint={}", bench.url(path));
            bench.run(client, &[&["file=f", &*endpoint], metadata].concat()).succeeded(1);
            bench.assert_stored(wanted, &bytes);
            fs::remove_file(bench.served(wanted)).expect("it is there");
        }
    }
    bench.link.end();
}

#[test]
#[ignore = "needs node, npm and a registry"]
fn an_upload_that_is_taken_back_leaves_nothing() {
    let bench = Bench::new(&[]);
    bench.file("f", 5_000_000);
    let report = bench.run(Client::TusJs, &["file=f", "chunk=1000000", "stop=2000000", "terminate=1"]);
    let url = report.stopped.as_ref().unwrap_or_else(|| panic!("{report:#?}"));
    assert_eq!(report.count("DELETE 204"), 1, "{report:#?}");
    let (status, head) = bench.curl(&["-I", "-H", "Tus-Resumable: 1.0.0", url]);
    assert!(matches!(status, 404 | 410) && field(&head, "Upload-Offset").is_none(), "{head}");
    assert!(!bench.served("f").exists());
    bench.link.end();
}

#[test]
#[ignore = "needs node, npm, python3, pip and a registry"]
fn a_complete_upload_replaces_the_file_of_its_name() {
    let bench = Bench::new(&[]);
    let bytes = bench.file("f", 1_500_000);
    for client in [Client::TusJs, Client::Uppy, Client::TusPy] {
        fs::write(bench.served("f"), "what was there before").expect("a file");
        bench.run(client, &["file=f"]).succeeded(1);
        bench.assert_stored("f", &bytes);
    }
    bench.link.end();
}

/// The address of an upload is one that the proxy has, though the server does not know its path.
#[test]
#[ignore = "needs nginx, node, npm, python3, pip and a registry"]
fn uploads_through_nginx_stay_under_its_path() {
    let bench = Bench::new(&[]);
    let bytes = bench.file("f", 2_500_000);
    let (address, home) = (free_address(), bench.dir.path().join("here"));
    let configuration = format!(
        "daemon off; worker_processes 1; pid {home}/nginx.pid; error_log {home}/nginx.log;\n\
         events {{}}\n\
         http {{ access_log off; client_body_temp_path {home}/body; proxy_temp_path {home}/proxy;\n\
         fastcgi_temp_path {home}/f_; uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;\n\
         server {{ listen {address}; location /files/ {{ proxy_pass http://{}/; }} }} }}\n",
        bench.link.address(),
        home = home.display(),
    );
    let _nginx = proxy("nginx", &["-c"], &home, &configuration, address);
    // Beyond a megabyte nginx asks for another setting: this is what pieces are for.
    for client in [Client::TusJs, Client::Uppy, Client::TusPy] {
        for (path, wanted) in [("/files/", "f"), ("/files/d/e/", "d/e/f")] {
            let report = bench.run(client, &["file=f", "chunk=1000000", &format!("endpoint=http://{address}{path}")]);
            report.succeeded(1);
            assert!(report.successes[0].starts_with(&format!("http://{address}/files/")), "{report:#?}");
            bench.assert_stored(wanted, &bytes);
            fs::remove_file(bench.served(wanted)).expect("it is there");
        }
    }
    bench.link.end();
}
