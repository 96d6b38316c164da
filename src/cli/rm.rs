//! `filewharf rm`: removes files and empty folders.

use super::common::{Common, End, Misuse, Run, Worker};
use crate::client::Place;

/// Remove files or empty folders from a server
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  filewharf rm 127.0.0.1:7070/old.txt '127.0.0.1:7070/old folder/'

The port is 7070 if none is given. What fails does not keep the rest from being removed.")]
pub(super) struct Args {
    /// HOST[:PORT]/path of what is to go
    #[arg(required = true, value_name = "HOST:PORT/PATH", value_parser = Place::parse)]
    places: Vec<Place>,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(args: Args) -> Result<End, Misuse> {
    let run = Run::new(&args.common)?;
    let mut worker = Worker::new(&run);
    for place in &args.places {
        if worker.with(&place.address, |client| client.delete(&place.path)).is_some() {
            run.screen.done();
        }
    }
    Ok(run.end())
}
