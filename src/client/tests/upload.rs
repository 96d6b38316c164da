//! Uploads.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use super::*;

fn local(dir: &tempfile::TempDir, bytes: &[u8]) -> PathBuf {
    let path = dir.path().join("local");
    fs::write(&path, bytes).expect("written");
    path
}

#[test]
fn files_of_every_size_arrive_with_their_time() {
    let (fake, dir) = (Fake::start(), tempfile::tempdir().expect("a folder"));
    let mut client = client(&fake);
    for len in [0, 1, (64 << 10) - 1, 64 << 10, (64 << 10) + 1, 5 << 20] {
        let bytes = noise(len);
        let path = local(&dir, &bytes);
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_234_567_890);
        OpenOptions::new().write(true).open(&path).expect("open").set_modified(time).expect("a time");
        let mut notes = Notes::default();
        let stored = client.put_file("/a b/f", &path, &mut notes).expect("stored");
        assert!(stored.durable);
        assert_eq!((notes.totals.as_slice(), notes.last), ([len as u64].as_slice(), len as u64));
        assert!(fake.content("/a b/f").expect("there") == bytes, "{len}");
        assert_eq!(fake.state().files["/a b/f"].mtime, 1_234_567_890);
    }
    assert_eq!(fake.state().connections, 1);
}

#[test]
fn a_stream_of_unknown_length_arrives_in_chunks() {
    let fake = Fake::start();
    let bytes = noise(3 << 20);
    for len in [0, 1, 3 << 20] {
        let mut reader = &bytes[..len];
        client(&fake).put("/s", &mut reader, None, None, &mut ()).expect("stored");
        assert!(fake.content("/s").expect("there") == bytes[..len], "{len}");
    }
    assert!(fake.state().log.contains(&"PUT * trailer=sha256 /s".to_owned()));
}

// covers: crash-after-acknowledgement all-try-again
#[test]
fn an_upload_whose_connection_is_lost_is_sent_again() {
    let (fake, dir) = (Fake::start(), tempfile::tempdir().expect("a folder"));
    let bytes = noise(2 << 20);
    fake.state().cut_uploads = [0, 1 << 20, 2 << 20].into();
    client(&fake).put_file("/f", &local(&dir, &bytes), &mut ()).expect("stored");
    assert_eq!(fake.state().connections, 4);
    assert!(fake.content("/f").expect("there") == bytes);
}

#[test]
fn retries_end_with_their_time_and_the_lost_connection_is_reported() {
    let (fake, dir) = (Fake::start(), tempfile::tempdir().expect("a folder"));
    fake.state().cut_uploads = vec![0; 1 << 20].into();
    let waits = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&waits);
    let on_retry = OnRetry::new(move |waiting| {
        assert!(matches!(waiting.error.kind, ErrorKind::ConnectionLost(_)) && waiting.wait <= waiting.left);
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let options = Options { retry_for: Duration::from_millis(20), on_retry, ..Fake::options() };
    let mut client = Client::connect(&fake.address, options).expect("the fake server answers");
    let error = client.put_file("/f", &local(&dir, &noise(1 << 20)), &mut ()).expect_err("lost");
    assert!(matches!(error.kind, ErrorKind::ConnectionLost(_)), "{error}");
    let tries = (1 << 20) - fake.state().cut_uploads.len();
    assert_eq!(waits.load(Ordering::Relaxed), tries - 1);
    assert!(error.to_string().starts_with(&format!("{}/f: ", fake.address)), "{error}");
    assert_eq!(fake.content("/f"), None);
}

#[test]
fn a_refusal_in_the_middle_of_the_body_is_reported_and_not_the_broken_pipe() {
    for close in [true, false] {
        let (fake, dir) = (Fake::start(), tempfile::tempdir().expect("a folder"));
        fake.state().refuse_upload = Some((100_000, "ERR 507 no space left\n", close));
        let path = local(&dir, &noise(20 << 20));
        let error = impatient(&fake).put_file("/f", &path, &mut ()).expect_err("refused");
        assert_eq!(error.kind.code(), Some(507), "{error}");
        assert!(error.to_string().contains("no space left"), "{error}");
    }
}

#[test]
fn a_damaged_body_is_sent_again() {
    let (fake, dir) = (Fake::start(), tempfile::tempdir().expect("a folder"));
    let bytes = noise(100_000);
    let path = local(&dir, &bytes);
    fake.state().damage = 1;
    let error = impatient(&fake).put_file("/f", &path, &mut ()).expect_err("damaged");
    assert!(matches!(error.kind, ErrorKind::DigestMismatch), "{error}");
    assert_eq!(fake.content("/f"), None);
    fake.state().damage = 2;
    client(&fake).put_file("/f", &path, &mut ()).expect("stored");
    assert!(fake.content("/f").expect("there") == bytes);
}

#[test]
fn a_file_that_does_not_keep_its_length_is_not_stored() {
    let fake = Fake::start();
    for len in [4, 6] {
        let error = client(&fake).put("/f", &mut &b"hello"[..], Some(len), None, &mut ()).expect_err("another length");
        assert!(matches!(error.kind, ErrorKind::SourceChanged), "{error}");
    }
    assert_eq!(fake.content("/f"), None);
}

/// Gives its bytes, and lets the file grow at its end.
struct Growing(PathBuf, bool);

impl Progress for Growing {
    fn position(&mut self, bytes: u64) {
        if bytes > 0 && !self.1 {
            self.1 = true;
            OpenOptions::new().append(true).open(&self.0).and_then(|mut file| file.write_all(b"more")).expect("grown");
        }
    }
}

#[test]
fn a_local_file_that_grows_meanwhile_is_not_stored() {
    let (fake, dir) = (Fake::start(), tempfile::tempdir().expect("a folder"));
    let path = local(&dir, &noise(1 << 20));
    let error = client(&fake).put_file("/f", &path, &mut Growing(path.clone(), false)).expect_err("it grew");
    assert!(matches!(error.kind, ErrorKind::SourceChanged), "{error}");
    assert_eq!(fake.content("/f"), None);
}

#[test]
fn the_beginning_of_a_stream_is_sent_again_but_not_more_than_was_kept() {
    let fake = Fake::start();
    fake.state().refuse = Some((2, "ERR 429 retry=0 busy\n"));
    let bytes = noise(300_000);
    client(&fake).put("/s", &mut bytes.as_slice(), None, None, &mut ()).expect("stored");
    assert!(fake.content("/s").expect("there") == bytes);
    fake.state().cut_uploads = [3 << 20].into();
    let bytes = noise(4 << 20);
    let error = client(&fake).put("/t", &mut bytes.as_slice(), None, None, &mut ()).expect_err("lost");
    assert!(matches!(error.kind, ErrorKind::ConnectionLost(_)), "{error}");
    assert_eq!(fake.content("/t"), None);
}

/// Fails after a few bytes.
struct Failing(bool);

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if std::mem::replace(&mut self.0, true) {
            return Err(io::Error::other("the disk is on fire"));
        }
        buffer[..3].copy_from_slice(b"abc");
        Ok(3)
    }
}

#[test]
fn a_local_file_that_cannot_be_read_is_a_local_error() {
    let fake = Fake::start();
    let error = client(&fake).put("/f", &mut Failing(false), Some(9), None, &mut ()).expect_err("unreadable");
    assert!(error.to_string().contains("could not read -: the disk is on fire"), "{error}");
    assert_eq!(fake.content("/f"), None);
}
