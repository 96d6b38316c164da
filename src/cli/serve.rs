//! `filewharf serve`: not built yet.

use std::process::ExitCode;

/// Serve one folder.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_args: Args) -> ExitCode {
    eprintln!("filewharf: serve is not built yet");
    ExitCode::FAILURE
}
