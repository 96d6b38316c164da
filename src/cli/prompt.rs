//! A password that is typed at a terminal, which does not show it, or that comes as a line.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::os::fd::AsFd;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// Longest password, in bytes: the head of a request must hold it.
const LEN_MAX: usize = 1024;
/// What Ctrl-C sends to a terminal.
const INTERRUPT: u8 = 3;

/// It is overwritten when it is dropped.
pub(super) type Password = Zeroizing<Vec<u8>>;

/// Why there is no password.
#[derive(Debug)]
pub(super) enum PromptError {
    /// By Ctrl-C.
    Interrupted,
    Empty,
    TooLong,
    Io(io::Error),
}

impl fmt::Display for PromptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupted => "interrupted",
            Self::Empty => "the password is empty",
            Self::TooLong => "the password is longer than 1024 bytes",
            Self::Io(error) => return write!(f, "cannot read the password: {error}"),
        })
    }
}

impl From<io::Error> for PromptError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Asks one question after the other at a terminal that does not show the answers.
pub(super) fn ask<T: AsFd, const N: usize>(terminal: &T, questions: [String; N]) -> Result<[Password; N], PromptError>
where
    for<'a> &'a T: Read,
{
    let _hidden = HiddenInput::begin(terminal)?;
    let mut answers = std::array::from_fn(|_| Password::default());
    for (question, answer) in questions.iter().zip(&mut answers) {
        write!(io::stderr(), "{question}: ")?;
        let line = first_line(BufReader::new(terminal));
        writeln!(io::stderr())?;
        *answer = line?;
    }
    Ok(answers)
}

/// One line without its end.
pub(super) fn first_line(input: impl BufRead) -> Result<Password, PromptError> {
    let mut line = Zeroizing::new(Vec::with_capacity(LEN_MAX + 2));
    input.take(LEN_MAX as u64 + 2).read_until(b'\n', &mut line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    match line.len() {
        _ if line.contains(&INTERRUPT) => Err(PromptError::Interrupted),
        0 => Err(PromptError::Empty),
        1..=LEN_MAX => Ok(line),
        _ => Err(PromptError::TooLong),
    }
}

/// A terminal that does not show what is typed, until this is dropped. Ctrl-C is read as a character meanwhile:
/// a program that it ended would leave the terminal as it is.
struct HiddenInput<'a, T: AsFd>(&'a T, Termios);

impl<'a, T: AsFd> HiddenInput<'a, T> {
    fn begin(terminal: &'a T) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        tcsetattr(terminal, OptionalActions::Flush, &hidden)?;
        Ok(Self(terminal, before))
    }
}

impl<T: AsFd> Drop for HiddenInput<'_, T> {
    fn drop(&mut self) {
        // Not reported if this fails: the terminal is gone.
        let _ = tcsetattr(self.0, OptionalActions::Flush, &self.1);
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
        assert!(matches!(first_line(&b"\nx"[..]), Err(PromptError::Empty)));
        assert!(matches!(first_line(&b""[..]), Err(PromptError::Empty)));
        assert!(matches!(first_line(&b"ab\x03\n"[..]), Err(PromptError::Interrupted)));
        assert!(first_line(&[b'x'; LEN_MAX][..]).is_ok());
        assert!(matches!(first_line(&[b'x'; LEN_MAX + 1][..]), Err(PromptError::TooLong)));
    }
}
