//! Names that are spelled to escape a rule, folders that are moved, listings of a folder above, and drop boxes.

use filewharf::access::Rights;
use filewharf::access::link::Link;
use filewharf::dialect::Kind;

use crate::access::{TOKEN, http, line, put_http, rig};
use support::rig::{Rig, STARTED_S};

const SECRET: &str = "what only anna may know";

/// Anybody may do everything, but for anna's folder.
const RULES: &str = "allow @ rlcwd /\nallow anna rlcwd /anna\nallow anna rlcwd /deep/er/anna\n";

fn spellings(folder: &str) -> Vec<String> {
    let top = folder.rsplit_once('/').map_or("", |(top, _)| top);
    let last = folder.rsplit('/').next().expect("a name");
    let upper = last.to_uppercase();
    let mut names = vec![
        format!("{folder}/f"),
        format!("{folder}//f"),
        format!("/{folder}/f"),
        format!("{top}/./{last}/f"),
        format!("{top}/x/../{last}/f"),
        format!("{top}/{upper}/f"),
        format!("{top}/{last}./f"),
        format!("{top}/{last} /f"),
        format!("{top}/{last}. ./f"),
        format!("{top}/{last}\u{200c}/f"),
        format!("{top}/an\u{ff4e}a/f"),
        format!("{top}/{last}/F"),
        format!("{top}/{last}/."),
        format!("{top}/{last}/../{last}/f"),
        format!("{top}\\{last}\\f"),
        format!("{top}/{last}\\f"),
        format!("{top}/{last}::$DATA/f"),
    ];
    names.push(folder.to_owned());
    names.push(format!("{folder}/"));
    names
}

/// The same path with some bytes escaped in each way.
fn escaped(path: &str) -> Vec<String> {
    let all: String = path.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let plain: String = path
        .bytes()
        .map(|byte| if byte.is_ascii_graphic() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    vec![
        plain.clone(),
        format!("/{all}"),
        plain.replace("..", "%2e%2e"),
        plain.replace('/', "%2f"),
        plain.replace("anna", "%61nna"),
        plain.replace("/f", "/f?limit=1"),
        plain.replace("/f", "%00/f"),
        format!("http://x{plain}"),
        format!("{plain}#f"),
        format!("{plain};x"),
    ]
}

#[test]
fn no_spelling_of_a_name_escapes_its_rule() {
    let mut tried = 0;
    for folder in ["/anna", "/deep/er/anna"] {
        let mut by_line = rig(Kind::Line, RULES);
        let mut by_http = rig(Kind::Http, RULES);
        let key = format!("{}/f", &folder[1..]);
        for rig in [&mut by_line, &mut by_http] {
            rig.place(&key, SECRET.as_bytes());
            rig.place("open/f", b"open");
        }
        for path in spellings(folder) {
            for verb in ["GET", "LIST", "STAT", "DELETE", "MKDIR"] {
                let (first, rest) = line(&mut by_line, "", &format!("{verb} {path}\n"));
                assert!(!rest.contains(SECRET) && !rest.contains("\tf"), "{verb} {path:?}: {first}");
                tried += 1;
            }
            for request in [
                format!("RENAME {path}\t/open/g\n"),
                format!("RENAME /open/f\t{path}\n"),
                format!("PUT 3 {path}\nnew"),
                format!("PUT 3 resume=a-token-of-mine {path}\nnew"),
            ] {
                let _ = line(&mut by_line, "", &request);
                tried += 1;
            }
            for path in escaped(&path) {
                for method in ["GET", "DELETE", "PUT"] {
                    let fields = "Accept: application/json\r\nContent-Length: 3\r\n";
                    let (fields, body) = if method == "PUT" { (fields, "new") } else { (&fields[..26], "") };
                    let (status, heard) = http(&mut by_http, "", &format!("{method} {path}"), fields, body);
                    assert!(!heard.contains(SECRET) && !heard.contains("\"f\""), "{method} {path}: {status} {heard}");
                    tried += 1;
                }
            }
            for rig in [&mut by_line, &mut by_http] {
                assert_eq!(rig.file(&key).as_deref(), Some(SECRET.as_bytes()), "{path:?}");
                let beneath = format!("{}/", &folder[1..]);
                let beneath = rig.names().into_iter().filter(|name| name.starts_with(&beneath)).count();
                assert_eq!(beneath, 1, "{path:?}");
            }
        }
        assert_eq!(http(&mut by_http, "anna", &format!("GET {folder}/f"), "", "").0, 200);
    }
    println!("access: {tried} requests with names that try to escape, 0 did");
}

#[test]
fn a_folder_is_not_moved_out_of_its_rules_or_into_others() {
    for (from, to) in [
        ("/anna", "/open/there"),
        ("/deep", "/open/there"),
        ("/deep/er", "/open/there"),
        ("/open", "/deep"),
        ("/open", "/anna"),
        ("/open", "/anna/there"),
        ("/open", "/ANNA"),
        ("/DEEP", "/open2"),
        ("/deep.", "/open2"),
    ] {
        let mut rig = rig(Kind::Line, RULES);
        for key in ["anna/f", "deep/er/anna/f", "open/f", "DEEP/er/anna/f", "deep./er/anna/f"] {
            rig.place(key, SECRET.as_bytes());
        }
        let before = rig.names();
        let (first, _) = line(&mut rig, "", &format!("RENAME {from}\t{to}\n"));
        assert!(first.starts_with("ERR 401 "), "{from} {to}: {first}");
        assert_eq!(rig.names(), before, "{from} {to}");
    }
    // What has no rules beneath it moves.
    let mut rig = rig(Kind::Line, RULES);
    rig.place("open/f", b"open");
    assert_eq!(line(&mut rig, "", "RENAME /open\t/elsewhere\n").0, "OK 0");
    // A folder above one's own rule may not be made readable by moving it.
    assert!(line(&mut rig, "bob", "RENAME /elsewhere\t/anna/x\n").0.starts_with("ERR 403 "));
}

#[test]
fn the_listing_of_a_folder_leaves_out_what_the_caller_may_not_see() {
    let rules = "allow @ rl /\nallow anna rl /a\nallow anna rl /b\nallow bob rl /c/x\nallow @ - /c\nallow @ l /d\n";
    let names = |text: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.split('\t').next()).map(str::to_owned).collect()
    };
    let mut by_line = rig(Kind::Line, rules);
    for key in ["a/f", "b/f", "c/x/f", "d/f", "e", "A"] {
        by_line.place(key, b"x");
    }
    let (_, of_anybody) = line(&mut by_line, "", "LIST /\n");
    let (_, of_anna) = line(&mut by_line, "anna", "LIST /\n");
    let (_, of_bob) = line(&mut by_line, "bob", "LIST /\n");
    for (listing, sees, not) in [(&of_anybody, "de", "abcA"), (&of_anna, "abde", "cA"), (&of_bob, "cde", "abA")] {
        let shown = listing.clone();
        let has = |name: char| {
            shown.lines().any(|line| line.split([' ', '\t']).any(|word| word.trim_end_matches('/') == name.to_string()))
        };
        assert!(sees.chars().all(has) && !not.chars().any(has), "{listing}: {:?}", names(listing));
    }
    // One name a page: those that are left out take no page of their own.
    let mut by_http = rig(Kind::Http, rules);
    for key in ["a/f", "b/f", "c/x/f", "d/f", "e"] {
        by_http.place(key, b"x");
    }
    let page =
        |rig: &mut _, target: &str| http(rig, "", &format!("GET {target}"), "Accept: application/json\r\n", "").1;
    let first = page(&mut by_http, "/?limit=1");
    assert!(first.contains("\"name\":\"d\"") && first.contains("rel=\"next\""), "{first}");
    let second = page(&mut by_http, "/?limit=1&after=d");
    assert!(second.contains("\"name\":\"e\""), "{second}");
    for target in ["/a/", "/c/", "/A/"] {
        assert_eq!(http(&mut by_http, "", &format!("GET {target}"), "", "").0, 401, "{target}");
    }
    for (name, target, status) in [("", "/d/", 200), ("", "/d/f", 401), ("anna", "/d/f", 403), ("bob", "/c/x/", 200)] {
        assert_eq!(http(&mut by_http, name, &format!("GET {target}"), "", "").0, status, "{name} {target}");
    }
}

#[test]
fn the_pages_of_a_listing_are_those_of_a_folder_without_what_is_left_out() {
    let rules = "allow anna l /home\nallow bob rlcwd /home/b2\nallow bob rlcwd /home/f2\nallow bob rlcwd /home/z\n";
    let seen = ["a", "b", "c", "d", "e", "f", "g"];
    let place = |rig: &mut Rig, names: &[&str]| names.iter().for_each(|name| rig.place(&format!("home/{name}"), b"x"));
    for limit in 1..=8 {
        let pages = [&seen[..], &[&seen[..], &["b2", "B2", "f2", "z"]].concat()].map(|names| {
            let (mut by_http, mut by_line) = (rig(Kind::Http, rules), rig(Kind::Line, rules));
            place(&mut by_http, names);
            place(&mut by_line, names);
            let mut pages = Vec::new();
            for after in ["", "a", "b", "b1", "e", "f", "f1", "g", "y"] {
                let target = format!("GET /home/?limit={limit}&after={after}");
                let (_, heard) = http(&mut by_http, "anna", &target, "Accept: application/json\r\n", "");
                let shown = heard.split("\"name\":\"").skip(1).filter_map(|rest| rest.split('"').next());
                pages.push((shown.map(str::to_owned).collect::<Vec<_>>(), heard.contains("rel=\"next\"")));
                let (first, rest) = line(&mut by_line, "anna", &format!("LIST limit={limit} after={after} /home\n"));
                let shown = rest.lines().filter_map(|line| line.rsplit(' ').next());
                pages.push((shown.map(str::to_owned).collect(), first.contains("more=1")));
            }
            pages
        });
        assert_eq!(pages[0], pages[1], "{limit}");
        assert_eq!(pages[0][0].0, seen[..limit.min(7)]);
        assert_eq!(pages[0][0].1, limit < 7);
    }
}

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
                let differs = ["ETag: ", "Location: ../.filewharf", "Content-Length: "];
                let same = heard.lines().filter(|line| !differs.iter().any(|field| line.starts_with(field)));
                masked(&same.collect::<Vec<_>>().join("\n"), name)
            });
            assert!(answers.iter().all(|answer| *answer == answers[0]), "{method} {suffix} {fields}: {answers:#?}");
        }
    }
    assert_kept(&mut rig);
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

#[test]
fn a_rule_for_an_address_holds_there_only_and_a_size_bounds_one_upload() {
    let mut rig = rig(Kind::Http, "allow @ rcw /here max-size=4 from=127.0.0.2\nallow @ r / from=10.0.0.0/8\n");
    rig.place("here/f", b"here");
    let mut ask = |host: u8, request: &str| {
        let peer = rig.connect_from(host);
        rig.send(&peer, request.as_bytes());
        let heard = String::from_utf8_lossy(&peer.heard()).into_owned();
        rig.finish(&peer);
        heard.get(9..12).map(str::to_owned).unwrap_or_default()
    };
    assert_eq!(ask(2, "GET /here/f HTTP/1.1\r\nHost: x\r\n\r\n"), "200");
    assert_eq!(ask(3, "GET /here/f HTTP/1.1\r\nHost: x\r\n\r\n"), "401");
    assert_eq!(ask(2, "GET /there/f HTTP/1.1\r\nHost: x\r\n\r\n"), "401");
    assert_eq!(ask(2, "PUT /here/g HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nfour"), "201");
    assert_eq!(ask(2, "PUT /here/g HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nfives"), "413");
    let chunked = "PUT /here/g HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfives\r\n0\r\n\r\n";
    assert_eq!(ask(2, chunked), "413");
    assert_eq!(rig.file("here/g").as_deref(), Some(&b"four"[..]));
}

#[test]
fn wrong_credentials_are_refused_also_where_none_are_needed() {
    let mut rig = rig(Kind::Http, "allow @ r /\n");
    rig.place("f", b"x");
    for (value, status) in [
        (format!("Bearer anna{TOKEN}"), 200),
        ("Basic OmFubmEtcy10b2tlbg==".to_owned(), 200),
        ("Bearer nonsense".to_owned(), 401),
        ("Basic nonsense".to_owned(), 401),
        ("Digest nonsense".to_owned(), 401),
        (String::new(), 401),
    ] {
        let heard = http(&mut rig, "", "GET /f", &format!("Authorization: {value}\r\n"), "");
        assert_eq!(heard.0, status, "{value}");
        assert_eq!(heard.1.contains("WWW-Authenticate: "), status == 401, "{}", heard.1);
    }
    assert_eq!(http(&mut rig, "", "GET /.filewharf/health", "", "").0, 200);
    assert_eq!(http(&mut rig, "", "GET /.filewharf/metrics", "", "").0, 200);
    rig.replace_rules(crate::access::rules(&["anna"], "allow anna r /\nallow @ r /pub"));
    assert_eq!(http(&mut rig, "", "GET /.filewharf/metrics", "", "").0, 401);
    assert_eq!(http(&mut rig, "anna", "GET /.filewharf/metrics", "", "").0, 200);
    assert_eq!(http(&mut rig, "", "GET /.filewharf/health", "", "").0, 200);
}

#[test]
fn a_proof_holds_for_one_request_over_http_and_for_the_connection_in_line() {
    let mut rig = rig(Kind::Http, "allow anna r /\n");
    rig.place("f", b"secret");
    let peer = rig.connect();
    let get = |proof: &str| format!("GET /f HTTP/1.1\r\nHost: x\r\n{proof}\r\n");
    let proof = format!("Authorization: Bearer anna{TOKEN}\r\n");
    rig.send(&peer, [get(&proof), get(""), get(&proof), get("")].concat().as_bytes());
    let heard = String::from_utf8_lossy(&peer.heard()).into_owned();
    let statuses: Vec<_> = heard.match_indices("HTTP/1.1 ").map(|(at, _)| &heard[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["200", "401", "200", "401"]);
    let mut rig = crate::access::rig(Kind::Line, "allow anna r /\n");
    rig.place("f", b"secret");
    let peer = rig.connect();
    rig.send(&peer, format!("GET /f\nAUTH anna{TOKEN}\nGET /f\nGET /f\n").as_bytes());
    let heard = String::from_utf8_lossy(&peer.heard()).into_owned();
    assert!(
        heard.starts_with("ERR 401 ") && heard.matches("secretOK").count() == 1 && heard.ends_with("secret"),
        "{heard}"
    );
}

#[test]
fn a_certificate_proves_a_name_in_every_dialect_until_the_request_proves_another() {
    let entries = format!("cert box sha256:{}\nallow box r /f\nallow anna r /g\nallow @ r /h\n", "07".repeat(32));
    for kind in [Kind::Line, Kind::Http, Kind::LengthPrefix] {
        let mut rig = rig(kind, &entries);
        for key in ["f", "g", "h"] {
            rig.place(key, format!("content of {key}").as_bytes());
        }
        let mut sees = |certificate: Option<u8>, key: &str, proof: bool| {
            let peer = rig.connect();
            if let Some(byte) = certificate {
                peer.shows_certificate([byte; 32], u64::MAX);
            }
            let get = format!("GET /{key}");
            let proves = |text: String| if proof { text } else { String::new() };
            let says = match kind {
                Kind::Line => format!("{}{get}\n", proves(format!("AUTH anna{TOKEN}\n"))),
                Kind::Http => {
                    let proof = proves(format!("Authorization: Bearer anna{TOKEN}\r\n"));
                    format!("{get} HTTP/1.1\r\nHost: x\r\n{proof}\r\n")
                }
                _ => {
                    format!("{}{:<64}{get}", proves(format!("{:<64}AUTH anna{TOKEN}", 12 + TOKEN.len() - 3)), get.len())
                }
            };
            rig.send(&peer, says.as_bytes());
            let heard = String::from_utf8_lossy(&peer.heard()).into_owned();
            rig.finish(&peer);
            heard.contains(&format!("content of {key}"))
        };
        for (certificate, proof, seen) in [
            (None, false, "h"),
            (Some(7), false, "fh"),
            (Some(8), false, "h"),
            (Some(7), true, "gh"),
            (None, true, "gh"),
        ] {
            for key in ["f", "g", "h"] {
                assert_eq!(sees(certificate, key, proof), seen.contains(key), "{kind:?} {certificate:?} {key} {proof}");
            }
        }
    }
}

#[test]
fn the_rights_of_a_certificate_end_with_it_also_on_a_connection_that_stays_open() {
    let entries = format!("cert box sha256:{}\nallow box r /f\n", "07".repeat(32));
    for kind in [Kind::Line, Kind::Http] {
        let mut rig = rig(kind, &entries);
        rig.place("f", b"content");
        let get = if kind == Kind::Line { "GET /f\n" } else { "GET /f HTTP/1.1\r\nHost: x\r\n\r\n" };
        for (expires_s, sees) in [(STARTED_S + 3, true), (STARTED_S, false), (0, false)] {
            let peer = rig.connect();
            peer.shows_certificate([7; 32], expires_s);
            rig.send(&peer, get.as_bytes());
            assert_eq!(peer.heard().ends_with(b"content"), sees, "{kind:?} {expires_s}");
        }
        // The clock of the rig stands still, so the end comes to it.
        let open = rig.connect();
        for left_s in [2, 1, 0, 0] {
            open.shows_certificate([7; 32], STARTED_S + left_s);
            rig.send(&open, get.as_bytes());
            assert_eq!(open.heard().ends_with(b"content"), left_s > 0, "{kind:?}");
        }
    }
}

#[test]
fn a_file_is_not_moved_to_where_it_could_not_be_uploaded() {
    let mut rig = rig(
        Kind::Line,
        "allow anna rlcwd /in\nallow anna rlcwd /small max-size=4\nallow anna rlcwd /tiny max-size=2\n\
         allow anna rld /read\nallow anna rlcwd /large max-size=100\n",
    );
    for dir in ["in", "read", "large", "small"] {
        rig.place(&format!("{dir}/four"), b"four");
        rig.place(&format!("{dir}/five"), b"fives");
        rig.place(&format!("{dir}/dir/five"), b"fives");
    }
    let mut to = |from: &str, to: &str| line(&mut rig, "anna", &format!("RENAME {from}\t{to}\n")).0;
    for dir in ["in", "read", "large"] {
        assert!(to(&format!("/{dir}/five"), "/small/f").starts_with("ERR 413 "), "{dir}");
        assert!(to(&format!("/{dir}/dir"), "/small/d").starts_with("ERR 409 "), "{dir}");
        assert!(to(&format!("/{dir}/four"), "/tiny/f").starts_with("ERR 413 "), "{dir}");
        assert_eq!(to(&format!("/{dir}/four"), &format!("/small/four-{dir}")), "OK 0");
    }
    assert!(to("/small/four", "/tiny/f").starts_with("ERR 413 "));
    // What others have stored there may be larger, and stays under its prefix.
    assert_eq!(to("/small/five", "/small/other"), "OK 0");
    assert_eq!(to("/small/dir", "/small/elsewhere"), "OK 0");
    assert_eq!(to("/small/other", "/in/back"), "OK 0");
    assert!(to("/in/back", "/small/other").starts_with("ERR 413 "));
}

#[test]
fn no_answer_tells_a_name_with_rules_for_others_from_one_that_does_not_exist() {
    let rules = "allow anna rlcwd /\nallow anna l /names\nallow anna r /closed\nallow bob rlcwd /bob\n\
        allow bob rlcwd /names/bob\nallow bob rlcwd /closed/bob\nallow bob - /bob/deep\n\
        allow ci rl /ci\nallow anna rl /ci/anna\n";
    for kind in [Kind::Line, Kind::Http] {
        let mut rig = rig(kind, rules);
        for key in ["bob/f", "names/bob/f", "closed/bob/f", "bob/deep/f", "ci/f"] {
            rig.place(key, b"x");
        }
        let mut told = |name: &str, method: &str, path: &str| match kind {
            Kind::Line => line(&mut rig, name, &format!("{method} {path}\n")).0.get(..7).unwrap_or_default().to_owned(),
            _ => http(&mut rig, name, &format!("{method} {path}"), "", "").0.to_string(),
        };
        let methods: &[&str] =
            if kind == Kind::Line { &["GET", "STAT", "LIST", "DELETE"] } else { &["GET", "HEAD", "DELETE"] };
        for dir in ["", "/names", "/closed"] {
            for beneath in ["", "/", "/f", "/deep", "/deep/f", "/none/x/"] {
                for method in methods {
                    let [there, not_there] =
                        ["bob", "nobody"].map(|name| told("anna", method, &format!("{dir}/{name}{beneath}")));
                    assert_eq!(there, not_there, "{kind:?} {method} {dir}/bob{beneath}");
                }
            }
        }
        if kind == Kind::Line {
            assert_eq!(told("anna", "RENAME", "/bob/f\t/g"), told("anna", "RENAME", "/nobody/f\t/g"));
        }
        assert!(told("anna", "GET", "/bob/f").contains("404"));
        assert!(told("ci", "GET", "/bob/f").contains("403"), "it may do nothing above");
        assert!(told("", "GET", "/bob/f").contains("401"), "so that it can log in");
    }
}

#[test]
fn an_upload_is_not_joined_from_those_of_another() {
    let mut rig = rig(Kind::Http, "allow anna rlcw /a\nallow bob rlcw /b\n");
    let tus = "Tus-Resumable: 1.0.0\r\n";
    let partial = format!(
        "{tus}Upload-Length: 4\r\nUpload-Concat: partial\r\nContent-Type: application/offset+octet-stream\r\nContent-Length: 4\r\n"
    );
    let make = |rig: &mut Rig, name: &str, path: &str| {
        let (status, heard) = http(rig, name, &format!("POST {path}"), &partial, "part");
        assert_eq!(status, 201, "{heard}");
        heard.split("uploads/").nth(1).and_then(|rest| rest.get(..32)).expect("an id").to_owned()
    };
    let (of_anna, of_bob) = (make(&mut rig, "anna", "/a/x"), make(&mut rig, "bob", "/b/x"));
    let join = |rig: &mut Rig, ids: &[&str]| {
        let ids: Vec<_> = ids.iter().map(|id| format!("/.filewharf/uploads/{id}")).collect();
        http(rig, "bob", "POST /b/whole", &format!("{tus}Upload-Concat: final;{}\r\n", ids.join(" ")), "").0
    };
    assert_eq!(join(&mut rig, &[&of_bob, &of_anna]), 403);
    assert_eq!(join(&mut rig, &[&of_anna]), 403);
    let unknown = "0123456789abcdef".repeat(2);
    assert_eq!(join(&mut rig, &[&of_bob, &unknown]), 409);
    assert!(rig.names().is_empty(), "{:?}", rig.names());
    assert_eq!(join(&mut rig, &[&of_bob, &unknown, &of_bob]), 400, "the same part twice");
    let other = make(&mut rig, "bob", "/b/y");
    assert_eq!(join(&mut rig, &[&of_bob, &other]), 201);
    assert_eq!(rig.file("b/whole").as_deref(), Some(&b"partpart"[..]));
}

#[test]
fn an_upload_to_a_directory_without_its_slash_needs_the_rights_of_its_final_name() {
    let allows = "allow anna cl /\nallow bob l /d/\nallow anna cl /d/\nallow bob cl /d/b.txt/\nallow @ c /drop/\n";
    let mut rig = rig(Kind::Http, allows);
    for name in ["d/x", "drop/x"] {
        rig.place(name, b"");
    }
    let mut post = |name: &str, dir: &str, file: &str| {
        let fields = "Tus-Resumable: 1.0.0\r\nUpload-Length: 0\r\n";
        http(&mut rig, name, &format!("POST {dir}"), &format!("{fields}Upload-Metadata: filename {file}\r\n"), "").0
    };
    // a.txt, x, b.txt
    for (name, dir, file, status) in [
        ("anna", "/d", "YS50eHQ=", 201),
        ("anna", "/d", "eA==", 412),
        ("bob", "/d", "YS50eHQ=", 403),
        ("bob", "/d", "Yi50eHQ=", 201),
        ("", "/d", "Yy50eHQ=", 401),
        ("", "/drop", "YS50eHQ=", 201),
        ("", "/other", "YS50eHQ=", 401),
    ] {
        assert_eq!(post(name, dir, file), status, "{name} {dir} {file}");
    }
    let listed = http(&mut rig, "bob", "GET /d/", "Accept: application/x-ndjson\r\n", "").1;
    let names: Vec<_> = listed.matches("\"name\":\"").collect();
    assert_eq!(names.len(), 3, "{listed}");
}
