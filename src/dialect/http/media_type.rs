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
        // Browsers show a PDF in a viewer that runs its scripts apart from every site, and the sandbox gives the document
        // an origin of its own besides.
        if media_type == PDF {
            return;
        }
        // RFC 8187: a name of any characters.
        out.extend_from_slice(b"Content-Disposition: attachment; filename*=UTF-8''");
        target::encode_component(name, out);
        out.extend_from_slice(b"\r\n");
    }
}

/// By the name and its extension. Browsers do not show what has the type for unknown ones.
#[cfg(feature = "media-types")]
pub(super) fn of(key: &Key) -> &'static str {
    let name = key.name();
    let extension = std::path::Path::new(name).extension().and_then(std::ffi::OsStr::to_str);
    let own = match extension {
        Some(extension) => EXTENSIONS.iter().find(|(known, _)| known.eq_ignore_ascii_case(extension)).map(|row| row.1),
        None => NAMES.iter().any(|known| known.eq_ignore_ascii_case(name)).then_some("text/plain"),
    };
    own.or_else(|| mime_guess::from_path(name).first_raw()).unwrap_or(UNKNOWN)
}

/// What `mime_guess` does not know, or knows by a rare meaning.
#[cfg(feature = "media-types")]
const EXTENSIONS: [(&str, &str); 22] = [
    ("3mf", "model/3mf"),
    ("cjs", "text/javascript"),
    ("diff", "text/plain"),
    ("go", "text/plain"),
    ("jsonl", "application/x-ndjson"),
    ("kt", "text/plain"),
    ("m2ts", "video/mp2t"),
    ("m3u8", "application/vnd.apple.mpegurl"),
    ("mobileconfig", "application/x-apple-aspen-config"),
    ("mtl", "model/mtl"),
    ("mts", "video/mp2t"),
    ("ndjson", "application/x-ndjson"),
    ("obj", "model/obj"),
    ("patch", "text/plain"),
    ("ps1", "text/plain"),
    ("rpm", "application/x-rpm"),
    ("stl", "model/stl"),
    ("swift", "text/plain"),
    ("ts", "video/mp2t"),
    ("tsx", "text/plain"),
    ("usdz", "model/vnd.usdz+zip"),
    ("zst", "application/zstd"),
];

/// Texts with names that have no extension.
#[cfg(feature = "media-types")]
const NAMES: [&str; 13] = [
    "authors",
    "changelog",
    "changes",
    "copying",
    "dockerfile",
    "install",
    "licence",
    "license",
    "makefile",
    "news",
    "notice",
    "readme",
    "todo",
];

#[cfg(not(feature = "media-types"))]
pub(super) const fn of(_: &Key) -> &'static str {
    UNKNOWN
}

const PDF: &str = "application/pdf";
const UNKNOWN: &str = "application/octet-stream";

/// True if content of this type can run scripts in a browser, or load some.
fn is_active(media_type: &str) -> bool {
    let xml = media_type.ends_with("+xml") || media_type.ends_with("/xml");
    let text = matches!(
        media_type,
        "text/html" | "text/javascript" | "text/css" | "text/xsl" | "text/cache-manifest" | "multipart/related"
    );
    let script = matches!(media_type, "application/javascript" | PDF | "application/x-shockwave-flash");
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

    // covers: script-in-uploads
    #[test]
    fn active_content_is_a_download_unless_the_operator_permits_it() {
        for name in ["a.html", "A.HTM", "a.xhtml", "a.svg", "a.xml", "a.xsl", "a.mjs", "a.cjs", "a.js"] {
            let text = described(name, false);
            assert!(text.contains("Content-Disposition: attachment"), "{name}: {text}");
            assert!(text.contains("sandbox"), "{name}: {text}");
            assert!(!described(name, true).contains("attachment"), "{name}");
        }
        let text = described("b/a.pdf", false);
        assert!(text.contains("sandbox; default-src 'none'\r\n") && !text.contains("attachment"), "{text}");
        for name in ["a.png", "a.mp4", "a.wav", "a.txt", "a.csv", "a.json", "a", "a.bin", ".html"] {
            let text = described(name, false);
            assert!(!text.contains("attachment"), "{name}: {text}");
            assert!(text.contains("X-Content-Type-Options: nosniff\r\n"), "{name}: {text}");
        }
    }

    #[test]
    fn common_names_have_the_type_that_their_programs_expect() {
        for (name, wanted) in [
            ("a.ts", "video/mp2t"),
            ("a.MTS", "video/mp2t"),
            ("a.m2ts", "video/mp2t"),
            ("a.obj", "model/obj"),
            ("a.mtl", "model/mtl"),
            ("a.usdz", "model/vnd.usdz+zip"),
            ("a.glb", "model/gltf-binary"),
            ("a.mobileconfig", "application/x-apple-aspen-config"),
            ("a.cjs", "text/javascript"),
            ("a.mjs", "application/javascript"),
            ("a.jsonl", "application/x-ndjson"),
            ("a.ndjson", "application/x-ndjson"),
            ("a.patch", "text/plain"),
            ("a.diff", "text/plain"),
            ("README", "text/plain"),
            ("d/Makefile", "text/plain"),
            ("LICENSE", "text/plain"),
            ("a.md", "text/markdown"),
            ("a.stl", "model/stl"),
            ("a.rpm", "application/x-rpm"),
            ("a.log", "text/plain"),
            ("a.yaml", "text/x-yaml"),
            ("a.toml", "text/x-toml"),
            ("a.rs", "text/x-rust"),
            ("a.py", "text/plain"),
            ("a.webp", "image/webp"),
            ("a.avif", "image/avif"),
            ("a.wasm", "application/wasm"),
            ("a.webmanifest", "application/manifest+json"),
            ("a.apk", "application/vnd.android.package-archive"),
            ("a.zst", "application/zstd"),
            ("a.flac", "audio/flac"),
            ("a.opus", "audio/ogg"),
            ("a.mkv", "video/x-matroska"),
            ("a.m3u8", "application/vnd.apple.mpegurl"),
            ("a.heic", "image/heic"),
            ("a.jxl", "image/jxl"),
            ("a.vtt", "text/vtt"),
            ("a.woff2", "font/woff2"),
            ("a.geojson", "application/geo+json"),
            ("a.parquet", "application/vnd.apache.parquet"),
            ("a.ics", "text/calendar"),
            ("a.go", "text/plain"),
            ("a.sh", "application/x-sh"),
            ("a.conf", "text/plain"),
            ("a.ini", "text/plain"),
            ("a.bin", UNKNOWN),
            ("readme2", UNKNOWN),
            ("ts", UNKNOWN),
            ("a.readme", UNKNOWN),
            (".ts", UNKNOWN),
        ] {
            assert_eq!(of(&relative(name).expect("a good name")), wanted, "{name}");
        }
    }

    // covers: names-in-pages
    #[test]
    fn a_name_of_any_characters_is_encoded_in_one_field() {
        let text = described("a \"b\" \u{1F600}\\.html", false);
        assert!(text.contains("filename*=UTF-8''a%20%22b%22%20%F0%9F%98%80%5C.html\r\n"), "{text}");
        assert_eq!(described("a.txt", true).lines().next(), Some("Content-Type: text/plain; charset=utf-8"));
    }
}
