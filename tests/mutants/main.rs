//! Mutation tests. `mutants.txt` names defects that the tests must find: each is put into a copy of the sources, and
//! the suite that is named for it must fail. Nearly all are in one program, and its environment says which of them it
//! has, since a build takes longer than most suites; the others are built one by one.
//!
//! `cargo test --test mutants -- --ignored --nocapture`; `MUTANT=words` runs those with these words in their name,
//! `MUTANT='[--lib quota]'` those of a suite, and `MUTANT='words|[--lib quota]'` both. Those of the suite `faults` need
//! root and `strace`.
//!
//! ```text
//! [ARGUMENTS OF cargo test]     the suite of the mutants below
//!
//! WHAT GOES WRONG
//! in TYPE::FUNCTION             by this name in whatever file
//! - TOKENS                      … for any tokens between matching brackets
//! + TOKENS                      nothing where they are just left out; … again for the same tokens
//! ```
//!
//! The list holds defects that were thought of. All others are made by `cargo mutants`
//! (`cargo install cargo-mutants --locked`), which `.cargo/mutants.toml` tells what to leave out:
//!
//! ```text
//! cargo mutants -f 'src/session/**' -f 'src/reactor/**' -- --lib --test it --test sim
//! ```
//!
//! `--list` shows them, `--shard 1/20` runs one in twenty. One that no test finds is killed by a test of what
//! a user could see, or shows code that is not needed.
#![allow(clippy::disallowed_methods, reason = "tests stand outside: they copy files and run programs")]

mod source;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use source::{Change, Source};

const LIST: &str = include_str!("mutants.txt");
/// The longest time of a suite of which it is not known yet what it takes.
const SUITE_S: u64 = 600;
/// The longest time of a build.
const BUILD_S: u64 = 1800;
/// Names the mutant to a program that has several.
const VARIABLE: &str = "MUTANT_NUMBER";

#[derive(Debug, Default)]
struct Mutant {
    name: String,
    suite: String,
    function: String,
    old: String,
    new: String,
}

fn list() -> Vec<Mutant> {
    let mut mutants: Vec<Mutant> = Vec::new();
    let mut suite = "";
    for line in LIST.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(arguments) = line.strip_prefix('[') {
            suite = arguments.trim_end_matches(']');
            continue;
        }
        match (line.split_at_checked(2), mutants.last_mut()) {
            (Some(("- ", old)), Some(mutant)) => mutant.old += old,
            (Some(("+ ", new)), Some(mutant)) => mutant.new += new,
            (Some(("in", function)), Some(mutant)) if mutant.function.is_empty() => {
                function.trim().clone_into(&mut mutant.function);
            }
            _ => mutants.push(Mutant { name: line.to_owned(), suite: suite.to_owned(), ..Mutant::default() }),
        }
    }
    mutants
}

/// The sources below these directories by their paths.
fn sources(root: &Path) -> BTreeMap<PathBuf, Source> {
    fn collect(dir: &Path, into: &mut BTreeMap<PathBuf, Source>) {
        for entry in fs::read_dir(dir).expect("the sources").filter_map(Result::ok) {
            let path = entry.path();
            if path.is_dir() {
                collect(&path, into);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let text = fs::read_to_string(&path).expect("UTF-8");
                into.insert(path, Source::new(text));
            }
        }
    }
    let mut sources = BTreeMap::new();
    for dir in ["src", "tests/it", "tests/sim", "tests/faults", "tests/support"] {
        collect(&root.join(dir), &mut sources);
    }
    sources
}

/// The files that a mutant may change, and how.
fn places(mutant: &Mutant, sources: &BTreeMap<PathBuf, Source>) -> Vec<(PathBuf, Change)> {
    let Mutant { function, old, new, .. } = mutant;
    let in_file = |(path, source): (&PathBuf, &Source)| {
        let changes = source.changes(function, old, new).into_iter();
        changes.map(|change| (path.clone(), change)).collect::<Vec<_>>()
    };
    sources.iter().flat_map(in_file).collect()
}

#[test]
fn every_mutant_fits_one_place_and_its_suite_has_tests() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let sources = sources(&root);
    let mut wrong = Vec::new();
    for mutant in list() {
        let places = places(&mutant, &sources).len();
        if places != 1 || mutant.old == mutant.new {
            wrong.push(format!("{}: {} has {places} times {:?}", mutant.name, mutant.function, mutant.old));
        }
        if !has_tests(&mutant.suite, &root, &sources) {
            wrong.push(format!("{}: no test fits {:?}", mutant.name, mutant.suite));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Whether the words of a suite that choose tests stand in the name of a test or in its module's.
fn has_tests(suite: &str, root: &Path, sources: &BTreeMap<PathBuf, Source>) -> bool {
    let mut words = suite.split(' ').skip_while(|word| *word != "--lib" && *word != "--test");
    let dir = match words.next() {
        Some("--lib") => root.join("src"),
        Some("--test") => root.join("tests").join(words.next().unwrap_or_default()),
        _ => return false,
    };
    let Some(filter) = words.find(|word| *word != "--") else { return true };
    sources.iter().filter(|(path, _)| path.starts_with(&dir)).any(|(path, source)| {
        let module =
            path.with_extension("").strip_prefix(&dir).expect("chosen so").to_string_lossy().replace('/', "::");
        let module = module.trim_end_matches("::mod");
        source.text().split("#[test]").skip(1).any(|test| {
            let name = test.split_once("fn ").and_then(|(_, rest)| rest.split_once('('));
            name.is_some_and(|(name, _)| format!("{module}::{name}").contains(filter))
        })
    })
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
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

/// What came of a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Killed,
    Survived,
    /// It was not run.
    SuiteFailsWithoutIt,
}

impl Outcome {
    const fn of(passes: bool) -> Self {
        if passes { Self::Survived } else { Self::Killed }
    }
}

/// The copy of the sources, where mutants are built and run.
struct Copy {
    tree: PathBuf,
    target: PathBuf,
}

impl Copy {
    /// `cargo test` with these arguments, for as long as `limit_s`.
    fn cargo_test(&self, choice: &str, limit_s: u64) -> Command {
        let mut run = Command::new("timeout");
        run.arg(limit_s.to_string()).args(["cargo", "test", "--quiet", "--offline"]).args(choice.split(' '));
        run.current_dir(&self.tree).env("CARGO_TARGET_DIR", &self.target);
        run.env("RUST_BACKTRACE", "0").env("SIM_FAILURES", "1").env_remove(VARIABLE);
        run
    }

    fn build(&self, suite: &str) {
        let choice = suite.split(" -- ").next().unwrap_or_default();
        let build = self.cargo_test(choice, BUILD_S).arg("--no-run").output().expect("cargo and timeout");
        assert!(build.status.success(), "a mutant must compile:\n{}", String::from_utf8_lossy(&build.stderr));
    }

    /// Runs a suite that was built, with the mutant of this number if there is one; true if it passes. If it takes longer
    /// than `limit_s`, it hangs, and has found the mutant so.
    fn passes(&self, suite: &str, number: Option<usize>, limit_s: u64) -> bool {
        let (choice, tests) = suite.split_once(" -- ").unwrap_or((suite, ""));
        let mut run = self.cargo_test(choice, limit_s);
        run.arg("--").args(tests.split(' ').filter(|word| !word.is_empty()));
        run.envs(number.map(|number| (VARIABLE, number.to_string())));
        run.output().expect("cargo and timeout").status.success()
    }
}

#[test]
#[ignore = "needs cargo and many minutes"]
fn every_mutant_is_found() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let wanted = std::env::var("MUTANT").unwrap_or_default();
    let is_wanted = |mutant: &Mutant| {
        let line = format!("[{}] {}", mutant.suite, mutant.name);
        wanted.split('|').any(|words| line.contains(words))
    };
    let mutants: Vec<Mutant> = list().into_iter().filter(is_wanted).collect();
    assert!(!mutants.is_empty(), "no mutant has {wanted:?} in its name or its suite");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let copied = Copy { tree: dir.path().join("tree"), target: root.join("target/mutants") };
    copy(&root, &copied.tree);
    let sources = sources(&copied.tree);
    let places: Vec<(PathBuf, Change)> =
        mutants.iter().map(|mutant| places(mutant, &sources).pop().expect("checked above")).collect();
    let is_switched = |(path, change): &(PathBuf, Change)| {
        let others: Vec<&Change> = places.iter().filter(|other| other.0 == *path).map(|other| &other.1).collect();
        change.can_switch(&others)
    };
    let mut survivors = Vec::new();
    let mut note = |mutant: &str, outcome: Outcome| {
        println!("{outcome:?}: {mutant}");
        if outcome != Outcome::Killed {
            survivors.push(mutant.to_owned());
        }
    };

    for (path, source) in &sources {
        let here = places.iter().enumerate().filter(|(_, place)| place.0 == *path && is_switched(place));
        let changes: Vec<(usize, &Change)> = here.map(|(number, place)| (number, &place.1)).collect();
        if !changes.is_empty() {
            fs::write(path, source.switched(VARIABLE, &changes)).expect("a changed file");
        }
    }
    let mut limits_s = BTreeMap::new();
    for (number, mutant) in mutants.iter().enumerate().filter(|(number, _)| is_switched(&places[*number])) {
        let limit_s = *limits_s.entry(&mutant.suite).or_insert_with(|| {
            copied.build(&mutant.suite);
            let began = Instant::now();
            let passes = copied.passes(&mutant.suite, None, SUITE_S);
            passes.then(|| 60 + 10 * began.elapsed().as_secs())
        });
        let passes = limit_s.map(|limit_s| copied.passes(&mutant.suite, Some(number), limit_s));
        note(&mutant.name, passes.map_or(Outcome::SuiteFailsWithoutIt, Outcome::of));
    }
    for (path, source) in &sources {
        fs::write(path, source.text()).expect("the file as it was");
    }

    for (mutant, (path, change)) in mutants.iter().zip(&places).filter(|(_, place)| !is_switched(place)) {
        fs::write(path, sources[path].with(change)).expect("a changed file");
        copied.build(&mutant.suite);
        note(&mutant.name, Outcome::of(copied.passes(&mutant.suite, None, SUITE_S)));
        fs::write(path, sources[path].text()).expect("the file as it was");
    }
    println!("{} of {} mutants killed", mutants.len() - survivors.len(), mutants.len());
    assert!(survivors.is_empty(), "these were not found: {survivors:?}");
}
