//! `filewharf mv`: new names for files and directories of one server.

use super::args::{Args, CONNECTION, DRY_RUN, NO_CLOBBER, UsageError, shell_word};
use super::expand::expand;
use super::usage::{Command, Usage};
use super::worker::{Run, Worker};
use crate::client::{RemotePath, as_dir};

pub(super) static USAGE: Usage<Args> = Usage {
    command: Command {
        name: "mv",
        about: "Move or rename files and folders on a server",
        line: "[OPTIONS] HOST:PORT/PATH... HOST:PORT/PATH[/]",
        operand: (
            "HOST:PORT/PATH... HOST:PORT/PATH[/]",
            "HOST[:PORT]/path of files or folders of one server; * ? [a-z] in names, quoted, match several; then the new \
             path, or the folder/ that takes them under their names",
        ),
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

pub(super) fn run(args: &Args) -> Result<bool, UsageError> {
    let mut sources = args.remotes()?;
    let Some(target) = sources.pop() else { return Ok(true) };
    if let Some(other) = sources.iter().find(|source| source.address != target.address) {
        let why = format!("{other} and {target} are not on one server: mv moves nothing between servers");
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
        one(&mut worker, source, &to, is_dir);
    }
    Ok(run.reporter.finish())
}

/// The path that a source gets. `None` for the root.
fn destination(source: &RemotePath, target: &RemotePath, is_dir: bool) -> Option<RemotePath> {
    let name = source.name()?;
    let path = if is_dir { format!("{}{name}", as_dir(&target.path)) } else { target.path.clone() };
    Some(RemotePath { address: target.address.clone(), path })
}

fn one(worker: &mut Worker<'_>, source: &RemotePath, to: &RemotePath, is_dir: bool) {
    let (run, address) = (worker.run, &source.address);
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
                format!("to put it into that, write: filewharf mv {source} {dir}")
            };
            return run.reporter.failed_text(format!("{to}: is a folder; {what}"));
        }
        Some(Ok(_)) if run.keeps_existing() => return run.reporter.unchanged(0),
        // What cannot be looked at may be made all the same.
        Some(_) => {}
    }
    let done = worker.try_on(address, |client| match run.dry_run {
        true => client.stat(old).map(|_| run.reporter.say(format!("mv {source} -> {to}"))),
        false => client.rename(old, new),
    });
    match done {
        Some(Ok(())) => run.reporter.done(),
        Some(Err(error)) if run.keeps_existing() && error.kind.code() == Some(412) => run.reporter.unchanged(0),
        Some(Err(error)) => worker.fail(address, &error),
        None => {}
    }
}
