//! Which faults of `faults.txt` have a test. A test says so itself, by a comment `covers: half-close reset-in-upload` at it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const FAULTS: &str = include_str!("faults.txt");

/// Every fault by its name; true if it should have a test.
fn faults() -> BTreeMap<&'static str, bool> {
    let lines = FAULTS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let faults: Vec<_> = lines
        .map(|line| (line.split_once(' ').expect("a name and words").0, !line.contains("[not tested: ")))
        .collect();
    let unique: BTreeMap<_, _> = faults.iter().copied().collect();
    assert_eq!(unique.len(), faults.len(), "a name is given twice");
    faults.into_iter().collect()
}

/// The names that the comments in all files below a directory give.
fn tags(dir: &Path, into: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).expect("the sources").filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            tags(&path, into);
        } else if path.extension().is_some_and(|kind| kind == "rs" || kind == "txt") {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let comments = text.lines().filter_map(|line| {
                let line = line.trim_start();
                line.strip_prefix("// covers: ").or_else(|| line.strip_prefix("# covers: "))
            });
            into.extend(comments.flat_map(|numbers| numbers.split(' ').map(str::to_owned)));
        }
    }
}

#[test]
fn every_fault_has_a_test_or_a_reason_why_not() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut covered = BTreeSet::new();
    for dir in ["src", "tests"] {
        tags(&root.join(dir), &mut covered);
    }
    let faults = faults();
    let untested: Vec<_> = faults.iter().filter(|(fault, _)| !covered.contains(**fault)).collect();
    println!(
        "{} faults, without a test: {}",
        faults.len(),
        untested.iter().map(|(fault, _)| format!("{fault} ")).collect::<String>()
    );
    let missing: Vec<_> = untested.iter().filter(|(_, wanted)| **wanted).map(|(fault, _)| fault).collect();
    assert!(missing.is_empty(), "no test has a comment `covers:` with {missing:?}");
    let wrong: Vec<_> = covered.iter().filter(|tag| faults.get(tag.as_str()) != Some(&true)).collect();
    assert!(wrong.is_empty(), "tests say they cover what faults.txt does not have, or says is not tested: {wrong:?}");
}
