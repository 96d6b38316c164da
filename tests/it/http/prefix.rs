//! A server that a proxy passes on under a path (`--path-prefix`): requests come with it, and every address in an answer
//! leads to it.

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};

use super::{Response, heard};
use support::rig::{Mode, Rig};

fn mounted() -> Rig {
    let options = [("path-prefix".to_owned(), "pub/files/".to_owned())];
    let listening = Listening::new(Kind::Http, &options, 0).expect("a good prefix");
    let mut rig = Rig::speaking(listening, Mode::PLAIN, Limits::default(), Access::default());
    for key in ["a", "d/b", "pub/files/c"] {
        rig.place(key, b"x");
    }
    rig
}

#[track_caller]
fn ask(rig: &mut Rig, request: &str, fields: &str) -> Response {
    Response::new(&heard(rig, format!("{request} HTTP/1.1\r\nHost: x\r\n{fields}\r\n")))
}

/// Where an address in an answer to a request of `base` leads to.
fn resolved(base: &str, address: &str) -> String {
    let address = address.split('?').next().unwrap_or_default();
    if address.starts_with('/') {
        return address.to_owned();
    }
    let mut path: Vec<&str> = base.split('/').collect();
    path.pop();
    for part in address.split('/') {
        match part {
            ".." => assert!(path.pop().is_some() && !path.is_empty(), "{address} leads above the host"),
            "." => {}
            part => path.push(part),
        }
    }
    let slash = if address.ends_with("..") || address.ends_with('.') { "/" } else { "" };
    path.join("/") + slash
}

#[test]
fn requests_come_with_the_prefix_and_all_others_find_nothing() {
    let mut rig = mounted();
    for (request, code) in [
        ("GET /pub/files/a", 200),
        ("GET http://x/pub/files/a", 200),
        ("GET /pub/files/pub/files/c", 200),
        ("GET /pub/files/d/", 200),
        ("GET /pub/files/a?archive=tar", 200),
        ("HEAD /pub/files/", 200),
        ("GET /a", 404),
        ("GET /", 404),
        ("GET /pub/filesa", 404),
        ("GET /pub/files/../a", 404),
        ("GET /?archive=tar", 404),
        ("GET /c", 404),
        ("DELETE /a", 404),
        ("MKCOL /new/", 404),
        ("OPTIONS /pub/files", 204),
        ("OPTIONS *", 204),
        ("GET /.filewharf/health", 200),
        ("GET /pub/files/.filewharf/health", 200),
        ("GET /.filewharf/metrics", 200),
        ("GET /pub/files/.filewharf/metrics", 200),
        ("MKCOL /pub/files/new/", 201),
        ("DELETE /pub/files/a", 204),
    ] {
        assert_eq!(ask(&mut rig, request, "").code, code, "{request}");
    }
    let put = ask(&mut rig, "PUT /pub/files/e", "Content-Length: 0\r\n");
    assert_eq!((put.code, put.field("Location")), (201, Some("e")));
    assert_eq!(ask(&mut rig, "PUT /e", "Content-Length: 0\r\n").code, 404);
    assert!(rig.names().contains(&"e".to_owned()), "{:?}", rig.names());
}

#[test]
fn the_destination_of_a_move_has_the_prefix_too() {
    let mut rig = mounted();
    for (destination, code) in [
        ("/b", 502),
        ("/pub/filesb", 502),
        ("http://x/b", 502),
        ("/pub/files/../b", 502),
        ("/pub/files/b", 201),
        ("http://x/pub/files/d/c", 201),
    ] {
        let from = if rig.names().contains(&"b".to_owned()) { "b" } else { "a" };
        let moved = ask(&mut rig, &format!("MOVE /pub/files/{from}"), &format!("Destination: {destination}\r\n"));
        assert_eq!(moved.code, code, "{destination}");
    }
    assert!(rig.names().contains(&"d/c".to_owned()), "{:?}", rig.names());
}

#[test]
fn every_address_in_an_answer_leads_to_what_is_under_the_prefix() {
    let mut rig = mounted();
    for (base, location) in [("/pub/files", "/pub/files/"), ("/pub/files/d", "/pub/files/d/")] {
        let moved = ask(&mut rig, &format!("GET {base}"), "");
        assert_eq!(moved.code, 301, "{base}");
        assert_eq!(resolved(base, moved.field("Location").expect("an address")), location);
    }
    let tus = "Tus-Resumable: 1.0.0\r\nUpload-Length: 1\r\n";
    let made = ask(&mut rig, "POST /pub/files/d/f", tus);
    let at = resolved("/pub/files/d/f", made.field("Location").expect("an address"));
    assert!(at.starts_with("/pub/files/.filewharf/uploads/"), "{at}");
    assert_eq!(ask(&mut rig, &format!("HEAD {at}"), "Tus-Resumable: 1.0.0\r\n").code, 200);
    for accept in ["text/html", "*/*"] {
        let base = "/pub/files/d/";
        let page = ask(&mut rig, &format!("GET {base}"), &format!("Accept: {accept}\r\n"));
        let links = page.body.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
        let links: Vec<_> = links.filter(|link| !link.starts_with(['#']) && !link.starts_with("data:")).collect();
        assert!(links.len() >= 2, "{}", page.body);
        for link in links {
            assert!(resolved(base, link).starts_with("/pub/files/"), "{accept}: {link}");
        }
    }
    if cfg!(feature = "page") {
        for path in ["/pub/files/d/none", "/elsewhere/x"] {
            let page = ask(&mut rig, &format!("GET {path}"), "Accept: text/html\r\n");
            assert!(page.code == 404 && page.body.contains("href=\"/pub/files/\">All files</a>"), "{}", page.body);
        }
    }
}
