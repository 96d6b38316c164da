//! What the client's commands share: their options, how they end, and the state of one run.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lexopt::Parser;

use super::flag::Flag;
use super::reporter::Reporter;
use super::usage::{ParseError, Usage};
use crate::client::{Address, Client, ClientError, Options, RemotePath};

/// What can be typed behind the name of a client command; not all of them take all of it.
#[derive(Debug)]
pub(super) struct Args {
    pub(super) operands: Vec<PathBuf>,
    pub(super) name: Option<String>,
    pub(super) recursive: bool,
    quiet: bool,
    token_file: Option<PathBuf>,
    retries: u32,
    timeout_s: u64,
    parallel: u8,
}

pub(super) const QUIET: Flag<Args> =
    Flag::switch("quiet", "Show no progress and no warnings, only errors", |args: &mut Args| args.quiet = true).or('q');

pub(super) const PARALLEL: Flag<Args> = Flag::number(
    "parallel",
    "N",
    1..=32,
    |args| &mut args.parallel,
    "Use up to this many connections when there are several files",
);

/// Options of every client command.
pub(super) const CONNECTION: (&str, &[Flag<Args>]) = (
    "Connection",
    &[
        Flag::path("token-file", "FILE", "Read the server's secret from the first line of this file", |args, file| {
            args.token_file = Some(file);
        }),
        Flag::number(
            "retries",
            "N",
            0..=u32::MAX as u64,
            |args| &mut args.retries,
            "How often to try again after a lost connection or a busy server; a download that made progress starts \
             counting anew",
        ),
        Flag::number(
            "timeout",
            "SECONDS",
            1..=86_400,
            |args| &mut args.timeout_s,
            "Give a connection up when no byte has moved for this long",
        ),
    ],
);

impl Default for Args {
    fn default() -> Self {
        Self {
            operands: Vec::new(),
            name: None,
            recursive: false,
            quiet: false,
            token_file: None,
            retries: 5,
            timeout_s: 60,
            parallel: 4,
        }
    }
}

impl Args {
    /// Parses the arguments behind the name of a client command.
    pub(super) fn parse(usage: &Usage<Self>, words: &mut Parser) -> Result<Self, ParseError> {
        let (args, operands) = usage.parse(words)?;
        Ok(Self { operands: operands.into_iter().map(PathBuf::from).collect(), ..args })
    }

    /// The operands, each a place on a server.
    pub(super) fn remotes(&self) -> Result<Vec<RemotePath>, UsageError> {
        self.operands.iter().map(|operand| RemotePath::parse(&operand.to_string_lossy()).map_err(UsageError)).collect()
    }
}

/// How a command ended that was well understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Done,
    Failed,
}

/// What was typed makes no sense; the words say why.
#[derive(Debug)]
pub(super) struct UsageError(pub(super) String);

/// One run of a command.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) options: Options,
    pub(super) parallel: usize,
    pub(super) reporter: Reporter,
    /// Servers that nothing can be had from; what else was meant for them is not tried.
    unusable: Mutex<HashSet<Address>>,
}

impl Run {
    /// Reads the secret and prepares the screen.
    pub(super) fn new(args: &Args) -> Result<Self, UsageError> {
        let secret = args.token_file.as_deref().map(super::read_secret).transpose().map_err(UsageError)?;
        let timeout = Duration::from_secs(args.timeout_s);
        let defaults = Options::default();
        let options = Options {
            token: secret.as_ref().map(|secret| secret.text.clone()),
            connect_timeout: defaults.connect_timeout.min(timeout),
            io_timeout: timeout,
            retries: args.retries,
            ..defaults
        };
        let reporter = Reporter::new(args.quiet);
        if let Some(warning) = secret.and_then(|secret| secret.warning) {
            reporter.warn(warning);
        }
        Ok(Self { options, parallel: usize::from(args.parallel), reporter, unusable: Mutex::default() })
    }

    /// Says the last words and gives the end.
    pub(super) fn end(&self) -> End {
        if self.reporter.finish() { End::Done } else { End::Failed }
    }

    fn unusable(&self) -> MutexGuard<'_, HashSet<Address>> {
        self.unusable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection at a time, made when it is needed.
#[derive(Debug)]
pub(super) struct Worker<'a> {
    pub(super) run: &'a Run,
    client: Option<Client>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(run: &'a Run) -> Self {
        Self { run, client: None }
    }

    /// Does something on a server. What fails is told and counted here; `None` says so.
    pub(super) fn run_on<T>(
        &mut self,
        address: &Address,
        work: impl FnOnce(&mut Client) -> Result<T, ClientError>,
    ) -> Option<T> {
        match self.try_on(address, work)? {
            Ok(done) => Some(done),
            Err(error) => {
                self.fail(address, &error);
                None
            }
        }
    }

    /// Like [`Self::run_on`], for those who know what to do about some errors.
    pub(super) fn try_on<T>(
        &mut self,
        address: &Address,
        work: impl FnOnce(&mut Client) -> Result<T, ClientError>,
    ) -> Option<Result<T, ClientError>> {
        if self.run.unusable().contains(address) {
            self.run.reporter.skipped();
            return None;
        }
        let client = match self.client.take().filter(|client| client.address() == address) {
            Some(client) => client,
            None => match Client::connect(address, self.run.options.clone()) {
                Ok(client) => client,
                Err(error) => return Some(Err(error)),
            },
        };
        Some(work(self.client.insert(client)))
    }

    /// Tells and counts a failure.
    pub(super) fn fail(&self, address: &Address, error: &ClientError) {
        // Many workers find out at the same time; one of them says it.
        if !error.kind.affects_server() || self.run.unusable().insert(address.clone()) {
            self.run.reporter.failed(error);
        } else {
            self.run.reporter.skipped();
        }
    }
}
