//! One run of a client command, and the workers that share it, each with a connection of its own.

use std::collections::HashMap;
use std::env;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::args::{Args, UsageError};
use super::credentials;
use super::filter::Filter;
use super::interrupt;
use super::reporter::{Reporter, Transfer};
use crate::client::{Address, Answer, Client, ClientError, Equality, Jobs, Options, RateLimit, Request, Tls};

/// How long `put` and `get` try again once they have reached a server: unattended jobs outlast its restart.
const RETRY_FOR_REACHED: Duration = Duration::from_secs(300);

/// What a run has learned of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Reached,
    /// Nothing can be expected of it any more; further requests to it are skipped.
    Unusable,
}

#[derive(Debug)]
pub(super) struct Run {
    options: Options,
    /// How long what fails is tried again at a server that was reached.
    retry_for_reached: Duration,
    pub(super) parallel: usize,
    pub(super) reporter: Reporter,
    pub(super) update: Option<Equality>,
    pub(super) dry_run: bool,
    pub(super) filter: Filter,
    servers: Mutex<HashMap<Address, Server>>,
}

impl Run {
    /// `transfer`: what content the command transfers, if any.
    pub(super) fn new(args: &Args, transfer: Option<Transfer>) -> Result<Self, UsageError> {
        let tls = Tls::new(args.tls.clone());
        if args.names_tls() {
            tls.load().map_err(|error| UsageError(error.to_string()))?;
        }
        let credentials = credentials::find(args)?;
        let transfer = transfer.filter(|_| !args.dry_run);
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
            retry_for: args.retry_for.unwrap_or(defaults.retry_for),
            on_retry: reporter.on_retry(),
            state_dir: state_dir(),
            permissions: args.perms,
            rate_limit: args.bwlimit.map(RateLimit::new),
            overwrite: args.update != Some(Equality::Name),
            ..defaults
        };
        if let Some(transfer) = transfer
            && let Err(error) = interrupt::watch(reporter.last_words(transfer, args.update.is_some()))
        {
            reporter.warn(format!("Ctrl-C will end this without a word: {error}"));
        }
        // A plan has the order in which it was found.
        let parallel = if args.dry_run { 1 } else { usize::from(args.parallel) };
        let (update, dry_run, filter) = (args.update, args.dry_run, args.filter.clone());
        let retry_for_reached = match (args.retry_for, transfer) {
            (None, Some(_)) => RETRY_FOR_REACHED,
            _ => options.retry_for,
        };
        Ok(Self { options, retry_for_reached, parallel, reporter, update, dry_run, filter, servers: Mutex::default() })
    }

    /// True if execute bits are kept.
    pub(super) fn keeps_perms(&self) -> bool {
        self.options.permissions
    }

    /// True if what is there is left as it is.
    pub(super) fn keeps_existing(&self) -> bool {
        self.update == Some(Equality::Name)
    }

    /// False for a server of which nothing can be expected any more.
    pub(super) fn can_use(&self, address: &Address) -> bool {
        self.servers().get(address) != Some(&Server::Unusable)
    }

    fn connect(&self, address: &Address) -> Result<Client, ClientError> {
        let options = Options { retry_for: self.retry_for(address), ..self.options.clone() };
        let mut client = Client::connect(address, options)?;
        self.servers().entry(address.clone()).or_insert(Server::Reached);
        client.set_retry_for(self.retry_for(address));
        Ok(client)
    }

    fn retry_for(&self, address: &Address) -> Duration {
        if self.servers().contains_key(address) { self.retry_for_reached } else { self.options.retry_for }
    }

    fn servers(&self) -> MutexGuard<'_, HashMap<Address, Server>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
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
            None => match self.run.connect(address) {
                Ok(client) => client,
                Err(error) => return Some(Err(error)),
            },
        };
        Some(work(self.client.insert(client)))
    }

    /// Sends small requests of a server, several under way. `request` makes one of a job, `done` takes the reply. Returns
    /// the jobs that are to be done one by one: of those without a request, none is taken after the first.
    pub(super) fn pipeline<J>(
        &mut self,
        address: &Address,
        first: J,
        more: &mut dyn FnMut() -> Option<J>,
        request: &dyn Fn(&Options, &J) -> Option<Request>,
        done: &mut dyn FnMut(&J, Answer) -> bool,
    ) -> Vec<J> {
        // The first job of a connection goes alone: so failures to connect are those of one job.
        let client = self.client.as_mut().filter(|client| client.address() == address && self.run.can_use(address));
        let Some(client) = client else { return vec![first] };
        let mut jobs = PoolJobs { options: &self.run.options, first: Some(first), aside: None, more, request, done };
        let mut left = client.pipeline(&mut jobs);
        left.extend(jobs.aside);
        left
    }

    /// The client that worked last.
    pub(super) fn client(&mut self) -> Option<&mut Client> {
        self.client.as_mut()
    }

    /// Reports and counts a failure.
    pub(super) fn fail(&self, address: &Address, error: &ClientError) {
        // Many workers find out at the same time; one of them reports it.
        let learn = || self.run.servers().insert(address.clone(), Server::Unusable);
        if !error.kind.affects_server() || learn() != Some(Server::Unusable) {
            self.run.reporter.failed(error);
        } else {
            self.run.reporter.skipped();
        }
    }
}

/// The jobs of a pool as requests.
struct PoolJobs<'a, J> {
    options: &'a Options,
    first: Option<J>,
    /// The first job without a small request; none is taken after it.
    aside: Option<J>,
    more: &'a mut dyn FnMut() -> Option<J>,
    request: &'a dyn Fn(&Options, &J) -> Option<Request>,
    done: &'a mut dyn FnMut(&J, Answer) -> bool,
}

impl<J> Jobs for PoolJobs<'_, J> {
    type Job = J;

    fn next(&mut self) -> Option<(J, Request)> {
        if self.aside.is_some() {
            return None;
        }
        let job = self.first.take().or_else(|| (self.more)())?;
        match (self.request)(self.options, &job) {
            Some(request) => Some((job, request)),
            None => {
                self.aside = Some(job);
                None
            }
        }
    }

    fn done(&mut self, job: &J, answer: Answer) -> bool {
        (self.done)(job, answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fake::Fake;

    #[test]
    fn a_transfer_outlasts_a_restart_of_the_server_that_it_has_reached() {
        let fake = Fake::start();
        let never_reached = Address { host: "127.0.0.1".to_owned(), port: 1, tls: false };
        for (transfer, retry_for_s, before, reached) in [
            (Some(Transfer::Files), None, 5, 300),
            (Some(Transfer::ToStdout), None, 5, 300),
            (None, None, 5, 5),
            (Some(Transfer::Files), Some(7), 7, 7),
            (None, Some(0), 0, 0),
        ] {
            let args = Args { retry_for: retry_for_s.map(Duration::from_secs), ..Args::default() };
            let run = Run::new(&args, transfer).expect("good arguments");
            assert_eq!(run.retry_for(&fake.address).as_secs(), before, "{transfer:?}");
            run.connect(&fake.address).expect("the fake server answers");
            assert_eq!(run.retry_for(&fake.address).as_secs(), reached, "{transfer:?}");
            assert_eq!(run.retry_for(&never_reached).as_secs(), before, "{transfer:?}: another server");
        }
    }
}
