//! `--exclude` and `--include`: the files that a command leaves out. As in rsync, the first pattern that matches decides,
//! and what no pattern matches is taken.

use glob::{MatchOptions, Pattern};

use super::flag::SetResult;

/// A `*` stays within one name, and matches names that begin with a dot as well.
const MATCHING: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

/// The patterns, in the order in which they were given.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    takes: bool,
    pattern: Pattern,
    /// For the path below the source, not for the name.
    is_of_path: bool,
    is_of_dirs: bool,
}

impl Filter {
    /// Adds a pattern after the others.
    pub(super) fn add(&mut self, takes: bool, text: &str) -> SetResult {
        let path = text.trim_end_matches('/');
        let pattern = Pattern::new(path.trim_start_matches('/'))?;
        if pattern.as_str().is_empty() {
            return Err("is empty".into());
        }
        let (is_of_path, is_of_dirs) = (path.contains('/'), text.ends_with('/'));
        self.rules.push(Rule { takes, pattern, is_of_path, is_of_dirs });
        Ok(())
    }

    /// True if a file or directory is taken. `below` is its path below the source; a file that is an argument has none.
    pub(super) fn takes(&self, name: &str, below: Option<&str>, is_dir: bool) -> bool {
        let matches = |rule: &&Rule| {
            let text = if rule.is_of_path { below } else { Some(name) };
            (is_dir || !rule.is_of_dirs) && text.is_some_and(|text| rule.pattern.matches_with(text, MATCHING))
        };
        self.rules.iter().find(matches).is_none_or(|rule| rule.takes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(rules: &[&str]) -> Filter {
        let mut filter = Filter::default();
        for rule in rules {
            let (sign, pattern) = rule.split_at(1);
            filter.add(sign == "+", pattern).expect(rule);
        }
        filter
    }

    #[test]
    fn the_first_pattern_that_matches_decides() {
        let only_pictures = filter(&["+*.jpg", "+*/", "-*"]);
        for (name, is_dir, taken) in [("a.jpg", false, true), ("a.txt", false, false), ("a.txt", true, true)] {
            assert_eq!(only_pictures.takes(name, Some(name), is_dir), taken, "{name}");
        }
        let none = filter(&["-*", "+*.jpg"]);
        assert!(!none.takes("a.jpg", None, false));
        assert!(filter(&["+*.jpg"]).takes("a.txt", None, false), "what no pattern matches is taken");
    }

    #[test]
    fn a_pattern_is_for_the_name_and_one_with_a_slash_for_the_path_below_the_source() {
        for (pattern, path, is_dir, matches) in [
            ("*.o", "a/b.o", false, true),
            ("*.o", "a/.o", false, true),
            ("a/*.o", "a/b.o", false, true),
            ("a/*.o", "x/a/b.o", false, false),
            ("a/*.o", "a/b/c.o", false, false),
            ("a/**/*.o", "a/b/c/d.o", false, true),
            ("**/b", "a/b", false, true),
            ("/b", "b", false, true),
            ("/b", "a/b", false, false),
            ("b/", "a/b", true, true),
            ("b/", "a/b", false, false),
            ("[ab]?", "a1", false, true),
            ("[!ab]?", "a1", false, false),
        ] {
            let name = path.rsplit('/').next().expect("a name");
            let taken = filter(&[&format!("-{pattern}")]).takes(name, Some(path), is_dir);
            assert_eq!(!taken, matches, "{pattern} {path}");
        }
        assert!(filter(&["-/b"]).takes("b", None, false), "an argument has no path below itself");
        for bad in ["", "/", "a**", "[a"] {
            assert!(Filter::default().add(true, bad).is_err(), "{bad}");
        }
    }
}
