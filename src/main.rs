//! The program: arguments, run, exit code. Everything else is in the library.

use std::process::ExitCode;

#[cfg(any(feature = "client", feature = "serve"))]
fn main() -> ExitCode {
    filewharf::cli::run(std::env::args_os().skip(1))
}

#[cfg(not(any(feature = "client", feature = "serve")))]
fn main() -> ExitCode {
    eprintln!("filewharf: built with neither of the features `serve` and `client`, so there is nothing to do");
    ExitCode::from(2)
}
