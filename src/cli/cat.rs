//! `filewharf cat`: writes files to standard output, one after the other.

use super::args::{Args, CONNECTION, QUIET, UsageError};
use super::get;
use super::usage::{Command, Usage};

pub(super) static USAGE: Usage<Args> = Usage {
    command: Command {
        name: "cat",
        about: "Write files of a server to standard output",
        line: "[OPTIONS] HOST:PORT/PATH...",
        operand: ("HOST:PORT/PATH...", "HOST[:PORT]/path of the files; * ? [a-z] in names, quoted, match several"),
        operands: 1..=usize::MAX,
        hints: &[],
        notes: "Examples:
  filewharf cat 127.0.0.1:7070/notes.txt
  filewharf cat '127.0.0.1:7070/logs/*.log' | wc

The files come in the order of the arguments, those of a pattern in byte order; the first that
fails ends it. Only verified bytes are written. The port is 7070 if none is given. Write
tls://HOST:PORT for a server that speaks TLS.",
    },
    flags: &[("Options", &[QUIET]), CONNECTION],
};

pub(super) fn run(args: &Args) -> Result<bool, UsageError> {
    get::to_stdout(args, args.remotes()?)
}
