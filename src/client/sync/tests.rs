//! Plans from listings that are written out.

use std::collections::BTreeMap;
use std::iter::empty;
use std::vec::IntoIter;

use super::item::order;
use super::*;
use crate::client::Equality;
use crate::wire::listing_sum::ListingSum;

/// Counts what is no change.
#[derive(Default)]
struct Heard {
    problems: Vec<String>,
    skipped: u32,
    unchanged: u32,
}

impl Sink for Heard {
    fn problem(&mut self, path: &str, _why: &str) {
        self.problems.push(path.to_owned());
    }

    fn skipped(&mut self) {
        self.skipped += 1;
    }

    fn unchanged(&mut self) {
        self.unchanged += 1;
    }
}

/// Lines such as `a/`, `a/f 5 100 d`: size, time and digest; `link ->`, `x excluded`, `y broken`, `z unnamed`.
fn listing(text: &str) -> IntoIter<Result<Item, PlanError>> {
    let items = text.split(',').map(str::trim).filter(|line| !line.is_empty()).map(|line| {
        let mut words = line.split(' ');
        let path = words.next().expect("a path");
        let node = match (words.next(), path.strip_suffix('/')) {
            (None, Some(path)) => return Ok(Item { path: path.to_owned(), node: Node::Dir }),
            (Some("->"), _) => Node::Skipped,
            (Some("excluded"), _) => Node::Excluded,
            (Some("broken"), _) => Node::Broken("broken".to_owned()),
            (Some("unnamed"), _) => Node::Unnamed("unnamed"),
            (size, _) => Node::File(Facts {
                size: size.map_or(1, |size| size.parse().expect("a size")),
                mtime: words.next().map_or(0, |time| time.parse().expect("a time")),
                version: format!("v-{path}"),
                sha256: words.next().map(|digest| [digest.as_bytes()[0]; 32]),
                executable: false,
            }),
        };
        Ok(Item { path: path.to_owned(), node })
    });
    items.collect::<Vec<_>>().into_iter()
}

/// A server with this listing, in pages of three names at most.
struct Server {
    items: Vec<Item>,
    knows_sums: bool,
    pages: usize,
}

impl Server {
    fn after(&self, after: Option<&str>, names: usize) -> &[Item] {
        let start = after.map_or(0, |after| self.items.partition_point(|item| order(&item.path, after).is_le()));
        &self.items[start..][..names.min(self.items.len() - start)]
    }

    fn has_more(&self, page: &[Item]) -> bool {
        page.last().is_some_and(|last| *last != self.items[self.items.len() - 1])
    }
}

impl Remote for Server {
    fn sums(&mut self, blocks: &[Block]) -> Vec<Option<BlockSum>> {
        let told = |block: &Block| {
            let page = self.after(block.after.as_deref(), block.names);
            let mut sum = ListingSum::new(false);
            for item in page {
                match &item.node {
                    Node::Dir => sum.dir(&item.path),
                    Node::File(facts) => sum.file(&item.path, (facts.size, facts.mtime), false),
                    _ => return None,
                }
            }
            let more = self.has_more(page);
            self.knows_sums.then(|| BlockSum { names: page.len(), sum: sum.finish(), more })
        };
        blocks.iter().map(told).collect()
    }

    fn page(&mut self, after: Option<&str>, names: Option<usize>) -> Result<Page, PlanError> {
        self.pages += 1;
        let page = self.after(after, names.map_or(3, |names| names.min(3)));
        let next = page.last().filter(|_| self.has_more(page)).map(|last| last.path.clone());
        Ok(Page { items: page.iter().cloned().map(Ok).collect(), next })
    }
}

/// Compares with a server, and checks that sums of blocks make no difference; returns how many pages it has sent.
fn compared(planned: &mut dyn FnMut(&mut Server) -> (Vec<String>, Heard), dest: &str) -> (Vec<String>, Heard, usize) {
    let items: Vec<Item> = listing(dest).collect::<Result<_, _>>().expect("items");
    let mut server = Server { items, knows_sums: false, pages: 0 };
    let (all, heard_of_all) = planned(&mut server);
    (server.knows_sums, server.pages) = (true, 0);
    let (lines, heard) = planned(&mut server);
    assert_eq!((&lines, &heard.problems), (&all, &heard_of_all.problems), "{dest}");
    assert_eq!((heard.skipped, heard.unchanged), (heard_of_all.skipped, heard_of_all.unchanged), "{dest}");
    (lines, heard, server.pages)
}

/// The plan of an upload: `local` has the digests of local files by their paths.
fn planned(source: &str, dest: &str, deletes: bool, equality: Equality, local: &str) -> (Vec<String>, Heard) {
    planned_for(true, (source, dest), deletes, equality, local)
}

/// The plan of an upload or a download, of the listings here and there.
fn planned_for(
    is_upload: bool,
    (here, there): (&str, &str),
    deletes: bool,
    equality: Equality,
    local: &str,
) -> (Vec<String>, Heard) {
    let digests: BTreeMap<&str, u8> = local
        .split(',')
        .filter_map(|word| word.split_once('='))
        .map(|(path, digest)| (path, digest.as_bytes()[0]))
        .collect();
    let mut plan = |server: &mut Server| {
        let mut hash = |path: &str| digests.get(path).map(|digest| [*digest; 32]);
        let (mut heard, mut draft) = (Heard::default(), Draft::new(MOVED_MAX));
        let rules = Rules { is_upload, equality, deletes, now: 1_000_000, hash: &mut hash };
        let merge = Merge::new(rules, &mut draft, &mut heard);
        compare(merge, listing(here), Some(server), false).expect("a plan");
        let mut hash = |path: &str| digests.get(path).map(|digest| [*digest; 32]);
        (told(draft.finish(is_upload, is_upload, &mut hash).expect("a plan")), heard)
    };
    let (lines, heard, _) = compared(&mut plan, there);
    (lines, heard)
}

/// A line for each change of a plan.
fn told(mut plan: Plan) -> Vec<String> {
    let mut lines = Vec::new();
    for stage in Stage::ALL {
        for change in plan.changes(stage).expect("readable") {
            let Change { action, path, from, version, .. } = change.expect("a change");
            let from = if from.is_empty() { from } else { format!(" {from}") };
            let over = if version.is_empty() { version } else { format!(" over {version}") };
            lines.push(format!("{action:?}{from} {path}{over}"));
        }
    }
    assert_eq!(plan.totals.changes, lines.len() as u64);
    lines
}

#[track_caller]
fn assert_plan(source: &str, dest: &str, deletes: bool, want: &[&str]) -> Heard {
    let (lines, heard) = planned(source, dest, deletes, Equality::SizeAndTime, "");
    assert_eq!(lines, want, "{source} | {dest}");
    heard
}

#[test]
fn what_is_missing_is_made_and_sent_and_what_is_equal_is_left() {
    let heard = assert_plan(
        "a/, a/f 5 7, a/g 5 7, empty/, z 1 1",
        "a/, a/f 5 7, a/g 6 7",
        false,
        &["MakeDir empty", "Send a/g over v-a/g", "Send z"],
    );
    assert_eq!((heard.unchanged, heard.problems.len()), (1, 0));
    assert_plan("a 1", "", false, &["Send a"]);
    assert_plan("", "a 1, b/, b/c 1", false, &[]);
}

#[test]
fn only_with_delete_something_is_removed_and_a_directory_after_what_is_in_it() {
    let want =
        ["Delete a/b/c over v-a/b/c", "Delete a/d over v-a/d", "Delete x over v-x", "RemoveDir a/b", "RemoveDir a"];
    assert_plan("k 1 1", "a/, a/b/, a/b/c 1, a/d 1, k 1 1, x 1", true, &want);
}

#[test]
fn what_is_excluded_skipped_or_broken_is_left_alone_and_so_are_the_directories_above() {
    let heard =
        assert_plan("l ->", "a/, a/b/, a/b/x excluded, a/c 1, l/, l/f 1, m/, m/n ->", true, &["Delete a/c over v-a/c"]);
    assert_eq!((heard.skipped, heard.problems.len()), (1, 0));
    let heard = assert_plan("a broken, b 1", "a/, a/f 1, b ->", true, &[]);
    assert_eq!(heard.problems, ["a", "b"]);
    let heard = assert_plan("a/, a/f 1", "a broken", true, &[]);
    assert_eq!(heard.problems, ["a"]);
    let heard = assert_plan("a/, b unnamed", "a/, c/, c/d unnamed, e/", true, &["RemoveDir e"]);
    assert_eq!(heard.problems, ["b"]);
    // What is below an excluded directory is listed by a server all the same.
    assert_plan("a excluded", "a excluded, a/f 1, b 1", true, &["Delete b over v-b"]);
}

#[test]
fn a_file_takes_the_place_of_a_directory_and_the_other_way_round_only_with_delete() {
    let (file, dir) = ("x 1 1, z 1 1", "x/, x/y/, x/y/f 2 2, z 1 1");
    let want = ["Delete x/y/f over v-x/y/f", "RemoveDir x/y", "RemoveDir x", "Send x"];
    assert_plan(file, dir, true, &want);
    let want = ["Delete x over v-x", "MakeDir x", "MakeDir x/y", "Send x/y/f"];
    assert_plan(dir, file, true, &want);
    // A name without a place in the order comes next at the destination.
    assert_plan(dir, "x 1 1, x? unnamed, z 1 1", true, &want);
    for (source, dest) in [(file, dir), (dir, file)] {
        assert_eq!(assert_plan(source, dest, false, &[]).problems, ["x"]);
    }
    let heard = assert_plan("x 1 1", "x/, x/e excluded, x/f 2 2", true, &["Delete x/f over v-x/f"]);
    assert_eq!(heard.problems, ["x"]);
}

#[test]
fn a_moved_file_is_renamed_with_delete_and_copied_without() {
    let (source, dest, local) = ("new/, new/f 5 7", "old/, old/f 5 7 d", "new/f=d");
    let (lines, _) = planned(source, dest, true, Equality::SizeAndTime, local);
    assert_eq!(lines, ["MakeDir new", "Rename old/f new/f", "RemoveDir old"]);
    let (lines, _) = planned(source, dest, false, Equality::SizeAndTime, local);
    assert_eq!(lines, ["MakeDir new", "Copy old/f new/f"]);
    let (lines, _) = planned(source, dest, true, Equality::SizeAndTime, "new/f=e");
    assert_eq!(lines, ["MakeDir new", "Send new/f", "Delete old/f over v-old/f", "RemoveDir old"]);
    // One that is equal may be copied, one that is replaced may not.
    let (lines, _) = planned("a 5 7, b 5 7", "a 5 7 d", true, Equality::SizeAndTime, "a=d,b=d");
    assert_eq!(lines, ["Copy a b"]);
    let (lines, _) = planned("a 5 8, b 5 7", "a 5 7 d", true, Equality::SizeAndTime, "a=x,b=d");
    assert_eq!(lines, ["Send a over v-a", "Send b"]);
}

#[test]
fn digests_decide_where_times_cannot() {
    let plan = |source, dest, equality, local| planned(source, dest, false, equality, local).0;
    // Touched, and nothing else.
    assert_eq!(plan("f 5 8", "f 5 7 d", Equality::SizeAndTime, "f=d"), ["SetTime f over v-f"]);
    assert_eq!(plan("f 5 8", "f 5 7 d", Equality::SizeAndTime, "f=e"), ["Send f over v-f"]);
    assert_eq!(plan("f 5 8", "f 5 7", Equality::SizeAndTime, "f=d"), ["Send f over v-f"]);
    // Changed within the second in which it was transferred.
    assert_eq!(plan("f 5 999999", "f 5 999999 d", Equality::SizeAndTime, "f=e"), ["Send f over v-f"]);
    assert_eq!(plan("f 5 999999", "f 5 999999", Equality::SizeAndTime, "f=e"), ["Send f over v-f"]);
    assert_eq!(plan("f 5 7", "f 5 7 d", Equality::SizeAndTime, "f=e"), [""; 0]);
    assert_eq!(plan("f 5 7", "f 5 7 d", Equality::Digest, "f=e"), ["Send f over v-f"]);
    assert_eq!(plan("f 5 7", "f 5 7 d", Equality::Digest, "f=d"), [""; 0]);
    assert_eq!(plan("f 5 7", "f 5 7", Equality::Digest, "f=d"), ["Send f over v-f"]);
}

#[test]
fn a_listing_that_is_not_sorted_gives_no_plan() {
    for bad in ["b 1, a 1", "a 1, a 1", "a-b 1, a/, a/f 1"] {
        let (mut heard, mut draft) = (Heard::default(), Draft::new(1));
        let mut hash = |_: &str| None;
        let rules = Rules { is_upload: true, equality: Equality::SizeAndTime, deletes: true, now: 0, hash: &mut hash };
        let result = Merge::new(rules, &mut draft, &mut heard).range(empty(), listing(bad));
        assert!(matches!(result, Err(PlanError::Unsorted(_))), "{bad}");
    }
}

/// Two trees of few names, some of which are equal on both sides.
fn two_trees(seed: &mut u64) -> (String, String, String) {
    let mut draw = |below: u64| {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (*seed >> 33) % below
    };
    let (mut source, mut dest, mut local) = (String::new(), String::new(), String::new());
    let is_quiet = draw(2) == 0;
    for dir in ["", "a/", "b/", "b/c/", "b-/", "d/"] {
        // A directory is on both sides, or on one.
        let sides = if draw(4) == 0 { draw(3) } else { 2 };
        if !dir.is_empty() {
            source.push_str(if sides != 0 { dir } else { "" });
            source.push_str(if sides != 0 { "," } else { "" });
            dest.push_str(if sides != 1 { dir } else { "" });
            dest.push_str(if sides != 1 { "," } else { "" });
        }
        for name in ["e", "f", "g", "h", "i"] {
            let content = draw(4);
            let there = if is_quiet && draw(10) > 0 { content } else { draw(4) };
            let facts = |content: u64| format!("{} {}", content / 2 + 1, content + 5);
            if sides != 0 && draw(20) == 0 {
                source += &format!("{dir}{name} ->,");
            } else if sides != 0 && draw(5) > 0 {
                source += &format!("{dir}{name} {},", facts(content));
                local += &format!("{dir}{name}={content},");
            }
            if sides != 1 && draw(5) > 0 {
                dest += &format!("{dir}{name} {} {there},", facts(there));
            }
        }
    }
    (sorted(&source), sorted(&dest), local)
}

fn sorted(listing: &str) -> String {
    let mut lines: Vec<&str> = listing.split(',').filter(|line| !line.is_empty()).collect();
    let path = |line: &str| line.split(' ').next().unwrap_or_default().trim_end_matches('/').to_owned();
    lines.sort_by(|a, b| order(&path(a), &path(b)));
    // No two sides of a tree have a directory without those above it here.
    lines.join(",")
}

#[test]
fn a_plan_is_the_same_whether_blocks_are_compared_by_their_sums_or_by_their_names() {
    let mut seed = 28;
    for _ in 0..300 {
        let (source, dest, local) = two_trees(&mut seed);
        for is_upload in [false, true] {
            for deletes in [false, true] {
                planned_for(is_upload, (&source, &dest), deletes, Equality::SizeAndTime, &local);
            }
            planned_for(is_upload, (&source, &dest), true, Equality::Digest, &local);
        }
    }
}

#[test]
fn a_file_of_the_server_where_a_link_ends_this_side_is_a_failure_and_not_passed_over() {
    let (_, heard) =
        planned_for(false, ("a 5 7, b 5 7, l ->", "a 5 7, b 5 7, l 1 1"), false, Equality::SizeAndTime, "");
    assert_eq!(heard.problems, ["l"]);
}

#[test]
fn of_equal_trees_no_name_is_sent_and_of_others_those_near_a_difference() {
    let names = |other: Option<usize>, count: usize| {
        let line = |n| format!("f{n:02} 5 {}", if other == Some(n) { 8 } else { 7 });
        (0..count).map(line).collect::<Vec<_>>().join(",")
    };
    for (there, is_quiet) in [(names(None, 20), true), (names(Some(11), 20), false), (names(None, 22), false)] {
        let mut plan = |server: &mut Server| {
            let (mut heard, mut draft) = (Heard::default(), Draft::new(MOVED_MAX));
            let mut hash = |_: &str| None;
            let equality = Equality::SizeAndTime;
            let rules = Rules { is_upload: true, equality, deletes: false, now: 1_000_000, hash: &mut hash };
            compare(Merge::new(rules, &mut draft, &mut heard), listing(&names(None, 20)), Some(server), false)
                .expect("a plan");
            (told(draft.finish(true, true, &mut |_| None).expect("a plan")), heard)
        };
        let (_, _, pages) = compared(&mut plan, &there);
        assert_eq!(pages, usize::from(!is_quiet), "{there}");
    }
}
