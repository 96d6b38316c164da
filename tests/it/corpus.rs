//! The fuzz targets over the committed corpus, without a fuzzer: what once led a target somewhere
//! leads it there in every run of the tests.
//!
//! The corpus holds conversations of `tests/golden` as the targets read them, and inputs that found
//! something, cut down.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use support::targets;

/// The repository stays small.
const FILES_MAX: usize = 280;
const BYTES_MAX: usize = 200 << 10;

// covers: random-bytes
#[test]
fn every_target_takes_its_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let (mut files, mut bytes) = (0, 0);
    for (name, target) in targets::ALL {
        let dir = fs::read_dir(corpus.join(name)).unwrap_or_else(|error| panic!("{name} has no corpus: {error}"));
        let before = files;
        for file in dir {
            let path = file.expect("a file").path();
            let input = fs::read(&path).expect("readable");
            files += 1;
            bytes += input.len();
            assert!(catch_unwind(|| target(&input)).is_ok(), "{}", path.display());
        }
        assert!(files > before, "the corpus of {name} is empty");
    }
    assert!(files <= FILES_MAX && bytes <= BYTES_MAX, "{files} files of {bytes} bytes");
}
