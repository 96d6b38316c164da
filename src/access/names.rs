//! Paths as a file system may compare them that takes some names for one: see [`crate::wire::folding`].

use crate::wire::folding::fold;

/// Each name in it folded. As many components as before, some perhaps empty.
pub fn folded(path: &str) -> String {
    let mut folded = String::with_capacity(path.len());
    for (place, component) in path.split('/').enumerate() {
        if place > 0 {
            folded.push('/');
        }
        fold(component, &mut folded);
    }
    folded
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
            ("pu\u{ad}b", "pub"),
            ("p\u{2060}u\u{fe0f}b\u{e0001}", "pub"),
            ("\u{fb01}les", "FILES"),
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
