//! What says how to serve: a file, the environment and the command line, each of which takes precedence over those before
//! it. All three set the flags of one table; where each value comes from is kept.

mod again;
mod effective;
mod sources;

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::Parser;

use super::serve_flags::{Args, USAGE};
use super::usage::ParseError;
use crate::server::{Builder, Reload, Server, ServerError};
use again::ReadAgain;
pub(super) use effective::Effective;
use effective::{combine, effective};
use sources::{Given, Mistake, Place, flag_named};

/// How to serve.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) args: Args,
    /// What is in effect, of all that was given.
    given: Vec<Given>,
    environment: Vec<Given>,
    command_line: Vec<Given>,
    warnings: Vec<String>,
}

impl Settings {
    /// Of the command line, of the environment, and of the file that one of them names.
    pub(super) fn parse(words: &mut Parser) -> Result<Self, ParseError> {
        Self::parse_all(words, env::vars_os())
    }

    fn parse_all(
        words: &mut Parser,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ParseError> {
        let command_line = typed(words)?;
        let (environment, warnings) = sources::environment(variables).map_err(refused)?;
        let (args, given) = combine(&environment, &command_line).map_err(refused)?;
        Ok(Self { args, given, environment, command_line, warnings })
    }

    /// Of a command line alone.
    #[cfg(test)]
    pub(super) fn of(words: &[&str]) -> Result<Self, ParseError> {
        Self::parse_all(&mut Parser::from_args(words), std::iter::empty())
    }

    /// What is not taken, though it was meant for this program.
    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(super) fn build(&self, builder: Builder) -> Result<Server, ServerError> {
        let again = self.args.config.clone().map(|file| {
            let again: Box<dyn Reload> = Box::new(self.read_again(file.clone()));
            (file, again)
        });
        builder.build_reloading(again)
    }

    /// To read the file again, which these settings were read from.
    fn read_again(&self, file: PathBuf) -> ReadAgain {
        let (environment, command_line) = (self.environment.clone(), self.command_line.clone());
        let started = self.effective();
        ReadAgain { file, environment, command_line, last: started.clone(), started }
    }

    /// See [`effective`].
    pub(super) fn effective(&self) -> Vec<Effective> {
        effective(&self.args, &self.given)
    }
}

/// The flags of a command line.
fn typed(words: &mut Parser) -> Result<Vec<Given>, ParseError> {
    let (mut scratch, mut given) = (Args::default(), Vec::new());
    let mut operands = USAGE.parse_each(words, &mut |flag, value| {
        flag.value.set(&mut scratch, value.clone())?;
        given.push(Given { flag, value: Some(value), place: Place::CommandLine });
        Ok(())
    })?;
    if let (Some(dir), Some(flag)) = (operands.pop(), flag_named("root")) {
        if given.iter().any(|given| given.is_rival_of(flag)) {
            return Err(USAGE.command.error("the argument '--root' cannot be used with DIR"));
        }
        given.push(Given { flag, value: Some(dir), place: Place::CommandLine });
    }
    Ok(given)
}

/// A mistake as the command ends with it.
fn refused(mistake: Mistake) -> ParseError {
    match mistake.place {
        Place::CommandLine => USAGE.command.error(&mistake.why),
        _ => ParseError::Usage(format!("{mistake}\n")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A file with this text, in a directory of its own.
    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("conf");
        fs::write(&file, text).expect("a file");
        (dir, file)
    }

    /// What is in effect with this file, these variables and these words, or what is wrong.
    fn read(text: &str, variables: &[(&str, &str)], words: &[&str]) -> Result<Settings, String> {
        let (_dir, file) = written(text);
        let words: Vec<_> = [OsString::from("--config"), file.clone().into()]
            .into_iter()
            .chain(words.iter().map(OsString::from))
            .collect();
        let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        Settings::parse_all(&mut Parser::from_args(words), variables).map_err(|error| match error {
            ParseError::Help(text) | ParseError::Usage(text) => text.replace(&*file.to_string_lossy(), "conf"),
        })
    }

    /// The values and sources of a flag.
    fn rows(settings: &Settings, name: &str) -> Vec<String> {
        let file = settings.args.config.as_ref().expect("a file").to_string_lossy();
        let rows = settings.effective().into_iter().filter(|row| row.name == name);
        rows.map(|Effective { value, source, .. }| format!("{value} {}", source.replace(&*file, "conf"))).collect()
    }

    const FILE: &str = "# comment\n\nroot \"/srv/my files\" # another\nlisten 127.0.0.1:1\nlisten line@127.0.0.1:2\n\
                        read-only\nmax-size 2GB\nidle-timeout 1.5\nverbose\nverbose\n";

    #[test]
    fn flags_take_precedence_over_the_environment_and_that_over_the_file() {
        let file = read(FILE, &[], &[]).expect("good");
        assert_eq!(rows(&file, "root"), ["/srv/my files conf:3"]);
        assert_eq!(rows(&file, "listen"), ["127.0.0.1:1 conf:4", "line@127.0.0.1:2 conf:5"]);
        assert_eq!(rows(&file, "read-only"), ["on conf:6"]);
        assert_eq!(rows(&file, "max-size"), ["2GB conf:7"]);
        assert_eq!((rows(&file, "verbose").len(), file.args.verbose), (2, 2));
        assert_eq!((rows(&file, "slots"), rows(&file, "cors")), (vec!["512 default".into()], vec!["- default".into()]));
        assert_eq!(file.args.builder.limits.live.request_bytes_max, 2_000_000_000);

        let variables = [
            ("FILEWHARF_LISTEN", "[::1]:3 [::1]:4"),
            ("FILEWHARF_READ_ONLY", "0"),
            ("FILEWHARF_MAX_SIZE", "3KiB"),
            ("FILEWHARF_IDLE_TIMEOUT", ""),
            ("FILEWHARF_QUIET", "1"),
        ];
        let environment = read(FILE, &variables, &[]).expect("good");
        let listens = ["[::1]:3 FILEWHARF_LISTEN", "[::1]:4 FILEWHARF_LISTEN"];
        assert_eq!(rows(&environment, "listen"), listens, "all of the file are replaced");
        assert_eq!(rows(&environment, "read-only"), ["off FILEWHARF_READ_ONLY"]);
        assert_eq!(rows(&environment, "max-size"), ["3K FILEWHARF_MAX_SIZE"]);
        assert_eq!(rows(&environment, "idle-timeout"), ["1.5 conf:8"], "an empty variable says nothing");
        assert_eq!((environment.args.quiet, environment.args.verbose), (true, 0), "they exclude each other");
        assert!(!environment.args.builder.store.read_only && environment.args.listen.len() == 2);

        let typed = read(FILE, &variables, &["dir", "--max-size", "5", "-v", "--listen", "127.0.0.1:5"]).expect("good");
        assert_eq!(rows(&typed, "root"), ["dir flag"]);
        assert_eq!(
            (rows(&typed, "listen"), rows(&typed, "max-size")),
            (vec!["127.0.0.1:5 flag".into()], vec!["5 flag".into()])
        );
        assert_eq!((typed.args.quiet, typed.args.verbose), (false, 1));
        assert!(read(FILE, &[], &["dir", "--root", "dir"]).is_err(), "only one of them");
        assert_eq!(read(FILE, &[("FILEWHARF_VERBOSE", "1")], &[]).expect("good").args.verbose, 1);
    }

    #[test]
    fn a_mistake_is_named_by_its_line_with_the_nearest_word() {
        for (line, wanted) in [
            ("max-sise 1", "unknown flag 'max-sise', the nearest is 'max-size'"),
            ("--max-size 1", "unknown flag '--max-size', the nearest is 'max-size'"),
            ("max-size=1", "unknown flag 'max-size=1', the nearest is 'max-size'"),
            ("port 80", "unknown flag 'port', the nearest is 'listen 127.0.0.1:PORT'"),
            ("nonsense", "unknown flag 'nonsense'"),
            ("max-size", "a value is missing: max-size BYTES"),
            ("max-size 1X", "invalid value '1X' for 'max-size <BYTES>': is not a number of bytes"),
            ("max-size 1 G", "'max-size' has more than one value: one with blanks stands in quotes"),
            ("slots 0", "invalid value '0' for 'slots <N>': must be at least 1"),
            ("read-only 1", "unexpected value '1' for 'read-only', which has none"),
            ("legacy", "'legacy' cannot be used multiple times"),
            ("listen 80", "invalid value '80' for 'listen <"),
            ("listen 127.0.0.1:0?csrf", "invalid value '127.0.0.1:0?csrf' for 'listen <"),
            ("cors x", "invalid value 'x' for 'cors <ORIGIN>'"),
            ("config other", "a file cannot name another one"),
            ("root \"a", "a quote is not closed"),
            ("tls-cert a", "the arguments '--tls-cert' and '--tls-key' need each other"),
            ("tls-self-signed a", "'--tls-self-signed' has no effect, because no address is encrypted: write --listen"),
            ("read-token-file a", "the argument '--read-token-file' needs '--token-file'"),
        ] {
            let told = read(&format!("# first\nlegacy\n{line} # last\n"), &[], &[]).expect_err(line);
            assert!(told.starts_with(&format!("conf:3: {wanted}")) && told.lines().count() == 1, "{line}: {told}");
        }
        let told = read("max-size 1X", &[], &["--max-size", "1"]).expect_err("wrong, though it is replaced");
        assert!(told.starts_with("conf:1: "), "{told}");
        let told = read("access a", &[], &["--token-file", "b"]).expect_err("not together");
        assert!(told.starts_with("conf:1: the argument '--access' cannot be used with '--token-file'"), "{told}");
        let told = read(&"#".repeat(300_000), &[], &[]).expect_err("too long");
        assert!(told.starts_with("conf: is longer than "), "{told}");
        let told = Settings::of(&["--config", "/nowhere/conf"]).expect_err("missing");
        assert!(
            matches!(&told, ParseError::Usage(told) if told.starts_with("/nowhere/conf: No such file")),
            "{told:?}"
        );
    }

    #[test]
    fn a_variable_that_is_wrong_is_refused_and_an_unknown_one_is_warned_of() {
        for (name, value, wanted) in [
            ("FILEWHARF_MAX_SIZE", "1X", "FILEWHARF_MAX_SIZE: invalid value '1X' for 'max-size <BYTES>': is not"),
            ("FILEWHARF_READ_ONLY", "yes", "FILEWHARF_READ_ONLY: invalid value 'yes': is none of 1, true, 0 and false"),
            ("FILEWHARF_LISTEN", "127.0.0.1:1 x", "FILEWHARF_LISTEN: invalid value 'x' for 'listen <"),
            ("FILEWHARF_READ_TOKEN_FILE", "a", "FILEWHARF_READ_TOKEN_FILE: the argument '--read-token-file' needs"),
        ] {
            let told = read("", &[(name, value)], &[]).expect_err(name);
            assert!(told.starts_with(wanted) && told.lines().count() == 1, "{told}");
        }
        let variables = ["FILEWHARF_TOKEN", "FILEWHARF_PASSWORD", "FILEWHARF_MAX_SISE", "FILEWHARF_X", "FILE_X"];
        let read = read("", &variables.map(|name| (name, "1")), &[]).expect("good");
        let unknown = "the unknown variable FILEWHARF_";
        let wanted = ["MAX_SISE is ignored, the nearest is FILEWHARF_MAX_SIZE", "X is ignored"];
        assert_eq!(read.warnings(), wanted.map(|end| format!("{unknown}{end}")));
    }

    #[test]
    fn the_environment_may_name_the_file_and_every_flag_but_that_may_stand_in_it() {
        let (_dir, file) = written("slots 7\n");
        let named = [("FILEWHARF_CONFIG".into(), file.into())];
        let settings = Settings::parse_all(&mut Parser::from_args([""; 0]), named.into_iter()).expect("good");
        assert_eq!(rows(&settings, "slots"), ["7 conf:1"]);
        for flag in USAGE.all_flags().filter(|flag| flag.syntax.long != "config") {
            let value = flag.shown(&mut Args::default()).unwrap_or_else(|| "644".to_owned());
            let value = if flag.syntax.value_name.is_some() { &*value } else { "" };
            let told = read(&format!("{} {value}", flag.syntax.long), &[], &[]).err().unwrap_or_default();
            assert!(!told.contains("unknown") && !told.contains("missing"), "{told}");
        }
    }
}
