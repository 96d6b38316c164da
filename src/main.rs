//! The program: arguments, run, exit code. Everything else is in the library.

use std::process::ExitCode;

#[cfg(any(feature = "client", feature = "serve"))]
fn main() -> ExitCode {
    use clap::Parser as _;

    match filewharf::cli::Cli::try_parse() {
        Ok(cli) => filewharf::cli::run(cli),
        Err(error) => {
            // Nobody is left to tell if this fails.
            let _ = error.print();
            ExitCode::from(if error.use_stderr() { filewharf::cli::USAGE } else { 0 })
        }
    }
}

#[cfg(not(any(feature = "client", feature = "serve")))]
fn main() -> ExitCode {
    eprintln!("filewharf: built with neither of the features `serve` and `client`, so there is nothing to do");
    ExitCode::from(2)
}
