//! Archives opened by the programs that people have for them.

use std::fs;
use std::process::Command;

use super::http::Bench;
use support::client::content;

/// Directories and files of all kinds of names and sizes.
fn make(bench: &Bench) {
    let long = "d".repeat(200);
    for (path, len) in [
        ("a.txt", 5),
        ("sub/deep/zero", 0),
        ("sub/\u{fc} n\u{e4}me \u{4f60}", 3_000_000),
        (&format!("{long}/{long}/{}", "n".repeat(255)), 513),
        ("-rf", 512),
    ] {
        let path = bench.served(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        fs::write(path, content(len as u64, len)).expect("a file");
    }
    fs::create_dir(bench.served("empty")).expect("a folder");
}

/// Unpacks an archive by a command and compares everything with what is served.
fn check(bench: &Bench, archive: &str, command: &str) {
    let out = bench.here("out");
    fs::create_dir(&out).expect("a folder");
    let script = format!("set -e; cd out; {command}; cd ..; diff -r -x .filewharf ../files out");
    let (code, said) = bench.run("bash", &["-c", &script.replace("FILE", &format!("../{archive}"))]);
    assert_eq!(code, 0, "{command}: {}", said.escape_ascii());
    fs::remove_dir_all(&out).expect("it is removed");
}

#[test]
#[ignore = "needs curl, bsdtar and GNU tar"]
fn a_tar_is_opened_by_bsdtar_gnu_tar_and_python() {
    let bench = Bench::new(&[]);
    make(&bench);
    for option in ["--http1.1", "-0"] {
        assert_eq!(bench.curl(&[option, "-o", "t.tar", &bench.url("/?archive=tar")]).0, 200);
        check(&bench, "t.tar", "bsdtar xf FILE");
        check(&bench, "t.tar", "bsdtar xf - <FILE");
        check(&bench, "t.tar", "tar xf FILE");
        check(&bench, "t.tar", "python3 -c 'import tarfile; tarfile.open(\"FILE\").extractall()'");
    }
    bench.server.end();
}

#[test]
#[ignore = "needs curl, bsdtar, unzip and 7zz"]
fn a_zip_is_opened_by_unzip_bsdtar_seven_zip_and_python() {
    let bench = Bench::new(&[]);
    make(&bench);
    for option in ["--http1.1", "-0"] {
        assert_eq!(bench.curl(&[option, "-o", "t.zip", &bench.url("/?archive=zip")]).0, 200);
        check(&bench, "t.zip", "unzip -q FILE");
        check(&bench, "t.zip", "bsdtar xf FILE");
        check(&bench, "t.zip", "bsdtar xf - <FILE");
        check(&bench, "t.zip", "7zz x FILE >&2");
        let python = "import zipfile; z = zipfile.ZipFile(\"FILE\"); assert z.testzip() is None; z.extractall()";
        check(&bench, "t.zip", &format!("python3 -c '{python}'"));
        let (code, said) = bench.run("bash", &["-c", "unzip -tq t.zip && 7zz t t.zip | grep -q 'Everything is Ok'"]);
        assert_eq!(code, 0, "{}", said.escape_ascii());
    }
    bench.server.end();
}

#[test]
#[ignore = "needs curl, unzip and python3"]
fn a_zip_of_thirty_thousand_files_is_sent_and_one_of_a_hundred_thousand_refused_with_a_hint_at_tar() {
    let bench = Bench::new(&[]);
    let make = "import os\nfor n in range(100000):\n d = f'../files/{n // 30000}'\n os.makedirs(d, exist_ok=True)\n \
        open(f'{d}/{n:06}', 'w').close()";
    assert_eq!(bench.run("python3", &["-c", make]).0, 0);
    assert_eq!(bench.curl(&["-o", "t.zip", &bench.url("/?archive=zip&name=0")]).0, 200);
    assert_eq!(bench.run("unzip", &["-tqq", "t.zip"]).0, 0);
    let (code, said) = bench.curl(&[&bench.url("/?archive=zip")]);
    assert!(code == 413 && String::from_utf8_lossy(&said).contains("archive=tar"), "{code} {}", said.escape_ascii());
    assert_eq!(bench.curl(&["-o", "t.tar", &bench.url("/?archive=tar")]).0, 200);
    let count = "import tarfile; assert len(tarfile.open('t.tar').getmembers()) == 100004";
    assert!(
        Command::new("python3").args(["-c", count]).current_dir(bench.here("")).status().expect("python3").success()
    );
    bench.server.end();
}
