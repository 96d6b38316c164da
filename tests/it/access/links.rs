//! Signed links that callers ask for, and listings that they lead to.

use filewharf::access::Rights;
use filewharf::access::link::Link;
use filewharf::config::Limits;
use filewharf::dialect::Kind;
use support::rig::Rig;

use crate::access::{http, rig, rig_with, rules};

const RULES: &str =
    "key k base64:AAAAAAAAAAAAAAAAAAAAAA==\nallow anna rlcwd /home\nallow bob l /home\nallow @ r /pub\n";

/// Asks for a link that is valid for this many seconds; the status, and the query.
fn ask(rig: &mut Rig, name: &str, path: &str, seconds: &str) -> (u16, String) {
    let (status, heard) = http(rig, name, &format!("POST {path}"), &format!("Filewharf-Link: {seconds}\r\n"), "");
    let query = heard.split("{\"link\":\"").nth(1).and_then(|rest| rest.split('"').next());
    (status, query.unwrap_or_default().to_owned())
}

fn get(rig: &mut Rig, path: &str, query: &str) -> (u16, String) {
    http(rig, "", &format!("GET {path}{query}"), "", "")
}

/// A link with these rights, as a query.
fn signed(rights: Rights, path: &str) -> String {
    let prefix = filewharf::wire::key::relative(path).expect("a key");
    format!("?fw={}", Link { key_id: "k".into(), expires_s: 1 << 40, rights, prefix }.sign(&[0; 16]))
}

#[test]
fn a_caller_makes_a_link_for_what_it_may_read_and_no_other() {
    let mut rig = rig(Kind::Http, RULES);
    rig.place("home/dir/f", b"content");
    rig.place("pub/f", b"public");
    let (status, query) = ask(&mut rig, "anna", "/home/dir/f", "3600");
    assert_eq!(status, 200);
    assert!(get(&mut rig, "/home/dir/f", &query).1.ends_with("content"));
    assert_eq!(get(&mut rig, "/home/dir/", &query).0, 403, "a link for a file is not one for its folder");
    assert_eq!(http(&mut rig, "", &format!("PUT /home/dir/f{query}"), "Content-Length: 1\r\n", "x").0, 403);
    let (_, query) = ask(&mut rig, "anna", "/home/dir/", "3600");
    assert!(get(&mut rig, "/home/dir/", &query).1.contains(&format!("\"f{query}\"")));
    assert!(get(&mut rig, "/home/dir/f", &query).1.ends_with("content"));
    assert_eq!(ask(&mut rig, "anna", "/pub/f", "60").0, 200);
    // A link for what is not there tells nothing; it is of use once something is.
    assert_eq!(ask(&mut rig, "anna", "/home/later", "60").0, 200);

    for (name, path, seconds, status) in [
        ("", "/pub/f", "60", 401),
        ("", "/home/dir/f", "60", 401),
        ("bob", "/home/dir/f", "60", 403),
        ("bob", "/elsewhere", "60", 403),
        ("anna", "/", "60", 403),
        ("anna", "/home/%2e%2e/pub/", "60", 400),
        ("anna", "/.filewharf/health", "60", 403),
        ("anna", "/home/dir/f", "0", 400),
        ("anna", "/home/dir/f", "-1", 400),
        ("anna", "/home/dir/f", "1h", 400),
        ("anna", "/home/dir/f", "", 400),
    ] {
        assert_eq!(ask(&mut rig, name, path, seconds), (status, String::new()), "{name} {path} {seconds:?}");
    }
    assert_eq!(ask(&mut rig, "", &format!("/home/dir/f{query}"), "60").0, 403, "a link makes no links");
    let fields = "Filewharf-Link: 60\r\nContent-Length: 1\r\n";
    assert_eq!(http(&mut rig, "anna", "POST /home/dir/f", fields, "x").0, 400);
    let fields = "Filewharf-Link: 60\r\nSec-Fetch-Site: cross-site\r\n";
    assert_eq!(http(&mut rig, "anna", "POST /home/dir/f", fields, "").0, 403, "a page of another site");
}

#[test]
fn no_link_is_made_without_a_key_or_where_the_limit_is_zero() {
    let without_key = RULES.split_once('\n').expect("a line").1;
    let limits = Limits::default().with(|limits| limits.live.link_lifetime_max = std::time::Duration::ZERO);
    for mut rig in [rig(Kind::Http, without_key), rig_with(Kind::Http, RULES, limits)] {
        rig.place("home/f", b"content");
        assert_eq!(ask(&mut rig, "anna", "/home/f", "60").0, 403);
        let (_, page) = http(&mut rig, "anna", "GET /home/", "Accept: text/html\r\n", "");
        assert!(page.contains("<body data-may=\"rlcwd\"") && !page.contains(" data-link>"));
    }
    let mut rig = rig(Kind::Http, RULES);
    rig.place("home/f", b"content");
    for (name, offered) in [("anna", true), ("bob", false)] {
        let (_, page) = http(&mut rig, name, "GET /home/", "Accept: text/html\r\n", "");
        assert_eq!(page.contains(" data-links=\"all\"") && page.contains(" data-link>"), offered, "{name}");
        let (_, names) = http(&mut rig, name, "GET /home/", "Accept: application/json\r\n", "");
        assert_eq!(names.contains(",\"link\":true}"), offered, "{names}");
    }
}

#[test]
fn a_longer_time_than_the_limit_is_the_limit() {
    let limits = Limits::default().with(|limits| limits.live.link_lifetime_max = std::time::Duration::from_secs(60));
    let mut rig = rig_with(Kind::Http, RULES, limits);
    let mut expiry = |seconds: &str| -> u64 {
        let (_, heard) = http(&mut rig, "anna", "POST /home/f", &format!("Filewharf-Link: {seconds}\r\n"), "");
        let end = heard.rsplit("\"expires\":").next().and_then(|rest| rest.trim_end().strip_suffix('}'));
        end.and_then(|end| end.parse().ok()).expect("a time")
    };
    let minute = expiry("60");
    assert_eq!(expiry("30"), minute - 30);
    for longer in ["61", "86400", &u64::MAX.to_string()] {
        assert_eq!(expiry(longer), minute, "{longer}");
    }
}

#[test]
fn a_listing_that_a_link_leads_to_carries_it_on() {
    let mut rig = rig(Kind::Http, RULES);
    for name in ["home/dir/a", "home/dir/b", "home/dir/sub/c"] {
        rig.place(name, b"content");
    }
    let query = signed(Rights::READ.with(Rights::LIST), "home/dir");
    let mut list = |path: &str, accept: &str| {
        let (status, heard) = http(&mut rig, "", &format!("GET {path}"), &format!("Accept: {accept}\r\n"), "");
        assert_eq!(status, 200, "{heard}");
        heard
    };
    let page = list(&format!("/home/dir/{query}"), "text/html");
    assert!(page.contains(&format!("href=\"a{query}\"")) && page.contains(&format!("href=\"sub/{query}\"")), "{page}");
    assert!(!page.contains("<bdi>Files</bdi>"), "what is above cannot be read");
    let names = list(&format!("/home/dir/{query}&limit=1"), "application/json");
    assert!(names.contains(&format!("Link: <?after=a&limit=1&{}>; rel=\"next\"", &query[1..])), "{names}");
    let index = list(&format!("/home/dir/sub/{query}"), "*/*");
    assert!(index.contains(&format!("<pre>\n<a href=\"../{query}\">../</a>\n<a href=\"c{query}\">c</a>")), "{index}");
    assert!(!list(&format!("/home/dir/{query}"), "*/*").contains("../"), "what is above cannot be read");
    // A proxy in front may pass the query of a link to a directory that is named without `/`.
    assert!(
        http(&mut rig, "", &format!("GET /home/dir/sub{query}"), "", "").1.contains(&format!("Location: sub/{query}"))
    );
}

#[test]
fn the_rules_of_today_decide_what_a_link_gives() {
    let mut rig = rig(Kind::Http, RULES);
    rig.place("home/dir/f", b"content");
    let (_, query) = ask(&mut rig, "anna", "/home/dir/", "60");
    let mut status = |allows: &str| {
        rig.replace_rules(rules(&["anna", "bob", "ci"], allows));
        get(&mut rig, "/home/dir/f", &query).0
    };
    let key = RULES.split_once('\n').expect("a line").0;
    assert_eq!(status(&format!("{key}\nallow bob r /home")), 200, "its maker has no right any more");
    assert_eq!(status(&format!("{key}\nallow bob r /home/dir/f")), 404, "a rule for a longer path decides");
    assert_eq!(status("allow anna r /home"), 403, "its key is gone");
}
