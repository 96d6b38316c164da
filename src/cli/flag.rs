//! One flag of a command: how its value is written, what it sets, and what the default is.
#![cfg_attr(not(all(feature = "serve", feature = "client")), allow(dead_code, reason = "some are for one of them"))]

use std::error::Error;
use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::config::unit::{Quantity, whole_number};
use crate::config::{Limit, Limits};

/// The outcome of setting a value; the error says what is wrong with it.
pub(super) type SetResult = Result<(), Box<dyn Error>>;

/// One row of the table of flags of a command, which fills in an `A`.
pub(super) struct Flag<A> {
    pub(super) syntax: Syntax,
    pub(super) value: Value<A>,
}

/// How a flag is written, and its help text.
pub(super) struct Syntax {
    pub(super) long: &'static str,
    pub(super) short: Option<char>,
    /// The name of the value in the help; nothing follows a flag without one.
    pub(super) value_name: Option<&'static str>,
    pub(super) is_repeatable: bool,
    /// The value is the path of a local file.
    pub(super) takes_path: bool,
    /// What holds without the flag, where no field has it.
    pub(super) default: Option<&'static str>,
    pub(super) help: &'static str,
}

/// What follows a flag, and what it sets. The name is that of the value in the help; a field has the default.
pub(super) enum Value<A> {
    /// Nothing follows.
    Switch(fn(&mut A)),
    Path(&'static str, fn(&mut A, PathBuf)),
    Text(&'static str, fn(&mut A, &str) -> SetResult),
    Number(&'static str, RangeInclusive<u64>, fn(&mut A) -> &mut dyn Quantity),
    Limit(&'static Limit, fn(&mut A) -> &mut Limits),
}

impl<A> Flag<A> {
    pub(super) const fn new(long: &'static str, value: Value<A>, help: &'static str) -> Self {
        let value_name = match value {
            Value::Switch(_) => None,
            Value::Path(name, _) | Value::Text(name, _) | Value::Number(name, ..) => Some(name),
            Value::Limit(limit, _) => Some(limit.unit.name()),
        };
        let takes_path = matches!(value, Value::Path(..));
        let default = None;
        Self {
            syntax: Syntax { long, short: None, value_name, is_repeatable: false, takes_path, default, help },
            value,
        }
    }

    /// Also accepted as one letter.
    pub(super) const fn or(mut self, letter: char) -> Self {
        self.syntax.short = Some(letter);
        self
    }

    /// See [`Syntax::default`].
    pub(super) const fn default(mut self, value: &'static str) -> Self {
        self.syntax.default = Some(value);
        self
    }

    pub(super) const fn repeatable(mut self) -> Self {
        self.syntax.is_repeatable = true;
        self
    }
}

impl Syntax {
    /// As in `--max-size <BYTES>`.
    pub(super) fn usage(&self) -> String {
        match self.value_name {
            None => format!("--{}", self.long),
            Some(name) => format!("--{} <{name}>", self.long),
        }
    }
}

impl<A> Flag<A> {
    /// The value that a field of these arguments has, or else the default.
    pub(super) fn shown(&self, args: &mut A) -> Option<String> {
        match &self.value {
            Value::Switch(_) | Value::Path(..) | Value::Text(..) => self.syntax.default.map(str::to_owned),
            Value::Number(_, _, field) => Some(field(args).get().to_string()),
            Value::Limit(limit, limits) => Some(limit.shown(limits(args))),
        }
    }
}

impl<A> Value<A> {
    /// Parses the value and sets what the flag stands for.
    pub(super) fn set(&self, args: &mut A, value: OsString) -> SetResult {
        if let Self::Path(_, set) = self {
            set(args, value.into());
            return Ok(());
        }
        let text = value.to_str().ok_or("is not UTF-8")?;
        match self {
            Self::Switch(set) => set(args),
            Self::Path(_, set) => set(args, text.into()),
            Self::Text(_, set) => set(args, text)?,
            Self::Number(_, range, field) => field(args).set(whole_number(text, range.clone().into_inner())?)?,
            Self::Limit(limit, limits) => limit.parse(text, limits(args))?,
        }
        Ok(())
    }
}

/// Equality of two texts, for tables that are made while the program is compiled.
#[cfg(feature = "serve")]
pub(super) const fn is_same(one: &str, other: &str) -> bool {
    let (one, other, mut at) = (one.as_bytes(), other.as_bytes(), 0);
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

/// Flags that can be parsed and make no sense together.
#[derive(Debug)]
pub(super) struct Conflict {
    /// Their names, without `--`.
    #[cfg_attr(not(feature = "config"), allow(dead_code, reason = "it says where they were given"))]
    pub(super) flags: &'static [&'static str],
    pub(super) why: String,
}

impl Conflict {
    pub(super) fn of(flags: &'static [&'static str], why: impl Into<String>) -> Result<(), Self> {
        Err(Self { flags, why: why.into() })
    }
}
