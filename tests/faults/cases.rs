//! The list of cases in `cases.txt`: every test that it names exists. What a test does is for those who
//! read it; that it is still there is checked in every run of the tests.
//!
//! ```text
//! ID what goes wrong
//! = what is expected
//! ~ what of it is not shown
//! FILE TEST      the name of a function, a transcript, a mutant, a fault of the simulator, a fuzz target
//! ```
//!
//! At the end are those that no test shows, and those of features that are not there, each with the
//! reason. The numbers of a family have no gap.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const CASES: &str = include_str!("cases.txt");
/// Families, and how many cases each has.
const FAMILIES: [(char, usize); 8] =
    [('N', 20), ('H', 22), ('R', 18), ('F', 20), ('C', 12), ('K', 14), ('L', 12), ('S', 17)];

#[derive(Default)]
struct Cases<'a> {
    /// For each id of a case: the tests.
    shown: Vec<(&'a str, Vec<(&'a str, &'a str)>)>,
    partly: usize,
    not_shown: Vec<&'a str>,
    not_there: Vec<&'a str>,
}

fn is_id(word: &str) -> bool {
    let (family, number) = word.split_at(1.min(word.len()));
    FAMILIES.iter().any(|(known, _)| family.starts_with(*known)) && number.parse::<usize>().is_ok()
}

fn parse(text: &str) -> Cases<'_> {
    let (listed, rest) = text.split_once("\n# Not shown\n").expect("that part");
    let (not_shown, not_there) = rest.split_once("\n# Not there\n").expect("that part");
    let mut cases = Cases::default();
    for line in listed.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (first, rest) = line.split_once(' ').unwrap_or_else(|| panic!("{line:?}"));
        match (first, cases.shown.last_mut()) {
            (id, _) if is_id(id) => cases.shown.push((id, Vec::new())),
            ("=", Some(_)) => {}
            ("~", Some(_)) => cases.partly += 1,
            (file, Some((_, tests))) => tests.push((file, rest)),
            _ => panic!("{line:?} belongs to no case"),
        }
    }
    cases.not_shown.extend(ids(not_shown));
    cases.not_there.extend(ids(not_there));
    cases
}

/// The ids in front of the reasons.
fn ids(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.split_once(": ")).flat_map(|(ids, _)| ids.split(' '))
}

/// Does this source hold something of this name?
fn holds(source: &str, name: &str) -> bool {
    [format!("fn {name}("), format!("(\"{name}\", "), format!("    pub {name}: u64,")]
        .iter()
        .any(|form| source.contains(form))
        || source.lines().any(|line| line.strip_prefix("=== ") == Some(name))
}

#[test]
fn every_test_that_shows_a_case_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut missing = Vec::new();
    for (id, tests) in parse(CASES).shown {
        assert!(!tests.is_empty(), "{id}: shown by nothing");
        for (file, test) in tests {
            if !fs::read_to_string(root.join(file)).is_ok_and(|source| holds(&source, test)) {
                missing.push(format!("{id}: {file} {test}"));
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new());
    assert!(!holds("fn a_test() {}", "test") && holds("fn a_test() {}", "a_test"), "what is not there is found");
}

#[test]
fn every_case_is_listed_once() {
    let cases = parse(CASES);
    let mut times = BTreeMap::<&str, usize>::new();
    let shown = cases.shown.iter().map(|(id, _)| *id);
    for id in shown.chain(cases.not_shown.iter().copied()).chain(cases.not_there.iter().copied()) {
        *times.entry(id).or_default() += 1;
    }
    let wanted = FAMILIES.iter().flat_map(|(family, count)| (1..=*count).map(move |n| format!("{family}{n}")));
    let wrong: Vec<String> = wanted.filter(|id| times.remove(id.as_str()) != Some(1)).collect();
    assert!(wrong.is_empty() && times.is_empty(), "missing or doubled: {wrong:?}; unknown: {times:?}");
    println!(
        "cases: {} shown, {} of them in part, {} not shown, {} not there",
        cases.shown.len(),
        cases.partly,
        cases.not_shown.len(),
        cases.not_there.len()
    );
}
