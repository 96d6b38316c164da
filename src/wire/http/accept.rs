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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn people_see_a_page_and_programs_a_list() {
        for text in [
            "",
            "*/*",
            "text/html",
            "TEXT/HTML",
            "text/*",
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
            "text/html, application/json",
            "application/json;q=0.9, text/html",
            "application/json;q=0.5, */*;q=0.8",
            "application/json;q=0, */*",
            "image/png",
            "text/html;q=0, application/json;q=0",
            "application/json;q=2",
            "application/json;q=0.1234",
            "application/json-seq",
            "garbage, ;q=1, /",
        ] {
            assert_eq!(listing(&[text]), Listing::Html, "{text}");
        }
        for text in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/x-ndjson",
            "application/json, text/plain, */*",
            "application/*",
            "application/x-ndjson, */*;q=0.1",
            "text/html;q=0.8, application/json;q=0.9",
            "text/html;q=0.899,application/json; q=0.9",
            "text/*;q=0.5, application/json;Q=0.501",
            "text/html;q=0, */*",
            "text/*, application/json",
            "text/html;q=0.000, application/json;q=0.001",
        ] {
            assert_eq!(listing(&[text]), Listing::Json, "{text}");
        }
        assert_eq!(listing(&[]), Listing::Html);
        assert_eq!(listing(&["text/html;q=0.1", "application/json"]), Listing::Json);
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in "(text|html|application|json|\\*|/|,|;|q=|[0-9.]{1,5}| |ü){0,12}") {
            let _ = listing(&[&text]);
        }
    }
}
