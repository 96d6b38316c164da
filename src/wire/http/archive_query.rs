//! What a request for an archive asks for: the query of the address, and a form where the names do not fit into that.

use crate::error::Failure;
use crate::wire::http::target::{form_value, is_added};
use crate::wire::key;

/// Longest form, in bytes.
pub const FORM_LEN_MAX: usize = 64 * 1024;

/// The format of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Tar,
    Zip,
}

/// The names of a selection, each after its directory and none inside another; all that is there if there are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    pub format: Format,
    pub names: Vec<Box<str>>,
}

/// True if the query asks for an archive.
pub fn asks(raw: Option<&str>) -> bool {
    raw.is_some_and(|raw| raw.split('&').any(|pair| pair == "archive" || pair.starts_with("archive=")))
}

/// Parses a query that [asks](asks) for an archive, and the form of the request. `others`: names that are read elsewhere.
pub fn query(raw: &str, form: &str, others: &[&str]) -> Result<Query, Failure> {
    let (mut format, mut names) = (None, Vec::new());
    for pair in raw.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match name {
            "archive" => {
                let found = match value {
                    "tar" => Format::Tar,
                    "zip" => Format::Zip,
                    _ => return Err(Failure::Malformed("archive= knows only tar and zip")),
                };
                if format.replace(found).is_some() {
                    return Err(Failure::Malformed("an option is given twice"));
                }
            }
            "name" => names.push(member(value)?),
            name if others.contains(&name) || is_added(name) => {}
            _ => {
                return Err(Failure::Malformed("the query of an archive is archive=tar or archive=zip, and name=NAME"));
            }
        }
    }
    for pair in form.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("name", value)) => names.push(member(value)?),
            _ => return Err(Failure::Malformed("the form of an archive has only name=NAME")),
        }
    }
    let format = format.ok_or(Failure::Malformed("archive= is missing"))?;
    // No name has a control character: so a directory comes right before what is in it.
    names.sort_by_cached_key(|name| name.replace('/', "\0"));
    names.dedup_by(|name, before| {
        name.strip_prefix(&**before).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    Ok(Query { format, names })
}

fn member(value: &str) -> Result<Box<str>, Failure> {
    let value = form_value(value)?;
    key::relative(value.strip_suffix('/').unwrap_or(&value)).map(|key| key.as_str().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(raw: &str, form: &str) -> Result<Vec<String>, Failure> {
        query(raw, form, &["fw"]).map(|query| query.names.into_iter().map(String::from).collect())
    }

    #[test]
    fn a_selection_has_each_name_once_and_none_inside_another() {
        for (raw, form, expected) in [
            ("archive=tar", "", &[][..]),
            ("archive=tar&_=1&fw=x", "", &[]),
            ("archive=zip&name=b&name=a%20b&name=a+b&name=b/", "", &["a b", "b"]),
            ("archive=zip&name=a/b&name=a-b&name=a", "name=a/c&name=%C3%BC&", &["a", "a-b", "\u{fc}"]),
        ] {
            assert_eq!(names(raw, form), Ok(expected.iter().map(|name| (*name).to_owned()).collect()), "{raw} {form}");
        }
    }

    #[test]
    fn what_is_no_name_or_no_format_is_refused() {
        for (raw, form) in [
            ("archive", ""),
            ("archive=rar", ""),
            ("archive=tar&archive=tar", ""),
            ("archive=tar&name=../a", ""),
            ("archive=tar&name=", ""),
            ("archive=tar&name=/a", ""),
            ("archive=tar&name=a//b", ""),
            ("archive=tar&name=%00", ""),
            ("archive=tar&limit=1", ""),
            ("archive=tar", "names=a"),
            ("archive=tar", "name"),
            ("archive=tar", "name=%"),
        ] {
            assert!(matches!(names(raw, form), Err(Failure::Malformed(_))), "{raw} {form}");
        }
        assert!(matches!(names("archive=tar&name=.filewharf", ""), Err(Failure::Denied(_))));
        assert!(asks(Some("a&archive=x")) && asks(Some("archive")) && !asks(Some("archived=1")) && !asks(None));
    }
}
