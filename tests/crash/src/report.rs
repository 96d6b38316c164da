//! What is kept of an image with a violation, for people: which image, what is wrong with it, and what
//! every client had done by then. The same seed and number of images make it again.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::image::Tear;
use crate::server::Run;
use crate::story::{History, Violation};
use crate::volume::Kind;

/// Where reports go, seen from the directory of the project.
const FOLDER: &str = "target/crash";
/// Of more images there is nothing new to learn.
const REPORTS_MAX: usize = 20;

/// Which image.
#[derive(Clone, Copy, Debug)]
pub struct Which {
    pub kind: Kind,
    pub run: Run,
    pub seed: u64,
    /// The place in the log where the power was cut.
    pub place: usize,
    /// The how many-th image of its recording.
    pub number: usize,
}

/// Keeps a report of an image that has violations. Says so if it cannot: that is not worth a failure.
pub fn keep(which: Which, tears: &[Tear], history: &History<'_>, violations: &[Violation]) {
    if violations.is_empty() || which.run.is_control() {
        return;
    }
    let Which { kind, run, seed, place, number } = which;
    let mut text = format!(
        "{}, server {}, recording of seed {seed}, image {number} of it, cut at record {place}, torn: {tears:?}\n\n",
        kind.name(),
        run.name()
    );
    for violation in violations {
        let _ = writeln!(text, "WRONG {violation}");
    }
    text.push_str(&history.tell(place));
    let name = format!("{}-{}-{seed}-{place}.txt", kind.name(), run.name().replace(' ', "-"));
    let dir = Path::new(FOLDER);
    let kept = fs::create_dir_all(dir).and_then(|()| {
        if fs::read_dir(dir)?.count() < REPORTS_MAX { fs::write(dir.join(&name), text) } else { Ok(()) }
    });
    match kept {
        Ok(()) => println!("crash:   see {FOLDER}/{name}"),
        Err(error) => println!("crash:   no report in {FOLDER}: {error}"),
    }
}
