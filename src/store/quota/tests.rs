//! A count beside changes, each in all its steps, against a tree in memory: whatever comes between what, the numbers
//! are right in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::config::{Quota, QuotaUnit};
use crate::error::Failure;
use crate::os::process::clock;
use crate::store::fs::walk::Place;
use crate::store::quota::books::{Books, GivenUp, Then};
use crate::store::quota::cursor::Next;
use crate::store::quota::entries::{Charges, End};

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

/// Names and lengths, and directories.
#[derive(Default)]
struct Tree {
    files: BTreeMap<String, u64>,
    dirs: BTreeSet<String>,
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn path(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}

impl Tree {
    fn in_dir<'a>(paths: impl Iterator<Item = &'a String>, dir: &str) -> Vec<String> {
        let mut names: Vec<_> = paths.map(|path| split(path)).filter(|(above, _)| *above == dir).collect();
        names.sort_unstable();
        names.into_iter().map(|(_, name)| name.to_owned()).collect()
    }
}

/// A change of one name, between its steps.
struct Change {
    numbers: Vec<u64>,
    writes: Vec<(String, Option<u64>)>,
    /// What these names had before.
    before: Vec<(String, Option<u64>)>,
    is_applied: bool,
    fails: bool,
}

/// As `count` does it, with a step between what is found and what it counts for.
#[derive(Default)]
struct Walk {
    number: u64,
    above: Vec<(String, Vec<String>)>,
    /// The directory that was visited last.
    at: Option<Place>,
    files: Option<(String, Vec<String>)>,
    looking: Option<(String, Option<u64>)>,
    /// The last name of the directory that was looked at.
    last: String,
    read_again: usize,
}

impl Walk {
    fn step(&mut self, books: &mut Books, tree: &Tree) -> Result<bool, GivenUp> {
        if let Some((dir, names)) = &mut self.files {
            if let Some((name, bytes)) = self.looking.take() {
                if !books.looked(self.number, (dir, &name), bytes)? {
                    self.looking = Some((name.clone(), tree.files.get(&path(dir, &name)).copied()));
                }
                return Ok(true);
            }
            let (next, is_left) = books.next_file(self.number, (dir, names.first().map(String::as_str)), None)?;
            match next {
                Next::Look(name) => {
                    names.retain(|other| **other > *name);
                    self.last = name.to_string();
                    if !is_left {
                        let bytes = tree.files.get(&path(dir, &name)).copied();
                        self.looking = Some((name.into(), bytes));
                    }
                }
                Next::None => {
                    books.files_are_done(self.number)?;
                    self.files = None;
                }
                Next::ReadAgain => {
                    self.read_again += 1;
                    *names = Tree::in_dir(tree.files.keys(), dir);
                    names.retain(|name| *name > self.last);
                }
            }
            return Ok(true);
        }
        let mut read = if self.above.is_empty() { Some(String::new()) } else { None };
        while let (None, Some((above, names))) = (&read, self.above.last_mut()) {
            match names.first() {
                None => drop(self.above.pop()),
                Some(name) => {
                    let path = path(above, name);
                    if self.at.as_ref().is_some_and(|at| Place::of(&path) <= *at) {
                        names.remove(0);
                    } else {
                        read = Some(path);
                    }
                }
            }
            if self.above.is_empty() {
                break;
            }
        }
        match books.next_dir(self.number, read.as_deref(), (clock(), Duration::from_secs(1)))? {
            Then::Counted(_) => Ok(false),
            Then::Dir(dir) => {
                self.at = Some(Place::of(&dir));
                self.above.push((dir.clone(), Tree::in_dir(tree.dirs.iter(), &dir)));
                self.last.clear();
                self.files = Some((dir.clone(), Tree::in_dir(tree.files.keys(), &dir)));
                Ok(true)
            }
        }
    }
}

fn begin(books: &mut Books, tree: &mut Tree, under_way: &[Change], random: &mut Random) -> Option<Change> {
    let names =
        ["c/d/a", "c/d/b", "c/d/c", "c/d/d", "c/d/e", "c/d/f", "c/d/g", "c/d/h", "a", "b", "c/a", "e/a", "e/f/a"];
    let pick = |random: &mut Random| names[random.below(names.len())];
    let (one, two, len) = (pick(random), pick(random), random.below(4) as u64 * 25);
    let is_busy = |name: &str| under_way.iter().flat_map(|change| &change.writes).any(|(busy, _)| busy == name);
    let there = |tree: &Tree, name: &str| tree.files.get(name).copied();
    let fails = random.below(5) == 0;
    let kind = random.below(3);
    if one == two || is_busy(one) || is_busy(two) || kind > 0 && there(tree, one).is_none() {
        return None;
    }
    let (stored, writes) = match kind {
        0 => (one, vec![(one, Some(len))]),
        1 => (one, vec![(one, None)]),
        _ => (two, vec![(two, there(tree, one)), (one, None)]),
    };
    let mut above = split(stored).0;
    let mut made = Vec::new();
    while !above.is_empty() {
        made.push(above.to_owned());
        above = split(above).0;
    }
    for dir in made.into_iter().rev().filter(|_| kind != 1) {
        if !tree.dirs.contains(&dir) {
            books.made_dir(&dir);
            tree.dirs.insert(dir);
        }
    }
    let was = |name: &str| there(tree, name);
    let len_of = |name: &str| was(name).expect("it is there");
    let numbers = match kind {
        0 => {
            let sizes = (was(one), len);
            vec![books.begin_store(one, sizes, &mut Charges::new(), &Charges::new()).expect("it fits")]
        }
        1 => vec![books.begin_remove(one, len_of(one))],
        _ => books.begin_move((one, two), (len_of(one), was(two))).expect("it fits").to_vec(),
    };
    let before = writes.iter().map(|(name, _)| ((*name).to_owned(), was(name))).collect();
    let writes = writes.into_iter().map(|(name, len)| (name.to_owned(), len)).collect();
    Some(Change { numbers: numbers.into_iter().flatten().collect(), writes, before, is_applied: false, fails })
}

/// What should be counted: a change counts once it has ended.
fn total(tree: &Tree, under_way: &[Change], unit: QuotaUnit) -> u64 {
    let mut files: BTreeMap<String, Option<u64>> =
        tree.files.iter().map(|(name, len)| (name.clone(), Some(*len))).collect();
    files.extend(under_way.iter().flat_map(|change| change.before.clone()));
    files.values().map(|len| unit.of(*len)).sum()
}

#[test]
fn a_count_beside_changes_is_right_whatever_step_comes_between() {
    let (mut counts, mut read_again) = (0, 0);
    for seed in 0..300 {
        let (mut books, mut tree, mut random) = (Books::default(), Tree::default(), Random(seed));
        let unit = if seed % 2 == 0 { QuotaUnit::Bytes } else { QuotaUnit::Names };
        books.set(&[Quota { prefix: "".into(), unit, max: 1 << 40 }], clock());
        let (mut walk, mut under_way) = (None::<Walk>, Vec::<Change>::new());
        for step in 0..600 {
            let stored = |books: &Books| books.accounts.values().next().and_then(|account| account.stored);
            match random.below(5) {
                0 if stored(&books).is_some() => {
                    under_way.extend(begin(&mut books, &mut tree, &under_way, &mut random));
                }
                1 if !under_way.is_empty() => {
                    let at = random.below(under_way.len());
                    if !under_way[at].is_applied && !under_way[at].fails {
                        for (name, len) in &under_way[at].writes {
                            match len {
                                Some(len) => drop(tree.files.insert(name.clone(), *len)),
                                None => drop(tree.files.remove(name)),
                            }
                        }
                        under_way[at].is_applied = true;
                    } else {
                        let change = under_way.swap_remove(at);
                        let end = if change.fails { End::Failed } else { End::Done };
                        for number in change.numbers {
                            books.end(number, end, &mut Charges::new());
                        }
                    }
                }
                _ => match &mut walk {
                    None => {
                        books.make_due(clock());
                        let (number, _) = books.begin_count(clock()).expect("it is due");
                        walk = Some(Walk { number, ..Walk::default() });
                    }
                    Some(at_work) => match at_work.step(&mut books, &tree) {
                        Ok(true) => {}
                        Ok(false) => {
                            read_again += walk.take().map_or(0, |walk| walk.read_again);
                            counts += 1;
                        }
                        Err(GivenUp) => panic!("nothing gives it up here"),
                    },
                },
            }
            if let Some(stored) = stored(&books) {
                assert_eq!(stored, total(&tree, &under_way, unit), "seed {seed}, step {step}");
            }
        }
    }
    assert!(counts > 2000, "{counts}");
    assert!(read_again > 50, "{read_again}");
}

#[test]
fn no_folder_is_made_until_the_first_count_has_ended() {
    let (mut books, tree) = (Books::default(), Tree::default());
    assert_eq!(books.check_counted("p/d"), Ok(()), "no quota is there");
    books.set(&[Quota { prefix: "p".into(), unit: QuotaUnit::Bytes, max: 9 }], clock());
    assert_eq!(books.check_counted("p/d"), Err(Failure::Counting));
    assert_eq!(books.check_counted("q/d"), Ok(()), "it has no quota");
    let (number, _) = books.begin_count(clock()).expect("it is due");
    let mut walk = Walk { number, ..Walk::default() };
    while walk.step(&mut books, &tree).expect("nothing gives it up") {}
    assert_eq!(books.check_counted("p/d"), Ok(()));
}
