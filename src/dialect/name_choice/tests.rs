use proptest::prelude::*;

use super::*;
use crate::access::Access;
use crate::dialect::testing::{self, Called};
use crate::object::{Durability, Etag, Meta, Placed, Stored};

const META: Meta = Meta { len: 5, mtime: 0, etag: Etag([0; 16]), sha256: None, is_executable: false };
const STORED: Stored = Stored { meta: META, durability: Durability::Durable, placed: Placed::New };

/// What a call did: its result, what was said, and how the request was refused.
struct Did<R> {
    result: R,
    said: String,
    refused: Option<Failure>,
}

fn call_protocol<R>(
    protocol: &mut NameChoice,
    phase: Phase,
    call: impl FnOnce(&mut NameChoice, &mut Context<'_>) -> R,
) -> Did<R> {
    let Called { result, said, refused, .. } =
        testing::call_protocol(phase, &Access::default(), |context| call(protocol, context));
    Did { result, said: String::from_utf8(said).expect("text"), refused }
}

fn decode(protocol: &mut NameChoice, input: &str) -> Did<(usize, Action)> {
    call_protocol(protocol, Phase::Serving, |protocol, context| protocol.decode(input.as_bytes(), context))
}

fn answer(protocol: &mut NameChoice, answer: Result<Answer, Failure>) -> Did<Action> {
    call_protocol(protocol, Phase::Serving, |protocol, context| protocol.answered(answer, context))
}

fn connect(listener: &Arc<Listener>, host: u8) -> NameChoice {
    Arc::clone(listener).accept(SocketAddr::from(([127, 0, 0, host], 50_851)))
}

/// The name under which a request is stored or looked for.
fn name_of(did: &Did<(usize, Action)>) -> String {
    match &did.result.1 {
        Action::Run(command) => command.key().expect("a name").as_str().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_count_that_came_alone_is_known_for_the_rest_of_its_run() {
    let listener = Arc::new(Listener::default());
    let mut first = connect(&listener, 1);
    assert_eq!(decode(&mut first, "12").result, (0, Action::More));
    assert_eq!(first.quiet_after(), Some(COUNT_ALONE));
    let quiet = call_protocol(&mut first, Phase::Serving, |protocol, context| protocol.quiet(b"12", context));
    assert_eq!(quiet.result, (2, Action::More));
    assert_eq!(name_of(&decode(&mut first, "2a.txt:PUT")), "2a.txt");
    // Another peer is another run.
    assert_eq!(name_of(&decode(&mut connect(&listener, 2), "12a.txt:PUT")), "2a.txt");
    for _ in 1..12 {
        assert_eq!(name_of(&decode(&mut connect(&listener, 1), "12a.txt:PUT")), "a.txt");
    }
    assert_eq!(name_of(&decode(&mut connect(&listener, 1), "12a.txt:PUT")), "2a.txt");
}

#[test]
fn a_count_that_was_seen_alone_is_believed() {
    let listener = Arc::new(Listener::default());
    let mut protocol = connect(&listener, 1);
    assert_eq!(decode(&mut protocol, "12").result, (0, Action::More));
    assert_eq!(name_of(&decode(&mut protocol, "12a.txt:PUT")), "a.txt");
    assert_eq!(name_of(&decode(&mut connect(&listener, 1), "123.txt:PUT")), "3.txt");
}

#[test]
fn a_certain_count_of_one_digit_is_known_for_its_run_too() {
    let listener = Arc::new(Listener::default());
    for (sent, name) in [("3a.txt:PUT", "a.txt"), ("32.txt:PUT", "2.txt"), ("345:GET", "45"), ("345:PUT", "45")] {
        assert_eq!(name_of(&decode(&mut connect(&listener, 1), sent)), name, "{sent}");
    }
    assert_eq!(listener.counts().expected(IpAddr::from([127, 0, 0, 1])), None);
}

#[test]
fn the_file_that_is_there_tells_count_and_name_apart() {
    let listener = Arc::new(Listener::default());
    let mut protocol = connect(&listener, 1);
    let mut action = decode(&mut protocol, "123a.txt:GET").result.1;
    for name in ["23a.txt", "3a.txt", "a.txt"] {
        let Action::Run(Command::Get { key }) = &action else { panic!("{action:?}") };
        assert_eq!(key.as_str(), name);
        if name != "a.txt" {
            action = answer(&mut protocol, Err(Failure::NotFound)).result;
        }
    }
    let did = answer(&mut protocol, Ok(Answer::Opened(META)));
    assert_eq!((did.said.as_str(), did.result), ("Done", Action::Pause(Duration::ZERO)));
    assert_eq!(name_of(&decode(&mut connect(&listener, 1), "123b.txt:PUT")), "b.txt");
}

#[test]
fn a_refused_upload_is_reset_and_never_done() {
    let failures = [Failure::TooLarge, Failure::NoSpace, Failure::Busy, Failure::Internal, Failure::Denied("no")];
    for failure in failures {
        let mut protocol = connect(&Arc::new(Listener::default()), 1);
        decode(&mut protocol, "1c.txt:PUT");
        let did = answer(&mut protocol, Err(failure));
        assert_eq!((did.said.as_str(), did.result), ("", Action::Reset(CloseReason::Refused)));
    }
}

#[test]
fn a_download_is_not_found_or_reset() {
    for (failure, said, wanted) in [
        (Failure::NotFound, "Done", Action::Pause(Duration::ZERO)),
        (Failure::Conflict("a folder"), "Done", Action::Pause(Duration::ZERO)),
        (Failure::Busy, "", Action::Reset(CloseReason::Refused)),
        (Failure::Internal, "", Action::Reset(CloseReason::Refused)),
    ] {
        let mut protocol = connect(&Arc::new(Listener::default()), 1);
        decode(&mut protocol, "1c.txt:GET");
        let did = answer(&mut protocol, Err(failure));
        assert_eq!((did.said.as_str(), did.result), (said, wanted));
    }
}

#[test]
fn nothing_begins_while_the_server_drains() {
    for sent in ["1c.txt:GET", "1c.txt:PUT", "c.txt:GET"] {
        let mut protocol = connect(&Arc::new(Listener::default()), 1);
        let did = call_protocol(&mut protocol, Phase::Draining, |protocol, context| {
            protocol.decode(sent.as_bytes(), context)
        });
        assert_eq!(did.result.1, Action::Reset(CloseReason::Refused));
        assert_eq!((did.said.as_str(), did.refused), ("", Some(Failure::Draining)));
    }
}

#[test]
fn a_request_without_end_is_refused() {
    let endless = format!("1{}", "x".repeat(wire::HEAD_LEN_MAX));
    let did = decode(&mut connect(&Arc::new(Listener::default()), 1), &endless);
    assert_eq!((did.result, did.said.as_str()), ((endless.len(), Action::Close(CloseReason::Refused)), "Done"));
    assert!(did.refused.is_some());
}

#[test]
fn silence_is_listened_for_only_before_the_request() {
    let mut protocol = connect(&Arc::new(Listener::default()), 1);
    assert_eq!(protocol.quiet_after(), Some(NAME_QUIET));
    for (sent, wanted) in [
        ("1", Some(COUNT_ALONE)),
        ("1c", Some(NAME_QUIET)),
        ("1c:", Some(CHOICE_QUIET)),
        ("1c:PU", Some(CHOICE_QUIET)),
        ("1c:PUT", None),
    ] {
        decode(&mut protocol, sent);
        assert_eq!(protocol.quiet_after(), wanted, "{sent}");
    }
}

proptest! {
    #[test]
    fn only_the_whole_text_is_a_missing_file(cuts in prop::collection::vec(0..30_usize, 0..6), tail in "[.!]{0,2}", len in 0..=26_usize) {
        let content = [&MISSING[..len], tail.as_bytes()].concat();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(content.len())).chain([content.len()]).collect();
        cuts.sort_unstable();
        let (mut body, mut at) = (Body::Like(0), 0);
        for cut in cuts {
            body.add(&content[at..cut]);
            at = cut;
        }
        prop_assert_eq!(body.is_missing(), content == MISSING);
    }

    /// Whatever comes in whatever order, `Done` is said alone and once, and nothing panics.
    #[test]
    fn any_conversation_ends(
        pieces in prop::collection::vec("[0-9]{0,5}|[a-z/.]{1,4}|:|:PUT|:get|:Put|\\PC|[\\x00-\\x1f]", 0..8),
        answers in prop::collection::vec(0..5_usize, 1..8),
        quiet in any::<u8>(),
    ) {
        let mut protocol = connect(&Arc::new(Listener::default()), 1);
        let mut held = Vec::new();
        let mut said = String::new();
        let mut action = Action::More;
        for (place, piece) in pieces.iter().enumerate() {
            held.extend_from_slice(piece.as_bytes());
            let still = quiet & (1 << place) != 0;
            let did = call_protocol(&mut protocol, Phase::Serving, |protocol, context| {
                if still { protocol.quiet(&held, context) } else { protocol.decode(&held, context) }
            });
            held.drain(..did.result.0);
            said += &did.said;
            action = did.result.1;
            if action != Action::More { break; }
        }
        if action == Action::More {
            action = call_protocol(&mut protocol, Phase::Serving, |protocol, context| protocol.ended(&held, context)).result;
        }
        for kind in answers {
            let did = match action {
                Action::Run(Command::Put(_)) => {
                    let first = answer(&mut protocol, Ok(Answer::Created));
                    prop_assert_eq!(&first.result, &Action::Receive);
                    let part = protocol.body(piece_of(&held), 3);
                    prop_assert!(part.is_ok());
                    prop_assert!(protocol.body_ended().is_ok());
                    said += &first.said;
                    match protocol.finish(None) {
                        Ok(_) => answer(&mut protocol, Ok(Answer::Stored(STORED))),
                        Err(failure) => answer(&mut protocol, Err(failure)),
                    }
                }
                Action::Run(_) if kind < 3 => answer(&mut protocol, Err(Failure::NotFound)),
                Action::Run(_) => answer(&mut protocol, Ok(Answer::Opened(META))),
                Action::Pause(_) => call_protocol(&mut protocol, Phase::Serving, NameChoice::paused),
                Action::Send { .. } => call_protocol(&mut protocol, Phase::Serving, |protocol, context| protocol.sent(None, context)),
                _ => break,
            };
            prop_assert!(did.said.is_empty() || did.said.as_bytes() == DONE || did.said.as_bytes() == MISSING);
            said += &did.said;
            action = did.result;
        }
        prop_assert!(said.matches("Done").count() <= 1);
        prop_assert!(protocol.quiet_after().is_none() || matches!(action, Action::Close(_)), "{:?}", action);
    }
}

fn piece_of(held: &[u8]) -> &[u8] {
    &held[..held.len().min(7)]
}
