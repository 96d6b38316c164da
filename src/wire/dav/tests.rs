//! What is read of the bodies that clients send, and what is refused of those that attackers would.

use proptest::prelude::*;

use crate::error::Failure;
use crate::properties::{Change, Name};
use crate::wire::dav::propfind::{self, Selection};
use crate::wire::dav::proppatch;
use crate::wire::dav::xml;

fn name(namespace: &str, local: &str) -> Name {
    Name { namespace: namespace.into(), local: local.into() }
}

fn dav(local: &str) -> Name {
    name("DAV:", local)
}

fn refused(body: &str) -> bool {
    matches!(propfind::parse(body), Err(Failure::Malformed(_))) && proppatch::parse(body).is_err()
}

#[test]
fn what_clients_ask_for_is_read() {
    let these = |names: &[Name]| Ok(Selection::These(names.to_vec()));
    for (body, wanted) in [
        ("", Ok(Selection::All(Vec::new()))),
        ("<D:propfind xmlns:D=\"DAV:\"><D:allprop/></D:propfind>", Ok(Selection::All(Vec::new()))),
        // davfs2, with apostrophes and an own namespace.
        (
            "<?xml version='1.0' encoding=\"utf-8\"?>\r\n<propfind xmlns='DAV:'><prop><getetag/>\
             <executable xmlns=\"http://apache.org/dav/props/\"/></prop></propfind>",
            these(&[dav("getetag"), name("http://apache.org/dav/props/", "executable")]),
        ),
        // rclone with the vendor owncloud.
        (
            "<?xml version=\"1.0\" ?>\n<d:propfind xmlns:d=\"DAV:\" xmlns:oc=\"http://owncloud.org/ns\">\n <d:prop>\n  \
             <d:getetag/>\n  <oc:checksums/><d:getetag/>\n </d:prop>\n</d:propfind>",
            these(&[dav("getetag"), name("http://owncloud.org/ns", "checksums")]),
        ),
        ("<a:propfind xmlns:a=\"DAV:\"><a:propname/></a:propfind>", Ok(Selection::Names)),
        (
            "<propfind xmlns=\"DAV:\"><allprop/><include><quota-used-bytes/></include></propfind>",
            Ok(Selection::All(vec![dav("quota-used-bytes")])),
        ),
        ("<propfind xmlns=\"DAV:\"><prop><x xmlns=\"\"/></prop></propfind>", these(&[name("", "x")])),
        // RFC 4918 §17: what is not known is ignored.
        (
            "<e:x xmlns:e=\"urn:e\"/>".replace("e:x", "propfind").as_str(),
            Err(Failure::Malformed("the body of PROPFIND asks for neither prop, propname nor allprop")),
        ),
        (
            "<propfind xmlns=\"DAV:\"><e:extra xmlns:e=\"urn:e\"><prop/></e:extra><propname e=\"1\"/></propfind>",
            Ok(Selection::Names),
        ),
    ] {
        assert_eq!(propfind::parse(body), wanted, "{body}");
    }
    for neither in ["<propfind xmlns=\"DAV:\"/>", "<propfind xmlns=\"DAV:\"><propname/><allprop/></propfind>"] {
        assert!(propfind::parse(neither).is_err(), "{neither}");
    }
}

#[test]
fn properties_are_set_and_removed_in_the_order_of_the_document() {
    let body = "<D:propertyupdate xmlns:D=\"DAV:\" xmlns:Z=\"urn:z\"><D:set><D:prop><Z:a>1</Z:a><Z:b/></D:prop></D:set>\
                <D:remove><D:prop><Z:a/></D:prop></D:remove><D:set><D:prop><D:lastmodified>7</D:lastmodified></D:prop></D:set>\
                </D:propertyupdate>";
    let read = proppatch::parse(body).expect("well-formed");
    let changes: Vec<_> = read.iter().map(|one| (one.name().local.to_string(), one.text.as_str())).collect();
    assert_eq!(
        changes,
        [("a".to_owned(), "1"), ("b".to_owned(), ""), ("a".to_owned(), ""), ("lastmodified".to_owned(), "7")]
    );
    assert!(matches!(&read[2].change, Change::Remove(removed) if *removed == name("urn:z", "a")));
    for nothing in ["", "<D:propertyupdate xmlns:D=\"DAV:\"/>", "<propertyupdate/>", "<D:propfind xmlns:D=\"DAV:\"/>"] {
        assert!(proppatch::parse(nothing).is_err(), "{nothing}");
    }
}

#[test]
fn a_property_is_kept_as_it_was_written_with_the_namespaces_that_it_uses() {
    for (around, written, kept) in [
        ("xmlns:D=\"DAV:\"", "<x xmlns=\"urn:x\">a &amp; b</x>", "<x xmlns=\"urn:x\">a &amp; b</x>"),
        ("xmlns:D=\"DAV:\"", "<x/>", "<x/>"),
        (
            "xmlns:D=\"DAV:\" xmlns:Z=\"urn:z\" xmlns:Y=\"urn:y\"",
            "<Z:x  a='1>2'><Z:y>&#65536;</Z:y><!-- > --></Z:x>",
            "<Z:x xmlns:Z=\"urn:z\"  a='1>2'><Z:y>&#65536;</Z:y><!-- > --></Z:x>",
        ),
        ("xmlns:D=\"DAV:\" xmlns:Z=\"urn:z\"", "<Z:x xmlns:Z='urn:o'/>", "<Z:x xmlns:Z='urn:o'/>"),
        (
            "xmlns:D=\"DAV:\" xmlns=\"urn:&amp;&quot;\"",
            "<x xmlns:a=\"b\"><![CDATA[<]]></x>",
            "<x xmlns=\"urn:&amp;&quot;\" xmlns:a=\"b\"><![CDATA[<]]></x>",
        ),
        ("xmlns:D=\"DAV:\" xmlns=\"urn:x\"", "<n xmlns=\"\"/>", "<n xmlns=\"\"/>"),
        (
            "xmlns:D=\"DAV:\" xmlns:ab=\"urn:ab\" xmlns:b=\"urn:b\"",
            "<ab:x b:y=\"1\" xmlns:b=\"urn:c\"/>",
            "<ab:x xmlns:ab=\"urn:ab\" b:y=\"1\" xmlns:b=\"urn:c\"/>",
        ),
    ] {
        let body = format!("<D:propertyupdate {around}><D:set><D:prop>{written}</D:prop></D:set></D:propertyupdate>");
        let read = proppatch::parse(&body).expect(&body);
        let Change::Set(of_update, alone) = &read[0].change else { panic!("{body}") };
        assert_eq!(&**alone, kept);
        let document = roxmltree::Document::parse(alone).expect("it stands on its own");
        assert_eq!(xml::name(document.root_element()), *of_update, "{alone}");
    }
}

#[test]
fn what_is_not_well_formed_is_refused() {
    let around = |inside: &str| format!("<D:propfind xmlns:D=\"DAV:\"><D:prop>{inside}</D:prop></D:propfind>");
    for body in [
        "<foo>".to_owned(),
        "text".to_owned(),
        "<D:propfind xmlns:D=\"DAV:\"><D:prop><D:x/></D:prop>".to_owned(),
        format!("{}<x/>", around("<D:x/>")),
        around("<bar:foo xmlns:bar=\"\"/>"),
        around("<bar:foo/>"),
        around("<x a=\"1\" a=\"2\"/>"),
        around("<x a=1/>"),
        around("<x>&nbsp;</x>"),
        around("<x>\u{1}</x>"),
        around("<x></y>"),
        around("<x a=\"<\"/>"),
        around("<x"),
        around("<x a=\""),
        around("<!-- "),
        around("<![CDATA["),
    ] {
        assert!(refused(&body), "{body}");
    }
}

#[test]
fn attacks_are_refused_before_they_cost_anything() {
    let laughs = "<!DOCTYPE x [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">]><x>&b;</x>";
    let external = "<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]><x>&e;</x>";
    let many = |piece: &str, n: usize| piece.repeat(n);
    let numbered = |n: usize, one: fn(usize) -> String| (0..n).map(one).collect::<String>();
    for body in [
        laughs.to_owned(),
        external.to_owned(),
        "<!DOCTYPE x SYSTEM \"http://evil.example/x.dtd\"><x/>".to_owned(),
        many("<a>", 100_000),
        format!("{}{}", many("<a>", 33), many("</a>", 33)),
        format!("<x {}/>", numbered(100_000, |n| format!(" a{n}=\"\""))),
        format!("<x>{}</x>", numbered(300, |n| format!("<y a{n}='='/>"))),
        format!("<x>{}</x>", many("<y/>", 100_000)),
        // What hides ends of elements does not hide how deep it is.
        format!("{}<![CDATA[{}]]>{}", many("<a>", 30), many("</a>", 30), many("<a>", 30)),
        format!("{}<!--{}-->{}", many("<a>", 30), many("</a>", 30), many("<a>", 30)),
    ] {
        assert!(refused(&body), "{}", &body[..60.min(body.len())]);
    }
    let asked = |inside: &str| format!("<D:propfind xmlns:D=\"DAV:\"><D:prop>{inside}</D:prop></D:propfind>");
    let (long, one) = ("x".repeat(4000), "x".repeat(100));
    for (namespace, n, is_read) in [(&*one, 128, true), (&one, 129, false), (&long, 4, true), (&long, 5, false)] {
        let names = numbered(n, |n| format!("<p{n}/>")).replace("<p0/>", "<p/>");
        let body = asked(&names).replacen("<D:prop>", &format!("<D:prop xmlns=\"urn:{namespace}\">"), 1);
        assert_eq!(propfind::parse(&body).is_ok(), is_read, "{n} names in a namespace of {}", namespace.len());
        let update = body.replace("D:propfind", "D:propertyupdate").replace("</D:prop>", "</D:prop></D:remove>");
        let update = update.replacen("<D:prop ", "<D:remove><D:prop ", 1);
        assert_eq!(proppatch::parse(&update).is_ok(), is_read, "{n} names in a namespace of {}", namespace.len());
    }
    let deep = format!("{}{}", many("<a>", 32), many("</a>", 32));
    assert!(xml::parse(&deep).is_ok());
}

#[test]
fn what_is_escaped_is_read_as_it_was() {
    let text = "a<b>&\"'\t\n\r\u{10000}ü\u{85}";
    let mut out = String::from("<x a=\"");
    xml::escape(text, &mut out);
    out.push_str("\">");
    xml::escape(text, &mut out);
    out.push_str("</x>");
    let document = roxmltree::Document::parse(&out).expect("well-formed");
    let root = document.root_element();
    assert_eq!((root.attribute("a"), root.text()), (Some(text), Some(text)));
    let mut odd = String::new();
    xml::escape("\0\u{1f}\u{fffe}\u{ffff}", &mut odd);
    assert_eq!(odd, "\u{fffd}".repeat(4));
}

proptest! {
    #[test]
    fn no_text_breaks_it(text in "(<|>|/|</|/>|<!--|-->|<!\\[CDATA\\[|\\]\\]>|<\\?|&|;|xmlns|:|=|\"|'|[a-c]| |ü|D:prop|DAV:){0,24}") {
        let _ = (propfind::parse(&text), proppatch::parse(&text));
    }

    #[test]
    fn what_was_kept_is_well_formed(inside in "(<a>|</a>|<b:c d='e'/>|x|&lt;|<!--y-->|ü){0,9}", attributes in "( x='1'| xmlns:b='urn:o'| b:y=\">\"){0,3}") {
        let body = format!("<D:propertyupdate xmlns:D='DAV:' xmlns:b='urn:b' xmlns='urn:d'><D:set><D:prop><p{attributes}>{inside}</p></D:prop></D:set></D:propertyupdate>");
        if let Ok(read) = proppatch::parse(&body) {
            for one in read {
                let Change::Set(name, alone) = &one.change else { continue };
                let document = roxmltree::Document::parse(alone);
                prop_assert_eq!(document.map(|document| xml::name(document.root_element())).ok(), Some(name.clone()));
            }
        }
    }
}
