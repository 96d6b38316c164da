//! `Accept`: is a folder shown to a person or listed for a program?

use crate::wire::http::trimmed;

/// The form of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// A page.
    Html,
    /// One JSON object a line.
    Json,
}

/// How much a type is wanted; more is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Wish {
    /// Its weight in thousandths.
    quality: u16,
    precision: Precision,
}

/// How precisely it was named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Precision {
    #[default]
    Unnamed,
    Everything,
    Family,
    Exact,
}

/// Which form the client prefers: the one with the greater weight, then the one it names more
/// precisely, then the page (RFC 9110 §12.5.1).
pub fn listing(lines: &[&str]) -> Listing {
    let html = wish(lines, "text", "html");
    let json = wish(lines, "application", "json").max(wish(lines, "application", "x-ndjson"));
    if json > html { Listing::Json } else { Listing::Html }
}

/// What the most precise range that fits the type says.
fn wish(lines: &[&str], family: &str, kind: &str) -> Wish {
    let ranges = lines.iter().flat_map(|line| line.split(','));
    let fitting = ranges.filter_map(|range| {
        let mut parts = range.split(';').map(trimmed);
        let (left, right) = parts.next()?.split_once('/')?;
        let precision = match (left, right) {
            ("*", "*") => Precision::Everything,
            (left, "*") if left.eq_ignore_ascii_case(family) => Precision::Family,
            (left, right) if left.eq_ignore_ascii_case(family) && right.eq_ignore_ascii_case(kind) => Precision::Exact,
            _ => return None,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        Some(Wish { quality: weight.map_or(Some(1000), quality)?, precision })
    });
    fitting.max_by_key(|wish| (wish.precision, wish.quality)).unwrap_or_default()
}

/// A weight in thousandths: `0`, `0.5`, `1.000` (RFC 9110 §12.4.2).
fn quality(text: &str) -> Option<u16> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    if rest.len() > 3 || !rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths =
        (0..3).fold(0, |sum, place| 10 * sum + rest.as_bytes().get(place).map_or(0, |digit| u16::from(digit - b'0')));
    match (whole, thousandths) {
        ("0", part) => Some(part),
        ("1", 0) => Some(1000),
        _ => None,
    }
}
