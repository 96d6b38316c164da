//! What an operator permits at one listener: the options of its address.

use std::net::IpAddr;

use crate::config::{NetworkError, Networks};
use crate::dialect::spec::{OptionError, Options};

/// The options of the listener's address.
#[derive(Debug, Default)]
pub(crate) struct Policy {
    /// HTML and other active content may run in a browser as part of this site. Without it such content is offered
    /// as a download: otherwise every client that may upload could act as any visitor.
    pub(super) serve_active: bool,
    pub(super) origins: Origins,
    hosts: Hosts,
    /// Proxies that may say which clients their requests are from.
    trusted: Option<Networks>,
    /// They may also say which user is logged in there.
    pub(crate) trusts_users: bool,
    /// Under which a proxy passes the server on: begins with `/` and ends without, or is empty.
    pub(super) prefix: Box<str>,
    refuses_passwords: bool,
    refuses_webdav: bool,
    /// The operator asks here how the server is, and nothing else is served.
    pub(crate) is_admin: bool,
}

/// Which pages of other sites may use this server from a browser (CORS, the Fetch standard).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Origins {
    #[default]
    None,
    Any,
    One(Box<str>),
}

/// The hosts of requests that are answered.
///
/// A page in a browser may use every address that its own name resolves to, and the owner of the name decides that
/// (DNS rebinding). Only the Host field reveals it.
#[derive(Debug, Default)]
struct Hosts {
    /// Names, or `*`.
    allowed: Vec<Box<str>>,
    is_checked: bool,
}

impl Policy {
    /// Answers only requests for this host name, and for the names that the options allow.
    pub(super) fn restrict_hosts(&mut self, machine: &str) {
        self.hosts.is_checked = !self.hosts.allowed.iter().any(|name| &**name == "*");
        self.hosts.allowed.push(machine.into());
    }

    /// Takes no passwords from now on.
    pub(super) const fn refuse_passwords(&mut self) {
        self.refuses_passwords = true;
    }

    pub(crate) const fn refuses_passwords(&self) -> bool {
        self.refuses_passwords
    }

    /// True if directories can be mounted (RFC 4918), where this build can.
    pub(super) const fn offers_webdav(&self) -> bool {
        cfg!(feature = "webdav") && !self.refuses_webdav
    }

    /// True if requests for this host, perhaps with a port, are answered here. Browsers always send one.
    pub(super) fn answers_for(&self, host: Option<&str>) -> bool {
        let Some(host) = host.filter(|_| self.hosts.is_checked) else { return true };
        let name = host.split(':').next().unwrap_or_default();
        if name.is_empty() || host.starts_with('[') || name.parse::<IpAddr>().is_ok() {
            return true;
        }
        let name = name.strip_suffix('.').unwrap_or(name);
        let top = name.rsplit('.').next().unwrap_or_default();
        top.eq_ignore_ascii_case("localhost") || self.hosts.allowed.iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// True if this is the address of a trusted proxy.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.as_ref().is_some_and(|networks| networks.contain(address))
    }

    /// Reads `serve-html`, `cors=ORIGIN` (an origin, or `*`), `allow-host=NAME` (a name, or `*`),
    /// `trust=NETWORK,…`, `remote-user`, `path-prefix=PATH`, `no-webdav` and `admin`.
    pub(super) fn new(options: &Options) -> Result<Self, OptionError> {
        let mut policy = Self::default();
        for (name, value) in options {
            match (name.as_str(), value.as_str()) {
                ("serve-html", "") => policy.serve_active = true,
                ("cors", _) if policy.origins != Origins::None => return Err(OptionError::Repeated("cors")),
                ("cors", "*") => policy.origins = Origins::Any,
                ("cors", origin) => policy.origins = Origins::One(checked_origin(origin)?.into()),
                ("allow-host", host) => policy.hosts.allowed.push(checked_host(host)?.into()),
                ("trust", _) if policy.trusted.is_some() => return Err(OptionError::Repeated("trust")),
                ("trust", networks) => {
                    let refused = |error: NetworkError| OptionError::invalid("trust", networks, error.reason());
                    policy.trusted = Some(networks.parse().map_err(refused)?);
                }
                ("path-prefix", _) if !policy.prefix.is_empty() => return Err(OptionError::Repeated("path-prefix")),
                ("path-prefix", path) => {
                    let refused = |reason| OptionError::invalid("path-prefix", path, reason);
                    policy.prefix = checked_prefix(path).map_err(refused)?;
                }
                ("remote-user", "") => policy.trusts_users = true,
                ("no-webdav", "") => policy.refuses_webdav = true,
                ("admin", "") => (policy.is_admin, policy.refuses_webdav) = (true, true),
                (name, value) => return Err(OptionError::invalid(name, value, "takes no value")),
            }
        }
        if policy.trusts_users && policy.trusted.is_none() {
            let reason = "needs trust=NETWORK,… beside it, the networks of the proxies";
            return Err(OptionError::Invalid { option: "remote-user".to_owned(), reason });
        }
        Ok(policy)
    }
}

/// `https://example.org:8443`. An origin is copied into responses, so nothing else is accepted.
fn checked_origin(origin: &str) -> Result<&str, OptionError> {
    let host = origin.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https")).map(|(_, host)| host);
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte);
    match host {
        Some(host) if !host.is_empty() && host.bytes().all(good) => Ok(origin),
        _ => {
            let reason = "an origin is http://HOST, https://HOST or *, with a port if it needs one";
            Err(OptionError::invalid("cors", origin, reason))
        }
    }
}

/// A name as in `Host`, without a port.
fn checked_host(host: &str) -> Result<&str, OptionError> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if host == "*" || (!host.is_empty() && host.bytes().all(good)) {
        return Ok(host);
    }
    Err(OptionError::invalid("allow-host", host, "a host is a name without a port, or *"))
}

/// As the operator writes it: `files`, `/files` and `/files/` are the same, and `/` is none.
fn checked_prefix(text: &str) -> Result<Box<str>, &'static str> {
    let inside = text.strip_prefix('/').unwrap_or(text);
    let inside = inside.strip_suffix('/').unwrap_or(inside);
    if inside.is_empty() {
        return Ok("".into());
    }
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    for component in inside.split('/') {
        if matches!(component, "" | "." | "..") {
            return Err("a prefix has no empty component and neither . nor ..");
        }
        if !component.bytes().all(is_good) {
            return Err("a prefix has letters, digits, -, ., _ and ~ between its slashes");
        }
    }
    Ok(format!("/{inside}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_brought_into_one_form() {
        for (text, prefix) in [
            ("files", "/files"),
            ("/files", "/files"),
            ("/files/", "/files"),
            ("a/b-c.d_e~f/", "/a/b-c.d_e~f"),
            ("/", ""),
            ("", ""),
        ] {
            assert_eq!(checked_prefix(text).as_deref(), Ok(prefix), "{text}");
        }
        for text in ["///", "/a//b", "a/../b", "..", "/./a", "/a b", "/ä", "/a%20b", "/a?b", "/a\r\nX: y", "http://a"]
        {
            assert!(checked_prefix(text).is_err(), "{text}");
        }
    }

    fn policy(name: &str, value: &str) -> Result<Policy, OptionError> {
        Policy::new(&[(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn a_restricted_listener_answers_for_this_machine_and_allowed_names() {
        let open = policy("allow-host", "files.example").expect("good");
        let mut restricted = policy("allow-host", "files.example").expect("good");
        restricted.restrict_hosts("Box");
        let mut any = policy("allow-host", "*").expect("good");
        any.restrict_hosts("Box");
        for host in [
            "localhost",
            "LOCALHOST:7070",
            "localhost.",
            "a.localhost",
            "a.b.localhost:1",
            "127.0.0.1:7070",
            "10.0.0.1",
            "[::1]:7070",
            "[::1]",
            "box",
            "BOX:7070",
            "box.",
            "files.example:80",
            "",
            ":80",
        ] {
            assert!(restricted.answers_for(Some(host)), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "notlocalhost",
            "127.0.0.1.evil.example",
            "box.example",
            "2130706433",
            "a.files.example",
            "*",
            ".",
            "1.2.3",
        ] {
            assert!(!restricted.answers_for(Some(host)), "{host}");
            assert!(any.answers_for(Some(host)) && open.answers_for(Some(host)), "{host}");
        }
        assert!(restricted.answers_for(None));
    }

    #[test]
    fn options_are_parsed_or_refused() {
        assert!(policy("serve-html", "").expect("good").serve_active);
        assert_eq!(policy("cors", "*").expect("good").origins, Origins::Any);
        let one = policy("cors", "https://example.org:8443").expect("good").origins;
        assert_eq!(one, Origins::One("https://example.org:8443".into()));
        let proxied = policy("trust", "10.0.0.0/8,::1").expect("good");
        for (address, is_trusted) in
            [("10.1.2.3", true), ("::ffff:10.1.2.3", true), ("::1", true), ("11.0.0.0", false), ("::2", false)]
        {
            assert_eq!(proxied.trusts(address.parse().expect("an address")), is_trusted, "{address}");
        }
        let twice = [("trust", "::1"), ("trust", "::2")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(Policy::new(&twice).map(|_| ()), Err(OptionError::Repeated("trust")));
        for (name, value) in [
            ("serve-html", "no"),
            ("cors", ""),
            ("cors", "example.org"),
            ("cors", "https://"),
            ("cors", "https://a/b"),
            ("cors", "https://a\r\nX: y"),
            ("allow-host", ""),
            ("allow-host", "a:80"),
            ("allow-host", "http://a"),
            ("trust", ""),
            ("remote-user", ""),
            ("remote-user", "anna"),
            ("path-prefix", "/a/../b"),
            ("trust", "localhost"),
            ("trust", "10.0.0.1/8"),
            ("other", ""),
        ] {
            assert!(policy(name, value).is_err(), "{name}={value}");
        }
    }
}
