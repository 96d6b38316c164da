//! Words that may not come back: the private vocabulary that an earlier wave had, and words for people where things are
//! meant. In the comments of `src`, `tests` and `benches`, in the names of their functions, and in the identifiers of
//! `src`.

use std::path::Path;

use super::{Source, root};

/// Words that no comment has, outside of code and quotes, and what stands in their place.
const FORBIDDEN: [(&str, &str); 8] = [
    ("anew", "again"),
    ("beneath", "under"),
    ("goes on", "continues, resumes"),
    ("go on", "continue, resume"),
    ("gone on", "continued, resumed"),
    ("joined from", "concatenated from"),
    ("let go", "detached, released, closed"),
    ("whoever", "the caller, the client"),
];

/// The same, for `src` only: tests are also about the texts for people, which say folder.
const FORBIDDEN_IN_SRC: [(&str, &str); 2] = [("folder", "directory"), ("folders", "directories")];

/// Words that a few comments need, and in how many places at most: in `src`, and in `tests` and `benches` together.
const RARE: [(&[&str], [usize; 2]); 4] = [
    (&["who", "whose", "whom", "nobody", "somebody"], [15, 5]),
    (&["behind"], [10, 5]),
    (&["so many", "so long", "so much"], [5, 5]),
    (&["told"], [15, 5]),
];

/// Words that no identifier of `src` has.
const IDENTIFIERS: [(&str, &str); 4] =
    [("anew", "again"), ("behind", "after"), ("let_go", "detach, release"), ("whoever", "the caller")];

/// The text of the comments of a file in lower case, without code, quotes and links.
fn comments(all: &str) -> String {
    let lines = all.lines().filter_map(|line| line.trim_start().strip_prefix("//"));
    let mut text = String::new();
    for line in lines.filter(|line| !line.starts_with("! |")) {
        text.extend(outside(line, &['`', '"']));
    }
    text.to_lowercase().replace("//", " ")
}

/// What stands outside of these quotes.
fn outside<'a>(line: &'a str, quotes: &'a [char]) -> impl Iterator<Item = &'a str> {
    line.split(quotes).step_by(2).flat_map(|part| [part, " "])
}

/// The identifiers of a file with their words in lower case and separated by `_`, without comments and texts.
fn identifiers(all: &str) -> impl Iterator<Item = String> {
    let code = all.lines().map(|line| line.split("//").next().unwrap_or_default());
    let code = code.flat_map(|line| outside(line, &['"']));
    let names = code.flat_map(|part| part.split(|c: char| !c.is_alphanumeric() && c != '_'));
    names.filter(|name| !name.is_empty()).map(|name| {
        let mut words = String::new();
        for c in name.chars() {
            if c.is_uppercase() && words.ends_with(char::is_lowercase) {
                words.push('_');
            }
            words.extend(c.to_lowercase());
        }
        words
    })
}

/// The names of the functions of a file as sentences.
fn functions(all: &str) -> String {
    let code = all.lines().filter_map(|line| line.split('"').next());
    let names = code.filter_map(|line| line.split_once("fn ")?.1.split(['(', '<']).next());
    names.flat_map(|name| [name, ". "]).collect::<String>().replace('_', " ")
}

/// How often a word, or a run of words, stands in a text.
fn count(text: &str, words: &str) -> usize {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let whole =
        |at: usize| !is_word(text[..at].chars().next_back()) && !is_word(text[at + words.len()..].chars().next());
    text.match_indices(words).filter(|(at, _)| whole(*at)).count()
}

fn sources(dirs: &[&Path]) -> Vec<Source> {
    let mut sources = Vec::new();
    for dir in dirs {
        super::collect(dir, &mut sources);
    }
    sources
}

/// Checks texts with their names: no word of `forbidden`, and no more of the rare ones than is permitted at `place`.
fn check(texts: &[(String, String)], forbidden: &[(&str, &str)], place: usize) {
    let mut wrong = Vec::new();
    for (word, instead) in forbidden {
        let places = texts.iter().filter(|(_, text)| count(text, word) > 0);
        wrong.extend(places.map(|(name, _)| format!("{name}: {word:?}, say {instead}")));
    }
    for (words, max) in RARE {
        let found: Vec<&str> = texts
            .iter()
            .flat_map(|(name, text)| words.iter().flat_map(move |word| vec![&**name; count(text, word)]))
            .collect();
        if found.len() > max[place] {
            wrong.push(format!("{words:?}: {} times, at most {}: {found:?}", found.len(), max[place]));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn comments_use_the_words_of_the_field() {
    let texts: Vec<_> =
        sources(&[&root()]).into_iter().map(|Source { name, all, .. }| (name, comments(&all))).collect();
    check(&texts, &[&FORBIDDEN[..], &FORBIDDEN_IN_SRC].concat(), 0);
}

#[test]
fn comments_and_names_of_tests_use_the_words_of_the_field() {
    let top = root().join("..");
    let sources = sources(&["tests", "benches"].map(|dir| top.join(dir)).each_ref().map(|dir| &**dir));
    assert!(sources.len() > 50, "the tests were not found");
    let texts = sources.into_iter().map(|Source { name, all, .. }| (name, comments(&all) + &functions(&all)));
    check(&texts.collect::<Vec<_>>(), &FORBIDDEN, 1);
}

#[test]
fn identifiers_use_the_words_of_the_field() {
    let mut wrong = Vec::new();
    for Source { name, all, .. } in sources(&[&root()]) {
        for identifier in identifiers(&all) {
            let has = |word: &str| format!("_{identifier}_").contains(&format!("_{word}_"));
            let found = IDENTIFIERS.iter().filter(|(word, _)| has(word));
            wrong.extend(found.map(|(_, instead)| format!("src/{name}: {identifier}, say {instead}")));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn words_are_counted_whole_and_outside_of_code() {
    let text = comments("let folder = 1; // folder\n/// A folder, `folder`, \"folder\", folders.\n");
    assert_eq!((count(&text, "folder"), count(&text, "folders")), (1, 1));
    let names: Vec<_> = identifiers("fn is_behind(a: OpenBeneath) -> X { \"let go\" } // anew\n").collect();
    assert_eq!(names, ["fn", "is_behind", "a", "open_beneath", "x"]);
    assert_eq!(functions("    pub fn what_goes_on<T>(who: T) {}\n"), "what goes on. ");
}
