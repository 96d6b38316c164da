//! `filewharf share`: serves one file or directory to others in the network, at an address that has its secret. Never lets
//! a client replace or delete.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use base64ct::{Base64, Encoding as _};
use lexopt::Parser;
use log::LevelFilter;

use super::flag::{Flag, Value::*};
use super::usage::{Action, Command, ParseError, Usage};
use super::welcome::{Welcome, qr_code};
use super::{serve, sign};
use crate::access::Rights;
use crate::access::link::Link;
use crate::config::SandboxMode;
use crate::dialect::Kind;
use crate::object::Key;
use crate::os::log::write_now;
use crate::os::process;
use crate::server::{Builder, Listen, Server};
use crate::wire::key;

/// The id of the key that signs the link.
const KEY_ID: &str = "k";
/// When the link of a share without an end expires, in seconds since 1970: in 2106, long after its process.
const NO_END_S: u64 = u32::MAX as u64;

#[derive(Debug, Default)]
pub(super) struct Args {
    path: PathBuf,
    receives: bool,
    seconds: Option<u64>,
    listen: Option<SocketAddr>,
    quiet: bool,
}

pub(super) static USAGE: Usage<Args> = Usage {
    command: Command {
        name: "share",
        about: "Share one file or folder in the network, by a link with its secret",
        line: "[OPTIONS] PATH",
        operand: ("PATH", "The file, or the folder with everything under it"),
        operands: 1..=1,
        hints: &[("--port", "--listen 0.0.0.0:PORT"), ("-p", "--listen 0.0.0.0:PORT")],
        notes: "Examples:
  filewharf share report.pdf
  filewharf share --receive --for 1h inbox

The first line on standard output is the link. What it leads to is not encrypted on its way.",
    },
    flags: &[(
        "Options",
        &[
            Flag::new(
                "receive",
                Switch(|args: &mut Args| args.receives = true),
                "Take uploads of new names too; without it the folder is not written to",
            ),
            Flag::new(
                "for",
                Text("TIME", |args, text| {
                    args.seconds = Some(sign::seconds(text).ok_or("is not like 90s, 30m, 2h or 7d")?);
                    Ok(())
                }),
                "End after this time, as 90s, 30m, 2h or 7d, instead of by Ctrl-C only",
            ),
            Flag::new(
                "listen",
                Text("ADDR:PORT", |args, text| {
                    args.listen = Some(text.parse().map_err(|_| "is not like 0.0.0.0:8080")?);
                    Ok(())
                }),
                "Address to listen on [default: 0.0.0.0 and a free port]",
            ),
            Flag::new("quiet", Switch(|args: &mut Args| args.quiet = true), "Print only the link, and warnings")
                .or('q'),
        ],
    )],
};

pub(super) fn parse(words: &mut Parser) -> Result<Action, ParseError> {
    let (mut args, operands) = USAGE.parse(words)?;
    args.path = operands.into_iter().next().unwrap_or_default().into();
    Ok(Box::new(move || run(&args)))
}

/// What is shared: the directory to serve, and the name in it that the link is for.
struct Shared {
    root: PathBuf,
    prefix: Key,
    is_dir: bool,
}

fn run(args: &Args) -> ExitCode {
    let (shared, secret) = match look_up(args).and_then(|shared| Ok((shared, random()?))) {
        Ok(found) => found,
        Err(why) => {
            write_now(&format!("filewharf: {}: {why}", args.path.display()));
            return ExitCode::FAILURE;
        }
    };
    let listen = Listen::new(Kind::Http, args.listen.map_or("0.0.0.0:0".to_owned(), |address| address.to_string()));
    let welcome = Welcome::prepare();
    let target = sign::target_of(&link(args, &shared), "", &secret);
    let begin = |server: &Server| {
        let handle = server.handle();
        let mut urls = welcome.urls(std::slice::from_ref(&listen), &handle);
        urls.iter_mut().for_each(|url| url.replace_range(url.len() - 1.., &target));
        announce(args, &shared, &urls)?;
        if let Some(seconds) = args.seconds {
            std::thread::Builder::new().name("end".into()).spawn(move || {
                std::thread::sleep(Duration::from_secs(seconds));
                handle.drain();
            })?;
        }
        Ok(())
    };
    let build = || Ok(builder(args, &shared, &secret, listen.clone()).build()?);
    serve::run_to_end((LevelFilter::Warn, Ok(None)), &build, &begin)
}

fn look_up(args: &Args) -> Result<Shared, String> {
    let path = args.path.canonicalize().map_err(|error| error.to_string())?;
    let kind = path.metadata().map_err(|error| error.to_string())?;
    if kind.is_dir() {
        return Ok(Shared { root: path, prefix: Key::root(), is_dir: true });
    }
    if !kind.is_file() {
        return Err("is neither a file nor a folder".to_owned());
    }
    if args.receives {
        return Err("is a file: --receive needs a folder".to_owned());
    }
    let (root, name) = path.parent().zip(path.file_name()).ok_or("has no name")?;
    let name = name.to_str().ok_or("its name is not UTF-8")?;
    let prefix = key::absolute(&format!("/{name}")).map_err(|failure| failure.to_string())?.key;
    Ok(Shared { root: root.to_owned(), prefix, is_dir: false })
}

/// A key of 256 bits.
fn random() -> Result<[u8; 32], String> {
    process::random().map_err(|error| format!("no random bytes: {error}"))
}

/// Standard output carries the link and nothing else.
fn announce(args: &Args, shared: &Shared, urls: &[String]) -> Result<(), String> {
    let (best, others) = urls.split_first().ok_or("there is no address to share at")?;
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{best}").and_then(|()| out.flush());
    written.map_err(|error| format!("cannot write to standard output: {error}"))?;
    if args.quiet {
        return Ok(());
    }
    let mut text = qr_code(best).map(|code| code + "\n").unwrap_or_default();
    let receives = if args.receives { ", and takes uploads of new names" } else { ", which is only read" };
    let what = if shared.is_dir { "folder" } else { "file" };
    let path = args.path.display();
    text.push_str(&format!("The link above opens the {what} {path}{receives}. It is not encrypted on its way.\n"));
    others.iter().for_each(|url| text.push_str(&format!("The same at {url}\n")));
    let time = args.seconds.map(|seconds| format!("after {seconds} s, or ")).unwrap_or_default();
    write_now(&format!("{text}It ends {time}with Ctrl-C."));
    Ok(())
}

fn link(args: &Args, shared: &Shared) -> Link {
    let rights = match (shared.is_dir, args.receives) {
        (false, _) => Rights::READ,
        (true, false) => Rights::READ.with(Rights::LIST),
        (true, true) => Rights::READ.with(Rights::LIST).with(Rights::CREATE),
    };
    let expires_s = args.seconds.map_or(NO_END_S, |seconds| process::unix_time().saturating_add(seconds));
    Link { key_id: KEY_ID.into(), expires_s, rights, prefix: shared.prefix.clone() }
}

/// A server that knows of one key only, so that a request without the link may do nothing.
fn builder(args: &Args, shared: &Shared, secret: &[u8], listen: Listen) -> Builder {
    let mut builder = Server::builder().root(&shared.root).listen_at(listen).read_only(!args.receives);
    builder.access_text = Some(format!("key {KEY_ID} base64:{}", Base64::encode_string(secret)));
    builder.sandbox(SandboxMode::Auto).signals()
}
