//! Forms with files, which browsers without a script send: `multipart/form-data` by POST.
#![cfg(feature = "page")]

use std::sync::Arc;

use filewharf::access::link::Link;
use filewharf::access::{Access, Rights, file};
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};

use super::{Response, heard, server};
use support::rig::{Mode, Rig};

const OWN: &str = "Sec-Fetch-Site: same-origin\r\n";
/// Too much to be held: it goes into its file as it comes.
const LONG: usize = 300_000;

/// The body of a form with these files.
fn body(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, content) in files {
        let head = format!(
            "--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        body.extend([head.as_bytes(), content, b"\r\n"].concat());
    }
    body.extend(b"--edge--\r\n");
    body
}

fn request(target: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: x\r\n{fields}Content-Type: multipart/form-data; boundary=edge\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

#[track_caller]
fn send(rig: &mut Rig, target: &str, fields: &str, files: &[(&str, &[u8])]) -> Response {
    Response::new(&heard(rig, request(target, fields, &body(files))))
}

#[test]
fn all_files_of_a_form_are_stored_and_lead_back_to_the_listing() {
    let mut rig = server(Limits::default());
    let long = vec![b'\r'; LONG];
    let files: [(&str, &[u8]); 5] =
        [("a.txt", b"hello"), ("empty", b""), ("\u{fc} %22q%22", b"\r\n--edg"), ("long", &long), ("sub/deep/f", b"x")];
    let answer = send(&mut rig, "/dir/", OWN, &files);
    assert_eq!((answer.code, answer.field("Location")), (303, Some("./")), "{}", answer.body);
    for (name, content) in files {
        let name = format!("dir/{}", name.replace("%22", "\""));
        assert_eq!(rig.file(&name).as_deref(), Some(content), "{name}");
    }
}

#[test]
fn a_form_is_read_the_same_at_every_split_and_the_next_request_follows() {
    let mut says = request("/", OWN, &body(&[("a", b"one"), ("b", b"")]));
    says.extend(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
    for at in 0..=says.len() {
        let mut rig = server(Limits::default());
        let peer = rig.connect();
        rig.send(&peer, &says[..at]);
        rig.send(&peer, &says[at..]);
        let heard = String::from_utf8(peer.heard()).expect("text");
        assert!(heard.starts_with("HTTP/1.1 303 ") && heard.ends_with("\r\n\r\none"), "at {at}: {heard}");
        assert_eq!(rig.file("b").as_deref(), Some(&b""[..]), "at {at}");
    }
    let mut rig = server(Limits::default());
    let peer = rig.connect();
    for byte in &says {
        rig.send(&peer, &[*byte]);
    }
    assert!(peer.heard().ends_with(b"\r\n\r\none"));
}

#[test]
fn a_form_is_taken_from_a_page_of_this_server_only() {
    for (fields, code) in [
        ("", 403),
        ("Sec-Fetch-Site: cross-site\r\n", 403),
        ("Sec-Fetch-Site: same-site\r\n", 403),
        ("Sec-Fetch-Site: none\r\n", 403),
        ("Sec-Fetch-Site: cross-site\r\nOrigin: http://x\r\n", 403),
        ("Origin: null\r\n", 403),
        ("Origin: http://evil.example\r\n", 403),
        ("Origin: http://x\r\n", 303),
        ("Origin: https://X:8443\r\n", 303),
        (OWN, 303),
    ] {
        let mut rig = server(Limits::default());
        assert_eq!(send(&mut rig, "/", fields, &[("a", b"x")]).code, code, "{fields}");
        assert_eq!(rig.file("a").is_some(), code == 303, "{fields}");
    }
    // Not of a site that may change files by requests which it has to ask for.
    let options = [("cors".to_owned(), "https://a.example".to_owned())];
    let listening = Listening::new(Kind::Http, &options, 0).expect("good options");
    let mut rig = Rig::speaking(listening, Mode::PLAIN, Limits::default(), Access::default());
    assert_eq!(send(&mut rig, "/", "Origin: https://a.example\r\n", &[("a", b"x")]).code, 403);
}

#[test]
fn what_is_there_is_not_replaced_and_the_files_before_it_stay() {
    let mut rig = server(Limits::default());
    let peer = rig.connect();
    let files: [(&str, &[u8]); 3] = [("a", b"new"), ("f", b"other"), ("z", b"new")];
    rig.send(&peer, &request("/", &format!("{OWN}Accept: text/html\r\n"), &body(&files)));
    rig.send(&peer, b"GET /f HTTP/1.1\r\nHost: x\r\n\r\n");
    let heard = String::from_utf8(peer.heard()).expect("text");
    assert!(heard.starts_with("HTTP/1.1 412 "), "{heard}");
    assert!(heard.contains("<p>something has that name: f (the file before it in the form is stored)</p>"), "{heard}");
    assert!(heard.ends_with("\r\n\r\n0123456789"), "the rest of the form is discarded: {heard}");
    assert_eq!((rig.file("a"), rig.file("z")), (Some(b"new".to_vec()), None));
}

#[test]
fn a_form_that_is_cut_off_leaves_the_files_that_were_complete() {
    let long = vec![b'x'; LONG];
    let says = request("/", OWN, &body(&[("a", b"whole"), ("b", &long)]));
    for at in [says.len() - LONG, says.len() - 20, says.len() - 4] {
        let mut rig = server(Limits::default());
        let peer = rig.connect();
        rig.send(&peer, &says[..at]);
        rig.finish(&peer);
        assert_eq!(rig.file("a").as_deref(), Some(&b"whole"[..]), "{at}");
        assert_eq!(rig.file("b").is_some(), at > says.len() - 10, "{at}");
        assert!(!String::from_utf8_lossy(&peer.heard()).contains("303"), "{at}");
        assert_eq!(rig.open_files(), 0, "{at}");
    }
    // The length of the request ends inside of a file.
    let mut rig = server(Limits::default());
    let end = b"rt\r\n--edge--\r\n".len();
    let whole = body(&[("a", b"whole"), ("b", b"part")]);
    let cut = &whole[..whole.len() - end];
    // What follows is no part of it, even where it looks so.
    let says = [request("/", OWN, cut), b"\r\n--edge--\r\n".to_vec()].concat();
    let answer = Response::new(&heard(&mut rig, says));
    assert!(answer.code == 400 && answer.body.contains("the form ends before its last boundary"), "{}", answer.body);
    assert_eq!((rig.file("a").is_some(), rig.file("b")), (true, None));
}

#[test]
fn what_cannot_be_stored_is_refused() {
    let no_file = b"--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"\"\r\n\r\n\r\n--edge--\r\n";
    let field = |len: usize| {
        let head = "--edge\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\n";
        [head.as_bytes(), &vec![b'x'; len], b"\r\n--edge--\r\n"].concat()
    };
    for (sent, code) in [
        (no_file.to_vec(), 400),
        (field(100), 400),
        (field(65 * 1024), 413),
        (b"hello".to_vec(), 400),
        (body(&[("../a", b"x")]), 400),
        (body(&[("a/", b"x")]), 400),
        (body(&[("a\u{1}", b"x")]), 400),
        (body(&[(".filewharf", b"x")]), 403),
        (body(&[("f/below", b"x")]), 409),
        (body(&[("a", &[b'x'; 1001])]), 413),
    ] {
        let limits = Limits::default().with(|limits| limits.live.request_bytes_max = 1000);
        let mut rig = server(limits);
        let answer = Response::new(&heard(&mut rig, request("/", OWN, &sent)));
        assert_eq!(answer.code, code, "{}: {}", sent.escape_ascii(), answer.body);
        assert_eq!(rig.names(), ["f"], "{}", sent.escape_ascii());
    }
    let mut rig = server(Limits::default());
    let chunked = "Content-Type: multipart/form-data; boundary=edge\r\nTransfer-Encoding: chunked\r\n";
    let head = format!("POST / HTTP/1.1\r\nHost: x\r\n{OWN}{chunked}\r\n");
    assert_eq!(Response::new(&heard(&mut rig, head)).code, 411);
}

#[test]
fn a_form_that_waits_for_permission_gets_it() {
    let mut rig = server(Limits::default());
    let says = request("/", &format!("{OWN}Expect: 100-continue\r\n"), &body(&[("a", b"x")]));
    let head = says.windows(4).position(|end| end == b"\r\n\r\n").expect("a head") + 4;
    let peer = rig.connect();
    rig.send(&peer, &says[..head]);
    assert_eq!(peer.heard(), b"HTTP/1.1 100 Continue\r\n\r\n");
    rig.send(&peer, &says[head..]);
    assert!(peer.heard().windows(13).any(|part| part == b"HTTP/1.1 303 "));
}

/// A server where anybody may upload to `/drop/` and see nothing there.
fn drop_box() -> Rig {
    let rules =
        file::parse("key k base64:AAAAAAAAAAAAAAAAAAAAAA==\nallow @ c /drop\nallow @ rl /pub\n").expect("rules");
    let access = Access::with_rules(Arc::new(rules), false);
    Rig::speaking(Listening::new(Kind::Http, &[], 0).expect("no options"), Mode::PLAIN, Limits::default(), access)
}

#[test]
fn the_answer_of_a_drop_box_is_a_receipt_with_the_names_that_the_files_got() {
    let mut rig = drop_box();
    for fields in [OWN.to_owned(), format!("{OWN}Accept: text/html\r\n")] {
        let before = rig.names();
        let answer = send(&mut rig, "/drop/", &fields, &[("<a>.txt", b"1"), ("b", b"2")]);
        assert_eq!(answer.code, 200, "{}", answer.body);
        let new: Vec<_> = rig.names().into_iter().filter(|name| !before.contains(name)).collect();
        assert_eq!(new.len(), 2, "{new:?}");
        for name in new {
            let name = name.strip_prefix("drop/").expect("the drop box");
            let shown = if fields == OWN { name.to_owned() } else { name.replace('<', "&lt;").replace('>', "&gt;") };
            assert!(answer.body.contains(&shown), "{shown}: {}", answer.body);
        }
    }
    let many: Vec<(String, &[u8])> = (0..300).map(|number| (format!("file-number-{number}"), &b"x"[..])).collect();
    let many: Vec<_> = many.iter().map(|(name, content)| (name.as_str(), *content)).collect();
    let answer = send(&mut rig, "/drop/", OWN, &many);
    let shown = answer.body.matches("file-number-").count();
    assert!(answer.body.ends_with(&format!("and {} more\n", 300 - shown)) && shown > 50, "{}", answer.body);
    for (target, code) in [("/pub/", 401), ("/", 401)] {
        assert_eq!(send(&mut rig, target, OWN, &[("a", b"1")]).code, code, "{target}");
    }
}

#[test]
fn a_signed_link_is_carried_on() {
    let mut rig = drop_box();
    let prefix = filewharf::wire::key::relative("in").expect("a key");
    let rights = Rights::CREATE.with(Rights::LIST);
    let link = Link { key_id: "k".into(), expires_s: 1 << 40, rights, prefix }.sign(&[0; 16]);
    let page =
        Response::new(&heard(&mut rig, format!("GET /in/?fw={link} HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n")));
    assert!(page.code == 404 || page.body.contains(&format!("action=\"./?fw={link}\"")), "{}", page.body);
    let answer = send(&mut rig, &format!("/in/?fw={link}"), OWN, &[("a", b"1"), ("b", b"2")]);
    assert_eq!((answer.code, answer.field("Location")), (303, Some(format!("./?fw={link}").as_str())));
    assert_eq!(rig.names(), ["in/a", "in/b"]);
}

#[test]
fn the_page_has_a_form_where_files_may_be_made() {
    let mut rig = drop_box();
    for (target, has_form) in [("/drop/", true), ("/pub/", false)] {
        rig.place("pub/f", b"x");
        let says = format!("GET {target} HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n");
        let page = Response::new(&heard(&mut rig, says));
        assert_eq!(page.code, 200);
        assert_eq!(
            page.body.contains("<form method=\"post\" enctype=\"multipart/form-data\" action=\"./\">"),
            has_form
        );
        assert!(page.field("Content-Security-Policy").is_some_and(|policy| policy.contains("form-action 'self'")));
    }
}
