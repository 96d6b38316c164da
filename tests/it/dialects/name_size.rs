//! `name-size`: whatever a file holds, and however its bytes arrive, its name and its content are
//! found again.

use std::time::Duration;

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};
use proptest::prelude::*;

use support::rig::{Mode, Peer, Rig};

/// Contents that are hard to tell from the size before them, and others.
fn content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[0-9]{0,60}".prop_map(String::into_bytes),
        "[0-9 ]{0,60}".prop_map(String::into_bytes),
        "[0-9]{0,22}[ -~\\n]{0,200}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..300),
        proptest::collection::vec(any::<u8>(), 5000..9000),
        (0_usize..6000).prop_map(|len| b"7".repeat(len)),
    ]
}

/// Names with blanks and directories, but without a blank before a digit.
fn name() -> impl Strategy<Value = String> {
    "[a-z0-9_.é]{1,12}(/[a-z][a-z0-9]{0,6}){0,2}( [a-z.]{1,5}){0,2}"
        .prop_filter("a name that may be stored", |name| filewharf::wire::key::relative(name).is_ok())
}

fn mode() -> impl Strategy<Value = Mode> {
    any::<(bool, bool)>().prop_map(|(deferred, lags)| Mode { deferred, lags, ..Mode::PLAIN })
}

fn server(mode: Mode, chunk_bytes: usize) -> Rig {
    let listening = Listening::new(Kind::NameSize, &[], 0).expect("no options");
    let limits = Limits::default().with(|l| {
        l.fixed.chunk_bytes = chunk_bytes;
        l.fixed.chunks_per_slot = 64;
    });
    Rig::speaking(listening, mode, limits, Access::default())
}

/// Sends `stream` in pieces of these lengths, over and over.
fn send_in(rig: &mut Rig, peer: &Peer, stream: &[u8], pieces: &[usize]) {
    let mut rest = stream;
    for piece in pieces.iter().cycle() {
        if rest.is_empty() {
            return;
        }
        let (now, later) = rest.split_at((*piece).min(rest.len()));
        rig.send(peer, now);
        rest = later;
    }
}

fn upload(name: &str, content: &[u8]) -> Vec<u8> {
    [format!("{name} {}", content.len()).as_bytes(), content].concat()
}

#[test]
fn an_upload_longer_than_the_server_takes_is_reset() {
    for (chunk_bytes, len) in [(7, 1001), (65_536, 1001), (65_536, 6000)] {
        let listening = Listening::new(Kind::NameSize, &[], 0).expect("no options");
        let limits = Limits::default().with(|l| {
            l.fixed.chunk_bytes = chunk_bytes;
            l.live.request_bytes_max = 1000;
        });
        let mut rig = Rig::speaking(listening, Mode::PLAIN, limits, Access::default());
        rig.place("big.txt", b"the old one");
        let peer = rig.connect();
        rig.send(&peer, &upload("big.txt", &b"\n".repeat(len)));
        // Held bytes are judged when the stream has ended.
        rig.finish(&peer);
        assert!(peer.is_gone() && peer.is_reset());
        assert_eq!(rig.file("big.txt"), Some(b"the old one".to_vec()));
        assert_eq!((rig.names(), rig.open_files()), (vec!["big.txt".to_owned()], 0));
    }
}

#[test]
fn a_drain_waits_for_the_file_that_is_under_way() {
    for chunk_bytes in [7, 65_536] {
        let mut rig = server(Mode::PLAIN, chunk_bytes);
        let (idle, peer) = (rig.connect(), rig.connect());
        rig.send(&peer, b"a.txt 12hello\n");
        rig.drain();
        assert!(!peer.is_gone());
        rig.send(&peer, b"world\n");
        rig.finish(&peer);
        assert!(idle.is_closed() && peer.is_gone() && !peer.is_reset());
        assert_eq!(rig.file("a.txt"), Some(b"hello\nworld\n".to_vec()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_file_is_stored_as_it_was_sent(
        name in name(),
        content in content(),
        pieces in proptest::collection::vec(1_usize..600, 1..8),
        mode in mode(),
        chunk_bytes in prop_oneof![Just(7_usize), Just(300), Just(65_536)],
    ) {
        let mut rig = server(mode, chunk_bytes);
        let peer = rig.connect();
        send_in(&mut rig, &peer, &upload(&name, &content), &pieces);
        rig.finish(&peer);
        prop_assert!(peer.is_gone() && !peer.is_reset() && peer.heard().is_empty());
        prop_assert_eq!(rig.file(&name), Some(content));
        prop_assert_eq!(rig.names(), vec![name]);
    }

    #[test]
    fn files_with_silences_between_them_are_stored_one_by_one(
        files in proptest::collection::vec(("[a-z]{1,8}", "[a-z\\n][ -~\\n]{0,100}"), 1..5),
        pieces in proptest::collection::vec(1_usize..60, 1..8),
        mode in mode(),
        chunk_bytes in prop_oneof![Just(7_usize), Just(65_536)],
    ) {
        let mut rig = server(mode, chunk_bytes);
        let peer = rig.connect();
        for (name, content) in &files {
            send_in(&mut rig, &peer, &upload(name, content.as_bytes()), &pieces);
            rig.pass(Duration::from_millis(2500));
            prop_assert_eq!(rig.file(name), Some(content.clone().into_bytes()), "before the next begins");
        }
        rig.finish(&peer);
        prop_assert!(peer.is_gone() && !peer.is_reset());
        prop_assert!(rig.names().iter().all(|name| !name.contains('.')), "{:?}", rig.names());
    }

    // covers: stream-ends-in-upload
    #[test]
    fn a_cut_upload_never_replaces_the_good_file(
        content in "[a-z\\n][ -~\\n]{1,300}",
        cut in any::<prop::sample::Index>(),
        pieces in proptest::collection::vec(1_usize..60, 1..8),
        mode in mode(),
        chunk_bytes in prop_oneof![Just(7_usize), Just(65_536)],
    ) {
        let mut rig = server(mode, chunk_bytes);
        rig.place("name", b"the good file");
        let peer = rig.connect();
        let came = &content.as_bytes()[..1 + cut.index(content.len() - 1)];
        // Cut at some places it looks like a whole file that begins with digits.
        let size = content.len().to_string();
        let fits = |digits: usize| size[..digits].parse() == Ok(size.len() + came.len() - digits);
        prop_assume!(!(1..size.len()).any(fits));
        let stream = [b"name ", size.as_bytes(), came].concat();
        send_in(&mut rig, &peer, &stream, &pieces);
        rig.finish(&peer);
        prop_assert!(peer.is_gone());
        prop_assert_eq!(rig.file("name"), Some(b"the good file".to_vec()));
    }
}
