//! What a caller sees of itself: the login from a page, the way to the directories that are its own, its name in the
//! log.

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};

use crate::access::{TOKEN, http, line, rig};
use crate::logged::lines;
use support::rig::{Mode, Rig};

const RULES: &str = "allow @ rl /pub/\nallow anna rlcwd /home/anna/\nallow bob rl /home/anna/for-bob/\n\
    allow bob c /drop/\nallow ci rlcwd /\nkey k base64:AAAAAAAAAAAAAAAAAAAAAA==\n";

fn served(kind: Kind, rules: &str) -> Rig {
    let mut rig = rig(kind, rules);
    for key in ["pub/f", "home/f", "home/anna/f", "home/anna/for-bob/f", "home/ci/f", "HOME/anna/f", "drop/f", "f"] {
        rig.place(key, b"x");
    }
    rig
}

/// The names in a listing of this directory, or the code of its refusal.
fn listed(rig: &mut Rig, name: &str, dir: &str) -> Result<Vec<String>, String> {
    let (first, rest) = line(rig, name, &format!("LIST {dir}\n"));
    match first.strip_prefix("ERR ") {
        Some(error) => Err(error[..3].to_owned()),
        None => Ok(rest.lines().filter_map(|line| line.rsplit(' ').next()).map(str::to_owned).collect()),
    }
}

#[test]
fn folders_on_the_way_to_one_that_a_user_may_list_show_that_way_and_nothing_else() {
    let mut rig = served(Kind::Line, RULES);
    for (name, dir, names) in [
        ("anna", "/", Ok(&["home/", "pub/"][..])),
        ("anna", "/home/", Ok(&["anna/"])),
        ("anna", "/home/anna/", Ok(&["f"])),
        ("bob", "/", Ok(&["home/", "pub/"])),
        ("bob", "/home/", Ok(&["anna/"])),
        ("bob", "/home/anna/", Ok(&["for-bob/"])),
        ("bob", "/home/anna/for-bob/", Ok(&["f"])),
        // Where no listing is permitted, none is, and other spellings lead nowhere.
        ("bob", "/drop/", Err("403")),
        ("bob", "/home/ci/", Err("403")),
        ("anna", "/HOME/", Err("403")),
        ("anna", "/Home/anna/", Err("403")),
        ("anna", "/home/anna/for-bob/", Err("404")),
        ("ci", "/home/", Ok(&["ci/", "f"])),
        // A caller that has proved nothing is asked to.
        ("", "/", Err("401")),
    ] {
        let wanted = names.map(|names| names.iter().map(|name| (*name).to_owned()).collect()).map_err(str::to_owned);
        assert_eq!(listed(&mut rig, name, dir), wanted, "{name} {dir}");
    }
    for (name, request, wanted) in [
        ("anna", "STAT /home/\n", "OK 0 folder=1"),
        ("anna", "STAT /home/f\n", "ERR 403"),
        ("anna", "GET /home/f\n", "ERR 403"),
        ("anna", "PUT 0 /home/g\n", "ERR 403"),
        ("anna", "MKDIR /home/new\n", "ERR 403"),
        ("", "STAT /home/\n", "ERR 401"),
    ] {
        let (first, _) = line(&mut rig, name, request);
        assert!(first.starts_with(wanted), "{name} {request}: {first}");
    }
    // Readable names in a directory that may not be listed are not shown for what is under one of them.
    let mut rig = served(Kind::Line, "allow anna r /\nallow anna rl /home/anna/\n");
    assert_eq!(listed(&mut rig, "anna", "/"), Ok(vec!["home/".to_owned()]));
    assert_eq!(listed(&mut rig, "anna", "/home"), Ok(vec!["anna/".to_owned()]));
}

#[test]
fn a_page_names_its_visitor_or_offers_to_log_in() {
    let mut rig = served(Kind::Http, RULES);
    let page = |rig: &mut Rig, name: &str, target: &str| {
        let (status, heard) = http(rig, name, &format!("GET {target}"), "Accept: text/html\r\n", "");
        assert_eq!(status, 200, "{name} {target}: {heard}");
        heard
    };
    let login = "<a class=\"button\" href=\"../?login=%2Fpub\">Log in</a>";
    assert!(page(&mut rig, "", "/pub/").contains(login));
    for target in ["/", "/home/", "/home/anna/", "/pub/"] {
        let page = page(&mut rig, "anna", target);
        assert!(page.contains("<bdi>anna</bdi></p>") && !page.contains("Log in"), "{target}");
    }
    let link = http(&mut rig, "anna", "POST /home/anna/", "Filewharf-Link: 60\r\n", "").1;
    let link = link.split('"').find(|word| word.starts_with("?fw=")).expect("a link").to_owned();
    let shared = page(&mut rig, "", &format!("/home/anna/{link}"));
    assert!(!shared.contains("Log in") && !shared.contains("id=\"visitor\""), "{shared}");
    // Where there are no users, there is no log-in.
    let mut open = Rig::new(Mode::PLAIN, Limits::default(), Access::default());
    assert!(!http(&mut open, "", "GET /", "Accept: text/html\r\n", "").1.contains("Log in"));
}

#[test]
fn a_login_asks_for_credentials_and_leads_back_to_the_page() {
    let mut rig = served(Kind::Http, RULES);
    for (name, target, status, location) in [
        ("", "/?login=%2Fpub", 401, ""),
        ("anna", "/?login=%2Fpub", 303, "./pub/"),
        ("anna", "/?login=%2Fa%20b%2F%C3%A4%3Fc", 303, "./a%20b/%C3%A4%3Fc/"),
        ("anna", "/?login=%2F", 303, "./"),
        ("anna", "/?login=/home/bob/", 303, "./home/bob/"),
        ("anna", "/?login=%2F%2Fevil.example", 400, ""),
        ("anna", "/?login=https:%2F%2Fevil.example", 400, ""),
        ("anna", "/?login=%2F..%2Fx", 400, ""),
        ("anna", "/?login=%2Fx%0D%0ASet-Cookie:a", 400, ""),
        ("", "/pub/?login=%2Fpub", 200, ""),
    ] {
        let (heard_status, heard) = http(&mut rig, name, &format!("GET {target}"), "", "");
        assert_eq!(heard_status, status, "{name} {target}: {heard}");
        assert_eq!(heard.contains("WWW-Authenticate: Basic "), status == 401, "{heard}");
        let shown = heard.split("\r\nLocation: ").nth(1).and_then(|rest| rest.split("\r\n").next()).unwrap_or_default();
        assert_eq!(shown, location, "{target}");
    }
    let wrong = http(&mut rig, "mallory", "GET /?login=%2F", "", "");
    assert!(wrong.0 == 401 && wrong.1.ends_with("the secret is wrong or has expired\n"), "{}", wrong.1);
}

#[test]
fn the_log_has_the_name_that_a_request_was_permitted_by() {
    let mut rig = served(Kind::Http, RULES);
    let signed = http(&mut rig, "anna", "POST /home/anna/", "Filewharf-Link: 60\r\n", "").1;
    let link = signed.split('"').find(|word| word.starts_with("?fw=")).expect("a link").to_owned();
    let logged = |rig: &mut Rig, name: &str, target: &str| {
        let _ = lines();
        http(rig, name, &format!("GET {target}"), "", "");
        lines().concat()
    };
    for (name, target, wanted) in [
        ("anna", "/home/anna/f", " user=anna key=\"/home/anna/f\""),
        ("anna", "/drop/f", " user=anna key=\"/drop/f\""),
        ("", "/pub/f", ":50851 key=\"/pub/f\""),
        ("mallory", "/pub/f", ":50851 key=\"/pub/f\" bytes=0 result=failed"),
        ("", &format!("/home/anna/f{link}"), " link=k key=\"/home/anna/f\""),
        ("", "/pub/f", ":50851 key=\"/pub/f\""),
    ] {
        let line = logged(&mut rig, name, target);
        assert!(line.contains(wanted), "{line}");
    }
    for (secret, wanted) in [("all", " secret=full "), ("reading", " secret=read ")] {
        let access = Access::with_secrets(Some(b"all".to_vec()), Some(b"reading".to_vec()), false);
        let line = Listening::new(Kind::Line, &[], 0).expect("no options");
        let mut rig = Rig::speaking(line, Mode::PLAIN, Limits::default(), access);
        let peer = rig.connect();
        let _ = lines();
        rig.send(&peer, format!("AUTH {secret}\nLIST /\n").as_bytes());
        assert!(lines().concat().contains(wanted));
    }
    // Parts of one download by two users are two lines.
    let mut rig = served(Kind::Line, "allow @ r /\n");
    let peer = rig.connect();
    let _ = lines();
    rig.place("big", &[b'x'; 100]);
    let part = |first: u32, last: u32| format!("GET trailer=sha256 range={first}-{last} /big\n");
    let says = format!("AUTH anna{TOKEN}\n{}AUTH bob{TOKEN}\n{}", part(0, 49), part(50, 99));
    rig.send(&peer, says.as_bytes());
    let heard = lines();
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert!(heard[0].contains("user=anna ") && heard[1].contains("user=bob "), "{heard:?}");
}
