//! Do the tests find what they are there to find? Each mutant in `mutants.txt` is one small defect:
//! a text in one file that is replaced by another. One at a time they are put into a copy of the
//! sources, and the suite that is named for it must fail.
//!
//! `cargo test --test mutants -- --ignored --nocapture`; `MUTANT=words` runs those whose name has
//! these words. Those of the disk need root and `strace` (suite `faults`).
//!
//! The list holds defects that somebody thought of. What nobody thought of is made by `cargo mutants`
//! (`cargo install cargo-mutants --locked`), some thousand small changes one after the other:
//!
//! ```text
//! cargo mutants --profile sim --timeout 300 -f 'src/session/**' -f 'src/reactor/**' -- --lib --test it --test sim
//! ```
//!
//! `--list` shows them, `--shard 1/20` runs one in twenty. `survivors.txt` explains those that are not
//! found. A new one is killed by a test of what a user could see, or shows code that nobody needs.
#![allow(clippy::disallowed_methods, reason = "tests stand outside: they copy files and run programs")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A suite that takes longer hangs, and has found the mutant so.
const SUITE_S: &str = "1200";

#[derive(Debug, Default)]
struct Mutant {
    name: String,
    suite: String,
    file: String,
    old: String,
    new: String,
}

/// `=== NAME`, `suite: WORDS`, `file: PATH`, then the old text behind `-` and the new behind `+`,
/// line by line.
fn parse(list: &str) -> Vec<Mutant> {
    let mut mutants: Vec<Mutant> = Vec::new();
    for line in list.lines() {
        if let Some(name) = line.strip_prefix("=== ") {
            mutants.push(Mutant { name: name.to_owned(), ..Mutant::default() });
            continue;
        }
        let Some(mutant) = mutants.last_mut() else { continue };
        if let Some(suite) = line.strip_prefix("suite: ") {
            suite.clone_into(&mut mutant.suite);
        } else if let Some(file) = line.strip_prefix("file: ") {
            file.clone_into(&mut mutant.file);
        } else if let Some(old) = line.strip_prefix('-') {
            mutant.old.push_str(&format!("{old}\n"));
        } else if let Some(new) = line.strip_prefix('+') {
            mutant.new.push_str(&format!("{new}\n"));
        }
    }
    mutants
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("the sources").filter_map(Result::ok) {
        let name = entry.file_name();
        if entry.path().is_dir() {
            if name != "target" && name != ".git" {
                copy(&entry.path(), &to.join(&name));
            }
        } else {
            fs::copy(entry.path(), to.join(&name)).expect("a copy");
        }
    }
}

/// Runs a suite in the copy; true if it passes.
fn passes(suite: &str, tree: &Path, target: &Path) -> bool {
    let arguments: Vec<&str> = suite.split(' ').collect();
    let mut run = Command::new("timeout");
    run.arg(SUITE_S).args(["cargo", "test", "--quiet", "--offline"]).args(arguments);
    run.current_dir(tree).env("CARGO_TARGET_DIR", target).env("RUST_BACKTRACE", "0").env("SIM_FAILURES", "1");
    let output = run.output().expect("cargo and timeout");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!words.contains("could not compile"), "a mutant must compile:\n{words}");
    output.status.success()
}

#[test]
#[ignore = "needs cargo and many minutes"]
fn every_mutant_is_found() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let list = fs::read_to_string(root.join("tests/mutants/mutants.txt")).expect("the list");
    let wanted = std::env::var("MUTANT").unwrap_or_default();
    let mutants: Vec<Mutant> = parse(&list).into_iter().filter(|mutant| mutant.name.contains(&wanted)).collect();
    assert!(!mutants.is_empty(), "no mutant has {wanted:?} in its name");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (tree, target) = (dir.path().join("tree"), root.join("target/mutants"));
    copy(&root, &tree);
    let mut survivors = Vec::new();
    for mutant in &mutants {
        let place = tree.join(&mutant.file);
        let text = fs::read_to_string(&place).expect("checked above");
        fs::write(&place, text.replacen(&mutant.old, &mutant.new, 1)).expect("a changed file");
        let survives = passes(&mutant.suite, &tree, &target);
        println!("{}: {}", if survives { "SURVIVED" } else { "killed" }, mutant.name);
        if survives {
            survivors.push(&mutant.name);
        }
        fs::write(&place, text).expect("the file as it was");
    }
    println!("{} of {} mutants killed", mutants.len() - survivors.len(), mutants.len());
    assert!(survivors.is_empty(), "these were not found: {survivors:?}");
}

#[test]
fn every_mutant_fits_the_sources_as_they_are() {
    let list = include_str!("mutants.txt");
    let mutants = parse(list);
    assert_eq!(mutants.len(), list.matches("\n=== ").count());
    for Mutant { name, suite, file, old, new } in &mutants {
        assert!(!suite.is_empty() && !file.is_empty() && !old.is_empty() && old != new, "{name}");
        let text = fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap_or_default();
        let count = text.matches(old).count();
        assert_eq!(count, 1, "{name}: its old text stands {count} times in {file}");
    }
}
