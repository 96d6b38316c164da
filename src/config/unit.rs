//! Values with a unit, as they are written: on a command line, in a file or in a variable. Does not depend on which.

use std::num::TryFromIntError;
use std::time::Duration;

/// What the number of a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Count,
    Percent,
    /// May be written in powers of 1024.
    Bytes,
    /// May be written with a fraction.
    Seconds,
}

impl Unit {
    /// As it stands for a value in the help.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Count => "N",
            Self::Percent => "PERCENT",
            Self::Bytes => "BYTES",
            Self::Seconds => "SECONDS",
        }
    }

    /// The number that a text means, within these bounds; the error says what is wrong with the text.
    pub fn parse(self, text: &str, bounds: (u64, u64)) -> Result<u64, String> {
        match self {
            Self::Count | Self::Percent => whole_number(text, bounds),
            Self::Bytes => {
                let why = "is not a number of bytes such as 500M or 1G (K, M, G and T, also as KiB, are powers of 1024, KB \
                           and so on of 1000)";
                within(bytes(text).ok_or(why)?.into(), bounds)
            }
            Self::Seconds => within(seconds(text).ok_or("is not a number of seconds")?.get().into(), bounds),
        }
    }

    /// The shortest text that [`Unit::parse`] reads as this number.
    pub fn show(self, number: u64) -> String {
        match self {
            Self::Count | Self::Percent => number.to_string(),
            Self::Bytes => with_unit(number),
            Self::Seconds => {
                let text = format!("{}.{:09}", number / NS_PER_S, number % NS_PER_S);
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            }
        }
    }
}

/// A whole number within these bounds; the error says what is wrong with the text.
pub fn whole_number(text: &str, bounds: (u64, u64)) -> Result<u64, String> {
    within(text.parse().map_err(|_| "is not a whole number")?, bounds)
}

fn within(number: i128, (min, max): (u64, u64)) -> Result<u64, String> {
    match u64::try_from(number) {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ if number < min.into() => Err(format!("must be at least {min}")),
        _ => Err(format!("must be at most {max}")),
    }
}

/// Letters of the powers.
const UNITS: [char; 4] = ['K', 'M', 'G', 'T'];

/// Digits with at most one unit after them, in either case: `K`, `M`, `G` and `T` are powers of 1024, as are `KiB` and so
/// on, and `KB` and so on are powers of 1000.
pub fn bytes(text: &str) -> Option<u64> {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let mut rest = unit.chars();
    let letter = rest.next();
    let power = UNITS.iter().position(|unit| letter.is_some_and(|letter| unit.eq_ignore_ascii_case(&letter)));
    let base: u64 = match rest.as_str() {
        "" | "iB" | "ib" | "IB" | "Ib" => 1024,
        "B" | "b" => 1000,
        _ => return None,
    };
    let factor = match (letter, power) {
        (None, _) => 1,
        (_, power) => base.pow(u32::try_from(power? + 1).ok()?),
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// The shortest text that [`bytes`] reads as this number.
fn with_unit(bytes: u64) -> String {
    let in_powers = |base: u64, end: &str| {
        let (mut number, mut unit) = (bytes, None);
        for larger in UNITS {
            if number == 0 || !number.is_multiple_of(base) {
                break;
            }
            number /= base;
            unit = Some(larger);
        }
        unit.map_or_else(|| number.to_string(), |unit| format!("{number}{unit}{end}"))
    };
    let (binary, decimal) = (in_powers(1024, ""), in_powers(1000, "B"));
    if decimal.len() < binary.len() { decimal } else { binary }
}

const NS_PER_S: u64 = 1_000_000_000;

/// A number of seconds, perhaps with a fraction. Not by way of a float: that is 20 KB of a small server.
pub fn seconds(text: &str) -> Option<Duration> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(part) {
        return None;
    }
    Some(Duration::new(whole.parse().ok()?, format!("{part:0<9.9}").parse().ok()?))
}

/// A value that a number sets. Times are numbers of nanoseconds: those beyond 584 years are that.
pub trait Quantity {
    fn get(&self) -> u64;
    fn set(&mut self, value: u64) -> Result<(), TryFromIntError>;
}

macro_rules! quantities {
    ($($integer:ty)+) => {$(
        impl Quantity for $integer {
            fn get(&self) -> u64 {
                u64::try_from(*self).unwrap_or(u64::MAX)
            }

            fn set(&mut self, value: u64) -> Result<(), TryFromIntError> {
                *self = value.try_into()?;
                Ok(())
            }
        }
    )+};
}

quantities!(u8 u32 u64 usize);

impl Quantity for Duration {
    fn get(&self) -> u64 {
        self.as_nanos().try_into().unwrap_or(u64::MAX)
    }

    fn set(&mut self, value: u64) -> Result<(), TryFromIntError> {
        *self = Self::from_nanos(value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_does_not_fit_is_reported_with_its_bounds() {
        let all = (0, u64::MAX);
        for (text, bounds, wanted) in [
            ("-1", all, "must be at least 0"),
            ("-1", (1, 9), "must be at least 1"),
            ("0", (1, 9), "must be at least 1"),
            ("10", (1, 9), "must be at most 9"),
            ("18446744073709551616", all, "must be at most 18446744073709551615"),
            ("1.5", all, "is not a whole number"),
            ("", all, "is not a whole number"),
            ("many", all, "is not a whole number"),
        ] {
            assert_eq!(whole_number(text, bounds).expect_err(text), wanted);
        }
        assert_eq!(whole_number("9", (1, 9)).expect("good"), 9);
    }

    #[test]
    fn sizes_take_a_unit_and_refuse_what_does_not_fit() {
        for (text, number) in [("10", 10), ("64K", 65_536), ("1g", 1 << 30), ("0", 0), ("1T", 1 << 40)] {
            assert_eq!(bytes(text), Some(number));
            assert_eq!(with_unit(number), text.to_uppercase());
        }
        for (text, number) in [("1KiB", 1024), ("2mib", 2 << 20), ("1KB", 1000), ("3Gb", 3_000_000_000)] {
            assert_eq!(bytes(text), Some(number), "{text}");
        }
        assert_eq!([3_000_000_000, 1 << 31, 1000, 1001].map(with_unit), ["3GB", "2G", "1KB", "1001"]);
        for bad in ["", "K", "-1", "1.5M", "99999999999T", "99999999999TB", "1B", "1iB", "1KiBi", "1 K", "é", "1é"] {
            assert!(bytes(bad).is_none(), "{bad}");
        }
        for (text, ns) in [("0.5", 500_000_000), ("2", 2_000_000_000), ("0.000000001", 1), ("1.25", 1_250_000_000)] {
            assert_eq!((seconds(text), Unit::Seconds.show(ns)), (Some(Duration::from_nanos(ns)), text.to_owned()));
        }
        assert_eq!(seconds("07.10000000099"), Some(Duration::from_millis(7100)));
        for bad in ["", "-1", "+1", ".5", "5.", "1e3", "inf", "1.2.3", "1 ", "99999999999999999999"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }
}
