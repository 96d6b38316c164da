//! When a server gives up its rights: after everything was opened that takes them, before the first thread is started.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::ServerError;
use crate::config::{Fixed, SandboxMode, StoreConfig, TlsFiles};
use crate::os::sandbox::{Allowed, Sandbox, SandboxError};
use crate::store::{DiskStore, Sharing};

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Confinement {
    pub(crate) mode: SandboxMode,
    /// To become once nothing takes root any more.
    pub(crate) user: Option<String>,
    /// Those that are read again while the server runs.
    pub(super) files: Vec<PathBuf>,
    /// The file of the log, which may be made again.
    pub(crate) log_file: Option<PathBuf>,
}

impl Confinement {
    pub(super) fn add_tls(&mut self, tls: &TlsFiles) {
        self.files.extend([tls.certificate_path(), tls.key_path(), tls.client_ca.clone()].into_iter().flatten());
    }

    /// Opens the store, confined to it. Returns the measures that are in force, too.
    pub(super) fn open_store(
        &self,
        root: &Path,
        (config, sharing, limits): (&StoreConfig, Sharing, &Fixed),
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<(DiskStore, String), ServerError> {
        let fail = |error: SandboxError| ServerError::Sandbox(error.to_string());
        let mut sandbox = Sandbox::begin(self.mode, self.user.as_deref()).map_err(fail)?;
        let mut confine = |allowed: Allowed<'_>| {
            sandbox.confine(&Allowed { files: &self.files, log_file: self.log_file.as_deref(), ..allowed })
        };
        let store = DiskStore::open_confined(root, (config, sharing), limits, wake, &mut confine);
        let store = store.map_err(|error| match error.is_of_sandbox() {
            true => ServerError::Sandbox(error.to_string()),
            false => ServerError::Root(self.explain(error.to_string())),
        })?;
        if let Some(missing) = sandbox.missing() {
            log::info!("the sandbox does without {missing}");
        }
        if self.mode != SandboxMode::Off || self.user.is_some() {
            self.warn_of_unreadable();
        }
        Ok((store, sandbox.to_string()))
    }

    /// Root without its privileges is an unusual user.
    fn explain(&self, error: String) -> String {
        let denied = std::io::Error::from(rustix::io::Errno::ACCESS).to_string();
        if self.mode == SandboxMode::Off || !rustix::process::geteuid().is_root() || !error.contains(&denied) {
            return error;
        }
        format!("{error} (root has given up its privileges: name the user of the folder, --user, or --sandbox off)")
    }

    /// Root may have read them, and is not there any more.
    #[allow(clippy::disallowed_methods, reason = "these files lie outside of the served directory")]
    fn warn_of_unreadable(&self) {
        for file in &self.files {
            if let Err(error) = File::open(file) {
                let file = file.display();
                log::warn!("{file} stays in effect as it is, because it cannot be read again: {error}");
            }
        }
    }
}
