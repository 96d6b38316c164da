//! What a server prints for people when it starts: addresses to open in a browser, and a QR code of one. Never prints a
//! secret, but for one that an address has.

use std::io::IsTerminal as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::serve_flags::Args;
use crate::dialect::Kind;
use crate::os::log::write_now;
use crate::os::net;
use crate::server::{Address, Handle, Listen};

/// Most addresses that are printed.
const URLS_MAX: usize = 16;

/// What has to be known before the sandbox, which does not permit to ask for it.
pub(super) struct Welcome {
    interfaces: Vec<IpAddr>,
}

impl Welcome {
    pub(super) fn prepare() -> Self {
        Self { interfaces: net::for_clients() }
    }

    /// Where a browser reaches these listeners, best first.
    pub(super) fn urls(&self, listens: &[Listen], handle: &Handle) -> Vec<String> {
        urls(listens, handle.addresses(), &self.interfaces)
    }

    /// Prints what people want to know first: for them as it is, else as messages of the log.
    pub(super) fn print(&self, args: &Args, listens: &[Listen], handle: &Handle) {
        if args.quiet {
            return;
        }
        let urls = self.urls(listens, handle);
        let root = &args.builder.root;
        let root = std::path::absolute(root).unwrap_or_else(|_| root.clone());
        let mut text = format!("filewharf serves the folder {}", root.display());
        let commands = commands(listens, handle.addresses());
        urls.iter().chain(&commands).for_each(|way| text.push_str(&format!("\n  {way}")));
        let access = match (&args.builder.access, &args.token_file) {
            (Some(file), _) => format!("{} says who may do what.", file.display()),
            (None, Some(_)) => "A secret is asked for.".to_owned(),
            (None, None) => format!("No secret is asked for: anyone who can connect can {}.", args.rights_of_all()),
        };
        text.push_str(&format!("\n{access} Ctrl-C stops the server."));
        let is_for_people = std::io::stderr().is_terminal();
        if !is_for_people {
            text.lines().for_each(|line| log::info!("{line}"));
        }
        log::logger().flush();
        if args.qr {
            let code = urls.first().and_then(|url| qr_code(url));
            write_now(code.as_deref().unwrap_or("There is no address for a QR code."));
        }
        if is_for_people {
            write_now(&text);
        }
    }
}

/// The listeners with these addresses that speak HTTP, each with its scheme and the path of the top. Without those that
/// accept proxies only, and that of the operator.
fn of_http<'a>(
    listens: &'a [Listen],
    bound: &'a [(Address, Kind)],
) -> impl Iterator<Item = (&'static str, &'a Address, String)> {
    let is_http = |listen: &Listen| {
        let is_admin = listen.options.iter().any(|(name, _)| name == "admin");
        matches!(listen.kind, Kind::Auto | Kind::Http) && listen.proxies.is_none() && !is_admin
    };
    listens.iter().zip(bound).filter(move |(listen, _)| is_http(listen)).map(|(listen, (address, _))| {
        let scheme = if listen.is_tls { "https" } else { "http" };
        let prefix = listen.options.iter().find(|(name, _)| name == "path-prefix").map_or("", |(_, path)| &**path);
        let prefix = prefix.trim_matches('/');
        let path = if prefix.is_empty() { "/".to_owned() } else { format!("/{prefix}/") };
        (scheme, address, path)
    })
}

/// The commands that reach Unix sockets, which browsers do not.
fn commands(listens: &[Listen], bound: &[(Address, Kind)]) -> Vec<String> {
    let sockets = of_http(listens, bound).filter_map(|(scheme, address, path)| match address {
        Address::Unix(file) => Some(format!("curl --unix-socket {} {scheme}://localhost{path}", file.display())),
        Address::Ip(_) => None,
    });
    sockets.take(URLS_MAX).collect()
}

/// Where a browser reaches the listeners with these addresses, best first: at an address of `interfaces` where one listens
/// on all.
fn urls(listens: &[Listen], bound: &[(Address, Kind)], interfaces: &[IpAddr]) -> Vec<String> {
    let mut urls = Vec::new();
    for (scheme, address, path) in of_http(listens, bound) {
        let Some(address) = address.socket_addr() else { continue };
        let mut addresses = vec![address];
        if address.ip().is_unspecified() {
            let same = interfaces.iter().filter(|ip| ip.is_ipv4() == address.is_ipv4());
            let loopback = if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
            addresses = same.copied().chain([loopback]).map(|ip| SocketAddr::new(ip, address.port())).collect();
        }
        urls.extend(addresses.into_iter().map(|address| format!("{scheme}://{address}{path}")));
    }
    // Of those that other machines reach, one of IPv4 is typed most easily.
    urls.sort_by_key(|url| (url.contains("://127.") || url.contains("://[::1]"), url.contains('[')));
    urls.truncate(URLS_MAX);
    urls
}

/// A QR code for a terminal, black on white whatever its colors are. `None` if the text is too long for one.
pub(super) fn qr_code(text: &str) -> Option<String> {
    let code = qrcode::QrCode::with_error_correction_level(text, qrcode::EcLevel::L).ok()?;
    let drawn = code.render::<qrcode::render::unicode::Dense1x2>().build();
    Some(drawn.lines().map(|line| format!("\x1b[30;107m{line}\x1b[0m")).collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_those_that_a_browser_can_open_with_the_best_first() {
        let interfaces = ["172.17.0.1", "192.168.1.5", "2001:db8::5"].map(|ip| ip.parse().expect("an address"));
        let found = |listens: &[&str]| {
            let listens: Vec<Listen> = listens.iter().map(|text| text.parse().expect("an address")).collect();
            let bound = listens.iter().map(|listen| (net::resolve(&listen.address).expect("an address"), listen.kind));
            let bound = bound.collect::<Vec<_>>();
            [urls(&listens, &bound, &interfaces), commands(&listens, &bound)].concat()
        };
        assert_eq!(found(&["127.0.0.1:7070"]), ["http://127.0.0.1:7070/"]);
        assert_eq!(
            found(&["[::]:80", "0.0.0.0:80"]),
            [
                "http://172.17.0.1:80/",
                "http://192.168.1.5:80/",
                "http://[2001:db8::5]:80/",
                "http://127.0.0.1:80/",
                "http://[::1]:80/"
            ]
        );
        assert_eq!(found(&["http@10.0.0.1:443?tls&path-prefix=/files/"]), ["https://10.0.0.1:443/files/"]);
        assert_eq!(found(&["line@127.0.0.1:1", "127.0.0.1:2?proxy=10.0.0.1", "line@unix:/x"]), [""; 0]);
        assert_eq!(
            found(&["unix:/run/x?path-prefix=files", "127.0.0.1:80"]),
            ["http://127.0.0.1:80/", "curl --unix-socket /run/x http://localhost/files/"]
        );
    }

    #[test]
    fn a_qr_code_has_the_lines_of_its_size_and_a_border() {
        let code = qr_code("http://127.0.0.1:7070/").expect("a short text");
        // Version 2 has 25 modules, and a border of four on each side; two rows are a line.
        assert_eq!(code.lines().count(), 17, "{code}");
        assert!(code.lines().all(|line| line.chars().count() == 33 + "\x1b[30;107m\x1b[0m".len()), "{code}");
        assert_eq!(qr_code(&"x".repeat(3000)), None);
    }
}
