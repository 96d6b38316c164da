//! Downloads.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::SystemTime;

use super::*;

const SEGMENT: u64 = 64 << 10;

struct Target {
    _dir: tempfile::TempDir,
    dest: PathBuf,
}

impl Target {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let dest = dir.path().join("f");
        Self { _dir: dir, dest }
    }

    fn beside(&self, end: &str) -> PathBuf {
        self.dest.with_file_name(format!("f{end}"))
    }

    fn assert_complete(&self, bytes: &[u8]) {
        assert!(fs::read(&self.dest).expect("the file") == bytes);
        assert!(!self.beside(".part").exists());
        assert!(!self.beside(".part.etag").exists());
    }
}

#[test]
fn files_of_every_size_arrive_with_their_time_and_leave_nothing_beside() {
    let fake = Fake::start();
    let mut client = client(&fake);
    for len in [0, 1, (64 << 10) - 1, 64 << 10, (64 << 10) + 1, 5 << 20] {
        let (target, bytes) = (Target::new(), noise(len));
        fake.store("/d/f", &bytes);
        let mut notes = Notes::default();
        let got = client.get_file("/d/f", &target.dest, &mut notes).expect("downloaded");
        assert_eq!((got.first, got.size, got.total), (0, len as u64, len as u64));
        assert_eq!((notes.totals.as_slice(), notes.last), ([len as u64].as_slice(), len as u64));
        target.assert_complete(&bytes);
        let time = fs::metadata(&target.dest).expect("there").modified().expect("a time");
        assert_eq!(time, SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000));
    }
    assert_eq!(fake.state().connections, 1);
}

#[test]
fn a_file_that_is_downloaded_over_keeps_its_mode() {
    let (fake, target) = (Fake::start(), Target::new());
    fake.store("/f", b"new");
    for mode in [0o600, 0o640, 0o400, 0o755] {
        let _ = fs::remove_file(&target.dest);
        fs::write(&target.dest, "old").expect("a file");
        fs::set_permissions(&target.dest, Permissions::from_mode(mode)).expect("our own file");
        client(&fake).get_file("/f", &target.dest, &mut ()).expect("downloaded");
        target.assert_complete(b"new");
        assert_eq!(fs::metadata(&target.dest).expect("there").permissions().mode() & 0o7777, mode);
    }
}

#[test]
fn a_lost_connection_costs_less_than_the_segments_in_flight() {
    let (fake, target, bytes) = (Fake::start(), Target::new(), noise(1 << 20));
    fake.store("/f", &bytes);
    fake.state().cut_replies = [300_000, 0, 1, 250_000].into();
    client(&fake).get_file("/f", &target.dest, &mut ()).expect("downloaded");
    target.assert_complete(&bytes);
    let state = fake.state();
    assert_eq!(state.connections, 5);
    let whole = format!("GET trailer=sha256 digest=1 range=0-{} /f", SEGMENT - 1);
    assert_eq!(state.log.iter().filter(|line| **line == whole).count(), 1, "{:#?}", state.log);
    assert!(state.sent <= (1 << 20) + 4 * 2 * SEGMENT, "{}", state.sent);
}

#[test]
fn a_later_run_resumes_where_the_earlier_one_was_cut_off() {
    let (fake, target, bytes) = (Fake::start(), Target::new(), noise(1 << 20));
    fake.store("/f", &bytes);
    fake.state().cut_replies = [700_000].into();
    let error = impatient(&fake).get_file("/f", &target.dest, &mut ()).expect_err("cut off");
    assert!(matches!(error.kind, ErrorKind::ConnectionLost(_)), "{error}");
    assert!(!target.dest.exists());
    let record = fs::read_to_string(target.beside(".part.etag")).expect("the record");
    assert!(record.starts_with(&format!("{} {}\n", fake.state().files["/f"].etag, bytes.len())), "{record}");
    fake.state().sent = 0;
    let mut notes = Notes::default();
    client(&fake).get_file("/f", &target.dest, &mut notes).expect("downloaded");
    target.assert_complete(&bytes);
    assert_eq!(fake.state().sent, (1 << 20) - 10 * SEGMENT);
}

#[test]
fn bytes_that_were_changed_on_disk_between_runs_are_fetched_again() {
    let (fake, target, bytes) = (Fake::start(), Target::new(), noise(1 << 20));
    fake.store("/f", &bytes);
    fake.state().cut_replies = [700_000].into();
    impatient(&fake).get_file("/f", &target.dest, &mut ()).expect_err("cut off");
    let mut part = fs::read(target.beside(".part")).expect("the part");
    part[300_000] ^= 1;
    fs::write(target.beside(".part"), part).expect("written");
    client(&fake).get_file("/f", &target.dest, &mut ()).expect("downloaded");
    target.assert_complete(&bytes);
}

#[test]
fn foreign_files_where_the_part_goes_do_no_harm() {
    for record in ["", "zz", "ab 99\n99 00\n", "ab 5\n4 ffff\n\0\n"] {
        let (fake, target, bytes) = (Fake::start(), Target::new(), noise(200_000));
        fake.store("/f", &bytes);
        fs::write(target.beside(".part"), b"something").expect("written");
        fs::write(target.beside(".part.etag"), record).expect("written");
        client(&fake).get_file("/f", &target.dest, &mut ()).expect("downloaded");
        target.assert_complete(&bytes);
    }
}

#[test]
fn a_file_that_changed_between_two_runs_is_downloaded_again() {
    let (fake, target, bytes) = (Fake::start(), Target::new(), noise(1 << 20));
    fake.store("/f", &bytes);
    for shorter in [900_000, 100_000] {
        fake.state().cut_replies = [700_000].into();
        impatient(&fake).get_file("/f", &target.dest, &mut ()).expect_err("cut off");
        let changed = noise(shorter);
        fake.store("/f", &changed);
        client(&fake).get_file("/f", &target.dest, &mut ()).expect("downloaded");
        target.assert_complete(&changed);
        fake.store("/f", &bytes);
    }
}

#[test]
fn a_file_that_changes_between_segments_is_downloaded_again_and_never_mixed() {
    let (fake, target, bytes) = (Fake::start(), Target::new(), noise(500_000));
    fake.store("/f", &bytes);
    fake.state().change_after = [3, 2].into();
    client(&fake).get_file("/f", &target.dest, &mut ()).expect("downloaded");
    let twice: Vec<u8> = bytes.iter().map(|byte| byte.wrapping_add(2)).collect();
    target.assert_complete(&twice);
}

#[test]
fn a_file_that_never_stops_changing_is_given_up() {
    let (fake, target) = (Fake::start(), Target::new());
    fake.store("/f", &noise(500_000));
    fake.state().change_after = vec![1; 100].into();
    let error = client(&fake).get_file("/f", &target.dest, &mut ()).expect_err("it changes");
    assert!(matches!(error.kind, ErrorKind::KeepsChanging), "{error}");
    assert!(!target.dest.exists());
}

#[test]
fn a_damaged_segment_is_downloaded_again() {
    let (fake, target, bytes) = (Fake::start(), Target::new(), noise(500_000));
    fake.store("/f", &bytes);
    fake.state().damage = 1;
    let error = impatient(&fake).get_file("/f", &target.dest, &mut ()).expect_err("damaged");
    assert!(matches!(error.kind, ErrorKind::DigestMismatch), "{error}");
    assert!(!target.dest.exists());
    fake.state().damage = 2;
    client(&fake).get_file("/f", &target.dest, &mut ()).expect("downloaded");
    target.assert_complete(&bytes);
}

#[test]
fn a_missing_file_leaves_no_partial_file_and_the_old_file_whole() {
    let (fake, target) = (Fake::start(), Target::new());
    fs::write(&target.dest, b"old").expect("written");
    let error = client(&fake).get_file("/f", &target.dest, &mut ()).expect_err("missing");
    assert_eq!(error.kind.code(), Some(404));
    target.assert_complete(b"old");
}

#[test]
fn a_stream_is_given_verified_bytes_only() {
    let (fake, bytes) = (Fake::start(), noise(2 << 20));
    fake.store("/f", &bytes);
    fake.state().cut_replies = [1_100_000, 90_000].into();
    fake.state().damage = 1;
    let mut got = Vec::new();
    client(&fake).get_stream("/f", &mut got, &mut ()).expect("streamed");
    assert!(got == bytes);

    fake.state().change_after = [4].into();
    let mut got = Vec::new();
    let error = client(&fake).get_stream("/f", &mut got, &mut ()).expect_err("it changed after bytes were given");
    assert!(matches!(error.kind, ErrorKind::KeepsChanging), "{error}");
    assert!(bytes.starts_with(&got));
}

#[test]
fn a_plain_get_takes_a_range_and_a_version_and_checks_the_digest() {
    let (fake, bytes) = (Fake::start(), noise(1000));
    fake.store("/f", &bytes);
    let mut client = client(&fake);
    let etag = client.stat("/f").expect("there").etag.expect("a file has one");
    let mut out = Vec::new();
    let options = GetOptions { range: Some("-10"), if_etag: Some(&etag) };
    let got = client.get("/f", &options, &mut out, &mut ()).expect("the end of it");
    assert_eq!((got.first, got.size, got.total, out.as_slice()), (990, 10, 1000, &bytes[990..]));
    let refused = [("1000-", etag.as_str(), 416), ("0-", "ff", 412)];
    for (range, etag, code) in refused {
        let options = GetOptions { range: Some(range), if_etag: Some(etag) };
        let error = client.get("/f", &options, &mut Vec::new(), &mut ()).expect_err("refused");
        assert_eq!(error.kind.code(), Some(code));
    }
    fake.state().damage = 1;
    let error = client.get("/f", &GetOptions::default(), &mut Vec::new(), &mut ()).expect_err("damaged");
    assert!(matches!(error.kind, ErrorKind::DigestMismatch), "{error}");
}

#[test]
fn segments_grow_and_are_requested_ahead() {
    let (fake, target, bytes) = (Fake::start(), Target::new(), noise(9 << 20));
    fake.store("/f", &bytes);
    let options = Options { segment_max: 4 << 20, ..Fake::options() };
    Client::connect(&fake.address, options).expect("up").get_file("/f", &target.dest, &mut ()).expect("downloaded");
    target.assert_complete(&bytes);
    let first: Vec<_> = fake
        .state()
        .log
        .iter()
        .filter_map(|line| line.split("range=").nth(1)?.split('-').next()?.parse::<u64>().ok())
        .collect();
    assert_eq!(first, [0_u64, 1 << 20, 3 << 20, 7 << 20]);
}

#[test]
fn more_bytes_than_requested_are_not_held_in_memory() {
    let fake = Fake::start();
    fake.store("/f", &noise(3 << 20));
    fake.state().whole_ranges = true;
    let mut out = Vec::new();
    let error = impatient(&fake).get_stream("/f", &mut out, &mut ()).expect_err("more than was asked for");
    assert!(matches!(error.kind, ErrorKind::Protocol(_)) && out.is_empty(), "{error}");
}

#[test]
fn a_file_that_is_damaged_on_the_server_is_not_kept() {
    for len in [10, SEGMENT as usize, 1 << 20] {
        let (fake, target, bytes) = (Fake::start(), Target::new(), noise(len));
        fake.store("/f", &bytes);
        fake.state().files.get_mut("/f").expect("there").sha256 = Some([7; 32]);
        let error = client(&fake).get_file("/f", &target.dest, &mut ()).expect_err("damaged");
        assert!(matches!(error.kind, ErrorKind::DamagedAtServer), "{error}");
        assert!(!target.dest.exists() && !target.beside(".part").exists() && !target.beside(".part.etag").exists());
        let error = client(&fake).get_stream("/f", &mut Vec::new(), &mut ()).expect_err("damaged");
        assert!(matches!(error.kind, ErrorKind::DamagedAtServer), "{error}");
    }
}

#[test]
fn the_whole_is_checked_also_after_cuts_and_over_several_runs() {
    let (fake, target, bytes) = (Fake::start(), Target::new(), noise(1 << 20));
    fake.store("/f", &bytes);
    fake.state().cut_replies = [300_000, 100_000, 5, 200_000].into();
    client(&fake).get_stream("/f", &mut Vec::new(), &mut ()).expect("downloaded");
    for cut in [300_000, 100_000, 250_000] {
        fake.state().cut_replies = [cut].into();
        impatient(&fake).get_file("/f", &target.dest, &mut ()).expect_err("cut off");
    }
    fake.state().cut_replies = [100_000, 200_000].into();
    client(&fake).get_file("/f", &target.dest, &mut ()).expect("downloaded");
    target.assert_complete(&bytes);
    // The digest was asked for once on each connection.
    fake.state().files.get_mut("/f").expect("there").sha256 = Some([7; 32]);
    fake.state().cut_replies = [400_000, 200_000].into();
    let error = client(&fake).get_file("/f", &target.dest, &mut ()).expect_err("damaged");
    assert!(matches!(error.kind, ErrorKind::DamagedAtServer), "{error}");
}

#[test]
fn a_server_that_keeps_no_digests_is_not_asked_again() {
    let (fake, target, bytes) = (Fake::start(), Target::new(), noise(1 << 20));
    fake.store("/f", &bytes);
    fake.state().knows_no_digests = true;
    impatient(&fake).get_file("/f", &target.dest, &mut ()).expect("downloaded");
    target.assert_complete(&bytes);
}
