//! Dates as HTTP writes them, from and to seconds since 1970.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

/// The last second of the year 9999: later ones have no form.
const SECONDS_MAX: i64 = 253_402_300_799;

/// Reads any of the three forms of RFC 9110 §5.6.7. `None` if it is no date, and for dates before
/// 1970: a condition on such a date is ignored.
pub fn parse(text: &str) -> Option<i64> {
    let date = httpdate::parse_http_date(text).ok()?;
    i64::try_from(date.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()
}

/// Writes the preferred form: `Sun, 06 Nov 1994 08:49:37 GMT`. What it cannot say becomes the
/// nearest it can.
pub fn format(seconds: i64) -> impl fmt::Display {
    let seconds = u64::try_from(seconds.clamp(0, SECONDS_MAX)).unwrap_or_default();
    httpdate::HttpDate::from(UNIX_EPOCH + Duration::from_secs(seconds))
}
