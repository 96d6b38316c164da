//! The client's commands as they are typed, against the server for tests.

mod managed;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use super::ls::{Depth, Form};
use super::*;
use crate::client::fake::Fake;
use crate::client::{Address, Client};

const DONE: ExitCode = ExitCode::SUCCESS;
const FAILED: ExitCode = ExitCode::FAILURE;

/// Runs a command. Words hold no blanks.
fn filewharf(line: &str) -> ExitCode {
    let words: Vec<OsString> = line.split(' ').chain(["--retry-for", "0"]).map(OsString::from).collect();
    run(words.into_iter())
}

fn typed<'a>(words: impl Iterator<Item = &'a str>) -> Result<Action, ParseError> {
    let words: Vec<OsString> = words.map(OsString::from).collect();
    parse(&mut Parser::from_args(words))
}

fn assert_end(line: &str, want: ExitCode) {
    assert_eq!(filewharf(line), want, "{line}");
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("below a folder")).expect("a folder");
    fs::write(path, text).expect("written");
}

fn contents(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_str().expect("UTF-8").to_owned();
        match path.is_dir() {
            true if contents(&path).is_empty() => found.push(format!("{name}/")),
            true => found.extend(contents(&path).iter().map(|below| format!("{name}/{below}"))),
            false => found.push(format!("{name}={}", fs::read_to_string(&path).expect("text"))),
        }
    }
    found.sort();
    found
}

#[test]
fn every_help_has_examples_that_work_and_fits_the_screen() {
    for command in COMMANDS {
        let (name, help) = (command.usage.name, command.help());
        assert!(help.to_lowercase().contains("example"), "{name}");
        assert!(help.lines().all(|line| line.len() <= 100), "{help}");
        // Paragraphs are filled: a line ends where the next word would not fit.
        for pair in help.lines().collect::<Vec<_>>().windows(2) {
            let is_text = |line: &str| line.starts_with(|c: char| c.is_alphanumeric());
            let next = pair[1].split(' ').next().unwrap_or_default();
            let is_filled = pair[0].len() + 1 + next.len() > 90;
            assert!(is_filled || !is_text(pair[0]) || !is_text(pair[1]), "{name}: {pair:#?}");
        }
        for example in help.split(['\n', '|', '>']).filter_map(|part| part.trim().strip_prefix("filewharf ")) {
            assert!(typed(example.split(' ')).is_ok(), "{example}");
        }
        assert!(matches!(typed(["help", name].into_iter()), Err(ParseError::Help(text)) if text == help));
    }
}

#[test]
fn wrong_usage_has_its_own_exit_code() {
    let dir = tempfile::tempdir().expect("a folder");
    let empty = dir.path().join("empty");
    write(&empty, "\n");
    for line in [
        "put a",
        "put a b c:x/",
        "put - 127.0.0.1:1/",
        "put - a --name n 127.0.0.1:1/",
        "put a b --name n 127.0.0.1:1/",
        "put a --name x/y 127.0.0.1:1/",
        "put a --name .. 127.0.0.1:1/",
        "get :1/a",
        "get 127.0.0.1:1/a/../b",
        "get -r 127.0.0.1:1/a -",
        "ls",
        "ls ftp://127.0.0.1:1/",
        "rm",
        "rm 127.0.0.1:1/a --parallel 33",
        "rm 127.0.0.1:1/a --timeout 0",
        "rm 127.0.0.1:1/a --token-file /nowhere/at/all",
        &format!("rm 127.0.0.1:1/a --token-file {}", empty.display()),
    ] {
        assert_end(line, ExitCode::from(WRONG_USAGE));
    }
}

#[test]
fn directories_survive_a_round_trip() {
    let (fake, dir) = (Fake::start(), tempfile::tempdir().expect("a folder"));
    let (from, to) = (dir.path().join("x"), dir.path().join("back"));
    for at in 0..40 {
        write(&from.join(format!("sub{}/f{at}", at % 3)), &format!("content {at}"));
    }
    write(&from.join("a"), "1");
    write(&from.join("a.part"), "2");
    write(&from.join("a.part.part"), "3");
    write(&from.join("a.part.etag"), "4");
    fs::create_dir(from.join("nothing")).expect("a folder");
    fake.state().page = Some(5);
    // The second time over what is there.
    for _ in 0..2 {
        assert_end(&format!("put -r {} {}/in", from.display(), fake.address), DONE);
        assert_end(&format!("get -r --parallel 1 {}/in {}", fake.address, to.display()), DONE);
        assert_eq!(contents(&to), contents(&from));
    }
    assert_eq!(fake.content("/in/sub0/f0").expect("there"), b"content 0");
    assert_end(&format!("put -r {} {}/in/", from.display(), fake.address), DONE);
    assert_eq!(fake.content("/in/x/sub0/f0").expect("there"), b"content 0");
    assert_end(&format!("get -r {}/in/x/ {}/", fake.address, to.display()), DONE);
    assert_eq!(contents(&to.join("x")), contents(&from));
}

#[test]
fn links_are_followed_unless_they_form_a_loop() {
    let (fake, dir) = (Fake::start(), tempfile::tempdir().expect("a folder"));
    let from = dir.path().join("x");
    write(&from.join("f"), "1");
    write(&dir.path().join("other/g"), "2");
    symlink("f", from.join("link")).expect("a link");
    symlink("../other", from.join("folder")).expect("a link");
    symlink("..", from.join("loop")).expect("a link");
    symlink(".", from.join("self")).expect("a link");
    assert_end(&format!("put -r {} {}", from.display(), fake.address), DONE);
    let names: Vec<String> = fake.state().files.keys().cloned().collect();
    for name in ["/x/f", "/x/folder/g", "/x/link"] {
        assert!(names.iter().any(|there| there == name), "{name} in {names:?}");
    }
    assert!(!names.iter().any(|name| name.contains("self/") || name.contains("loop/x/loop")), "{names:?}");
    symlink("nowhere", from.join("dangling")).expect("a link");
    assert_end(&format!("put -r {} {}", from.display(), fake.address), FAILED);
}

#[test]
fn a_file_that_fails_does_not_stop_the_others() {
    let (fake, dir) = (Fake::start(), tempfile::tempdir().expect("a folder"));
    let here = dir.path().display();
    write(&dir.path().join("a"), "1");
    write(&dir.path().join("b"), "2");
    write(&dir.path().join("d/c"), "3");
    assert_end(&format!("put {here}/a {here}/missing {here}/d {here}/b {}", fake.address), FAILED);
    assert_eq!(fake.state().files.keys().collect::<Vec<_>>(), ["/a", "/b"]);
    let (address, to) = (&fake.address, dir.path().join("to"));
    fs::create_dir(&to).expect("a folder");
    assert_end(&format!("get {address}/a {address}/missing {address}/b {}", to.display()), FAILED);
    assert_eq!(contents(&to), ["a=1", "b=2"]);
    assert_end(&format!("rm {address}/a {address}/missing {address}/b"), FAILED);
    assert!(fake.state().files.is_empty());
}

#[test]
fn nothing_is_written_outside_the_destination() {
    let (fake, dir) = (Fake::start(), tempfile::tempdir().expect("a folder"));
    let to = dir.path().join("in/to");
    fs::create_dir_all(&to).expect("a folder");
    for name in ["/good", "/evil", "/etc"] {
        fake.store(name, b"x");
    }
    fake.state().listing = Some(
        "- 7 - ../\n- 7 - ./\n1 7 ab ../evil\n1 7 ab ..\n1 7 ab /etc\n1 7 ab a/b\n1 7 ab \n1 7 ab n\0\n- 7 - /\n1 7 ab good\n",
    );
    assert_end(&format!("get -r {}/ {}", fake.address, to.display()), FAILED);
    assert_eq!(contents(dir.path()), ["in/to/good=x"]);
    assert!(fake.state().log.iter().all(|line| !line.starts_with("GET") || line.ends_with(" /good")));
}

#[test]
fn links_at_the_destination_are_not_followed() {
    let (fake, dir) = (Fake::start(), tempfile::tempdir().expect("a folder"));
    let (here, address) = (dir.path(), &fake.address);
    fake.store("/f", &[b'x'; 200_000]);
    fake.store("/tree/top/inner", b"y");
    let victim = here.join("victim");
    for record in ["precious", "4-1 200000\n131072 00\n"] {
        write(&victim, record);
        let _ = fs::remove_file(here.join("f.part.etag"));
        write(&here.join("f.part"), "");
        symlink("victim", here.join("f.part.etag")).expect("a link");
        assert_end(&format!("get {address}/f {}/", here.display()), DONE);
        assert_eq!(fs::read_to_string(&victim).expect("still there"), record);
    }
    // What the user names may be a link, what the server names under it may not.
    for (dest, connection) in [("one", "one/tree"), ("two", "two/tree/top")] {
        let outside = here.join("outside").join(dest);
        fs::create_dir_all(&outside).expect("a folder");
        fs::create_dir_all(here.join(connection).parent().expect("a parent")).expect("a folder");
        symlink(&outside, here.join(connection)).expect("a link");
        assert_end(&format!("get -r {address}/tree {}/", here.join(dest).display()), FAILED);
        assert_eq!(contents(&outside), Vec::<String>::new(), "{dest}");
    }
    fs::create_dir(here.join("real")).expect("a folder");
    symlink("real", here.join("typed")).expect("a link");
    assert_end(&format!("get -r {address}/tree {}/typed", here.display()), DONE);
    assert_eq!(contents(&here.join("real")), ["top/inner=y"]);
}

#[test]
fn a_tree_is_walked_page_by_page_and_to_a_bounded_depth() {
    let (fake, dir) = (Fake::start(), tempfile::tempdir().expect("a folder"));
    for name in ["a", "b", "c", "d"] {
        fake.store(&format!("/wide/{name}/f"), b"x");
    }
    fake.state().page = Some(2);
    assert_end(&format!("get -r {}/wide {}", fake.address, dir.path().display()), DONE);
    let asked: Vec<String> = fake.state().log.iter().filter(|line| line.starts_with("LIST")).cloned().collect();
    // What a page names is fetched before the next page comes, so that only one page is held.
    let order =
        ["LIST /wide/", "LIST /wide/a/", "LIST /wide/b/", "LIST after=b /wide/", "LIST /wide/c/", "LIST /wide/d/"];
    assert_eq!(asked, order);
    fake.state().log.clear();
    fake.state().listing = Some("- 7 - d/\n");
    assert_end(&format!("get -r {}/wide {}/deep", fake.address, dir.path().display()), FAILED);
    assert_eq!(fake.state().log.iter().filter(|line| line.starts_with("LIST")).count(), 64);
}

#[test]
fn a_single_file_takes_the_given_name() {
    let (fake, dir) = (Fake::start(), tempfile::tempdir().expect("a folder"));
    let (here, address) = (dir.path().display(), &fake.address);
    write(&dir.path().join("f"), "1");
    assert_end(&format!("put {here}/f {address}/in/g"), DONE);
    assert_end(&format!("get {address}/in/g {here}/h"), DONE);
    assert_end(&format!("get {address}/in/g --quiet {here}/new/"), DONE);
    assert_end(&format!("get {address}/in/g {here}/new"), FAILED);
    assert_end(&format!("put {here}/f {address}/in"), FAILED);
    assert_end(&format!("get {address}/in/g /dev/null"), DONE);
    assert_eq!(contents(dir.path()), ["f=1", "h=1", "new/g=1"]);
    assert_end(&format!("get {address}/in {here}/i"), FAILED);
    assert_end(&format!("get {address}/in/ {here}/i"), FAILED);
    assert_end(&format!("get {address}/in/g {here}/no/such/folder"), FAILED);
}

#[test]
fn a_pipe_is_sent_to_its_end() {
    let (fake, dir) = (Fake::start(), tempfile::tempdir().expect("a folder"));
    let pipe = dir.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a pipe");
    let writer = thread::spawn({
        let pipe = pipe.clone();
        move || fs::write(pipe, "through the pipe")
    });
    assert_end(&format!("put {} {}", pipe.display(), fake.address), DONE);
    writer.join().expect("no panic").expect("written");
    assert_eq!(fake.content("/pipe").expect("there"), b"through the pipe");
    assert_end(&format!("put -r {} {}", dir.path().display(), fake.address), FAILED);
}

#[test]
fn a_listing_shows_directories_and_single_files() {
    let fake = Fake::start();
    fake.store("/d/f 1", b"hello");
    fake.store("/d/sub/x", b"");
    let mut client = Client::connect(&fake.address, Fake::options()).expect("up");
    for (path, want) in [
        ("/d", "5\t2001-09-09T01:46:40Z\tf 1\n-\t1970-01-01T00:00:07Z\tsub/\n"),
        ("/d/f 1", "5\t2001-09-09T01:46:40Z\tf 1\n"),
    ] {
        let mut out = Vec::new();
        ls::list(&mut client, path, Depth::Level, Form::Tabs, &mut out).expect("a listing");
        assert_eq!(String::from_utf8_lossy(&out), want);
    }
    assert_end(&format!("ls {}/missing", fake.address), FAILED);
}

#[test]
fn a_wrong_secret_is_tried_once_and_the_right_one_is_accepted() {
    let (fake, dir) = (Fake::start(), tempfile::tempdir().expect("a folder"));
    let here = dir.path().display();
    fake.state().token = Some("s3cret".to_owned());
    write(&dir.path().join("secret"), "s3cret\n");
    write(&dir.path().join("wrong"), "wrong\n");
    let files: Vec<String> = (0..20).map(|at| format!("{here}/f{at}")).collect();
    files.iter().for_each(|file| write(Path::new(file), "1"));
    let line =
        |secret: &str| format!("put {} {} --parallel 1 --token-file {here}/{secret}", files.join(" "), fake.address);
    assert_end(&line("wrong"), FAILED);
    assert_eq!(fake.state().log, ["AUTH wrong"]);
    assert_end(&line("secret"), DONE);
    assert_eq!(fake.state().files.len(), 20);
}

#[test]
fn several_connections_are_used_for_several_files_and_one_for_one() {
    let (fake, dir) = (Fake::start(), tempfile::tempdir().expect("a folder"));
    for at in 0..50 {
        write(&dir.path().join(format!("x/f{at}")), "1");
    }
    assert_end(&format!("put -r {}/x {} --parallel 3", dir.path().display(), fake.address), DONE);
    assert!((1..=3).contains(&fake.state().connections));
    fake.state().connections = 0;
    assert_end(&format!("put {}/x/f1 {}", dir.path().display(), fake.address), DONE);
    assert_eq!(fake.state().connections, 1);
}

#[test]
fn an_unreachable_server_is_a_failure() {
    let address = Address { host: "127.0.0.1".to_owned(), port: 1, tls: false };
    assert_end(&format!("ls {address}"), FAILED);
}

/// Which files were transferred since the last call.
fn transferred(fake: &Fake, verb: &str) -> Vec<String> {
    let mut state = fake.state();
    let lines = state.log.drain(..).filter(|line| line.starts_with(verb));
    let mut names: Vec<_> = lines.map(|line| line[line.find('/').expect("a path")..].to_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_file_from_before_1970_is_sent_listed_and_fetched_with_its_time_and_only_once() {
    let (fake, dir) = (Fake::start(), tempfile::tempdir().expect("a folder"));
    let (from, to) = (dir.path().join("d"), dir.path().join("to"));
    write(&from.join("f"), "1");
    fs::create_dir(&to).expect("a folder");
    let time = SystemTime::UNIX_EPOCH - Duration::from_millis(1_500);
    fs::File::options().write(true).open(from.join("f")).and_then(|file| file.set_modified(time)).expect("a time");
    for (line, verb) in [
        (format!("put -r --update {} {}", from.display(), fake.address), "PUT"),
        (format!("get -r --update {}/d {}/", fake.address, to.display()), "GET"),
    ] {
        for want in [&["/d/f"][..], &[]] {
            assert_end(&line, DONE);
            assert_eq!(transferred(&fake, verb), want);
        }
    }
    assert_eq!(fake.state().files["/d/f"].mtime, -2);
    let fetched = fs::metadata(to.join("d/f")).and_then(|file| file.modified()).expect("a time");
    assert_eq!(fetched, SystemTime::UNIX_EPOCH - Duration::from_secs(2));
    let mut out = Vec::new();
    let mut client = Client::connect(&fake.address, Fake::options()).expect("up");
    ls::list(&mut client, "/d", Depth::Level, Form::Tabs, &mut out).expect("listed");
    assert_eq!(String::from_utf8_lossy(&out), "1\t1969-12-31T23:59:58Z\tf\n");
}

fn set_time(path: &Path, seconds: u64) {
    let file = fs::File::options().write(true).open(path).expect("open");
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).expect("a time");
}

#[test]
fn with_update_only_files_of_another_size_or_time_are_sent() {
    let (fake, dir) = (Fake::start(), tempfile::tempdir().expect("a folder"));
    let from = dir.path().join("d");
    for name in ["a", "b", "x/c", "new"] {
        write(&from.join(name), "1");
        set_time(&from.join(name), 1_000);
    }
    let put = |flags: &str| {
        assert_end(&format!("put -r {flags} {} {}", from.display(), fake.address), DONE);
        transferred(&fake, "PUT")
    };
    assert_eq!(put("--update"), ["/d/a", "/d/b", "/d/new", "/d/x/c"]);
    assert_eq!(put("--update"), [""; 0]);
    fs::create_dir(from.join("empty")).expect("a folder");
    put("--update");
    fake.state().page = Some(2);
    assert_end(&format!("put -r -u {} {}", from.display(), fake.address), DONE);
    let asked: Vec<_> = fake.state().log.drain(..).collect();
    let pages = ["LIST /d/", "LIST after=b /d/", "LIST after=new /d/", "LIST /d/empty/", "LIST /d/x/"];
    assert_eq!(asked.iter().filter(|line| !pages.contains(&line.as_str())).count(), 0, "{asked:#?}");
    set_time(&from.join("a"), 2_000);
    write(&from.join("x/c"), "22");
    set_time(&from.join("x/c"), 1_000);
    assert_eq!(put("--update"), ["/d/a", "/d/x/c"]);
    // Another content of the same size and time is what --checksum is for.
    write(&from.join("b"), "2");
    set_time(&from.join("b"), 1_000);
    set_time(&from.join("a"), 3_000);
    assert_eq!(put("-u"), ["/d/a"]);
    assert_eq!(put("-c"), ["/d/b"]);
    set_time(&from.join("a"), 4_000);
    assert_eq!(put("-uc"), [""; 0]);
    fake.state().files.get_mut("/d/a").expect("there").sha256 = None;
    assert_eq!(put("--checksum"), ["/d/a"], "a digest that is not known is not equal");
    assert_eq!(put("-q").len(), 4);
    assert_end(&format!("put -u --name n - {}", fake.address), ExitCode::from(WRONG_USAGE));
}

#[test]
fn with_update_only_files_of_another_size_or_time_are_fetched() {
    let (fake, dir) = (Fake::start(), tempfile::tempdir().expect("a folder"));
    for name in ["a", "b", "x/c"] {
        fake.store(&format!("/d/{name}"), b"1");
    }
    let here = dir.path();
    let get = |flags: &str| {
        assert_end(&format!("get -r {flags} {}/d {}/d", fake.address, here.display()), DONE);
        transferred(&fake, "GET")
    };
    assert_eq!(get("--update"), ["/d/a", "/d/b", "/d/x/c"]);
    assert_eq!(get("--update"), [""; 0]);
    set_time(&here.join("d/a"), 2_000);
    fake.store("/d/x/c", b"22");
    assert_eq!(get("--update"), ["/d/a", "/d/x/c"]);
    fake.store("/d/b", b"2");
    set_time(&here.join("d/a"), 2_000);
    assert_eq!(get("--update"), ["/d/a"]);
    set_time(&here.join("d/a"), 2_000);
    assert_eq!(get("--checksum"), ["/d/b"]);
    fs::rename(here.join("d/a"), here.join("elsewhere")).expect("moved");
    symlink(here.join("elsewhere"), here.join("d/a")).expect("a link");
    fake.state().files.get_mut("/d/b").expect("there").sha256 = None;
    assert_eq!(get("-c"), ["/d/a", "/d/b"], "a link and a digest that is not known are not equal");
    let one = |flags: &str, to: &str| {
        assert_end(&format!("get {flags} {}/d/a {}/{to}", fake.address, here.display()), DONE);
        transferred(&fake, "GET")
    };
    assert_eq!(one("-u", "one"), ["/d/a"]);
    assert_eq!(one("-u", "one"), [""; 0]);
    assert_eq!(one("-c", "d/"), [""; 0]);
    assert_end(&format!("get -u {}/missing {}/", fake.address, here.display()), FAILED);
    assert_end(&format!("get -c {}/d/a -", fake.address), ExitCode::from(WRONG_USAGE));
}
