//! What a client proves itself with: a secret or token, or a user and a password. Flags come before the environment.

use std::env;
use std::fs::File;

use super::args::{Args, UsageError};
use super::interrupt;
use super::prompt::{self, PromptError};
use super::secret;
use crate::access::file::is_name;
use crate::wire::key;

/// The environment variable with a secret or token.
const TOKEN: &str = "FILEWHARF_TOKEN";
/// The environment variable with the password of `--user`.
const PASSWORD: &str = "FILEWHARF_PASSWORD";

#[derive(Debug)]
pub(super) struct Credentials {
    /// The user of the password; `None` for a secret or token.
    pub(super) user: Option<String>,
    pub(super) secret: String,
    /// Set if other users of this machine can read the secret.
    pub(super) warning: Option<String>,
}

/// What the flags and the environment give, or what is typed at the terminal; `None` if there is nothing.
pub(super) fn find(args: &Args) -> Result<Option<Credentials>, UsageError> {
    if args.token_file.is_some() && args.user.is_some() {
        return Err(UsageError("--token-file and --user each say which secret is sent: give one".to_owned()));
    }
    if let Some(file) = &args.token_file {
        let secret = secret::read(file).map_err(|error| UsageError(error.to_string()))?;
        return Ok(Some(Credentials { user: None, secret: secret.text, warning: secret.warning }));
    }
    let of = |user: Option<&String>, secret| Some(Credentials { user: user.cloned(), secret, warning: None });
    if let Some(user) = &args.user {
        if !is_name(user) {
            return Err(UsageError(format!(
                "{user:?} is not the name of a user; the password is asked for, or taken from {PASSWORD}"
            )));
        }
        let password = variable(PASSWORD)?.map_or_else(|| ask(user), Ok)?;
        if key::has_control(&password) {
            return Err(UsageError("the password has control characters".to_owned()));
        }
        return Ok(of(Some(user), password));
    }
    let Some(token) = variable(TOKEN)? else { return Ok(None) };
    secret::check(&token).map_err(|why| UsageError(format!("{TOKEN}: {why}")))?;
    Ok(of(None, token))
}

/// One that is empty is taken as one that is not set.
fn variable(name: &str) -> Result<Option<String>, UsageError> {
    let value = env::var_os(name).filter(|value| !value.is_empty());
    value.map(|value| value.into_string().map_err(|_| UsageError(format!("{name}: is not UTF-8")))).transpose()
}

/// Standard input may be the file that is sent, so the terminal itself is asked.
fn ask(user: &str) -> Result<String, UsageError> {
    let terminal = File::options().read(true).write(true).open("/dev/tty");
    let terminal =
        terminal.map_err(|_| UsageError(format!("there is no terminal to ask for a password: set {PASSWORD}")))?;
    match prompt::ask(&terminal, [format!("Password for {user}")]) {
        Ok([password]) => {
            let text = std::str::from_utf8(&password).map(str::to_owned);
            text.map_err(|_| UsageError("the password is not UTF-8".to_owned()))
        }
        Err(PromptError::Interrupted) => interrupt::end(),
        Err(error) => Err(UsageError(error.to_string())),
    }
}
