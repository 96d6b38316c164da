//! Words that may not come back into the comments of `src`: the private vocabulary that an earlier wave had, and words for
//! people where things are meant.

use super::{Source, root};

/// Words that no comment has, outside of code and quotes, and what stands in their place.
const FORBIDDEN: [(&str, &str); 8] = [
    ("anew", "again"),
    ("beneath", "under"),
    ("folder", "directory"),
    ("folders", "directories"),
    ("goes on", "continues, resumes"),
    ("go on", "continue, resume"),
    ("joined from", "concatenated from"),
    ("whoever", "the caller, the client"),
];

/// Words that a few comments need, and in how many places at most.
const RARE: [(&[&str], usize); 3] = [
    (&["who", "whose", "whom", "nobody", "somebody"], 20),
    (&["behind"], 40),
    (&["so many", "so long", "so much"], 15),
];

/// The text of the comments of a file in lower case, without code, quotes and links.
fn comments(all: &str) -> String {
    let lines = all.lines().filter_map(|line| line.trim_start().strip_prefix("//"));
    let mut text = String::new();
    for line in lines.filter(|line| !line.starts_with("! |")) {
        let outside = line.split(['`', '"']).step_by(2);
        text.extend(outside.flat_map(|part| [part, " "]));
    }
    text.to_lowercase().replace("//", " ")
}

/// How often a word, or a run of words, stands in a text.
fn count(text: &str, words: &str) -> usize {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let whole =
        |at: usize| !is_word(text[..at].chars().next_back()) && !is_word(text[at + words.len()..].chars().next());
    text.match_indices(words).filter(|(at, _)| whole(*at)).count()
}

#[test]
fn comments_use_the_words_of_the_field() {
    let mut sources = Vec::new();
    super::collect(&root(), &mut sources);
    let texts: Vec<(String, String)> =
        sources.into_iter().map(|Source { name, all, .. }| (name, comments(&all))).collect();
    let mut wrong = Vec::new();
    for (word, instead) in FORBIDDEN {
        let places = texts.iter().filter(|(_, text)| count(text, word) > 0);
        wrong.extend(places.map(|(name, _)| format!("src/{name}: {word:?}, say {instead}")));
    }
    for (words, max) in RARE {
        let found: usize = texts.iter().flat_map(|(_, text)| words.iter().map(|word| count(text, word))).sum();
        if found > max {
            wrong.push(format!("{words:?}: {found} times, at most {max}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn words_are_counted_whole_and_outside_of_code() {
    let text = comments("let folder = 1; // folder\n/// A folder, `folder`, \"folder\", folders.\n");
    assert_eq!((count(&text, "folder"), count(&text, "folders")), (1, 1));
}
