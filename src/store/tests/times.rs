//! TIME and SPACE: what they change, what they report, and what stays as it was.
use super::*;
use crate::config::{Quota, QuotaUnit};
use crate::object::Usage;
use crate::store::tests::quotas::with_quotas;

const THEN: i64 = 1_000_000_007;

impl Bench {
    fn set_time(&mut self, name: &str, mtime: i64) -> Result<Node, Failure> {
        match self.run(Op::Run(Whole::SetTime { key: key(name), mtime }))? {
            Outcome::Answered(Answer::TimeSet(node)) => Ok(node),
            other => panic!("{other:?}"),
        }
    }

    fn space(&mut self, name: &str, is_strict: bool) -> Result<(u64, Option<Usage>), Failure> {
        match self.run(Op::Run(Whole::Space { key: key(name), is_strict }))? {
            Outcome::Answered(Answer::SpaceLeft { free, quota }) => Ok((free, quota)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_time_is_set_with_a_new_etag_and_nothing_else_changes() {
    in_every_mode(|bench| {
        let before = bench.store_file("d/f", b"content", Precondition::None).unwrap();
        for mtime in [THEN, 0, -5, THEN] {
            let Node::File(meta) = bench.set_time("d/f", mtime).unwrap() else { panic!("a folder") };
            assert_eq!((meta.mtime, meta.len), (mtime, 7));
            assert_ne!(meta.etag, before.etag);
            assert_eq!(bench.stat("d/f").unwrap(), Node::File(meta), "STAT says what was answered");
        }
        assert_eq!(bench.content("d/f"), b"content");
        assert_eq!(bench.set_time("d", THEN).unwrap(), Node::Dir { mtime: THEN });
        assert_eq!(bench.stat("d").unwrap(), Node::Dir { mtime: THEN });
    });
}

#[test]
fn only_files_and_directories_that_are_there_have_a_time_to_set() {
    in_every_mode(|bench| {
        let outside = TempDir::new().unwrap();
        std::fs::write(outside.path().join("f"), b"x").unwrap();
        std::os::unix::fs::symlink(outside.path(), bench.path("dir")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("f"), bench.path("link")).unwrap();
        fifo(&bench.path("fifo"));
        let before = std::fs::metadata(outside.path().join("f")).unwrap().modified().unwrap();
        for name in ["none", "none/f", "link", "fifo", "dir", "dir/f"] {
            assert_eq!(bench.set_time(name, THEN).unwrap_err(), Failure::NotFound, "{name}");
        }
        assert!(matches!(bench.set_time("", THEN), Err(Failure::Denied(_))));
        assert_eq!(std::fs::metadata(outside.path().join("f")).unwrap().modified().unwrap(), before);
    });
}

#[test]
fn space_is_that_of_the_directory_and_only_a_strict_question_says_whether_it_is_there() {
    in_every_mode(|bench| {
        bench.store_file("d/f", b"x", Precondition::None).unwrap();
        assert!(bench.space("", true).unwrap().0 > 0);
        assert_eq!(bench.space("d", true).unwrap().1, None);
        assert_eq!(bench.space("none", true).unwrap_err(), Failure::NotFound);
        assert!(is_conflict(&bench.space("d/f", true)));
        for name in ["d", "d/f", "d/f/g", "none", "d/none/deep"] {
            assert!(bench.space(name, false).unwrap().0 > 0, "{name}");
        }
    });
}

#[test]
fn space_says_which_quota_has_the_least_left_and_what_uploads_hold_of_it() {
    let dir = TempDir::new().unwrap();
    let mut config = with_quotas(&[("a", 10_000_000), ("a/b", 9_000_000)]);
    config.quotas.push(Quota { prefix: "a/b".into(), unit: QuotaUnit::Names, max: 1 });
    let mut bench = Bench::open(dir.path(), &config);
    bench.count_again();
    bench.store_file("a/f", &[7; 2_000_000], Precondition::None).unwrap();
    let file = bench.create("a/b/g", Some(500_000), Precondition::None).unwrap();
    let quota = |bench: &mut Bench, name| bench.space(name, false).unwrap().1;
    let outer = Usage { max: 10_000_000, used: 2_500_000 };
    assert_eq!(quota(&mut bench, "a/b"), Some(outer), "less is left of the outer one");
    bench.delete("a/f", Precondition::None).unwrap();
    assert_eq!(quota(&mut bench, "a/b/deep"), Some(Usage { max: 9_000_000, used: 500_000 }));
    assert_eq!((quota(&mut bench, "a"), quota(&mut bench, "")), (Some(Usage { used: 500_000, ..outer }), None));
    bench.abort(file);
}
