//! `filewharf serve`: what was typed becomes a server; says where it listens and what it exposes.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use lexopt::Parser;
use log::LevelFilter;

use super::usage::{Flag, Stop, Usage, within};
use crate::config::Limits;
use crate::dialect::Kind;
use crate::object::Durability;
use crate::os::log::{install, last_words};
use crate::platform::Health;
use crate::reactor::Ended;
use crate::server::{Builder, DEFAULT_ADDRESS, Handle, Listen, Server, ServerError};
use crate::wire::line::LINE_LEN_MAX;

/// What was typed.
#[derive(Debug)]
pub(super) struct Args {
    dir: PathBuf,
    listen: Vec<Listen>,
    legacy: bool,
    durability: Durability,
    read_only: bool,
    token_file: Option<PathBuf>,
    serve_html: bool,
    cors: Option<String>,
    allow_host: Vec<String>,
    file_mode: Option<u32>,
    links_inside: bool,
    portable: bool,
    shared: bool,
    congestion: Option<String>,
    quiet: bool,
    verbose: u32,
    limits: Limits,
}

pub(super) static USAGE: Usage<Args> = Usage {
    name: "serve",
    about: "Serve a folder",
    line: "[OPTIONS] [DIR]",
    operand: ("[DIR]", "The folder to serve; made if it is missing, but none above it [default: files]"),
    operands: 0..=1,
    flags: &[("Options", OPTIONS), ("Limits", LIMITS)],
    instead: &[
        ("--port", "--listen 127.0.0.1:PORT"),
        ("-p", "--listen 127.0.0.1:PORT"),
        ("--host", "--listen ADDR:PORT"),
        ("--bind", "--listen ADDR:PORT"),
        ("--address", "--listen ADDR:PORT"),
    ],
    notes: "EXAMPLE:
  filewharf serve ./files --listen 127.0.0.1:7070
  curl -f -T notes.txt http://127.0.0.1:7070/notes.txt
  printf 'GET /notes.txt\\nQUIT\\n' | nc 127.0.0.1 7070",
};

const OPTIONS: &[Flag<Args>] = &[
    Flag::text(
        "listen",
        "[DIALECT@]ADDR:PORT[?OPTIONS]",
        "Where to listen, may be given many times; port 0 asks the kernel [default: 127.0.0.1:7070]",
        |args: &mut Args, text| text.parse().map(|listen| args.listen.push(listen)),
    )
    .again(),
    Flag::plain(
        "legacy",
        "Also listen where the clients of the five older systems dial, each in its dialect",
        |args| args.legacy = true,
    ),
    Flag::text(
        "durability",
        "LEVEL",
        "What OK promises about an upload: that it is on stable storage (durable), or complete in the kernel's \
         cache (none) [default: durable]",
        |args, text| durability(text).map(|level| args.durability = level),
    ),
    Flag::plain("read-only", "Refuse every change", |args| args.read_only = true),
    Flag::path("token-file", "FILE", "Ask every client for the secret in the first line of this file", |args, file| {
        args.token_file = Some(file);
    }),
    Flag::plain(
        "serve-html",
        "Let browsers run HTML and other active content as part of this site, instead of offering it as a \
         download: only where you trust whoever uploads",
        |args| args.serve_html = true,
    ),
    Flag::text(
        "cors",
        "ORIGIN",
        "Let pages of this site, https://HOST, or of every site, *, use this server (CORS)",
        |args, text| {
            args.cors = Some(text.to_owned());
            Ok(())
        },
    ),
    Flag::text(
        "allow-host",
        "NAME",
        "Also answer HTTP requests for this host name, or for any, *, where a listener on a loopback address asks \
         for no secret; may be given many times",
        |args: &mut Args, text| {
            args.allow_host.push(text.to_owned());
            Ok(())
        },
    )
    .again(),
    Flag::text(
        "file-mode",
        "OCTAL",
        "Permission bits of new files, in octal, instead of 0666 less the umask",
        |args, text| octal(text).map(|mode| args.file_mode = Some(mode)),
    ),
    Flag::plain("allow-links-inside", "Follow symbolic links that stay inside the folder when reading", |args| {
        args.links_inside = true;
    }),
    Flag::plain(
        "shared",
        "Let other servers serve the folder as well, all of them with this flag; without it, a second one does not \
         start unless it is read-only",
        |args| args.shared = true,
    ),
    Flag::plain("portable", "Use only system calls that every unix has", |args| args.portable = true),
    Flag::text("congestion", "NAME", "Pin the congestion control of every connection, for benchmarks", |args, text| {
        args.congestion = Some(text.to_owned());
        Ok(())
    }),
    Flag::plain("quiet", "Log less (only warnings)", |args: &mut Args| args.quiet = true).or('q'),
    Flag::plain("verbose", "Log more; twice: everything", |args: &mut Args| args.verbose += 1).or('v').again(),
];

/// One flag for each bound that an operator may want to move.
const LIMITS: &[Flag<Args>] = &[
    Flag::text(
        "max-size",
        "BYTES",
        "Largest upload, in bytes (K, M, G, T are powers of 1024) [default: 1T]",
        |args, text| bytes(text).map(|value| args.limits.request_bytes_max = value),
    ),
    Flag::text("max-connections", "N", "Connections open at once [default: 10000]", |args, text| {
        within(text, 1..=usize::MAX).map(|value| args.limits.connections_max = value)
    }),
    Flag::text("slots", "N", "Transfers that may hold memory at once [default: 512]", |args, text| {
        within(text, 1..=usize::MAX).map(|value| args.limits.slots = value)
    }),
    Flag::text(
        "per-address",
        "PERCENT",
        "What one client address may have of connections and slots; 100 behind a proxy [default: 50]",
        |args, text| within(text, 1..=100).map(|percent| args.limits.per_address_percent = percent),
    ),
    Flag::text("slot-queue", "N", "Requests waiting for a slot [default: 4096]", |args, text| {
        within(text, 0..=usize::MAX).map(|value| args.limits.slot_queue_max = value)
    }),
    Flag::text("chunk-size", "BYTES", "Size of one chunk [default: 64K]", |args, text| {
        size_from(text, 1).map(|value| args.limits.chunk_bytes = value)
    }),
    Flag::text("chunks", "N", "Chunks of one slot [default: 2]", |args, text| {
        within(text, 1..=128).map(|value| args.limits.chunks_per_slot = value)
    }),
    Flag::text("read-buffer", "BYTES", "The buffer that all connections read through [default: 256K]", |args, text| {
        size_from(text, 1).map(|value| args.limits.read_buffer_bytes = value)
    }),
    Flag::text("max-head", "BYTES", "Longest request head kept for a connection [default: 8K]", |args, text| {
        size_from(text, LINE_LEN_MAX).map(|value| args.limits.head_len_max = value)
    }),
    Flag::text(
        "max-dirty",
        "BYTES",
        "Written and not yet on the way to the disk, all uploads together [default: 256M]",
        |args, text| bytes(text).map(|value| args.limits.dirty_bytes_max = value),
    ),
    Flag::text(
        "min-free",
        "BYTES",
        "Left free on the file system; an upload that would leave less is refused [default: 0]",
        |args, text| bytes(text).map(|value| args.limits.free_bytes_min = value),
    ),
    Flag::text(
        "max-reserved",
        "BYTES",
        "Reserved on the file system ahead of what was received, all uploads together [default: 1G]",
        |args, text| bytes(text).map(|value| args.limits.reserved_bytes_max = value),
    ),
    Flag::text(
        "accept-defer",
        "SECONDS",
        "Time the kernel holds a connection that has sent nothing before it hands it over; 0 for not at all \
         [default: 1]",
        |args, text| seconds(text).map(|value| args.limits.accept_defer = value),
    ),
    Flag::text("head-timeout", "SECONDS", "Total time for a request head [default: 30]", |args, text| {
        seconds(text).map(|value| args.limits.head_timeout = value)
    }),
    Flag::text("idle-timeout", "SECONDS", "Time between requests [default: 300]", |args, text| {
        seconds(text).map(|value| args.limits.idle_timeout = value)
    }),
    Flag::text(
        "stall-timeout",
        "SECONDS",
        "Time without a byte in the middle of a transfer [default: 60]",
        |args, text| seconds(text).map(|value| args.limits.stall_timeout = value),
    ),
    Flag::text("slot-timeout", "SECONDS", "Time to wait for a slot [default: 30]", |args, text| {
        seconds(text).map(|value| args.limits.slot_timeout = value)
    }),
    Flag::text("linger-timeout", "SECONDS", "Time for a peer to read our last bytes [default: 2]", |args, text| {
        seconds(text).map(|value| args.limits.linger_timeout = value)
    }),
    Flag::text(
        "drain-timeout",
        "SECONDS",
        "Time for running transfers to end when the server drains [default: 30]",
        |args, text| seconds(text).map(|value| args.limits.drain_timeout = value),
    ),
    Flag::text(
        "drain-grace",
        "SECONDS",
        "Time to go on listening when the server drains [default: 0]",
        |args, text| seconds(text).map(|value| args.limits.drain_grace = value),
    ),
    Flag::text("min-rate", "BYTES", "Fewest bytes per second of a transfer [default: 50]", |args, text| {
        bytes(text).map(|value| args.limits.rate_bytes_per_s_min = value)
    }),
    Flag::text("rate-window", "SECONDS", "Time over which --min-rate is averaged [default: 20]", |args, text| {
        seconds(text).map(|value| args.limits.rate_window = value)
    }),
    Flag::text("turn-bytes", "BYTES", "Bytes of one connection in one turn of the loop [default: 4M]", |args, text| {
        size_from(text, 1).map(|value| args.limits.turn_bytes_max = value)
    }),
    Flag::text(
        "send-buffer",
        "BYTES",
        "Kernel send buffer of a connection; 0: the system's [default: 0]",
        |args, text| size(text).map(|value| args.limits.send_buffer_bytes = value),
    ),
    Flag::text(
        "recv-buffer",
        "BYTES",
        "Kernel receive buffer of a connection; 0: the system's [default: 0]",
        |args, text| size(text).map(|value| args.limits.recv_buffer_bytes = value),
    ),
    Flag::text(
        "max-unsent",
        "BYTES",
        "Bytes the kernel takes ahead of the network, per connection; 0 for no bound [default: 128K]",
        |args, text| size(text).map(|value| args.limits.unsent_bytes_max = value),
    ),
    Flag::text(
        "hot-files",
        "N",
        "Small files kept in memory while they are known to be fresh; 0 for none [default: 1024]",
        |args, text| within(text, 0..=usize::MAX).map(|value| args.limits.hot_files_max = value),
    ),
    Flag::text("hot-bytes", "BYTES", "Memory for them [default: 8M]", |args, text| {
        size(text).map(|value| args.limits.hot_bytes_max = value)
    }),
    Flag::text("io-workers", "N", "Disk workers that open, read, write and list [default: 4]", |args, text| {
        within(text, 1..=usize::MAX).map(|value| args.limits.io_workers = value)
    }),
    Flag::text("sync-workers", "N", "Disk workers that sync, rename and remove [default: 5]", |args, text| {
        within(text, 1..=usize::MAX).map(|value| args.limits.sync_workers = value)
    }),
];

impl Args {
    /// Understands what was typed behind `serve`.
    pub(super) fn parse(words: &mut Parser) -> Result<Self, Stop> {
        let mut args = Self {
            dir: PathBuf::from("files"),
            listen: Vec::new(),
            legacy: false,
            durability: Durability::Durable,
            read_only: false,
            token_file: None,
            serve_html: false,
            cors: None,
            allow_host: Vec::new(),
            file_mode: None,
            links_inside: false,
            portable: false,
            shared: false,
            congestion: None,
            quiet: false,
            verbose: 0,
            limits: Limits::default(),
        };
        if let Some(dir) = USAGE.parse(words, &mut args)?.pop() {
            args.dir = dir.into();
        }
        if args.quiet && args.verbose > 0 {
            return Err(USAGE.wrong("the argument '--quiet' cannot be used with '--verbose'"));
        }
        args.limits.turn_bytes_min = args.limits.turn_bytes_min.min(args.limits.turn_bytes_max);
        Ok(args)
    }
}

/// Runs the server until it has drained: 0 if nothing was cut off and the disk kept every promise,
/// else 1.
pub(super) fn run(args: &Args) -> ExitCode {
    let ended = serve(args);
    log::logger().flush();
    match ended {
        Ok(Ended { cut_off: 0, health: Health::Good | Health::ReadOnly | Health::Failing }) => ExitCode::SUCCESS,
        Ok(Ended { cut_off, health }) => {
            last_words(&format!("filewharf: ended with {cut_off} requests cut off, the store is {health:?}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            last_words(&format!("filewharf: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn serve(args: &Args) -> Result<Ended, Box<dyn std::error::Error>> {
    let level = match (args.quiet, args.verbose) {
        (true, _) => LevelFilter::Warn,
        (false, 0) => LevelFilter::Info,
        (false, 1) => LevelFilter::Debug,
        (false, _) => LevelFilter::Trace,
    };
    install(level)?;
    let server = builder(args)?.build()?;
    let handle = server.handle();
    log::info!("serving {}", args.dir.display());
    log::info!("memory: {}", server.ceiling());
    warn_if_exposed(args, &handle);
    announce(&handle)?;
    let ended = server.run()?;
    log::info!("ended");
    Ok(ended)
}

fn builder(args: &Args) -> Result<Builder, Box<dyn std::error::Error>> {
    let mut builder = Server::builder()
        .root(&args.dir)
        .limits(args.limits.clone())
        .durability(args.durability)
        .read_only(args.read_only)
        .links_inside(args.links_inside)
        .portable(args.portable)
        .shared(args.shared)
        .signals();
    for listen in listens(args) {
        builder = builder.listen_at(listen);
    }
    if let Some(mode) = args.file_mode {
        builder = builder.file_mode(mode);
    }
    if let Some(name) = &args.congestion {
        builder = builder.congestion(name);
    }
    if let Some(file) = &args.token_file {
        let secret = super::read_secret(file)?;
        if let Some(warning) = secret.warning {
            log::warn!("{warning}");
        }
        builder = builder.secret(secret.text);
    }
    Ok(builder)
}

/// Every address, with what the flags say to all that speak HTTP.
fn listens(args: &Args) -> Vec<Listen> {
    let at = |kind, address: &str| Listen { kind, address: address.to_owned(), options: Vec::new() };
    let mut listens = args.listen.clone();
    if listens.is_empty() {
        listens.push(at(Kind::Auto, DEFAULT_ADDRESS));
    }
    if args.legacy {
        listens.extend(Kind::LEGACY.map(|(kind, address)| at(kind, address)));
    }
    let said = [("serve-html", args.serve_html.then(String::new)), ("cors", args.cors.clone())];
    for listen in listens.iter_mut().filter(|listen| listen.kind.speaks_http()) {
        for (name, value) in said.iter().filter_map(|(name, value)| Some((*name, value.clone()?))) {
            // What the address itself says is the more exact wish.
            if listen.options.iter().all(|(there, _)| there != name) {
                listen.options.push((name.to_owned(), value));
            }
        }
        listen.options.extend(args.allow_host.iter().map(|name| ("allow-host".to_owned(), name.clone())));
    }
    listens
}

/// Standard output carries these lines and nothing else, before the first connection is accepted.
fn announce(handle: &Handle) -> Result<(), ServerError> {
    let mut out = std::io::stdout().lock();
    let mut write = || -> std::io::Result<()> {
        for (address, kind) in handle.addresses() {
            writeln!(out, "listening on {address} ({kind})")?;
        }
        out.flush()
    };
    write().map_err(ServerError::announce)
}

fn warn_if_exposed(args: &Args, handle: &Handle) {
    let what = if args.read_only { "read" } else { "read, replace and delete" };
    // The clients of the older systems cannot carry a secret.
    let asks = |kind: Kind| args.token_file.is_some() && (kind.speaks_http() || kind == Kind::Line);
    let exposed = |address: &SocketAddr| !address.ip().is_loopback();
    for (address, _) in handle.addresses().iter().filter(|(address, kind)| exposed(address) && !asks(*kind)) {
        log::warn!(
            "{address} is not loopback and asks for no secret: whoever reaches it can {what} every file in {}",
            args.dir.display()
        );
    }
}

fn durability(text: &str) -> Result<Durability, String> {
    match text {
        "durable" => Ok(Durability::Durable),
        "none" => Ok(Durability::Written),
        _ => Err("is neither durable nor none".into()),
    }
}

fn octal(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777)
        .ok_or_else(|| "is not an octal mode up to 777".into())
}

fn bytes(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 10),
        Some((at, 'm' | 'M')) => (&text[..at], 20),
        Some((at, 'g' | 'G')) => (&text[..at], 30),
        Some((at, 't' | 'T')) => (&text[..at], 40),
        _ => (text, 0),
    };
    crate::wire::range::decimal(digits)
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| "is not a number of bytes such as 500M or 1G (K, M, G and T are powers of 1024)".into())
}

fn size(text: &str) -> Result<usize, String> {
    bytes(text).and_then(|bytes| usize::try_from(bytes).map_err(|_| "is too large".into()))
}

fn size_from(text: &str, least: usize) -> Result<usize, String> {
    size(text).and_then(|size| if size < least { Err(format!("must be at least {least}")) } else { Ok(size) })
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "is not a number of seconds".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_http_is_said_to_all_that_speak_it_and_to_nobody_else() {
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
        let args = Args::parse(&mut Parser::from_args(words)).expect("good words");
        let listens = listens(&args);
        let told: Vec<_> = listens.iter().filter(|listen| !listen.options.is_empty()).collect();
        let cors = |origin: &str| vec![("cors".to_owned(), origin.to_owned())];
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!((told[0].kind, &told[0].options), (Kind::Auto, &cors("*")));
        assert_eq!((told[1].kind, &told[1].options), (Kind::Http, &cors("https://a.example")), "the more exact wish");
    }

    #[test]
    fn every_limit_has_the_default_that_its_help_tells() {
        let help = USAGE.help();
        let limits = help.split("Limits:").nth(1).expect("the limits").split("--help").next().expect("before");
        let mut checked = 0;
        for flag in limits.split("\n      --").skip(1) {
            let name = flag.split([' ', '\n']).next().expect("a name");
            let text: Vec<&str> = flag.split_whitespace().collect();
            let text = text.join(" ");
            let default = text.split("[default: ").nth(1).and_then(|rest| rest.split(']').next());
            let Some(default) = default else { continue };
            checked += 1;
            let words = [format!("--{name}"), default.to_owned()];
            let args = Args::parse(&mut Parser::from_args(words)).expect("a default that can be typed");
            assert_eq!(args.limits, Limits::default(), "--{name} {default}");
        }
        assert!(checked >= 27, "{checked} of {limits}");
    }

    #[test]
    fn sizes_take_a_unit_and_refuse_what_does_not_fit() {
        assert_eq!(bytes("10"), Ok(10));
        assert_eq!(bytes("64K"), Ok(65_536));
        assert_eq!(bytes("1g"), Ok(1 << 30));
        for bad in ["", "K", "-1", "1.5M", "99999999999T", "1KB"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert!(seconds("-1").is_err());
    }
}
