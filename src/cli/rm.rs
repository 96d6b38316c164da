//! `filewharf rm`: removes files and directories.

use super::args::{Args, CONNECTION, DRY_RUN, UsageError};
use super::expand::expand;
use super::flag::{Flag, Value::*};
use super::usage::{Command, Usage};
use super::worker::{Run, Worker};
use crate::client::{Client, ClientError, ErrorKind, RemotePath, as_dir};

pub(super) static USAGE: Usage<Args> = Usage {
    command: Command {
        name: "rm",
        about: "Remove files or folders from a server",
        line: "[OPTIONS] HOST:PORT/PATH...",
        operand: ("HOST:PORT/PATH...", "HOST[:PORT]/path of the files; * ? [a-z] in names, quoted, match several"),
        operands: 1..=usize::MAX,
        hints: &[("-R", "--recursive"), ("-rf", "-r -f")],
        notes: "Examples:
  filewharf rm 127.0.0.1:7070/old.txt '127.0.0.1:7070/empty folder/'
  filewharf rm '127.0.0.1:7070/tmp/*.log'
  filewharf rm --recursive --dry-run 127.0.0.1:7070/tmp
  filewharf rm --recursive 127.0.0.1:7070/tmp

Without --recursive a folder must be empty. With it each folder is removed as a whole, also what
is not listed in it, and is named on standard output. A * matches no name that begins with a dot;
a name that holds a * itself comes first. The port is 7070 if none is given. Write tls://HOST:PORT
for a server that speaks TLS. After a failure the rest is removed all the same.",
    },
    flags: &[
        (
            "Options",
            &[
                Flag::new(
                    "recursive",
                    Switch(|args: &mut Args| args.recursive = true),
                    "Remove folders with everything in them",
                )
                .or('r'),
                Flag::new(
                    "force",
                    Switch(|args: &mut Args| args.force = true),
                    "That a file is not there is no failure",
                )
                .or('f'),
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
    for remote in expand(&mut worker, remotes).0 {
        let removed = worker.try_on(&remote.address, |client| {
            let is_dir = (args.recursive || run.dry_run) && client.stat(&remote.path)?.dir;
            match (run.dry_run, is_dir && args.recursive) {
                (true, _) => plan(&run, client, &remote, is_dir, args.recursive),
                (false, true) => client.delete_all(&remote.path).map(|()| {
                    run.reporter.say(format!("removed {}", as_dir(&remote.to_string())));
                }),
                (false, false) => client.delete(&remote.path),
            }
        });
        match removed {
            Some(Ok(())) => run.reporter.done(),
            Some(Err(error)) if args.force && error.kind.code() == Some(404) => run.reporter.done(),
            Some(Err(error)) if error.kind.code() == Some(409) && !args.recursive => {
                run.reporter.failed_text(format!("{error}; --recursive removes a folder with everything in it"));
            }
            Some(Err(error)) => worker.fail(&remote.address, &error),
            None => {}
        }
    }
    Ok(run.reporter.finish())
}

/// Says what a removal would remove.
fn plan(run: &Run, client: &mut Client, remote: &RemotePath, is_dir: bool, recursive: bool) -> Result<(), ClientError> {
    if !is_dir {
        run.reporter.say(format!("rm {remote}"));
        return Ok(());
    }
    let dir = as_dir(&remote.to_string());
    for entry in client.list_all(&remote.path) {
        let entry = entry?;
        if !recursive {
            return Err(ErrorKind::conflict("the folder is not empty").at(&remote.address, &remote.path));
        }
        run.reporter.say(format!("rm {dir}{}{}", entry.name, if entry.dir { "/" } else { "" }));
    }
    run.reporter.say(format!("rm {dir}"));
    Ok(())
}
