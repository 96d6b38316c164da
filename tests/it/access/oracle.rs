//! The same decisions by another way: a scan over the lines of the rules, on texts. Shares no code with the server.

use filewharf::access::Caller;
use filewharf::object::Key;
use filewharf::wire::key;
use proptest::prelude::*;

use crate::access::rules;

/// `allow NAME RIGHTS PREFIX`, the name empty for anybody.
pub type Line = (String, String, String);

fn parts(path: &str) -> Vec<&str> {
    path.split('/').filter(|part| !part.is_empty()).collect()
}

/// What a sloppy file system takes for the same.
fn is_alike(one: &str, other: &str) -> bool {
    let bare = |part: &str| part.trim_end_matches(['.', ' ']).to_ascii_lowercase();
    bare(one) == bare(other)
}

/// The letters of the rights.
pub fn rights(lines: &[Line], name: &str, path: &str) -> String {
    let path = parts(path);
    if path.iter().any(|part| is_alike(part, "")) {
        return String::new();
    }
    let mut longest = None;
    for (_, _, prefix) in lines {
        let prefix = parts(prefix);
        if prefix.len() > path.len() || !prefix.iter().zip(&path).all(|(one, other)| is_alike(one, other)) {
            continue;
        }
        if prefix.iter().zip(&path).any(|(one, other)| one != other) {
            return String::new();
        }
        longest = longest.max(Some(prefix.len()));
    }
    let fits = |prefix: &str| {
        let prefix = parts(prefix);
        Some(prefix.len()) == longest && path.starts_with(&prefix)
    };
    let mut letters: Vec<char> = lines
        .iter()
        .filter(|(who, _, prefix)| (who.is_empty() || who == name) && fits(prefix))
        .flat_map(|(_, rights, _)| rights.chars().filter(|letter| *letter != '-'))
        .collect();
    letters.sort_unstable();
    letters.dedup();
    letters.into_iter().collect()
}

/// Whether a rule lies strictly under a name, however that is spelled.
pub fn has_rule_under(lines: &[Line], path: &str) -> bool {
    let path = parts(path);
    lines.iter().any(|(_, _, prefix)| {
        let prefix = parts(prefix);
        prefix.len() > path.len() && path.iter().zip(&prefix).all(|(one, other)| is_alike(one, other))
    })
}

/// The text of these lines in the file.
pub fn text(lines: &[Line]) -> String {
    let line = |(who, rights, prefix): &Line| {
        let who = if who.is_empty() { "@" } else { who };
        format!("allow {who} {rights} \"{prefix}\"\n")
    };
    lines.iter().map(line).collect()
}

/// Every set of rights, as it is written.
pub fn all_rights() -> impl Iterator<Item = String> + Clone {
    (0..32_u32).map(|bits| {
        let letters = "rlcwd".chars().enumerate().filter(|(place, _)| bits & 1 << place != 0).map(|(_, letter)| letter);
        Some(letters.collect::<String>()).filter(|letters| !letters.is_empty()).unwrap_or_else(|| "-".to_owned())
    })
}

fn sorted(rights: impl ToString) -> String {
    let mut letters: Vec<char> = rights.to_string().chars().filter(|letter| *letter != '-').collect();
    letters.sort_unstable();
    letters.into_iter().collect()
}

/// Few components, some of which a sloppy file system takes for others.
fn path() -> impl Strategy<Value = String> {
    let component = prop::sample::select(vec!["a", "b", "A", "a.", "a ", "ab", "B. ", "...", "a.b"]);
    prop::collection::vec(component, 0..5).prop_map(|parts| format!("/{}", parts.join("/")))
}

fn some_line() -> impl Strategy<Value = Line> {
    let who = prop::sample::select(vec!["", "anna", "bob"]);
    let prefix =
        prop::sample::select(vec!["/", "/a", "/a/a", "/a/b", "/b", "/b/a", "/ab", "/a/b/a", "/a.b", "/b/a/b/a"]);
    let rights = prop::sample::select(all_rights().collect::<Vec<_>>());
    (who, rights, prefix).prop_map(|(who, rights, prefix)| (who.to_owned(), rights, prefix.to_owned()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn the_rules_decide_as_the_oracle(
        lines in prop::collection::vec(some_line(), 0..8),
        paths in prop::collection::vec(path(), 1..8),
    ) {
        let rules = rules(&["anna", "bob"], &text(&lines));
        for path in &paths {
            let Ok(path) = key::absolute(path) else { continue };
            let key: Key = path.key;
            for name in ["", "anna", "bob"] {
                let caller = if name.is_empty() { Caller::ANYBODY } else { rules.as_if(name).expect("a name") };
                let got = rules.rights(&caller, [127, 0, 0, 1].into(), &key);
                prop_assert_eq!(sorted(got), rights(&lines, name, key.as_str()), "{} {:?} {}", name, lines, key);
            }
            prop_assert_eq!(rules.has_rule_under(&key), has_rule_under(&lines, key.as_str()), "{:?} {}", lines, key);
        }
    }
}
