//! Ctrl-C during a transfer: says what becomes of it, and ends the program.

use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;
use std::{process, thread};

use signal_hook::consts::SIGINT;
use signal_hook::low_level::pipe;

use crate::os::process::ignores_interrupt;

/// The exit code that shells give to a program ended by SIGINT.
const INTERRUPTED: i32 = 130;

/// Calls `last_words` on SIGINT and ends the program. Transfers are left as a kill leaves them: what is needed to
/// continue is on the disk already. A SIGINT that was ignored from the start, as in the background of a script, stays
/// ignored.
pub(super) fn watch(last_words: impl FnOnce() + Send + 'static) -> io::Result<()> {
    if ignores_interrupt() {
        return Ok(());
    }
    let (mut signals, sender) = UnixStream::pair()?;
    pipe::register(SIGINT, sender)?;
    thread::Builder::new().name("interrupt".to_owned()).spawn(move || {
        if signals.read_exact(&mut [0]).is_ok() {
            last_words();
            end();
        }
    })?;
    Ok(())
}

/// Ends the program as Ctrl-C does.
pub(super) fn end() -> ! {
    process::exit(INTERRUPTED)
}
