//! Names that are spelled to escape a rule, directories that are moved, and listings of a directory above.

use crate::access::{http, line, rig};
use filewharf::dialect::Kind;
use support::rig::Rig;

const SECRET: &str = "what only anna may know";

/// Anybody may do everything, but for anna's directory.
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
                let under = format!("{}/", &folder[1..]);
                let under = rig.names().into_iter().filter(|name| name.starts_with(&under)).count();
                assert_eq!(under, 1, "{path:?}");
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
    // What has no rules under it moves.
    let mut rig = rig(Kind::Line, RULES);
    rig.place("open/f", b"open");
    assert_eq!(line(&mut rig, "", "RENAME /open\t/elsewhere\n").0, "OK 0");
    // A directory above one's own rule may not be made readable by moving it.
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
            for under in ["", "/", "/f", "/deep", "/deep/f", "/none/x/"] {
                for method in methods {
                    let [there, not_there] =
                        ["bob", "nobody"].map(|name| told("anna", method, &format!("{dir}/{name}{under}")));
                    assert_eq!(there, not_there, "{kind:?} {method} {dir}/bob{under}");
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
fn an_upload_is_not_concatenated_from_those_of_another() {
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

#[test]
fn a_recursive_listing_has_nothing_that_a_listing_of_each_directory_has_not() {
    const TREE_RULES: &str = "allow @ rl /\nallow anna rl /shut\nallow anna rl /a/shut\nallow @ c /drop\n\
        allow bob rl /shut/bob\nallow @ r /read\n";
    let files = ["a/f", "a/shut/f", "drop/f", "shut/f", "shut/bob/f", "read/f", "z"];
    let of = |name: &str| {
        let mut by_line = rig(Kind::Line, TREE_RULES);
        files.iter().for_each(|file| by_line.place(file, b"x"));
        let mut found: Option<Vec<String>> = None;
        for limit in 1..14 {
            let (mut names, mut after) = (Vec::new(), String::new());
            loop {
                let (first, rest) = line(&mut by_line, name, &format!("LIST recursive=1 limit={limit}{after} /\n"));
                assert!(first.starts_with("OK "), "{first}");
                names.extend(rest.lines().filter_map(|line| Some(line.splitn(4, ' ').nth(3)?.to_owned())));
                if !first.contains("more=1") {
                    break;
                }
                after = format!(" after={}", names.last().expect("a page with more has a name"));
            }
            assert_eq!(*found.get_or_insert(names.clone()), names, "{name} {limit}");
        }
        found.expect("some").join(" ")
    };
    assert_eq!(of(""), "a/ a/f drop/ read/ z");
    assert_eq!(of("anna"), "a/ a/f a/shut/ a/shut/f drop/ read/ shut/ shut/f z");
    assert_eq!(of("bob"), "a/ a/f drop/ read/ shut/ shut/bob/ shut/bob/f z");
}

#[cfg(feature = "archives")]
#[test]
fn no_archive_has_a_hidden_name_or_a_file_that_the_caller_may_not_read() {
    const TREE_RULES: &str = "allow @ rl /\nallow anna rl /shut\nallow anna rl /a/shut\nallow @ c /drop\n\
        allow bob rl /shut/bob\nallow @ l /named\n";
    let files = ["a/f", "a/shut/f", "drop/f", "shut/f", "shut/bob/f", "named/f", "z"];
    let mut by_http = rig(Kind::Http, TREE_RULES);
    files.iter().for_each(|file| by_http.place(file, SECRET.as_bytes()));
    let mut names = |name: &str, kind: &str, dir: &str| {
        let (code, body) = http(&mut by_http, name, &format!("GET {dir}?archive={kind}"), "", "");
        let found: Vec<&str> = files.into_iter().filter(|file| body.contains(&format!("{file}\0"))).collect();
        (code, found.join(" "), body.matches(SECRET).count())
    };
    assert_eq!(names("", "tar", "/"), (200, "a/f z".to_owned(), 2));
    assert_eq!(names("anna", "tar", "/"), (200, "a/f a/shut/f shut/f z".to_owned(), 4));
    assert_eq!(names("bob", "tar", "/"), (200, "a/f shut/bob/f z".to_owned(), 3));
    for (name, dir, count) in [("", "/", 2), ("anna", "/", 4), ("bob", "/", 3), ("bob", "/shut/", 1)] {
        assert_eq!(names(name, "zip", dir).2, count, "{name} {dir}");
    }
    for (dir, code) in [("/shut/", 401), ("/a/shut/", 401), ("/drop/", 401)] {
        assert_eq!(names("", "tar", dir).0, code, "{dir}");
    }
    assert_eq!(names("bob", "tar", "/a/shut/").0, 404);
}
