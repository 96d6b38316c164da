//! The table of states, and the diagram in the documentation.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use filewharf::session::state::Name;

const TABLE: &str = "\
ProxyHeader -> Handshake AwaitHeader Done
Handshake -> AwaitHeader Done
AwaitHeader -> Verifying AwaitSlot Opening Executing Copying ReceivingBody Committing SendingPart Pausing Discarding SendingReply Done
Verifying -> AwaitHeader Done
AwaitSlot -> AwaitHeader Opening Copying Executing ReceivingBody Saving Committing SendingBody SendingPart Pausing Discarding SendingReply Done
Opening -> AwaitHeader AwaitSlot Executing ReceivingBody Saving SendingBody SendingPart Pausing Discarding SendingReply Done
Executing -> AwaitHeader AwaitSlot Opening Executing ReceivingBody Committing SendingBody SendingPart Pausing Discarding SendingReply Done
Copying -> AwaitHeader Pausing SendingReply Done
ReceivingBody -> AwaitHeader AwaitSlot FinishingWrites Committing Saving Pausing Discarding SendingReply Done
FinishingWrites -> AwaitHeader Saving Committing Pausing SendingReply Done
Committing -> AwaitHeader Verifying AwaitSlot Opening Executing Copying ReceivingBody Committing SendingBody SendingPart Pausing Discarding SendingReply Done
Saving -> AwaitHeader Executing Pausing Discarding SendingReply Done
SendingBody -> AwaitHeader AwaitSlot SendingBody SendingPart Pausing SendingReply Done
SendingPart -> AwaitHeader AwaitSlot Opening Executing SendingPart Pausing SendingReply Done
Pausing -> AwaitHeader AwaitSlot Opening Executing ReceivingBody Committing SendingBody SendingPart Pausing Discarding SendingReply Done
Discarding -> AwaitHeader SendingReply Done
SendingReply -> Lingering Done
Lingering -> Done
Done ->
";

#[test]
fn the_table_of_states_is_as_written_here() {
    let mut table = String::new();
    for name in Name::ALL {
        let followers: String = name.followers().iter().map(|follower| format!(" {follower:?}")).collect();
        writeln!(table, "{name:?} ->{followers}").expect("a string takes it");
    }
    assert_eq!(table, TABLE, "a change of the table is a change of the design: think, then change both");
}

#[test]
fn the_diagram_in_the_docs_shows_every_state_and_only_transitions_of_the_table() {
    let docs = include_str!("../../../src/session/mod.rs");
    let state = |word: &str| Name::ALL.into_iter().find(|name| format!("{name:?}") == word);
    let mut shown = BTreeSet::new();
    for line in docs.lines().filter(|line| line.starts_with("//!") && line.contains('▶')) {
        let states: Vec<Name> = line.split('▶').filter_map(|part| part.split_whitespace().find_map(state)).collect();
        assert_eq!(states.len(), line.matches('▶').count() + 1, "a state that is none: {line}");
        for pair in states.windows(2) {
            assert!(pair[0].followers().contains(&pair[1]), "{:?} never becomes {:?}: {line}", pair[0], pair[1]);
        }
        shown.extend(states);
    }
    assert_eq!(shown.into_iter().collect::<Vec<_>>(), Name::ALL);
}

fn reachable(from: Name) -> BTreeSet<Name> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(name) = next.pop() {
        next.extend(name.followers().iter().filter(|follower| seen.insert(**follower)));
    }
    seen
}

#[test]
fn every_state_is_reached_and_ends_in_done_which_nothing_leaves() {
    let from_start = reachable(Name::ProxyHeader);
    for name in Name::ALL {
        assert!(name == Name::ProxyHeader || from_start.contains(&name), "{name:?} is never reached");
        assert!(name == Name::Done || name.followers().contains(&Name::Done), "{name:?}: the peer may vanish");
    }
    assert_eq!(Name::Done.followers(), []);
}
