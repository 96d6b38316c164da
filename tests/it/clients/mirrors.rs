//! Programs that copy a directory over HTTP, unchanged, against the built binary: each has every name.

use std::fs;
use std::path::Path;

use super::http::Bench;

const FILES: usize = 2300;
/// Names that mean something else in an address, in HTML or in both.
const ODD: [&str; 10] =
    ["a\"b", "a&b", "a<b>", "two  blanks", "a#b", "a%41", "a?b=c", "naïve ☃ 名前", "semi;colon", "plus+at@'"];

/// A served directory with this many files, the content of each is its name.
fn many() -> Bench {
    let bench = Bench::new(&[]);
    let dir = bench.served("many");
    fs::create_dir_all(&dir).expect("a folder");
    let names = (ODD.len()..FILES).map(|n| format!("file number {n:05}.txt"));
    for name in names.chain(ODD.map(str::to_owned)) {
        fs::write(dir.join(&name), &name).expect("a file");
    }
    bench
}

/// Every file is in `copy`, with its content, and nothing else is.
#[track_caller]
fn assert_whole(bench: &Bench, copy: &Path) {
    let names = |dir: &Path| {
        let entries = fs::read_dir(dir).expect("a folder");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
        names.sort();
        names
    };
    let served = bench.served("many");
    let (wanted, got) = (names(&served), names(copy));
    let missing: Vec<_> = wanted.iter().filter(|name| got.binary_search(name).is_err()).collect();
    let more: Vec<_> = got.iter().filter(|name| wanted.binary_search(name).is_err()).collect();
    assert!(missing.is_empty() && more.is_empty(), "of {} missing: {missing:?}, more: {more:?}", wanted.len());
    assert_eq!(wanted.len(), FILES);
    for name in wanted {
        assert_eq!(fs::read(copy.join(&name)).expect("a copy"), fs::read(served.join(&name)).expect("a file"));
    }
}

#[test]
#[ignore = "needs rclone"]
fn rclone_copies_a_directory_whole() {
    let bench = many();
    let url = bench.url("/many/");
    assert_eq!(bench.run("rclone", &["copy", ":http:", "copy", "--http-url", &url, "--config", "none"]).0, 0);
    assert_whole(&bench, &bench.here("copy"));
    bench.server.end();
}

#[test]
#[ignore = "needs lftp"]
fn lftp_mirrors_a_directory_whole() {
    let bench = many();
    let script = format!("set cmd:fail-exit true; mirror --parallel=4 {} copy", bench.url("/many/"));
    assert_eq!(bench.run("lftp", &["-c", &script]).0, 0);
    assert_whole(&bench, &bench.here("copy"));
    bench.server.end();
}

#[test]
#[ignore = "needs wget"]
fn wget_fetches_a_directory_whole() {
    let bench = many();
    let all = ["-q", "-r", "-np", "-nH", "--restrict-file-names=nocontrol", &bench.url("/many/")];
    assert_eq!(bench.run("wget", &all).0, 0);
    let copy = bench.here("many");
    fs::remove_file(copy.join("index.html")).expect("wget keeps the index");
    // wget decodes a name once more for the file it makes, whatever the server is.
    fs::rename(copy.join("aA"), copy.join("a%41")).expect("a copy");
    assert_whole(&bench, &copy);
    bench.server.end();
}

#[test]
#[ignore = "needs curl"]
fn curl_fetches_an_index_whole() {
    let bench = many();
    for version in ["--http1.1", "--http1.0"] {
        let (code, index) = bench.curl(&[version, &bench.url("/many/")]);
        let index = String::from_utf8(index).expect("text");
        assert_eq!((code, index.matches("<a href=").count()), (200, FILES + 1), "and the folder above");
        assert!(index.ends_with("</html>\n"));
    }
    bench.server.end();
}

#[test]
#[ignore = "needs node"]
fn node_fetches_an_array() {
    let bench = many();
    let script = format!(
        "(async () => {{
            const names = [];
            for (let url = '{}'; url;) {{
                const answer = await fetch(url, {{ headers: {{ Accept: 'application/json' }} }});
                names.push(...(await answer.json()).map(entry => entry.name));
                const link = answer.headers.get('Link');
                url = link && new URL(link.slice(1, link.indexOf('>')), url).href;
            }}
            console.log(new Set(names).size, names.length, names.includes('a\"b'));
        }})()",
        bench.url("/many/")
    );
    let (code, said) = bench.run("node", &["-e", &script]);
    assert_eq!((code, &*String::from_utf8_lossy(&said)), (0, &*format!("{FILES} {FILES} true\n")));
    bench.server.end();
}
