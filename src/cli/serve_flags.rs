//! The arguments of `filewharf serve`: each flag is declared once, with its help and the limit it sets.

use std::path::PathBuf;

use log::LevelFilter;

use super::flag::{Conflict, Flag, SetResult, Value::*, is_same};
use super::usage::{Command, Usage};
#[cfg(feature = "access-log")]
use crate::config::LogFormat;
use crate::config::{self, SandboxMode, TlsFiles};
use crate::dialect::{Kind, Listening};
use crate::object::Durability;
use crate::server::{Builder, DEFAULT_ADDRESS, Listen, Server};

/// The flags fill in the builder of the server, but for what has to be combined or read first.
#[derive(Clone, Debug)]
pub(super) struct Args {
    pub(super) builder: Builder,
    pub(super) listen: Vec<Listen>,
    /// The first of these as it was written.
    first_listen: Option<String>,
    /// Where the operator asks.
    pub(super) admin: Option<Listen>,
    pub(super) legacy: bool,
    pub(super) token_file: Option<PathBuf>,
    pub(super) read_token_file: Option<PathBuf>,
    /// Options of every listener that speaks HTTP, unless its address sets them itself.
    pub(super) http: Vec<(String, String)>,
    /// More of them.
    #[cfg(feature = "config")]
    pub(super) config: Option<PathBuf>,
    /// Print a QR code of an address.
    #[cfg(feature = "share")]
    pub(super) qr: bool,
    pub(super) quiet: bool,
    pub(super) verbose: u32,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            builder: Server::builder().sandbox(SandboxMode::Auto).signals(),
            listen: Vec::new(),
            first_listen: None,
            admin: None,
            legacy: false,
            token_file: None,
            read_token_file: None,
            http: Vec::new(),
            #[cfg(feature = "config")]
            config: None,
            #[cfg(feature = "share")]
            qr: false,
            quiet: false,
            verbose: 0,
        }
    }
}

impl Args {
    /// Checks what only all flags together show, once they are set.
    pub(super) fn finish(&mut self) -> Result<(), Conflict> {
        if self.quiet && self.verbose > 0 {
            return Conflict::of(&["quiet", "verbose"], "the argument '--quiet' cannot be used with '--verbose'");
        }
        if self.read_token_file.is_some() && self.token_file.is_none() {
            return Conflict::of(&["read-token-file"], "the argument '--read-token-file' needs '--token-file'");
        }
        if self.builder.access.is_some() && self.token_file.is_some() {
            return Conflict::of(
                &["access", "token-file"],
                "the argument '--access' cannot be used with '--token-file'",
            );
        }
        self.check_tls()?;
        let fixed = &mut self.builder.limits.fixed;
        fixed.turn_bytes_min = fixed.turn_bytes_min.min(fixed.turn_bytes_max);
        Ok(())
    }

    /// What is logged.
    pub(super) const fn max_level(&self) -> LevelFilter {
        match (self.quiet, self.verbose) {
            (true, _) => LevelFilter::Warn,
            (false, 0) => LevelFilter::Info,
            (false, 1) => LevelFilter::Debug,
            (false, _) => LevelFilter::Trace,
        }
    }

    /// Refuses flags of TLS that would have no effect: the operator believes that connections are encrypted.
    fn check_tls(&self) -> Result<(), Conflict> {
        let TlsFiles { certificate, key, self_signed, client_ca, names } = &self.builder.tls;
        if certificate.is_some() != key.is_some() {
            let why = "the arguments '--tls-cert' and '--tls-key' need each other";
            return Conflict::of(&["tls-cert", "tls-key"], why);
        }
        if certificate.is_some() && self_signed.is_some() {
            let why = "the argument '--tls-self-signed' cannot be used with '--tls-cert'";
            return Conflict::of(&["tls-self-signed", "tls-cert"], why);
        }
        if !names.is_empty() && self_signed.is_none() {
            return Conflict::of(&["tls-name"], "the argument '--tls-name' needs '--tls-self-signed'");
        }
        if self.listen.iter().any(|listen| listen.is_tls) {
            let has_identity = certificate.is_some() || self_signed.is_some();
            let needed = "an address with ?tls needs '--tls-cert FILE --tls-key FILE' or '--tls-self-signed FOLDER'";
            return if has_identity { Ok(()) } else { Conflict::of(&["listen"], needed) };
        }
        let given: [(&'static [&'static str], _); 3] =
            [(&["tls-cert"], certificate), (&["tls-self-signed"], self_signed), (&["tls-client-ca"], client_ca)];
        let Some((flags, _)) = given.into_iter().find(|(_, file)| file.is_some()) else { return Ok(()) };
        let listen = self.first_listen.as_deref().unwrap_or(DEFAULT_ADDRESS);
        let separator = if listen.contains('?') { '&' } else { '?' };
        let why = format!(
            "'--{}' has no effect, because no address is encrypted\n\n  tip: write --listen '{listen}{separator}tls'",
            flags[0]
        );
        Conflict::of(flags, why)
    }

    /// What anybody can do where nothing is asked for.
    pub(super) fn rights_of_all(&self) -> &'static str {
        if self.builder.store.read_only { "read" } else { "read, replace and delete" }
    }

    fn http(&mut self, name: &str, value: &str) -> SetResult {
        let option = (name.to_owned(), value.to_owned());
        Listening::new(Kind::Http, std::slice::from_ref(&option), 0)?;
        self.http.push(option);
        Ok(())
    }
}

pub(super) static USAGE: Usage<Args> = Usage {
    command: Command {
        name: "serve",
        about: "Serve a folder",
        line: "[OPTIONS] [DIR]",
        operand: ("[DIR]", "The folder to serve; created if it is missing, but not its parents [default: files]"),
        operands: 0..=1,
        hints: &[
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
    },
    flags: &[
        ("Options", OPTIONS),
        ("Protocols", PROTOCOLS),
        ("Secrets and certificates", SECRETS),
        ("Files", FILES),
        ("Process", PROCESS),
        ("Limits of clients", CLIENTS),
        ("Limits of storage", STORAGE),
        ("Limits of time", TIMES),
        ("Limits of memory and work", MEMORY),
    ],
};

/// What most people need: `--help` shows these, and `--help=all` the others too.
const OPTIONS: &[Flag<Args>] = &[
    #[cfg(feature = "config")]
    Flag::new(
        "config",
        Path("FILE", |args, file| args.config = Some(file)),
        "Also take flags from this file, in each line the name of one without -- and its value; variables of the \
         environment, FILEWHARF_MAX_SIZE for --max-size, take precedence over it, and the command line over both",
    ),
    Flag::new(
        "listen",
        Text("[DIALECT@]ADDR:PORT[?OPTIONS]", |args: &mut Args, text| {
            let listen: Listen = text.parse()?;
            Listening::new(listen.kind, &listen.options, 0)?;
            args.listen.push(listen);
            args.first_listen.get_or_insert_with(|| text.to_owned());
            Ok(())
        }),
        "Address to listen on, or unix:PATH, may be given many times; port 0 asks the kernel; [::] takes IPv6 only; ?proxy=NETWORK,… accepts proxies only, with the PROXY protocol; ?trust=NETWORK,… believes X-Forwarded-For and Forwarded of these; ?tls encrypts; ?reuseport shares the address with other processes; of a unix socket ?mode=BITS (660) and ?owner=USER:GROUP are those of its file",
    )
    .default(DEFAULT_ADDRESS)
    .repeatable(),
    Flag::new("read-only", Switch(|args| args.builder.store.read_only = true), "Refuse every change"),
    Flag::new(
        "token-file",
        Path("FILE", |args, file| args.token_file = Some(file)),
        "Require the secret in the first line of this file from every client",
    ),
    Flag::new(
        "access",
        Path("FILE", |args, file| args.builder.access = Some(file)),
        "Who may do what, by the users, tokens and rules of this file; SIGHUP reads it again",
    ),
    Flag::new(
        "tls-cert",
        Path("FILE", |args, file| args.builder.tls.certificate = Some(file)),
        "The certificate of the addresses with ?tls, followed by those of the intermediate authorities (PEM)",
    ),
    Flag::new("tls-key", Path("FILE", |args, file| args.builder.tls.key = Some(file)), "Its private key (PEM)"),
    Flag::new(
        "tls-self-signed",
        Path("FOLDER", |args, dir| args.builder.tls.self_signed = Some(dir)),
        "Instead of --tls-cert and --tls-key, make a certificate at the first start, keep it and its key in this folder, \
         and print its fingerprint; it is for the addresses that are listened on, the name of this machine and localhost",
    ),
    Flag::new(
        "serve-html",
        Switch(|args| args.http.push(("serve-html".to_owned(), String::new()))),
        "Let browsers run HTML and other active content as part of this site, instead of offering it as a \
         download, and send the index.html of a folder in place of its names: only if you trust everyone who can upload",
    ),
    Flag::new(
        "no-webdav",
        Switch(|args| args.http.push(("no-webdav".to_owned(), String::new()))),
        "Do not let clients mount the folder by WebDAV; then DELETE removes a folder with content only with Depth: infinity",
    ),
    Flag::new(
        "path-prefix",
        Text("PATH", |args: &mut Args, text| args.http("path-prefix", text)),
        "Answer HTTP requests below this path only: for a proxy in front that passes them on with it",
    ),
    limit("max-size"),
    Flag::new(
        "durability",
        Text("LEVEL", |args: &mut Args, text| {
            args.builder.store.durability = match text {
                "durable" => Durability::Durable,
                "written" | "none" => Durability::Written,
                _ => return Err("is neither durable nor written".into()),
            };
            Ok(())
        }),
        "What OK promises about an upload: on stable storage (durable), or complete in the kernel's cache (written; none means the same)",
    )
    .default("durable"),
    Flag::new(
        "user",
        Text("USER[:GROUP]", |args, text| {
            args.builder.confinement.user = Some(text.to_owned());
            Ok(())
        }),
        "Started by root, become this user, a name or a number, once the addresses are bound",
    ),
    #[cfg(feature = "share")]
    Flag::new("qr", Switch(|args| args.qr = true), "Print a QR code of the address for phones in the same network"),
    Flag::new("quiet", Switch(|args: &mut Args| args.quiet = true), "Log less (only warnings)").or('q'),
    Flag::new("verbose", Switch(|args: &mut Args| args.verbose += 1), "Log more; twice: everything")
        .or('v')
        .repeatable(),
];

const PROTOCOLS: &[Flag<Args>] = &[
    #[cfg(feature = "legacy")]
    Flag::new(
        "legacy",
        Switch(|args| args.legacy = true),
        "Also listen where the clients of the five older systems connect, each in its dialect",
    ),
    Flag::new(
        "cors",
        Text("ORIGIN", |args, text| args.http("cors", text)),
        "Let pages of this site, https://HOST, or of every site, *, use this server (CORS)",
    ),
    Flag::new(
        "allow-host",
        Text("NAME", |args: &mut Args, text| args.http("allow-host", text)),
        "Also answer HTTP requests for this host name, or for any, *, on a loopback address without a secret; may \
         be given many times",
    )
    .repeatable(),
];

const SECRETS: &[Flag<Args>] = &[
    Flag::new(
        "read-token-file",
        Path("FILE", |args, file| args.read_token_file = Some(file)),
        "Also take the secret in the first line of this file, which permits reading only",
    ),
    Flag::new(
        "allow-plain-passwords",
        Switch(|args| args.builder.allows_plain_passwords = true),
        "Take passwords also at addresses that are neither encrypted nor on the loopback interface, where others can \
         read them",
    ),
    Flag::new(
        "tls-client-ca",
        Path("FILE", |args, file| args.builder.tls.client_ca = Some(file)),
        "Ask clients of these addresses for a certificate of one of these authorities (PEM); one without is served too",
    ),
    Flag::new(
        "tls-name",
        Text("NAME", |args: &mut Args, text| {
            let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._*:".contains(&byte);
            if text.is_empty() || !text.bytes().all(is_good) {
                return Err("is neither the name of a host nor an IP address".into());
            }
            args.builder.tls.names.push(text.to_owned());
            Ok(())
        }),
        "A name or an address by which clients know this server, for the certificate of --tls-self-signed; may be given \
         many times",
    )
    .repeatable(),
];

const FILES: &[Flag<Args>] = &[
    #[cfg(feature = "config")]
    Flag::new(
        "root",
        Path("DIR", |args: &mut Args, dir| args.builder.root = dir),
        "The folder to serve, in place of DIR",
    )
    .default("files"),
    Flag::new(
        "file-mode",
        Text("OCTAL", |args, text| {
            let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
            args.builder.store.file_mode = Some(mode.ok_or("is not an octal mode up to 777")?);
            Ok(())
        }),
        "Permission bits of files with a new name, in octal, instead of 0666 less the umask",
    ),
    Flag::new(
        "allow-links-inside",
        Switch(|args| args.builder.store.links_inside = true),
        "Follow symbolic links that stay inside the folder when reading",
    ),
    Flag::new(
        "shared",
        Switch(|args| args.builder.store.shared = true),
        "Let other servers serve the folder as well, all of them with this flag; without it, a second one does not \
         start unless it is read-only",
    ),
    Flag::new(
        "trust-fs",
        Switch(|args| args.builder.store.trust_fs = true),
        "Answer stored=durable on any file system; without it only on ext4, xfs, btrfs, f2fs, zfs, overlay over these, \
         nfs, ceph and gluster, and stored=written elsewhere",
    ),
    Flag::new(
        "portable",
        Switch(|args| args.builder.store.portable = true),
        "Use only system calls that every unix has",
    ),
];

const PROCESS: &[Flag<Args>] = &[
    Flag::new(
        "sandbox",
        Text("MODE", |args: &mut Args, text| {
            args.builder.confinement.mode = match text {
                "auto" => SandboxMode::Auto,
                "require" => SandboxMode::Require,
                "off" => SandboxMode::Off,
                _ => return Err("is none of auto, require and off".into()),
            };
            Ok(())
        }),
        "Give up all rights that serving the folder does not need: as far as the system permits (auto), or do not start \
         (require), or keep them (off)",
    )
    .default("auto"),
    Flag::new(
        "congestion",
        Text("NAME", |args, text| {
            args.builder.congestion = Some(text.to_owned());
            Ok(())
        }),
        "Pin the congestion control of every connection, for benchmarks",
    ),
    #[cfg(feature = "handover")]
    Flag::new(
        "control",
        Path("PATH", |args, path| args.builder.control_socket = Some(path)),
        "Let the next process of this server take over by this Unix socket, which only this user can use",
    ),
    #[cfg(feature = "handover")]
    Flag::new(
        "takeover",
        Path("PATH", |args, path| args.builder.taken_over = Some(path)),
        "Take over from the server with this control socket: no connection is refused, and it ends when it has served \
         those it has; without such a server, start as always",
    ),
    #[cfg(feature = "admin")]
    Flag::new(
        "admin",
        Text("ADDR:PORT|unix:PATH", |args, text| {
            let (address, options) = text.split_once('?').unwrap_or((text, ""));
            args.admin = Some(format!("http@{address}?{options}&admin").parse()?);
            Ok(())
        }),
        "Answer the operator at this address: /health, /ready, /metrics and /connections, and nothing else; it asks for no \
         secret",
    ),
    #[cfg(feature = "access-log")]
    Flag::new(
        "log-format",
        Text("FORMAT", |args, text| {
            args.builder.log_format = match text {
                "text" => LogFormat::Text,
                "combined" => LogFormat::Combined,
                "json" => LogFormat::Json,
                _ => return Err("is none of text, combined and json".into()),
            };
            Ok(())
        }),
        "What the line of each request in the log looks like: fields with names (text), NCSA combined, or JSON with the \
         fields of Caddy [default: text]",
    ),
    #[cfg(feature = "access-log")]
    Flag::new(
        "log-file",
        Path("FILE", |args, file| args.builder.confinement.log_file = Some(file)),
        "Log requests to this file, in a folder of its own, and all else to standard error; SIGUSR1 opens it again",
    ),
];

const CLIENTS: &[Flag<Args>] = &[
    limit("max-connections"),
    limit("per-address"),
    limit("client-connections"),
    limit("client-uploads"),
    limit("client-requests"),
    limit("client-upload-rate"),
    limit("client-download-rate"),
    limit("max-link-time"),
];

const STORAGE: &[Flag<Args>] = &[
    limit("max-dirty"),
    limit("min-free"),
    limit("max-reserved"),
    limit("max-uploads"),
    limit("max-upload-bytes"),
    limit("upload-expiry"),
    limit("upload-sync"),
    limit("upload-sync-interval"),
    limit("quota-interval"),
    limit("digests"),
];

const TIMES: &[Flag<Args>] = &[
    limit("accept-defer"),
    limit("head-timeout"),
    limit("idle-timeout"),
    limit("stall-timeout"),
    limit("slot-timeout"),
    limit("linger-timeout"),
    limit("drain-timeout"),
    limit("drain-grace"),
    limit("handover-timeout"),
    limit("min-rate"),
    limit("rate-window"),
];

const MEMORY: &[Flag<Args>] = &[
    limit("slots"),
    limit("slot-queue"),
    limit("chunk-size"),
    limit("chunks"),
    limit("read-buffer"),
    limit("max-head"),
    limit("hot-files"),
    limit("hot-bytes"),
    limit("send-buffer"),
    limit("recv-buffer"),
    limit("max-unsent"),
    limit("turn-bytes"),
    limit("max-turn-bytes"),
    limit("io-workers"),
    limit("sync-workers"),
];

/// The flag of a limit. Without one in the table of limits, this does not compile.
const fn limit(name: &str) -> Flag<Args> {
    let mut row = 0;
    loop {
        if let Some((flag, help)) = config::LIMITS[row].flag
            && is_same(flag, name)
        {
            return Flag::new(flag, Limit(&config::LIMITS[row], |args: &mut Args| &mut args.builder.limits), help);
        }
        row += 1;
    }
}

#[cfg(test)]
mod tests;
