//! Drop boxes: no answer tells what is in one.

use std::sync::Arc;

use crate::access::{http, line, put_http, rig, rules};
use filewharf::access::link::Link;
use filewharf::access::{Access, Rights};
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};
use support::rig::{Mode, Rig};

const DROP: &str = "allow ci c /drop\nallow anna rlcwd /drop/of/anna\n";

/// What is there.
const KEPT: [&str; 3] = ["drop/there", "drop/folder-there/f", "drop/of/anna/f"];

fn drop_box(kind: Kind) -> Rig {
    let mut rig = rig(kind, DROP);
    for key in KEPT {
        rig.place(key, b"there");
    }
    rig
}

/// Without the name that was asked for.
fn masked(text: &str, name: &str) -> String {
    text.replace(&format!("/drop/{name}"), "NAME").replace(name, "NAME")
}

/// Everything is as it was, and each upload has a name of its own.
fn assert_kept(rig: &mut Rig) {
    for key in KEPT {
        assert_eq!(rig.file(key).as_deref(), Some(&b"there"[..]), "{key}");
    }
    let dropped = rig.names().into_iter().filter(|name| name.starts_with("drop/there-")).count();
    assert!(dropped >= 2, "{:?}", rig.names());
    assert!(!rig.names().iter().any(|name| name.contains("deeper")), "{:?}", rig.names());
}

#[test]
fn a_drop_box_answers_the_same_over_http_for_names_that_are_there_and_names_that_are_not() {
    let mut rig = drop_box(Kind::Http);
    let etag = "If-Match: \"00000000000000000000000000000001\"\r\n";
    let length = "Content-Length: 5\r\n";
    for (method, fields, body) in [
        ("GET", "", ""),
        ("HEAD", "", ""),
        ("DELETE", "", ""),
        ("GET", "Range: bytes=0-1\r\n", ""),
        ("GET", "If-None-Match: *\r\n", ""),
        ("PUT", length, "there"),
        ("PUT", &format!("{length}If-None-Match: *\r\n"), "there"),
        ("PUT", &format!("{length}{etag}"), "there"),
        ("PUT", &format!("{length}If-Match: *\r\n"), "there"),
        ("POST", "Tus-Resumable: 1.0.0\r\nUpload-Length: 5\r\n", ""),
        ("PATCH", "Content-Length: 0\r\n", ""),
    ] {
        for (suffix, kind) in ["", "/", "/deeper"].into_iter().flat_map(|end| [(end, "there"), (end, "folder-there")]) {
            let answers = [kind, "none", "folder-none"].map(|name| {
                let path = format!("/drop/{name}{suffix}");
                let (_, heard) = http(&mut rig, "ci", &format!("{method} {path}"), fields, body);
                // The name that a file gets differs each time.
                let differs = ["ETag: ", "Location: ", "Content-Length: "];
                let same = heard.lines().filter(|line| !differs.iter().any(|field| line.starts_with(field)));
                masked(&same.collect::<Vec<_>>().join("\n"), name)
            });
            assert!(answers.iter().all(|answer| *answer == answers[0]), "{method} {suffix} {fields}: {answers:#?}");
        }
    }
    assert_kept(&mut rig);
}

#[test]
fn the_answer_of_an_upload_to_a_drop_box_names_the_file_that_it_became() {
    let mut rig = drop_box(Kind::Http);
    for name in ["there", "none"] {
        let (code, heard) = http(&mut rig, "ci", &format!("PUT /drop/{name}"), "Content-Length: 5\r\n", "mine!");
        let stored = heard.lines().find_map(|line| line.strip_prefix("Location: ")).expect("a name");
        assert_eq!(code, 201);
        assert_eq!(rig.file(&format!("drop/{stored}")).as_deref(), Some(&b"mine!"[..]), "{stored}");
    }
}

#[test]
fn the_end_of_an_upload_in_parts_names_the_file_that_it_became() {
    let mut rig = drop_box(Kind::Http);
    let named = |heard: &str| {
        heard.lines().find_map(|line| line.strip_prefix("Content-Location: ../../drop/")).map(str::to_owned)
    };
    let tus = "Tus-Resumable: 1.0.0\r\n";
    let (_, made) = http(&mut rig, "ci", "POST /drop/there", &format!("{tus}Upload-Length: 5\r\n"), "");
    let id = made.split(".filewharf/uploads/").nth(1).and_then(|rest| rest.get(..32)).expect("an upload");
    let at = format!("/.filewharf/uploads/{id}");
    let content = format!("{tus}Content-Type: application/offset+octet-stream\r\n");
    let fields = |offset| format!("{content}Upload-Offset: {offset}\r\nContent-Length: ");
    let (_, first) = http(&mut rig, "ci", &format!("PATCH {at}"), &format!("{}2\r\n", fields(0)), "mi");
    assert_eq!(named(&first), None, "{first}");
    let (code, last) = http(&mut rig, "ci", &format!("PATCH {at}"), &format!("{}3\r\n", fields(2)), "ne!");
    assert_eq!(code, 204, "{last}");
    let name = named(&last).expect("a name");
    assert_eq!(rig.file(&format!("drop/{name}")).as_deref(), Some(&b"mine!"[..]), "{name}");
    let (_, asked) = http(&mut rig, "ci", &format!("HEAD {at}"), tus, "");
    assert_eq!(named(&asked), Some(name), "{asked}");
}

#[test]
fn a_browser_gets_a_page_to_upload_with_at_a_drop_box_and_no_name() {
    let mut rig = rig(Kind::Http, &format!("{DROP}allow @ c /open\nallow @ r /files\n"));
    for key in KEPT.into_iter().chain(["open/there", "files/there"]) {
        rig.place(key, b"there");
    }
    let html = "Accept: text/html\r\n";
    for (name, path) in [("ci", "/drop/"), ("", "/open/"), ("anna", "/open/")] {
        let (code, page) = http(&mut rig, name, &format!("GET {path}"), html, "");
        assert_eq!(code, 200, "{name} {path}: {page}");
        assert!(page.contains(" data-may=\"c\"") && page.contains("<p id=\"empty\" hidden>"), "{page}");
        assert!(!page.contains("<tr data-") && !page.contains(">there<") && !page.contains("folder-there"), "{page}");
        let refused = if name.is_empty() { 401 } else { 403 };
        assert_eq!(http(&mut rig, name, &format!("GET {path}"), "", "").0, refused, "no page was asked for");
    }
    for (name, path, code) in [
        ("", "/drop/", 401),
        ("ci", "/drop/folder-there/", 403),
        ("ci", "/drop/none/", 403),
        ("ci", "/drop/of/", 403),
        ("", "/files/", 401),
    ] {
        assert_eq!(http(&mut rig, name, &format!("GET {path}"), html, "").0, code, "{name} {path}");
    }
}

#[test]
fn a_site_that_may_be_read_goes_before_the_page_of_its_drop_box() {
    let rules = Access::with_rules(Arc::new(rules(&["ci"], "allow ci rc /\nallow ci c /blind\n")), false);
    let listening = Listening::new(Kind::Http, &[("serve-html".to_owned(), String::new())], 0).expect("an option");
    let mut rig = Rig::speaking(listening, Mode::PLAIN, Limits::default(), rules);
    for key in ["site/index.html", "blind/index.html", "none/f"] {
        rig.place(key, b"<p>Hello");
    }
    let html = "Accept: text/html\r\n";
    for (path, is_site) in [("/site/", true), ("/blind/", false), ("/none/", false), ("/site/?limit=9", false)] {
        let (code, page) = http(&mut rig, "ci", &format!("GET {path}"), html, "");
        assert_eq!((code, page.ends_with("<p>Hello")), (200, is_site), "{path}: {page}");
        assert_eq!(page.contains(" data-may=\""), !is_site, "{path}: {page}");
    }
}

#[test]
fn a_drop_box_answers_the_same_in_line_for_names_that_are_there_and_names_that_are_not() {
    let mut rig = drop_box(Kind::Line);
    let asks = ["GET NAME", "STAT NAME", "STAT NAME/", "LIST NAME", "DELETE NAME", "MKDIR NAME", "RENAME NAME\tNAME2"];
    let puts = ["NAME", "if=absent NAME", "resume=a-token-of-mine NAME", "NAME/deeper"];
    let asks = asks.into_iter().map(|ask| format!("{ask}\n"));
    for request in asks.chain(puts.into_iter().map(|put| format!("PUT 5 {put}\nthere"))) {
        let answers = ["there", "folder-there", "none"].map(|name| {
            let path = format!("/drop/{name}");
            let (first, rest) = line(&mut rig, "ci", &request.replace("NAME", &path));
            [first, rest].map(|text| masked(text.split(" etag=").next().unwrap_or_default(), name))
        });
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{request}: {answers:?}");
    }
    assert_kept(&mut rig);
}

#[test]
fn the_folder_of_a_drop_box_gets_no_upload_beside_it() {
    let mut rig = rig(Kind::Http, "allow @ c /drop\nallow anna rlcwd /\n");
    let fields = "Tus-Resumable: 1.0.0\r\nUpload-Length: 6\r\n";
    assert_eq!(http(&mut rig, "", "POST /drop", fields, "").0, 401);
    assert_eq!(http(&mut rig, "bob", "POST /drop", fields, "").0, 403);
    assert_eq!(http(&mut rig, "bob", "POST /drop/f", fields, "").0, 201);
    assert_eq!(put_http(&mut rig, "bob", "/drop", "x"), 403);
}

#[test]
fn a_link_that_creates_one_file_gets_no_upload_beside_it() {
    let mut rig = rig(Kind::Http, "key k base64:AAAAAAAAAAAAAAAAAAAAAA==\nallow anna rlcwd /up\n");
    let prefix = filewharf::wire::key::relative("up/f").expect("a key");
    let link = Link { key_id: "k".into(), expires_s: 1 << 40, rights: Rights::CREATE, prefix };
    let query = link.sign(&[0; 16]);
    let fields = "Tus-Resumable: 1.0.0\r\nUpload-Length: 6\r\n";
    for path in ["/up/f", "/up/g"] {
        assert_eq!(http(&mut rig, "", &format!("POST {path}?fw={query}"), fields, "").0, 403, "{path}");
    }
}

#[test]
fn long_names_and_extensions_are_kept_in_a_drop_box() {
    let mut rig = rig(Kind::Http, "allow @ c /drop\n");
    let long = "x".repeat(251) + ".pdf";
    for name in [&long, "a.tar.gz", ".hidden", "noext", "dot.", &"%c3%a9".repeat(127)] {
        assert_eq!(put_http(&mut rig, "", &format!("/drop/{name}"), "x"), 201, "{name}");
    }
    let names = rig.names();
    assert!(names.iter().all(|name| name.len() <= 255 + "drop/".len()), "{names:?}");
    for (start, end) in
        [("drop/xx", ".pdf"), ("drop/a.tar-", ".gz"), ("drop/.hidden-", ""), ("drop/noext-", ""), ("drop/éé", "")]
    {
        assert!(names.iter().any(|name| name.starts_with(start) && name.ends_with(end)), "{start}: {names:?}");
    }
}
