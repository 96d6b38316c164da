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
    out.extend_from_slice(b"\r\nX-Content-Type-Options: nosniff\r\n");
    if active == Active::Download && is_active(kind) {
        out.extend_from_slice(b"Content-Security-Policy: sandbox; default-src 'none'\r\n");
        // RFC 8187: a name of any characters.
        out.extend_from_slice(b"Content-Disposition: attachment; filename*=UTF-8''");
        target::encode_component(key.name(), out);
        out.extend_from_slice(b"\r\n");
    }
}

/// Longest end of a name that is known.
const END_MAX: usize = 8;

/// By the end of the name. What is not known is a row of bytes, which no browser shows.
pub(super) fn of(key: &Key) -> &'static str {
    let end = key.name().rsplit_once('.').filter(|(front, _)| !front.is_empty()).map_or("", |(_, end)| end);
    let mut small = [0; END_MAX];
    let Some(small) = small.get_mut(..end.len()) else { return UNKNOWN };
    small.copy_from_slice(end.as_bytes());
    small.make_ascii_lowercase();
    text(small).or_else(|| picture(small)).or_else(|| sound_or_film(small)).or_else(|| data(small)).unwrap_or(UNKNOWN)
}

const UNKNOWN: &str = "application/octet-stream";

/// What people and programs read.
fn text(end: &[u8]) -> Option<&'static str> {
    Some(match end {
        b"txt" | b"text" | b"log" | b"ini" | b"conf" | b"cfg" => "text/plain",
        b"html" | b"htm" | b"shtml" => "text/html",
        b"xhtml" | b"xht" => "application/xhtml+xml",
        b"css" => "text/css",
        b"js" | b"mjs" | b"cjs" => "text/javascript",
        b"json" | b"map" => "application/json",
        b"jsonl" | b"ndjson" => "application/x-ndjson",
        b"xml" | b"xsd" | b"rng" => "text/xml",
        b"xsl" | b"xslt" => "application/xslt+xml",
        b"rss" => "application/rss+xml",
        b"atom" => "application/atom+xml",
        b"rdf" => "application/rdf+xml",
        b"gpx" => "application/gpx+xml",
        b"kml" => "application/vnd.google-earth.kml+xml",
        b"mht" | b"mhtml" => "multipart/related",
        b"appcache" => "text/cache-manifest",
        b"csv" => "text/csv",
        b"tsv" => "text/tab-separated-values",
        b"md" | b"markdown" => "text/markdown",
        b"yaml" | b"yml" => "application/yaml",
        b"toml" => "application/toml",
        b"rtf" => "application/rtf",
        b"ics" => "text/calendar",
        b"vcf" => "text/vcard",
        b"vtt" => "text/vtt",
        b"eml" => "message/rfc822",
        b"tex" => "application/x-tex",
        b"sh" => "application/x-sh",
        b"c" | b"h" | b"cc" | b"cpp" | b"hpp" | b"rs" | b"go" | b"java" | b"py" | b"rb" | b"pl" | b"lua" | b"sql"
        | b"diff" | b"patch" => "text/plain",
        _ => return None,
    })
}

fn picture(end: &[u8]) -> Option<&'static str> {
    Some(match end {
        b"jpg" | b"jpeg" | b"jpe" | b"jfif" => "image/jpeg",
        b"png" => "image/png",
        b"gif" => "image/gif",
        b"webp" => "image/webp",
        b"avif" => "image/avif",
        b"heic" => "image/heic",
        b"heif" => "image/heif",
        b"jxl" => "image/jxl",
        b"apng" => "image/apng",
        b"svg" | b"svgz" => "image/svg+xml",
        b"bmp" => "image/bmp",
        b"ico" | b"cur" => "image/x-icon",
        b"tif" | b"tiff" => "image/tiff",
        b"psd" => "image/vnd.adobe.photoshop",
        _ => return None,
    })
}

fn sound_or_film(end: &[u8]) -> Option<&'static str> {
    Some(match end {
        b"mp3" => "audio/mpeg",
        b"m4a" => "audio/mp4",
        b"aac" => "audio/aac",
        b"wav" => "audio/wav",
        b"flac" => "audio/flac",
        b"oga" | b"ogg" | b"opus" | b"spx" => "audio/ogg",
        b"weba" => "audio/webm",
        b"mid" | b"midi" => "audio/midi",
        b"aif" | b"aiff" => "audio/aiff",
        b"mka" => "audio/x-matroska",
        b"m3u" => "audio/x-mpegurl",
        b"mp4" | b"m4v" => "video/mp4",
        b"webm" => "video/webm",
        b"mkv" => "video/x-matroska",
        b"mov" | b"qt" => "video/quicktime",
        b"avi" => "video/x-msvideo",
        b"ogv" => "video/ogg",
        b"mpg" | b"mpeg" => "video/mpeg",
        b"wmv" => "video/x-ms-wmv",
        b"flv" => "video/x-flv",
        b"3gp" => "video/3gpp",
        b"ts" | b"m2ts" => "video/mp2t",
        b"m3u8" => "application/vnd.apple.mpegurl",
        b"mpd" => "application/dash+xml",
        _ => return None,
    })
}

/// Documents of programs, archives, fonts.
fn data(end: &[u8]) -> Option<&'static str> {
    Some(match end {
        b"pdf" => "application/pdf",
        b"ps" | b"eps" => "application/postscript",
        b"epub" => "application/epub+zip",
        b"doc" => "application/msword",
        b"xls" => "application/vnd.ms-excel",
        b"ppt" => "application/vnd.ms-powerpoint",
        b"docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        b"xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        b"pptx" => "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        b"odt" => "application/vnd.oasis.opendocument.text",
        b"ods" => "application/vnd.oasis.opendocument.spreadsheet",
        b"odp" => "application/vnd.oasis.opendocument.presentation",
        b"zip" => "application/zip",
        b"gz" | b"tgz" => "application/gzip",
        b"tar" => "application/x-tar",
        b"bz2" => "application/x-bzip2",
        b"xz" => "application/x-xz",
        b"zst" => "application/zstd",
        b"7z" => "application/x-7z-compressed",
        b"rar" => "application/vnd.rar",
        b"jar" => "application/java-archive",
        b"deb" => "application/vnd.debian.binary-package",
        b"rpm" => "application/x-rpm",
        b"apk" => "application/vnd.android.package-archive",
        b"iso" => "application/x-iso9660-image",
        b"wasm" => "application/wasm",
        b"swf" => "application/x-shockwave-flash",
        b"sqlite" | b"sqlite3" => "application/vnd.sqlite3",
        b"torrent" => "application/x-bittorrent",
        b"woff" => "font/woff",
        b"woff2" => "font/woff2",
        b"ttf" => "font/ttf",
        b"otf" => "font/otf",
        _ => return None,
    })
}

/// Could it run script in a browser, or bring in what does?
fn is_active(kind: &str) -> bool {
    let xml = kind.ends_with("+xml") || kind.ends_with("/xml");
    let text =
        matches!(kind, "text/html" | "text/javascript" | "text/css" | "text/cache-manifest" | "multipart/related");
    xml || text || matches!(kind, "application/pdf" | "application/x-shockwave-flash")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::key::relative;

    fn described(name: &str, active: Active) -> String {
        let mut out = Vec::new();
        describe(&relative(name).expect("a good name"), active, &mut out);
        String::from_utf8(out).expect("text")
    }

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

    #[test]
    fn a_name_of_any_characters_is_one_field_of_plain_bytes() {
        let text = described("a \"b\" \u{1F600}\\.html", Active::Download);
        assert!(text.contains("filename*=UTF-8''a%20%22b%22%20%F0%9F%98%80%5C.html\r\n"), "{text}");
        assert_eq!(described("a.txt", Active::Serve).lines().next(), Some("Content-Type: text/plain; charset=utf-8"));
    }
}
