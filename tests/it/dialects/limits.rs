//! Limits at their last byte and their last moment, in each of the older dialects, in virtual time.

use std::time::Duration;

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};

use support::rig::{Mode, Peer, Rig};

use crate::states::{STEP, said, short_limits, speaking};

/// What `sends` are heard and stored as, where an upload may have this many bytes.
fn uploads(kind: Kind, limits: &Limits, pieces: &[&[u8]]) -> (Rig, Peer) {
    let listening = Listening::new(kind, &[], 0).expect("no options");
    let mut rig = Rig::speaking(listening, Mode::PLAIN, limits.clone(), Access::default());
    let peer = rig.connect();
    for piece in pieces {
        rig.send(&peer, piece);
    }
    rig.finish(&peer);
    (rig, peer)
}

fn message(text: &[u8]) -> Vec<u8> {
    [format!("{:<64}", text.len()).as_bytes(), text].concat()
}

#[test]
fn an_upload_that_begins_with_its_size_may_be_as_long_as_uploads_may() {
    // Held as a whole, and streamed.
    for (chunk_bytes, most) in [(4096, 100), (16, 6000)] {
        let limits = short_limits().with(|l| {
            l.fixed.chunk_bytes = chunk_bytes;
            l.live.request_bytes_max = most as u64;
        });
        for (len, is_stored) in [(most - 1, true), (most, true), (most + 1, false)] {
            let upload = format!("a {len}{}", "x".repeat(len));
            let (mut rig, peer) = uploads(Kind::NameSize, &limits, &[upload.as_bytes()]);
            assert!(peer.is_closed());
            assert_eq!((rig.names().len(), peer.is_reset()), (usize::from(is_stored), !is_stored), "{len} bytes");
        }
    }
}

#[test]
fn a_name_that_a_directory_has_may_continue_after_its_blank() {
    let mut rig = speaking(Kind::NameSize);
    rig.place("a/x", b"");
    let peer = rig.connect();
    rig.send(&peer, format!("a 1 6000{}", "x".repeat(6000)).as_bytes());
    rig.finish(&peer);
    assert_eq!(rig.names(), ["a 1", "a/x"]);
}

#[test]
fn a_small_upload_that_does_not_fit_a_head_is_streamed() {
    let limits = short_limits().with(|l| {
        l.fixed.chunk_bytes = 8192;
        l.fixed.head_len_max = 4096;
    });
    let upload = format!("a 5000{}", "x".repeat(5000));
    for first in 4090..=4100 {
        let (front, rest) = upload.as_bytes().split_at(first);
        let (mut rig, _) = uploads(Kind::NameSize, &limits, &[front, rest]);
        assert_eq!(rig.names(), ["a"], "cut at {first}");
    }
}

#[test]
fn a_message_of_an_upload_may_be_as_long_as_uploads_may() {
    for (len, is_stored) in [(100, true), (101, false)] {
        let limits = short_limits().with(|l| l.live.request_bytes_max = 100);
        let message = format!("(dp0\nVput\nVx\nsVdata\nV{}\ns.", "a".repeat(len));
        let (mut rig, _) = uploads(Kind::Pickle, &limits, &[message.as_bytes()]);
        assert_eq!(rig.file("x").is_some(), is_stored, "{len} bytes");
    }
}

#[test]
fn a_message_that_brings_a_file_may_be_as_long_as_messages_may() {
    let mut longest = 0;
    for len in 100..200 {
        let limits = short_limits().with(|l| l.fixed.message_bytes_max = 200);
        let mut rig = Rig::speaking(
            Listening::new(Kind::Pickle, &[], 0).expect("no options"),
            Mode::PLAIN,
            limits,
            Access::default(),
        );
        rig.place("x", &vec![b'a'; len]);
        let peer = rig.connect();
        let greeting = peer.heard().len();
        rig.send(&peer, b"(dp0\nVget\nVx\ns.");
        let heard = peer.heard();
        if heard.windows(100).any(|bytes| bytes.iter().all(|byte| *byte == b'a')) {
            longest = longest.max(heard.len() - greeting);
        }
    }
    assert_eq!(longest, 200);
}

#[test]
fn a_message_steps_over_a_hundred_names_that_are_taken() {
    let options = [("inbox".to_owned(), "in".to_owned())];
    let listening = Listening::new(Kind::LengthPrefix, &options, 0).expect("good options");
    let mut rig = Rig::speaking(listening, Mode::PLAIN, short_limits(), Access::default());
    for number in 1..=101 {
        rig.place(&format!("in/0-{number:06}-127.0.0.1-50851.txt"), b"");
    }
    let peer = rig.connect();
    rig.send(&peer, &message(b"hello"));
    assert_eq!(rig.names().len(), 101, "and gives up");
    assert!(said(&peer).contains("ERROR "), "{}", said(&peer));
    rig.send(&peer, &message(b"hello"));
    assert_eq!(rig.file("in/0-000102-127.0.0.1-50851.txt"), Some(b"hello".to_vec()));
}

#[test]
fn a_choice_may_fill_a_packet() {
    for (len, waits) in [(1024, true), (1025, false)] {
        let listening =
            Listening::new(Kind::Menu, &[("list".to_owned(), "choose".to_owned())], 0).expect("good options");
        let mut rig = Rig::speaking(listening, Mode::PLAIN, short_limits(), Access::default());
        rig.place("x.txt", b"hello");
        let peer = rig.connect();
        rig.send(&peer, b"receivetext");
        let before = peer.heard().len();
        rig.send(&peer, &vec![b'x'; len]);
        assert_eq!(peer.heard().len() == before, waits, "{len} bytes");
    }
}

#[test]
fn a_list_to_choose_from_fills_a_packet_and_no_more() {
    // 205 names of three bytes and what stands between them are a packet; 171 of four are one too many.
    for (width, listed, len) in [(3, 205, 1024), (4, 170, 1019)] {
        let listening =
            Listening::new(Kind::Menu, &[("list".to_owned(), "choose".to_owned())], 0).expect("good options");
        let mut rig = Rig::speaking(listening, Mode::PLAIN, short_limits(), Access::default());
        for number in 0..250 {
            rig.place(&format!("{number:0width$}.txt"), b"");
        }
        let peer = rig.connect();
        rig.send(&peer, b"receivetext");
        assert_eq!((said(&peer).split_whitespace().count(), peer.heard().len()), (listed, len));
    }
}

#[test]
fn the_newest_file_is_the_one_that_is_received() {
    let mut rig = speaking(Kind::Menu);
    for (name, mtime) in [("a.jpg", 5), ("b.jpg", 9), ("c.jpg", 7)] {
        rig.place_of(name, name.as_bytes(), mtime);
    }
    let peer = rig.connect();
    rig.send(&peer, b"receiveimage");
    assert_eq!(said(&peer), "b.jpg");
}

/// Its header may count bytes or characters, which only what comes after would tell.
#[test]
fn a_long_text_in_doubt_ends_in_silence_or_with_its_stream() {
    let text = format!("ü{}", "a".repeat(5998));
    for ends in [false, true] {
        let options = [("inbox".to_owned(), "in".to_owned())];
        let listening = Listening::new(Kind::LengthPrefix, &options, 0).expect("good options");
        let mut rig = Rig::speaking(listening, Mode::PLAIN, short_limits(), Access::default());
        let peer = rig.connect();
        rig.send(&peer, &message(text.as_bytes()));
        if ends {
            rig.finish(&peer);
        } else {
            rig.pass(Duration::from_millis(199));
            assert_eq!(rig.names(), [""; 0]);
            rig.pass(STEP);
        }
        assert_eq!(rig.file("in/0-000001-127.0.0.1-50851.txt"), Some(text.clone().into_bytes()));
        assert_eq!(peer.is_closed(), ends);
    }
}

/// What follows a long text that could not be kept is a message of its own.
#[test]
fn a_text_that_fails_when_it_is_over_takes_nothing_with_it() {
    let options = [("inbox".to_owned(), "in".to_owned())];
    let listening = Listening::new(Kind::LengthPrefix, &options, 0).expect("good options");
    let mut rig = Rig::speaking(listening, Mode::PLAIN, short_limits(), Access::default());
    let peer = rig.connect();
    let text = message(&[b'a'; 6000]);
    rig.send(&peer, &text[..5900]);
    rig.place("in/0-000001-127.0.0.1-50851.txt", b"of somebody else");
    rig.send(&peer, &text[5900..]);
    assert!(said(&peer).contains("ERROR "), "{}", said(&peer));
    rig.send(&peer, &message(b"Hello Server!"));
    assert!(said(&peer).ends_with("Hello Client!") && !peer.is_closed(), "{}", said(&peer));
}
