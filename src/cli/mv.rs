//! `filewharf mv` and `filewharf cp`: new names for files and directories of one server, and copies of them, without
//! their content passing through this machine.

use super::args::{Args, CONNECTION, DRY_RUN, NO_CLOBBER, UsageError, shell_word};
use super::expand::expand;
use super::flag::{Flag, Value::*};
use super::usage::{Command, Usage};
use super::worker::{Run, Worker};
use crate::client::{RemotePath, as_dir};

macro_rules! operands {
    () => {
        (
            "HOST:PORT/PATH... HOST:PORT/PATH[/]",
            "HOST[:PORT]/path of files or folders of one server; * ? [a-z] in names, quoted, match several; then the new \
             path, or the folder/ that takes them under their names",
        )
    };
}

const RECURSIVE: Flag<Args> =
    Flag::new("recursive", Switch(|args: &mut Args| args.recursive = true), "Copy folders with everything in them")
        .or('r');

pub(super) static MV: Usage<Args> = Usage {
    command: Command {
        name: "mv",
        about: "Move or rename files and folders on a server",
        line: "[OPTIONS] HOST:PORT/PATH... HOST:PORT/PATH[/]",
        operand: operands!(),
        operands: 2..=usize::MAX,
        hints: &[],
        notes: "Examples:
  filewharf mv 127.0.0.1:7070/draft.txt 127.0.0.1:7070/final.txt
  filewharf mv '127.0.0.1:7070/inbox/*.jpg' 127.0.0.1:7070/photos/
  filewharf mv --dry-run 127.0.0.1:7070/a 127.0.0.1:7070/b 127.0.0.1:7070/old/

A last PATH without a final slash is the new path itself, one with it takes what comes before it
under its name, and so does the last of three and more. A file that is there is replaced, a folder
never. Missing folders are made. The port is 7070 if none is given. Write tls://HOST:PORT for a
server that speaks TLS. After a failure the rest is moved all the same.",
    },
    flags: &[("Options", &[NO_CLOBBER, DRY_RUN]), CONNECTION],
};

pub(super) static CP: Usage<Args> = Usage {
    command: Command {
        name: "cp",
        about: "Copy files and folders on a server",
        line: "[OPTIONS] HOST:PORT/PATH... HOST:PORT/PATH[/]",
        operand: operands!(),
        operands: 2..=usize::MAX,
        hints: &[("-R", "--recursive"), ("-a", "--recursive")],
        notes: "Examples:
  filewharf cp 127.0.0.1:7070/draft.txt 127.0.0.1:7070/backup/
  filewharf cp --recursive 127.0.0.1:7070/photos 127.0.0.1:7070/photos-2026

A last PATH without a final slash is the copy itself, one with it takes the copies under their
names, and so does the last of three and more. A file that is there is replaced, a folder never. A
folder is copied as a whole or not at all. Missing folders are made. The port is 7070 if none is
given. Write tls://HOST:PORT for a server that speaks TLS. After a failure the rest is copied all
the same.",
    },
    flags: &[("Options", &[RECURSIVE, NO_CLOBBER, DRY_RUN]), CONNECTION],
};

pub(super) fn mv(args: &Args) -> Result<bool, UsageError> {
    run(args, Action::Move)
}

pub(super) fn cp(args: &Args) -> Result<bool, UsageError> {
    run(args, Action::Copy { recursive: args.recursive })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Move,
    Copy { recursive: bool },
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Move => "mv",
            Self::Copy { .. } => "cp",
        }
    }
}

fn run(args: &Args, action: Action) -> Result<bool, UsageError> {
    let mut sources = args.remotes()?;
    let Some(target) = sources.pop() else { return Ok(true) };
    let name = action.name();
    if let Some(other) = sources.iter().find(|source| source.address != target.address) {
        let why = format!("{other} and {target} are not on one server: {name} works within one");
        return Err(UsageError(why));
    }
    let run = Run::new(args, None)?;
    let mut worker = Worker::new(&run);
    let several = sources.len() > 1;
    let (sources, had_pattern) = expand(&mut worker, sources);
    let is_dir = several || had_pattern || target.path.ends_with('/');
    for source in &sources {
        let Some(to) = destination(source, &target, is_dir) else {
            run.reporter.failed_text(format!("{source}: the top folder has no name"));
            continue;
        };
        one(&mut worker, action, source, &to, is_dir);
    }
    Ok(run.reporter.finish())
}

/// The path that a source gets. `None` for the root.
fn destination(source: &RemotePath, target: &RemotePath, is_dir: bool) -> Option<RemotePath> {
    let name = source.name()?;
    let path = if is_dir { format!("{}{name}", as_dir(&target.path)) } else { target.path.clone() };
    Some(RemotePath { address: target.address.clone(), path })
}

fn one(worker: &mut Worker<'_>, action: Action, source: &RemotePath, to: &RemotePath, is_dir: bool) {
    let (run, address, name) = (worker.run, &source.address, action.name());
    let (old, new) = (source.path.trim_end_matches('/'), to.path.as_str());
    if old == new.trim_end_matches('/') {
        return run.reporter.failed_text(format!("{source}: has that path already"));
    }
    let found = worker.try_on(address, |client| client.stat(new));
    match found {
        None => return,
        Some(Ok(entry)) if entry.dir => {
            let what = if is_dir {
                "remove it first, or write another path".to_owned()
            } else {
                let [source, dir] = [source.to_string(), format!("{to}/")].map(|text| shell_word(&text));
                format!("to put it into that, write: filewharf {name} {source} {dir}")
            };
            return run.reporter.failed_text(format!("{to}: is a folder; {what}"));
        }
        Some(Ok(_)) if run.keeps_existing() => return run.reporter.unchanged(0),
        // What cannot be looked at may be made all the same.
        Some(_) => {}
    }
    let done = worker.try_on(address, |client| {
        let takes_files = action == Action::Copy { recursive: false };
        // A plan looks whether the source is there.
        let is_dir = (run.dry_run || takes_files) && client.stat(old)?.dir;
        match action {
            _ if is_dir && takes_files => return Ok(false),
            _ if run.dry_run => run.reporter.say(format!("{name} {source} -> {to}")),
            Action::Move => client.rename(old, new)?,
            Action::Copy { recursive } => client.copy(old, new, recursive)?,
        }
        Ok(true)
    });
    match done {
        Some(Ok(true)) => run.reporter.done(),
        Some(Ok(false)) => run.reporter.failed_text(format!("{source}: is a folder; use --recursive")),
        Some(Err(error)) if run.keeps_existing() && error.kind.code() == Some(412) => run.reporter.unchanged(0),
        Some(Err(error)) => worker.fail(address, &error),
        None => {}
    }
}
