//! Dates as HTTP writes them, from and to seconds since 1970.

use std::time::UNIX_EPOCH;

use crate::time::Utc;

/// The first second of the year 0 and the last one of the year 9999: others have no form.
const SECONDS_MIN: i64 = -62_167_219_200;
const SECONDS_MAX: i64 = 253_402_300_799;

/// The calendar, days of the week included, repeats after 400 years.
const PERIOD_YEARS: u16 = 400;
const PERIOD_SECONDS: i64 = 146_097 * 86_400;

/// Parses any of the three forms of RFC 9110 §5.6.7. `None` for anything else. A year of two digits is 1970 to 2069.
pub fn parse(text: &str) -> Option<i64> {
    if let Ok(date) = httpdate::parse_http_date(text) {
        return i64::try_from(date.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok();
    }
    // The crate reads no year before 1970: read the same day of a later period instead.
    let year_at = match text.len() {
        29 => 12..16,
        24 => 20..24,
        _ => return None,
    };
    let year: u16 =
        text.get(year_at.clone()).filter(|year| year.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()?;
    let periods = (1970_u16.checked_sub(year)?).div_ceil(PERIOD_YEARS);
    let mut later = text.to_owned();
    later.replace_range(year_at, &format!("{:04}", year + periods * PERIOD_YEARS));
    let date = httpdate::parse_http_date(&later).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(i64::try_from(date.as_secs()).ok()? - i64::from(periods) * PERIOD_SECONDS)
}

/// Appends the preferred form: `Sun, 06 Nov 1994 08:49:37 GMT`. Dates before the year 0 and after 9999 become the
/// nearest one that has a form.
///
/// Every response has up to two dates: `HttpDate` takes 570 instructions for one, this 240.
pub fn write(seconds: i64, out: &mut Vec<u8>) {
    const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
    const MONTHS: [&[u8; 3]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    let seconds = seconds.clamp(SECONDS_MIN, SECONDS_MAX);
    let Utc { year, month, day, second } = Utc::new(seconds);
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    text[..3].copy_from_slice(DAYS[seconds.div_euclid(86_400).rem_euclid(7) as usize]);
    text[8..11].copy_from_slice(MONTHS[(month - 1) as usize]);
    let pairs =
        [(5, day), (12, year / 100), (14, year % 100), (17, second / 3600), (20, second / 60 % 60), (23, second % 60)];
    for (at, number) in pairs {
        text[at] = b'0' + (number / 10) as u8;
        text[at + 1] = b'0' + (number % 10) as u8;
    }
    out.extend_from_slice(&text);
}

#[cfg(test)]
mod tests {
    use std::fmt;
    use std::time::Duration;

    use super::*;
    use proptest::prelude::*;

    /// The same in the words of a crate, from 1970 on.
    fn format(seconds: i64) -> impl fmt::Display {
        let seconds = u64::try_from(seconds).expect("from 1970 on");
        httpdate::HttpDate::from(UNIX_EPOCH + Duration::from_secs(seconds))
    }

    #[test]
    fn all_three_forms_are_read() {
        for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(parse(text), Some(784_111_777), "{text}");
        }
        assert_eq!(parse("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(parse("Thu, 29 Feb 2024 23:59:59 GMT"), Some(1_709_251_199));
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "0",
            "784111777",
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Wed, 30 Feb 2022 00:00:00 GMT",
            "Thu, 31 Dec 1969 23:59:59 GMT",
            "Wed, 31 Dec +969 23:59:59 GMT",
            "Wed, 30 Feb 1966 00:00:00 GMT",
            "Wed Dec 31 23:59:59 GMT 1969 ",
            "Wed, 31 Dec 19é9 23:59:5 GMT",
            "Sün, 06 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_said_becomes_the_nearest() {
        assert_eq!(format(784_111_777).to_string(), "Sun, 06 Nov 1994 08:49:37 GMT");
        for (seconds, want) in [(i64::MIN, SECONDS_MIN), (SECONDS_MIN - 1, SECONDS_MIN), (i64::MAX, SECONDS_MAX)] {
            assert_eq!(written(seconds), written(want));
        }
        assert_eq!(written(SECONDS_MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn dates_before_1970_are_written_and_read() {
        for (seconds, text) in [
            (-1, "Wed, 31 Dec 1969 23:59:59 GMT"),
            (-86_400, "Wed, 31 Dec 1969 00:00:00 GMT"),
            (-86_401, "Tue, 30 Dec 1969 23:59:59 GMT"),
            (-2_147_483_648, "Fri, 13 Dec 1901 20:45:52 GMT"),
            (-11_644_473_600, "Mon, 01 Jan 1601 00:00:00 GMT"),
            (SECONDS_MIN, "Sat, 01 Jan 0000 00:00:00 GMT"),
        ] {
            assert_eq!((&*written(seconds), parse(text)), (text, Some(seconds)));
        }
        assert_eq!(parse("Wed Dec 31 23:59:59 1969"), Some(-1));
        assert_eq!(parse("Sunday, 06-Nov-69 08:49:37 GMT"), None, "that is 2069");
    }

    fn written(seconds: i64) -> String {
        let mut out = Vec::new();
        write(seconds, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn leap_days_and_ends_of_centuries_are_written_right() {
        for day in 0..=SECONDS_MAX / 86_400 {
            let second = day * 86_400 + day % 86_400;
            assert_eq!(written(second), format(second).to_string());
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(seconds in SECONDS_MIN..=SECONDS_MAX) {
            prop_assert_eq!(parse(&written(seconds)), Some(seconds));
        }

        #[test]
        fn no_text_breaks_it(text in "((Sun|Monday|Wednesday), ?|[0-9]{1,4}|[-: ]| GMT|Nov|Feb|ü){0,14}") {
            let _ = parse(&text);
        }
    }
}
