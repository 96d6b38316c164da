//! The themes of public test lists for HTTP servers and caches (ranges, conditions, methods,
//! targets, uploads, limits), as cases of our own. One row is one request on a new connection, to a
//! server that holds `f` with ten bytes, `empty`, and `d/g`.

use filewharf::config::Limits;

use super::{Response, heard, server};

/// Theme and section (of RFC 9110, if no other is named); request line and fields, `|` between
/// lines; body; status; a field of the response, or `!` and one that must not be there.
type Row = (&'static str, &'static str, &'static str, u16, &'static str);

const ROWS: &[Row] = &[
    // Ranges.
    ("range §14.1.2", "GET /f HTTP/1.1|Range: bytes=0-8", "", 206, "Content-Range: bytes 0-8/10"),
    ("range §14.1.2", "GET /f HTTP/1.1|Range: bytes=-1", "", 206, "Content-Range: bytes 9-9/10"),
    ("range §14.1.2", "GET /f HTTP/1.1|Range: bytes=9-", "", 206, "Content-Range: bytes 9-9/10"),
    ("range §14.1.2", "GET /f HTTP/1.1|Range: bytes=-999999999999", "", 206, "Content-Range: bytes 0-9/10"),
    ("range §14.1.2", "GET /f HTTP/1.1|Range: bytes=00-01", "", 206, "Content-Range: bytes 0-1/10"),
    ("range §14.1.2", "GET /f HTTP/1.1|Range: bytes=0-99999999999999999999", "", 206, "Content-Range: bytes 0-9/10"),
    ("range §15.5.17", "GET /f HTTP/1.1|Range: bytes=99999999999999999999-", "", 416, "Content-Range: bytes */10"),
    ("range §14.2", "GET /f HTTP/1.1|Range: bytes=4-6,0-4", "", 206, "Content-Range: bytes 0-6/10"),
    ("range §14.2", "GET /f HTTP/1.1|Range: bytes=9-0", "", 200, "!Content-Range"),
    ("range §14.2", "GET /f HTTP/1.1|Range: none=0-1", "", 200, "!Content-Range"),
    ("range §14.2", "GET /f HTTP/1.1|Range: bytes=0-1;2-3", "", 200, "!Content-Range"),
    ("range §14.2", "GET /f HTTP/1.1|Range: bytes=0x0-0x1", "", 200, "!Content-Range"),
    ("range §14.2", "HEAD /f HTTP/1.1|Range: bytes=0-1", "", 200, "Content-Length: 10"),
    ("range §14.2", "PUT /n HTTP/1.1|Range: bytes=0-0|Content-Length: 2", "ab", 201, "!Content-Range"),
    ("range §14.2", "DELETE /f HTTP/1.1|Range: bytes=0-0", "", 204, "!Content-Range"),
    ("range §15.5.17", "GET /f HTTP/1.1|Range: bytes=10-", "", 416, "Content-Range: bytes */10"),
    ("range §15.5.17", "GET /empty HTTP/1.1|Range: bytes=0-0", "", 200, "!Content-Range"),
    ("range §14.2", "GET /none HTTP/1.1|Range: bytes=0-0", "", 404, "!Content-Range"),
    ("range §14.2", "GET /d/ HTTP/1.1|Accept: application/json|Range: bytes=0-0", "", 200, "!Content-Range"),
    ("range §14.3", "GET /f HTTP/1.1", "", 200, "Accept-Ranges: bytes"),
    ("range §13.1.5", "GET /f HTTP/1.1|Range: bytes=0-0|If-Range: *", "", 200, "!Content-Range"),
    ("range §13.1.5", "GET /f HTTP/1.1|Range: bytes=0-0|If-Range: \"x\", \"y\"", "", 200, "!Content-Range"),
    // Conditions.
    ("not modified §15.4.5", "GET /f HTTP/1.1|If-None-Match: *", "", 304, "ETag: \"00000000000000000000000000000001\""),
    ("not modified §15.4.5", "GET /f HTTP/1.1|If-None-Match: *", "", 304, "!Content-Type"),
    ("not modified §15.4.5", "GET /f HTTP/1.1|If-None-Match: *", "", 304, "Cache-Control: no-cache"),
    (
        "not modified §13.1.3",
        "GET /f HTTP/1.1|If-Modified-Since: Wed, 15 Nov 2023 22:13:20 GMT",
        "",
        304,
        "!Content-Length",
    ),
    ("not modified §13.1.3", "GET /f HTTP/1.1|If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT", "", 200, "!Age"),
    ("not modified §13.1.3", "GET /f HTTP/1.1|If-Modified-Since: 1700000000", "", 200, "!Age"),
    ("not modified §13.1.3", "GET /none HTTP/1.1|If-Modified-Since: Wed, 15 Nov 2023 22:13:20 GMT", "", 404, "!ETag"),
    (
        "not modified §13.1.3",
        "GET /f HTTP/1.1|If-Modified-Since: Wed, 15 Nov 2023 22:13:20 GMT|If-Modified-Since: Wed, 15 Nov 2023 22:13:20 GMT",
        "",
        200,
        "Content-Length: 10",
    ),
    (
        "conditions §13.1.4",
        "GET /f HTTP/1.1|If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT|If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT",
        "",
        200,
        "Content-Length: 10",
    ),
    ("conditions §13.1.1", "GET /f HTTP/1.1|If-Match: \"x\", *", "", 400, "!ETag"),
    ("conditions §13.1.1", "GET /none HTTP/1.1|If-Match: *", "", 404, "!ETag"),
    ("conditions §13.1.4", "GET /f HTTP/1.1|If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT", "", 412, "!ETag"),
    (
        "conditions §13.2.2",
        "GET /f HTTP/1.1|If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT|If-None-Match: *",
        "",
        412,
        "!ETag",
    ),
    ("conditions §13.1.2", "PUT /f HTTP/1.1|If-None-Match: *|Content-Length: 1", "x", 412, "!ETag"),
    ("conditions §13.1.1", "PUT /n HTTP/1.1|If-Match: *|Content-Length: 1", "x", 412, "!ETag"),
    (
        "conditions §13.1.3",
        "PUT /f HTTP/1.1|If-Modified-Since: Wed, 15 Nov 2023 22:13:20 GMT|Content-Length: 1",
        "x",
        204,
        "ETag: \"00000000000000000000000000000004\"",
    ),
    ("conditions §8.8.3", "GET /f HTTP/1.1|If-None-Match: \"\"", "", 200, "!Age"),
    ("conditions §8.8.3", "GET /f HTTP/1.1|If-None-Match: w/\"x\"", "", 200, "!Age"),
    // Methods.
    ("methods §9.1", "Get /f HTTP/1.1", "", 501, "!Allow"),
    (
        "methods §15.5.6",
        "POST /f HTTP/1.1|Content-Length: 0",
        "",
        405,
        "Allow: GET, HEAD, PUT, DELETE, MKCOL, COPY, MOVE, PROPFIND, PROPPATCH, LOCK, UNLOCK, OPTIONS",
    ),
    (
        "methods §15.5.6",
        "POST /f HTTP/1.1|Content-Length: 2",
        "ab",
        405,
        "Allow: GET, HEAD, PUT, DELETE, MKCOL, COPY, MOVE, PROPFIND, PROPPATCH, LOCK, UNLOCK, OPTIONS",
    ),
    ("methods §15.5.6", "POST /f HTTP/1.1|Transfer-Encoding: chunked", "1\r\nx\r\n0\r\n\r\n", 405, "Connection: close"),
    ("methods §15.6.2", "BREW /f HTTP/1.1|Content-Length: 2", "ab", 501, "!Allow"),
    ("methods RFC 4918 §9.10", "LOCK /f HTTP/1.1", "", 400, "!Allow"),
    ("methods RFC 4918 §9.11", "UNLOCK /f HTTP/1.1", "", 400, "!Allow"),
    ("methods §9.3.8", "TRACE /f HTTP/1.1|X: secret", "", 405, "!X"),
    (
        "methods §9.3.7",
        "OPTIONS /f HTTP/1.1",
        "",
        204,
        "Allow: GET, HEAD, PUT, POST, PATCH, DELETE, MKCOL, COPY, MOVE, PROPFIND, PROPPATCH, LOCK, UNLOCK, OPTIONS",
    ),
    ("methods RFC 4918 §10.1", "OPTIONS / HTTP/1.1", "", 204, "DAV: 1, 2"),
    ("methods RFC 4918 §9.1", "PROPFIND /f HTTP/1.1", "", 207, "Content-Type: application/xml; charset=utf-8"),
    ("methods RFC 4918 §9.1", "PROPFIND /f HTTP/1.1|Content-Length: 5", "<foo>", 400, "!ETag"),
    ("methods RFC 4918 §9.1", "PROPFIND /none HTTP/1.1", "", 404, "!ETag"),
    ("methods RFC 4918 §9.2", "PROPPATCH /f HTTP/1.1", "", 400, "!ETag"),
    ("methods §9.3.6", "CONNECT x:80 HTTP/1.1", "", 501, "Connection: close"),
    ("methods §9.3.5", "DELETE /none HTTP/1.1", "", 404, "!ETag"),
    ("methods §9.3.5", "DELETE /bare/ HTTP/1.1", "", 204, "!Content-Length"),
    ("methods RFC 4918 §9.6.1", "DELETE /d/ HTTP/1.1", "", 204, "!ETag"),
    ("methods RFC 4918 §9.6.1", "DELETE /d/ HTTP/1.1|Depth: 0", "", 409, "!ETag"),
    // Targets.
    ("targets RFC 9112 §3.2.1", "GET /f?a=b?c HTTP/1.1", "", 200, "Content-Length: 10"),
    ("targets RFC 9112 §3.2.1", "GET ?x HTTP/1.1", "", 400, "Connection: close"),
    ("targets RFC 9112 §3.2.2", "GET http://h/f HTTP/1.1", "", 200, "Content-Length: 10"),
    ("targets RFC 9112 §3.2.2", "GET http://h:1/%66 HTTP/1.1", "", 200, "Content-Length: 10"),
    ("targets RFC 9112 §3.2.2", "GET http://[::1]/f HTTP/1.1", "", 200, "Content-Length: 10"),
    ("targets RFC 9112 §3.2.2", "GET http://h HTTP/1.1|Accept: application/json", "", 200, "Vary: Accept"),
    ("targets RFC 9112 §3.2.4", "GET * HTTP/1.1", "", 400, "Connection: close"),
    ("targets RFC 3986 §3.5", "GET /f# HTTP/1.1", "", 400, "Connection: close"),
    ("targets RFC 3986 §2.1", "GET /%6 HTTP/1.1", "", 400, "!Connection"),
    ("targets RFC 3986 §2.4", "GET /%2566 HTTP/1.1", "", 404, "!ETag"),
    ("targets RFC 3986 §5.2.4", "GET /d/../f HTTP/1.1", "", 200, "Content-Length: 10"),
    ("targets RFC 3986 §5.2.4", "GET /./d/./g HTTP/1.1", "", 200, "Content-Length: 1"),
    ("targets RFC 3986 §5.2.4", "GET //d//g HTTP/1.1", "", 200, "Content-Length: 1"),
    ("targets RFC 3986 §5.2.4", "GET /../../etc/passwd HTTP/1.1", "", 404, "!ETag"),
    ("targets RFC 3986 §5.2.4", "GET /d/../.filewharf/lock HTTP/1.1", "", 403, "!ETag"),
    ("targets RFC 3986 §6.2.2.2", "GET /d/%2e%2e/f HTTP/1.1", "", 400, "!ETag"),
    ("targets RFC 9112 §3.2", "GET /f HTTP/1.1|Host: [0:0:G:0:0:0:0:0]", "", 400, "Connection: close"),
    ("targets RFC 9112 §3.2", "GET /f HTTP/1.1|Host: [0::0::0]", "", 400, "Connection: close"),
    ("targets RFC 9112 §3.2", "GET /f HTTP/1.1|Host: %uf%80", "", 400, "Connection: close"),
    ("targets RFC 9112 §3.2", "GET http://[0::0::0]/f HTTP/1.1", "", 400, "Connection: close"),
    ("targets RFC 9112 §3.2", "GET http://%uf%80/f HTTP/1.1", "", 400, "Connection: close"),
    ("version §2.5", "GET /f HTTP/1.2", "", 200, "Content-Length: 10"),
    ("version §2.5", "GET /f HTTP/1.9|Connection: close", "", 200, "Connection: close"),
    ("targets", "GET /f/ HTTP/1.1", "", 404, "!ETag"),
    ("targets", "GET /d HTTP/1.1", "", 301, "Location: d/"),
    ("targets", "GET /d?x HTTP/1.1", "", 301, "Location: d/?x"),
    ("targets", "GET //evil.example/%2e%2e HTTP/1.1", "", 400, "!Location"),
    ("targets", "GET //d HTTP/1.1", "", 301, "Location: d/"),
    // Uploads.
    ("uploads §9.3.4", "PUT /n HTTP/1.1|Content-Length: 1", "x", 201, "ETag: \"00000000000000000000000000000004\""),
    ("uploads §9.3.4", "PUT /f HTTP/1.1|Content-Length: 1", "x", 204, "!Content-Length"),
    ("uploads §14.4", "PUT /f HTTP/1.1|Content-Range: bytes 0-0/10|Content-Length: 1", "x", 400, "!ETag"),
    ("uploads §14.4", "PUT /f HTTP/1.1|Content-Range: junk|Content-Length: 1", "x", 400, "!ETag"),
    (
        "uploads §15.5.16",
        "PUT /f HTTP/1.1|Content-Encoding: br|Content-Length: 1",
        "x",
        415,
        "Accept-Encoding: identity",
    ),
    ("uploads §8.6", "PUT /f HTTP/1.1|Content-Length: 001", "x", 204, "!Connection"),
    ("uploads §15.5.12", "PUT /f HTTP/1.1", "", 411, "Connection: close"),
    ("uploads", "PUT /d HTTP/1.1|Content-Length: 1", "x", 409, "!ETag"),
    ("uploads", "PUT /d/ HTTP/1.1|Content-Length: 1", "x", 400, "!ETag"),
    ("uploads §15.3.2", "PUT /new/folders/n%3Am HTTP/1.1|Content-Length: 1", "x", 201, "Location: n%3Am"),
    (
        "uploads RFC 9530 §3",
        "PUT /n HTTP/1.1|Repr-Digest: sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:|Content-Length: 1",
        "x",
        422,
        "!ETag",
    ),
    ("uploads RFC 9530 §3", "PUT /n HTTP/1.1|Repr-Digest: sha-256|Content-Length: 1", "x", 400, "!ETag"),
    ("chunks RFC 9112 §7.1", "PUT /n HTTP/1.1|Transfer-Encoding: chunked", "1\r\nx\r\n0\r\n\r\n", 201, "!Connection"),
    (
        "chunks RFC 9112 §7.1.1",
        "PUT /n HTTP/1.1|Transfer-Encoding: chunked",
        "1;a=\"b\"\r\nx\r\n0;c\r\n\r\n",
        201,
        "!Connection",
    ),
    (
        "chunks RFC 9112 §7.1.1",
        "PUT /n HTTP/1.1|Transfer-Encoding: chunked",
        "1 ; a = b\r\nx\r\n0\r\n\r\n",
        201,
        "!Connection",
    ),
    (
        "chunks RFC 9112 §7.1.2",
        "PUT /n HTTP/1.1|Transfer-Encoding: chunked",
        "0\r\nA: b\r\nC: d\r\n\r\n",
        201,
        "!Connection",
    ),
    (
        "chunks RFC 9112 §7.1",
        "PUT /n HTTP/1.1|Transfer-Encoding: chunked",
        "1\r\nxy\r\n0\r\n\r\n",
        400,
        "Connection: close",
    ),
    ("chunks RFC 9112 §6.1", "PUT /n HTTP/1.0|Transfer-Encoding: chunked", "0\r\n\r\n", 400, "Connection: close"),
    ("chunks RFC 9112 §6.1", "PUT /n HTTP/1.1|Transfer-Encoding: gzip, chunked", "0\r\n\r\n", 501, "Connection: close"),
    // Continuing, or not.
    ("keep-alive RFC 9112 §9.3", "GET /f HTTP/1.1", "", 200, "!Connection"),
    ("keep-alive RFC 9112 §9.3", "GET /f HTTP/1.1|Connection: close", "", 200, "Connection: close"),
    ("keep-alive RFC 9112 §9.3", "GET /f HTTP/1.1|Connection: x|Connection: y, close", "", 200, "Connection: close"),
    ("keep-alive RFC 9112 §9.3", "GET /f HTTP/1.0", "", 200, "Connection: close"),
    ("keep-alive RFC 9112 §9.3", "GET /f HTTP/1.0|Connection: keep-alive", "", 200, "Connection: keep-alive"),
    ("keep-alive RFC 9112 §9.3", "GET /f HTTP/1.0|Connection: keep-alive, close", "", 200, "Connection: close"),
    ("keep-alive RFC 9112 §9.3", "GET /f HTTP/1.0|Keep-Alive: 5", "", 200, "Connection: close"),
    ("expect §10.1.1", "GET /f HTTP/1.1|Expect: 100-continue", "", 200, "!Connection"),
    ("expect §10.1.1", "GET /f HTTP/1.1|Expect: 200-ok", "", 417, "!ETag"),
    ("expect §10.1.1", "GET /f HTTP/1.0|Expect: 200-ok", "", 200, "Content-Length: 10"),
    ("upgrade §7.8", "GET /f HTTP/1.1|Connection: upgrade|Upgrade: h2c", "", 200, "!Upgrade"),
    // What the content is.
    ("content §12.5.1", "GET /f HTTP/1.1|Accept: image/png", "", 200, "Content-Type: application/octet-stream"),
    ("content §12.5.3", "GET /f HTTP/1.1|Accept-Encoding: gzip", "", 200, "!Content-Encoding"),
    (
        "content §12.5.1",
        "GET / HTTP/1.1|Accept: application/json;q=0.5, text/html;q=0.4",
        "",
        200,
        "Content-Type: application/json",
    ),
    (
        "content §12.5.1",
        "GET / HTTP/1.1|Accept: application/json;q=0.4, text/html;q=0.5",
        "",
        200,
        "Content-Type: text/html; charset=utf-8",
    ),
    ("content §12.5.1", "GET / HTTP/1.1|Accept: */*", "", 200, "Content-Type: text/html; charset=utf-8"),
    ("content", "GET /f HTTP/1.1", "", 200, "X-Content-Type-Options: nosniff"),
    ("content Fetch §3.8", "GET /f HTTP/1.1", "", 200, "Cross-Origin-Resource-Policy: same-origin"),
    ("content Fetch §3.8", "GET /none HTTP/1.1", "", 404, "Cross-Origin-Resource-Policy: same-origin"),
    ("content RFC 7034", "GET /f HTTP/1.1", "", 200, "X-Frame-Options: SAMEORIGIN"),
    (
        "digest RFC 9651 §4.2",
        "GET /f HTTP/1.1|TE: trailers|Want-Repr-Digest: sha-256=5, md5=",
        "",
        200,
        "!Transfer-Encoding",
    ),
    (
        "digest RFC 9530 §4",
        "GET /f HTTP/1.1|TE: trailers|Want-Repr-Digest: sha-256=5, md5=1",
        "",
        200,
        "!Content-Length",
    ),
];

// covers: odd-targets
#[test]
fn every_theme_is_answered_as_its_section_says() {
    let mut seen = Vec::new();
    for &(theme, request, body, code, field) in ROWS {
        let mut rig = server(Limits::default());
        rig.place("empty", b"");
        rig.place("d/g", b"x");
        rig.place_dir("bare");
        let (line, fields) = request.split_once('|').unwrap_or((request, ""));
        let host = if fields.starts_with("Host: ") { "" } else { "|Host: x" };
        let separator = if fields.is_empty() { "" } else { "|" };
        let request = format!("{line}{host}{separator}{fields}").replace('|', "\r\n");
        let text = heard(&mut rig, format!("{request}\r\n\r\n{body}"));
        let response = Response::new(&text);
        if response.code != code {
            seen.push(format!("{theme}: {request:?} is {} and not {code}", response.code));
        }
        let holds = match field.strip_prefix('!') {
            Some(name) => response.field(name).is_none(),
            None => response.head.contains(&format!("\r\n{field}\r\n")),
        };
        if !holds {
            seen.push(format!("{theme}: {request:?}: {field:?} does not hold: {}", response.head));
        }
    }
    assert!(seen.is_empty(), "{}", seen.join("\n"));
}
