//! The usage of a command: one table from which its arguments are parsed and its help is written.
//!
//! A new flag is one row. Nothing here acts on the arguments.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::process::ExitCode;

use lexopt::{Arg, Error, Parser};

use super::flag::{Flag, SetResult, Syntax};

/// The exit code of wrong usage.
pub(super) const WRONG_USAGE: u8 = 2;
/// Columns of a help text.
const WIDTH: usize = 100;
/// Columns of the left part of a row of help; a longer one has a line of its own.
const LEFT_WIDTH: usize = 30;
/// A command with more flags shows only those of its first group, and the others if asked with `--help=all`.
const FLAGS_SHOWN_MAX: usize = 30;

/// A command with parsed arguments, ready to run.
pub(super) type Action = Box<dyn FnOnce() -> ExitCode>;

/// Why there is nothing to run, with the text to print.
#[derive(Debug)]
pub(super) enum ParseError {
    /// Help or the version was asked for, which is a success.
    Help(String),
    Usage(String),
}

/// The arguments of a command, which are parsed into an `A`.
///
/// Only what sets an `A` and reads its defaults is generic: the rest would be in the program once per command.
pub(super) struct Usage<A: 'static> {
    pub(super) command: Command,
    /// Groups of flags with their headings.
    pub(super) flags: &'static [(&'static str, &'static [Flag<A>])],
}

/// A command, but for its flags.
pub(super) struct Command {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// What follows the name in the line "Usage:".
    pub(super) line: &'static str,
    /// The name of the operands, and the help text about them.
    pub(super) operand: (&'static str, &'static str),
    /// How many operands there may be.
    pub(super) operands: RangeInclusive<usize>,
    /// Flags of other programs, and what to write instead.
    pub(super) hints: &'static [(&'static str, &'static str)],
    /// The end of the help text.
    pub(super) notes: &'static str,
}

/// A flag in the help: the heading of its group, how it is written, and its default.
pub(super) type HelpRow = (&'static str, &'static Syntax, Option<String>);

/// A command with its flags, for texts about all commands.
#[cfg(feature = "client")]
pub(super) struct Described {
    pub(super) command: &'static Command,
    pub(super) rows: Vec<HelpRow>,
}

impl<A: Default> Usage<A> {
    /// Parses the arguments after the name of the command: what flags set, and the operands.
    pub(super) fn parse(&self, words: &mut Parser) -> Result<(A, Vec<OsString>), ParseError> {
        let mut args = A::default();
        let operands = self.parse_each(words, &mut |flag, value| flag.value.set(&mut args, value))?;
        Ok((args, operands))
    }

    /// The same, with `set` for each flag that is given.
    pub(super) fn parse_each(
        &self,
        words: &mut Parser,
        set: &mut dyn FnMut(&'static Flag<A>, OsString) -> SetResult,
    ) -> Result<Vec<OsString>, ParseError> {
        let (flags, syntax): (Vec<_>, Vec<_>) = self.all_flags().map(|flag| (flag, &flag.syntax)).unzip();
        self.command.parse(words, &syntax, &mut |index, value| set(flags[index], value)).map_err(|wrong| match wrong {
            Wrong::Usage(why) => self.command.error(&why),
            Wrong::Help { all } => ParseError::Help(self.help(all)),
        })
    }

    pub(super) fn all_flags(&self) -> impl Iterator<Item = &'static Flag<A>> {
        self.flags.iter().flat_map(|(_, flags)| *flags)
    }

    /// The text for `--help`, or for `--help=all`.
    pub(super) fn help(&self, all: bool) -> String {
        self.command.help(&self.rows(), all)
    }

    /// All flags, with their defaults.
    pub(super) fn rows(&self) -> Vec<HelpRow> {
        let mut defaults = A::default();
        let mut rows: Vec<HelpRow> = Vec::new();
        for (heading, flags) in self.flags {
            rows.extend(flags.iter().map(|flag| (*heading, &flag.syntax, flag.shown(&mut defaults))));
        }
        rows
    }
}

/// Why arguments are not those of a command.
enum Wrong {
    Help { all: bool },
    Usage(String),
}

impl Command {
    /// Parses the arguments: sets the value of each flag by its index, and returns the operands.
    fn parse(
        &self,
        words: &mut Parser,
        flags: &[&Syntax],
        set: &mut dyn FnMut(usize, OsString) -> SetResult,
    ) -> Result<Vec<OsString>, Wrong> {
        let (mut operands, mut given) = (Vec::new(), Vec::new());
        while let Some(arg) = words.next().map_err(|error| Wrong::Usage(describe(error)))? {
            let (typed, index) = match arg {
                Arg::Value(operand) => {
                    operands.push(operand);
                    continue;
                }
                Arg::Long("help") | Arg::Short('h') => {
                    return Err(Wrong::Help { all: words.optional_value().is_some_and(|value| value == "all") });
                }
                Arg::Long(long) => (format!("--{long}"), flags.iter().position(|flag| flag.long == long)),
                Arg::Short(letter) => (format!("-{letter}"), flags.iter().position(|flag| flag.short == Some(letter))),
            };
            let index = index.ok_or_else(|| Wrong::Usage(self.unexpected(&typed, flags)))?;
            let flag = flags[index];
            if !flag.is_repeatable && given.contains(&index) {
                return Err(Wrong::Usage(format!("the argument '{}' cannot be used multiple times", flag.usage())));
            }
            given.push(index);
            let value = match flag.value_name {
                None => OsString::new(),
                Some(_) => words.value().map_err(|_| {
                    Wrong::Usage(format!("a value is required for '{}' but none was supplied", flag.usage()))
                })?,
            };
            set(index, value.clone()).map_err(|why| {
                Wrong::Usage(format!("invalid value '{}' for '{}': {why}", value.display(), flag.usage()))
            })?;
        }
        if operands.len() < *self.operands.start() {
            let missing = self.operand.0;
            return Err(Wrong::Usage(format!("the following required arguments were not provided:\n  {missing}")));
        }
        match operands.get(*self.operands.end()) {
            Some(surplus) => Err(Wrong::Usage(format!("unexpected argument '{}' found", surplus.display()))),
            None => Ok(operands),
        }
    }

    fn unexpected(&self, typed: &str, flags: &[&Syntax]) -> String {
        let hint = self.hints.iter().find(|(other, _)| *other == typed).map(|(_, here)| format!("write '{here}'"));
        let known = flags.iter().map(|flag| format!("--{}", flag.long)).chain(["--help".to_owned()]);
        let tip = hint.or_else(|| similar(typed, known).map(|known| format!("a similar argument exists: '{known}'")));
        let tip = tip.map(|tip| format!("\n\n  tip: {tip}")).unwrap_or_default();
        format!("unexpected argument '{typed}' found{tip}")
    }

    pub(super) fn error(&self, why: &str) -> ParseError {
        usage_error(why, &format!("filewharf {} {}", self.name, self.line))
    }

    pub(super) fn help(&self, rows: &[HelpRow], all: bool) -> String {
        let mut text = format!("{}\n\nUsage: filewharf {} {}\n", self.about, self.name, self.line);
        if *self.operands.end() > 0 {
            text.push_str("\nArguments:\n");
            row(&mut text, self.operand.0, self.operand.1);
        }
        let is_long = rows.len() > FLAGS_SHOWN_MAX;
        let mut above = "";
        for (heading, flag, default) in rows.iter().filter(|(heading, ..)| all || !is_long || *heading == rows[0].0) {
            if *heading != above {
                let _ = writeln!(text, "\n{heading}:"); // writing to a String cannot fail, here and below
                above = heading;
            }
            let short = flag.short.map_or("    ".to_owned(), |letter| format!("-{letter}, "));
            let default = default.as_ref().map(|default| format!(" [default: {default}]")).unwrap_or_default();
            row(&mut text, &(short + &flag.usage()), &(flag.help.to_owned() + &default));
        }
        text.push('\n');
        row(&mut text, "-h, --help", if is_long { "Print help, with --help=all for all flags" } else { "Print help" });
        let _ = writeln!(text, "\n{}", self.notes);
        text
    }
}

/// Wrong usage, with the right one.
pub(super) fn usage_error(why: &str, usage: &str) -> ParseError {
    ParseError::Usage(format!("error: {why}\n\nUsage: {usage}\n\nFor more information, try '--help'.\n"))
}

/// The text about an argument that cannot be read at all.
pub(super) fn describe(error: Error) -> String {
    match error {
        Error::UnexpectedValue { option, value } => {
            format!("unexpected value '{}' for '{option}' found; no more were expected", value.display())
        }
        other => other.to_string(),
    }
}

/// Prints what a command found out, or why it could not, and says with which code the program ends.
pub(super) fn print(result: Result<String, String>) -> ExitCode {
    use std::io::Write as _;

    // Errors of printing are ignored: they could only be printed.
    match result {
        Ok(text) => {
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(wrong) => {
            let _ = writeln!(std::io::stderr(), "filewharf: {wrong}");
            ExitCode::FAILURE
        }
    }
}

/// One row of help in two columns.
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

/// The most similar of the known words, if at most a third of it differs.
pub(super) fn similar(typed: &str, known: impl Iterator<Item = String>) -> Option<String> {
    let near = known.map(|known| (strsim::levenshtein(typed, &known), known));
    near.min_by_key(|(errors, _)| *errors).filter(|(errors, known)| errors * 3 <= known.len()).map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::flag::Value::*;
    use super::*;

    #[derive(Debug, Default, PartialEq)]
    struct Args {
        loud: u32,
        quick: bool,
        size: usize,
        choirs: u8,
        file: PathBuf,
    }

    static USAGE: Usage<Args> = Usage {
        command: Command {
            name: "sing",
            about: "Sing a song",
            line: "[OPTIONS] [SONG]",
            operand: ("[SONG]", "What to sing"),
            operands: 0..=1,
            hints: &[("--pitch", "--loud")],
            notes: "Example:\n  filewharf sing",
        },
        flags: &[(
            "Options",
            &[
                Flag::new("loud", Switch(|args: &mut Args| args.loud += 1), "Louder").or('l').repeatable(),
                Flag::new("quick", Switch(|args: &mut Args| args.quick = true), "Faster").or('q'),
                Flag::new(
                    "size",
                    Text("N", |args, text| {
                        args.size = text.parse().map_err(|_| "is not a number")?;
                        Ok(())
                    }),
                    "Singers",
                ),
                Flag::new("choirs", Number("N", 1..=u64::MAX, |args| &mut args.choirs), "Choirs"),
                Flag::new("file", Path("FILE", |args, file| args.file = file), "Notes"),
            ],
        )],
    };

    fn typed(line: &'static str) -> Result<(Args, Vec<OsString>), String> {
        let words = line.split(' ').filter(|word| !word.is_empty());
        USAGE.parse(&mut Parser::from_args(words)).map_err(|error| match error {
            ParseError::Help(text) | ParseError::Usage(text) => text,
        })
    }

    #[test]
    fn all_forms_of_a_flag_are_accepted() {
        assert_eq!(typed(""), Ok((Args::default(), Vec::new())));
        let want = Args { loud: 3, quick: true, size: 7, choirs: 2, file: "-x".into() };
        assert_eq!(typed("-llq --loud --size=7 --choirs 2 --file -x song"), Ok((want, vec!["song".into()])));
        assert_eq!(typed("-- --loud").map(|(_, operands)| operands), Ok(vec!["--loud".into()]));
    }

    // covers: wrong-options
    #[test]
    fn wrong_usage_is_reported_with_the_right_one() {
        for (line, want) in [
            ("--lout", "unexpected argument '--lout' found\n\n  tip: a similar argument exists: '--loud'"),
            ("--nonsense", "unexpected argument '--nonsense' found\n\nUsage:"),
            ("--pitch", "unexpected argument '--pitch' found\n\n  tip: write '--loud'"),
            ("-x", "unexpected argument '-x' found"),
            ("-q --quick", "the argument '--quick' cannot be used multiple times"),
            ("--quick=yes", "unexpected value 'yes' for '--quick' found"),
            ("--size", "a value is required for '--size <N>' but none was supplied"),
            ("--size x", "invalid value 'x' for '--size <N>': is not a number"),
            ("--choirs 0", "invalid value '0' for '--choirs <N>': must be at least 1"),
            ("--choirs 256", "invalid value '256' for '--choirs <N>': out of range"),
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
        for (left, right) in [
            ("-l, --loud", "Louder"),
            ("    --size <N>", "Singers"),
            ("    --choirs <N>", "Choirs [default: 0]"),
            ("-h, --help", "Print help"),
        ] {
            assert!(help.contains(&format!("\n  {left:LEFT_WIDTH$} {right}\n")), "{help}");
        }
        let mut long = String::new();
        row(&mut long, "--quite-a-long-flag-of-this-kind <VALUE>", &"word ".repeat(30));
        assert!(long.lines().count() == 4 && long.lines().all(|line| line.len() <= WIDTH), "{long}");
    }
}
