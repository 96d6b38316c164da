//! The media type of a file, and whether a browser shows or downloads it.

use crate::object::Key;
use crate::wire::http::target;

/// Writes the fields that describe the content of a file of this type and name.
///
/// No uploaded content may run as part of this site. So active content is offered as a download, and sandboxed if it
/// is shown all the same, and no browser may guess another type (`nosniff`, the Fetch standard).
pub(super) fn write_fields(media_type: &str, name: &str, serve_active: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Content-Type: ");
    out.extend_from_slice(media_type.as_bytes());
    if media_type.starts_with("text/") {
        out.extend_from_slice(b"; charset=utf-8");
    }
    // No page of another site may show it in a frame.
    out.extend_from_slice(b"\r\nX-Content-Type-Options: nosniff\r\nX-Frame-Options: SAMEORIGIN\r\n");
    if !serve_active && is_active(media_type) {
        out.extend_from_slice(b"Content-Security-Policy: sandbox; default-src 'none'\r\n");
        // RFC 8187: a name of any characters.
        out.extend_from_slice(b"Content-Disposition: attachment; filename*=UTF-8''");
        target::encode_component(name, out);
        out.extend_from_slice(b"\r\n");
    }
}

/// By the extension of the name. Browsers do not show the type for unknown ones.
#[cfg(feature = "media-types")]
pub(super) fn of(key: &Key) -> &'static str {
    mime_guess::from_path(key.name()).first_raw().unwrap_or(UNKNOWN)
}

#[cfg(not(feature = "media-types"))]
pub(super) const fn of(_: &Key) -> &'static str {
    UNKNOWN
}

const UNKNOWN: &str = "application/octet-stream";

/// True if content of this type can run scripts in a browser, or load some.
fn is_active(media_type: &str) -> bool {
    let xml = media_type.ends_with("+xml") || media_type.ends_with("/xml");
    let text = matches!(
        media_type,
        "text/html" | "text/javascript" | "text/css" | "text/xsl" | "text/cache-manifest" | "multipart/related"
    );
    let script = matches!(media_type, "application/javascript" | "application/pdf" | "application/x-shockwave-flash");
    xml || text || script
}

#[cfg(all(test, feature = "media-types"))]
mod tests {
    use super::*;
    use crate::wire::key::relative;

    fn described(name: &str, serve_active: bool) -> String {
        let key = relative(name).expect("a good name");
        let mut out = Vec::new();
        write_fields(of(&key), key.name(), serve_active, &mut out);
        String::from_utf8(out).expect("text")
    }

    // covers: S17
    #[test]
    fn active_content_is_a_download_unless_the_operator_permits_it() {
        for name in ["a.html", "A.HTM", "a.xhtml", "a.svg", "a.xml", "a.xsl", "a.mjs", "a.js", "b/a.pdf"] {
            let text = described(name, false);
            assert!(text.contains("Content-Disposition: attachment"), "{name}: {text}");
            assert!(text.contains("sandbox"), "{name}: {text}");
            assert!(!described(name, true).contains("attachment"), "{name}");
        }
        for name in ["a.png", "a.mp4", "a.wav", "a.txt", "a.csv", "a.json", "a", "a.bin", ".html"] {
            let text = described(name, false);
            assert!(!text.contains("attachment"), "{name}: {text}");
            assert!(text.contains("X-Content-Type-Options: nosniff\r\n"), "{name}: {text}");
        }
    }

    // covers: S13
    #[test]
    fn a_name_of_any_characters_is_encoded_in_one_field() {
        let text = described("a \"b\" \u{1F600}\\.html", false);
        assert!(text.contains("filename*=UTF-8''a%20%22b%22%20%F0%9F%98%80%5C.html\r\n"), "{text}");
        assert_eq!(described("a.txt", true).lines().next(), Some("Content-Type: text/plain; charset=utf-8"));
    }
}
