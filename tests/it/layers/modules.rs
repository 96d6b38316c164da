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

/// Every path behind `prefix` in `code`, with the lists in braces multiplied out.
fn paths_behind(code: &str, prefix: &str) -> Vec<(usize, Vec<String>)> {
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
                // Behind it only `as other` may stand.
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
            used.extend(paths_behind(code, "crate::").into_iter().map(|(_, path)| path));
            used.extend(paths_behind(code, "self::").into_iter().map(|(_, path)| [&own[..], &path].concat()));
            for (at, mut path) in paths_behind(code, "super::") {
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
                let paths = paths_behind(code, &format!("{child}::"));
                used.extend(paths.into_iter().map(|(_, path)| [&own[..], std::slice::from_ref(child), &path].concat()));
            }
            let resolved = used.iter().filter_map(|path| {
                (0..=path.len()).rev().find_map(|len| modules.get(&path[..len])).filter(|other| *other != name)
            });
            ((*name).to_owned(), resolved.cloned().collect())
        });
        Self(imports.collect())
    }

    /// Files that import each other, directly or through others.
    pub(crate) fn circles(&self) -> Vec<BTreeSet<String>> {
        let reach: BTreeMap<&String, BTreeSet<String>> = self.0.keys().map(|file| (file, self.reached(file))).collect();
        let mut circles: Vec<BTreeSet<String>> = Vec::new();
        for (file, reached) in &reach {
            let circle: BTreeSet<_> = reached.iter().filter(|other| reach[other].contains(*file)).cloned().collect();
            if circle.contains(*file) && !circles.contains(&circle) {
                circles.push(circle);
            }
        }
        circles
    }

    fn reached(&self, file: &str) -> BTreeSet<String> {
        let mut reached = BTreeSet::new();
        let mut next = vec![file.to_owned()];
        while let Some(file) = next.pop() {
            next.extend(self.0[&file].iter().filter(|other| reached.insert((*other).clone())).cloned());
        }
        reached
    }
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
    assert_eq!(imports.circles(), [BTreeSet::from(["a/b.rs".to_owned(), "a/d.rs".to_owned()])]);
}
