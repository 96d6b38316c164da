//! The pages that browsers are shown of refusals; all other clients get one line of text.
#![cfg(feature = "page")]

use base64ct::{Base64, Encoding as _};
use sha2::{Digest as _, Sha256};

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};

use crate::access::{http, rig};
use support::rig::{Mode, Rig};

const BROWSER: &str = "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n";
const RULES: &str = "allow @ rl /pub/\nallow anna rl /home/\nkey k base64:AAAAAAAAAAAAAAAAAAAAAA==\n";

fn open() -> Rig {
    let listening = Listening::new(Kind::Http, &[], 0).expect("no options");
    Rig::speaking(listening, Mode::PLAIN, Limits::default(), Access::default())
}

/// The answer to a browser, and to a client that is none.
fn both(rig: &mut Rig, name: &str, target: &str) -> ((u16, String), (u16, String)) {
    let request = format!("GET {target}");
    (http(rig, name, &request, BROWSER, ""), http(rig, name, &request, "Accept: */*\r\n", ""))
}

#[test]
fn a_browser_is_shown_what_happened_and_a_way_home() {
    let mut rig = open();
    for (target, name, home) in [
        ("/a", "a", "./"),
        ("/a/", "a", "../"),
        ("/x/y/%3Cb%3E%26c", "x/y/&lt;b&gt;&amp;c", "../../"),
        ("/x//y/..//b", "x/b", "../../../../../"),
    ] {
        let ((status, page), (plain_status, plain)) = both(&mut rig, "", target);
        assert_eq!((status, plain_status), (404, 404), "{target}");
        assert!(page.contains("\r\nContent-Type: text/html; charset=utf-8\r\n"), "{page}");
        assert!(page.contains("<h1>There is nothing here</h1>"), "{page}");
        assert!(page.contains(&format!("<p>no such file or folder: /{name}</p>")), "{page}");
        assert!(page.contains(&format!("<a class=\"button\" href=\"{home}\">All files</a>")), "{page}");
        assert!(!page.contains("Log in") && !page.contains("<script"), "{page}");
        assert!(plain.contains("\r\nContent-Type: text/plain; charset=utf-8\r\n"), "{plain}");
        assert!(plain.contains("\r\n\r\nno such file or folder: ") && !plain.contains('<') || target.contains('%'));
    }
    let (status, head) = http(&mut rig, "", "HEAD /a", BROWSER, "");
    assert!(status == 404 && head.ends_with("\r\n\r\n"), "{head}");
}

#[test]
fn the_policy_of_such_a_page_permits_its_style_and_nothing_else() {
    let mut rig = open();
    let page = http(&mut rig, "", "GET /a", BROWSER, "").1;
    let style = page.split("<style>").nth(1).and_then(|rest| rest.split("</style>").next()).expect("a style");
    let hash = Base64::encode_string(&Sha256::digest(style));
    let policy = format!(
        "\r\nContent-Security-Policy: default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'\r\n"
    );
    assert!(page.contains(&policy), "{page}");
}

#[test]
fn a_login_is_offered_to_a_caller_without_a_name() {
    let mut rig = rig(Kind::Http, RULES);
    let ((status, page), (_, plain)) = both(&mut rig, "", "/home/x");
    assert_eq!(status, 401);
    for said in [&page, &plain] {
        assert!(said.contains("\r\nWWW-Authenticate: Basic realm=\"filewharf\", charset=\"UTF-8\"\r\n"), "{said}");
    }
    assert!(page.contains("<a class=\"button main\" href=\"\">Log in</a>"), "the same address: {page}");
    // A link that is not valid proves nothing. After the login, the page of the directory.
    for (target, login) in [
        ("/home/x?fw=x", "../?login=%2Fhome"),
        ("/home/y/?fw=x", "../../?login=%2Fhome%2Fy"),
        ("/x?fw=x", "./?login=%2F"),
    ] {
        let ((status, page), (_, plain)) = both(&mut rig, "", target);
        assert!(status == 403 && page.contains("<h1>This is not permitted</h1>"), "{page}");
        assert!(page.contains(&format!("<a class=\"button main\" href=\"{login}\">Log in</a>")), "{page}");
        assert!(plain.ends_with("\r\n\r\nthis link is not valid\n"), "{plain}");
    }
    let ((status, page), _) = both(&mut rig, "anna", "/other/");
    assert!(status == 403 && !page.contains("Log in") && page.contains("All files"), "{page}");
}
