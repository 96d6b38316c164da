//! The digest that stands for the lines of a listing: of two sides with the same digest, neither has to send the names.
//! Never holds a name.

use std::fmt::{self, Write as _};

use sha2::{Digest as _, Sha256};

use crate::wire::line::hex;

/// Of some names in the order of a listing: SHA-256 of `SIZE MTIME NAME` LF for each file, with `exec` `SIZE MTIME x NAME`
/// for one that can be executed, of `NAME/` LF for each directory, and of `? NAME` LF for what is not known.
#[derive(Clone, Debug)]
pub struct ListingSum {
    digest: Sha256,
    exec: bool,
}

impl ListingSum {
    pub fn new(exec: bool) -> Self {
        Self { digest: Sha256::new(), exec }
    }

    pub fn file(&mut self, name: &str, (size, mtime): (u64, i64), executable: bool) {
        let mark = if self.exec && executable { "x " } else { "" };
        self.line(format_args!("{size} {mtime} {mark}{name}\n"));
    }

    pub fn dir(&mut self, name: &str) {
        self.line(format_args!("{name}/\n"));
    }

    pub fn unknown(&mut self, name: &str) {
        self.line(format_args!("? {name}\n"));
    }

    fn line(&mut self, text: fmt::Arguments<'_>) {
        let _ = self.write_fmt(text);
    }

    pub fn finish(self) -> Box<str> {
        let digest: [u8; 32] = self.digest.finalize().into();
        hex(&digest).into()
    }
}

impl fmt::Write for ListingSum {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.digest.update(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(exec: bool, add: impl FnOnce(&mut ListingSum)) -> Box<str> {
        let mut sum = ListingSum::new(exec);
        add(&mut sum);
        sum.finish()
    }

    #[test]
    fn the_sum_is_that_of_the_lines_as_they_are_documented() {
        let all = sum(true, |sum| {
            sum.dir("d");
            sum.file("d/f", (5, -1), true);
            sum.file("g", (0, 7), false);
        });
        let text = "d/\n5 -1 x d/f\n0 7 g\n";
        assert_eq!(*all, *hex(&<[u8; 32]>::from(Sha256::digest(text))));
    }

    #[test]
    fn every_word_counts_and_execute_bits_only_where_they_are_asked_for() {
        let file = |exec, name: &str, facts, executable| sum(exec, |sum| sum.file(name, facts, executable));
        let one = file(false, "f", (5, 6), false);
        assert_eq!(one, file(false, "f", (5, 6), true));
        let others = [
            file(false, "g", (5, 6), false),
            file(false, "f", (4, 6), false),
            file(false, "f", (5, 7), false),
            file(true, "f", (5, 6), true),
            sum(false, |sum| sum.dir("f")),
            sum(false, |sum| sum.unknown("f")),
            sum(false, |_| {}),
        ];
        for (place, other) in others.iter().enumerate() {
            assert!(*other != one && !others[..place].contains(other), "{place}");
        }
    }
}
