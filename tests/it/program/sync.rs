//! `filewharf sync` against a real server: both directions become equal, and only as the plan says.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use support::content::Random;
use support::server::Program;

use super::{BINARY, run, run_well, start, stderr};

/// A server, a directory of it, and a local directory beside it.
struct Sides {
    dir: tempfile::TempDir,
    program: Program,
}

impl Sides {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let program = start(&dir.path().join("served"), &[]);
        fs::create_dir(dir.path().join("here")).expect("a folder");
        Self { dir, program }
    }

    fn here(&self) -> PathBuf {
        self.dir.path().join("here")
    }

    fn there(&self) -> PathBuf {
        self.dir.path().join("served/x")
    }

    /// The operands of a sync.
    fn operands(&self, is_upload: bool) -> [String; 2] {
        let [here, there] = [self.here().to_string_lossy().into_owned(), format!("{}/x", self.program.address())];
        if is_upload { [here, there] } else { [there, here] }
    }

    /// The source and the destination on disk.
    fn on_disk(&self, is_upload: bool) -> [PathBuf; 2] {
        if is_upload { [self.here(), self.there()] } else { [self.there(), self.here()] }
    }

    #[track_caller]
    fn sync(&self, is_upload: bool, flags: &[&str]) -> String {
        let operands = self.operands(is_upload);
        let words = [&["sync", "--quiet"], flags, &operands.each_ref().map(String::as_str)].concat();
        String::from_utf8(run_well(&words)).expect("UTF-8")
    }

    /// One that fails: what it prints on both outputs.
    #[track_caller]
    fn fails(&self, is_upload: bool, flags: &[&str]) -> (String, String) {
        let operands = self.operands(is_upload);
        let output = run(&[&["sync"], flags, &operands.each_ref().map(String::as_str)].concat());
        assert_eq!(output.status.code(), Some(1), "{flags:?}: {}", stderr(&output));
        (String::from_utf8_lossy(&output.stdout).into_owned(), stderr(&output))
    }
}

/// All files and directories under one, without links and the server's own directory.
fn tree(root: &Path) -> BTreeMap<String, Option<Vec<u8>>> {
    let (mut found, mut dirs) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("a folder") {
            let path = entry.expect("an entry").path();
            let metadata = fs::symlink_metadata(&path).expect("it is there");
            let name = path.strip_prefix(root).expect("below").to_string_lossy().into_owned();
            if name.contains(".filewharf.part") {
                // Left by a kill.
            } else if metadata.is_dir() && !name.ends_with(".filewharf") {
                found.insert(name, None);
                dirs.push(path);
            } else if metadata.is_file() {
                found.insert(name, Some(fs::read(&path).expect("a file")));
            }
        }
    }
    found
}

fn write(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    fs::write(path, bytes).expect("a file");
}

fn set_time(path: &Path, seconds: u64) {
    let file = fs::File::options().write(true).open(path).expect("a file");
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).expect("a time");
}

/// The lines of a plan as JSON, without the last one.
fn changes(json: &str) -> Vec<&str> {
    let (changes, summary) = json.trim_end().rsplit_once('\n').unwrap_or(("", json.trim_end()));
    assert!(!summary.contains("\"path\"") && summary.starts_with("{\"files\":"), "{summary}");
    changes.lines().inspect(|line| assert!(line.starts_with("{\"action\":\"") && line.contains("\"path\":"))).collect()
}

#[test]
fn a_destination_becomes_equal_both_ways_and_a_second_run_does_nothing() {
    for is_upload in [true, false] {
        let sides = Sides::new();
        let [source, dest] = sides.on_disk(is_upload);
        for name in ["a/b/c", "a-b/d", "a b", "ü/é", "x.part", "large"] {
            write(&source, name, name.repeat(if name == "large" { 60_000 } else { 3 }).as_bytes());
            set_time(&source.join(name), 1_000_000_000);
        }
        write(&source, "old", b"before 1970");
        let time = SystemTime::UNIX_EPOCH - Duration::from_millis(1_500);
        let file = fs::File::options().write(true).open(source.join("old")).expect("a file");
        file.set_modified(time).expect("a time");
        fs::create_dir(source.join("empty")).expect("a folder");
        symlink("a", source.join("link")).expect("a link");
        fs::remove_dir_all(&dest).ok();
        let plan = sides.sync(is_upload, &["--dry-run", "--json"]);
        assert!(!dest.exists(), "a dry run changes nothing");
        assert_eq!(sides.sync(is_upload, &["--json"]), plan);
        assert_eq!(tree(&dest), tree(&source));
        assert!(!dest.join("link").exists());
        assert_eq!(sides.sync(is_upload, &["--json", "--delete"]).lines().count(), 1);
        // Another content of the same size and time is what --checksum is for.
        write(&source, "a/b/c", b"A/B/CA/B/CA/B/C");
        set_time(&source.join("a/b/c"), 1_000_000_000);
        assert_eq!(sides.sync(is_upload, &["--itemize"]), "");
        if is_upload {
            assert_eq!(sides.sync(is_upload, &["--itemize", "--checksum"]), "put a/b/c\n");
            assert_eq!(tree(&dest), tree(&source));
            assert_eq!(sides.sync(is_upload, &["--itemize", "--checksum", "--delete"]), "");
        }
        sides.program.end();
    }
}

#[test]
fn what_the_source_does_not_have_is_removed_only_with_delete_and_only_if_it_is_not_excluded() {
    for is_upload in [true, false] {
        let sides = Sides::new();
        let [source, dest] = sides.on_disk(is_upload);
        write(&source, "keep", b"1");
        for name in ["keep", "gone/a/b", "gone/c", "kept/x.tmp", "kept/y", "other.tmp"] {
            write(&dest, name, b"1");
            set_time(&dest.join(name), 1_000_000_000);
        }
        set_time(&source.join("keep"), 1_000_000_000);
        let before = tree(&dest);
        assert_eq!(sides.sync(is_upload, &["--itemize"]), "");
        assert_eq!(tree(&dest), before);
        let flags = ["--delete", "--exclude", "*.tmp"];
        let (_, told) = sides.fails(is_upload, &[&flags[..], &["--max-delete", "4"]].concat());
        assert!(told.contains("5 would be removed, more than --max-delete 4: nothing is removed"), "{told}");
        assert_eq!(tree(&dest), before);
        let plan = sides.sync(is_upload, &[&flags[..], &["--dry-run"]].concat());
        assert_eq!(plan, "delete gone/a/b\ndelete gone/c\ndelete kept/y\ndelete gone/a/\ndelete gone/\n");
        assert_eq!(sides.sync(is_upload, &[&flags[..], &["-i", "--max-delete", "5"]].concat()), plan);
        assert_eq!(tree(&dest).into_keys().collect::<Vec<_>>(), ["keep", "kept", "kept/x.tmp", "other.tmp"]);
        sides.program.end();
    }
}

#[test]
fn nothing_is_removed_after_a_failure_or_from_a_source_that_is_missing() {
    let sides = Sides::new();
    let [source, dest] = sides.on_disk(true);
    write(&source, "new", b"1");
    fs::write(source.join(OsStr::from_bytes(b"odd\xff")), "1").expect("a file");
    write(&dest, "gone", b"1");
    let (_, told) = sides.fails(true, &["--delete"]);
    assert!(told.contains("its name is not UTF-8") && told.contains("nothing is removed"), "{told}");
    assert_eq!(tree(&dest).into_keys().collect::<Vec<_>>(), ["gone", "new"], "all else is done");
    fs::remove_dir_all(&source).expect("removed");
    sides.fails(true, &["--delete"]);
    assert_eq!(tree(&dest).len(), 2);
    fs::create_dir(&source).expect("a folder");
    write(&source, "here", b"1");
    fs::remove_dir_all(&dest).expect("removed");
    sides.fails(false, &["--delete"]);
    assert_eq!(tree(&source).len(), 1);
    sides.program.end();
}

#[test]
fn a_moved_file_is_not_sent_again() {
    let sides = Sides::new();
    let [source, dest] = sides.on_disk(true);
    for n in 0..30_usize {
        write(&source, &format!("old/{n}"), &support::client::content(n as u64, 3_000));
    }
    write(&source, "one", &support::client::content(99, 100_000));
    sides.sync(true, &[]);
    fs::rename(source.join("old"), source.join("new")).expect("renamed");
    fs::copy(source.join("one"), source.join("two")).expect("copied");
    let plan = sides.sync(true, &["--delete", "--json"]);
    let summary = plan.lines().last().expect("a summary");
    assert!(summary.starts_with("{\"files\":0,\"bytes\":0,\"folders\":1,\"copied\":1,\"renamed\":30,"), "{summary}");
    assert!(plan.contains("\"action\":\"rename\",\"path\":\"new/7\",\"from\":\"old/7\""), "{plan}");
    assert_eq!(tree(&dest), tree(&source));
    assert_eq!(sides.sync(true, &["--delete", "--itemize"]), "");
    // Fetched, by clients that the server has stored: it knows the digests.
    fs::rename(sides.here(), sides.dir.path().join("aside")).expect("renamed");
    sides.sync(false, &[]);
    let server = sides.program.address();
    run_well(&["mv", &format!("{server}/x/one"), &format!("{server}/x/moved/one")]);
    assert_eq!(sides.sync(false, &["--delete", "--itemize"]), "mkdir moved/\nrename one -> moved/one\n");
    assert_eq!(tree(&sides.here()), tree(&sides.there()));
    sides.program.end();
}

#[test]
fn a_file_and_a_folder_take_each_others_place_only_with_delete() {
    for is_upload in [true, false] {
        let sides = Sides::new();
        let [source, dest] = sides.on_disk(is_upload);
        write(&source, "file", b"1");
        write(&source, "folder/a/b", b"2");
        write(&dest, "file/c/d", b"3");
        write(&dest, "folder", b"4");
        let before = tree(&dest);
        let (_, told) = sides.fails(is_upload, &[]);
        assert!(told.contains("file: a folder is there") && told.contains("folder: a file is there"), "{told}");
        assert_eq!(tree(&dest), before);
        let plan = sides.sync(is_upload, &["--delete", "--dry-run"]);
        assert_eq!(sides.sync(is_upload, &["--delete", "--itemize"]), plan);
        assert_eq!(tree(&dest), tree(&source));
        sides.program.end();
    }
}

#[test]
fn execute_bits_are_kept_if_that_is_wanted() {
    for is_upload in [true, false] {
        let sides = Sides::new();
        let [source, dest] = sides.on_disk(is_upload);
        write(&source, "run", b"#!/bin/sh");
        set_time(&source.join("run"), 1_000_000_000);
        sides.sync(is_upload, &[]);
        fs::set_permissions(source.join("run"), fs::Permissions::from_mode(0o755)).expect("a mode");
        assert_eq!(sides.sync(is_upload, &["-i"]), "");
        assert_ne!(sides.sync(is_upload, &["-i", "--perms"]), "");
        assert_ne!(fs::metadata(dest.join("run")).expect("there").permissions().mode() & 0o111, 0);
        assert_eq!(sides.sync(is_upload, &["-i", "--perms"]), "");
        sides.program.end();
    }
}

#[test]
fn links_at_the_destination_are_neither_followed_nor_removed() {
    let sides = Sides::new();
    let [source, dest] = sides.on_disk(false);
    let outside = sides.dir.path().join("outside");
    write(&outside, "precious", b"1");
    write(&source, "dir/precious", b"2");
    fs::create_dir_all(&dest).expect("a folder");
    symlink(&outside, dest.join("dir")).expect("a link");
    symlink(&outside, dest.join("other")).expect("a link");
    let (_, told) = sides.fails(false, &["--delete"]);
    assert!(told.contains("dir: what is there is left alone"), "{told}");
    assert_eq!(fs::read(outside.join("precious")).expect("there"), b"1");
    assert!(dest.join("other").is_symlink());
    sides.program.end();
}

#[test]
fn wrong_usage_of_sync_is_said() {
    for (words, why) in [
        (&["a", "b"][..], "neither SRC nor DEST is on a server"),
        (&["h:1/a", "h:1/b"], "both on servers"),
        (&["--max-delete", "1", "a", "h:1/b"], "--max-delete is for --delete"),
        (&["-r", "a", "h:1/b"], "in any case"),
        (&["--bwlimit", "0", "a", "h:1/b"], "is not a number of bytes"),
    ] {
        let output = run(&[&["sync"], words].concat());
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(stderr(&output).contains(why), "{words:?}: {}", stderr(&output));
    }
}

/// Changes a directory at random.
///
/// No two files have the same time: what is changed again within one second is for other tests.
fn change(root: &Path, random: &mut Random) {
    const NAMES: [&str; 8] = ["a", "b", "a-b", "a b", "dir", "dir.d", "é", "z.filewharf"];
    for _ in 0..1 + random.below(6) {
        let mut path = root.to_owned();
        for _ in 0..1 + random.below(3) {
            path.push(NAMES[random.below(8) as usize]);
        }
        let there = fs::symlink_metadata(&path);
        match random.below(6) {
            0 => {
                let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
            }
            1 => {
                let to = root.join(NAMES[random.below(8) as usize]);
                let _ = fs::rename(&path, to);
            }
            2 => {
                let _ = fs::create_dir_all(&path);
            }
            3 if there.as_ref().is_ok_and(fs::Metadata::is_file) => set_time(&path, random.below(1 << 30)),
            4 if there.is_ok_and(|there| there.is_file()) => {
                let to = root.join(NAMES[random.below(8) as usize]);
                if to != path && fs::copy(&path, &to).is_ok() {
                    set_time(&to, random.below(1 << 30));
                }
            }
            _ => {
                // Few contents and sizes, so that files have equals.
                let bytes = support::client::content(random.below(4), 1 + random.below(3) as usize * 40_000);
                let is_free = path.parent().is_some_and(|parent| fs::create_dir_all(parent).is_ok());
                if is_free && fs::write(&path, bytes).is_ok() {
                    set_time(&path, random.below(1 << 30));
                }
            }
        }
    }
}

/// What a run does is what its dry run has said, and then both sides are equal.
fn check_step(sides: &Sides, is_upload: bool, random: &mut Random, what: &str) {
    let [source, dest] = sides.on_disk(is_upload);
    let deletes = random.below(3) > 0;
    let flags = if deletes { &["--json", "--delete", "--checksum"][..] } else { &["--json", "--checksum"] };
    let flags = if random.below(2) == 0 { flags } else { &flags[..flags.len() - 1] };
    let before = tree(&dest);
    let operands = sides.operands(is_upload);
    let sync = |more: &[&str]| {
        let words = [&["sync", "--quiet"], flags, more, &operands.each_ref().map(String::as_str)].concat();
        let output = run(&words);
        let told = stderr(&output);
        (output.status.code(), String::from_utf8(output.stdout).expect("UTF-8"), told)
    };
    let (planned_code, plan, _) = sync(&["--dry-run"]);
    assert_eq!(tree(&dest), before, "{what}: a dry run changes nothing");
    let (code, done, told) = sync(&[]);
    assert_eq!((code, &done), (planned_code, &plan), "{what} {flags:?}: {told}");
    let (after, wanted) = (tree(&dest), tree(&source));
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        let (path, from) = (format!("\"path\":\"{name}\""), format!("\"from\":\"{name}\""));
        let is_said = changes(&plan).iter().any(|line| {
            line.contains("\"delete\"") && line.contains(&path) || line.contains("\"rename\"") && line.contains(&from)
        });
        assert!(is_said && deletes, "{what}: {name} was removed: {plan}");
    }
    if deletes {
        assert_eq!(code, Some(0), "{what}: {told}");
        assert!(after == wanted, "{what} {flags:?}: {:?} and {:?}\n{plan}{told}", after.keys(), wanted.keys());
    } else if code == Some(0) {
        let missing: Vec<_> =
            wanted.iter().filter(|(name, what)| after.get(*name) != Some(what)).map(|it| it.0).collect();
        assert!(missing.is_empty(), "{what} {flags:?}: {missing:?}\n{plan}{told}");
    }
}

#[test]
fn a_random_history_ends_in_equal_trees() {
    for seed in 0..4 {
        let (sides, mut random) = (Sides::new(), Random::new(seed));
        fs::create_dir_all(sides.there()).expect("a folder");
        for step in 0..6 {
            change(&sides.here(), &mut random);
            if random.below(3) == 0 {
                change(&sides.there(), &mut random);
            }
            check_step(&sides, random.below(2) == 0, &mut random, &format!("seed {seed}, step {step}"));
        }
        sides.program.end();
    }
}

#[test]
#[ignore = "needs minutes"]
#[allow(clippy::disallowed_methods, reason = "a kill at a random moment waits for it")]
fn a_random_history_with_kills_of_both_ends_in_equal_trees() {
    let number = |name| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    let first = number("SYNC_SEED").unwrap_or(1_000);
    for seed in first..first + number("SYNC_SEEDS").unwrap_or(10) {
        let (mut sides, mut random) = (Sides::new(), Random::new(seed));
        fs::create_dir_all(sides.there()).expect("a folder");
        for step in 0..6 {
            let is_upload = random.below(2) == 0;
            change(&sides.here(), &mut random);
            change(&sides.there(), &mut random);
            let [source, _] = sides.on_disk(is_upload);
            write(&source, "large", &support::client::content(random.next() >> 8, 9 << 20));
            set_time(&source.join("large"), random.below(1 << 30));
            let operands = sides.operands(is_upload);
            let mut client = Command::new(BINARY)
                .args(["sync", "--quiet", "--delete", "--retry-for", "0"])
                .args(&operands)
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("the built binary can be run");
            std::thread::sleep(Duration::from_millis(random.below(60)));
            if random.below(2) == 0 {
                sides.program.kill();
            } else {
                client.kill().expect("it can be killed");
            }
            client.wait().expect("it ends");
            let address = sides.program.address();
            sides.program.kill();
            sides.program = super::at(&sides.dir.path().join("served"), address);
            check_step(&sides, is_upload, &mut random, &format!("seed {seed}, step {step}"));
        }
        sides.program.end();
    }
}
