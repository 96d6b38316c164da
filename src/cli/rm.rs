//! `filewharf rm`: removes files and empty directories.

use super::args::{Args, CONNECTION, UsageError};
use super::usage::{Command, Usage};
use super::worker::{Run, Worker};

pub(super) static USAGE: Usage<Args> = Usage {
    command: Command {
        name: "rm",
        about: "Remove files or empty folders from a server",
        line: "[OPTIONS] HOST:PORT/PATH...",
        operand: ("HOST:PORT/PATH...", "HOST[:PORT]/path of the files"),
        operands: 1..=usize::MAX,
        hints: &[],
        notes: "Example:
  filewharf rm 127.0.0.1:7070/old.txt '127.0.0.1:7070/old folder/'

The port is 7070 if none is given. Write tls://HOST:PORT for a server that speaks TLS. After a
failure the rest is removed all the same.",
    },
    flags: &[CONNECTION],
};

pub(super) fn run(args: &Args) -> Result<bool, UsageError> {
    let remotes = args.remotes()?;
    let run = Run::new(args, None)?;
    let mut worker = Worker::new(&run);
    for remote in &remotes {
        worker.complete_on(&remote.address, |client| client.delete(&remote.path));
    }
    Ok(run.reporter.finish())
}
