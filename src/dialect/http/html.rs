//! What every HTML document of the server needs: escaped text, and the address of the login.

use crate::object::Key;
use crate::wire::http::target;

/// The parameter of the query that asks for credentials.
pub(super) const LOGIN: &str = "login";

/// The query of the login that returns to the page of a directory, with its `?`.
pub(super) fn login_query(dir: &Key) -> String {
    format!("?{LOGIN}={}", target::component(&dir.to_string()))
}

/// Text as HTML, safe in elements and in quoted attributes.
pub(super) fn escape(text: &str, out: &mut String) {
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            letter => out.push(letter),
        }
    }
}
