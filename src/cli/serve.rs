//! `filewharf serve`: what was typed becomes a server; says where it listens and what it exposes.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgAction, ValueEnum};
use log::LevelFilter;

use crate::config::Limits;
use crate::dialect::Kind;
use crate::object::Durability;
use crate::platform::Health;
use crate::reactor::Ended;
use crate::server::{Builder, DEFAULT_ADDRESS, Handle, Listen, Server, ServerError};

/// Serve a folder.
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:\n  filewharf serve ./files --listen 127.0.0.1:7070\n  \
curl -T notes.txt http://127.0.0.1:7070/notes.txt\n  \
printf 'GET /notes.txt\\n' | nc -q1 127.0.0.1 7070")]
pub struct Args {
    /// The folder to serve; made if it is missing
    #[arg(default_value = "files")]
    dir: PathBuf,
    /// Where to listen, may be given many times; port 0 asks the kernel [default: 127.0.0.1:7070]
    #[arg(long, value_name = "[DIALECT@]ADDR:PORT[?OPTIONS]")]
    listen: Vec<Listen>,
    /// Also listen where the clients of the five older systems dial, each in its dialect
    #[arg(long)]
    legacy: bool,
    /// What OK promises about an upload: on stable storage, or complete in the kernel's cache
    #[arg(long, value_enum, default_value_t = DurabilityArg::Durable)]
    durability: DurabilityArg,
    /// Refuse every change
    #[arg(long)]
    read_only: bool,
    /// Ask every client for the secret in the first line of this file
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Let browsers run HTML and other active content as part of this site, instead of
    /// offering it as a download: only where you trust whoever uploads
    #[arg(long)]
    serve_html: bool,
    /// Let pages of this site, https://HOST, or of every site, *, use this server (CORS)
    #[arg(long, value_name = "ORIGIN")]
    cors: Option<String>,
    /// Permission bits of new files, in octal, instead of 0666 less the umask
    #[arg(long, value_name = "OCTAL", value_parser = octal)]
    file_mode: Option<u32>,
    /// Follow symbolic links that stay inside the folder when reading
    #[arg(long)]
    allow_links_inside: bool,
    /// Use only system calls that every unix has
    #[arg(long)]
    portable: bool,
    /// Pin the congestion control of every connection, for benchmarks
    #[arg(long, value_name = "NAME")]
    congestion: Option<String>,
    /// Log less (only warnings)
    #[arg(long, short, conflicts_with = "verbose")]
    quiet: bool,
    /// Log more; twice: everything
    #[arg(long, short, action = ArgAction::Count)]
    verbose: u8,
    #[command(flatten)]
    limits: LimitArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DurabilityArg {
    /// File and folder are synced before OK
    Durable,
    /// OK once the file is complete and visible
    None,
}

/// One flag for each bound that an operator may want to move.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// Largest upload, in bytes (K, M, G, T are powers of 1024)
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    max_size: Option<u64>,
    /// Connections open at once
    #[arg(long, value_name = "N")]
    max_connections: Option<usize>,
    /// Transfers that may hold memory at once
    #[arg(long, value_name = "N")]
    slots: Option<usize>,
    /// Requests waiting for a slot
    #[arg(long, value_name = "N")]
    slot_queue: Option<usize>,
    /// Size of one chunk
    #[arg(long, value_name = "BYTES", value_parser = size)]
    chunk_size: Option<usize>,
    /// Chunks of one slot
    #[arg(long, value_name = "N")]
    chunks: Option<usize>,
    /// The buffer that all connections read through
    #[arg(long, value_name = "BYTES", value_parser = size)]
    read_buffer: Option<usize>,
    /// Longest request head kept for a connection
    #[arg(long, value_name = "BYTES", value_parser = size)]
    max_head: Option<usize>,
    /// Written and not yet on the way to the disk, all uploads together
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    max_dirty: Option<u64>,
    /// Total time for a request head
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    head_timeout: Option<Duration>,
    /// Time between requests
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    idle_timeout: Option<Duration>,
    /// Time without a byte in the middle of a transfer
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    stall_timeout: Option<Duration>,
    /// Time to wait for a slot
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    slot_timeout: Option<Duration>,
    /// Time for a peer to read our last bytes
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    linger_timeout: Option<Duration>,
    /// Time for running transfers to end when the server drains
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    drain_timeout: Option<Duration>,
    /// Time to go on listening when the server drains
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    drain_grace: Option<Duration>,
    /// Fewest bytes per second of a transfer
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    min_rate: Option<u64>,
    /// Time over which --min-rate is averaged
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    rate_window: Option<Duration>,
    /// Bytes of one connection in one turn of the loop
    #[arg(long, value_name = "BYTES", value_parser = size)]
    turn_bytes: Option<usize>,
    /// Kernel send buffer of a connection
    #[arg(long, value_name = "BYTES", value_parser = size)]
    send_buffer: Option<usize>,
    /// Kernel receive buffer of a connection
    #[arg(long, value_name = "BYTES", value_parser = size)]
    recv_buffer: Option<usize>,
    /// Bytes the kernel takes ahead of the network, per connection; 0 for no bound
    #[arg(long, value_name = "BYTES", value_parser = size)]
    max_unsent: Option<usize>,
    /// Small files kept in memory while they are known to be fresh; 0 for none
    #[arg(long, value_name = "N")]
    hot_files: Option<usize>,
    /// Memory for them
    #[arg(long, value_name = "BYTES", value_parser = size)]
    hot_bytes: Option<usize>,
    /// Disk workers that open, read, write and list
    #[arg(long, value_name = "N")]
    io_workers: Option<usize>,
    /// Disk workers that sync, rename and remove
    #[arg(long, value_name = "N")]
    sync_workers: Option<usize>,
}

impl LimitArgs {
    fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        set(&mut limits.request_bytes_max, self.max_size);
        set(&mut limits.connections_max, self.max_connections);
        set(&mut limits.slots, self.slots);
        set(&mut limits.slot_queue_max, self.slot_queue);
        set(&mut limits.chunk_bytes, self.chunk_size);
        set(&mut limits.chunks_per_slot, self.chunks);
        set(&mut limits.read_buffer_bytes, self.read_buffer);
        set(&mut limits.head_len_max, self.max_head);
        set(&mut limits.dirty_bytes_max, self.max_dirty);
        set(&mut limits.head_timeout, self.head_timeout);
        set(&mut limits.idle_timeout, self.idle_timeout);
        set(&mut limits.stall_timeout, self.stall_timeout);
        set(&mut limits.slot_timeout, self.slot_timeout);
        set(&mut limits.linger_timeout, self.linger_timeout);
        set(&mut limits.drain_timeout, self.drain_timeout);
        set(&mut limits.drain_grace, self.drain_grace);
        set(&mut limits.rate_bytes_per_s_min, self.min_rate);
        set(&mut limits.rate_window, self.rate_window);
        set(&mut limits.turn_bytes_max, self.turn_bytes);
        limits.turn_bytes_min = limits.turn_bytes_min.min(limits.turn_bytes_max);
        set(&mut limits.send_buffer_bytes, self.send_buffer);
        set(&mut limits.recv_buffer_bytes, self.recv_buffer);
        set(&mut limits.unsent_bytes_max, self.max_unsent);
        set(&mut limits.hot_files_max, self.hot_files);
        set(&mut limits.hot_bytes_max, self.hot_bytes);
        set(&mut limits.io_workers, self.io_workers);
        set(&mut limits.sync_workers, self.sync_workers);
        limits
    }
}

fn set<T: Copy>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// Runs the server until it has drained: 0 if nothing was cut off and the disk kept every promise,
/// else 1.
pub fn run(args: &Args) -> ExitCode {
    let ended = serve(args);
    log::logger().flush();
    match ended {
        Ok(Ended { cut_off: 0, health: Health::Good | Health::ReadOnly }) => ExitCode::SUCCESS,
        Ok(Ended { cut_off, health }) => {
            eprintln!("filewharf: ended with {cut_off} requests cut off, the store is {health:?}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("filewharf: {error}");
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
    crate::os::log::install(level)?;
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
        .limits(args.limits.limits())
        .durability(match args.durability {
            DurabilityArg::Durable => Durability::Durable,
            DurabilityArg::None => Durability::Written,
        })
        .read_only(args.read_only)
        .links_inside(args.allow_links_inside)
        .portable(args.portable)
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
        builder = builder.secret(super::read_secret(file)?);
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
        .ok_or_else(|| "is not a number of bytes".into())
}

fn size(text: &str) -> Result<usize, String> {
    bytes(text).and_then(|bytes| usize::try_from(bytes).map_err(|_| "is too large".into()))
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
