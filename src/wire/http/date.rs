//! Dates as HTTP writes them, from and to seconds since 1970.

use std::time::UNIX_EPOCH;

use crate::time::Utc;

/// The last second of the year 9999: later ones have no form.
const SECONDS_MAX: i64 = 253_402_300_799;

/// Parses any of the three forms of RFC 9110 §5.6.7. `None` for anything else, and for dates before
/// 1970: a precondition with such a date is ignored.
pub fn parse(text: &str) -> Option<i64> {
    let date = httpdate::parse_http_date(text).ok()?;
    i64::try_from(date.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()
}

/// Appends the preferred form: `Sun, 06 Nov 1994 08:49:37 GMT`. Dates before 1970 and after 9999 become the nearest
/// one that has a form.
///
/// Every response has up to two dates: `HttpDate` takes 570 instructions for one, this 240.
pub fn write(seconds: i64, out: &mut Vec<u8>) {
    const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
    const MONTHS: [&[u8; 3]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    let seconds = seconds.clamp(0, SECONDS_MAX);
    let Utc { year, month, day, second } = Utc::new(seconds);
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    text[..3].copy_from_slice(DAYS[(seconds / 86_400 % 7) as usize]);
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

    /// The same in the words of a crate.
    fn format(seconds: i64) -> impl fmt::Display {
        let seconds = u64::try_from(seconds.clamp(0, SECONDS_MAX)).unwrap_or_default();
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
            "Wed, 31 Dec 1969 23:59:59 GMT",
            "Sün, 06 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_said_becomes_the_nearest() {
        assert_eq!(format(784_111_777).to_string(), "Sun, 06 Nov 1994 08:49:37 GMT");
        for (seconds, want) in [(i64::MIN, 0), (-1, 0), (SECONDS_MAX + 1, SECONDS_MAX), (i64::MAX, SECONDS_MAX)] {
            assert_eq!(format(seconds).to_string(), format(want).to_string());
        }
        assert_eq!(format(SECONDS_MAX).to_string(), "Fri, 31 Dec 9999 23:59:59 GMT");
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
        assert_eq!(written(-1), format(0).to_string());
        assert_eq!(written(i64::MAX), format(SECONDS_MAX).to_string());
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(seconds in 0..=SECONDS_MAX) {
            prop_assert_eq!(parse(&format(seconds).to_string()), Some(seconds));
        }

        #[test]
        fn no_text_breaks_it(text in "((Sun|Monday|Wednesday), ?|[0-9]{1,4}|[-: ]| GMT|Nov|Feb|ü){0,14}") {
            let _ = parse(&text);
        }
    }
}
