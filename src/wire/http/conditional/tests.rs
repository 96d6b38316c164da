//! The tables of RFC 9110 §13, and what becomes of them for a change.

use proptest::prelude::*;

use super::*;

const OURS: Etag = Etag([1; 16]);
const OTHER: Etag = Etag([2; 16]);
const MTIME: i64 = 784_111_777;
const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const META: Meta = Meta { len: 10, mtime: MTIME, etag: OURS, sha256: None, is_executable: false };

/// Puts our tags into a text: `A` is that of [`META`], `B` another.
fn tagged(text: &str) -> String {
    text.replace('A', &format!("\"{OURS}\"")).replace('B', &format!("\"{OTHER}\""))
}

fn tags(text: &str) -> Result<Option<EntityTags>, Failure> {
    EntityTags::parse(&[&tagged(text)])
}

fn list(tags: &[EntityTag]) -> Result<Option<EntityTags>, Failure> {
    Ok(Some(EntityTags::List(tags.into())))
}

/// Conditions from `If-Match`, `If-Unmodified-Since`, `If-None-Match`, `If-Modified-Since`; blank
/// where absent.
fn conditions(texts: [&str; 4]) -> Preconditions {
    let given = |text: &str| (!text.is_empty()).then(|| tags(text).expect("good").expect("there"));
    Preconditions {
        matches: given(texts[0]),
        unmodified_since: date::parse(texts[1]),
        none_match: given(texts[2]),
        modified_since: date::parse(texts[3]),
    }
}

#[test]
fn tags_are_read_as_they_were_given() {
    let (strong, weak) = (EntityTag::Strong(OURS), EntityTag::Weak(OURS));
    assert_eq!(tags("*"), Ok(Some(EntityTags::Any)));
    assert_eq!(tags("A"), list(&[strong]));
    assert_eq!(tags("W/A"), list(&[weak]));
    assert_eq!(tags("A,B"), list(&[strong, EntityTag::Strong(OTHER)]));
    assert_eq!(tags(" ,, A , \t W/A,"), list(&[strong, weak]), "RFC 9110 §5.6.1");
    assert_eq!(tags("\"\""), list(&[EntityTag::Foreign]), "what curl sends for an empty file of tags");
    assert_eq!(tags("\"a,b\", A"), list(&[EntityTag::Foreign, strong]), "a comma may stand in a tag");
    assert_eq!(tags("\"*\", \"ü\""), list(&[EntityTag::Foreign; 2]));
    assert_eq!(tags("JoplinIgnore-48213"), list(&[EntityTag::Foreign]));
    assert_eq!(EntityTags::parse(&[]), Ok(None));
    assert_eq!(EntityTags::parse(&[&tagged("A"), &tagged("B")]), list(&[strong, EntityTag::Strong(OTHER)]));
}

#[test]
fn what_is_no_tag_is_refused() {
    for text in [
        "", ",", "x", "'x'", "\"x", "x\"", "w/A", "W/", "W/ A", "A B", "A*", "*,A", "A,*", "**", "\"a b\"", "\"\t\"",
        "A;x",
    ] {
        assert!(tags(text).is_err(), "{text}");
    }
    assert!(EntityTags::parse(&["*", "*"]).is_err());
    assert!(tags(&"A,".repeat(TAGS_MAX)).is_ok());
    assert!(tags(&"A,".repeat(TAGS_MAX + 1)).is_err());
}

#[test]
fn conditions_count_in_the_order_of_rfc_9110() {
    use Evaluation::{Failed, NotModified, Proceed};
    for (texts, want) in [
        (["", "", "", ""], Proceed),
        (["A", "", "", ""], Proceed),
        (["B,A", "", "", ""], Proceed),
        (["*", "", "", ""], Proceed),
        (["B", "", "", ""], Failed),
        (["W/A", "", "", ""], Failed),
        (["\"x\"", "", "", ""], Failed),
        (["", THEN, "", ""], Proceed),
        (["", BEFORE, "", ""], Failed),
        (["A", BEFORE, "", ""], Proceed),
        (["B", THEN, "", ""], Failed),
        (["", "", "A", ""], NotModified),
        (["", "", "W/A", ""], NotModified),
        (["", "", "*", ""], NotModified),
        (["", "", "B", ""], Proceed),
        (["", "", "", THEN], NotModified),
        (["", "", "", BEFORE], Proceed),
        (["", "", "", "Wed, 31 Dec 1969 23:59:59 GMT"], Proceed),
        (["", "Wed, 31 Dec 1969 23:59:59 GMT", "", ""], Failed),
        (["", "", "B", THEN], Proceed),
        (["", "", "A", BEFORE], NotModified),
        (["B", "", "A", ""], Failed),
        (["A", "", "A", ""], NotModified),
        (["", BEFORE, "A", ""], Failed),
        (["", THEN, "", THEN], NotModified),
    ] {
        assert_eq!(conditions(texts).evaluate(Some(&META)), want, "{texts:?}");
        assert_eq!(conditions(texts).evaluate(None), Proceed, "{texts:?}: it will be 404");
    }
}

#[test]
fn a_change_carries_its_conditions_to_where_it_becomes_visible() {
    use Precondition::{Absent, All, AnyOf, NoneOf, Present, UnmodifiedSince};
    for (texts, want) in [
        (["", "", "", ""], Precondition::None),
        (["", "", "", THEN], Precondition::None),
        (["*", "", "", ""], Present),
        (["A,B", "", "", ""], AnyOf([OURS, OTHER].into())),
        (["W/A,\"x\"", "", "", ""], AnyOf([].into())),
        (["", THEN, "", ""], UnmodifiedSince(MTIME)),
        (["A", THEN, "", ""], AnyOf([OURS].into())),
        (["", "", "*", ""], Absent),
        (["", "", "W/A,B,\"x\"", ""], NoneOf([OURS, OTHER].into())),
        (["*", "", "A", ""], All([Present, NoneOf([OURS].into())].into())),
        (["", THEN, "*", THEN], All([UnmodifiedSince(MTIME), Absent].into())),
    ] {
        assert_eq!(conditions(texts).for_change(), want, "{texts:?}");
    }
    assert!(!conditions(["W/A", "", "", ""]).for_change().holds(Some(&META)), "a weak tag never permits a change");
}

#[test]
fn a_range_counts_only_for_the_version_it_was_begun_with() {
    assert!(if_range_holds(None, &META));
    for (text, counts) in [
        ("A", true),
        ("B", false),
        ("W/A", false),
        ("\"x\"", false),
        ("*", false),
        ("A,A", false),
        ("", false),
        (THEN, false),
        ("Sunday, 06-Nov-94 08:49:37 GMT", false),
        (BEFORE, false),
        ("Sun, 06 Nov 1994 08:49:38 GMT", false),
        ("yesterday", false),
    ] {
        let text = if text == THEN || text.contains(' ') { text.to_owned() } else { tagged(text) };
        assert_eq!(if_range_holds(Some(&text), &META), counts, "{text}");
    }
}

#[test]
fn fields_become_conditions() {
    let text = format!(
        "PUT /a HTTP/1.1\r\nHost: h\r\nIf-Match: \"{OURS}\"\r\nIf-Match: \"{OTHER}\"\r\nIf-Unmodified-Since: {THEN}\r\n\
         If-Modified-Since: never\r\n\r\n"
    );
    let head = crate::wire::http::head::parse(text.as_bytes()).expect("good");
    let conditions = Preconditions::parse(&head.fields).expect("good");
    assert_eq!(conditions.for_change(), Precondition::AnyOf([OURS, OTHER].into()));
    assert_eq!((conditions.modified_since, conditions.unmodified_since), (None, Some(MTIME)), "bad dates are ignored");
    let text = "PUT /a HTTP/1.1\r\nHost: h\r\nIf-Match: abc\r\n\r\n";
    let head = crate::wire::http::head::parse(text.as_bytes()).expect("good");
    assert!(Preconditions::parse(&head.fields).is_err(), "never written as if no condition was there");
}

proptest! {
    #[test]
    fn no_text_breaks_it(lines in prop::collection::vec("(\"|W/|\\*|,| |[0-9a-fü]|A){0,9}", 0..3)) {
        let lines: Vec<String> = lines.iter().map(|line| tagged(line)).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        if let Ok(Some(EntityTags::List(tags))) = EntityTags::parse(&lines) {
            prop_assert!((1..=TAGS_MAX).contains(&tags.len()));
        }
        for line in lines {
            if_range_holds(Some(line), &META);
        }
    }

    #[test]
    fn reading_and_writing_agree_about_if_match_and_if_none_match(
        first in prop::sample::select(vec!["", "*", "A", "B", "W/A", "A,B"]),
        second in prop::sample::select(vec!["", "*", "A", "B", "W/A", "A,B"]),
    ) {
        let conditions = conditions([first, "", second, ""]);
        let proceeds = conditions.evaluate(Some(&META)) == Evaluation::Proceed;
        prop_assert_eq!(conditions.for_change().holds(Some(&META)), proceeds);
    }
}
