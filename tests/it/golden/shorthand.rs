//! Shorthands for what HTTP says, so that a transcript shows what matters. In `<` lines, and
//! only where HTTP may be spoken; what is in braces and is none of these stands for itself.
//!
//! ```text
//! {206}               the status line, Date and Cross-Origin-Resource-Policy
//! {shared 206}        the same without the policy, as a listener with cors= says it
//! {close} {keep}      Connection: close, or keep-alive
//! {version 3}         ETag, Last-Modified and Cache-Control of the third version stored
//! {file 9}            what describes a file of no known type: Content-Type, nosniff, X-Frame-Options,
//!                     Accept-Ranges, Content-Length: 9, and the end of the head
//! {part 0-3/9}        the same of bytes 0 to 3 of 9: with Content-Range, and Content-Length: 4
//! {length 9}          Content-Length: 9, and the end of the head
//! {words WORDS}       type, nosniff, length, the end of the head, and WORDS with a line feed
//! {withheld WORDS}    the same, less the content: for HEAD
//! {end}               the end of a head
//! {said 404 WORDS}    {404}{words WORDS}
//! {refused 400 WORDS} {400}{close}{words WORDS}
//! {created 1 a}       {201}Location: a, {version 1}{length 0}
//! {replaced 2}        {204}{version 2}{end}
//! {allow}             Allow, with the methods for files
//! {methods}           what Allow of OPTIONS lists
//! {dav}               what OPTIONS says of WebDAV
//! {resumed}           what it says of uploads that can be resumed
//! {offered}           both
//! {multistatus TEXT}  type, nosniff, length, the end of the head, and TEXT as the responses in a body of XML
//! {renewed DEPTH|OWNER|TOKEN|PATH|SECONDS}  type, nosniff, length, the end of the head, and an exclusive lock in a
//!                     body of XML; 3600 seconds if unsaid
//! {locked DEPTH|…}    the same after its Lock-Token
//! {tus}               Tus-Resumable
//! {limit}             Upload-Limit
//! {problem TYPE|TITLE|MORE}  type, nosniff, length, the end of the head, and the problem in JSON
//! {upload 3}          the id of the third upload made
//! {expires}           Upload-Expires of an upload that was just resumed
//! {exposed}           the fields that a permitted page of another site may read
//! ```

use filewharf::wire::status;

const DATE: &str = "Tue, 14 Nov 2023 22:13:20 GMT";

const EXPOSED: &str = "Access-Control-Expose-Headers: Accept-Patch, Accept-Ranges, Content-Disposition, Content-Range, DAV, ETag, Link, Location, Repr-Digest, Retry-After, \
    Tus-Checksum-Algorithm, Tus-Extension, Tus-Max-Size, Tus-Resumable, Tus-Version, Unlisted-Names, Upload-Complete, \
    Upload-Concat, Upload-Defer-Length, Upload-Expires, Upload-Length, Upload-Limit, Upload-Metadata, Upload-Offset, X-OC-MTime\\r\\n";
const DAV: &str = "DAV: 1, 2\\r\\nMS-Author-Via: DAV\\r\\n";
const OFFERED: &str = "Tus-Resumable: 1.0.0\\r\\nTus-Version: 1.0.0\\r\\nTus-Max-Size: 1000\\r\\n\
     Tus-Extension: creation,creation-with-upload,creation-defer-length,termination,checksum,expiration,concatenation\\r\\n\
     Tus-Checksum-Algorithm: sha1,sha256\\r\\n\
     Accept-Patch: application/offset+octet-stream, application/partial-upload\\r\\n\
     Upload-Limit: max-size=1000, max-age=86400\\r\\n";

/// Writes every shorthand of a line out; escapes are left alone.
pub fn expand(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, tail)) = rest.split_once('{') {
        out.push_str(before);
        match tail.split_once('}').and_then(|(inside, after)| Some((one(inside)?, after))) {
            Some((text, after)) => {
                out.push_str(&text);
                rest = after;
            }
            None => {
                out.push('{');
                rest = tail;
            }
        }
    }
    out.push_str(rest);
    out
}

fn one(inside: &str) -> Option<String> {
    let (name, value) = inside.split_once(' ').unwrap_or((inside, ""));
    Some(match name {
        "close" => "Connection: close\\r\\n".to_owned(),
        "keep" => "Connection: keep-alive\\r\\n".to_owned(),
        "end" => "\\r\\n".to_owned(),
        "version" => {
            format!("ETag: \"{value:0>32}\"\\r\\nLast-Modified: {DATE}\\r\\nCache-Control: no-cache\\r\\n")
        }
        "file" => described("", value),
        "part" => {
            let (first, last) = value.split_once('/')?.0.split_once('-')?;
            let len = last.parse::<u64>().ok()? + 1 - first.parse::<u64>().ok()?;
            described(&format!("Content-Range: bytes {value}\\r\\n"), &len.to_string())
        }
        "length" => format!("Content-Length: {value}\\r\\n\\r\\n"),
        "words" => words(value) + value + "\\n",
        "withheld" => words(value),
        "said" => {
            let (code, value) = value.split_once(' ')?;
            expand(&format!("{{{code}}}{{words {value}}}"))
        }
        "refused" => {
            let (code, value) = value.split_once(' ')?;
            expand(&format!("{{{code}}}{{close}}{{words {value}}}"))
        }
        "created" => {
            let (version, name) = value.split_once(' ')?;
            expand(&format!("{{201}}Location: {name}\\r\\n{{version {version}}}{{length 0}}"))
        }
        "allow" => "Allow: GET, HEAD, PUT, DELETE, MKCOL, COPY, MOVE, PROPFIND, PROPPATCH, LOCK, UNLOCK, OPTIONS\\r\\n"
            .to_owned(),
        "methods" => {
            "GET, HEAD, PUT, POST, PATCH, DELETE, MKCOL, COPY, MOVE, PROPFIND, PROPPATCH, LOCK, UNLOCK, OPTIONS"
                .to_owned()
        }
        "dav" => DAV.to_owned(),
        "resumed" => OFFERED.to_owned(),
        "offered" => format!("{DAV}{OFFERED}"),
        "limit" => "Upload-Limit: max-size=1000, max-age=86400\\r\\n".to_owned(),
        "multistatus" => xml(&format!("<D:multistatus xmlns:D=\"DAV:\">\\n{value}</D:multistatus>\\n")),
        "locked" => {
            let token = value.split('|').nth(2)?;
            format!("Lock-Token: <{token}>\\r\\n{}", lock_content(value)?)
        }
        "renewed" => lock_content(value)?,
        "problem" => problem(value)?,
        "tus" => "Tus-Resumable: 1.0.0\\r\\n".to_owned(),
        "upload" => format!("{:032x}", value.parse::<u32>().ok()?),
        "exposed" => EXPOSED.to_owned(),
        "expires" => "Upload-Expires: Wed, 15 Nov 2023 22:13:20 GMT\\r\\n".to_owned(),
        "shared" => status_and_date(value)?,
        "replaced" => expand(&format!("{{204}}{{version {value}}}{{end}}")),
        code if code.len() == 3 => status_and_date(code)? + "Cross-Origin-Resource-Policy: same-origin\\r\\n",
        _ => return None,
    })
}

/// `DEPTH|OWNER|TOKEN|PATH`, and `|SECONDS` if they are not an hour.
fn lock_content(value: &str) -> Option<String> {
    let mut parts = value.split('|');
    let (depth, owner, token, path) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let seconds = parts.next().unwrap_or("3600");
    Some(xml(&format!(
        "<D:prop xmlns:D=\"DAV:\"><D:lockdiscovery><D:activelock><D:locktype><D:write/></D:locktype>\
         <D:lockscope><D:exclusive/></D:lockscope><D:depth>{depth}</D:depth>{owner}\
         <D:timeout>Second-{seconds}</D:timeout><D:locktoken><D:href>{token}</D:href></D:locktoken>\
         <D:lockroot><D:href>{path}</D:href></D:lockroot></D:activelock></D:lockdiscovery></D:prop>\\n"
    )))
}

/// What describes a body of XML, and the body; escapes stay.
fn xml(inside: &str) -> String {
    let text = format!("<?xml version=\"1.0\" encoding=\"utf-8\"?>\\n{inside}");
    let len = super::unescape(&text).len();
    format!(
        "Content-Type: application/xml; charset=utf-8\\r\\nX-Content-Type-Options: nosniff\\r\\n\
         Content-Length: {len}\\r\\n\\r\\n{text}"
    )
}

/// `TYPE|TITLE|MORE`.
fn problem(value: &str) -> Option<String> {
    let mut parts = value.splitn(3, '|');
    let (name, title, more) = (parts.next()?, parts.next()?, parts.next()?);
    let text = format!(
        "{{\"type\":\"https://iana.org/assignments/http-problem-types#{name}\",\"title\":\"{title}\"{more}}}\\n"
    );
    let len = super::unescape(&text).len();
    Some(format!(
        "Content-Type: application/problem+json\\r\\nX-Content-Type-Options: nosniff\\r\\n\
         Content-Length: {len}\\r\\n\\r\\n{text}"
    ))
}

fn described(between: &str, len: &str) -> String {
    format!(
        "Content-Type: application/octet-stream\\r\\nX-Content-Type-Options: nosniff\\r\\n\
         X-Frame-Options: SAMEORIGIN\\r\\nAccept-Ranges: bytes\\r\\n{between}Content-Length: {len}\\r\\n\\r\\n"
    )
}

/// What stands before words, which may hold escapes.
fn words(value: &str) -> String {
    format!(
        "Content-Type: text/plain; charset=utf-8\\r\\nX-Content-Type-Options: nosniff\\r\\n\
         Content-Length: {}\\r\\n\\r\\n",
        super::unescape(value).len() + 1
    )
}

fn status_and_date(code: &str) -> Option<String> {
    let reason = status::reason(code.parse().ok()?);
    Some(format!("HTTP/1.1 {code} {reason}\\r\\nDate: {DATE}\\r\\n"))
}
