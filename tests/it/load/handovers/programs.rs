//! Programs that people use, unchanged, while processes of the server follow each other every second.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use support::StopOnDrop;
use support::client::content;
use support::server::without_settings;

use super::{Generations, Site, binary, number};

const FILES: usize = 2000;
const URLS: usize = 200;
/// How often each program runs at least.
const RUNS_MIN: usize = 2;
/// How long a process serves before the next is started.
const SERVES: Duration = Duration::from_secs(1);

fn fill(dir: &Path) {
    for n in 0..FILES {
        let dir = dir.join(format!("d{}", n % 20));
        fs::create_dir_all(&dir).expect("a folder");
        fs::write(dir.join(format!("f{n}")), content(n as u64, n * 31 % 9000)).expect("a file");
    }
}

#[track_caller]
fn succeeds(output: &Output) {
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {}", output.status, words.chars().take(2000).collect::<String>());
}

/// Repeats while processes follow each other: how often.
fn repeat(ends: &AtomicBool, mut run: impl FnMut(usize)) -> usize {
    let mut runs = 0;
    while runs < RUNS_MIN || !ends.load(Relaxed) {
        run(runs);
        runs += 1;
    }
    runs
}

#[track_caller]
fn same_trees(one: &Path, other: &Path) {
    succeeds(&Command::new("diff").arg("-r").args([one, other]).output().expect("diff can be run"));
}

#[test]
#[ignore = "needs curl, a minute and a release build; prints figures"]
fn commands_and_curl_notice_nothing_of_hand_overs_each_second() {
    let (site, first) = Site::start();
    let here = site.dir.path().join("here");
    fill(&here);
    let (at, ends) = (first.address(), AtomicBool::new(false));
    let filewharf = |words: &[&str]| {
        let output = without_settings(&binary()).args(words).output().expect("it can be run");
        succeeds(&output);
    };
    let here_text = here.to_str().expect("UTF-8");
    let mut generations = Generations::new(&site, first);
    let runs = thread::scope(|scope| {
        let stop = StopOnDrop(&ends);
        let (root, ends, here, filewharf) = (site.root(), &ends, &here, &filewharf);
        let put = scope.spawn({
            let root = root.clone();
            move || {
                repeat(ends, |nth| {
                    filewharf(&["put", "-r", here_text, &format!("{at}/put{nth}/")]);
                    same_trees(here, &root.join(format!("put{nth}/here")));
                })
            }
        });
        let sync = scope.spawn({
            let root = root.clone();
            move || {
                repeat(ends, |nth| {
                    filewharf(&["sync", here_text, &format!("{at}/sync{nth}/")]);
                    same_trees(here, &root.join(format!("sync{nth}")));
                })
            }
        });
        let curl = scope.spawn(move || repeat(ends, |_| curl(&at.to_string(), here, &root)));
        for _ in 0..number("HANDOVERS", 100) {
            thread::sleep(SERVES);
            generations.hand_over();
        }
        drop(stop);
        [put, sync, curl].map(|thread| thread.join().expect("no program fails"))
    });
    println!("handovers: {FILES} files by put -r and by sync, {URLS} up and down by one curl: {runs:?} times");
    generations.end();
}

/// One process of curl that stores many files and fetches them again, on as few connections as the server permits.
fn curl(at: &str, here: &Path, root: &Path) {
    let urls = (0..URLS).map(|n| (here.join(format!("d{}/f{n}", n % 20)), format!("http://{at}/curl/f{n}")));
    let (mut up, mut down) = (String::new(), String::new());
    let got = here.with_file_name("got");
    fs::create_dir_all(&got).expect("a folder");
    for (n, (file, url)) in urls.enumerate() {
        up += &format!("upload-file = \"{}\"\nurl = \"{url}\"\n", file.display());
        down += &format!("output = \"{}\"\nurl = \"{url}\"\n", got.join(format!("f{n}")).display());
    }
    for (name, config) in [("up", up), ("down", down)] {
        let file = here.with_file_name(name);
        fs::write(&file, config).expect("a file");
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail", "--rate", "100/s", "-K"]).arg(file);
        succeeds(&curl.output().expect("curl can be run"));
    }
    same_trees(&got, &root.join("curl"));
}
