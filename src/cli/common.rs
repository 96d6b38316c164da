//! What the client's commands share: their options, how they end, and the state of one run.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::screen::Screen;
use crate::client::{Address, Client, ClientError, Options};

/// Options of every client command.
#[derive(Debug, clap::Args)]
pub(super) struct Common {
    /// Read the server's secret from this file
    #[arg(long, value_name = "FILE", help_heading = "Connection")]
    token_file: Option<PathBuf>,
    /// Try again so many times after a lost connection or a busy server; a download that gained
    /// ground counts anew
    #[arg(long, value_name = "N", default_value_t = 5, help_heading = "Connection")]
    retries: u32,
    /// Give a connection up when not a single byte moves for so long
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400), help_heading = "Connection")]
    timeout: u64,
    /// Use up to so many connections when there are several files
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32), help_heading = "Connection")]
    parallel: u8,
    /// Show no progress and no warnings, only errors
    #[arg(short, long)]
    quiet: bool,
}

/// How a command ended that was well understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Done,
    Failed,
}

/// What was typed makes no sense; the words say why.
#[derive(Debug)]
pub(super) struct Misuse(pub(super) String);

/// One run of a command.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) options: Options,
    pub(super) parallel: usize,
    pub(super) screen: Screen,
    /// Servers that nothing can be had from; what else was meant for them is not tried.
    hopeless: Mutex<HashSet<Address>>,
}

impl Run {
    /// Reads the secret and prepares the screen.
    pub(super) fn new(common: &Common) -> Result<Self, Misuse> {
        let token = common.token_file.as_deref().map(super::read_secret).transpose().map_err(Misuse)?;
        let timeout = Duration::from_secs(common.timeout);
        let defaults = Options::default();
        let options = Options {
            token,
            connect_timeout: defaults.connect_timeout.min(timeout),
            io_timeout: timeout,
            retries: common.retries,
            ..defaults
        };
        let screen = Screen::new(common.quiet);
        Ok(Self { options, parallel: usize::from(common.parallel), screen, hopeless: Mutex::default() })
    }

    /// Says the last words and gives the end.
    pub(super) fn end(&self) -> End {
        if self.screen.conclude() { End::Done } else { End::Failed }
    }

    fn hopeless(&self) -> MutexGuard<'_, HashSet<Address>> {
        self.hopeless.lock().unwrap_or_else(PoisonError::into_inner)
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
    pub(super) fn with<T>(
        &mut self,
        address: &Address,
        work: impl FnOnce(&mut Client) -> Result<T, ClientError>,
    ) -> Option<T> {
        match self.try_with(address, work)? {
            Ok(done) => Some(done),
            Err(error) => {
                self.fail(address, &error);
                None
            }
        }
    }

    /// Like [`Self::with`], for those who know what to do about some errors.
    pub(super) fn try_with<T>(
        &mut self,
        address: &Address,
        work: impl FnOnce(&mut Client) -> Result<T, ClientError>,
    ) -> Option<Result<T, ClientError>> {
        if self.run.hopeless().contains(address) {
            self.run.screen.skipped();
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
        if !error.trouble.is_hopeless() || self.run.hopeless().insert(address.clone()) {
            self.run.screen.failed(error);
        } else {
            self.run.screen.skipped();
        }
    }
}
