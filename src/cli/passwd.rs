//! `filewharf passwd`: asks for a password and prints the line of the access file for it. Writes no file.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use lexopt::Parser;

use super::prompt::{self, Password, PromptError};
use super::usage::{Action, Command, ParseError, Usage, WRONG_USAGE};
use crate::access::file::is_name;
use crate::access::password::PasswordHash;
use crate::os::process::random;

pub(super) static USAGE: Usage<()> = Usage {
    command: Command {
        name: "passwd",
        about: "Make the line of an access file for a user with a password",
        line: "[USER]",
        operand: ("[USER]", "Name of the user [default: the name you are logged in with]"),
        operands: 0..=1,
        hints: &[],
        notes: "The password is asked for twice on a terminal; otherwise it is the first line of standard input.
The line is printed: append it to the access file.

Example:
  filewharf passwd anna",
    },
    flags: &[],
};

pub(super) fn parse(words: &mut Parser) -> Result<Action, ParseError> {
    let ((), operands) = USAGE.parse(words)?;
    Ok(Box::new(move || match run(operands.first()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "filewharf: {error}");
            match error {
                PasswdError::Name => ExitCode::from(WRONG_USAGE),
                PasswdError::Prompt(PromptError::Interrupted) => ExitCode::from(130),
                _ => ExitCode::FAILURE,
            }
        }
    }))
}

#[derive(Debug)]
enum PasswdError {
    Name,
    Differ,
    Prompt(PromptError),
    Io(io::Error),
}

impl std::fmt::Display for PasswdError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name => {
                f.write_str("a name has letters, digits and . _ - + @ only, at most 64, and no @ or - at first")
            }
            Self::Differ => f.write_str("the passwords differ"),
            Self::Prompt(error) => error.fmt(f),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl From<PromptError> for PasswdError {
    fn from(error: PromptError) -> Self {
        Self::Prompt(error)
    }
}

impl From<io::Error> for PasswdError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn run(user: Option<&OsString>) -> Result<(), PasswdError> {
    let login = || std::env::var_os("LOGNAME").or_else(|| std::env::var_os("USER"));
    let user = user.cloned().or_else(login).ok_or(PasswdError::Name)?;
    let user = user.to_str().filter(|user| is_name(user)).ok_or(PasswdError::Name)?;
    let password = if io::stdin().is_terminal() { ask_twice(user)? } else { prompt::first_line(io::stdin().lock())? };
    let hash = PasswordHash::of(&password, random().map_err(PasswdError::Io)?);
    Ok(writeln!(io::stdout(), "user {user} {hash}")?)
}

fn ask_twice(user: &str) -> Result<Password, PasswdError> {
    let questions = [format!("Password for {user}"), format!("The same again for {user}")];
    let [password, again] = prompt::ask(&io::stdin(), questions)?;
    if password == again { Ok(password) } else { Err(PasswdError::Differ) }
}
