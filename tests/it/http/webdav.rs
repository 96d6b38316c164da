//! WebDAV beyond transcripts: directories of any size, which callers see properties, and what is bounded.

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};

use super::{Response, heard, server};
use crate::access::{http, rig};
use support::rig::{Damage, Mode, Rig};

const FILES: usize = 2300;

fn many() -> Rig {
    let mut rig = server(Limits::default());
    for n in 0..FILES {
        rig.place(&format!("many/{}/a name & <{n:05}>", n % 7), b"x");
    }
    rig
}

/// The content of a response, in chunks or not.
fn content(response: &Response) -> String {
    if response.field("Transfer-Encoding").is_none() {
        return response.body.clone();
    }
    let (mut content, mut rest) = (String::new(), &*response.body);
    loop {
        let (len, after) = rest.split_once("\r\n").expect("a length");
        let (chunk, after) = after.split_at(usize::from_str_radix(len, 16).expect("in hexadecimal"));
        content.push_str(chunk);
        rest = after.strip_prefix("\r\n").expect("the end of a chunk");
        if chunk.is_empty() {
            assert_eq!(rest, "", "nothing is after the last chunk");
            return content;
        }
    }
}

fn request(method: &str, target: &str, fields: &str, body: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// The paths in a multistatus, in their order.
#[track_caller]
fn hrefs(xml: &str) -> Vec<&str> {
    assert!(xml.starts_with("<?xml ") && xml.ends_with("</D:multistatus>\n"), "{xml}");
    xml.split("<D:href>").skip(1).filter_map(|rest| rest.split("</D:href>").next()).collect()
}

#[track_caller]
fn propfind(rig: &mut Rig, target: &str, depth: &str, body: &str) -> String {
    let reply = heard(rig, request("PROPFIND", target, &format!("Depth: {depth}\r\n"), body));
    let response = Response::new(&reply);
    assert_eq!(response.code, 207, "{reply}");
    content(&response)
}

fn set(xml: &str) -> String {
    format!("<D:propertyupdate xmlns:D=\"DAV:\"><D:set><D:prop>{xml}</D:prop></D:set></D:propertyupdate>")
}

#[test]
fn a_tree_of_any_size_is_sent_whole() {
    let mut rig = many();
    let xml = propfind(&mut rig, "/many/", "infinity", "");
    let found = hrefs(&xml);
    assert_eq!((found.len(), found[0], found[1]), (1 + 7 + FILES, "/many/", "/many/0/"));
    for n in 0..FILES {
        let href = format!("/many/{}/a%20name%20%26%20%3C{n:05}%3E", n % 7);
        assert!(found.contains(&&*href), "{href}");
    }
    assert!(xml.contains("<D:displayname>a name &amp; &lt;00007&gt;</D:displayname>"));
    assert_eq!(hrefs(&propfind(&mut rig, "/many", "1", "")).len(), 1 + 7, "without its slash");
    assert_eq!(hrefs(&propfind(&mut rig, "/many/", "0", "")), ["/many/"]);
    assert_eq!(hrefs(&propfind(&mut rig, "/", "1", "")), ["/", "/f", "/many/"]);
    assert_eq!(hrefs(&propfind(&mut rig, "/f", "1", "")), ["/f"]);
}

#[test]
fn an_old_client_gets_all_of_it_until_the_connection_ends() {
    let reply = heard(&mut many(), "PROPFIND /many/ HTTP/1.0\r\nDepth: infinity\r\n\r\n");
    let response = Response::new(&reply);
    assert_eq!((response.field("Connection"), response.field("Transfer-Encoding")), (Some("close"), None));
    assert_eq!(hrefs(&response.body).len(), 1 + 7 + FILES);
}

#[test]
fn a_tree_that_fails_in_the_middle_does_not_look_whole() {
    let listening = Listening::new(Kind::Http, &[], 0).expect("no options");
    let mode = Mode { window: 1000, ..Mode::PLAIN };
    let mut rig = Rig::speaking(listening, mode, Limits::default(), Access::default());
    for n in 0..FILES {
        rig.place(&format!("many/{n:05}"), b"");
    }
    let peer = rig.connect();
    rig.send_unread(&peer, request("PROPFIND", "/many/", "Depth: infinity\r\n", "").as_bytes());
    rig.turn();
    rig.damage(Damage::Unreadable);
    for _ in 0..FILES {
        if !peer.is_gone() {
            rig.read(&peer, 1000);
        }
    }
    let heard = String::from_utf8(peer.heard()).expect("text");
    assert!(heard.starts_with("HTTP/1.1 207 ") && !heard.contains("</D:multistatus>") && peer.is_reset(), "{heard}");
}

#[test]
fn an_entry_is_short_since_windows_takes_one_megabyte_for_a_directory() {
    let mut rig = server(Limits::default());
    for name in ["a.docx", "b.jpg", "c.pdf", "d"] {
        rig.place(&format!("d/{name}"), &[b'x'; 4321]);
    }
    let xml = propfind(&mut rig, "/d/", "1", "");
    for entry in xml.split("<D:response>").skip(1) {
        let inside = |tag: &str| entry.split(tag).nth(1).map_or(0, |rest| rest.find("</").unwrap_or(0));
        let names =
            inside("<D:href>") + inside("<D:displayname>") + "<D:href></D:href><D:displayname></D:displayname>".len();
        let besides = entry.len() + "<D:response>".len() - names;
        assert!(besides < 400, "{besides}: {entry}");
    }
}

#[test]
fn properties_are_kept_as_written_and_sent_to_clients_that_ask_for_them() {
    let mut rig = server(Limits::default());
    let body = set("<Z:who xmlns:Z=\"urn:z\"><Z:name>A &amp; B</Z:name></Z:who><note xmlns=\"\">&#65536;</note>");
    let reply = heard(&mut rig, request("PROPPATCH", "/f", "", &body));
    let response = Response::new(&reply);
    assert_eq!((response.code, response.field("ETag").is_some()), (207, true), "{reply}");
    assert!(response.body.contains("<D:prop><x:who xmlns:x=\"urn:z\"/><note/></D:prop><D:status>HTTP/1.1 200 OK<"));
    let kept = "<Z:who xmlns:Z=\"urn:z\"><Z:name>A &amp; B</Z:name></Z:who><note xmlns=\"\">&#65536;</note>";
    assert!(propfind(&mut rig, "/f", "0", "").contains(kept));
    assert!(propfind(&mut rig, "/", "1", "").contains(kept));
    let ask = "<propfind xmlns=\"DAV:\"><prop><who xmlns=\"urn:z\"/><none xmlns=\"urn:z\"/></prop></propfind>";
    let xml = propfind(&mut rig, "/f", "0", ask);
    assert!(
        xml.contains("<D:prop><Z:who")
            && xml.contains("<D:prop><x:none xmlns:x=\"urn:z\"/></D:prop><D:status>HTTP/1.1 404 Not Found<"),
        "{xml}"
    );
    let xml = propfind(&mut rig, "/f", "0", "<propfind xmlns=\"DAV:\"><propname/></propfind>");
    assert!(
        xml.contains("<D:getetag/>") && xml.contains("<x:who xmlns:x=\"urn:z\"/>") && !xml.contains("name>A"),
        "{xml}"
    );
    let remove = "<D:propertyupdate xmlns:D=\"DAV:\"><D:remove><D:prop><who xmlns=\"urn:z\"/></D:prop></D:remove></D:propertyupdate>";
    assert!(heard(&mut rig, request("PROPPATCH", "/f", "", remove)).contains(" 200 OK</D:status>"));
    assert!(!propfind(&mut rig, "/f", "0", "").contains("who"));
}

#[test]
fn a_property_that_cannot_be_set_leaves_all_others_as_they_are() {
    let mut rig = server(Limits::default());
    for refused in ["<D:getetag>x</D:getetag>", "<D:lastmodified>tomorrow</D:lastmodified>", "<D:lockdiscovery/>"] {
        for body in [format!("<a xmlns=\"urn:a\">1</a>{refused}"), format!("{refused}<a xmlns=\"urn:a\">1</a>")] {
            let reply = heard(&mut rig, request("PROPPATCH", "/f", "", &set(&body)));
            assert!(reply.contains("<x:a xmlns:x=\"urn:a\"/></D:prop><D:status>HTTP/1.1 424 "), "{reply}");
            assert!(!propfind(&mut rig, "/f", "0", "").contains("urn:a"), "{body}");
        }
    }
}

#[test]
fn addresses_begin_with_the_path_under_which_a_proxy_passes_the_server_on() {
    let options = [("path-prefix".to_owned(), "/pub/files".to_owned())];
    let listening = Listening::new(Kind::Http, &options, 0).expect("a good prefix");
    let mut rig = Rig::speaking(listening, Mode::PLAIN, Limits::default(), Access::default());
    rig.place("d/a b", b"x");
    assert_eq!(hrefs(&propfind(&mut rig, "/pub/files/", "1", "")), ["/pub/files/", "/pub/files/d/"]);
    assert_eq!(hrefs(&propfind(&mut rig, "/pub/files", "0", "")), ["/pub/files/"]);
    let reply =
        heard(&mut rig, request("PROPPATCH", "/pub/files/d/a%20b", "", &set("<D:lastmodified>5</D:lastmodified>")));
    assert!(reply.contains("<D:href>/pub/files/d/a%20b</D:href>"), "{reply}");
    for outside in ["/d/", "/"] {
        let reply = heard(
            &mut rig,
            request("PROPFIND", outside, "Depth: 1\r\n", "") + "GET /pub/files/d/a%20b HTTP/1.0\r\n\r\n",
        );
        assert!(reply.starts_with("HTTP/1.1 404 ") && reply.ends_with("\r\n\r\nx"), "{outside}: {reply}");
    }
}

#[test]
fn the_time_is_set_by_each_of_its_three_names() {
    let mut rig = server(Limits::default());
    for (n, property) in [
        "<D:getlastmodified>Sun, 06 Nov 1994 08:49:37 GMT</D:getlastmodified>",
        "<D:lastmodified>784111777</D:lastmodified>",
        "<Z:Win32LastModifiedTime xmlns:Z=\"urn:schemas-microsoft-com:\">Sun, 06 Nov 1994 08:49:37 GMT</Z:Win32LastModifiedTime>",
    ]
    .into_iter()
    .enumerate()
    {
        rig.place(&format!("t{n}"), b"x");
        let reply = heard(&mut rig, request("PROPPATCH", &format!("/t{n}"), "", &set(property)));
        assert!(reply.contains("<D:status>HTTP/1.1 200 OK</D:status>"), "{reply}");
        let head = heard(&mut rig, format!("HEAD /t{n} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert!(head.contains("Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n"), "{head}");
    }
}

#[test]
fn more_properties_than_are_kept_change_nothing() {
    let mut rig = server(Limits::default());
    let long = format!("<a xmlns=\"urn:a\">{}</a><D:lastmodified>5</D:lastmodified>", "x".repeat(3100));
    let reply = heard(&mut rig, request("PROPPATCH", "/f", "", &set(&long)));
    let response = Response::new(&reply);
    assert_eq!(response.code, 207);
    assert!(response.body.contains("<x:a xmlns:x=\"urn:a\"/></D:prop><D:status>HTTP/1.1 507 "), "{reply}");
    assert!(response.body.contains("<D:lastmodified/></D:prop><D:status>HTTP/1.1 424 "), "{reply}");
    assert!(!propfind(&mut rig, "/f", "0", "").contains("1970"));
}

#[test]
fn a_body_that_is_with_its_head_longer_than_a_head_may_be_is_refused_and_stepped_over() {
    let mut rig = server(Limits::default());
    let limit = Limits::default().fixed.head_len_max;
    let empty = request("PROPFIND", "/f", "Depth: 0\r\n", "");
    let body = |len: usize| format!("<propfind xmlns=\"DAV:\"><allprop/>{}</propfind>", " ".repeat(len - 44));
    // Three more digits of the length.
    let fits = limit - empty.len() - 3;
    for (len, code) in [(fits, 207), (fits + 1, 413), (100_000, 413)] {
        let ask = request("PROPFIND", "/f", "Depth: 0\r\n", &body(len)) + "GET /f HTTP/1.1\r\nHost: x\r\n\r\n";
        let reply = heard(&mut rig, ask);
        assert_eq!(Response::new(&reply).code, code, "{len}");
        assert!(reply.ends_with("0123456789"), "{len}: the next request is answered");
    }
    let chunked = "PROPFIND /f HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let reply = heard(&mut rig, format!("{chunked}{:x}\r\n{}", 100_000, body(100_000)));
    assert!(Response::new(&reply).code == 413 && reply.contains("Connection: close\r\n"), "{reply}");
}

#[test]
fn quotas_of_space_are_sent_to_clients_that_ask_for_them() {
    let ask = "<propfind xmlns=\"DAV:\"><prop><quota-available-bytes/><quota-used-bytes/></prop></propfind>";
    let mut rig = server(Limits::default());
    let xml = propfind(&mut rig, "/", "1", ask);
    assert!(xml.contains("<D:quota-available-bytes>1073741824</D:quota-available-bytes></D:prop>"), "{xml}");
    assert_eq!(xml.matches("<D:quota-available-bytes>").count(), 1, "of the directory itself");
    assert!(!propfind(&mut rig, "/", "0", "").contains("quota"));
}

#[test]
fn a_multistatus_has_what_a_listing_has_and_no_name_besides() {
    let rules =
        "allow anna rlcwd /\nallow bob rl /pub/\nallow @ l /pub/open/\nallow anna rl /pub/secret/\nallow ci c /drop/\n";
    let mut rig = rig(Kind::Http, rules);
    for name in ["pub/f", "pub/open/g", "pub/secret/s", "drop/x", "top"] {
        rig.place(name, b"x");
    }
    let depth = |rig: &mut Rig, name: &str, target: &str, depth: &str| {
        let (code, heard) = http(rig, name, &format!("PROPFIND {target}"), &format!("Depth: {depth}\r\n"), "");
        let found = heard.split("<D:href>").skip(1).filter_map(|rest| rest.split('<').next().map(str::to_owned));
        (code, found.collect::<Vec<_>>().join(" "))
    };
    for (name, target, how, wanted) in [
        ("anna", "/", "infinity", (207, "/ /pub/ /pub/open/ /pub/open/g /pub/secret/ /pub/secret/s /top")),
        ("bob", "/", "1", (207, "/ /pub/")),
        ("bob", "/pub/", "infinity", (207, "/pub/ /pub/f /pub/open/ /pub/open/g")),
        ("bob", "/pub/secret/s", "0", (404, "")),
        ("bob", "/top", "0", (403, "")),
        ("", "/pub/open/", "1", (207, "/pub/open/ /pub/open/g")),
        ("", "/pub/", "1", (401, "")),
        ("ci", "/drop/", "0", (403, "")),
        ("ci", "/drop/x", "0", (403, "")),
        ("ci", "/drop/none", "1", (403, "")),
    ] {
        let (code, found) = depth(&mut rig, name, target, how);
        assert_eq!((code, &*found), wanted, "{name} {target} {how}");
    }
}

#[test]
fn properties_are_for_callers_that_may_read_and_set_by_those_that_may_replace() {
    let mut rig = rig(Kind::Http, "allow anna rw /\nallow bob l /\nallow ci rlcd /\n");
    rig.place("f", b"x");
    let body = set("<a xmlns=\"urn:a\">secret</a>");
    let length = format!("Content-Length: {}\r\n", body.len());
    for (name, code) in [("ci", 403), ("bob", 403), ("", 401), ("anna", 207)] {
        assert_eq!(http(&mut rig, name, "PROPPATCH /f", &length, &body).0, code, "{name}");
    }
    for (name, target, sees) in [("anna", "/f", true), ("ci", "/", true), ("bob", "/", false)] {
        let (code, heard) = http(&mut rig, name, &format!("PROPFIND {target}"), "Depth: 1\r\n", "");
        assert_eq!((code, heard.contains("secret")), (207, sees), "{name}");
    }
}
