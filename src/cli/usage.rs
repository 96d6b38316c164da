//! What may be typed behind the name of a command: a table that is read to parse it and to help.
//!
//! One row is all that a new flag takes. Nothing here acts on what was typed, and nothing prints.

use std::ffi::OsString;
use std::fmt::{Display, Write as _};
use std::num::ParseIntError;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use lexopt::{Arg, Error, Parser};

/// Columns of a help text.
const WIDTH: usize = 100;
/// Columns of what stands before the words about it; what is longer has a line of its own.
const LEFT_WIDTH: usize = 30;

/// Why nothing is to be done: the words that say so.
#[derive(Debug)]
pub enum Stop {
    /// Help or the version was asked for; that is no error.
    Asked(String),
    /// Wrong usage.
    Wrong(String),
}

/// What can be typed behind the name of a command, and what becomes of it: an `A`.
pub(super) struct Usage<A: 'static> {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// What stands behind the name in the line "Usage:".
    pub(super) line: &'static str,
    /// What is typed without a flag, and what help says about it.
    pub(super) operand: (&'static str, &'static str),
    /// How many of them there may be.
    pub(super) operands: RangeInclusive<usize>,
    /// Headings and what stands below them.
    pub(super) flags: &'static [(&'static str, &'static [Flag<A>])],
    /// Flags of other programs, and what does here what was meant.
    pub(super) instead: &'static [(&'static str, &'static str)],
    /// The end of the help text.
    pub(super) notes: &'static str,
}

/// One row of the table.
pub(super) struct Flag<A> {
    long: &'static str,
    short: Option<char>,
    takes: Takes<A>,
    times: Times,
    help: &'static str,
}

/// What follows a flag, and what then happens.
enum Takes<A> {
    Nothing(fn(&mut A)),
    Text(&'static str, fn(&mut A, &str) -> Result<(), String>),
    Path(&'static str, fn(&mut A, PathBuf)),
}

/// How often may a flag be typed?
#[cfg_attr(not(feature = "serve"), allow(dead_code, reason = "no client command has such a flag"))]
#[derive(Clone, Copy, PartialEq, Eq)]
enum Times {
    Once,
    Any,
}

impl<A> Flag<A> {
    /// It says all by being there.
    pub(super) const fn plain(long: &'static str, help: &'static str, set: fn(&mut A)) -> Self {
        Self { long, short: None, takes: Takes::Nothing(set), times: Times::Once, help }
    }

    /// A value follows it, named so in the help.
    pub(super) const fn text(
        long: &'static str,
        value: &'static str,
        help: &'static str,
        set: fn(&mut A, &str) -> Result<(), String>,
    ) -> Self {
        Self { long, short: None, takes: Takes::Text(value, set), times: Times::Once, help }
    }

    /// The name of a local file follows it.
    pub(super) const fn path(
        long: &'static str,
        value: &'static str,
        help: &'static str,
        set: fn(&mut A, PathBuf),
    ) -> Self {
        Self { long, short: None, takes: Takes::Path(value, set), times: Times::Once, help }
    }

    /// It can also be typed as one letter.
    pub(super) const fn or(self, letter: char) -> Self {
        Self { short: Some(letter), ..self }
    }

    /// It may be typed again and again.
    #[cfg_attr(not(feature = "serve"), allow(dead_code, reason = "no client command has such a flag"))]
    pub(super) const fn again(self) -> Self {
        Self { times: Times::Any, ..self }
    }

    /// As in "`--max-size <BYTES>`".
    fn shown(&self) -> String {
        match &self.takes {
            Takes::Nothing(_) => format!("--{}", self.long),
            Takes::Text(value, _) | Takes::Path(value, _) => format!("--{} <{value}>", self.long),
        }
    }
}

impl<A> Usage<A> {
    /// Reads the words behind the name of the command. What they say goes into `args`; operands come back.
    pub(super) fn parse(&self, words: &mut Parser, args: &mut A) -> Result<Vec<OsString>, Stop> {
        let (mut operands, mut typed) = (Vec::new(), Vec::new());
        while let Some(flag) = self.next(words, &mut operands)? {
            if flag.times == Times::Once && typed.contains(&flag.long) {
                return Err(self.wrong(&format!("the argument '{}' cannot be used multiple times", flag.shown())));
            }
            typed.push(flag.long);
            match &flag.takes {
                Takes::Nothing(set) => set(args),
                Takes::Text(_, set) => {
                    let value = self.value(words, flag)?;
                    let set = value.to_str().ok_or_else(|| "is not UTF-8".to_owned()).and_then(|text| set(args, text));
                    set.map_err(|why| {
                        let value = value.display();
                        self.wrong(&format!("invalid value '{value}' for '{}': {why}", flag.shown()))
                    })?;
                }
                Takes::Path(_, set) => set(args, self.value(words, flag)?.into()),
            }
        }
        if operands.len() < *self.operands.start() {
            let missing = self.operand.0;
            return Err(self.wrong(&format!("the following required arguments were not provided:\n  {missing}")));
        }
        match operands.get(*self.operands.end()) {
            Some(surplus) => Err(self.wrong(&format!("unexpected argument '{}' found", surplus.display()))),
            None => Ok(operands),
        }
    }

    /// The next flag; operands before it are put aside.
    fn next(&self, words: &mut Parser, operands: &mut Vec<OsString>) -> Result<Option<&'static Flag<A>>, Stop> {
        let mut flags = self.flags.iter().flat_map(|(_, flags)| *flags);
        loop {
            let (found, typed) = match words.next().map_err(|error| self.wrong(&words_of(error)))? {
                None => return Ok(None),
                Some(Arg::Value(operand)) => {
                    operands.push(operand);
                    continue;
                }
                Some(Arg::Long("help") | Arg::Short('h')) => return Err(Stop::Asked(self.help())),
                Some(Arg::Long(long)) => (flags.find(|flag| flag.long == long), format!("--{long}")),
                Some(Arg::Short(letter)) => (flags.find(|flag| flag.short == Some(letter)), format!("-{letter}")),
            };
            return found.map(Some).ok_or_else(|| {
                if let Some((_, here)) = self.instead.iter().find(|(other, _)| *other == typed) {
                    return self.wrong(&format!("unexpected argument '{typed}' found\n\n  tip: write '{here}'"));
                }
                let known = self.flags.iter().flat_map(|(_, flags)| *flags).map(|flag| format!("--{}", flag.long));
                let tip = similar(&typed, known.chain(["--help".to_owned()]))
                    .map(|known| format!("\n\n  tip: a similar argument exists: '{known}'"));
                self.wrong(&format!("unexpected argument '{typed}' found{}", tip.unwrap_or_default()))
            });
        }
    }

    fn value(&self, words: &mut Parser, flag: &Flag<A>) -> Result<OsString, Stop> {
        let missing = || format!("a value is required for '{}' but none was supplied", flag.shown());
        words.value().map_err(|_| self.wrong(&missing()))
    }

    /// What was typed makes no sense.
    pub(super) fn wrong(&self, why: &str) -> Stop {
        wrong(why, &format!("filewharf {} {}", self.name, self.line))
    }

    /// The text for `--help`.
    pub(super) fn help(&self) -> String {
        let mut text = format!("{}\n\nUsage: filewharf {} {}\n\nArguments:\n", self.about, self.name, self.line);
        row(&mut text, self.operand.0, self.operand.1);
        for (heading, flags) in self.flags {
            let _ = writeln!(text, "\n{heading}:"); // writing to a String cannot fail, here and below
            for flag in *flags {
                let short = flag.short.map_or("    ".to_owned(), |letter| format!("-{letter}, "));
                row(&mut text, &(short + &flag.shown()), flag.help);
            }
        }
        text.push('\n');
        row(&mut text, "-h, --help", "Print help");
        let _ = writeln!(text, "\n{}", self.notes);
        text
    }
}

/// Wrong usage, and what is right.
pub(super) fn wrong(why: &str, usage: &str) -> Stop {
    Stop::Wrong(format!("error: {why}\n\nUsage: {usage}\n\nFor more information, try '--help'.\n"))
}

/// What cannot be read at all.
pub(super) fn words_of(error: Error) -> String {
    match error {
        Error::UnexpectedValue { option, value } => {
            format!("unexpected value '{}' for '{option}' found; no more were expected", value.display())
        }
        other => other.to_string(),
    }
}

/// A number that is not too small and not too large.
pub(super) fn within<T: FromStr<Err = ParseIntError> + PartialOrd + Display>(
    text: &str,
    range: RangeInclusive<T>,
) -> Result<T, String> {
    let number: T = text.parse().map_err(|error: ParseIntError| error.to_string())?;
    if number < *range.start() {
        Err(format!("must be at least {}", range.start()))
    } else if number > *range.end() {
        Err(format!("must be at most {}", range.end()))
    } else {
        Ok(number)
    }
}

/// One thing and words about it, in two columns.
pub(super) fn row(text: &mut String, left: &str, right: &str) {
    let _ = write!(text, "  {left:LEFT_WIDTH$}");
    let mut at = if left.len() > LEFT_WIDTH { WIDTH } else { LEFT_WIDTH + 2 };
    // A default stays on one line.
    let right = right.replace("[default: ", "[default:\0");
    for word in right.split(' ') {
        if at + 1 + word.len() > WIDTH {
            let _ = write!(text, "\n  {:LEFT_WIDTH$}", "");
            at = LEFT_WIDTH + 2;
        }
        let _ = write!(text, " {}", word.replace('\0', " "));
        at += 1 + word.len();
    }
    text.push('\n');
}

/// What was probably meant: a third of it may be typed wrong.
pub(super) fn similar(typed: &str, known: impl Iterator<Item = String>) -> Option<String> {
    let near = known.map(|known| (typing_errors(typed, &known), known));
    near.min_by_key(|(errors, _)| *errors).filter(|(errors, known)| errors * 3 <= known.len()).map(|(_, known)| known)
}

/// How many letters must come, go or change to make one out of the other (Levenshtein).
fn typing_errors(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, typed) in one.bytes().enumerate() {
        let mut above_left = std::mem::replace(&mut row[0], line + 1);
        for (at, wanted) in other.bytes().enumerate() {
            let changed = above_left + usize::from(typed != wanted);
            above_left = row[at + 1];
            row[at + 1] = changed.min(above_left + 1).min(row[at] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq)]
    struct Args {
        loud: u32,
        quick: bool,
        size: usize,
        file: PathBuf,
    }

    static USAGE: Usage<Args> = Usage {
        name: "sing",
        about: "Sing a song",
        line: "[OPTIONS] [SONG]",
        operand: ("[SONG]", "What to sing"),
        operands: 0..=1,
        flags: &[(
            "Options",
            &[
                Flag::plain("loud", "Louder", |args: &mut Args| args.loud += 1).or('l').again(),
                Flag::plain("quick", "Faster", |args: &mut Args| args.quick = true).or('q'),
                Flag::text("size", "N", "Singers", |args: &mut Args, text| {
                    text.parse().map(|size| args.size = size).map_err(|_| "is not a number".to_owned())
                }),
                Flag::path("file", "FILE", "Notes", |args: &mut Args, file| args.file = file),
            ],
        )],
        instead: &[("--pitch", "--loud")],
        notes: "Example:\n  filewharf sing",
    };

    fn typed(line: &'static str) -> Result<(Args, Vec<OsString>), String> {
        let mut args = Args::default();
        match USAGE.parse(&mut Parser::from_args(line.split(' ').filter(|word| !word.is_empty())), &mut args) {
            Ok(operands) => Ok((args, operands)),
            Err(Stop::Asked(text) | Stop::Wrong(text)) => Err(text),
        }
    }

    #[test]
    fn every_way_to_type_a_flag_is_understood() {
        assert_eq!(typed(""), Ok((Args::default(), Vec::new())));
        let want = Args { loud: 3, quick: true, size: 7, file: "-x".into() };
        assert_eq!(typed("-llq --loud --size=7 --file -x song"), Ok((want, vec!["song".into()])));
        assert_eq!(typed("-- --loud").map(|(_, operands)| operands), Ok(vec!["--loud".into()]));
    }

    // covers: L3
    #[test]
    fn wrong_usage_is_told_with_what_is_right() {
        for (line, want) in [
            ("--lout", "unexpected argument '--lout' found\n\n  tip: a similar argument exists: '--loud'"),
            ("--nonsense", "unexpected argument '--nonsense' found\n\nUsage:"),
            ("--pitch", "unexpected argument '--pitch' found\n\n  tip: write '--loud'"),
            ("-x", "unexpected argument '-x' found"),
            ("-q --quick", "the argument '--quick' cannot be used multiple times"),
            ("--quick=yes", "unexpected value 'yes' for '--quick' found"),
            ("--size", "a value is required for '--size <N>' but none was supplied"),
            ("--size x", "invalid value 'x' for '--size <N>': is not a number"),
            ("a b", "unexpected argument 'b' found"),
        ] {
            let told = typed(line).expect_err(line);
            assert!(told.starts_with(&format!("error: {want}")), "{told}");
            assert!(
                told.ends_with("\n\nUsage: filewharf sing [OPTIONS] [SONG]\n\nFor more information, try '--help'.\n")
            );
        }
    }

    #[test]
    fn help_has_a_row_for_each_flag() {
        let help = typed("--size 1 --help --nonsense").expect_err("help");
        for (left, right) in [("-l, --loud", "Louder"), ("    --size <N>", "Singers"), ("-h, --help", "Print help")] {
            assert!(help.contains(&format!("\n  {left:LEFT_WIDTH$} {right}\n")), "{help}");
        }
        let mut long = String::new();
        row(&mut long, "--quite-a-long-flag-of-this-kind <VALUE>", &"word ".repeat(30));
        assert!(long.lines().count() == 4 && long.lines().all(|line| line.len() <= WIDTH), "{long}");
    }
}
