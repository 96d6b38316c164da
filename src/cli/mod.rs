//! The command line: parses the arguments and runs a command. Exit code 0: done, 1: failed, 2: wrong usage,
//! 130: interrupted by Ctrl-C.
#![allow(clippy::disallowed_methods, reason = "commands do I/O: local files and worker threads")]

#[cfg(feature = "client")]
mod args;
#[cfg(feature = "client")]
mod cat;
#[cfg(feature = "serve")]
mod check;
#[cfg(feature = "client")]
mod completions;
#[cfg(feature = "client")]
mod credentials;
#[cfg(feature = "client")]
mod expand;
#[cfg(feature = "client")]
mod filter;
mod flag;
#[cfg(feature = "client")]
mod get;
#[cfg(feature = "client")]
mod interrupt;
#[cfg(feature = "client")]
mod ls;
#[cfg(feature = "client")]
mod man;
#[cfg(feature = "client")]
mod mkdir;
#[cfg(feature = "client")]
mod mv;
#[cfg(feature = "serve")]
mod passwd;
#[cfg(feature = "client")]
mod pool;
mod prompt;
#[cfg(feature = "client")]
mod put;
#[cfg(feature = "client")]
mod remote_dir;
#[cfg(feature = "client")]
mod reporter;
#[cfg(feature = "client")]
mod rm;
mod secret;
#[cfg(feature = "serve")]
mod serve;
#[cfg(feature = "serve")]
mod serve_flags;
#[cfg(feature = "serve")]
#[cfg_attr(not(feature = "config"), path = "settings/absent.rs")]
mod settings;
#[cfg(feature = "share")]
mod share;
#[cfg(feature = "serve")]
mod sign;
#[cfg(feature = "client")]
mod stat;
#[cfg(feature = "client")]
mod sync;
mod usage;
#[cfg(feature = "share")]
mod welcome;
#[cfg(feature = "client")]
mod worker;

#[cfg(all(test, feature = "client"))]
mod tests;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use lexopt::{Arg, Parser};

#[cfg(feature = "client")]
use usage::Described;
use usage::{Action, HelpRow, ParseError, WRONG_USAGE, describe, row, similar, usage_error};

const ABOUT: &str = "A file-transfer server that serves very many file streams from one thread, and its client";
const USAGE_LINE: &str = "filewharf <COMMAND>";

struct Command {
    usage: &'static usage::Command,
    rows: fn() -> Vec<HelpRow>,
    parse: fn(&mut Parser) -> Result<Action, ParseError>,
}

impl Command {
    fn help(&self) -> String {
        self.usage.help(&(self.rows)(), false)
    }
}

macro_rules! command {
    ($usage:expr, $parse:expr) => {
        Command { usage: &$usage.command, rows: || $usage.rows(), parse: $parse }
    };
}

static COMMANDS: &[Command] = &[
    #[cfg(feature = "serve")]
    command!(serve_flags::USAGE, serve::parse),
    #[cfg(feature = "share")]
    command!(share::USAGE, share::parse),
    #[cfg(feature = "serve")]
    command!(check::USAGE, check::parse),
    #[cfg(feature = "serve")]
    command!(passwd::USAGE, passwd::parse),
    #[cfg(feature = "serve")]
    command!(sign::USAGE, sign::parse),
    #[cfg(feature = "client")]
    command!(put::USAGE, |words| args::parse(&put::USAGE, words, put::run)),
    #[cfg(feature = "client")]
    command!(get::USAGE, |words| args::parse(&get::USAGE, words, get::run)),
    #[cfg(feature = "client")]
    command!(sync::USAGE, |words| args::parse(&sync::USAGE, words, sync::run)),
    #[cfg(feature = "client")]
    command!(ls::USAGE, |words| args::parse(&ls::USAGE, words, ls::run)),
    #[cfg(feature = "client")]
    command!(cat::USAGE, |words| args::parse(&cat::USAGE, words, cat::run)),
    #[cfg(feature = "client")]
    command!(stat::USAGE, |words| args::parse(&stat::USAGE, words, stat::run)),
    #[cfg(feature = "client")]
    command!(mkdir::USAGE, |words| args::parse(&mkdir::USAGE, words, mkdir::run)),
    #[cfg(feature = "client")]
    command!(mv::MV, |words| args::parse(&mv::MV, words, mv::mv)),
    #[cfg(feature = "client")]
    command!(mv::CP, |words| args::parse(&mv::CP, words, mv::cp)),
    #[cfg(feature = "client")]
    command!(rm::USAGE, |words| args::parse(&rm::USAGE, words, rm::run)),
    #[cfg(feature = "client")]
    command!(completions::USAGE, parse_completions),
    #[cfg(feature = "client")]
    command!(man::USAGE, parse_man),
];

/// All commands, for texts about them.
#[cfg(feature = "client")]
fn described() -> Vec<Described> {
    COMMANDS.iter().map(|command| Described { command: command.usage, rows: (command.rows)() }).collect()
}

#[cfg(feature = "client")]
fn parse_completions(words: &mut Parser) -> Result<Action, ParseError> {
    let ((), operands) = completions::USAGE.parse(words)?;
    let shell = operands[0].to_string_lossy().into_owned();
    match completions::script(&shell, &described()) {
        Some(script) => Ok(Box::new(move || usage::print(Ok(script)))),
        None => Err(completions::USAGE.command.error(&format!("'{shell}' is none of bash, zsh and fish"))),
    }
}

#[cfg(feature = "client")]
fn parse_man(words: &mut Parser) -> Result<Action, ParseError> {
    man::USAGE.parse(words)?;
    Ok(Box::new(|| usage::print(Ok(man::page(ABOUT, &described())))))
}

/// Runs the command that the arguments of the program name.
pub fn run(words: impl Iterator<Item = OsString> + 'static) -> ExitCode {
    crate::os::process::survive_file_size_limit();
    // Errors of printing are ignored: they could only be printed.
    match parse(&mut Parser::from_args(words)) {
        Ok(action) => action(),
        Err(ParseError::Help(text)) => {
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(ParseError::Usage(text)) => {
            let _ = std::io::stderr().write_all(text.as_bytes());
            ExitCode::from(WRONG_USAGE)
        }
    }
}

fn parse(words: &mut Parser) -> Result<Action, ParseError> {
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
    if name == "help" {
        return Err(match words.next() {
            Ok(Some(Arg::Value(name))) => {
                find(&name.to_string_lossy()).map_or_else(|error| error, |command| ParseError::Help(command.help()))
            }
            _ => ParseError::Help(help()),
        });
    }
    (find(&name)?.parse)(words)
}

fn find(name: &str) -> Result<&'static Command, ParseError> {
    COMMANDS.iter().find(|command| command.usage.name == name).ok_or_else(|| {
        let tip = similar(name, COMMANDS.iter().map(|command| command.usage.name.to_owned()));
        let tip = tip.map(|known| format!("a similar subcommand exists: '{known}'")).or_else(|| serve_tip(name));
        let tip = tip.map(|tip| format!("\n\n  tip: {tip}")).unwrap_or_default();
        usage_error(&format!("unrecognized subcommand '{name}'{tip}"), USAGE_LINE)
    })
}

/// For a directory in place of a command.
fn serve_tip(name: &str) -> Option<String> {
    let is_dir = cfg!(feature = "serve") && std::path::Path::new(name).is_dir();
    is_dir.then(|| format!("to serve this folder, write 'filewharf serve {name}'"))
}

fn unexpected(flag: &str) -> ParseError {
    usage_error(&format!("unexpected argument '{flag}' found"), USAGE_LINE)
}

/// The help text of the program as a whole.
fn help() -> String {
    let mut text = format!("{ABOUT}\n\nUsage: {USAGE_LINE}\n\nCommands:\n");
    for Command { usage, .. } in COMMANDS {
        row(&mut text, usage.name, usage.about);
    }
    row(&mut text, "help [COMMAND]", "Print this message or the help of a command");
    text.push_str("\nOptions:\n");
    row(&mut text, "-h, --help", "Print help");
    row(&mut text, "-V, --version", "Print version");
    text
}
