//! `Accept`: the format of a directory listing.

use crate::wire::http::syntax::trimmed;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListingFormat {
    /// The HTML page for people.
    Page,
    /// A plain HTML index of every name.
    Index,
    /// An array of JSON objects.
    Json,
    /// One JSON object per line.
    Ndjson,
}

/// How precisely a media range names a type.
const EXACT: u8 = 3;

/// The preferred format: the one with the greater weight, then the one named more precisely, then HTML (RFC 9110
/// §12.5.1). Only browsers name HTML; clients that accept anything get the index.
pub fn listing_format(lines: &[&str]) -> ListingFormat {
    let html = preference(lines, "text", "html");
    let (json, ndjson) = (preference(lines, "application", "json"), preference(lines, "application", "x-ndjson"));
    match html {
        html if json > html && json >= ndjson => ListingFormat::Json,
        html if ndjson > html => ListingFormat::Ndjson,
        (1.., EXACT) => ListingFormat::Page,
        _ => ListingFormat::Index,
    }
}

/// Weight in thousandths and precision of the most precise range that matches the type.
fn preference(lines: &[&str], family: &str, kind: &str) -> (u16, u8) {
    let ranges = lines.iter().flat_map(|line| line.split(','));
    let matching = ranges.filter_map(|range| {
        let mut parts = range.split(';').map(trimmed);
        let (left, right) = parts.next()?.split_once('/')?;
        let precision = match (left, right) {
            ("*", "*") => 1,
            (left, "*") if left.eq_ignore_ascii_case(family) => 2,
            (left, right) if left.eq_ignore_ascii_case(family) && right.eq_ignore_ascii_case(kind) => EXACT,
            _ => return None,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        Some((weight.map_or(Some(1000), quality)?, precision))
    });
    matching.max_by_key(|(quality, precision)| (*precision, *quality)).unwrap_or_default()
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
    fn people_see_a_page_programs_what_they_name_and_all_others_the_index() {
        for (text, expected) in [
            ("", ListingFormat::Index),
            ("*/*", ListingFormat::Index),
            ("text/*", ListingFormat::Index),
            ("image/png", ListingFormat::Index),
            ("application/json;q=0.5, */*;q=0.8", ListingFormat::Index),
            ("application/json;q=0, */*", ListingFormat::Index),
            ("text/html;q=0, application/json;q=0", ListingFormat::Index),
            ("application/json;q=2", ListingFormat::Index),
            ("application/json;q=0.1234", ListingFormat::Index),
            ("application/json-seq", ListingFormat::Index),
            ("garbage, ;q=1, /", ListingFormat::Index),
            ("text/html", ListingFormat::Page),
            ("TEXT/HTML", ListingFormat::Page),
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
                ListingFormat::Page,
            ),
            ("text/html, application/json", ListingFormat::Page),
            ("application/json;q=0.9, text/html", ListingFormat::Page),
            ("application/json", ListingFormat::Json),
            ("Application/JSON; charset=utf-8", ListingFormat::Json),
            ("application/json, text/plain, */*", ListingFormat::Json),
            ("application/*", ListingFormat::Json),
            ("application/json, application/x-ndjson", ListingFormat::Json),
            ("text/html;q=0.8, application/json;q=0.9", ListingFormat::Json),
            ("text/html;q=0.899,application/json; q=0.9", ListingFormat::Json),
            ("text/*;q=0.5, application/json;Q=0.501", ListingFormat::Json),
            ("text/html;q=0, */*", ListingFormat::Json),
            ("text/*, application/json", ListingFormat::Json),
            ("text/html;q=0.000, application/json;q=0.001", ListingFormat::Json),
            ("application/x-ndjson", ListingFormat::Ndjson),
            ("application/x-ndjson, */*;q=0.1", ListingFormat::Ndjson),
            ("application/x-ndjson, application/json;q=0.9", ListingFormat::Ndjson),
        ] {
            assert_eq!(listing_format(&[text]), expected, "{text}");
        }
        assert_eq!(listing_format(&[]), ListingFormat::Index);
        assert_eq!(listing_format(&["text/html;q=0.1", "application/json"]), ListingFormat::Json);
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in "(text|html|application|json|\\*|/|,|;|q=|[0-9.]{1,5}| |ü){0,12}") {
            let _ = listing_format(&[&text]);
        }
    }
}
