//! Requests without bodies, listings, and what stands before every request.

use std::net::TcpListener;

use super::*;

#[test]
fn a_file_can_be_described_moved_and_removed() {
    let fake = Fake::start();
    fake.store("/d/f", b"hello");
    let mut client = client(&fake);
    client.ping().expect("alive");
    let stat = client.stat("/d/f").expect("a file");
    assert_eq!((stat.dir, stat.size, stat.mtime), (false, 5, 1_000_000_000));
    assert!(client.stat("/d").expect("a folder").dir);
    client.rename("/d/f", "/d/g h").expect("moved");
    client.mkdir("/new folder").expect("made");
    assert!(fake.state().dirs.contains("/new folder"));
    client.delete("/d/g h").expect("removed");
    assert_eq!(client.stat("/d/g h").expect_err("gone").kind.code(), Some(404));
    assert_eq!(client.rename("/x", "/y").expect_err("missing").kind.code(), Some(404));
    assert_eq!(fake.state().connections, 1);
}

#[test]
fn a_listing_goes_through_all_its_pages() {
    let fake = Fake::start();
    let mut names: Vec<String> = (0..25).map(|at| format!("n {at:02}%é")).collect();
    for name in &names {
        fake.store(&format!("/d/{name}"), name.as_bytes());
    }
    fake.store("/d/sub/x", b"");
    names.push("sub".to_owned());
    for page in [1, 7, 26, 1000] {
        fake.state().page = Some(page);
        let got: Vec<Entry> = client(&fake).list("/d").collect::<Result<_, _>>().expect("a listing");
        assert!(got.iter().map(|entry| &entry.name).eq(&names), "{page}");
        assert_eq!(got.iter().filter(|entry| entry.dir).count(), 1);
    }
}

#[test]
fn a_refused_or_invalid_listing_ends() {
    let fake = Fake::start();
    let first = |fake: &Fake| client(fake).list("/missing").next().expect("something");
    assert_eq!(first(&fake).expect_err("missing").kind.code(), Some(404));
    fake.state().listing = Some("garbage\n1 2 ab good\n");
    let got: Vec<_> = client(&fake).list("/").collect();
    assert_eq!(got.len(), 2);
    assert!(got[0].is_err());
    assert!(got[1].is_ok());
}

#[test]
fn a_listing_that_leads_in_a_circle_ends() {
    let fake = Fake::start();
    for reply in ["OK 0 more=1\n", "OK 9 more=1\n1 2 ab c\n"] {
        fake.state().refuse = Some((9, reply));
        let got: Vec<_> = client(&fake).list("/").collect();
        assert!(got.len() <= 3, "{}", got.len());
        assert!(matches!(got.last(), Some(Err(ClientError { kind: ErrorKind::Protocol(_), .. }))));
    }
}

#[test]
fn a_busy_server_is_retried_for_a_limited_time() {
    let fake = Fake::start();
    for reply in ["ERR 429 retry=0 busy\n", "ERR 503 retry=0 draining\n"] {
        fake.state().refuse = Some((5, reply));
        client(&fake).ping().expect("alive in the end");
        fake.state().refuse = Some((100, reply));
        assert!(impatient(&fake).ping().expect_err("busy").kind.code().is_some());
        assert_eq!(fake.state().refuse.map(|(left, _)| left), Some(99));
    }
}

#[test]
fn the_secret_is_sent_first_and_a_wrong_one_is_not_retried() {
    let fake = Fake::start();
    fake.state().token = Some("s3cret".to_owned());
    let with = |token: Option<&str>| Options { token: token.map(str::to_owned), ..Fake::options() };
    Client::connect(&fake.address, with(Some("s3cret"))).expect("let in").ping().expect("alive");
    assert_eq!(fake.state().log, ["AUTH s3cret", "PING"]);
    fake.state().log.clear();
    let error = Client::connect(&fake.address, with(Some("wrong"))).expect_err("kept out");
    assert_eq!(error.kind.code(), Some(401));
    assert!(error.kind.affects_server());
    assert_eq!(fake.state().log, ["AUTH wrong"]);
    let error = Client::connect(&fake.address, with(None)).expect("connected").ping().expect_err("kept out");
    assert_eq!(error.kind.code(), Some(401));
}

// covers: crash-after-acknowledgement
#[test]
fn a_removal_whose_answer_was_lost_counts_as_done() {
    let fake = Fake::start();
    fake.store("/f", b"x");
    fake.state().cut_replies = [0].into();
    client(&fake).delete("/f").expect("gone");
    assert_eq!(fake.content("/f"), None);
}

#[test]
fn paths_that_would_smuggle_a_second_request_are_never_sent() {
    let fake = Fake::start();
    let mut client = client(&fake);
    for path in ["/a\nDELETE /b", "a", "", "/a/../b", "/a\tb"] {
        assert!(matches!(client.stat(path).expect_err(path).kind, ErrorKind::InvalidPath(_)));
        assert!(client.rename("/a", path).is_err());
        assert!(client.put(path, &mut &b""[..], Some(0), None, &mut ()).is_err());
    }
    assert!(fake.state().log.is_empty());
}

#[test]
fn an_unreachable_server_is_reported_as_such() {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
    let address = Address { host: "127.0.0.1".to_owned(), port, tls: false };
    let error = Client::connect(&address, Fake::options()).expect_err("no server listens");
    assert!(matches!(error.kind, ErrorKind::Unreachable(_)), "{error}");
    assert!(error.to_string().contains("is the server running"), "{error}");
}

#[test]
fn another_protocol_is_reported_as_such() {
    let fake = Fake::start();
    fake.state().refuse = Some((1, "HTTP/1.1 400 Bad Request\n"));
    let error = client(&fake).ping().expect_err("not ours");
    assert!(matches!(error.kind, ErrorKind::Protocol(_)), "{error}");
}

#[test]
fn a_page_with_too_many_names_is_refused() {
    let fake = Fake::start();
    let page: String = (0..1001).map(|n| format!("1 7 ab {n:04}\n")).collect();
    fake.state().listing = Some(page.leak());
    let error = client(&fake).list("/").next().expect("an answer").expect_err("too long");
    assert!(error.to_string().contains("1000 names"), "{error}");
}
