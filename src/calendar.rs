//! Points in time as people read them: UTC, in the Gregorian calendar. Never asks what time it is.

use std::fmt;

/// A point in time, to the second. Written as `2001-09-09T01:46:40`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Utc {
    /// 1970 and so on.
    pub year: i64,
    /// 1 to 12.
    pub month: i64,
    /// 1 to 31.
    pub day: i64,
    /// Of the day.
    pub second: i64,
}

impl Utc {
    /// So many seconds after the begin of 1970.
    pub fn new(seconds: i64) -> Self {
        // Years are counted from the first of March of year 0, so that a leap day ends its year, in
        // eras of 400 years, which all have as many days.
        let days = seconds.div_euclid(86_400) + 719_468;
        let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let (month, late) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        Self { year: era * 400 + year + late, month, day, second: seconds.rem_euclid(86_400) }
    }

    /// As `2001-09-09 01:46`, for people.
    pub fn to_the_minute(&self) -> String {
        let Self { year, month, day, second } = self;
        format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", second / 3600, second / 60 % 60)
    }
}

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day, second } = self;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: L8
    #[test]
    fn dates_are_right_around_leap_days_and_centuries() {
        for (seconds, want) in [
            (0, "1970-01-01T00:00:00"),
            (-1, "1969-12-31T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (951_868_800, "2000-03-01T00:00:00"),
            (1_000_000_000, "2001-09-09T01:46:40"),
            (1_709_164_800, "2024-02-29T00:00:00"),
            (4_107_456_000, "2100-02-28T00:00:00"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            assert_eq!(Utc::new(seconds).to_string(), want, "{seconds}");
        }
        assert_eq!(Utc::new(1_000_000_000).to_the_minute(), "2001-09-09 01:46");
    }

    #[test]
    fn no_second_is_too_early_or_too_late() {
        for seconds in [i64::MIN, i64::MAX] {
            let _ = Utc::new(seconds).to_string();
        }
    }
}
