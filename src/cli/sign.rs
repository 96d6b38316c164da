//! `filewharf sign`: prints a signed link for a path. Changes nothing and asks no server.

use std::path::PathBuf;

use lexopt::Parser;

use super::flag::{Flag, Value::*};
use super::usage::{Action, Command, ParseError, Usage, print};
use crate::access::Rights;
use crate::access::link::{Link, PARAMETER, RIGHTS_MAX};
use crate::os::process::unix_time;
use crate::server::read_access_file;
use crate::time::Utc;
use crate::wire::http::target;
use crate::wire::key;
use crate::wire::range::decimal;

#[derive(Debug, Default)]
pub(super) struct Args {
    access: PathBuf,
    key: String,
    rights: Option<Rights>,
    expires: Option<Expiry>,
    path: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expiry {
    /// Seconds from now.
    After(u64),
    /// Seconds since 1970.
    At(u64),
}

pub(super) static USAGE: Usage<Args> = Usage {
    command: Command {
        name: "sign",
        about: "Sign a link to a file or folder",
        line: "--access FILE --key ID --expires TIME [--rights RIGHTS] /PATH",
        operand: ("/PATH", "The file, or the folder with everything under it"),
        operands: 1..=1,
        hints: &[],
        notes: "Example:
  filewharf sign --access access --key k1 --expires 2h /pub/report.pdf

The path with its query is printed: put https://HOST in front of it.",
    },
    flags: &[(
        "Options",
        &[
            Flag::new(
                "access",
                Path("FILE", |args: &mut Args, file| args.access = file),
                "The access file with the key",
            ),
            Flag::new(
                "key",
                Text("ID", |args, text| {
                    args.key = text.to_owned();
                    Ok(())
                }),
                "The id of the key",
            ),
            Flag::new(
                "rights",
                Text("RIGHTS", |args, text| {
                    let rights = Rights::parse(text).filter(|rights| RIGHTS_MAX.has(*rights) && !rights.is_none());
                    args.rights = Some(rights.ok_or("is not made of the letters r, l, c and w")?);
                    Ok(())
                }),
                "What the link permits: r read, l list, c create, w replace [default: r]",
            ),
            Flag::new(
                "expires",
                Text("TIME", |args, text| {
                    args.expires = Some(expiry(text).ok_or("is neither like 90s, 30m, 2h, 7d nor like 2027-01-31")?);
                    Ok(())
                }),
                "How long it is valid, as 90s, 30m, 2h or 7d, or the day (UTC) at the start of which it ends",
            ),
        ],
    )],
};

pub(super) fn parse(words: &mut Parser) -> Result<Action, ParseError> {
    let (mut args, operands) = USAGE.parse(words)?;
    args.path = operands.into_iter().next().unwrap_or_default().to_string_lossy().into_owned();
    if args.access.as_os_str().is_empty() || args.key.is_empty() || args.expires.is_none() {
        return Err(USAGE.command.error("--access, --key and --expires are required"));
    }
    Ok(Box::new(move || print(run(&args, unix_time()).map(|link| link + "\n"))))
}

fn run(args: &Args, now_s: u64) -> Result<String, String> {
    let rules = read_access_file(&args.access)?;
    let key = rules.link_key(&args.key).ok_or_else(|| format!("{} has no key {}", args.access.display(), args.key))?;
    let path = key::absolute(&args.path).map_err(|failure| format!("{}: {failure}", args.path))?;
    let expires_s = match args.expires {
        Some(Expiry::After(seconds)) => now_s.saturating_add(seconds),
        Some(Expiry::At(time_s)) => time_s,
        None => now_s,
    };
    if expires_s <= now_s {
        return Err("the link would have expired already".to_owned());
    }
    let link = Link {
        key_id: key.id.clone(),
        expires_s,
        rights: args.rights.unwrap_or(Rights::READ),
        prefix: path.key.clone(),
    };
    // A directory as it was written.
    let slash = if args.path.ends_with('/') && !path.key.is_root() { "/" } else { "" };
    Ok(target_of(&link, slash, &key.secret))
}

/// The path of a link and its query, as a request has them.
pub(super) fn target_of(link: &Link, slash: &str, secret: &[u8]) -> String {
    format!("/{}{slash}?{PARAMETER}={}", target::escaped(&link.prefix), link.sign(secret))
}

fn expiry(text: &str) -> Option<Expiry> {
    Utc::parse_day(text).map(Expiry::At).or_else(|| seconds(text).map(Expiry::After))
}

/// The seconds of a time such as 90s, 30m, 2h or 7d.
pub(super) fn seconds(text: &str) -> Option<u64> {
    let (number, unit_s) = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)]
        .into_iter()
        .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)))?;
    decimal(number)?.checked_mul(unit_s)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_time_is_a_number_with_a_unit_or_a_day() {
        for (text, want) in [
            ("90s", Some(Expiry::After(90))),
            ("2h", Some(Expiry::After(7200))),
            ("7d", Some(Expiry::After(604_800))),
            ("2027-01-31", Some(Expiry::At(1_801_353_600))),
            ("", None),
            ("2", None),
            ("h", None),
            ("-2h", None),
            ("99999999999999999999d", None),
            ("2027-02-30", None),
        ] {
            assert_eq!(expiry(text), want, "{text}");
        }
    }

    #[test]
    fn the_link_that_is_printed_is_right_and_its_path_is_encoded() {
        let dir = tempfile::tempdir().expect("a folder");
        let access = dir.path().join("access");
        std::fs::write(&access, "key k1 base64:MDEyMzQ1Njc4OWFiY2RlZg==\n").expect("written");
        std::fs::set_permissions(&access, std::fs::Permissions::from_mode(0o600)).expect("ours");
        let args = |path: &str| Args {
            access: access.clone(),
            key: "k1".to_owned(),
            rights: None,
            expires: Some(Expiry::At(1_800_000_000)),
            path: path.to_owned(),
        };
        // The same as openssl makes: see the tests of `access::link`.
        let value = "azF8MTgwMDAwMDAwMHxyfC9wdWIvYSBifNI4yeK1CxsX5WuN_TADn2dg_C3DeAhVkKikmAvu81ZP";
        assert_eq!(run(&args("/pub/a b"), 0), Ok(format!("/pub/a%20b?fw={value}")));
        assert_eq!(run(&args("/pub/a b/"), 0), Ok(format!("/pub/a%20b/?fw={value}")));
        assert!(run(&args("/"), 0).is_ok_and(|link| link.starts_with("/?fw=")));
        assert!(run(&args("/a"), 1_800_000_000).is_err_and(|why| why.contains("expired")));
        assert!(run(&args("a"), 0).is_err());
        assert!(run(&Args { key: "k2".to_owned(), ..args("/a") }, 0).is_err_and(|why| why.contains("no key k2")));
    }
}
