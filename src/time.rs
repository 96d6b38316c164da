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
    /// This many seconds after the begin of 1970.
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

    /// Reads a day, `2001-09-09`: the second at which it begins, since 1970. `None` for a day that the calendar does not
    /// have, and for one before 1970.
    pub fn parse_day(text: &str) -> Option<u64> {
        let mut parts = text.splitn(3, '-').zip([4, 2, 2]).map(|(part, digits)| {
            let is_number = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse::<i64>().ok().filter(|_| is_number)
        });
        let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
        // As in `new`, backwards.
        let from_march = if month > 2 { year } else { year - 1 };
        let (era, year_of_era) = (from_march.div_euclid(400), from_march.rem_euclid(400));
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
        let found = Self::new(days * 86_400);
        ((found.year, found.month, found.day) == (year, month, day)).then_some(())?;
        u64::try_from(days * 86_400).ok()
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

    #[test]
    fn a_day_is_read_as_it_is_written_and_nothing_else_is() {
        for second in (0..200_000).map(|day| day * 86_400) {
            let written = Utc::new(second).to_string();
            assert_eq!(Utc::parse_day(&written[..10]), u64::try_from(second).ok(), "{written}");
        }
        for bad in [
            "",
            "2027",
            "2027-1-31",
            "2027-02-29",
            "2027-13-01",
            "2027-00-01",
            "1969-12-31",
            "2027-01-31Z",
            "+027-01-01",
        ] {
            assert_eq!(Utc::parse_day(bad), None, "{bad}");
        }
    }

    // covers: clocks-jump
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
