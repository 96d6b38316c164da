//! What an operator says about one listener that speaks HTTP.

use crate::dialect::http::described::Described;
use crate::dialect::http::known::Known;
use crate::dialect::{Kind, Options};

/// The options of the listener's address.
#[derive(Debug, Default)]
pub struct Listener {
    /// May HTML and other active content run in a browser as part of this site?
    pub(super) active: Active,
    /// Which pages of other sites may use this server from a browser.
    pub(super) origins: Origins,
    /// What was said of files lately.
    pub(super) described: Described,
    /// What was asked lately.
    pub(super) known: Known,
}

/// May HTML and other active content run in a browser as part of this site?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Active {
    /// No: whoever may upload could speak for everybody who looks. It is offered as a download.
    #[default]
    Download,
    /// Yes: the operator trusts whoever uploads.
    Serve,
}

/// Which pages of other sites may use this server from a browser (CORS, the Fetch standard).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Origins {
    /// None.
    #[default]
    None,
    /// All.
    Any,
    /// Those of this origin.
    One(Box<str>),
}

impl Listener {
    /// Reads `serve-html` and `cors=ORIGIN` (an origin, or `*`).
    pub fn new(kind: Kind, options: &Options) -> Result<Self, String> {
        let mut listener = Self::default();
        for (name, value) in options {
            match (name.as_str(), value.as_str()) {
                ("serve-html", "") => listener.active = Active::Serve,
                ("cors", _) if listener.origins != Origins::None => return Err("cors= is given twice".to_owned()),
                ("cors", "*") => listener.origins = Origins::Any,
                ("cors", origin) => listener.origins = Origins::One(checked_origin(origin)?.into()),
                _ => {
                    return Err(format!(
                        "{kind} knows no option {name:?} of that value, only serve-html and cors=ORIGIN"
                    ));
                }
            }
        }
        Ok(listener)
    }
}

/// An origin goes into a response as it is, so it must be one: `https://example.org:8443`.
fn checked_origin(origin: &str) -> Result<&str, String> {
    let host = origin.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https")).map(|(_, host)| host);
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte);
    match host {
        Some(host) if !host.is_empty() && host.bytes().all(good) => Ok(origin),
        _ => Err(format!("cors={origin}: an origin is http://HOST, https://HOST or *, with a port if it needs one")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(name: &str, value: &str) -> Result<Listener, String> {
        Listener::new(Kind::Http, &[(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn the_options_of_an_address_are_understood_or_refused() {
        assert_eq!(listener("serve-html", "").expect("good").active, Active::Serve);
        assert_eq!(listener("cors", "*").expect("good").origins, Origins::Any);
        let one = listener("cors", "https://example.org:8443").expect("good").origins;
        assert_eq!(one, Origins::One("https://example.org:8443".into()));
        for (name, value) in [
            ("serve-html", "no"),
            ("cors", ""),
            ("cors", "example.org"),
            ("cors", "https://"),
            ("cors", "https://a/b"),
            ("cors", "https://a\r\nX: y"),
            ("other", ""),
        ] {
            assert!(listener(name, value).is_err(), "{name}={value}");
        }
    }
}
