//! The page is read back by a small strict reader of HTML: whatever the names, it finds the
//! elements of the template and of the rows, and nothing else.

use percent_encoding::percent_decode_str;
use proptest::prelude::*;

use super::*;
use crate::access::Rights;
use crate::object::Listing;
use crate::object::{Etag, Meta};

/// What a piece of the document is.
#[derive(Debug, PartialEq)]
enum Piece {
    /// `<tag attribute="value">`; the closing form begins with `/`.
    Tag(String, Vec<(String, String)>),
    /// What stands between tags.
    Text(String),
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut parts = text.split('&');
    out.push_str(parts.next().expect("split gives one"));
    for part in parts {
        let (word, rest) = part.split_once(';').expect("an & begins a reference");
        out.push(match word {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "#39" => '\'',
            other => panic!("unknown reference {other}"),
        });
        out.push_str(rest);
    }
    out
}

/// One tag, without its angle brackets; every value must be quoted.
fn tag(inside: &str) -> Piece {
    let (name, mut rest) = inside.split_at(inside.find(' ').unwrap_or(inside.len()));
    let mut attributes = Vec::new();
    while !rest.is_empty() {
        rest = rest.strip_prefix(' ').expect("a blank before an attribute");
        let end = rest.find([' ', '=']).unwrap_or(rest.len());
        let name = &rest[..end];
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "attribute {name:?}");
        rest = &rest[end..];
        let mut value = "";
        if let Some(quoted) = rest.strip_prefix("=\"") {
            (value, rest) = quoted.split_once('"').expect("a closing quote");
        }
        attributes.push((name.to_owned(), unescape(value)));
    }
    Piece::Tag(name.to_owned(), attributes)
}

fn pieces(html: &str) -> Vec<Piece> {
    let mut found = Vec::new();
    let mut rest = html.strip_prefix("<!doctype html>\n").expect("the doctype");
    while let Some((text, after)) = rest.split_once('<') {
        assert!(!text.contains('>'), "a stray > in {text:?}");
        found.push(Piece::Text(unescape(text)));
        // A `>` within quotes does not end a tag.
        let mut quoted = false;
        let end = after.find(|c| {
            quoted ^= c == '"';
            c == '>' && !quoted
        });
        let (inside, after) = after.split_at(end.expect("a closing bracket"));
        rest = &after[1..];
        found.push(tag(inside));
        if let "script" | "style" = inside {
            let (raw, after) = rest.split_once(&format!("</{inside}>")).expect("its end");
            found.push(Piece::Text(raw.to_owned()));
            rest = after;
            found.push(tag(&format!("/{inside}")));
        }
    }
    found
}

fn document(page: &Page<'_>, listing: &Listing) -> String {
    let mut text = String::new();
    begin(page, &mut text);
    listing.entries.iter().for_each(|entry| row(page, entry, &mut text));
    let before = text.len();
    end(page, &mut text);
    assert!(text.len() - before <= END_BYTES_MAX);
    text
}

fn listing(names: &[String], more: bool) -> Listing {
    let entries = names.iter().enumerate().map(|(place, name)| {
        let meta =
            Meta { len: place as u64, mtime: 1_795_234_019, etag: Etag([7; 16]), sha256: None, is_executable: false };
        Entry::new(name, if place % 2 == 0 { Node::File(meta) } else { Node::Dir { mtime: -1 } })
    });
    Listing { entries: entries.collect(), more, unlisted: 0, total: None }
}

static EVERYTHING: May<'static> = May::everywhere(Rights::ALL);

fn page<'a>(dir: &'a Key, listing: &'a Listing) -> Page<'a> {
    let next = listing.entries.last().filter(|_| listing.more);
    let next = next.map(|last| format!("?after={}&limit=1000", target::component(&last.name)));
    let (offer, empty) = (&Offer::Nothing, listing.entries.is_empty());
    Page {
        dir,
        after: None,
        visitor: &Visitor::Anybody,
        may: &EVERYTHING,
        offer,
        carried: None,
        empty,
        next,
        unlisted: listing.unlisted,
    }
}

/// The value of an attribute.
fn attribute<'a>(attributes: &'a [(String, String)], name: &str) -> Option<&'a str> {
    attributes.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
}

/// How often each tag stands in the document.
fn census(html: &str) -> std::collections::BTreeMap<String, usize> {
    let mut counts = std::collections::BTreeMap::new();
    for piece in pieces(html) {
        if let Piece::Tag(name, _) = piece {
            *counts.entry(name).or_default() += 1;
        }
    }
    counts
}

/// Each row's link and the name that is read in it.
fn rows(html: &str) -> Vec<(String, String)> {
    let found = pieces(html);
    let begin = found.iter().position(|piece| matches!(piece, Piece::Tag(name, _) if name == "tbody"));
    let end = found.iter().position(|piece| matches!(piece, Piece::Tag(name, _) if name == "/tbody"));
    let found = &found[begin.expect("a table")..end.expect("its end")];
    let mut rows = Vec::new();
    for window in found.windows(5) {
        // The link, then its <bdi>, each with an empty text before it.
        if let [Piece::Tag(a, attributes), Piece::Text(_), Piece::Tag(bdi, _), Piece::Text(name), Piece::Tag(_, _)] =
            window
            && (a.as_str(), bdi.as_str()) == ("a", "bdi")
        {
            rows.push((attribute(attributes, "href").expect("a link").to_owned(), name.clone()));
        }
    }
    rows
}

const NASTY: [&str; 12] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "it's & \"quoted\"",
    "  two  blanks ",
    "javascript:alert(1)",
    "50%41 #1?.txt",
    "a\\b",
    "\u{202e}gnp.exe",
    "שלום 😀",
    "{{script}}",
    "</title></style></tbody>",
    "&lt;&amp;&#39;",
];

proptest! {
    #[test]
    fn whatever_the_names_the_document_reads_back_the_same(
        names in proptest::collection::vec("[^\\x00-\\x1f\\x7f/]{1,20}|[<>&\"'{}%?#:. ]{1,8}", 0..6),
        dir in "[^\\x00-\\x1f\\x7f/]{1,12}(/[^\\x00-\\x1f\\x7f/]{1,12}){0,3}",
        more: bool,
    ) {
        let (dir, listing) = (Key::checked(&dir), listing(&names, more));
        let html = document(&page(&dir, &listing), &listing);
        let read = rows(&html);
        prop_assert_eq!(read.len(), names.len());
        for (place, (link, name)) in read.iter().enumerate() {
            prop_assert_eq!(name, &names[place]);
            let plain = link.strip_suffix('/').unwrap_or(link);
            prop_assert_eq!(link.ends_with('/'), place % 2 == 1);
            prop_assert!(plain.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte)), "{}", link);
            prop_assert_eq!(&*percent_decode_str(plain).decode_utf8().expect("UTF-8"), &*names[place]);
        }
        // Not one element more than with harmless names.
        let tame: Vec<String> = names.iter().map(|_| "x".to_owned()).collect();
        let depth = vec!["x"; dir.as_str().split('/').count()].join("/");
        let expected = document(&page(&Key::checked(&depth), &self::listing(&tame, more)), &self::listing(&tame, more));
        prop_assert_eq!(census(&html), census(&expected));
    }
}

// covers: names-in-pages
#[test]
fn hostile_names_are_only_names() {
    let names = NASTY.map(str::to_owned);
    let listing = listing(&names, true);
    let html = document(&page(&Key::root(), &listing), &listing);
    let read: Vec<String> = rows(&html).into_iter().map(|(_, name)| name).collect();
    assert_eq!(read, names);
    assert_eq!(census(&html)["script"], 1);
}

#[test]
fn the_title_and_the_way_here_are_escaped() {
    let dir = Key::checked("a<b>/\"c\" & 'd'");
    let html = document(&page(&dir, &listing(&[], false)), &listing(&[], false));
    assert!(html.contains("<title>&quot;c&quot; &amp; &#39;d&#39; – filewharf</title>"));
    assert!(html.contains(
        "<li><a href=\"../../\"><bdi>Files</bdi></a></li><li><a href=\"../\"><bdi>a&lt;b&gt;</bdi></a></li>\
         <li aria-current=\"page\"><h1><bdi>&quot;c&quot; &amp; &#39;d&#39;</bdi></h1></li>"
    ));
    assert!(
        document(&page(&Key::root(), &listing(&[], false)), &listing(&[], false))
            .contains("<title>/ – filewharf</title>")
    );
}

#[test]
fn the_policy_names_exactly_the_script_and_the_style_of_the_document() {
    let html = document(&page(&Key::root(), &listing(&["a".to_owned()], false)), &listing(&["a".to_owned()], false));
    let found = pieces(&html);
    for element in ["script", "style"] {
        let place = found.iter().position(|piece| matches!(piece, Piece::Tag(name, _) if name == element));
        let Piece::Text(inside) = &found[place.expect("it is there") + 1] else { panic!("no text in it") };
        let hash = Base64::encode_string(&Sha256::digest(inside));
        assert!(content_security_policy().contains(&format!("{element}-src 'sha256-{hash}';")), "{element}");
    }
    assert!(!content_security_policy().contains("unsafe"));
}

#[test]
fn nothing_is_fetched_from_elsewhere_and_nothing_is_heavy() {
    for source in [TEMPLATE, STYLE, SCRIPT] {
        // The name space of SVG is a name, not an address.
        assert!(!source.replace("http://www.w3.org/2000/svg", "").contains("//www"));
        assert!(!source.contains("https:") && !source.contains("innerHTML") && !source.contains("eval("));
    }
    assert!(!SCRIPT.contains("</script") && !SCRIPT.contains("<!--") && !STYLE.contains("</style"));
    assert!(TEMPLATE.len() + STYLE.len() + SCRIPT.len() + crate::dialect::http::notice::TEMPLATE.len() <= 80_000);
}

#[test]
fn a_page_says_what_the_client_may_do() {
    let (dir, listing) = (Key::root(), listing(&["a".to_owned()], false));
    for rights in [Rights::ALL, Rights::CREATE, Rights::NONE] {
        let html = document(&Page { may: &May::everywhere(rights), ..page(&dir, &listing) }, &listing);
        assert!(html.contains(&format!("<body data-may=\"{rights}\">")), "{html}");
    }
}

#[test]
fn a_page_leads_to_the_next_one_and_back_to_the_first() {
    let (dir, names) = (Key::root(), ["a&b".to_owned(), "c d\"#".to_owned()]);
    let (all, part) = (listing(&names, false), listing(&names, true));
    let html = document(&Page { after: Some("A"), ..page(&dir, &part) }, &part);
    assert!(html.contains("<p id=\"more\"><a class=\"button\" href=\"?after=c%20d%22%23&amp;limit=1000\">"));
    assert!(html.contains("<a href=\"./\">From the first name</a>"));
    let html = document(&page(&dir, &all), &all);
    assert!(html.contains("<p id=\"more\" hidden><a class=\"button\" href=\"./\">"), "there is no next one");
    assert!(!html.contains("From the first name"));
    assert!(html.contains("<p id=\"empty\" hidden>"));
    assert!(document(&page(&dir, &listing(&[], false)), &listing(&[], false)).contains("<p id=\"empty\">"));
}

#[test]
fn a_page_that_a_link_leads_to_carries_the_link_on_and_leads_no_higher() {
    let prefix = Key::checked("a/b");
    let carry = |prefix| Some(Carried { query: "?fw=bGluaw", prefix });
    let part = listing(&["file".to_owned(), "folder".to_owned()], true);
    let dir = Key::checked("a/b/c/d");
    let html = document(&Page { carried: carry(&prefix), after: Some("A"), ..page(&dir, &part) }, &part);
    let links: Vec<_> = rows(&html).into_iter().map(|(link, _)| link).collect();
    assert_eq!(links, ["file?fw=bGluaw", "folder/?fw=bGluaw"]);
    assert!(html.contains("href=\"file?fw=bGluaw\" download"));
    assert!(html.contains("<a href=\"./?fw=bGluaw\">From the first name</a>"));
    assert!(html.contains(
        "<ol><li><a href=\"../../?fw=bGluaw\"><bdi>b</bdi></a></li><li><a href=\"../?fw=bGluaw\"><bdi>c</bdi></a></li>\
         <li aria-current=\"page\"><h1><bdi>d</bdi></h1></li></ol>"
    ));
    let html = document(&Page { carried: carry(&dir), ..page(&dir, &part) }, &part);
    assert!(html.contains("<ol><li aria-current=\"page\"><h1><bdi>d</bdi></h1></li></ol>"));
    let root = Key::root();
    let html = document(&Page { carried: carry(&root), ..page(&root, &part) }, &part);
    assert!(html.contains("<ol><li aria-current=\"page\"><h1><bdi>Files</bdi></h1></li></ol>"));
}

#[test]
fn the_longest_page_with_one_name_is_within_its_bound() {
    let name = "\"".repeat(255);
    let query = format!("?fw={}", "a".repeat(2048));
    for dir in [vec!["'".repeat(255); 16].join("/"), vec!["'"; 2048].join("/")] {
        let (dir, part) = (Key::checked(&dir), listing(std::slice::from_ref(&name), true));
        for prefix in [Key::root(), Key::checked("'")] {
            let carried = Some(Carried { query: &query, prefix: &prefix });
            let html = document(&Page { carried, after: Some(&name), ..page(&dir, &part) }, &part);
            assert!(html.len() <= FIXED_BYTES_MAX, "{}", html.len());
        }
    }
}

#[test]
fn names_that_can_be_linked_to_are_marked() {
    let (dir, names) = (Key::root(), listing(&["file".to_owned(), "folder".to_owned()], false));
    let html = document(&Page { offer: &Offer::Everything, ..page(&dir, &names) }, &names);
    assert!(html.contains("<body data-may=\"rlcwd\" data-links=\"all\">"));
    assert_eq!(html.matches(" data-link>").count(), 2);
    assert!(!document(&page(&dir, &names), &names).contains(" data-link"));
    let rules = crate::access::file::parse(
        "key k base64:MDEyMzQ1Njc4OWFiY2RlZg==\nuser anna proxy\nallow anna l /\nallow anna r /file",
    );
    let rules = rules.expect("rules");
    let offer = Offer::ByName { rules: &rules, caller: rules.as_if("anna").expect("a name") };
    let html = document(&Page { offer: &offer, ..page(&dir, &names) }, &names);
    assert!(html.contains("<body data-may=\"rlcwd\" data-links>"));
    assert_eq!(html.matches(" data-link>").count(), 1);
}

#[test]
fn sizes_are_rounded_down_to_three_digits_or_so() {
    for (bytes, text) in [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1299, "1.2 kB"),
        (99_999, "99.9 kB"),
        (100_000, "100 kB"),
        (999_999, "999 kB"),
        (5_368_709_120, "5.3 GB"),
        (u64::MAX, "18.4 EB"),
    ] {
        let mut out = String::new();
        human(bytes, &mut out);
        assert_eq!(out, text);
    }
}

#[test]
fn days_are_right_in_every_kind_of_year() {
    for (seconds, text) in [
        (0, "1970-01-01T00:00:00Z\">1970-01-01 00:00"),
        (-1, "1969-12-31T23:59:59Z\">1969-12-31 23:59"),
        (951_782_400, "2000-02-29T00:00:00Z\">2000-02-29 00:00"),
        (951_868_800, "2000-03-01T00:00:00Z\">2000-03-01 00:00"),
        (4_107_542_399, "2100-02-28T23:59:59Z\">2100-02-28 23:59"),
        (4_107_542_400, "2100-03-01T00:00:00Z\">2100-03-01 00:00"),
        (1_795_234_019, "2026-11-21T04:06:59Z\">2026-11-21 04:06"),
    ] {
        let mut out = String::new();
        date(seconds, &mut out);
        assert_eq!(out, format!("<time datetime=\"{text}</time>"));
    }
    for extreme in [i64::MIN, i64::MAX] {
        date(extreme, &mut String::new());
    }
}

/// Relative luminance of `#rgb` or `#rrggbb` (WCAG 2.2).
fn luminance(colour: &str) -> f64 {
    let digits = colour.strip_prefix('#').expect("a colour in hexadecimal");
    let wide = digits.len() / 3;
    let parts = [0, 1, 2].map(|place| {
        let value = u8::from_str_radix(&digits[place * wide..(place + 1) * wide], 16).expect("hexadecimal");
        let value = f64::from(if wide == 1 { value * 17 } else { value }) / 255.0;
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    });
    0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]
}

#[test]
fn text_and_edges_stand_out_in_the_light_and_in_the_dark() {
    let palettes: Vec<&str> = STYLE.split("--ground:").skip(1).collect();
    assert_eq!(palettes.len(), 2);
    for palette in palettes {
        let palette = format!("--ground:{}", &palette[..palette.find('}').expect("an end")]);
        let colour = |name: &str| {
            let rest = palette.split(&format!("--{name}: ")).nth(1).expect(name);
            luminance(&rest[..rest.find(';').expect("an end")])
        };
        let check = |front: &str, back: &str, least: f64| {
            let (one, other) = (colour(front), colour(back));
            let contrast = (one.max(other) + 0.05) / (one.min(other) + 0.05);
            assert!(contrast >= least, "{front} on {back}: {contrast:.2} in {palette}");
        };
        for back in ["ground", "sheet", "hover"] {
            ["text", "quiet", "accent", "danger"].iter().for_each(|front| check(front, back, 4.5));
        }
        check("on-accent", "accent", 4.5);
        check("edge", "sheet", 3.0);
        check("edge", "ground", 3.0);
    }
}
