//! `filewharf rm`: removes files and empty directories.

use super::common::{Args, CONNECTION, End, Run, UsageError, Worker};
use super::usage::Usage;

pub(super) static USAGE: Usage<Args> = Usage {
    name: "rm",
    about: "Remove files or empty folders from a server",
    line: "[OPTIONS] HOST:PORT/PATH...",
    operand: ("HOST:PORT/PATH...", "HOST[:PORT]/path of what is to go"),
    operands: 1..=usize::MAX,
    flags: &[CONNECTION],
    hints: &[],
    notes: "Example:
  filewharf rm 127.0.0.1:7070/old.txt '127.0.0.1:7070/old folder/'

The port is 7070 if none is given. What fails does not keep the rest from being removed.",
};

pub(super) fn run(args: &Args) -> Result<End, UsageError> {
    let remotes = args.remotes()?;
    let run = Run::new(args)?;
    let mut worker = Worker::new(&run);
    for remote in &remotes {
        if worker.run_on(&remote.address, |client| client.delete(&remote.path)).is_some() {
            run.reporter.done();
        }
    }
    Ok(run.end())
}
