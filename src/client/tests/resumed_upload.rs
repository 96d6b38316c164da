//! Uploads that are cut off and continue, in one run and over several.

use std::fs::{self, OpenOptions};
use std::io::{self, Seek as _, Write as _};
use std::path::PathBuf;
use std::time::SystemTime;

use super::*;

const LEN: usize = 1_000_000;

/// A local file, and a directory that remembers its uploads.
struct Bench {
    fake: Fake,
    dir: tempfile::TempDir,
    bytes: Vec<u8>,
}

impl Bench {
    fn new() -> Self {
        let (fake, dir, bytes) = (Fake::start(), tempfile::tempdir().expect("a folder"), noise(LEN));
        fs::write(dir.path().join("local"), &bytes).expect("written");
        Self { fake, dir, bytes }
    }

    fn local(&self) -> PathBuf {
        self.dir.path().join("local")
    }

    /// One run of a client that tries again for this long.
    fn run(&self, retry_for_s: u64) -> Result<Stored, ClientError> {
        self.run_saying(retry_for_s, OnRetry::default())
    }

    fn run_saying(&self, retry_for_s: u64, on_retry: OnRetry) -> Result<Stored, ClientError> {
        let state_dir = Some(self.dir.path().join("state"));
        let options = Options { retry_for: Duration::from_secs(retry_for_s), on_retry, state_dir, ..Fake::options() };
        let mut client = Client::connect(&self.fake.address, options).expect("the fake server answers");
        client.put_file("/d/f", &self.local(), &mut ())
    }

    fn cut(&self, after: &[u64]) {
        self.fake.state().cut_uploads = after.to_vec().into();
    }

    fn received(&self) -> u64 {
        self.fake.state().received
    }

    fn assert_stored(&self) {
        assert!(self.fake.content("/d/f").expect("there") == self.bytes);
        assert_eq!(self.records(), 0);
    }

    fn records(&self) -> usize {
        fs::read_dir(self.dir.path().join("state")).map_or(0, Iterator::count)
    }

    /// Changes a byte of the local file, and the time if `later`.
    fn change(&mut self, at: usize, later: bool) {
        let time = fs::metadata(self.local()).and_then(|metadata| metadata.modified()).expect("a time");
        self.bytes[at] ^= 1;
        let mut file = OpenOptions::new().write(true).open(self.local()).expect("open");
        file.seek(io::SeekFrom::Start(at as u64)).expect("moved");
        file.write_all(&self.bytes[at..=at]).expect("written");
        let time = if later { time + Duration::from_secs(1) } else { time };
        file.set_modified(time).expect("a time");
    }
}

// covers: crash-after-acknowledgement all-try-again
#[test]
fn an_upload_resumes_where_it_was_cut_off_and_sends_nothing_twice() {
    let bench = Bench::new();
    bench.cut(&[0, 1, 300_000, 262_144, 100, LEN as u64]);
    bench.run(5).expect("stored");
    bench.assert_stored();
    assert_eq!(bench.received(), LEN as u64);
    let log = bench.fake.state().log.clone();
    assert!(log.iter().all(|line| line.starts_with("PUT 1000000 resume=")), "{log:#?}");
}

#[test]
fn a_later_run_resumes_wherever_the_earlier_ones_were_cut_off() {
    for cut in [0, 1, 65_535, 65_536, 262_144, 999_999, 1_000_000] {
        let bench = Bench::new();
        bench.cut(&[cut]);
        let error = bench.run(0).expect_err("cut off");
        assert!(matches!(error.kind, ErrorKind::ConnectionLost(_)), "{error}");
        assert_eq!((bench.fake.content("/d/f"), bench.records()), (None, 1), "{cut}");
        bench.run(0).expect("stored");
        bench.assert_stored();
        assert_eq!(bench.received(), LEN as u64, "{cut}");
    }
}

#[test]
fn many_cuts_are_survived_as_long_as_bytes_arrive() {
    let bench = Bench::new();
    bench.cut(&[10_000; 90]);
    let longest = Fake::options().backoff_first;
    bench
        .run_saying(5, OnRetry::new(move |waiting| assert!(waiting.wait <= longest, "as after a first failure")))
        .expect("stored");
    bench.assert_stored();
    assert_eq!(bench.received(), LEN as u64);
}

#[test]
fn tries_without_progress_are_bounded() {
    let bench = Bench::new();
    bench.cut(&[0; 50]);
    let error = bench.run(0).expect_err("lost");
    assert!(matches!(error.kind, ErrorKind::ConnectionLost(_)), "{error}");
    assert_eq!(bench.fake.state().cut_uploads.len(), 50 - 1);
}

#[test]
fn a_lost_confirmation_is_asked_for_and_nothing_is_sent_again() {
    for retry_for_s in [5, 0] {
        let bench = Bench::new();
        bench.fake.state().lose_confirmations = 1;
        let first = bench.run(retry_for_s);
        if retry_for_s == 0 {
            first.expect_err("lost");
            bench.run(0).expect("stored");
        } else {
            first.expect("stored");
        }
        bench.assert_stored();
        assert_eq!(bench.received(), LEN as u64, "{retry_for_s}");
    }
}

#[test]
fn a_file_that_was_changed_since_is_sent_again() {
    for at in [5, 700_000] {
        let mut bench = Bench::new();
        bench.cut(&[500_000]);
        bench.run(0).expect_err("cut off");
        bench.change(at, true);
        bench.run(0).expect("stored");
        bench.assert_stored();
        assert_eq!(bench.received(), 500_000 + LEN as u64);
    }
}

#[test]
fn a_change_that_shows_in_neither_size_nor_time_is_found_by_the_digest() {
    let mut bench = Bench::new();
    bench.cut(&[500_000]);
    bench.run(0).expect_err("cut off");
    bench.change(5, false);
    bench.run(1).expect("stored");
    bench.assert_stored();
    bench.fake.state().damage = 1;
    bench.run(1).expect("stored");
    bench.assert_stored();
    // The same, noticed only by the confirmation.
    bench.cut(&[LEN as u64]);
    bench.run(0).expect_err("cut off");
    bench.change(5, false);
    let error = bench.run(0).expect_err("damaged");
    assert!(matches!(error.kind, ErrorKind::DigestMismatch), "{error}");
    bench.run(0).expect("stored");
    bench.assert_stored();
}

#[test]
fn what_the_server_has_forgotten_is_sent_again() {
    let bench = Bench::new();
    bench.cut(&[500_000]);
    bench.run(0).expect_err("cut off");
    bench.fake.state().uploads.clear();
    bench.run(0).expect("stored");
    bench.assert_stored();
}

#[test]
fn a_server_that_keeps_no_uploads_gets_the_file_in_one_piece() {
    for reply in ["ERR 400 an option is unknown to this verb\n", "ERR 429 retry=0 too many\n", "ERR 501 no\n"] {
        let bench = Bench::new();
        bench.fake.state().refuse_resume = Some(reply);
        bench.run(1).expect("stored");
        bench.assert_stored();
        bench.cut(&[10, 20]);
        bench.run(5).expect("stored");
    }
}

#[test]
fn a_refusal_leaves_no_record() {
    let bench = Bench::new();
    bench.fake.state().refuse_resume = Some("ERR 403 no\n");
    assert_eq!(bench.run(5).expect_err("refused").kind.code(), Some(403));
    assert_eq!(bench.records(), 0);
}

#[test]
fn a_state_folder_that_cannot_be_used_costs_a_later_run_only() {
    let bench = Bench::new();
    fs::write(bench.dir.path().join("state"), "a file").expect("written");
    bench.cut(&[500_000]);
    bench.run(1).expect("stored");
    assert!(bench.fake.content("/d/f").expect("there") == bench.bytes);
    assert_eq!(bench.received(), LEN as u64);
}

/// Changes the file when half of it was sent.
struct Meddler(PathBuf, bool);

impl Progress for Meddler {
    fn position(&mut self, bytes: u64) {
        if bytes > LEN as u64 / 2 && !self.1 {
            self.1 = true;
            let file = OpenOptions::new().write(true).open(&self.0).expect("open");
            file.set_modified(SystemTime::UNIX_EPOCH).expect("a time");
        }
    }
}

#[test]
fn a_file_that_is_changed_while_it_is_sent_is_not_stored() {
    let bench = Bench::new();
    let error = client(&bench.fake).put_file("/d/f", &bench.local(), &mut Meddler(bench.local(), false));
    assert!(matches!(error.expect_err("changed").kind, ErrorKind::SourceChanged));
    assert_eq!(bench.fake.content("/d/f"), None);
}

#[test]
fn a_smaller_file_is_sent_in_one_piece_first_and_resumed_from_the_second_try() {
    let bench = Bench::new();
    bench.cut(&[900_000, 400_000, 500_000]);
    let options = Options { resume_len_min: LEN as u64 + 1, ..Fake::options() };
    let mut client = Client::connect(&bench.fake.address, options).expect("the fake server answers");
    client.put_file("/d/f", &bench.local(), &mut ()).expect("stored");
    bench.assert_stored();
    assert_eq!(bench.received(), LEN as u64);
    let log = bench.fake.state().log.clone();
    assert_eq!(log.iter().map(|line| line.contains("resume=")).collect::<Vec<_>>(), [false, true, true, true]);
}

#[test]
fn a_file_that_was_replaced_after_a_lost_confirmation_is_sent_again() {
    let bench = Bench::new();
    bench.fake.state().lose_confirmations = 1;
    bench.run(0).expect_err("lost");
    bench.fake.store("/d/f", b"something else");
    bench.run(0).expect("stored");
    bench.assert_stored();
}

#[test]
fn a_server_that_keeps_more_than_there_is_is_refused() {
    let bench = Bench::new();
    for reply in ["GO 1000001\n", "GO 18446744073709551615\n", "OK 0 etag=a stored=durable\n"] {
        bench.fake.state().refuse_resume = Some(reply);
        let error = bench.run(5).expect_err(reply);
        assert!(matches!(error.kind, ErrorKind::Protocol(_)), "{error}");
    }
}

#[test]
fn a_file_that_is_changed_between_two_tries_is_sent_again() {
    for len in [LEN, LEN / 4, 2 * LEN] {
        let mut bench = Bench::new();
        let old = SystemTime::UNIX_EPOCH;
        OpenOptions::new().write(true).open(bench.local()).expect("open").set_modified(old).expect("a time");
        bench.cut(&[500_000]);
        bench.bytes = noise(len + 1)[..len].to_vec();
        let (local, other) = (bench.local(), bench.bytes.clone());
        let on_retry = OnRetry::new(move |_| fs::write(&local, &other).expect("written"));
        let mut client = Client::connect(&bench.fake.address, Options { on_retry, ..Fake::options() }).expect("up");
        client.put_file("/d/f", &bench.local(), &mut ()).expect("stored");
        bench.assert_stored();
        let log = bench.fake.state().log.clone();
        let token = |line: &str| line.split("resume=").nth(1).expect("a token")[..32].to_owned();
        assert_ne!(token(&log[0]), token(&log[1]), "the server would mix what it keeps with the rest");
    }
}
