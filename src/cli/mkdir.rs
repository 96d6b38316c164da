//! `filewharf mkdir`: makes directories.

use super::args::{Args, CONNECTION, DRY_RUN, UsageError};
use super::flag::{Flag, Value::*};
use super::usage::{Command, Usage};
use super::worker::{Run, Worker};
use crate::client::{ErrorKind, as_dir};

pub(super) static USAGE: Usage<Args> = Usage {
    command: Command {
        name: "mkdir",
        about: "Make folders on a server",
        line: "[OPTIONS] HOST:PORT/FOLDER/...",
        operand: ("HOST:PORT/FOLDER/...", "HOST[:PORT]/path of the folders"),
        operands: 1..=usize::MAX,
        hints: &[],
        notes: "Examples:
  filewharf mkdir 127.0.0.1:7070/inbox/
  filewharf mkdir --parents 127.0.0.1:7070/a/b/c/ 127.0.0.1:7070/a/d/

Missing folders on the way are made in any case. The port is 7070 if none is given. Write
tls://HOST:PORT for a server that speaks TLS.",
    },
    flags: &[
        (
            "Options",
            &[
                Flag::new(
                    "parents",
                    Switch(|args: &mut Args| args.parents = true),
                    "That a folder is there already is no failure",
                )
                .or('p'),
                DRY_RUN,
            ],
        ),
        CONNECTION,
    ],
};

pub(super) fn run(args: &Args) -> Result<bool, UsageError> {
    let remotes = args.remotes()?;
    let run = Run::new(args, None)?;
    let mut worker = Worker::new(&run);
    for remote in &remotes {
        worker.complete_on(&remote.address, |client| match (run.dry_run, args.parents) {
            (true, parents) => match client.stat(&remote.path) {
                Err(error) if error.kind.code() == Some(404) => {
                    run.reporter.say(format!("mkdir {}", as_dir(&remote.to_string())));
                    Ok(())
                }
                Ok(entry) if entry.dir && parents => Ok(()),
                Ok(_) => Err(ErrorKind::conflict("that name is taken").at(&remote.address, &remote.path)),
                Err(error) => Err(error),
            },
            (false, true) => client.make_dir(&remote.path).map(drop),
            (false, false) => client.mkdir(&remote.path),
        });
    }
    Ok(run.reporter.finish())
}
