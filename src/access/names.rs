//! Names that a file system may take for one: it may ignore case, drop dots and blanks at the end of a name, or skip
//! characters that cannot be seen. Never looks at a file system.

/// The name as such a file system would compare it. Two names with different folded forms are two names for all of them,
/// except for those that also normalise Unicode. As many components as before, some perhaps empty.
pub fn folded(name: &str) -> String {
    let mut folded = String::with_capacity(name.len());
    for (place, component) in name.split('/').enumerate() {
        if place > 0 {
            folded.push('/');
        }
        let start = folded.len();
        // Upper case first: some letters of lower case share their capital.
        let visible = component.chars().filter(|c| !is_ignorable(*c));
        folded.extend(visible.flat_map(char::to_uppercase).flat_map(char::to_lowercase));
        let len = folded[start..].trim_end_matches(['.', ' ']).len();
        folded.truncate(start + len);
    }
    folded
}

/// Characters that HFS+ skips when it compares names.
const fn is_ignorable(c: char) -> bool {
    matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
}

/// The name without its last component; `None` for the served directory.
pub fn parent(name: &str) -> Option<&str> {
    if name.is_empty() { None } else { Some(name.rsplit_once('/').map_or("", |(parent, _)| parent)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_name_fold_to_one() {
        for (one, other) in [
            ("Pub/A", "pub/a"),
            ("pub.", "pub"),
            ("pub. .", "pub"),
            ("a./b ", "a/b"),
            ("\u{212a}ey", "key"),
            ("\u{17f}", "S"),
            ("stra\u{df}e", "STRASSE"),
            ("pu\u{200c}b", "pub"),
            ("...", ""),
        ] {
            assert_eq!(folded(one), folded(other), "{one} {other}");
        }
        for (one, other) in [("a", "b"), ("a/b", "ab"), (".a", "a"), (" a", "a"), ("a b", "ab")] {
            assert_ne!(folded(one), folded(other), "{one} {other}");
        }
        assert_eq!(folded("a/.../b"), "a//b");
    }
}
