use proptest::prelude::*;

use super::text::Greeting;
use super::*;
use crate::access::Access;
use crate::dialect::Phase;
use crate::dialect::testing::{self, Called};

fn listener(options: &[(&str, &str)]) -> Result<Listener, OptionError> {
    let options: Vec<_> = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Listener::TRAITS.check(&options)?;
    Listener::listen(&options, 1_700_000_000)
}

fn protocol(options: &[(&str, &str)]) -> LengthPrefix {
    Arc::new(listener(options).expect("good options")).accept(SocketAddr::from(([127, 0, 0, 1], 50_851)))
}

fn call_protocol<R>(access: &Access, call: impl FnOnce(&mut Context<'_>) -> R) -> (R, Vec<u8>, Vec<String>) {
    let Called { result, said, notes, .. } = testing::call_protocol(Phase::Serving, access, call);
    (result, said, notes)
}

fn message(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frames::write_header(text.len() as u64, &mut out);
    out.extend_from_slice(text);
    out
}

/// Shows the protocol all of `input`, until it wants something else than more or the next request.
fn decode(protocol: &mut LengthPrefix, input: &[u8]) -> (Action, Vec<u8>) {
    let mut at = 0;
    let (action, out, _) = call_protocol(&Access::default(), |context| {
        loop {
            let (used, action) = protocol.decode(&input[at..], context);
            at += used;
            match action {
                Action::Next | Action::Proceed if at < input.len() => {}
                Action::More if used > 0 && at < input.len() => {}
                action => return action,
            }
        }
    });
    (action, out)
}

#[test]
fn the_only_option_is_a_directory() {
    assert!(listener(&[]).expect("none").inbox.dir.is_none());
    let inbox = |value| listener(&[("inbox", value)]).map(|listener| listener.inbox.dir.map(|key| key.to_string()));
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
    let listener = Arc::new(listener(&[("inbox", "notes")]).expect("good"));
    let protocol = listener.accept("[::ffff:10.0.0.7]:9".parse().expect("an address"));
    let name = || call_protocol(&Access::default(), |context| protocol.name(context)).0;
    let name = || name().expect("an inbox").expect("a name").to_string();
    assert_eq!(name(), "/notes/1700000000-000001-10.0.0.7-9.txt");
    assert_eq!(name(), "/notes/1700000000-000002-10.0.0.7-9.txt");
}

#[test]
fn a_connection_that_is_turned_away_gets_one_complete_message() {
    assert_eq!(TURNED_AWAY, message(&TURNED_AWAY[HEADER_LEN..]));
}

#[test]
fn people_may_talk_about_requests() {
    let access = Access::default();
    let is_request = |text: &str| call_protocol(&access, |context| request_in(text.as_bytes(), context).is_some()).0;
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
    let mut protocol = protocol(&[]);
    let mut write_message = |text: &str| {
        call_protocol(&access, |context| {
            let input = message(text.as_bytes());
            let (used, _) = protocol.decode(&input, context);
            protocol.decode(&input[used..], context).1
        })
    };
    assert_eq!(write_message("Hello Server!").1, message(b"Hello Client!"));
    assert_eq!(write_message("GET /a").1, message(b"ERR 401 a secret is needed"));
    assert_eq!(write_message("AUTH pass").1, message(b"OK 0"));
    assert!(matches!(write_message("GET /a").0, Action::Run(Command::Get { .. })));
    assert_eq!(write_message("AUTH nope").0, Action::Close(CloseReason::Refused));
}

#[test]
fn files_leave_in_messages_of_one_mib() {
    let mut protocol = protocol(&[]);
    let (action, _) = decode(&mut protocol, &message(b"GET /a"));
    assert!(matches!(action, Action::Run(Command::Get { .. })));
    let len = 2 * PIECE_LEN_MAX + 1;
    let meta =
        crate::object::Meta { len, mtime: 0, etag: crate::object::Etag([0; 16]), sha256: None, is_executable: false };
    let (action, out, _) =
        call_protocol(&Access::default(), |context| protocol.answered(Ok(Answer::Opened(meta)), context));
    let line = format!("OK {len} etag={} mtime=0", meta.etag);
    assert_eq!(out, [message(line.as_bytes()), format!("{:<64}", 1 << 20).into_bytes()].concat());
    assert_eq!(action, Action::Send { range: 0..1 << 20, hash: Hash::None });
    for (range, said) in [(1 << 20..2 << 20, format!("{:<64}", 1 << 20)), (2 << 20..len, format!("{:<64}", 1))] {
        let (action, out, _) = call_protocol(&Access::default(), |context| protocol.sent(None, context));
        assert_eq!((action, out), (Action::Send { range, hash: Hash::None }, said.into_bytes()));
    }
    let (action, out, _) = call_protocol(&Access::default(), |context| protocol.sent(None, context));
    assert_eq!((action, out), (Action::Next, Vec::new()));
}

#[test]
fn a_long_message_is_never_held() {
    let mut protocol = protocol(&[]);
    let text = vec![b'x'; 3_000_000];
    let (action, out) = decode(&mut protocol, &message(&text)[..HEADER_LEN + 2_000_000]);
    assert_eq!((action, out), (Action::More, Vec::new()));
    let Exchange::Text(text) = &protocol.exchange else { panic!("not in a text") };
    assert!(text.kept.capacity() < 1000, "{} bytes held", text.kept.capacity());
}

#[test]
fn a_request_under_way_is_remembered_by_its_limit_only() {
    let mut protocol = protocol(&[]);
    // 4,000 characters that turn out to be 8,000 bytes.
    let text = "ü".repeat(4000);
    let input = [format!("{:<64}", 4000).as_bytes(), &text.as_bytes()[..7000]].concat();
    let (action, _) = decode(&mut protocol, &input);
    assert_eq!(action, Action::More);
    let Exchange::Text(text) = &protocol.exchange else { panic!("not in a text") };
    assert!(text.kept.len() <= 4095, "{} bytes held", text.kept.len());
}

/// What is taken from the messages of a PUT: the first have these lengths, the last has the rest. `cut` bytes come at a
/// time, and `room` are taken at a time.
fn taken(content: &[u8], lens: &[usize], cut: usize, room: usize) -> Vec<u8> {
    let mut protocol = protocol(&[]);
    let put = format!("PUT {} /a", content.len());
    let _ = decode(&mut protocol, &message(put.as_bytes()));
    let _ = call_protocol(&Access::default(), |context| protocol.answered(Ok(Answer::Created), context));
    let (mut wire, mut rest) = (Vec::new(), content);
    for len in lens.iter().chain([&content.len()]) {
        let (piece, after) = rest.split_at((*len).min(rest.len()));
        wire.extend(message(piece));
        rest = after;
    }
    let (mut at, mut shown, mut got) = (0, 0, Vec::new());
    loop {
        let part = protocol.body(&wire[at..shown], room).expect("a good body");
        at += part.skip;
        got.extend_from_slice(&wire[at..at + part.payload]);
        at += part.payload;
        match part.then {
            Then::End => break,
            Then::Look => {}
            Then::Wait => shown = (shown + cut).min(wire.len()),
        }
    }
    got
}

#[test]
fn an_empty_put_is_taken_from_its_empty_messages_byte_by_byte() {
    assert!(taken(&[], &[0], 1, 1).is_empty());
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
        prop_assert_eq!(taken(&content, &lens, cut, room), content);
    }

    #[test]
    fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..300), len in 0_usize..200, inbox in any::<bool>()) {
        let mut protocol = protocol(if inbox { &[("inbox", "notes")] } else { &[] });
        let input = [format!("{len:<64}").into_bytes(), bytes].concat();
        let _ = decode(&mut protocol, &input);
        let _ = call_protocol(&Access::default(), |context| protocol.quiet(&[], context));
        let _ = call_protocol(&Access::default(), |context| protocol.ended(&[], context));
    }
}

#[test]
fn a_server_that_ends_keeps_no_more_messages() {
    for text in ["short".to_owned(), "long".repeat(2000)] {
        let mut protocol = protocol(&[("inbox", "notes")]);
        let input = message(text.as_bytes());
        let (action, out, _) = call_protocol(&Access::default(), |context| {
            context.phase = Phase::Draining;
            match protocol.decode(&input, context) {
                (used, Action::Proceed) => protocol.decode(&input[used..], context).1,
                (_, action) => action,
            }
        });
        assert_eq!((action, out), (Action::Close(CloseReason::Drained), message(b"ERROR the server is shutting down")));
    }
}

#[test]
fn a_text_in_doubt_asks_for_a_silence_and_others_do_not() {
    let mut protocol = protocol(&[]);
    assert_eq!(protocol.quiet_after(), None);
    let _ = decode(&mut protocol, &message("Hello Server! ü".as_bytes())[..HEADER_LEN + 5]);
    assert_eq!(protocol.quiet_after(), None);
    let rest = &message("Hello Server! ü".as_bytes())[HEADER_LEN + 5..];
    let _ = decode(&mut protocol, rest);
    assert_eq!(protocol.quiet_after(), Some(GRACE));
    let (answer, out, _) = call_protocol(&Access::default(), |context| protocol.quiet(b"", context));
    assert_eq!((answer, out), ((0, Action::Next), message(b"Hello Client!")));
    assert_eq!(protocol.quiet_after(), None);
}
