//! Every right, operation and dialect, with a caller that is proved and one that is not.

use filewharf::dialect::Kind;

use crate::access::oracle::{Line, all_rights, has_rule_under, rights, text};
use crate::access::{http, line, put_http, rig};
use support::rig::Rig;

/// The kind of answer that a caller gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Done,
    /// 401 without a proof, 403 with one.
    Refused,
    Missing,
    Unmet,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Get,
    Ask,
    AskDir,
    List,
    Put,
    PutChunked,
    PutNew,
    PutResumable,
    MakeDir,
    Delete,
    SetTime,
    Space,
}

const OPERATIONS: [Operation; 12] = [
    Operation::Get,
    Operation::Ask,
    Operation::AskDir,
    Operation::List,
    Operation::Put,
    Operation::PutChunked,
    Operation::PutNew,
    Operation::PutResumable,
    Operation::MakeDir,
    Operation::Delete,
    Operation::SetTime,
    Operation::Space,
];

/// What is expected of an operation on a file that is there, or not, by these letters.
fn expected(operation: Operation, exists: bool, letters: &str, kind: Kind) -> Told {
    let has = |letter| letters.contains(letter);
    let there = if exists { Told::Done } else { Told::Missing };
    let when = |permitted, told| if permitted { told } else { Told::Refused };
    match operation {
        Operation::Get => when(has('r'), there),
        // In HTTP, HEAD is a GET; a listing tells what STAT does not.
        Operation::Ask if kind == Kind::Http || has('r') => when(has('r'), there),
        Operation::Ask => when(has('l') && !exists, Told::Missing),
        Operation::AskDir if kind == Kind::Http => when(has('l'), Told::Done),
        Operation::AskDir => when(has('r') || has('l'), Told::Done),
        Operation::List => when(has('l'), Told::Done),
        Operation::Delete => when(has('d'), there),
        Operation::SetTime => when(has('w'), there),
        Operation::Space => when(has('c') || has('w'), Told::Done),
        Operation::MakeDir => when(has('c') && letters != "c", Told::Done),
        Operation::Put | Operation::PutChunked | Operation::PutResumable => match (has('c'), has('w')) {
            (true, true) => Told::Done,
            (true, false) if exists && letters != "c" => Told::Unmet,
            (true, false) => Told::Done,
            (false, true) if exists => Told::Done,
            (false, true) => Told::Unmet,
            (false, false) => Told::Refused,
        },
        Operation::PutNew => match (has('c'), has('w')) {
            (true, _) if exists && letters != "c" => Told::Unmet,
            (true, _) => Told::Done,
            (false, true) => Told::Unmet,
            (false, false) => Told::Refused,
        },
    }
}

fn told(code: u16, is_proved: bool) -> Told {
    match code {
        200..=299 => Told::Done,
        401 if !is_proved => Told::Refused,
        403 if is_proved => Told::Refused,
        404 => Told::Missing,
        412 => Told::Unmet,
        _ => Told::Other,
    }
}

/// The code of an answer in the `line` protocol.
fn code((first, _): &(String, String)) -> u16 {
    match first.strip_prefix("ERR ") {
        Some(error) => error.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0),
        None if first.starts_with("OK ") || first.starts_with("GO ") => 200,
        None => 0,
    }
}

const NEW: &str = "new content";

fn by_line(rig: &mut Rig, name: &str, operation: Operation, path: &str) -> u16 {
    let len = NEW.len();
    code(&match operation {
        Operation::Get => line(rig, name, &format!("GET {path}\n")),
        Operation::Ask => line(rig, name, &format!("STAT {path}\n")),
        Operation::AskDir => line(rig, name, "STAT /t/dir/\n"),
        Operation::List => line(rig, name, "LIST /t/dir\n"),
        Operation::Put => line(rig, name, &format!("PUT {len} {path}\n{NEW}")),
        Operation::PutChunked => line(rig, name, &format!("PUT * {path}\n{len:x}\n{NEW}0\n")),
        Operation::PutNew => line(rig, name, &format!("PUT {len} if=absent {path}\n{NEW}")),
        Operation::PutResumable => {
            // The second line is the answer, where the first lets the content come.
            let (first, rest) = line(rig, name, &format!("PUT {len} resume=token-of-a-client {path}\n{NEW}"));
            match first.starts_with("GO ") {
                true => (rest, String::new()),
                false => (first, rest),
            }
        }
        Operation::MakeDir => line(rig, name, &format!("MKDIR {path}-dir\n")),
        Operation::Delete => line(rig, name, &format!("DELETE {path}\n")),
        Operation::SetTime => line(rig, name, &format!("TIME mtime=5 {path}\n")),
        Operation::Space => line(rig, name, "SPACE /t/dir/\n"),
    })
}

fn by_http(rig: &mut Rig, name: &str, operation: Operation, path: &str) -> Option<u16> {
    let length = format!("Content-Length: {}\r\n", NEW.len());
    Some(match operation {
        Operation::Get => http(rig, name, &format!("GET {path}"), "", "").0,
        Operation::Ask => http(rig, name, &format!("HEAD {path}"), "", "").0,
        Operation::AskDir => http(rig, name, "HEAD /t/dir/", "", "").0,
        Operation::List => http(rig, name, "GET /t/dir/", "Accept: application/json\r\n", "").0,
        Operation::Put => put_http(rig, name, path, NEW),
        Operation::PutChunked => {
            let body = format!("{:x}\r\n{NEW}\r\n0\r\n\r\n", NEW.len());
            http(rig, name, &format!("PUT {path}"), "Transfer-Encoding: chunked\r\n", &body).0
        }
        Operation::PutNew => http(rig, name, &format!("PUT {path}"), &format!("If-None-Match: *\r\n{length}"), NEW).0,
        Operation::PutResumable => resumable(rig, name, path),
        Operation::MakeDir => http(rig, name, &format!("MKCOL {path}-dir"), "", "").0,
        Operation::Delete => http(rig, name, &format!("DELETE {path}"), "", "").0,
        Operation::SetTime | Operation::Space => return None,
    })
}

const TUS: &str = "Tus-Resumable: 1.0.0\r\n";

/// An upload in three requests; the first code that is no success.
fn resumable(rig: &mut Rig, name: &str, path: &str) -> u16 {
    let fields = format!("{TUS}Upload-Length: {}\r\n", NEW.len());
    let (status, heard) = http(rig, name, &format!("POST {path}"), &fields, "");
    if status != 201 {
        return status;
    }
    let id = heard.split("uploads/").nth(1).and_then(|rest| rest.get(..32)).expect("an id");
    let target = format!("/.filewharf/uploads/{id}");
    let status = http(rig, name, &format!("HEAD {target}"), TUS, "").0;
    assert_eq!(status, 200, "a caller that may make an upload may ask about it");
    let (len, kind) = (NEW.len(), "Content-Type: application/offset+octet-stream\r\n");
    let fields = format!("{TUS}{kind}Upload-Offset: 0\r\nContent-Length: {len}\r\n");
    http(rig, name, &format!("PATCH {target}"), &fields, NEW).0
}

/// How the rights of a case are spread over rules, and whether the caller is proved.
fn settings(letters: &str) -> Vec<(Vec<Line>, &'static str)> {
    let rule = |who: &str, rights: &str| (who.to_owned(), rights.to_owned(), "/t".to_owned());
    let half = |odd: usize| -> String {
        let half: String = letters.chars().enumerate().filter(|(at, _)| at % 2 == odd).map(|(_, c)| c).collect();
        if half.is_empty() { "-".to_owned() } else { half }
    };
    vec![
        (vec![rule("anna", letters)], "anna"),
        (vec![rule("", letters)], ""),
        (vec![rule("anna", &half(0)), rule("", &half(1)), rule("bob", "rlcwd")], "anna"),
        (vec![rule("anna", letters), rule("", &half(1))], ""),
        // A longer prefix takes away what a shorter one gives.
        (vec![("".to_owned(), "rlcwd".to_owned(), "/".to_owned()), rule("bob", letters)], "anna"),
    ]
}

/// True for what stores something, which would succeed where nothing is.
const fn stores(operation: Operation) -> bool {
    use Operation as Op;
    matches!(operation, Op::Put | Op::PutChunked | Op::PutNew | Op::PutResumable | Op::MakeDir)
}

#[test]
fn every_operation_of_every_set_of_rights_goes_as_the_oracle_says() {
    let (mut cases, mut wrong) = (0, Vec::new());
    for letters in all_rights() {
        for (lines, name) in settings(&letters) {
            for kind in [Kind::Line, Kind::Http] {
                let mut rig = rig(kind, &text(&lines));
                rig.place_dir("t/dir");
                for (operation, exists) in OPERATIONS.into_iter().flat_map(|one| [(one, true), (one, false)]) {
                    let key = format!("t/{operation:?}{}", if exists { "" } else { "-none" });
                    if exists {
                        rig.place(&key, b"old content");
                    }
                    let before = rig.names();
                    let path = format!("/{key}");
                    let code = match kind {
                        Kind::Line => Some(by_line(&mut rig, name, operation, &path)),
                        _ => by_http(&mut rig, name, operation, &path),
                    };
                    let Some(code) = code else { continue };
                    let letters = rights(&lines, name, &path);
                    let mut want = expected(operation, exists, &letters, kind);
                    let above = rights(&lines, name, "/");
                    let is_read = !stores(operation);
                    if want == Told::Refused && letters.is_empty() && is_read && !name.is_empty() {
                        // As one that does not exist would be, by the rights above.
                        want = expected(operation, false, &above, kind);
                        want = if want == Told::Done { Told::Missing } else { want };
                    }
                    cases += 1;
                    let is_proved = !name.is_empty();
                    let changed = change(&mut rig, &before, &key);
                    let want_changed = wanted_change(operation, want, exists, &letters);
                    if told(code, is_proved) != want || changed != want_changed {
                        wrong.push(format!(
                            "{kind:?} {name:?} {lines:?} {operation:?} exists={exists}: {code}, not {want:?}; {changed:?}, not {want_changed:?}"
                        ));
                    }
                    assert_eq!(rig.open_files(), 0, "{operation:?} of {lines:?}");
                }
            }
        }
    }
    println!("access matrix: {cases} cases, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{} of {cases}: {:#?}", wrong.len(), &wrong[..wrong.len().min(20)]);
    assert!(cases > 6000, "{cases}");
}

/// What became of the files.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    Nothing,
    Made,
    /// Under a name of its own.
    Dropped,
    Replaced,
    Deleted,
    Wrong,
}

fn wanted_change(operation: Operation, told: Told, exists: bool, letters: &str) -> Change {
    let is_put =
        matches!(operation, Operation::Put | Operation::PutChunked | Operation::PutNew | Operation::PutResumable);
    match (told, operation) {
        (Told::Done, _) if is_put && letters == "c" => Change::Dropped,
        (Told::Done, _) if is_put && exists => Change::Replaced,
        (Told::Done, _) if is_put => Change::Made,
        (Told::Done, Operation::Delete) => Change::Deleted,
        _ => Change::Nothing,
    }
}

fn change(rig: &mut Rig, before: &[String], key: &str) -> Change {
    let after = rig.names();
    let added: Vec<_> = after.iter().filter(|name| !before.contains(name)).collect();
    let removed: Vec<_> = before.iter().filter(|name| !after.contains(name)).collect();
    let content = rig.file(key);
    let is_new = |content: Option<Vec<u8>>| content.as_deref() == Some(NEW.as_bytes());
    match (&added[..], &removed[..], content) {
        ([], [], Some(content)) if content == NEW.as_bytes() => Change::Replaced,
        ([], [], Some(content)) if content != b"old content" => Change::Wrong,
        ([], [], _) => Change::Nothing,
        ([one], [], content) if *one == key && is_new(content.clone()) => Change::Made,
        ([one], [], _) if one.starts_with(&format!("{key}-")) && is_new(rig.file(one)) => Change::Dropped,
        ([], [one], None) if *one == key => Change::Deleted,
        _ => Change::Wrong,
    }
}

#[test]
fn every_rename_and_every_copy_between_two_sets_of_rights_goes_as_the_oracle_says() {
    let (mut cases, mut wrong) = (0, Vec::new());
    for (from, to) in all_rights().flat_map(|from| all_rights().map(move |to| (from.clone(), to))) {
        let rule = |rights: &str, prefix: &str| ("anna".to_owned(), rights.to_owned(), prefix.to_owned());
        let lines = vec![rule(&from, "/from"), rule(&to, "/to"), rule("r", "/from/dir/x"), rule("r", "/to/dir/x")];
        for (kind, exists) in [Kind::Line, Kind::Http].into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
            let mut rig = rig(kind, &text(&lines));
            rig.place("from/f", b"from");
            rig.place("to/there", b"to");
            let names = [("/from/f", None), ("/from/dir", None), ("/from/f", Some("/to/dir"))];
            for (is_copy, (source, target)) in names.into_iter().flat_map(|names| [(true, names), (false, names)]) {
                let fresh = if exists { "/to/there".to_owned() } else { format!("/to/none{cases}") };
                let target = target.unwrap_or(&fresh);
                let (have, get) = (rights(&lines, "anna", source), rights(&lines, "anna", target));
                let gains = |letter| get.contains(letter) && !have.contains(letter);
                let may_take =
                    if is_copy { have.contains('r') } else { have.contains('d') && !gains('r') && !gains('l') };
                let is_refused = !may_take
                    || get == "c"
                    || !(get.contains('c') || get.contains('w'))
                    || has_rule_under(&lines, source)
                    || has_rule_under(&lines, target);
                let want = match (get.contains('c'), get.contains('w'), exists) {
                    _ if is_refused => Told::Refused,
                    (true, false, true) | (false, true, false) => Told::Unmet,
                    _ => Told::Done,
                };
                let (verb, method) = if is_copy { ("COPY", "COPY") } else { ("RENAME", "MOVE") };
                let code = match kind {
                    Kind::Line => code(&line(&mut rig, "anna", &format!("{verb} {source}\t{target}\n"))),
                    _ => {
                        http(&mut rig, "anna", &format!("{method} {source}"), &format!("Destination: {target}\r\n"), "")
                            .0
                    }
                };
                cases += 1;
                let is_there = rig.file(&target[1..]).as_deref() == Some(b"from");
                let is_left = rig.file("from/f").is_some();
                let is_done = is_there && is_left == is_copy;
                let is_as_it_was = !is_there && is_left;
                let is_right = if want == Told::Done { is_done } else { is_as_it_was };
                if told(code, true) != want || !is_right {
                    wrong.push(format!(
                        "{kind:?} {lines:?} {verb} {source} {target}: {code}, not {want:?}, there={is_there}"
                    ));
                }
                if is_there {
                    rig.place("from/f", b"from");
                    rig.place("to/there", b"to");
                    let _ = match kind {
                        Kind::Line => line(&mut rig, "", "PING\n").0,
                        _ => http(&mut rig, "", "OPTIONS *", "", "").1,
                    };
                }
            }
        }
    }
    println!("access matrix: {cases} renames and copies, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{} of {cases}: {:#?}", wrong.len(), &wrong[..wrong.len().min(20)]);
}
