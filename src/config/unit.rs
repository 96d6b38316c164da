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
                let why = "is not a number of bytes such as 500M or 1G (K, M, G and T are powers of 1024)";
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
            Self::Seconds => Duration::from_nanos(number).as_secs_f64().to_string(),
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

/// Letters of the powers of 1024.
const UNITS: [char; 4] = ['K', 'M', 'G', 'T'];

/// Digits with at most one of `K`, `M`, `G` and `T` after them, in either case: powers of 1024.
pub fn bytes(text: &str) -> Option<u64> {
    let unit = UNITS.iter().position(|unit| text.ends_with([*unit, unit.to_ascii_lowercase()]));
    let (digits, shift) = unit.map_or((text, 0), |unit| (&text[..text.len() - 1], 10 * (unit + 1)));
    let number: Option<u64> = digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()));
    number.and_then(|number| number.checked_mul(1 << shift))
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

/// A number of seconds, perhaps with a fraction.
pub fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.parse().ok()?).ok()
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
        for bad in ["", "K", "-1", "1.5M", "99999999999T", "1KB", "é"] {
            assert!(bytes(bad).is_none(), "{bad}");
        }
        assert_eq!(seconds("0.5"), Some(Duration::from_millis(500)));
        assert_eq!(seconds("-1"), None);
    }
}
