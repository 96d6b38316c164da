//! `filewharf serve`: builds a server from the arguments, announces its addresses and runs it.

use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use lexopt::Parser;
use log::LevelFilter;

use super::secret;
use super::serve_flags::Args;
use super::settings::Settings;
use super::usage::{Action, ParseError};
#[cfg(feature = "share")]
use super::welcome::Welcome;
use crate::config::LogFormat;
use crate::dialect::{Kind, Secret};
use crate::os::log::{Requests, install, write_now};
use crate::platform::Health;
use crate::reactor::Ended;
use crate::server::{Address, Builder, DEFAULT_ADDRESS, Handle, Listen, Server};

type Outcome<T> = Result<T, Box<dyn Error>>;
/// What is logged to standard error, and where requests are logged instead.
type Log = (LevelFilter, Outcome<Option<Requests>>);

pub(super) fn parse(words: &mut Parser) -> Result<Action, ParseError> {
    let settings = Settings::parse(words)?;
    Ok(Box::new(move || run(&settings)))
}

fn run(settings: &Settings) -> ExitCode {
    let args = &settings.args;
    #[cfg(feature = "share")]
    let welcome = Welcome::prepare();
    let build = || {
        for warning in settings.warnings() {
            log::warn!("{warning}");
        }
        builder(args).and_then(|builder| Ok(settings.build(builder)?))
    };
    let begin = |server: &Server| {
        begin(args, server)?;
        #[cfg(feature = "share")]
        welcome.print(args, &listens(args), &server.handle());
        Ok(())
    };
    run_to_end((args.max_level(), requests(args)), &build, &begin)
}

/// Runs a server until it has drained, with this log; `begin` is called before it accepts. A failure if a request
/// was cut off or an acknowledged change may be lost.
pub(super) fn run_to_end(
    log: Log,
    build: &dyn Fn() -> Outcome<Server>,
    begin: &dyn Fn(&Server) -> Outcome<()>,
) -> ExitCode {
    let ended = serve(log, build, begin);
    log::logger().flush();
    match ended {
        Ok(Ended { cut_off: 0, health: Health::Good | Health::ReadOnly | Health::Failing | Health::Gone }) => {
            ExitCode::SUCCESS
        }
        Ok(Ended { cut_off, health }) => {
            write_now(&format!("filewharf: ended with {cut_off} requests cut off, the store is {health:?}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            write_now(&format!("filewharf: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn serve(
    (level, requests): Log,
    build: &dyn Fn() -> Outcome<Server>,
    begin: &dyn Fn(&Server) -> Outcome<()>,
) -> Outcome<Ended> {
    let writer = install(level, requests?)?;
    let server = build();
    // Threads take over the sandbox of the one that starts them.
    writer.start()?;
    let server = server?;
    begin(&server)?;
    let ended = server.run()?;
    log::info!("ended");
    Ok(ended)
}

fn begin(args: &Args, server: &Server) -> Outcome<()> {
    let handle = server.handle();
    log::info!("serving {}", args.builder.root.display());
    log::info!("memory: {}", server.ceiling());
    log::info!("sandbox={}", server.sandbox());
    warn_if_exposed(args, &handle);
    for port in ports_without_ipv4(handle.addresses()) {
        log::info!("[::]:{port} is reached over IPv6 only: for IPv4 too, add --listen 0.0.0.0:{port}");
    }
    Ok(announce(args, &handle)?)
}

/// The file that requests are logged to.
fn requests(args: &Args) -> Outcome<Option<Requests>> {
    let Some(file) = &args.builder.confinement.log_file else { return Ok(None) };
    let opened = Requests::open(file, args.builder.log_format == LogFormat::Text);
    Ok(Some(opened.map_err(|error| format!("cannot open the log file {}: {error}", file.display()))?))
}

pub(super) fn builder(args: &Args) -> Outcome<Builder> {
    let mut builder = listens(args).into_iter().fold(args.builder.clone(), Builder::listen_at);
    if let Some(file) = &args.token_file {
        builder = builder.secret(read_secret(file)?);
    }
    if let Some(file) = &args.read_token_file {
        builder = builder.read_secret(read_secret(file)?);
    }
    Ok(builder)
}

fn read_secret(file: &Path) -> std::io::Result<String> {
    let secret = secret::read(file)?;
    if let Some(warning) = secret.warning {
        log::warn!("{warning}");
    }
    Ok(secret.text)
}

/// Every address to listen on; those that speak HTTP with the options that the flags set for all.
fn listens(args: &Args) -> Vec<Listen> {
    let mut listens = args.listen.clone();
    if listens.is_empty() {
        listens.push(Listen::new(Kind::Auto, DEFAULT_ADDRESS));
    }
    if args.legacy {
        listens.extend(Kind::legacy().map(|(kind, address)| Listen::new(kind, address)));
    }
    for listen in &mut listens {
        for (name, value) in args.http.iter().filter(|(name, _)| listen.kind.traits().has_option(name)) {
            // An option of the address itself takes precedence.
            if name == "allow-host" || listen.options.iter().all(|(there, _)| there != name) {
                listen.options.push((name.clone(), value.clone()));
            }
        }
    }
    if let Some(admin) = &args.admin {
        let hosts = args.http.iter().filter(|(name, _)| name == "allow-host").cloned();
        let options = admin.options.iter().cloned().chain(hosts).collect();
        listens.push(Listen { options, ..admin.clone() });
    }
    listens
}

/// Standard output carries these lines and nothing else, before the first connection is accepted.
fn announce(args: &Args, handle: &Handle) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    let mut write = || -> std::io::Result<()> {
        let served = served(args, handle).len();
        for (at, ((address, kind), is_tls)) in handle.addresses().iter().zip(handle.encrypted()).enumerate() {
            let tls = if *is_tls { ", TLS" } else { "" };
            let kind = if at < served { kind.name() } else { "admin" };
            writeln!(out, "listening on {address} ({kind}{tls})")?;
        }
        out.flush()
    };
    write().map_err(|error| format!("cannot write to standard output: {error}"))
}

/// All addresses but that of the operator, which is the last one.
fn served<'a>(args: &Args, handle: &'a Handle) -> &'a [(Address, Kind)] {
    &handle.addresses()[..handle.addresses().len() - usize::from(args.admin.is_some())]
}

fn warn_if_exposed(args: &Args, handle: &Handle) {
    let exposed = |address: &Address| address.socket_addr().is_some_and(|address| !address.ip().is_loopback());
    let admin = &handle.addresses()[served(args, handle).len()..];
    for (address, _) in admin.iter().filter(|(address, _)| exposed(address)) {
        log::warn!("{address} is not a loopback address: anyone who can connect can see which clients the server has");
    }
    if args.builder.access.is_some() {
        return; // its rules say what anybody may do
    }
    let what = args.rights_of_all();
    // The clients of the older systems cannot send a secret.
    let asks = |kind: Kind| args.token_file.is_some() && kind.traits().secret == Secret::Required;
    for (address, _) in served(args, handle).iter().filter(|(address, kind)| exposed(address) && !asks(*kind)) {
        log::warn!(
            "{address} is not a loopback address and requires no secret: anyone who can connect can {what} every file in {}",
            args.builder.root.display()
        );
    }
}

/// The ports on which all IPv6 addresses are listened on, and no IPv4 address is.
fn ports_without_ipv4(addresses: &[(Address, Kind)]) -> impl Iterator<Item = u16> {
    let addresses = || addresses.iter().filter_map(|(address, _)| address.socket_addr());
    let wildcards = addresses().filter(|address| address.is_ipv6() && address.ip().is_unspecified());
    let ports = wildcards.map(|address| address.port());
    ports.filter(move |port| !addresses().any(|address| address.is_ipv4() && address.port() == *port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_of_ipv6_without_one_of_ipv4_is_noticed() {
        let found = |addresses: &[&str]| {
            let addresses = addresses.iter().map(|text| (Address::Ip(text.parse().expect("an address")), Kind::Auto));
            ports_without_ipv4(&addresses.collect::<Vec<_>>()).collect::<Vec<_>>()
        };
        assert_eq!(found(&["[::]:80"]), [80]);
        assert_eq!(found(&["[::]:80", "0.0.0.0:80", "[::]:81", "127.0.0.1:82"]), [81]);
        assert_eq!(found(&["[::1]:80", "0.0.0.0:81", "[::]:82", "127.0.0.1:82"]), [0; 0]);
    }

    #[test]
    fn http_flags_apply_to_every_http_listener_and_to_no_other() {
        let words = [
            "--legacy",
            "--cors",
            "*",
            "--listen",
            "auto@127.0.0.1:1",
            "--listen",
            "http@127.0.0.1:2?cors=https://a.example",
            "--listen",
            "line@127.0.0.1:3",
        ];
        let listens = listens(&Settings::of(&words).expect("good words").args);
        let told: Vec<_> = listens.iter().filter(|listen| !listen.options.is_empty()).collect();
        let cors = |origin: &str| vec![("cors".to_owned(), origin.to_owned())];
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!((told[0].kind, &told[0].options), (Kind::Auto, &cors("*")));
        assert_eq!((told[1].kind, &told[1].options), (Kind::Http, &cors("https://a.example")), "the more exact wish");
    }
}
