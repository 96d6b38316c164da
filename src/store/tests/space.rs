//! What uploads may take of a file system: what they announced is kept for those that send, and nothing for
//! those that do not.

use std::os::unix::fs::MetadataExt as _;

use super::*;
use crate::store::mutex::lock;

const MIB: u64 = 1024 * 1024;
/// The first part of a body.
static PART: [u8; 256 * 1024] = [7; 256 * 1024];

/// A store on a file system that has this much free, whatever is written to it.
fn with_free(free: u64, limits: Fixed) -> (Bench, TempDir) {
    let dir = TempDir::new().unwrap();
    // The portable way reserves nothing on the real one.
    let config = StoreConfig { portable: true, ..StoreConfig::default() };
    let bench = Bench::open_limited(dir.path(), &config, limits);
    set_free(&bench, free);
    (bench, dir)
}

fn set_free(bench: &Bench, free: u64) {
    *lock(&bench.store.pool.volume.names.staging.space.free) = Some(free);
}

fn begin(bench: &mut Bench, name: &str, len: u64) -> Result<FileId, Failure> {
    let file = bench.create(name, Some(len), Precondition::None)?;
    match bench.store.write_now(file, 0, &PART) {
        Ok(()) => Ok(file),
        Err(error) => {
            bench.run(Op::Abort { file }).unwrap();
            Err(error.failure)
        }
    }
}

#[test]
fn of_three_uploads_into_space_for_two_the_third_is_refused_before_its_body() {
    let (mut bench, _dir) = with_free(250 * MIB, Fixed::default());
    let one = begin(&mut bench, "1", 100 * MIB).unwrap();
    begin(&mut bench, "2", 100 * MIB).unwrap();
    assert_eq!(bench.create("3", Some(100 * MIB), Precondition::None), Err(Failure::NoSpace));
    assert!(bench.create("small", Some(40 * MIB), Precondition::None).is_ok());
    bench.run(Op::Abort { file: one }).unwrap();
    assert!(begin(&mut bench, "3", 100 * MIB).is_ok(), "what was promised to the first is free again");
}

#[test]
fn of_three_uploads_that_are_announced_together_the_last_to_send_is_refused_at_its_first_part() {
    let (mut bench, _dir) = with_free(250 * MIB, Fixed::default());
    let files = ["1", "2", "3"].map(|name| bench.create(name, Some(100 * MIB), Precondition::None).unwrap());
    let written = files.map(|file| bench.store.write_now(file, 0, &PART).map_err(|error| error.failure));
    assert_eq!(written, [Ok(()), Ok(()), Err(Failure::NoSpace)]);
    // What was written meanwhile is free no more, and the others continue.
    set_free(&bench, 250 * MIB - 2 * PART.len() as u64);
    assert!(bench.store.write_now(files[0], PART.len() as u64, &PART).is_ok());
    assert_eq!(bench.store.write_now(files[2], PART.len() as u64, &PART).unwrap_err().failure, Failure::NoSpace);
    bench.run(Op::Abort { file: files[2] }).unwrap();
    assert_eq!(bench.staged(), 2);
}

#[test]
fn uploads_that_are_announced_and_send_nothing_keep_no_other_out() {
    let (mut bench, _dir) = with_free(250 * MIB, Fixed::default());
    for n in 0..100 {
        bench.create(&format!("silent{n}"), Some(200 * MIB), Precondition::None).unwrap();
    }
    assert!(begin(&mut bench, "sends", 200 * MIB).is_ok());
}

#[test]
fn an_upload_takes_no_block_of_the_disk_before_its_body_comes_and_then_one_window() {
    for (reserved_bytes_max, windows) in [(1 << 30, 1), (MIB, 0)] {
        let dir = TempDir::new().unwrap();
        let limits = Fixed { reserved_bytes_max, ..Fixed::default() };
        let mut bench = Bench::open_limited(dir.path(), &StoreConfig::default(), limits);
        set_free(&bench, 1 << 40);
        let file = bench.create("x", Some(278 * MIB), Precondition::None).unwrap();
        let growing = bench.store.files.staging(file).unwrap();
        let staged = std::fs::File::from(growing.as_staged().file.try_clone().unwrap());
        let taken = || staged.metadata().unwrap().blocks() * 512;
        assert_eq!(taken(), 0);
        bench.store.write_now(file, 0, &PART).unwrap();
        assert!(taken() <= MIB, "a thousandth of the body has not come yet");
        bench.store.write_now(file, PART.len() as u64, &PART).unwrap();
        assert!(taken() <= windows * 64 * MIB + MIB, "{} bytes are taken", taken());
        if bench.store.fs.caps.reserve {
            assert!(taken() >= windows * 64 * MIB, "{} bytes are taken", taken());
        }
        bench.run(Op::Abort { file }).unwrap();
    }
}

#[test]
fn uploads_leave_free_what_is_to_stay_free() {
    let limits = Fixed { free_bytes_min: 100 * MIB, ..Fixed::default() };
    let (mut bench, _dir) = with_free(110 * MIB, limits);
    assert_eq!(begin(&mut bench, "large", 11 * MIB), Err(Failure::NoSpace));
    let file = begin(&mut bench, "large", 10 * MIB).unwrap();
    assert_eq!(begin(&mut bench, "other", MIB), Err(Failure::NoSpace), "all of it is promised");
    bench.run(Op::Abort { file }).unwrap();
    assert!(bench.store_file("small", b"x", Precondition::None).is_ok());
    let unannounced = bench.create("chunked", None, Precondition::None).unwrap();
    set_free(&bench, 99 * MIB);
    bench.store.pool.volume.names.staging.space.forget_measurement();
    assert_eq!(bench.store_file("small", b"x", Precondition::None), Err(Failure::NoSpace));
    let written = (0..8).map(|n| bench.store.write_now(unannounced, n * PART.len() as u64, &PART));
    let failure = written.filter_map(Result::err).map(|error| error.failure).next();
    assert_eq!(failure, Some(Failure::NoSpace), "and of those that announce no length");
}
