//! One flag of a command: how its value is written, what it sets, and what the default is.
#![cfg_attr(not(feature = "serve"), allow(dead_code, reason = "some kinds of values are used by `serve` only"))]

use std::error::Error;
use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::wire::range::{UNITS, bytes_with_unit};

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
    pub(super) help: &'static str,
}

/// What follows a flag, and what it sets. The name is that of the value in the help; a field has the default.
pub(super) enum Value<A> {
    /// Nothing follows.
    Switch(fn(&mut A)),
    Path(&'static str, fn(&mut A, PathBuf)),
    Text(&'static str, fn(&mut A, &str) -> SetResult),
    Number(&'static str, RangeInclusive<u64>, Field<A>),
    /// A number from the first one on.
    Count(u64, Field<A>),
    /// A number of bytes from the first one on, perhaps with a unit.
    Bytes(u64, Field<A>),
    Seconds(fn(&mut A) -> &mut Duration),
}

/// The field that a flag sets.
type Field<A> = fn(&mut A) -> &mut dyn Integer;

/// A field of any unsigned type.
pub(super) trait Integer {
    fn value(&self) -> u64;
    fn set(&mut self, value: u64) -> SetResult;
}

impl<T: Copy + TryFrom<u64, Error: Error + 'static> + TryInto<u64>> Integer for T {
    fn value(&self) -> u64 {
        (*self).try_into().unwrap_or(u64::MAX)
    }

    fn set(&mut self, value: u64) -> SetResult {
        *self = value.try_into()?;
        Ok(())
    }
}

impl<A> Flag<A> {
    pub(super) const fn new(long: &'static str, value: Value<A>, help: &'static str) -> Self {
        let value_name = match value {
            Value::Switch(_) => None,
            Value::Path(name, _) | Value::Text(name, _) | Value::Number(name, ..) => Some(name),
            Value::Count(..) => Some("N"),
            Value::Bytes(..) => Some("BYTES"),
            Value::Seconds(_) => Some("SECONDS"),
        };
        Self { syntax: Syntax { long, short: None, value_name, is_repeatable: false, help }, value }
    }

    /// Also accepted as one letter.
    pub(super) const fn or(mut self, letter: char) -> Self {
        self.syntax.short = Some(letter);
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

impl<A> Value<A> {
    /// The value in these arguments as it is written, if the help shows it.
    pub(super) fn shown(&self, args: &mut A) -> Option<String> {
        match self {
            Self::Switch(_) | Self::Path(..) | Self::Text(..) => None,
            Self::Number(_, _, field) | Self::Count(_, field) => Some(field(args).value().to_string()),
            Self::Bytes(_, field) => Some(with_unit(field(args).value())),
            Self::Seconds(field) => Some(field(args).as_secs_f64().to_string()),
        }
    }

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
            Self::Number(_, range, field) => field(args).set(whole_number(text, range)?)?,
            Self::Count(least, field) => field(args).set(whole_number(text, &(*least..=u64::MAX))?)?,
            Self::Bytes(least, field) => field(args).set(within(bytes(text)?, &(*least..=u64::MAX))?)?,
            Self::Seconds(field) => *field(args) = seconds(text).ok_or("is not a number of seconds")?,
        }
        Ok(())
    }
}

fn whole_number(text: &str, range: &RangeInclusive<u64>) -> Result<u64, Box<dyn Error>> {
    let number: i128 = text.parse().map_err(|_| "is not a whole number")?;
    match u64::try_from(number) {
        Ok(number) => within(number, range),
        Err(_) if number < 0 => Err(format!("must be at least {}", range.start()).into()),
        Err(_) => Err(format!("must be at most {}", range.end()).into()),
    }
}

fn within(number: u64, range: &RangeInclusive<u64>) -> Result<u64, Box<dyn Error>> {
    if number < *range.start() {
        return Err(format!("must be at least {}", range.start()).into());
    }
    if number > *range.end() {
        return Err(format!("must be at most {}", range.end()).into());
    }
    Ok(number)
}

fn bytes(text: &str) -> Result<u64, &'static str> {
    bytes_with_unit(text).ok_or("is not a number of bytes such as 500M or 1G (K, M, G and T are powers of 1024)")
}

/// The shortest text that [`bytes`] reads as this number.
fn with_unit(mut bytes: u64) -> String {
    let mut unit = None;
    for larger in UNITS {
        if bytes == 0 || !bytes.is_multiple_of(1024) {
            break;
        }
        bytes /= 1024;
        unit = Some(larger);
    }
    unit.map_or_else(|| bytes.to_string(), |unit| format!("{bytes}{unit}"))
}

pub(super) fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_does_not_fit_is_told_with_its_bounds() {
        let all = &(0..=u64::MAX);
        for (text, range, wanted) in [
            ("-1", all, "must be at least 0"),
            ("-1", &(1..=9), "must be at least 1"),
            ("0", &(1..=9), "must be at least 1"),
            ("10", &(1..=9), "must be at most 9"),
            ("18446744073709551616", all, "must be at most 18446744073709551615"),
            ("1.5", all, "is not a whole number"),
            ("", all, "is not a whole number"),
            ("many", all, "is not a whole number"),
        ] {
            assert_eq!(whole_number(text, range).expect_err(text).to_string(), wanted);
        }
        assert_eq!(whole_number("9", &(1..=9)).expect("good"), 9);
    }

    #[test]
    fn sizes_take_a_unit_and_refuse_what_does_not_fit() {
        for (text, number) in [("10", 10), ("64K", 65_536), ("1g", 1 << 30), ("0", 0), ("1T", 1 << 40)] {
            assert_eq!(bytes(text), Ok(number));
            assert_eq!(with_unit(number), text.to_uppercase());
        }
        for bad in ["", "K", "-1", "1.5M", "99999999999T", "1KB", "é"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
        assert_eq!(seconds("0.5"), Some(Duration::from_millis(500)));
        assert_eq!(seconds("-1"), None);
    }
}
