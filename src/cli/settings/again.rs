//! The file of flags, read again while the server runs: which values change at once, and which need a restart.

use std::path::PathBuf;

use super::super::flag::{Flag, Value};
use super::super::serve_flags::{Args, USAGE};
use super::effective::{Effective, combine, effective};
use super::sources::Given;
use crate::server::{Apply, Reload};

pub(super) struct ReadAgain {
    pub(super) file: PathBuf,
    pub(super) environment: Vec<Given>,
    pub(super) command_line: Vec<Given>,
    /// The values at the start.
    pub(super) started: Vec<Effective>,
    /// Those that were read last.
    pub(super) last: Vec<Effective>,
}

impl Reload for ReadAgain {
    fn read(&mut self) -> Result<Apply<'_>, String> {
        let (args, given) = combine(&self.environment, &self.command_line).map_err(|mistake| mistake.to_string())?;
        let now = effective(&args, &given);
        Ok(Box::new(move |control| {
            crate::os::log::set_max_level(args.max_level());
            control.replace_limits(args.builder.limits.live);
            for line in self.waiting(&now) {
                log::warn!("{line}");
            }
            self.replace(now)
        }))
    }
}

impl ReadAgain {
    /// A line for each changed flag that takes effect only with a restart.
    fn waiting(&self, now: &[Effective]) -> Vec<String> {
        let line = |flag: &'static Flag<Args>| {
            let name = flag.syntax.long;
            let (before, after) = change(name, &self.started, now)?;
            let given = now.iter().find(|row| row.name == name && row.source != "default");
            let source = given.map_or_else(|| self.file.display().to_string(), |row| row.source.clone());
            Some(format!("{source}: {name} {after} needs a restart, {before} stays in effect"))
        };
        USAGE.all_flags().filter(|flag| !is_live(flag)).filter_map(line).collect()
    }

    /// Takes the values, and says which have changed.
    fn replace(&mut self, now: Vec<Effective>) -> String {
        let changed: Vec<_> = USAGE
            .all_flags()
            .filter(|flag| is_live(flag))
            .filter_map(|flag| {
                let (before, after) = change(flag.syntax.long, &self.last, &now)?;
                Some(format!("{} {after} instead of {before}", flag.syntax.long))
            })
            .collect();
        self.last = now;
        let (file, colon) = (self.file.display(), if changed.is_empty() { "" } else { ": " });
        format!("read {file} again{colon}{}", changed.join(", "))
    }
}

/// True if a running server takes another value.
fn is_live(flag: &Flag<Args>) -> bool {
    match flag.value {
        Value::Limit(limit, _) => limit.is_live,
        _ => matches!(flag.syntax.long, "quiet" | "verbose"),
    }
}

/// The values of a flag before and after, if they differ.
fn change(name: &str, before: &[Effective], after: &[Effective]) -> Option<(String, String)> {
    let values = |rows: &[Effective]| {
        let values: Vec<_> = rows.iter().filter(|row| row.name == name).map(|row| &*row.value).collect();
        values.join(" ")
    };
    let (before, after) = (values(before), values(after));
    (before != after).then_some((before, after))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use lexopt::Parser;

    use super::super::Settings;
    use super::*;
    use crate::os::event_queue::EventQueue;

    fn write(file: &Path, text: &str) {
        fs::write(file, text).expect("a file");
    }

    fn started(file: &Path) -> ReadAgain {
        let words = ["--config".into(), file.as_os_str().to_owned(), "--slots".into(), "9".into()];
        let settings = Settings::parse_all(&mut Parser::from_args(words), std::iter::empty()).expect("good");
        settings.read_again(file.to_owned())
    }

    #[test]
    fn what_is_live_changes_and_what_is_not_is_named_until_it_is_as_at_the_start() {
        let dir = tempfile::tempdir().expect("a directory");
        let (file, queue) = (dir.path().join("conf"), EventQueue::new().expect("a queue"));
        write(&file, "max-size 10\nlisten 127.0.0.1:0\nchunks 4\n");
        let mut again = started(&file);
        let name = file.display().to_string();
        let apply = |again: &mut ReadAgain| again.read().map(|apply| apply(queue.control()));
        assert_eq!(apply(&mut again), Ok(format!("read {name} again")));
        assert_eq!(queue.control().take_limits().expect("limits").request_bytes_max, 10);
        write(&file, "max-size 5\nlisten 127.0.0.1:0\nlisten [::1]:0\nslots 7\nidle-timeout 1\n");
        let told = format!("read {name} again: max-size 5 instead of 10, idle-timeout 1 instead of 300");
        for _ in 0..2 {
            let now = again.read().expect("good");
            assert!(queue.control().take_limits().is_none(), "nothing changes before all is read");
            drop(now);
        }
        assert_eq!(apply(&mut again), Ok(told));
        assert_eq!(queue.control().take_limits().expect("limits").request_bytes_max, 5);
        let waiting = [
            format!("{name}:2: listen 127.0.0.1:0 [::1]:0 needs a restart, 127.0.0.1:0 stays in effect"),
            format!("{name}: chunks 2 needs a restart, 4 stays in effect"),
        ];
        assert_eq!(again.waiting(&again.last), waiting, "slots are those of the command line");
        write(&file, "max-size 5\nchunks 4\nlisten 127.0.0.1:0\nidle-timeout 1X\n");
        let wrong = apply(&mut again).expect_err("a mistake");
        assert!(wrong.starts_with(&format!("{name}:4: invalid value '1X' for 'idle-timeout <SECONDS>'")), "{wrong}");
        assert!(queue.control().take_limits().is_none() && again.waiting(&again.last).len() == 2, "all is as before");
        write(&file, "chunks 4\nlisten 127.0.0.1:0\n");
        let told = "max-size 1T instead of 5, idle-timeout 300 instead of 1";
        assert_eq!(apply(&mut again), Ok(format!("read {name} again: {told}")));
        assert!(again.waiting(&again.last).is_empty());
    }

    #[test]
    fn the_manual_names_every_flag_that_a_running_server_takes_another_value_of() {
        let manual = include_str!("../../docs/operations.md");
        let (_, list) = manual.split_once("These change at once: ").expect("the list");
        let (list, _) = list.split_once('.').expect("its end");
        let told: BTreeSet<&str> = list.split(',').map(|name| name.trim().trim_matches('`')).collect();
        let live = USAGE.all_flags().filter(|flag| is_live(flag)).map(|flag| flag.syntax.long);
        assert_eq!(told, live.collect());
    }
}
