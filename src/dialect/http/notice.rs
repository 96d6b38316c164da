//! Short pages for browsers, without a script: what is said of a refusal to all others as one line of text.

use std::fmt::Write as _;
use std::sync::LazyLock;

use base64ct::{Base64, Encoding as _};
use sha2::{Digest as _, Sha256};

use crate::dialect::http::html::{self, escape};
use crate::dialect::protocol::Context;
use crate::object::Key;
use crate::wire::http::accept::{self, ListingFormat};
use crate::wire::http::head::Head;
use crate::wire::http::target;
use crate::wire::status;

/// The document, with `{{words}}` as placeholders.
pub(super) const TEMPLATE: &str = include_str!("page/notice.html");
/// Of the page of a directory, too.
const STYLE: &str = include_str!("page/base.css");
/// Letters of a text that are shown: a path may have thousands.
const LETTERS_MAX: usize = 600;

/// Where a browser is that is shown a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The address of the served directory.
    home: Box<str>,
    /// What it has asked for.
    path: Box<str>,
}

impl Place {
    /// `None` for a client that does not ask for HTML. Without a prefix, the address of the served directory is relative:
    /// a proxy may have removed one.
    pub(super) fn of(head: &Head<'_>, prefix: &str) -> Option<Self> {
        let accept = head.fields.accept.lines();
        // Quick, for the many clients that name no HTML.
        let may_be_browser = accept.iter().any(|line| line.contains("text/html"));
        let is_browser = may_be_browser && accept::listing_format(accept) == ListingFormat::Page;
        if !is_browser {
            return None;
        }
        let slashes = head.path.bytes().filter(|byte| *byte == b'/').count();
        let home = match (prefix, slashes) {
            ("", 0 | 1) => "./".to_owned(),
            ("", slashes) => "../".repeat(slashes - 1),
            (prefix, _) => format!("{prefix}/"),
        };
        Some(Self { home: home.into(), path: head.path.into() })
    }

    /// The directory that a path without a final `/` is in, or the one that it names.
    fn dir(&self) -> Key {
        let end = self.path.rfind('/').map_or(0, |slash| slash + 1);
        target::path(&self.path[..end]).map_or_else(|_| Key::root(), |path| path.key)
    }
}

/// Value of `Content-Security-Policy`: only the style compiled in.
pub(super) fn content_security_policy() -> &'static str {
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        let style = Base64::encode_string(&Sha256::digest(STYLE));
        format!(
            "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
    });
    &POLICY
}

/// Why a request is refused, and what may help: a login, and a way to the served directory.
pub(super) fn refusal(place: &Place, code: u16, text: &str, context: &Context<'_>) -> String {
    let has_login = context.access.rules().is_some() && context.caller.name().is_none();
    let title = match code {
        401 => "Please log in",
        403 => "This is not permitted",
        404 => "There is nothing here",
        410 => "This is not there any more",
        412 => "That name is taken",
        code => status::reason(code),
    };
    let home = &place.home;
    let login = match code {
        // The same address: the browser asks for the name again.
        401 => Some(String::new()),
        403 if has_login => Some(format!("{home}{}", html::login_query(&place.dir()))),
        _ => None,
    };
    let mut links = String::new();
    if let Some(address) = login {
        let _ = write!(links, "<a class=\"button main\" href=\"{address}\">Log in</a>");
    }
    let _ = write!(links, "<a class=\"button\" href=\"{home}\">All files</a>");
    let mut words = String::from("<p>");
    escape(&text.trim_end().chars().take(LETTERS_MAX).collect::<String>(), &mut words);
    words.push_str("</p>");
    document(title, &words, &links)
}

/// What the files of a form became in a directory that is not shown. `query` has no byte that HTML escapes.
pub(super) fn receipt(names: &str, others: usize, query: &str) -> String {
    let mut words = String::from("<ul>");
    for name in names.lines() {
        words.push_str("<li><bdi>");
        escape(name, &mut words);
        words.push_str("</bdi></li>");
    }
    words.push_str("</ul>");
    if others > 0 {
        let _ = write!(words, "<p>and {others} more</p>");
    }
    document("Stored", &words, &format!("<a class=\"button main\" href=\"./{query}\">Upload more</a>"))
}

/// A page with this title; `words` and `links` are HTML.
fn document(title: &str, words: &str, links: &str) -> String {
    let mut out = String::with_capacity(TEMPLATE.len() + STYLE.len() + words.len() + links.len());
    let mut parts = TEMPLATE.split("{{");
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (word, rest) = part.split_once("}}").unwrap_or(("", part));
        out.push_str(match word {
            "title" => title,
            "style" => STYLE,
            "words" => words,
            "links" => links,
            _ => "",
        });
        out.push_str(rest);
    }
    out
}
