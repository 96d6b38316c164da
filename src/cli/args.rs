//! The arguments that the client's commands share.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use lexopt::Parser;

use super::filter::Filter;
use super::flag::{Flag, Value::*};
use super::reporter::print_line;
use super::usage::{Action, ParseError, Usage, WRONG_USAGE};
use crate::client::{Equality, RemotePath, TlsOptions};
use crate::config::unit::seconds;

/// What the flags of a client command set; no command has all of them.
#[derive(Debug)]
pub(super) struct Args {
    pub(super) operands: Vec<PathBuf>,
    pub(super) name: Option<String>,
    pub(super) recursive: bool,
    pub(super) quiet: bool,
    /// Of `rm`: a name that is missing is no failure.
    pub(super) force: bool,
    /// Of `mkdir`: a directory that is there is no failure.
    pub(super) parents: bool,
    pub(super) json: bool,
    pub(super) dry_run: bool,
    /// Of `sync`: each change is printed.
    pub(super) itemize: bool,
    /// Of `sync`: what the source does not have is removed.
    pub(super) delete: bool,
    /// Most that `delete` removes.
    pub(super) max_delete: Option<u64>,
    /// Bytes in a second at most.
    pub(super) bwlimit: Option<u64>,
    pub(super) perms: bool,
    /// The names that are taken along.
    pub(super) filter: Filter,
    /// Leave out what is there already and equal.
    pub(super) update: Option<Equality>,
    pub(super) token_file: Option<PathBuf>,
    pub(super) user: Option<String>,
    pub(super) tls: TlsOptions,
    /// How long a failed request is tried again; the command decides if `None`.
    pub(super) retry_for: Option<Duration>,
    pub(super) timeout_s: u64,
    pub(super) parallel: u8,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            operands: Vec::new(),
            name: None,
            recursive: false,
            quiet: false,
            force: false,
            parents: false,
            json: false,
            dry_run: false,
            itemize: false,
            delete: false,
            max_delete: None,
            bwlimit: None,
            perms: false,
            filter: Filter::default(),
            update: None,
            token_file: None,
            user: None,
            tls: TlsOptions::default(),
            retry_for: None,
            timeout_s: 60,
            parallel: 4,
        }
    }
}

/// Arguments that can be parsed and make no sense together, with the reason.
#[derive(Debug)]
pub(super) struct UsageError(pub(super) String);

pub(super) const QUIET: Flag<Args> =
    Flag::new("quiet", Switch(|args: &mut Args| args.quiet = true), "Show no progress and no warnings, only errors")
        .or('q');

pub(super) const UPDATE: Flag<Args> = Flag::new(
    "update",
    Switch(|args: &mut Args| args.update = args.update.or(Some(Equality::SizeAndTime))),
    "Leave out files that are there already with the same size and time",
)
.or('u');

pub(super) const CHECKSUM: Flag<Args> = Flag::new(
    "checksum",
    Switch(|args: &mut Args| args.update = args.update.filter(|it| *it == Equality::Name).or(Some(Equality::Digest))),
    "Leave out files that are there already with the same SHA-256, whatever their times",
)
.or('c');

pub(super) const NO_CLOBBER: Flag<Args> = Flag::new(
    "no-clobber",
    Switch(|args: &mut Args| args.update = Some(Equality::Name)),
    "Leave out files that are there already, whatever they hold: nothing is replaced",
);

pub(super) const PERMS: Flag<Args> =
    Flag::new("perms", Switch(|args: &mut Args| args.perms = true), "Keep whether files can be executed").or('p');

pub(super) const DRY_RUN: Flag<Args> = Flag::new(
    "dry-run",
    Switch(|args: &mut Args| args.dry_run = true),
    "Change nothing: print what would be done, one line each",
)
.or('n');

pub(super) const JSON: Flag<Args> =
    Flag::new("json", Switch(|args: &mut Args| args.json = true), "Print each as a JSON object in a line");

pub(super) const EXCLUDE: Flag<Args> = Flag::new(
    "exclude",
    Text("PATTERN", |args: &mut Args, text| args.filter.add(false, text)),
    "Leave out names that match; a pattern with a / inside is for the path below the source, one that ends in / for \
     folders only. A folder that is an argument is taken in any case. May be repeated; of all --exclude and --include the first that matches decides",
)
.repeatable();

pub(super) const INCLUDE: Flag<Args> = Flag::new(
    "include",
    Text("PATTERN", |args: &mut Args, text| args.filter.add(true, text)),
    "Take names that match, although an --exclude after it leaves them out",
)
.repeatable();

pub(super) const PARALLEL: Flag<Args> = Flag::new(
    "parallel",
    Number("N", 1..=32, |args| &mut args.parallel),
    "Use up to this many connections when there are several files",
);

/// Flags of every client command.
pub(super) const CONNECTION: (&str, &[Flag<Args>]) = (
    "Connection",
    &[
        Flag::new(
            "token-file",
            Path("FILE", |args, file| args.token_file = Some(file)),
            "Read the server's secret, or a token, from the first line of this file [default: the environment variable \
             FILEWHARF_TOKEN]",
        ),
        Flag::new(
            "user",
            Text("NAME", |args: &mut Args, text| {
                args.user = Some(text.to_owned());
                Ok(())
            }),
            "Log in as this user of the server's access file; the password is that of the environment variable \
             FILEWHARF_PASSWORD, or is asked for at the terminal",
        ),
        Flag::new(
            "retry-for",
            Text("SECONDS", |args, text| {
                args.retry_for = Some(seconds(text).ok_or("is not a number of seconds")?);
                Ok(())
            }),
            "How long to try again after a lost connection or a busy server, from the last progress on: 5, and 300 for \
             put, get and sync once this run has reached the server",
        ),
        Flag::new(
            "timeout",
            Number("SECONDS", 1..=86_400, |args| &mut args.timeout_s),
            "Give a connection up when no byte has moved for this long",
        ),
        #[cfg(feature = "tls")]
        Flag::new(
            "ca",
            Path("FILE", |args, file| args.tls.ca = Some(file)),
            "Over TLS, trust these certificates (PEM) of authorities or servers, and not the system's",
        ),
        #[cfg(feature = "tls")]
        Flag::new(
            "fingerprint",
            Text("sha256:HEX", |args, text| {
                args.tls.fingerprint = Some(fingerprint(text).ok_or("is not sha256: and 64 hexadecimal digits")?);
                Ok(())
            }),
            "Over TLS, trust the server with this certificate only, whatever its name and dates",
        ),
        #[cfg(feature = "tls")]
        Flag::new(
            "cert",
            Path("FILE", |args, file| args.tls.certificate = Some(file)),
            "Over TLS, show this certificate (PEM); needs --key",
        ),
        #[cfg(feature = "tls")]
        Flag::new(
            "key",
            Path("FILE", |args, file| args.tls.key = Some(file)),
            "The private key of the certificate of --cert (PEM)",
        ),
    ],
);

/// Parses the arguments of a command that `run` then runs; true if everything succeeded.
pub(super) fn parse(
    usage: &Usage<Args>,
    words: &mut Parser,
    run: fn(&Args) -> Result<bool, UsageError>,
) -> Result<Action, ParseError> {
    let (args, operands) = usage.parse(words)?;
    let args = Args { operands: operands.into_iter().map(PathBuf::from).collect(), ..args };
    Ok(Box::new(move || match args.check_tls().and_then(|()| run(&args)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(UsageError(why)) => {
            print_line(&format!("{why} (see filewharf --help)"));
            ExitCode::from(WRONG_USAGE)
        }
    }))
}

/// Parses `sha256:HEX`; colons between the digits do not matter.
#[cfg(feature = "tls")]
fn fingerprint(text: &str) -> Option<[u8; 32]> {
    crate::wire::line::fingerprint(text.strip_prefix("sha256:").unwrap_or(text))
}

impl Args {
    /// Flags of TLS on a command without it would let their user believe that a connection is encrypted.
    fn check_tls(&self) -> Result<(), UsageError> {
        let TlsOptions { ca, fingerprint, certificate, key } = &self.tls;
        let has_flags = ca.is_some() || fingerprint.is_some() || certificate.is_some() || key.is_some();
        if has_flags && !self.names_tls() {
            return Err(UsageError("--ca, --fingerprint, --cert and --key are for tls://HOST:PORT".to_owned()));
        }
        if ca.is_some() && fingerprint.is_some() {
            return Err(UsageError("--ca and --fingerprint each say which server to trust: give one".to_owned()));
        }
        Ok(())
    }

    /// True if a server of the operands speaks TLS.
    pub(super) fn names_tls(&self) -> bool {
        self.operands.iter().any(|operand| RemotePath::is_tls(&operand.to_string_lossy()))
    }

    /// The operands, all of them on servers.
    pub(super) fn remotes(&self) -> Result<Vec<RemotePath>, UsageError> {
        self.operands.iter().map(|operand| remote(&operand.to_string_lossy())).collect()
    }
}

pub(super) fn remote(text: &str) -> Result<RemotePath, UsageError> {
    RemotePath::parse(text).map_err(|error| UsageError(format!("{text}: {error}")))
}

/// A word of a command, quoted for a shell where it must be.
pub(super) fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "_-./:%+=,@".contains(c);
    if text.chars().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}
