//! The command line: what can be typed, and the exit code that comes of it.
//!
//! Each command has its file; what they do is the library's business. 0 means done, 1 failed,
//! 2 wrong usage.
#![allow(clippy::disallowed_methods, reason = "commands reach the world: local files and worker threads")]

#[cfg(feature = "client")]
mod common;
mod flag;
#[cfg(feature = "client")]
mod get;
#[cfg(feature = "client")]
mod ls;
#[cfg(feature = "client")]
mod pool;
#[cfg(feature = "client")]
mod put;
#[cfg(feature = "client")]
mod reporter;
#[cfg(feature = "client")]
mod rm;
#[cfg(feature = "serve")]
mod serve;
#[cfg(feature = "serve")]
mod serve_flags;
mod usage;

#[cfg(all(test, feature = "client"))]
mod tests;

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::ExitCode;

use lexopt::{Arg, Parser};

use usage::{ParseError, describe, row, similar, usage_error};

/// The exit code of wrong usage.
pub const USAGE: u8 = 2;

const ABOUT: &str = "A file-transfer server that serves very many file streams from one thread, and its client";
const USAGE_LINE: &str = "filewharf <COMMAND>";

/// What help says of a command.
struct About {
    name: &'static str,
    about: &'static str,
    help: fn() -> String,
}

const COMMANDS: &[About] = &[
    #[cfg(feature = "serve")]
    About { name: serve_flags::USAGE.name, about: serve_flags::USAGE.about, help: || serve_flags::USAGE.help() },
    #[cfg(feature = "client")]
    About { name: put::USAGE.name, about: put::USAGE.about, help: || put::USAGE.help() },
    #[cfg(feature = "client")]
    About { name: get::USAGE.name, about: get::USAGE.about, help: || get::USAGE.help() },
    #[cfg(feature = "client")]
    About { name: ls::USAGE.name, about: ls::USAGE.about, help: || ls::USAGE.help() },
    #[cfg(feature = "client")]
    About { name: rm::USAGE.name, about: rm::USAGE.about, help: || rm::USAGE.help() },
];

/// What was typed.
#[derive(Debug)]
enum Command {
    #[cfg(feature = "serve")]
    Serve(Box<serve_flags::Args>),
    #[cfg(feature = "client")]
    Put(common::Args),
    #[cfg(feature = "client")]
    Get(common::Args),
    #[cfg(feature = "client")]
    Ls(common::Args),
    #[cfg(feature = "client")]
    Rm(common::Args),
}

/// Does what was typed behind the name of the program.
pub fn run(words: impl Iterator<Item = OsString> + 'static) -> ExitCode {
    let command = match parse(words) {
        Ok(command) => command,
        // Nobody is left to tell if writing fails.
        Err(ParseError::Help(text)) => {
            let _ = std::io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(ParseError::Usage(text)) => {
            let _ = std::io::stderr().write_all(text.as_bytes());
            return ExitCode::from(USAGE);
        }
    };
    match command {
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::run(&args),
        #[cfg(feature = "client")]
        Command::Put(args) => finish(put::run(&args)),
        #[cfg(feature = "client")]
        Command::Get(args) => finish(get::run(&args)),
        #[cfg(feature = "client")]
        Command::Ls(args) => finish(ls::run(&args)),
        #[cfg(feature = "client")]
        Command::Rm(args) => finish(rm::run(&args)),
    }
}

/// Understands what was typed.
fn parse(words: impl Iterator<Item = OsString> + 'static) -> Result<Command, ParseError> {
    let mut words = Parser::from_args(words);
    let name = match words.next().map_err(|error| usage_error(&describe(error), USAGE_LINE))? {
        None => return Err(ParseError::Usage(help())),
        Some(Arg::Long("help") | Arg::Short('h')) => return Err(ParseError::Help(help())),
        Some(Arg::Long("version") | Arg::Short('V')) => {
            return Err(ParseError::Help(concat!("filewharf ", env!("CARGO_PKG_VERSION"), "\n").to_owned()));
        }
        Some(Arg::Long(flag)) => return Err(unexpected(&format!("--{flag}"))),
        Some(Arg::Short(flag)) => return Err(unexpected(&format!("-{flag}"))),
        Some(Arg::Value(name)) => name.to_string_lossy().into_owned(),
    };
    match &*name {
        #[cfg(feature = "serve")]
        "serve" => serve_flags::Args::parse(&mut words).map(Box::new).map(Command::Serve),
        #[cfg(feature = "client")]
        "put" => common::Args::parse(&put::USAGE, &mut words).map(Command::Put),
        #[cfg(feature = "client")]
        "get" => common::Args::parse(&get::USAGE, &mut words).map(Command::Get),
        #[cfg(feature = "client")]
        "ls" => common::Args::parse(&ls::USAGE, &mut words).map(Command::Ls),
        #[cfg(feature = "client")]
        "rm" => common::Args::parse(&rm::USAGE, &mut words).map(Command::Rm),
        "help" => Err(help_about(&mut words)),
        _ => Err(unknown(&name)),
    }
}

fn unexpected(flag: &str) -> ParseError {
    usage_error(&format!("unexpected argument '{flag}' found"), USAGE_LINE)
}

fn unknown(name: &str) -> ParseError {
    let tip = similar(name, COMMANDS.iter().map(|command| command.name.to_owned()));
    let tip = tip.map(|known| format!("\n\n  tip: a similar subcommand exists: '{known}'")).unwrap_or_default();
    usage_error(&format!("unrecognized subcommand '{name}'{tip}"), USAGE_LINE)
}

/// `filewharf help` and `filewharf help COMMAND`.
fn help_about(words: &mut Parser) -> ParseError {
    let Ok(Some(Arg::Value(name))) = words.next() else { return ParseError::Help(help()) };
    let known = COMMANDS.iter().find(|command| name == command.name);
    known.map_or_else(|| unknown(&name.to_string_lossy()), |command| ParseError::Help((command.help)()))
}

/// The help text of the program as a whole.
fn help() -> String {
    let mut text = format!("{ABOUT}\n\nUsage: {USAGE_LINE}\n\nCommands:\n");
    for About { name, about, .. } in COMMANDS {
        row(&mut text, name, about);
    }
    row(&mut text, "help [COMMAND]", "Print this message or the help of a command");
    text.push_str("\nOptions:\n");
    row(&mut text, "-h, --help", "Print help");
    row(&mut text, "-V, --version", "Print version");
    text
}

/// Turns the end of a client command into an exit code.
#[cfg(feature = "client")]
fn finish(end: Result<common::End, common::UsageError>) -> ExitCode {
    match end {
        Ok(common::End::Done) => ExitCode::SUCCESS,
        Ok(common::End::Failed) => ExitCode::FAILURE,
        Err(common::UsageError(words)) => {
            reporter::print_line(&format!("{words} (see filewharf --help)"));
            ExitCode::from(USAGE)
        }
    }
}

/// A secret that was read from a file.
struct Secret {
    text: String,
    /// What is wrong with the file, if something is.
    warning: Option<String>,
}

/// Shortest secret that is taken, in bytes.
const SECRET_LEN_MIN: usize = 4;
/// Longest one: it is a word of a request line.
const SECRET_LEN_MAX: usize = 1024;

/// The secret in a file: its first line, which must be one that a client can send.
fn read_secret(file: &Path) -> Result<Secret, String> {
    let told = |why: String| Err(format!("{}: {why}", file.display()));
    let read = File::open(file).and_then(|mut open| {
        let mut text = String::new();
        open.read_to_string(&mut text)?;
        Ok((text, open.metadata()?))
    });
    let (text, facts) = match read {
        Ok(read) => read,
        Err(error) => return told(error.to_string()),
    };
    let secret = text.lines().next().unwrap_or_default();
    if secret.trim().is_empty() {
        return told("holds no secret, the first line is blank".to_owned());
    }
    if !(SECRET_LEN_MIN..=SECRET_LEN_MAX).contains(&secret.trim().len()) {
        return told(format!("a secret has at least {SECRET_LEN_MIN} and at most {SECRET_LEN_MAX} bytes"));
    }
    if crate::wire::key::has_control(secret) {
        return told("the secret in the first line has control characters".to_owned());
    }
    // A pipe, as a shell makes one for <(command), is read once and by one process.
    let mode = facts.mode() & 0o777;
    let warning = (facts.is_file() && mode & 0o004 != 0).then(|| {
        format!("every user of this machine can read the secret (mode {mode:03o}): chmod 600 {}", file.display())
    });
    Ok(Secret { text: secret.to_owned(), warning })
}
