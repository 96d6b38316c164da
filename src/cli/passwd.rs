//! `filewharf passwd`: asks for a password and prints the line of the access file for it. Writes no file.

use std::ffi::OsString;
use std::io::{self, BufRead, IsTerminal as _, Write as _};
use std::process::ExitCode;

use lexopt::Parser;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::usage::{Action, Command, ParseError, Usage, WRONG_USAGE};
use crate::access::file::is_name;
use crate::access::password::PasswordHash;
use crate::os::process::random;

/// Longest password, in bytes: the head of a request must hold it.
const LEN_MAX: usize = 1024;
/// What Ctrl-C sends to a terminal.
const INTERRUPT: u8 = 3;

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
                PasswdError::Interrupted => ExitCode::from(130),
                _ => ExitCode::FAILURE,
            }
        }
    }))
}

#[derive(Debug)]
enum PasswdError {
    Name,
    Interrupted,
    Differ,
    Empty,
    TooLong,
    Io(io::Error),
}

impl std::fmt::Display for PasswdError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Name => "a name has letters, digits and . _ - + @ only, at most 64, and no @ or - at first",
            Self::Interrupted => "interrupted",
            Self::Differ => "the passwords differ",
            Self::Empty => "the password is empty",
            Self::TooLong => "the password is longer than 1024 bytes",
            Self::Io(error) => return write!(f, "cannot read the password: {error}"),
        })
    }
}

impl From<io::Error> for PasswdError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

type Password = Zeroizing<Vec<u8>>;

fn run(user: Option<&OsString>) -> Result<(), PasswdError> {
    let login = || std::env::var_os("LOGNAME").or_else(|| std::env::var_os("USER"));
    let user = user.cloned().or_else(login).ok_or(PasswdError::Name)?;
    let user = user.to_str().filter(|user| is_name(user)).ok_or(PasswdError::Name)?;
    let password = if io::stdin().is_terminal() { ask_twice(user)? } else { first_line(io::stdin().lock())? };
    let hash = PasswordHash::of(&password, random().map_err(PasswdError::Io)?);
    Ok(writeln!(io::stdout(), "user {user} {hash}")?)
}

fn ask_twice(user: &str) -> Result<Password, PasswdError> {
    let hidden = HiddenInput::begin()?;
    let ask = |what: &str| {
        write!(io::stderr(), "{what} for {user}: ")?;
        let line = first_line(io::stdin().lock());
        writeln!(io::stderr())?;
        line
    };
    let password = ask("Password")?;
    let again = ask("The same again")?;
    drop(hidden);
    if password == again { Ok(password) } else { Err(PasswdError::Differ) }
}

/// One line without its end. The memory it passes through is overwritten.
fn first_line(input: impl BufRead) -> Result<Password, PasswdError> {
    let mut line = Zeroizing::new(Vec::with_capacity(LEN_MAX + 2));
    input.take(LEN_MAX as u64 + 2).read_until(b'\n', &mut line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    match line.len() {
        _ if line.contains(&INTERRUPT) => Err(PasswdError::Interrupted),
        0 => Err(PasswdError::Empty),
        1..=LEN_MAX => Ok(line),
        _ => Err(PasswdError::TooLong),
    }
}

/// A terminal that does not show what is typed, until this is dropped. Ctrl-C is read as a character meanwhile:
/// a program that it ended would leave the terminal as it is.
struct HiddenInput(Termios);

impl HiddenInput {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        tcsetattr(io::stdin(), OptionalActions::Flush, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for HiddenInput {
    fn drop(&mut self) {
        // Not reported if this fails: the terminal is gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_the_first_line_of_the_input_without_its_end() {
        for (input, want) in
            [(&b"s3cret"[..], &b"s3cret"[..]), (b"a b\n", b"a b"), (b"a\r\nb\n", b"a"), (b"\xc3\xa4\n", b"\xc3\xa4")]
        {
            assert_eq!(*first_line(input).expect("a password"), want);
        }
        assert!(matches!(first_line(&b"\nx"[..]), Err(PasswdError::Empty)));
        assert!(matches!(first_line(&b""[..]), Err(PasswdError::Empty)));
        assert!(matches!(first_line(&b"ab\x03\n"[..]), Err(PasswdError::Interrupted)));
        assert!(first_line(&[b'x'; LEN_MAX][..]).is_ok());
        assert!(matches!(first_line(&[b'x'; LEN_MAX + 1][..]), Err(PasswdError::TooLong)));
    }
}
