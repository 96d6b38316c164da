//! Flags of `serve` that stand in a file or in the environment. They are checked one by one; what they mean together is
//! not known here.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::super::flag::Flag;
use super::super::serve_flags::{Args, USAGE};
use super::super::usage::similar;
use crate::access::file::{FILE_LEN_MAX, words};
use crate::server::read_text;

/// Before the name of a flag in the name of its variable.
const PREFIX: &str = "FILEWHARF_";
/// Variables that the commands of the client read, without the prefix.
const OF_CLIENT: [&str; 2] = ["PASSWORD", "TOKEN"];
/// How often the environment may give a flag without a value.
const TIMES_MAX: usize = 9;

/// Where a flag was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A file; its lines are counted from 1, and 0 is the file as a whole.
    File(Arc<Path>, usize),
    Variable(String),
    CommandLine,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file, 0) => write!(f, "{}", file.display()),
            Self::File(file, line) => write!(f, "{}:{line}", file.display()),
            Self::Variable(name) => f.write_str(name),
            Self::CommandLine => f.write_str("flag"),
        }
    }
}

/// What is wrong, and where.
#[derive(Debug)]
pub(super) struct Mistake {
    pub(super) place: Place,
    pub(super) why: String,
}

/// In one line.
impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.why.replace("\n\n  tip:", ":"))
    }
}

/// A flag that was given once.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) flag: &'static Flag<Args>,
    /// Empty for a flag without a value, and `None` where such a flag is turned off.
    pub(super) value: Option<OsString>,
    pub(super) place: Place,
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} ({})", self.flag.syntax.long, self.value, self.place)
    }
}

impl Given {
    /// Sets what the flag stands for.
    pub(super) fn set(&self, args: &mut Args) -> Result<(), Mistake> {
        let Some(value) = &self.value else { return Ok(()) };
        self.flag.value.set(args, value.clone()).map_err(|why| {
            let (value, syntax) = (value.display(), self.flag.syntax.usage());
            let why = format!("invalid value '{value}' for '{}': {why}", syntax.trim_start_matches('-'));
            Mistake { place: self.place.clone(), why }
        })
    }

    /// True if only one of the two holds: they are the same flag, or exclude each other.
    pub(super) fn is_rival_of(&self, other: &Flag<Args>) -> bool {
        let subject = |flag: &Flag<Args>| match flag.syntax.long {
            "quiet" => "verbose",
            name => name,
        };
        subject(self.flag) == subject(other)
    }
}

pub(super) fn flag_named(name: &str) -> Option<&'static Flag<Args>> {
    USAGE.all_flags().find(|flag| flag.syntax.long == name)
}

/// The flags in a file: in each line the name of one without `--`, and its value where it has one.
pub(super) fn file(path: &Path) -> Result<Vec<Given>, Mistake> {
    let name: Arc<Path> = path.into();
    let at = |line| Place::File(Arc::clone(&name), line);
    let text = read_text(path, 0o7777).map_err(|error| Mistake { place: at(0), why: error.to_string() })?;
    if text.len() > FILE_LEN_MAX {
        return Err(Mistake { place: at(0), why: format!("is longer than {FILE_LEN_MAX} bytes") });
    }
    let mut given: Vec<Given> = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let read = words(text).map_err(str::to_owned).and_then(|words| match *words {
            [] => Ok(None),
            [name] => entry(name, None).map(Some),
            [name, value] => entry(name, Some(value)).map(Some),
            [name, ..] => Err(format!("'{name}' has more than one value: one with blanks stands in quotes")),
        });
        let Some((flag, value)) = read.map_err(|why| Mistake { place: at(line), why })? else { continue };
        let entry = Given { flag, value: Some(value), place: at(line) };
        let is_again = given.iter().any(|before| before.flag.syntax.long == flag.syntax.long);
        if is_again && !flag.syntax.is_repeatable {
            let why = format!("'{}' cannot be used multiple times", flag.syntax.long);
            return Err(Mistake { place: at(line), why });
        }
        entry.set(&mut Args::default())?;
        given.push(entry);
    }
    Ok(given)
}

/// A line of a file.
fn entry(name: &str, value: Option<&str>) -> Result<(&'static Flag<Args>, OsString), String> {
    let flag = flag_named(name).ok_or_else(|| match nearest(name) {
        Some(near) => format!("unknown flag '{name}', the nearest is '{near}'"),
        None => format!("unknown flag '{name}'"),
    })?;
    match (flag.syntax.value_name, value) {
        _ if name == "config" => Err("a file cannot name another one".to_owned()),
        (None, Some(value)) => Err(format!("unexpected value '{value}' for '{name}', which has none")),
        (Some(value), None) => Err(format!("a value is missing: {name} {value}")),
        _ => Ok((flag, value.unwrap_or_default().into())),
    }
}

/// What may be meant: what stands for a flag of other programs, or the flag with the most similar name.
fn nearest(typed: &str) -> Option<String> {
    let bare = |text: &'static str| text.trim_start_matches('-');
    let name = typed.trim_start_matches('-').split('=').next().unwrap_or_default();
    let hint = USAGE.command.hints.iter().find(|(other, _)| bare(other) == name).map(|(_, here)| bare(here).to_owned());
    hint.or_else(|| similar(name, USAGE.all_flags().map(|flag| flag.syntax.long.to_owned())))
}

/// The flags that variables of the environment give, and a warning for each that has only the prefix of one.
pub(super) fn environment(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<(Vec<Given>, Vec<String>), Mistake> {
    let (mut given, mut warnings) = (Vec::new(), Vec::new());
    for (name, value) in variables {
        let name = name.to_string_lossy();
        let Some(word) = name.strip_prefix(PREFIX).filter(|word| !OF_CLIENT.contains(word)) else { continue };
        let Some(flag) = USAGE.all_flags().find(|flag| variable(flag.syntax.long) == word) else {
            let near = similar(word, USAGE.all_flags().map(|flag| variable(flag.syntax.long)));
            let near = near.map(|near| format!(", the nearest is {PREFIX}{near}")).unwrap_or_default();
            warnings.push(format!("the unknown variable {name} is ignored{near}"));
            continue;
        };
        let place = Place::Variable(name.into_owned());
        for value in values(flag, &value).map_err(|why| Mistake { place: place.clone(), why })? {
            let entry = Given { flag, value, place: place.clone() };
            entry.set(&mut Args::default())?;
            given.push(entry);
        }
    }
    Ok((given, warnings))
}

/// The variable of a flag, without the prefix.
fn variable(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

/// The values of a flag in the text of its variable: one, or several between blanks. None in an empty text.
fn values(flag: &Flag<Args>, text: &OsStr) -> Result<Vec<Option<OsString>>, String> {
    let repeats = flag.syntax.is_repeatable;
    match flag.syntax.value_name {
        _ if text.is_empty() => Ok(Vec::new()),
        Some(_) if !repeats => Ok(vec![Some(text.to_owned())]),
        Some(_) => {
            let text = text.to_str().ok_or("is not UTF-8")?;
            Ok(text.split_whitespace().map(|value| Some(value.into())).collect())
        }
        None => match text.to_str() {
            Some("0" | "false") => Ok(vec![None]),
            Some("1" | "true") => Ok(vec![Some(OsString::new())]),
            Some(n) if repeats && n.parse().is_ok_and(|n: usize| (1..=TIMES_MAX).contains(&n)) => {
                Ok(vec![Some(OsString::new()); n.parse().unwrap_or(1)])
            }
            _ => Err(format!("invalid value '{}': is none of 1, true, 0 and false", text.display())),
        },
    }
}
