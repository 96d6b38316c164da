use proptest::prelude::*;

use super::text::Greeting;
use super::*;
use crate::config::Access;
use crate::dialect::testing::{self, Heard};

fn listener(options: &[(&str, &str)]) -> Result<Listener, String> {
    let options: Vec<_> = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Listener::new(&options, 1_700_000_000)
}

fn machine(options: &[(&str, &str)]) -> LengthPrefix {
    LengthPrefix::new(Arc::new(listener(options).expect("good options")), SocketAddr::from(([127, 0, 0, 1], 50_851)))
}

fn talking<R>(access: &Access, call: impl FnOnce(&mut Talk<'_>) -> R) -> (R, Vec<u8>, Vec<String>) {
    let Heard { result, said, notes, .. } = testing::talking(Phase::Serving, access, call);
    (result, said, notes)
}

fn message(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frames::announce(text.len() as u64, &mut out);
    out.extend_from_slice(text);
    out
}

/// Shows the machine all of `input`, until it wants something else than more or the next request.
fn decode(machine: &mut LengthPrefix, input: &[u8]) -> (Act, Vec<u8>) {
    let mut at = 0;
    let (act, out, _) = talking(&Access::default(), |talk| {
        loop {
            let (used, act) = machine.decode(&input[at..], talk);
            at += used;
            match act {
                Act::Next if at < input.len() => {}
                Act::More if used > 0 && at < input.len() => {}
                act => return act,
            }
        }
    });
    (act, out)
}

#[test]
fn the_only_option_is_a_folder() {
    assert!(listener(&[]).expect("none").inbox.is_none());
    let inbox = |value| listener(&[("inbox", value)]).map(|listener| listener.inbox.map(|key| key.to_string()));
    assert_eq!(inbox("notes/"), Ok(Some("/notes".to_owned())));
    assert_eq!(inbox("a/b"), Ok(Some("/a/b".to_owned())));
    for bad in ["", "/", "..", "/abs", "a//b", ".filewharf"] {
        assert!(inbox(bad).is_err(), "{bad}");
    }
    assert!(listener(&[("inbox", "a"), ("inbox", "b")]).is_err());
    assert!(listener(&[("list", "choose")]).is_err());
}

#[test]
fn names_in_the_inbox_do_not_repeat() {
    let listener = listener(&[("inbox", "notes")]).expect("good");
    let peer = "[::ffff:10.0.0.7]:9".parse().expect("an address");
    let name = || listener.name(peer).expect("an inbox").expect("a name").to_string();
    assert_eq!(name(), "/notes/1700000000-000001-10.0.0.7-9.txt");
    assert_eq!(name(), "/notes/1700000000-000002-10.0.0.7-9.txt");
}

#[test]
fn who_is_turned_away_hears_one_whole_message() {
    assert_eq!(TURNED_AWAY, message(&TURNED_AWAY[HEADER_LEN..]));
}

#[test]
fn people_may_talk_about_requests() {
    let access = Access::default();
    let is_request = |text: &str| talking(&access, |talk| request_in(text.as_bytes(), talk).is_some()).0;
    for text in ["PING", "PING\n", "GET /a b", "GET range=0-1 /a\r\n", "LIST /", "STAT /a", "PUT 5 /a", "PUT * /a"] {
        assert!(is_request(text), "{text:?}");
    }
    for text in [
        "",
        "\n",
        "PING me",
        "GET",
        "GET it /now",
        "get /a",
        "GET /a\nGET /b",
        "PUT it /there",
        "PUT /a",
        "LIST",
        "QUIT",
        "AUTH me",
        "Hello Server!",
        "POST /a",
    ] {
        assert!(!is_request(text), "{text:?}");
    }
}

#[test]
fn a_secret_is_asked_for_requests_and_not_for_messages() {
    let access = Access::new(Some(b"pass".to_vec()), false);
    let mut machine = machine(&[]);
    let mut say = |text: &str| {
        talking(&access, |talk| {
            let input = message(text.as_bytes());
            let (used, _) = machine.decode(&input, talk);
            machine.decode(&input[used..], talk).1
        })
    };
    assert_eq!(say("Hello Server!").1, message(b"Hello Client!"));
    assert_eq!(say("GET /a").1, message(b"ERR 401 a secret is needed"));
    assert_eq!(say("AUTH pass").1, message(b"OK 0"));
    assert!(matches!(say("GET /a").0, Act::Run(Command::Get { .. })));
    assert_eq!(say("AUTH nope").0, Act::Close(CloseReason::Refused));
}

#[test]
fn files_leave_in_messages_of_one_mib() {
    let mut machine = machine(&[]);
    let (act, _) = decode(&mut machine, &message(b"GET /a"));
    assert!(matches!(act, Act::Run(Command::Get { .. })));
    let len = 2 * PIECE_LEN_MAX + 1;
    let meta = crate::object::Meta { len, mtime: 0, etag: crate::object::Etag([0; 16]) };
    let (act, out, _) = talking(&Access::default(), |talk| machine.answered(Ok(Answer::Opened(meta)), talk));
    let line = format!("OK {len} etag={} mtime=0", meta.etag);
    assert_eq!(out, [message(line.as_bytes()), format!("{:<64}", 1 << 20).into_bytes()].concat());
    assert_eq!(act, Act::Send { range: 0..1 << 20, hash: false });
    for (range, said) in [(1 << 20..2 << 20, format!("{:<64}", 1 << 20)), (2 << 20..len, format!("{:<64}", 1))] {
        let (act, out, _) = talking(&Access::default(), |talk| machine.sent(None, talk));
        assert_eq!((act, out), (Act::Send { range, hash: false }, said.into_bytes()));
    }
    let (act, out, _) = talking(&Access::default(), |talk| machine.sent(None, talk));
    assert_eq!((act, out), (Act::Next, Vec::new()));
}

#[test]
fn a_long_message_is_never_held() {
    let mut machine = machine(&[]);
    let text = vec![b'x'; 3_000_000];
    let (act, out) = decode(&mut machine, &message(&text)[..HEADER_LEN + 2_000_000]);
    assert_eq!((act, out), (Act::More, Vec::new()));
    let Stage::Text(text) = &machine.stage else { panic!("not in a text") };
    assert!(text.kept.capacity() < 1000, "{} bytes held", text.kept.capacity());
}

#[test]
fn a_request_under_way_is_remembered_by_its_limit_only() {
    let mut machine = machine(&[]);
    // 4,000 characters that turn out to be 8,000 bytes.
    let text = "ü".repeat(4000);
    let input = [format!("{:<64}", 4000).as_bytes(), &text.as_bytes()[..7000]].concat();
    let (act, _) = decode(&mut machine, &input);
    assert_eq!(act, Act::More);
    let Stage::Text(text) = &machine.stage else { panic!("not in a text") };
    assert!(text.kept.len() <= 4095, "{} bytes held", text.kept.len());
}

proptest! {
    #[test]
    fn the_greeted_text_is_found_across_cuts(text in "(Hello Server!|Hello |Hel|H|[a-z! ]){0,8}", cut in 1_usize..9) {
        let mut greeting = Greeting::Matched(0);
        text.as_bytes().chunks(cut).for_each(|piece| greeting.look(piece));
        prop_assert_eq!(greeting == Greeting::Found, text.contains("Hello Server!"));
    }

    #[test]
    fn the_content_of_a_put_is_taken_from_its_messages(
        content in prop::collection::vec(any::<u8>(), 0..60),
        lens in prop::collection::vec(0_usize..20, 1..8), cut in 1_usize..90, room in 1_usize..9,
    ) {
        let mut machine = machine(&[]);
        let put = format!("PUT {} /a", content.len());
        let _ = decode(&mut machine, &message(put.as_bytes()));
        let _ = talking(&Access::default(), |talk| machine.answered(Ok(Answer::Created), talk));
        let (mut wire, mut rest) = (Vec::new(), &content[..]);
        for len in lens.iter().chain([&content.len()]) {
            let (piece, behind) = rest.split_at((*len).min(rest.len()));
            wire.extend(message(piece));
            rest = behind;
        }
        let (mut at, mut shown, mut got) = (0, 0, Vec::new());
        loop {
            let part = machine.body(&wire[at..shown], room).expect("a good body");
            at += part.skip;
            got.extend_from_slice(&wire[at..at + part.payload]);
            at += part.payload;
            match part.then {
                Then::End => break,
                Then::Look => {}
                Then::Wait => shown = (shown + cut).min(wire.len()),
            }
        }
        prop_assert_eq!(got, content);
    }

    #[test]
    fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..300), len in 0_usize..200, inbox in any::<bool>()) {
        let mut machine = machine(if inbox { &[("inbox", "notes")] } else { &[] });
        let input = [format!("{len:<64}").into_bytes(), bytes].concat();
        let _ = decode(&mut machine, &input);
        let _ = talking(&Access::default(), |talk| machine.quiet(&[], talk));
        let _ = talking(&Access::default(), |talk| machine.ended(&[], talk));
    }
}

#[test]
fn a_server_that_ends_keeps_no_more_messages() {
    for text in ["short".to_owned(), "long".repeat(2000)] {
        let mut machine = machine(&[("inbox", "notes")]);
        let input = message(text.as_bytes());
        let (act, out, _) = talking(&Access::default(), |talk| {
            talk.phase = Phase::Draining;
            match machine.decode(&input, talk) {
                (used, Act::Next) => machine.decode(&input[used..], talk).1,
                (_, act) => act,
            }
        });
        assert_eq!((act, out), (Act::Close(CloseReason::Drained), message(b"ERROR the server is shutting down")));
    }
}

#[test]
fn a_text_in_doubt_asks_for_a_silence_and_others_do_not() {
    let mut machine = machine(&[]);
    assert_eq!(machine.quiet_after(), None);
    let _ = decode(&mut machine, &message("Hello Server! ü".as_bytes())[..HEADER_LEN + 5]);
    assert_eq!(machine.quiet_after(), None);
    let rest = &message("Hello Server! ü".as_bytes())[HEADER_LEN + 5..];
    let _ = decode(&mut machine, rest);
    assert_eq!(machine.quiet_after(), Some(GRACE));
    let (answer, out, _) = talking(&Access::default(), |talk| machine.quiet(b"", talk));
    assert_eq!((answer, out), ((0, Act::Next), message(b"Hello Client!")));
    assert_eq!(machine.quiet_after(), None);
}
