//! What a browser may do with a file: its media type, and whether it is shown or downloaded.

use crate::dialect::http::listener::Active;
use crate::object::Key;
use crate::wire::http::target;

/// The fields that describe the content of a file, each with its end of line.
///
/// Nothing a peer uploaded may run as part of this site: whoever may upload could else speak for
/// everybody who looks. So active content is offered as a download and confined if it is shown
/// all the same, and no browser may guess another type (`nosniff`, the Fetch standard).
pub(super) fn describe(key: &Key, active: Active, out: &mut Vec<u8>) {
    let kind = of(key);
    out.extend_from_slice(b"Content-Type: ");
    out.extend_from_slice(kind.as_bytes());
    if kind.starts_with("text/") {
        out.extend_from_slice(b"; charset=utf-8");
    }
    // No page of another site may show it in a frame.
    out.extend_from_slice(b"\r\nX-Content-Type-Options: nosniff\r\nX-Frame-Options: SAMEORIGIN\r\n");
    if active == Active::Download && is_active(kind) {
        out.extend_from_slice(b"Content-Security-Policy: sandbox; default-src 'none'\r\n");
        // RFC 8187: a name of any characters.
        out.extend_from_slice(b"Content-Disposition: attachment; filename*=UTF-8''");
        target::encode_component(key.name(), out);
        out.extend_from_slice(b"\r\n");
    }
}

/// By the end of the name. What is not known is a row of bytes, which no browser shows.
#[cfg(feature = "media-types")]
pub(super) fn of(key: &Key) -> &'static str {
    mime_guess::from_path(key.name()).first_raw().unwrap_or(UNKNOWN)
}

/// Nothing is known of any name.
#[cfg(not(feature = "media-types"))]
pub(super) const fn of(_: &Key) -> &'static str {
    UNKNOWN
}

const UNKNOWN: &str = "application/octet-stream";

/// Could it run script in a browser, or bring in what does?
fn is_active(kind: &str) -> bool {
    let xml = kind.ends_with("+xml") || kind.ends_with("/xml");
    let text = matches!(
        kind,
        "text/html" | "text/javascript" | "text/css" | "text/xsl" | "text/cache-manifest" | "multipart/related"
    );
    let script = matches!(kind, "application/javascript" | "application/pdf" | "application/x-shockwave-flash");
    xml || text || script
}

#[cfg(all(test, feature = "media-types"))]
mod tests {
    use super::*;
    use crate::wire::key::relative;

    fn described(name: &str, active: Active) -> String {
        let mut out = Vec::new();
        describe(&relative(name).expect("a good name"), active, &mut out);
        String::from_utf8(out).expect("text")
    }

    // covers: S17
    #[test]
    fn what_could_run_script_is_a_download_unless_the_operator_says_so() {
        for name in ["a.html", "A.HTM", "a.xhtml", "a.svg", "a.xml", "a.xsl", "a.mjs", "a.js", "b/a.pdf"] {
            let text = described(name, Active::Download);
            assert!(text.contains("Content-Disposition: attachment"), "{name}: {text}");
            assert!(text.contains("sandbox"), "{name}: {text}");
            assert!(!described(name, Active::Serve).contains("attachment"), "{name}");
        }
        for name in ["a.png", "a.mp4", "a.wav", "a.txt", "a.csv", "a.json", "a", "a.bin", ".html"] {
            let text = described(name, Active::Download);
            assert!(!text.contains("attachment"), "{name}: {text}");
            assert!(text.contains("X-Content-Type-Options: nosniff\r\n"), "{name}: {text}");
        }
    }

    // covers: S13
    #[test]
    fn a_name_of_any_characters_is_one_field_of_plain_bytes() {
        let text = described("a \"b\" \u{1F600}\\.html", Active::Download);
        assert!(text.contains("filename*=UTF-8''a%20%22b%22%20%F0%9F%98%80%5C.html\r\n"), "{text}");
        assert_eq!(described("a.txt", Active::Serve).lines().next(), Some("Content-Type: text/plain; charset=utf-8"));
    }
}
