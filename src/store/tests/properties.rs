//! Properties that clients keep: where they stay, what they leave as it is, and what is refused.
use super::copies::copying;
use super::*;
use crate::object::Entry;
use crate::properties::{Change, Name, Properties, UNKEPT};

const THEN: i64 = 1_000_000_007;

fn named(local: &str) -> Name {
    Name { namespace: "urn:x".into(), local: local.into() }
}

fn set(local: &str, xml: &str) -> Change {
    Change::Set(named(local), xml.into())
}

fn shown(entry: &Entry) -> Vec<(&str, &str)> {
    entry.properties.iter().flat_map(Properties::iter).map(|one| (one.local, one.xml)).collect()
}

impl Bench {
    fn change(&mut self, name: &str, mtime: Option<i64>, changes: &[Change]) -> Result<Node, Failure> {
        match self.run(Op::Run(Whole::SetProperties { key: key(name), mtime, changes: changes.into() }))? {
            Outcome::Answered(Answer::TimeSet(node)) => Ok(node),
            other => panic!("{other:?}"),
        }
    }

    /// What is said of a name alone, and in the listings of the directory above it.
    fn described(&mut self, name: &str) -> Result<Entry, Failure> {
        let Outcome::Answered(Answer::Described(entry)) = self.run(Op::Run(Whole::Describe { key: key(name) }))? else {
            panic!("not described")
        };
        let (dir, last) = name.rsplit_once('/').unwrap_or(("", name));
        for recursive in [false, true] {
            let op = Op::List {
                key: key(dir),
                recursive,
                order: Order::default(),
                after: None,
                limit: 1000,
                bytes_max: 1 << 20,
                details: Details { digests: true, properties: true },
                hides: None,
            };
            let Outcome::Listed(listing) = self.run(op).unwrap() else { panic!("no listing") };
            let listed = listing.entries.into_iter().find(|entry| &*entry.name == last);
            assert_eq!(listed, Some((*entry).clone()), "recursive: {recursive}");
        }
        Ok(*entry)
    }
}

#[test]
fn properties_stay_with_a_file_and_a_directory_whatever_their_name() {
    in_every_mode(|bench| {
        bench.store_file("d/f", b"content", Precondition::None).unwrap();
        assert_eq!(shown(&bench.described("d/f").unwrap()), []);
        bench.change("d/f", None, &[set("a", "<a/>"), set("b", "<b/>")]).unwrap();
        bench.change("d", None, &[set("c", "<c/>")]).unwrap();
        assert_eq!(shown(&bench.described("d/f").unwrap()), [("a", "<a/>"), ("b", "<b/>")]);
        assert_eq!(shown(&bench.described("d").unwrap()), [("c", "<c/>")]);
        bench.rename("d", "e", Precondition::None).unwrap();
        bench.rename("e/f", "e/g", Precondition::None).unwrap();
        bench.change("e/g", None, &[Change::Remove(named("a"))]).unwrap();
        assert_eq!(shown(&bench.described("e/g").unwrap()), [("b", "<b/>")]);
        assert_eq!(shown(&bench.described("e").unwrap()), [("c", "<c/>")]);
        bench.change("e/g", None, &[Change::Remove(named("b"))]).unwrap();
        assert_eq!(bench.described("e/g").unwrap().properties, None);
        bench.change("e/g", None, &[Change::Remove(named("b"))]).unwrap();
    });
}

#[test]
fn an_upload_over_a_file_leaves_its_properties() {
    in_every_mode(|bench| {
        bench.store_file("f", b"old", Precondition::None).unwrap();
        bench.change("f", None, &[set("a", "<a/>")]).unwrap();
        bench.store_file("f", b"new", Precondition::None).unwrap();
        assert_eq!(shown(&bench.described("f").unwrap()), [("a", "<a/>")]);
        let file = bench.create("f", Some(5), Precondition::None).unwrap();
        bench.store.write_now(file, 0, b"newer").unwrap();
        bench.commit(file, "f", 5, Precondition::None).unwrap();
        assert_eq!(shown(&bench.described("f").unwrap()), [("a", "<a/>")]);
        assert_eq!(bench.content("f"), b"newer");
        bench.delete("f", Precondition::None).unwrap();
        bench.store_file("f", b"another", Precondition::None).unwrap();
        assert_eq!(bench.described("f").unwrap().properties, None);
    });
}

#[test]
fn a_copy_has_the_properties_of_its_source_whatever_it_replaces() {
    in_every_mode(|bench| {
        for name in ["with", "without", "there", "other"] {
            bench.store_file(name, name.as_bytes(), Precondition::None).unwrap();
        }
        bench.change("with", None, &[set("a", "<a/>")]).unwrap();
        bench.change("there", None, &[set("b", "<b/>")]).unwrap();
        bench.change("other", None, &[set("c", "<c/>")]).unwrap();
        for (from, to) in [("with", "new"), ("with", "there"), ("without", "other")] {
            bench.copy(&copying(from, to)).unwrap();
            assert_eq!(bench.described(to).unwrap().properties, bench.described(from).unwrap().properties, "{to}");
            assert_eq!(bench.content(to), from.as_bytes());
        }
    });
}

#[test]
fn the_content_its_digest_and_its_time_stay_when_properties_change() {
    in_every_mode(|bench| {
        let sha256 = Box::new([7; 32]);
        let put = Put { hash: true, sha256: Some(sha256), ..put("f", Some(3), Precondition::None) };
        let stored = bench.run(Op::Store { put: Box::new(put), chunk: chunk(b"abc") }).unwrap();
        let Outcome::Committed(stored) = stored else { panic!("not committed") };
        for (mtime, changes) in
            [(None, vec![set("a", "<a/>")]), (Some(THEN), vec![set("b", "<b/>")]), (Some(5), vec![])]
        {
            let Node::File(meta) = bench.change("f", mtime, &changes).unwrap() else { panic!("a folder") };
            assert_eq!(meta.mtime, mtime.unwrap_or(stored.meta.mtime));
            let Some(Node::File(described)) = bench.described("f").unwrap().node else { panic!("a folder") };
            assert_eq!((described.etag, described.sha256), (meta.etag, Some([7; 32])));
        }
        let Node::File(before) = bench.stat("f").unwrap() else { panic!("a folder") };
        let Node::File(looked) = bench.change("f", None, &[]).unwrap() else { panic!("a folder") };
        assert_eq!(looked.etag, before.etag, "with nothing to change it is only looked");
    });
}

#[test]
fn what_is_not_there_has_no_properties_and_more_than_fits_changes_nothing() {
    in_every_mode(|bench| {
        bench.store_file("f", b"x", Precondition::None).unwrap();
        std::os::unix::fs::symlink(bench.path("f"), bench.path("link")).unwrap();
        fifo(&bench.path("fifo"));
        for name in ["none", "none/f", "link", "fifo"] {
            assert_eq!(bench.change(name, None, &[set("a", "")]).unwrap_err(), Failure::NotFound, "{name}");
            let looked = bench.run(Op::Run(Whole::Describe { key: key(name) }));
            assert_eq!(looked.map(|_| ()), Err(Failure::NotFound), "{name}");
        }
        assert!(matches!(bench.change("", None, &[set("a", "")]), Err(Failure::Denied(_))));
        bench.change("f", None, &[set("a", "<a/>")]).unwrap();
        let long = "x".repeat(Properties::BYTES_MAX);
        for changes in [vec![set("b", &long)], vec![Change::Remove(named("a")), set("b", &long)]] {
            assert_eq!(bench.change("f", Some(THEN), &changes), Err(Failure::NoSpace));
        }
        let entry = bench.described("f").unwrap();
        assert_eq!(shown(&entry), [("a", "<a/>")]);
        assert!(!matches!(entry.node, Some(Node::File(Meta { mtime: THEN, .. }))), "nor has it the time");
    });
}

#[test]
fn an_attribute_that_is_none_of_these_counts_as_none() {
    use rustix::fs::{XattrFlags, setxattr};
    in_every_mode(|bench| {
        bench.store_file("f", b"x", Precondition::None).unwrap();
        for value in [&b""[..], b"\x02", b"\x01\xff\xff", &[1; 9], &vec![1; 3500]] {
            setxattr(bench.path("f"), "user.filewharf.properties", value, XattrFlags::empty()).unwrap();
            assert!(bench.described("f").unwrap().properties.is_none_or(|all| all.iter().count() == 0));
        }
        bench.change("f", None, &[set("a", "<a/>")]).unwrap();
        assert_eq!(shown(&bench.described("f").unwrap()), [("a", "<a/>")]);
    });
    assert!(matches!(UNKEPT, Failure::Denied(_)));
}
