//! One run of a client command, and the workers that share it, each with a connection of its own.

use std::collections::HashSet;
use std::env;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::args::{Args, UsageError};
use super::credentials;
use super::interrupt;
use super::reporter::{Reporter, Transfer};
use crate::client::{Address, Client, ClientError, Equality, Options, Tls};

#[derive(Debug)]
pub(super) struct Run {
    options: Options,
    pub(super) parallel: usize,
    pub(super) reporter: Reporter,
    pub(super) update: Option<Equality>,
    /// Servers of which nothing can be expected any more; further requests to them are skipped.
    unusable: Mutex<HashSet<Address>>,
}

impl Run {
    /// `transfer`: what content the command transfers, if any.
    pub(super) fn new(args: &Args, transfer: Option<Transfer>) -> Result<Self, UsageError> {
        let tls = Tls::new(args.tls.clone());
        if args.operands.iter().any(|operand| operand.to_string_lossy().starts_with("tls://")) {
            tls.load().map_err(|error| UsageError(error.to_string()))?;
        }
        let credentials = credentials::find(args)?;
        let reporter = Reporter::new(args.quiet, transfer);
        let (user, token, warning) =
            credentials.map_or((None, None, None), |found| (found.user, Some(found.secret), found.warning));
        if let Some(warning) = warning {
            reporter.warn(warning);
        }
        let timeout = Duration::from_secs(args.timeout_s);
        let defaults = Options::default();
        let options = Options {
            user,
            token,
            tls,
            connect_timeout: defaults.connect_timeout.min(timeout),
            io_timeout: timeout,
            retries: args.retries,
            state_dir: state_dir(),
            ..defaults
        };
        if let Some(transfer) = transfer
            && let Err(error) = interrupt::watch(reporter.last_words(transfer, args.update.is_some()))
        {
            reporter.warn(format!("Ctrl-C will end this without a word: {error}"));
        }
        let (parallel, update) = (usize::from(args.parallel), args.update);
        Ok(Self { options, parallel, reporter, update, unusable: Mutex::default() })
    }

    /// False for a server of which nothing can be expected any more.
    pub(super) fn can_use(&self, address: &Address) -> bool {
        !self.unusable().contains(address)
    }

    fn unusable(&self) -> MutexGuard<'_, HashSet<Address>> {
        self.unusable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where uploads are remembered until they are complete (XDG Base Directory Specification).
fn state_dir() -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    state.map(|state| state.join("filewharf/uploads"))
}

/// Has one connection at a time, opened when it is needed.
#[derive(Debug)]
pub(super) struct Worker<'a> {
    pub(super) run: &'a Run,
    client: Option<Client>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(run: &'a Run) -> Self {
        Self { run, client: None }
    }

    /// Runs `work` on a server. A failure is reported and counted, and gives `None`.
    pub(super) fn run_on<T>(
        &mut self,
        address: &Address,
        work: impl FnOnce(&mut Client) -> Result<T, ClientError>,
    ) -> Option<T> {
        self.try_on(address, work)?.map_err(|error| self.fail(address, &error)).ok()
    }

    /// As [`Self::run_on`], and counts the success too; true if it succeeded.
    pub(super) fn complete_on<T>(
        &mut self,
        address: &Address,
        work: impl FnOnce(&mut Client) -> Result<T, ClientError>,
    ) -> bool {
        let is_done = self.run_on(address, work).is_some();
        if is_done {
            self.run.reporter.done();
        }
        is_done
    }

    /// As [`Self::run_on`], for callers that handle some errors themselves. `None` if the server is unusable.
    pub(super) fn try_on<T>(
        &mut self,
        address: &Address,
        work: impl FnOnce(&mut Client) -> Result<T, ClientError>,
    ) -> Option<Result<T, ClientError>> {
        if !self.run.can_use(address) {
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

    /// Reports and counts a failure.
    pub(super) fn fail(&self, address: &Address, error: &ClientError) {
        // Many workers find out at the same time; one of them reports it.
        if !error.kind.affects_server() || self.run.unusable().insert(address.clone()) {
            self.run.reporter.failed(error);
        } else {
            self.run.reporter.skipped();
        }
    }
}
