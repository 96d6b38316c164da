//! The web page of a directory: one HTML document that needs nothing else from anywhere.
//!
//! It lists without a script; with it, names can be sorted, searched, uploaded, deleted and previewed. Names are
//! untrusted: each is escaped in text and percent-encoded in links, and [`content_security_policy`] permits no other
//! script or style than the two compiled in here.

use std::fmt::Write as _;
use std::sync::LazyLock;

use base64ct::{Base64, Encoding as _};
use sha2::{Digest as _, Sha256};

use crate::access::Rights;
use crate::dialect::http::html::escape;
use crate::dialect::http::login::{self, Visitor};
use crate::dialect::http::may::May;
use crate::dialect::http::sharing::Offer;
use crate::object::{Entry, Key, Node};
use crate::time::Utc;
use crate::wire::http::target;

/// The document, with `{{words}}` as placeholders.
const TEMPLATE: &str = include_str!("page/page.html");
const STYLE: &str = concat!(include_str!("page/base.css"), include_str!("page/style.css"));
const SCRIPT: &str = concat!(
    include_str!("page/base.js"),
    include_str!("page/list.js"),
    include_str!("page/select.js"),
    include_str!("page/search.js"),
    include_str!("page/change.js"),
    include_str!("page/share.js"),
    include_str!("page/preview.js"),
    include_str!("page/upload.js"),
    include_str!("page/parts.js"),
    include_str!("page/keys.js")
);

/// What the page of a directory shows.
pub struct Page<'a> {
    /// The directory; its address ends in `/`, because every link is relative to it.
    pub dir: &'a Key,
    /// The name after which this page begins.
    pub after: Option<&'a str>,
    pub visitor: &'a Visitor,
    /// What the client may do.
    pub may: &'a May<'a>,
    /// Names for which the client can make signed links.
    pub offer: &'a Offer<'a>,
    /// The signed link by which the client may see the page.
    pub carried: Option<Carried<'a>>,
    /// There are no names. Only known at the end, like `next`.
    pub empty: bool,
    /// The query of the next page.
    pub next: Option<String>,
    /// How many names of the directory cannot be listed.
    pub unlisted: u64,
}

/// Says how many names are not listed, and why.
pub struct Unlisted(pub u64);

impl std::fmt::Display for Unlisted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(count) = self;
        let are = if *count == 1 { "name is" } else { "names are" };
        write!(f, "{count} {are} not listed: not UTF-8, or with control characters")
    }
}

/// A signed link that the addresses of a page carry on.
pub struct Carried<'a> {
    /// The query, with its `?`. It has no byte that HTML escapes.
    pub query: &'a str,
    /// The path that it is for.
    pub prefix: &'a Key,
}

impl Page<'_> {
    /// The query of the address of every name.
    pub fn query(&self) -> &str {
        self.carried.as_ref().map_or("", |carried| carried.query)
    }
}

/// The placeholder that splits the template.
const ROWS: &str = "{{rows}}";
/// Ancestors with a link; more would make the page grow with the square of the depth.
const CRUMBS_MAX: usize = 32;
/// Bytes of the signed links in them, at most.
const CRUMBS_CARRIED_MAX: usize = 8 * 1024;
/// Bytes of [`end`], at most: a name and a signed link are in it.
pub const END_BYTES_MAX: usize = TEMPLATE.len() + SCRIPT.len() + 4 * 1024;
/// Bytes of a page with one name, at most: a path has 4 KiB, and every byte of it may become six.
pub const FIXED_BYTES_MAX: usize = STYLE.len() + END_BYTES_MAX + 64 * 1024;

/// Appends what is before the rows.
pub fn begin(page: &Page<'_>, out: &mut String) {
    render(page, TEMPLATE.split(ROWS).next().unwrap_or_default(), out);
}

/// Appends what is after the rows.
pub fn end(page: &Page<'_>, out: &mut String) {
    render(page, TEMPLATE.split(ROWS).nth(1).unwrap_or_default(), out);
}

fn render(page: &Page<'_>, template: &str, out: &mut String) {
    let mut parts = template.split("{{");
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (word, rest) = part.split_once("}}").expect("a test has rendered the template");
        fill(page, word, out);
        out.push_str(rest);
    }
}

/// Value of `Content-Security-Policy`: no other origin, only the script and style compiled in, no text evaluated as
/// code, no frame around the page.
pub fn content_security_policy() -> &'static str {
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        format!(
            "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; img-src 'self' data:; \
             media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; \
             frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
            Base64::encode_string(&Sha256::digest(SCRIPT)),
            Base64::encode_string(&Sha256::digest(STYLE)),
        )
    });
    &POLICY
}

/// Fills in one placeholder.
fn fill(page: &Page<'_>, word: &str, out: &mut String) {
    let shown = |yes: bool| if yes { "" } else { " hidden" };
    match word {
        "style" => out.push_str(STYLE),
        "script" => out.push_str(SCRIPT),
        "title" => title(page.dir, out),
        "may" => push(out, format_args!(" data-may=\"{}\"", page.may.in_dir())),
        "links" => out.push_str(match page.offer {
            Offer::Nothing => "",
            Offer::Everything => " data-links=\"all\"",
            Offer::ByName { .. } => " data-links",
        }),
        "crumbs" => crumbs(page, out),
        "archives" => out.push_str(if cfg!(feature = "archives") { " data-archives" } else { "" }),
        "form" if page.may.in_dir().has(Rights::CREATE) => push(
            out,
            format_args!(
                "<noscript><form method=\"post\" enctype=\"multipart/form-data\" action=\"./{}\"><input type=\"file\" \
                 name=\"file\" multiple required aria-label=\"Files\"><button class=\"main\">Upload</button></form></noscript>\n",
                page.query()
            ),
        ),
        "form" => {}
        "visitor" => visitor(page, out),
        "before" if page.after.is_some() => {
            let query = page.query();
            push(out, format_args!("<p class=\"before\"><a href=\"./{query}\">From the first name</a></p>\n"));
        }
        "before" => {}
        "unlisted" if page.unlisted > 0 => push(out, format_args!("<p>{}</p>\n", Unlisted(page.unlisted))),
        "unlisted" => {}
        "full" => out.push_str(shown(page.empty)),
        "complete" => out.push_str(shown(page.next.is_some())),
        "next" => next(page, out),
        _ => unreachable!("a test has rendered the template"),
    }
}

fn title(dir: &Key, out: &mut String) {
    escape(if dir.is_root() { "/" } else { dir.name() }, out);
    out.push_str(" – filewharf");
}

fn components(key: &Key) -> impl Iterator<Item = &str> {
    key.as_str().split('/').filter(|part| !part.is_empty())
}

/// The ancestors as links, and this directory. A signed link does not lead above its own path.
fn crumbs(page: &Page<'_>, out: &mut String) {
    let (depth_max, query) = (components(page.dir).count(), page.query());
    let (first, crumbs_max) = page.carried.as_ref().map_or((0, CRUMBS_MAX), |carried| {
        (components(carried.prefix).count(), CRUMBS_MAX.min(CRUMBS_CARRIED_MAX / carried.query.len().max(1)))
    });
    let names = std::iter::once("Files").chain(components(page.dir));
    for (depth, name) in names.enumerate().skip(first) {
        match depth_max - depth {
            above if above > crumbs_max && depth > first => continue,
            0 => out.push_str("<li aria-current=\"page\"><h1><bdi>"),
            above => push(out, format_args!("<li><a href=\"{}{query}\"><bdi>", "../".repeat(above))),
        }
        escape(name, out);
        out.push_str(if depth == depth_max { "</bdi></h1></li>" } else { "</bdi></a></li>" });
    }
}

/// The name that the client has proved, or where it can prove one.
fn visitor(page: &Page<'_>, out: &mut String) {
    match page.visitor {
        Visitor::Unnamed => {}
        Visitor::Anybody => {
            let address = login::address(page.dir);
            push(out, format_args!("<p id=\"visitor\"><a class=\"button\" href=\"{address}\">Log in</a></p>\n"));
        }
        Visitor::Named(caller) => {
            out.push_str("<p id=\"visitor\"><span class=\"unseen\">Logged in as </span><bdi>");
            escape(caller.name().unwrap_or_default(), out);
            out.push_str("</bdi></p>\n");
        }
    }
}

/// The address of the next page, or of this one if there is none.
fn next(page: &Page<'_>, out: &mut String) {
    match &page.next {
        Some(next) => escape(next, out),
        None => push(out, format_args!("./{}", page.query())),
    }
}

/// Appends one row.
pub fn row(page: &Page<'_>, entry: &Entry, out: &mut String) {
    let (link, query) = (target::component(&entry.name), page.query());
    let mut attributes = String::new();
    if page.offer.has(page.dir, &entry.name) {
        attributes.push_str(" data-link");
    }
    if let Some(rights) = page.may.at(page.dir, &entry.name) {
        push(&mut attributes, format_args!(" data-may=\"{rights}\""));
    }
    let mtime = match entry.node {
        Some(Node::File(meta)) => {
            push(out, format_args!("<tr data-size=\"{}\" data-time=\"{}\"{attributes}>", meta.len, meta.mtime));
            push(out, format_args!("<th scope=\"row\"><a class=\"file\" href=\"{link}{query}\"><bdi>"));
            Some(meta.mtime)
        }
        Some(Node::Dir { mtime }) => {
            push(out, format_args!("<tr data-time=\"{mtime}\"{attributes}>"));
            push(out, format_args!("<th scope=\"row\"><a class=\"folder\" href=\"{link}/{query}\"><bdi>"));
            Some(mtime)
        }
        None => {
            let (class, slash) = if entry.is_dir { ("folder", "/") } else { ("file", "") };
            push(
                out,
                format_args!(
                    "<tr{attributes}><th scope=\"row\"><a class=\"{class}\" href=\"{link}{slash}{query}\"><bdi>"
                ),
            );
            None
        }
    };
    escape(&entry.name, out);
    out.push_str("</bdi></a></th><td>");
    match entry.node {
        Some(Node::File(meta)) => human(meta.len, out),
        Some(Node::Dir { .. }) => {}
        None => out.push('-'),
    }
    out.push_str("</td><td>");
    match mtime {
        Some(mtime) => date(mtime, out),
        None => out.push('-'),
    }
    out.push_str("</td><td>");
    if let Some(Node::File(_)) = entry.node {
        push(out, format_args!("<a class=\"act get\" href=\"{link}{query}\" download><span>Download</span></a>"));
    }
    out.push_str("</td></tr>\n");
}

/// A size for people, rounded down so that "1000.0 kB" cannot occur.
fn human(bytes: u64, out: &mut String) {
    let (mut unit, mut size) = (0, 1);
    // `u64::MAX` is 18 EB.
    while bytes / size >= 1000 {
        (unit, size) = (unit + 1, size * 1000);
    }
    let tenths = u128::from(bytes) * 10 / u128::from(size);
    let name = ["B", "kB", "MB", "GB", "TB", "PB", "EB"][unit];
    match (unit, tenths) {
        (0, _) | (_, 1000..) => push(out, format_args!("{} {name}", tenths / 10)),
        _ => push(out, format_args!("{}.{} {name}", tenths / 10, tenths % 10)),
    }
}

/// A point in time, seconds since 1970, as a day and a time of UTC.
fn date(seconds: i64, out: &mut String) {
    let date = Utc::new(seconds);
    push(out, format_args!("<time datetime=\"{date}Z\">{}</time>", date.to_the_minute()));
}

/// Writing to a string cannot fail.
fn push(out: &mut String, words: impl std::fmt::Display) {
    let _ = write!(out, "{words}");
}

#[cfg(test)]
mod tests;
