//! What may be found after a cut is accepted, and each violation is recognized.

use super::*;

const OLD: Content = Content::new(1, 900);
const NEW: Content = Content::new(2, 5000);

fn upload(path: &str, content: Content) -> Change {
    Change::Put { path: path.to_owned(), content, framing: Framing::Length, over: Over::Anything }
}

fn moved(from: &str, to: &str, over: Over) -> Change {
    Change::Rename { from: from.to_owned(), to: to.to_owned(), over }
}

fn plan(changes: impl IntoIterator<Item = Change>) -> Plan {
    let mut plan = Plan { changes: Vec::new(), owns: vec![Own::new()] };
    changes.into_iter().for_each(|change| plan.push(change));
    plan
}

/// Visible files; those in the directories of the root make these visible too.
fn visible(files: &[(&str, &[u8])]) -> Visible {
    files.iter().map(|(path, bytes)| ((*path).to_owned(), Found::File(bytes.to_vec()))).collect()
}

/// One connection makes `changes`; all but the last are acknowledged, which is only sent.
fn judged(changes: impl IntoIterator<Item = Change>, files: &[(&str, &[u8])]) -> Vec<Wrong> {
    let plans = [plan(changes)];
    let count = plans[0].changes.len();
    let events = (0..count).flat_map(|change| [Event::Sent { line: 0, change }, Event::Acked { line: 0, change }]);
    let history = History::new(&plans, events.enumerate());
    let wrong: Vec<_> = history.judge(2 * count - 1, &visible(files)).iter().map(|v| v.wrong).collect();
    // The acknowledgement of the last is all that happens afterwards.
    assert_eq!(history.acked_before(2 * count - 1), count - 1);
    wrong
}

#[test]
fn a_replacement_under_way_shows_the_old_or_the_new_and_nothing_else() {
    let (old, new) = (OLD.bytes(), NEW.bytes());
    let changes = || [upload("/0-a", OLD), upload("/0-a", NEW)];
    assert_eq!(judged(changes(), &[("/0-a", &old)]), []);
    assert_eq!(judged(changes(), &[("/0-a", &new)]), []);
    assert_eq!(judged(changes(), &[]), [Wrong::Lost]);
    assert_eq!(judged(changes(), &[("/0-a", &new[..4096])]), [Wrong::Torn]);
    assert_eq!(judged(changes(), &[("/0-a", b"")]), [Wrong::Torn]);
    let mixed = [&new[..512], &old[512..]].concat();
    assert_eq!(judged(changes(), &[("/0-a", &mixed)]), [Wrong::Torn]);
}

#[test]
fn of_uploads_that_are_sent_together_each_name_has_a_version_since_the_last_acknowledged() {
    let (old, new) = (OLD.bytes(), NEW.bytes());
    let plans = [plan([upload("/0-a", OLD), upload("/0-a", NEW), upload("/0-b", OLD)])];
    let first = [Event::Sent { line: 0, change: 0 }, Event::Acked { line: 0, change: 0 }];
    let events = first.into_iter().chain([1, 2].map(|change| Event::Sent { line: 0, change }));
    let history = History::new(&plans, events.enumerate());
    let judged = |files: &[(&str, &[u8])]| {
        let violations = history.judge(4, &visible(files)).into_iter();
        violations.map(|violation| violation.wrong).collect::<Vec<_>>()
    };
    for files in [
        &[("/0-a", &old[..])][..],
        &[("/0-a", &new)],
        &[("/0-a", &old), ("/0-b", &old)],
        &[("/0-a", &new), ("/0-b", &old)],
    ] {
        assert_eq!(judged(files), []);
    }
    assert_eq!(judged(&[("/0-b", &old)]), [Wrong::Lost]);
    assert_eq!(judged(&[("/0-a", &new), ("/0-b", &new)]), [Wrong::Torn]);
}

#[test]
fn an_acknowledged_replacement_is_not_followed_by_the_version_before() {
    let (old, new) = (OLD.bytes(), NEW.bytes());
    let changes = || [upload("/0-a", OLD), upload("/0-a", NEW), upload("/flat/0-b", OLD)];
    assert_eq!(judged(changes(), &[("/0-a", &new)]), []);
    assert_eq!(judged(changes(), &[("/0-a", &new), ("/flat/0-b", &old)]), []);
    assert_eq!(judged(changes(), &[("/0-a", &old)]), [Wrong::Stale]);
    assert_eq!(judged(changes(), &[("/0-a", &new), ("/flat/0-b", &old[..1])]), [Wrong::Torn]);
}

// covers: deletion-lasts
#[test]
fn what_was_acknowledged_as_deleted_stays_deleted() {
    let old = OLD.bytes();
    let changes = || [upload("/0-a", OLD), Change::Delete { path: "/0-a".to_owned() }, upload("/0-b", NEW)];
    assert_eq!(judged(changes(), &[]), []);
    assert_eq!(judged(changes(), &[("/0-a", &old)]), [Wrong::Returned]);
    // While the deletion is under way, both are fine.
    assert_eq!(judged(changes().into_iter().take(2), &[("/0-a", &old)]), []);
    assert_eq!(judged(changes().into_iter().take(2), &[]), []);
}

#[test]
fn a_move_under_way_shows_one_name_and_both_only_where_the_new_one_must_be_free() {
    let old = OLD.bytes();
    for (over, both) in [(Over::Anything, &[Wrong::Vanished][..]), (Over::Nothing, &[])] {
        let changes = || [upload("/0-a", OLD), moved("/0-a", "/new/0-b", over)];
        assert_eq!(judged(changes(), &[("/0-a", &old)]), []);
        assert_eq!(judged(changes(), &[("/new/0-b", &old)]), []);
        assert_eq!(judged(changes(), &[("/0-a", &old), ("/new/0-b", &old)]), both);
        assert_eq!(judged(changes(), &[]), [Wrong::Vanished]);
        let done = || changes().into_iter().chain([upload("/0-c", NEW)]);
        assert_eq!(judged(done(), &[("/new/0-b", &old)]), []);
        assert_eq!(judged(done(), &[("/0-a", &old), ("/new/0-b", &old)]), [Wrong::Returned]);
    }
}

#[test]
fn a_move_over_a_file_leaves_a_file_there() {
    let (old, new) = (OLD.bytes(), NEW.bytes());
    let changes = || [upload("/flat/0-a", OLD), upload("/0-b", NEW), moved("/0-b", "/flat/0-a", Over::Anything)];
    assert_eq!(judged(changes(), &[("/flat/0-a", &old), ("/0-b", &new)]), []);
    assert_eq!(judged(changes(), &[("/flat/0-a", &new), ("/0-b", &new)]), [Wrong::Vanished], "one move, two files");
    assert_eq!(judged(changes(), &[("/flat/0-a", &new)]), []);
    assert_eq!(judged(changes(), &[("/0-b", &new)]), [Wrong::TargetGone]);
    assert_eq!(judged(changes(), &[]), [Wrong::Lost]);
    assert_eq!(judged(changes(), &[("/flat/0-a", &old)]), [Wrong::Vanished]);
}

fn made(path: &str) -> Change {
    Change::MakeDir { path: path.to_owned() }
}

/// What is visible with these directories besides.
fn judged_with(changes: impl IntoIterator<Item = Change>, dirs: &[&str], files: &[(&str, &[u8])]) -> Vec<Wrong> {
    let mut found = visible(files);
    found.extend(dirs.iter().map(|dir| ((*dir).to_owned(), Found::Dir)));
    let plans = [plan(changes)];
    let count = plans[0].changes.len();
    let events = (0..count).flat_map(|change| [Event::Sent { line: 0, change }, Event::Acked { line: 0, change }]);
    History::new(&plans, events.enumerate()).judge(2 * count - 1, &found).iter().map(|v| v.wrong).collect()
}

#[test]
fn a_tree_that_is_being_removed_is_there_as_a_whole_or_not_at_all() {
    let (old, new) = (OLD.bytes(), NEW.bytes());
    let changes = || {
        let delete = Change::DeleteTree { path: "/made/0-d".to_owned() };
        [made("/made/0-d"), upload("/made/0-d/0-a", OLD), upload("/made/0-d/0-b", NEW), delete]
    };
    let (a, b) = (("/made/0-d/0-a", &old[..]), ("/made/0-d/0-b", &new[..]));
    assert_eq!(judged_with(changes(), &["/made/0-d"], &[a, b]), []);
    assert_eq!(judged_with(changes(), &[], &[]), []);
    assert_eq!(judged_with(changes(), &["/made/0-d"], &[a]), [Wrong::Vanished]);
    assert_eq!(judged_with(changes(), &["/made/0-d"], &[]), [Wrong::Vanished]);
    let done = || changes().into_iter().chain([upload("/0-c", OLD)]);
    assert_eq!(judged_with(done(), &["/made/0-d"], &[a, b]), [Wrong::Returned; 3]);
}

#[test]
fn a_replacement_of_a_directory_never_shows_them_exchanged() {
    let (old, new) = (OLD.bytes(), NEW.bytes());
    let changes = || {
        let replace = Change::Replace { from: "/made/0-n".to_owned(), to: "/made/0-o".to_owned() };
        [made("/made/0-o"), upload("/made/0-o/0-a", OLD), made("/made/0-n"), upload("/made/0-n/0-b", NEW), replace]
    };
    let both = ["/made/0-o", "/made/0-n"];
    let (a, b) = (("/made/0-o/0-a", &old[..]), ("/made/0-n/0-b", &new[..]));
    assert_eq!(judged_with(changes(), &both, &[a, b]), []);
    assert_eq!(judged_with(changes(), &both[..1], &[("/made/0-o/0-b", &new)]), []);
    assert!(!judged_with(changes(), &both, &[("/made/0-o/0-b", &new), ("/made/0-n/0-a", &old)]).is_empty());
    assert!(!judged_with(changes(), &both[..1], &[a]).is_empty(), "what replaces it is lost");
    assert!(!judged_with(changes(), &both[1..], &[b]).is_empty(), "nothing has the name");
}

#[test]
fn an_acknowledged_time_lasts() {
    let old = OLD.bytes();
    let changes = || [upload("/0-a", OLD), Change::SetTime { path: "/0-a".to_owned(), mtime: TIMES.start }];
    let judge = |changes: Vec<Change>, found: Found| {
        let plans = [plan(changes)];
        let count = plans[0].changes.len();
        let events = (0..count).flat_map(|change| [Event::Sent { line: 0, change }, Event::Acked { line: 0, change }]);
        let found = Visible::from([("/0-a".to_owned(), found)]);
        History::new(&plans, events.enumerate())
            .judge(2 * count - 1, &found)
            .iter()
            .map(|v| v.wrong)
            .collect::<Vec<_>>()
    };
    let dated = |mtime| Found::Dated(old.clone(), mtime);
    assert_eq!(judge(changes().into(), Found::File(old.clone())), []);
    assert_eq!(judge(changes().into(), dated(TIMES.start)), []);
    assert_eq!(judge(changes().into(), dated(TIMES.start + 1)), [Wrong::Torn]);
    let done = [changes().to_vec(), vec![made("/made/0-d")]].concat();
    assert_eq!(judge(done.clone(), dated(TIMES.start)), []);
    assert_eq!(judge(done, Found::File(old.clone())), [Wrong::Stale]);
}

#[test]
fn a_file_that_was_never_sent_is_not_overlooked() {
    assert_eq!(judged([upload("/0-a", OLD)], &[("/9-a", b"x")]), [Wrong::Torn]);
    assert_eq!(judged([upload("/0-a", OLD)], &[("/stray", b"x")]), [Wrong::Torn]);
    // The second upload has not been sent yet.
    let plans = [plan([upload("/0-a", OLD), upload("/0-b", NEW)])];
    let events = [Event::Sent { line: 0, change: 0 }, Event::Acked { line: 0, change: 0 }];
    let history = History::new(&plans, events.into_iter().enumerate());
    let found = visible(&[("/0-a", &OLD.bytes()), ("/0-b", &NEW.bytes())]);
    assert_eq!(history.judge(2, &found)[0].wrong, Wrong::Returned);
}

// covers: replaced-by-many
#[test]
fn of_a_name_that_all_write_no_version_is_older_than_an_acknowledged_one() {
    const LAST: Content = Content::new(3, 70);
    let plans = [OLD, NEW, LAST].map(|content| plan([upload("/hot/hot-0", content)]));
    let sent = |line| Event::Sent { line, change: 0 };
    let acked = |line| Event::Acked { line, change: 0 };
    // 0 and 1 overlap, 2 is sent when both are acknowledged.
    let events = [sent(0), sent(1), acked(0), acked(1), sent(2), acked(2)];
    let history = History::new(&plans, events.into_iter().enumerate());
    let judge = |cut, content: Option<Content>| -> Vec<Wrong> {
        let bytes = content.map(|content| content.bytes());
        let files: Vec<(&str, &[u8])> = bytes.iter().map(|bytes| ("/hot/hot-0", &bytes[..])).collect();
        history.judge(cut, &visible(&files)).iter().map(|v| v.wrong).collect()
    };
    assert_eq!(judge(2, None), []);
    assert_eq!(judge(3, None), [Wrong::Lost]);
    for content in [OLD, NEW] {
        assert_eq!(judge(2, Some(content)), []);
        assert_eq!(judge(4, Some(content)), []);
        assert_eq!(judge(5, Some(content)), []);
        assert_eq!(judge(6, Some(content)), [Wrong::Stale]);
    }
    assert_eq!(judge(4, Some(LAST)), [Wrong::Torn]);
    assert_eq!(judge(5, Some(LAST)), []);
    assert_eq!(judge(6, Some(LAST)), []);
}

#[test]
fn plans_make_every_kind_of_change_and_only_to_names_of_their_own() {
    let mut random = Random::new(1);
    let plans: Vec<Plan> = (0..240).map(|line| Plan::new(line, 15, &mut random)).collect();
    for (line, plan) in plans.iter().enumerate() {
        for path in plan.owns.iter().flat_map(|own| own.keys()) {
            assert_eq!(line_of(path), Some(line), "{path}");
        }
    }
    let changes = || plans.iter().flat_map(|plan| &plan.changes);
    let count = |kind: fn(&Change) -> bool| changes().filter(|change| kind(change)).count();
    for (kinds, name) in [
        (count(|c| matches!(c, Change::Put { over: Over::Nothing, .. })), "new names only"),
        (count(|c| matches!(c, Change::Put { framing: Framing::Chunks, .. })), "chunks"),
        (count(|c| matches!(c, Change::Put { content, .. } if content.len > 100 << 10)), "large"),
        (count(|c| matches!(c, Change::Put { content, .. } if content.len == 0)), "empty"),
        (count(|c| matches!(c, Change::Delete { path } if path.contains("made"))), "delete a folder, or in one"),
        (
            count(|c| matches!(c, Change::Rename { from, .. } if from.contains("-made-"))),
            "move a folder, or out of one",
        ),
        (count(|c| matches!(c, Change::MakeDir { .. })), "make a folder"),
        (count(|c| matches!(c, Change::DeleteTree { .. })), "delete a folder with its content"),
        (count(|c| matches!(c, Change::Replace { .. })), "replace a folder, or by one"),
        (count(|c| matches!(c, Change::SetTime { .. })), "set a time"),
        (count(|c| matches!(c, Change::Copy { .. })), "copy"),
    ] {
        assert!(kinds > 5, "{name}: {kinds}");
    }
}
