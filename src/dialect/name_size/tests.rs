use super::*;
use crate::access::Access;
use crate::dialect::testing::{self, Called};
use crate::object::{Durability, Etag, Meta, Placed, Stored};

fn protocol() -> NameSize {
    Arc::new(Listener).accept(SocketAddr::from(([127, 0, 0, 1], 1)))
}

/// Calls the protocol as the session does; returns what it wants, and what the log gets.
fn call<R>(phase: Phase, run: impl FnOnce(&mut Context<'_>) -> R) -> (R, Option<Failure>, Vec<String>) {
    let Called { result, said, refused, notes } = testing::call_protocol(phase, &Access::default(), run);
    assert!(said.is_empty(), "it never speaks");
    (result, refused, notes)
}

fn stored() -> Result<Answer, Failure> {
    Ok(Answer::Stored(Stored {
        meta: Meta { len: 0, mtime: 0, etag: Etag([0; 16]), sha256: None, is_executable: false },
        durability: Durability::Durable,
        placed: Placed::New,
    }))
}

#[test]
fn the_log_tells_what_came_of_a_file() {
    for (stream, name, content, log) in [
        ("a 5hello", "a", "hello", vec!["File written /a (5 bytes)"]),
        (
            "a 12",
            "a",
            "2",
            vec![
                "File written /a (1 bytes)",
                "/a holds digits only: a longer upload cut after its head looks the same",
            ],
        ),
        ("a 500\nhello", "a.part", "\nhello", vec!["500 bytes were announced, 6 came: kept as /a.part"]),
    ] {
        let mut protocol = protocol();
        let (action, refused, _) = call(Phase::Serving, |context| protocol.ended(stream.as_bytes(), context));
        let Action::Store(put, bytes) = action else { panic!("{stream}: {action:?}") };
        assert_eq!((put.key.as_str(), &*bytes, refused), (name, content.as_bytes(), None), "{stream}");
        let (action, refused, notes) = call(Phase::Serving, |context| protocol.answered(stored(), context));
        assert_eq!((action, notes), (Action::Next, log.into_iter().map(str::to_owned).collect()), "{stream}");
        assert_eq!(refused, name.ends_with(PART).then_some(CUT_SHORT), "{stream}");
    }
}

#[test]
fn a_drain_refuses_what_begins_and_keeps_what_has_come() {
    let long = [b"a 50000\n".as_slice(), &[b'x'; HELD_LEN_MAX]].concat();
    let mut protocol = protocol();
    let ((_, action), refused, _) = call(Phase::Draining, |context| protocol.decode(&long, context));
    assert_eq!((action, refused), (Action::Reset(CloseReason::Drained), Some(Failure::Draining)));
    let (action, refused, _) = call(Phase::Draining, |context| protocol.ended(b"a 5hello", context));
    assert!(matches!(action, Action::Store(..)) && refused.is_none());
}

#[test]
fn a_silence_is_waited_for_only_where_it_decides() {
    for (held, waits) in [
        ("", false),
        ("a", false),
        ("a 12", false),
        ("a 5hell", false),
        ("a 5hello", true),
        ("a 0", true),
        ("a 61", false),
        ("a 61,2,3\n", true),
        ("!DISCONNECT", true),
        ("a 5hello!", false),
    ] {
        let mut protocol = protocol();
        let (decoded, ..) = call(Phase::Serving, |context| protocol.decode(held.as_bytes(), context));
        assert_eq!(decoded, (0, Action::More), "{held}");
        assert_eq!(protocol.quiet_after().is_some(), waits, "{held}");
    }
}

#[test]
fn whatever_is_streamed_is_put_together_again() {
    let content = [b"12 34\n56".as_slice(), &[b'7'; 9000]].concat();
    let stream = [format!("a b {}", content.len()).as_bytes(), &content].concat();
    let mut protocol = protocol();
    let ((used, action), ..) = call(Phase::Serving, |context| protocol.decode(&stream, context));
    assert!(matches!(action, Action::Run(Command::Put(Put { len: None, .. }))), "{action:?}");
    let (action, ..) = call(Phase::Serving, |context| protocol.answered(Ok(Answer::Created), context));
    assert_eq!(action, Action::Receive);
    let mut rest = &stream[used..];
    let mut file = Vec::new();
    while !rest.is_empty() {
        let part = protocol.body(rest, 1000).expect("a good body");
        file.extend_from_slice(&rest[..part.payload]);
        rest = &rest[part.payload..];
        assert_eq!(part.then, if rest.is_empty() { Then::Wait } else { Then::Look });
    }
    assert_eq!(protocol.body_quiet(), Then::End);
    let finish = protocol.finish(None).expect("a good end");
    assert_eq!(finish.key.as_ref().map(Key::as_str), Some("a b"));
    assert_eq!([finish.prepend, file].concat(), content);
}
