//! `filewharf check`: says what is wrong with an access file, or which rights a caller has by it. Changes nothing.

#[cfg(feature = "config")]
use std::ffi::OsString;
#[cfg(feature = "config")]
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use lexopt::Parser;

use super::flag::{Flag, Value::*};
#[cfg(feature = "config")]
use super::serve;
#[cfg(feature = "config")]
use super::settings::{Effective, Settings};
use super::usage::{Action, Command, ParseError, Usage, print};
use crate::access::{Caller, Rules};
use crate::config::{Quota, QuotaUnit};
use crate::server::read_access_file;
use crate::wire::key;

#[derive(Debug)]
pub(super) struct Args {
    file: String,
    name: Option<String>,
    from: IpAddr,
    paths: Vec<String>,
}

impl Default for Args {
    fn default() -> Self {
        Self { file: String::new(), name: None, from: Ipv4Addr::LOCALHOST.into(), paths: Vec::new() }
    }
}

pub(super) static USAGE: Usage<Args> = Usage {
    command: Command {
        name: "check",
        about: "Check an access file, or ask it who may do what; or check how a server would start",
        line: "[OPTIONS] FILE [/PATH]...",
        operand: ("FILE [/PATH]...", "The access file; for each path its rights are printed"),
        operands: 1..=usize::MAX,
        hints: &[],
        notes: "Example:
  filewharf check access
  filewharf check access --as anna --from 10.0.0.7 /home/anna/notes.txt /pub/

A line is RIGHTS, tab, PATH. The rights are those of r read, l list, c create, w replace, d delete
and rename, or - for none. Without a PATH, the quotas of the file are printed: quota, tab, BYTES,
tab, PREFIX. The exit code is 1 if the file is wrong.

With --config, a line is FLAG, tab, VALUE, tab, SOURCE. The sources are FILE:LINE, the name of a
variable of the environment, flag for the command line, or default. The exit code is 2 if a flag is
wrong, and 1 if the server could not start for another reason. Nothing is changed.",
    },
    flags: &[(
        "Options",
        &[
            Flag::new(
                "as",
                Text("NAME", |args: &mut Args, text| {
                    args.name = Some(text.to_owned()).filter(|name| name != "@");
                    Ok(())
                }),
                "The caller, a name in the file; anybody if not given",
            ),
            Flag::new(
                "from",
                Text("ADDRESS", |args, text| {
                    args.from = text.parse().map_err(|_| "is no IP address")?;
                    Ok(())
                }),
                "The address of the client [default: 127.0.0.1]",
            ),
            #[cfg(feature = "config")]
            Flag::new(
                "config",
                // Its arguments are parsed as those of `serve`.
                Path("FILE", |_, _| ()),
                "Check what serve would do with this file, with the variables of the environment, and with all further \
                 arguments, which are those of serve; and print the value of each flag, where it comes from, and the \
                 most memory that is used",
            ),
        ],
    )],
};

pub(super) fn parse(words: &mut Parser) -> Result<Action, ParseError> {
    #[cfg(feature = "config")]
    if is_about_settings(words.clone()) {
        let found = Settings::parse(words)?;
        return Ok(Box::new(move || {
            for warning in found.warnings() {
                let _ = writeln!(std::io::stderr(), "filewharf: {warning}");
            }
            print(settings(&found))
        }));
    }
    let (mut args, operands) = USAGE.parse(words)?;
    let mut operands = operands.into_iter();
    args.file = operands.next().unwrap_or_default().to_string_lossy().into_owned();
    args.paths = operands.map(|path| path.to_string_lossy().into_owned()).collect();
    Ok(Box::new(move || print(run(&args))))
}

/// True if the arguments are those of `serve`.
#[cfg(feature = "config")]
fn is_about_settings(mut words: Parser) -> bool {
    let is_config = |word: OsString| word.to_str().is_some_and(|word| word.split('=').next() == Some("--config"));
    words.raw_args().is_ok_and(|mut words| words.any(is_config))
}

/// Checks how a server would start, and says with what.
#[cfg(feature = "config")]
fn settings(settings: &Settings) -> Result<String, String> {
    let ceiling = serve::builder(&settings.args).and_then(|builder| Ok(builder.check()?));
    let ceiling = ceiling.map_err(|error| error.to_string())?;
    let mut text = String::new();
    for Effective { name, value, source } in settings.effective() {
        text.push_str(&format!("{name}\t{value}\t{source}\n"));
    }
    Ok(format!("{text}memory: {ceiling}\n"))
}

fn run(args: &Args) -> Result<String, String> {
    let rules = read_access_file(std::path::Path::new(&args.file))?;
    if args.paths.is_empty() {
        let mut text = format!("{}: no mistakes, {} names\n", args.file, rules.names().count());
        for Quota { prefix, unit, max } in rules.quotas() {
            let word = if unit == QuotaUnit::Bytes { "quota" } else { "max-names" };
            text.push_str(&format!("{word}\t{max}\t/{prefix}\n"));
        }
        return Ok(text);
    }
    let caller = caller(&rules, args)?;
    let mut text = String::new();
    for path in &args.paths {
        let key = key::absolute(path).map_err(|failure| format!("{path}: {failure}"))?.key;
        text.push_str(&format!("{}\t{path}\n", rules.rights(&caller, args.from, &key)));
    }
    Ok(text)
}

fn caller(rules: &Rules, args: &Args) -> Result<Caller, String> {
    match &args.name {
        None => Ok(Caller::ANYBODY),
        Some(name) => rules.as_if(name).ok_or_else(|| format!("{}: nothing proves the name {name}", args.file)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_checked_and_asked() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("access");
        let write = |text: &str, mode: u32| {
            std::fs::write(&file, text).expect("a file");
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("a mode");
        };
        let ask = |words: &[&str]| {
            let mut args = Args { file: file.display().to_string(), ..Args::default() };
            args.name = words.first().filter(|name| **name != "@").map(|name| (*name).to_owned());
            args.paths = words.iter().skip(1).map(|path| (*path).to_owned()).collect();
            run(&args)
        };
        let hex = "0".repeat(64);
        write(&format!("token ci sha256:{hex}\nallow ci rc /a\nallow @ l /a\nallow ci w /b from=10.0.0.0/8"), 0o640);
        assert!(ask(&[]).is_ok_and(|text| text.ends_with(": no mistakes, 1 names\n")));
        assert_eq!(ask(&["ci", "/a/x", "/b", "/"]), Ok("rlc\t/a/x\n-\t/b\n-\t/\n".to_owned()));
        assert_eq!(ask(&["@", "/a/"]), Ok("l\t/a/\n".to_owned()));
        write("allow @ c /a/b quota=1M\nallow @ c / quota=2000\nallow @ l /b", 0o640);
        assert!(ask(&[]).is_ok_and(|text| text.ends_with("names\nquota\t2000\t/\nquota\t1048576\t/a/b\n")));
        assert!(ask(&["bob", "/a"]).is_err_and(|wrong| wrong.contains("bob")));
        assert!(ask(&["@", "a"]).is_err());
        for mode in [0o644, 0o660, 0o641, 0o750] {
            write("", mode);
            assert!(ask(&[]).is_err_and(|wrong| wrong.contains("chmod 640")), "{mode:o}");
        }
        write("\nallow", 0o400);
        assert!(ask(&[]).is_err_and(|wrong| wrong.starts_with(&format!("{}:2: write: allow", file.display()))));
        std::fs::remove_file(&file).expect("it is there");
        assert!(ask(&[]).is_err_and(|wrong| wrong.starts_with(&format!("{}: No such file", file.display()))));
    }
}
