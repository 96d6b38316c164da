//! Every right and dialect for what concerns a directory with all that is in it.

use filewharf::dialect::Kind;

use crate::access::oracle::{all_rights, has_rule_under, rights, text};
use crate::access::{http, line, rig};

#[test]
fn a_tree_is_removed_where_one_may_delete_and_no_other_rule_lies_in_it() {
    let (mut cases, mut wrong) = (0, Vec::new());
    for (letters, inner) in
        all_rights().flat_map(|of| [None, Some("/t/dir/x"), Some("/t/other")].map(|in_it| (of.clone(), in_it)))
    {
        let rule = |rights: &str, prefix: &str| ("anna".to_owned(), rights.to_owned(), prefix.to_owned());
        let mut lines = vec![rule(&letters, "/t")];
        lines.extend(inner.map(|prefix| rule("rlcwd", prefix)));
        for (kind, name) in [(Kind::Line, "anna"), (Kind::Http, "anna"), (Kind::Line, ""), (Kind::Http, "")] {
            let mut rig = rig(kind, &text(&lines));
            rig.place("t/dir/x/f", b"content");
            let code = match kind {
                Kind::Line => {
                    let (first, _) = line(&mut rig, name, "DELETE recursive=1 /t/dir/\n");
                    first.strip_prefix("ERR ").map_or(200, |error| error[..3].parse().unwrap_or(0))
                }
                _ => http(&mut rig, name, "DELETE /t/dir/", "Depth: infinity\r\n", "").0,
            };
            let may = rights(&lines, name, "/t/dir").contains('d') && !has_rule_under(&lines, "/t/dir");
            cases += 1;
            let is_gone = rig.file("t/dir/x/f").is_none();
            let is_right = match code {
                200..=299 => may,
                401 => !may && name.is_empty(),
                403 => !may && !name.is_empty(),
                _ => false,
            };
            if !is_right || is_gone != may {
                wrong.push(format!("{kind:?} {name:?} {lines:?}: {code}, may={may}, gone={is_gone}"));
            }
        }
    }
    println!("access matrix: {cases} removals of trees, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{} of {cases}: {:#?}", wrong.len(), &wrong[..wrong.len().min(20)]);
}

#[test]
fn a_tree_is_replaced_where_one_may_replace_and_delete() {
    let (mut cases, mut wrong) = (0, Vec::new());
    for letters in all_rights() {
        let rule = |rights: &str, prefix: &str| ("anna".to_owned(), rights.to_owned(), prefix.to_owned());
        let lines = [rule("rlcwd", "/from"), rule(&letters, "/to")];
        for kind in [Kind::Line, Kind::Http] {
            let mut rig = rig(kind, &text(&lines));
            rig.place("from/dir/new", b"new");
            rig.place("to/dir/x/old", b"old");
            let code = match kind {
                Kind::Line => {
                    let (first, _) = line(&mut rig, "anna", "RENAME replace=1 /from/dir\t/to/dir\n");
                    first.strip_prefix("ERR ").map_or(200, |error| error[..3].parse().unwrap_or(0))
                }
                _ => http(&mut rig, "anna", "MOVE /from/dir", "Destination: /to/dir\r\n", "").0,
            };
            let may = letters.contains('w') && letters.contains('d');
            cases += 1;
            let is_replaced = rig.file("to/dir/new").is_some() && rig.file("to/dir/x/old").is_none();
            let is_as_it_was = rig.file("from/dir/new").is_some() && rig.file("to/dir/x/old").is_some();
            let is_right = if may { (200..300).contains(&code) && is_replaced } else { code >= 400 && is_as_it_was };
            if !is_right {
                wrong.push(format!("{kind:?} {letters}: {code}, may={may}"));
            }
        }
    }
    println!("access matrix: {cases} replacements of trees, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{} of {cases}: {:#?}", wrong.len(), &wrong[..wrong.len().min(20)]);
}

#[test]
fn a_tree_is_copied_where_one_may_read_and_list_it_and_make_the_copy() {
    let (mut cases, mut wrong) = (0, Vec::new());
    for (from, to) in all_rights().flat_map(|from| all_rights().map(move |to| (from.clone(), to))) {
        let rule = |rights: &str, prefix: &str| ("anna".to_owned(), rights.to_owned(), prefix.to_owned());
        let lines = [rule(&from, "/from"), rule(&to, "/to")];
        for (kind, exists) in [Kind::Line, Kind::Http].into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
            let mut rig = rig(kind, &text(&lines));
            rig.place("from/dir/x/f", b"new");
            rig.place("to/other", b"");
            if exists {
                rig.place("to/dir/x/old", b"old");
            }
            let code = match kind {
                Kind::Line => {
                    let (first, _) = line(&mut rig, "anna", "COPY recursive=1 /from/dir\t/to/dir\n");
                    first.strip_prefix("ERR ").map_or(200, |error| error[..3].parse().unwrap_or(0))
                }
                _ => http(&mut rig, "anna", "COPY /from/dir", "Destination: /to/dir\r\n", "").0,
            };
            let may_read = from.contains('r') && from.contains('l');
            // Without `c`, only what is there may be replaced; of a directory that takes `d` and the method of HTTP.
            let may_replace = kind == Kind::Http && to.contains('w') && to.contains('d');
            let may = may_read && if exists { may_replace } else { to.contains('c') && to != "c" };
            cases += 1;
            let is_copied = rig.file("to/dir/x/f").is_some() && rig.file("to/dir/x/old").is_none();
            let is_as_it_was = rig.file("to/dir/x/f").is_none() && rig.file("to/dir/x/old").is_some() == exists;
            let is_right = if may { (200..300).contains(&code) && is_copied } else { code >= 400 && is_as_it_was };
            if !is_right || rig.file("from/dir/x/f").is_none() {
                wrong.push(format!("{kind:?} {from} {to} exists={exists}: {code}, may={may}"));
            }
            assert_eq!(rig.open_files(), 0);
        }
    }
    println!("access matrix: {cases} copies of trees, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{} of {cases}: {:#?}", wrong.len(), &wrong[..wrong.len().min(20)]);
}
