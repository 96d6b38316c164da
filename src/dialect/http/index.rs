//! The plain index of a directory: links for programs that follow them, in the format of nginx and Apache, with every
//! name in full.

use std::fmt::Write as _;

use crate::dialect::http::html::escape;
use crate::dialect::http::page::{Page, Unlisted};
use crate::object::{Entry, Node};
use crate::time::Utc;
use crate::wire::http::target;

/// Value of `Content-Security-Policy`: only text and links.
pub const CONTENT_SECURITY_POLICY: &str =
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Columns for names; longer ones move the rest of their line.
const NAME_COLUMNS: usize = 50;

/// As wide as a time.
const UNKNOWN_MINUTE: &str = "-               ";

/// Appends what is before the names.
pub fn begin(page: &Page<'_>, out: &mut String) {
    let dir = page.dir;
    let mut title = String::from("Index of /");
    escape(dir.as_str(), &mut title);
    let _ = write!(
        out,
        "<!doctype html>\n<html>\n<head><meta charset=\"utf-8\"><title>{title}</title></head>\n<body>\n<h1>{title}</h1>\n<pre>\n"
    );
    match &page.carried {
        _ if dir.is_root() => {}
        None => out.push_str("<a href=\"../\">../</a>\n"),
        // A signed link does not lead above its own path.
        Some(carried) if carried.prefix == dir => {}
        Some(carried) => {
            let _ = writeln!(out, "<a href=\"../{}\">../</a>", carried.query);
        }
    }
}

/// Appends one name, with its time (UTC) and size.
pub fn row(page: &Page<'_>, entry: &Entry, out: &mut String) {
    let slash = if entry.is_dir { "/" } else { "" };
    let minute = |mtime| Utc::new(mtime).to_the_minute().to_string();
    let (mtime, size) = match entry.node {
        Some(Node::File(meta)) => (minute(meta.mtime), meta.len.to_string()),
        Some(Node::Dir { mtime }) => (minute(mtime), "-".to_owned()),
        None => (UNKNOWN_MINUTE.to_owned(), "-".to_owned()),
    };
    let _ = write!(out, "<a href=\"{}{slash}{}\">", target::component(&entry.name), page.query());
    escape(&entry.name, out);
    let blanks = NAME_COLUMNS.saturating_sub(entry.name.chars().count() + slash.len());
    let _ = writeln!(out, "{slash}</a>{:blanks$} {mtime} {size:>19}", "");
}

/// Appends what is after the names.
pub fn end(page: &Page<'_>, out: &mut String) {
    if page.unlisted > 0 {
        let _ = writeln!(out, "{}", Unlisted(page.unlisted));
    }
    out.push_str("</pre>\n</body>\n</html>\n");
}
