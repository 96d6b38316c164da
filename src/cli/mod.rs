//! The command line: what can be typed, and the exit code that comes of it.
//!
//! Each command has its file; what they do is the library's business. 0 means done, 1 failed,
//! 2 wrong usage.
#![allow(rustdoc::broken_intra_doc_links, reason = "doc comments of arguments are help texts, with [brackets]")]
#![allow(clippy::disallowed_methods, reason = "commands reach the world: local files and worker threads")]

#[cfg(feature = "client")]
mod common;
#[cfg(feature = "client")]
mod get;
#[cfg(feature = "client")]
mod ls;
#[cfg(feature = "client")]
mod pool;
#[cfg(feature = "client")]
mod put;
#[cfg(feature = "client")]
mod rm;
#[cfg(feature = "client")]
mod screen;
#[cfg(feature = "serve")]
mod serve;

#[cfg(all(test, feature = "client"))]
mod tests;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The exit code of wrong usage.
pub const USAGE: u8 = 2;

/// A file-transfer server that serves very many file streams from one thread, and its client.
#[derive(Debug, Parser)]
#[command(name = "filewharf", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[cfg(feature = "serve")]
    Serve(Box<serve::Args>),
    #[cfg(feature = "client")]
    Put(put::Args),
    #[cfg(feature = "client")]
    Get(get::Args),
    #[cfg(feature = "client")]
    Ls(ls::Args),
    #[cfg(feature = "client")]
    Rm(rm::Args),
}

/// Does what was typed.
pub fn run(cli: Cli) -> ExitCode {
    match cli.command {
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::run(&args),
        #[cfg(feature = "client")]
        Command::Put(args) => conclude(put::run(args)),
        #[cfg(feature = "client")]
        Command::Get(args) => conclude(get::run(args)),
        #[cfg(feature = "client")]
        Command::Ls(args) => conclude(ls::run(args)),
        #[cfg(feature = "client")]
        Command::Rm(args) => conclude(rm::run(args)),
    }
}

/// Turns the end of a client command into an exit code.
#[cfg(feature = "client")]
fn conclude(end: Result<common::End, common::Misuse>) -> ExitCode {
    match end {
        Ok(common::End::Done) => ExitCode::SUCCESS,
        Ok(common::End::Failed) => ExitCode::FAILURE,
        Err(common::Misuse(words)) => {
            screen::complain(&format!("{words} (see filewharf --help)"));
            ExitCode::from(USAGE)
        }
    }
}

/// The secret in a file: its first line, which must be one that a client can send.
fn read_secret(file: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let token = text.lines().next().unwrap_or_default();
    let usable = !token.is_empty() && token.len() <= 1024 && !crate::wire::key::has_control(token);
    usable.then(|| token.to_owned()).ok_or_else(|| format!("{}: holds no secret", file.display()))
}
