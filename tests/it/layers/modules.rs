//! Which file imports which, read from the paths in the code.

use std::collections::{BTreeMap, BTreeSet};

/// The imports of every file: from the name of a file to the names of those it uses something of.
pub(crate) struct Imports(BTreeMap<String, BTreeSet<String>>);

/// `a/b.rs` and `a/b/mod.rs` are the module `a::b`.
fn module_of(name: &str) -> Vec<String> {
    let name = name.strip_suffix(".rs").unwrap_or(name);
    let mut parts: Vec<String> = name.split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main")) {
        parts.pop();
    }
    parts
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Every path after `prefix` in `code`, with the lists in braces multiplied out.
fn paths_after(code: &str, prefix: &str) -> Vec<(usize, Vec<String>)> {
    let starts = code.match_indices(prefix).filter(|(at, _)| !code[..*at].ends_with(|c: char| is_word(c) || c == ':'));
    let mut found = Vec::new();
    for (at, _) in starts {
        let mut paths = Vec::new();
        tree(&code[at + prefix.len()..], &mut Vec::new(), &mut paths);
        found.extend(paths.into_iter().map(|path| (at, path)));
    }
    found
}

/// Reads one `a::{b, c::d}`; returns how many bytes it took.
fn tree(text: &str, before: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> usize {
    let depth = before.len();
    let mut at = 0;
    loop {
        at += text[at..].len() - text[at..].trim_start().len();
        if text[at..].starts_with('{') {
            at += 1;
            while !text[at..].is_empty() && !text[at..].starts_with('}') {
                at += tree(&text[at..], before, found);
                // After it only `as other` may stand.
                let rest = &text[at..];
                at += rest.find([',', '}']).unwrap_or(rest.len());
                at += usize::from(text[at..].starts_with(','));
                at = text.len() - text[at..].trim_start().len();
            }
            at += 1;
            break;
        }
        let word: String = text[at..].chars().take_while(|c| is_word(*c)).collect();
        at += word.len();
        before.push(word);
        if !text[at..].starts_with("::") {
            found.push(before.clone());
            break;
        }
        at += 2;
    }
    before.truncate(depth);
    at.min(text.len())
}

/// How many modules written out inside the file are open at `at`.
fn inline_depth(code: &str, at: usize) -> usize {
    let mut open: Vec<usize> = Vec::new();
    for line in code[..at].lines() {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        let declaration = text.trim_start_matches("pub(crate) ").trim_start_matches("pub ");
        if declaration.starts_with("mod ") && declaration.ends_with('{') {
            open.push(indent);
        } else if text == "}" && open.last() == Some(&indent) {
            open.pop();
        }
    }
    open.len()
}

impl Imports {
    /// `files` are names below `src` and their code without comments.
    pub(crate) fn of<'a>(files: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let files: Vec<_> = files.filter(|(name, _)| *name != "main.rs").collect();
        let modules: BTreeMap<_, _> = files.iter().map(|(name, _)| (module_of(name), (*name).to_owned())).collect();
        let imports = files.iter().map(|(name, code)| {
            let own = module_of(name);
            let mut used: Vec<Vec<String>> = Vec::new();
            used.extend(paths_after(code, "crate::").into_iter().map(|(_, path)| path));
            used.extend(paths_after(code, "self::").into_iter().map(|(_, path)| [&own[..], &path].concat()));
            for (at, mut path) in paths_after(code, "super::") {
                let mut up = 1;
                while path.first().is_some_and(|first| first == "super") {
                    path.remove(0);
                    up += 1;
                }
                let up = usize::saturating_sub(up, inline_depth(code, at));
                used.push([&own[..own.len().saturating_sub(up)], &path].concat());
            }
            let children = modules.keys().filter(|path| path.len() == own.len() + 1 && path.starts_with(&own));
            for child in children.filter_map(|path| path.last()) {
                let paths = paths_after(code, &format!("{child}::"));
                used.extend(paths.into_iter().map(|(_, path)| [&own[..], std::slice::from_ref(child), &path].concat()));
            }
            let resolved = used.iter().filter_map(|path| {
                (0..=path.len()).rev().find_map(|len| modules.get(&path[..len])).filter(|other| *other != name)
            });
            ((*name).to_owned(), resolved.cloned().collect())
        });
        Self(imports.collect())
    }

    /// The files that this one uses something of.
    pub(crate) fn of_file(&self, file: &str) -> &BTreeSet<String> {
        &self.0[file]
    }

    /// Each file with each that it uses something of.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&String, &String)> {
        self.0.iter().flat_map(|(file, used)| used.iter().map(move |other| (file, other)))
    }

    /// What imports each other in a directory, at any level: its files, and its directories with all that is in them.
    pub(crate) fn circles(&self) -> Vec<BTreeSet<String>> {
        let mut levels = BTreeMap::<Vec<String>, BTreeMap<String, BTreeSet<String>>>::new();
        for (file, other) in self.pairs() {
            let (from, to) = (module_of(file), module_of(other));
            let depth = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
            let entry = |module: &[String], file: &str| match module.get(depth) {
                Some(_) => module[..=depth].join("/"),
                None => file.to_owned(),
            };
            let entries = levels.entry(from[..depth].to_vec()).or_default();
            entries.entry(entry(&from, file)).or_default().insert(entry(&to, other));
        }
        levels.values().flat_map(circles_of).collect()
    }
}

fn circles_of(entries: &BTreeMap<String, BTreeSet<String>>) -> Vec<BTreeSet<String>> {
    let reach: BTreeMap<_, _> = entries.keys().map(|entry| (entry, reached(entries, entry))).collect();
    let mut circles = Vec::new();
    for (entry, found) in &reach {
        let back = |other: &&String| reach.get(other).is_some_and(|found| found.contains(*entry));
        let circle: BTreeSet<_> = found.iter().filter(back).cloned().collect();
        if circle.contains(*entry) && !circles.contains(&circle) {
            circles.push(circle);
        }
    }
    circles
}

fn reached(entries: &BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut next = vec![from.to_owned()];
    while let Some(entry) = next.pop() {
        let used = entries.get(&entry).into_iter().flatten();
        next.extend(used.filter(|other| reached.insert((*other).clone())).cloned());
    }
    reached
}

#[test]
fn imports_are_read_from_paths_and_circles_are_found() {
    let files = [
        ("lib.rs", "pub mod a;\npub use a::b::X;"),
        ("a/mod.rs", "mod b;\nmod c;\nlet x = c::f();"),
        ("a/b.rs", "use super::{c::{self, T}, d};\nmod inline {\n    use super::*;\n}\nuse crate::e;"),
        ("a/c.rs", "fn f() { super::super::e::go() }"),
        ("a/d.rs", "use crate::{a::b::X,\n    e as other};"),
        ("e.rs", ""),
    ];
    let imports = Imports::of(files.into_iter());
    let used = |name: &str| imports.0[name].iter().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(used("lib.rs"), "a/b.rs");
    assert_eq!(used("a/mod.rs"), "a/c.rs");
    assert_eq!(used("a/b.rs"), "a/c.rs a/d.rs e.rs");
    assert_eq!(used("a/c.rs"), "e.rs");
    assert_eq!(used("a/d.rs"), "a/b.rs e.rs");
    let circle = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(imports.circles(), [circle(&["a/b", "a/d"])]);

    let files = [
        ("lib.rs", ""),
        ("a/b/mod.rs", ""),
        ("a/b/one.rs", "use crate::a::c::one;"),
        ("a/b/two.rs", ""),
        ("a/c/one.rs", ""),
        ("a/c/two.rs", "use crate::a::b::two;"),
        ("a/mod.rs", "use self::b::one;"),
        ("a/d.rs", "use crate::a::X;"),
    ];
    assert_eq!(Imports::of(files.into_iter()).circles(), [circle(&["a/b", "a/c"])], "no two of their files do");
}
