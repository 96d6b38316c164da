//! What says how to serve, in a build without configuration files: the command line alone.

use lexopt::Parser;

use super::serve_flags::{Args, USAGE};
use super::usage::ParseError;
use crate::server::{Builder, Server, ServerError};

/// How to serve.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) args: Args,
}

impl Settings {
    pub(super) fn parse(words: &mut Parser) -> Result<Self, ParseError> {
        let (mut args, mut operands) = USAGE.parse(words)?;
        if let Some(dir) = operands.pop() {
            args.builder.root = dir.into();
        }
        args.finish().map_err(|conflict| USAGE.command.error(&conflict.why))?;
        Ok(Self { args })
    }

    #[cfg(test)]
    pub(super) fn of(words: &[&str]) -> Result<Self, ParseError> {
        Self::parse(&mut Parser::from_args(words))
    }

    /// Nothing can be wrong besides.
    pub(super) const fn warnings(&self) -> &[String] {
        &[]
    }

    pub(super) fn build(&self, builder: Builder) -> Result<Server, ServerError> {
        builder.build()
    }
}
