//! Changes of one name that overlap: they happen in the order in which they had come in full, however
//! long the store takes for each of their parts.

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::object::Durability;

use support::client::{Running, assert_same, content, random};
use support::rig::{Mode, Rig};

/// Longer than a chunk: stored by way of a staging file.
const LARGE: usize = 40;

fn rig(lags: bool) -> Rig {
    let limits = Limits::default().with(|l| {
        l.fixed.chunk_bytes = 16;
        l.fixed.chunks_per_slot = 4;
    });
    Rig::new(Mode { deferred: true, lags, ..Mode::PLAIN }, limits, Access::default())
}

fn put(len: usize, key: &str, byte: u8) -> Vec<u8> {
    let mut request = format!("PUT {len} {key}\n").into_bytes();
    request.extend(vec![byte; len]);
    request
}

#[test]
fn an_upload_does_not_overtake_one_that_came_before_it_by_a_faster_staging_file() {
    for lags in [false, true] {
        for (first, last) in [(LARGE, LARGE), (LARGE, 3), (LARGE, LARGE + 1), (1000, 3)] {
            let mut rig = rig(lags);
            rig.reverse_completions();
            let (one, other) = (rig.connect(), rig.connect());
            rig.arrive(&one, &put(first, "/x", b'1'));
            rig.arrive(&other, &put(last, "/x", b'2'));
            rig.send(&one, b"");
            rig.send(&other, b"");
            assert!(one.heard().starts_with(b"OK ") && other.heard().starts_with(b"OK "));
            assert_eq!(rig.file("x"), Some(vec![b'2'; last]), "lags: {lags}, {first} and {last} bytes");
        }
    }
}

#[test]
fn an_upload_that_is_silent_holds_back_no_other_change_of_its_name() {
    for lags in [false, true] {
        let mut rig = rig(lags);
        let (silent, other) = (rig.connect(), rig.connect());
        rig.send(&silent, &put(LARGE, "/x", b'1')[..20]);
        rig.send(&other, &put(LARGE, "/x", b'2'));
        assert!(other.heard().starts_with(b"OK "), "lags: {lags}");
        rig.send(&other, b"GET /x\n");
        assert!(other.heard().ends_with(&[b'2'; LARGE]), "lags: {lags}");
        rig.send(&silent, &put(LARGE, "/x", b'1')[20..]);
        assert_eq!(rig.file("x"), Some(vec![b'1'; LARGE]), "it was complete last");
    }
}

#[test]
fn an_upload_with_slow_last_writes_keeps_its_place() {
    let mut rig = rig(true);
    let [first, slow, last] = [rig.connect(), rig.connect(), rig.connect()];
    let upload = put(LARGE, "/x", b'2');
    rig.send(&slow, &upload[..upload.len() - 1]);
    rig.hold_completions(true);
    rig.send(&first, &put(3, "/x", b'1'));
    rig.send(&slow, &upload[upload.len() - 1..]);
    rig.send(&last, &put(3, "/x", b'3'));
    rig.hold_completions(false);
    assert_eq!(rig.file("x"), Some(b"333".to_vec()));
}

#[test]
fn a_move_that_waits_for_its_source_keeps_its_place_among_the_changes_of_its_target() {
    let mut rig = rig(false);
    let [source, mover, last] = [rig.connect(), rig.connect(), rig.connect()];
    rig.hold_completions(true);
    rig.send(&source, &put(3, "/from", b'1'));
    rig.send(&mover, b"RENAME /from\t/to\n");
    rig.send(&last, &put(3, "/to", b'2'));
    rig.hold_completions(false);
    assert!(mover.heard().starts_with(b"OK "));
    assert_eq!((rig.file("from"), rig.file("to")), (None, Some(b"222".to_vec())));
}

/// An upload without an announced length, as those of `ffmpeg` are.
fn chunked(key: &str, body: &[u8]) -> Vec<u8> {
    let mut request =
        format!("PUT {key} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes();
    for piece in body.chunks(1000) {
        request.extend(format!("{:x}\r\n", piece.len()).into_bytes());
        request.extend(piece);
        request.extend(b"\r\n");
    }
    request.extend(b"0\r\n\r\n");
    request
}

#[test]
fn of_uploads_sent_one_after_the_other_without_waiting_the_last_is_what_stays() {
    const ROUNDS: u64 = 300;
    for durability in [Durability::Durable, Durability::Written] {
        let server = Running::with(|builder| builder.durability(durability));
        let mut clients: Vec<_> = (0..4).map(|_| server.client()).collect();
        let mut random_state = 1;
        for round in 0..ROUNDS {
            let name = format!("/list{}", round % 3);
            let mut last = Vec::new();
            for client in &mut clients {
                last = content(random(&mut random_state), 1 + random(&mut random_state) as usize % 20_000);
                client.send(chunked(&name, &last));
            }
            for client in &mut clients {
                let status = client.line();
                assert!(status.starts_with("HTTP/1.1 20"), "{status}");
                let mut body_len = 0;
                loop {
                    let line = client.line().to_ascii_lowercase();
                    match line.trim_end().strip_prefix("content-length: ") {
                        Some(len) => body_len = len.parse().expect("a length"),
                        None if line.trim_end().is_empty() => break,
                        None => {}
                    }
                }
                client.bytes(body_len);
            }
            let stored = std::fs::read(server.path(&name[1..])).expect("the file");
            assert_same(&stored, &last, &format!("round {round}, {durability:?}"));
        }
    }
}
