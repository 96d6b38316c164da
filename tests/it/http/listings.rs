//! Directories over HTTP: whole for programs that follow links, page by page for people and JSON.

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};
use filewharf::server::Ceiling;

use super::{Response, heard, server};
use support::rig::{Damage, Mode, Rig};

const FILES: usize = 2300;

/// A server with slots that hold about this much of a reply, and a directory that needs many of them.
fn many(chunk_bytes: usize) -> Rig {
    let mut rig = server(Limits::default().with(|l| l.fixed.chunk_bytes = chunk_bytes));
    for n in 0..FILES {
        rig.place(&format!("many/a name & <{n:05}>"), b"");
    }
    rig
}

/// A server with clients that have small receive buffers.
fn slow_reader(limits: Limits) -> Rig {
    let listening = Listening::new(Kind::Http, &[], 0).expect("no options");
    Rig::speaking(listening, Mode { window: 1000, ..Mode::PLAIN }, limits, Access::default())
}

/// The chunks of a response, each as long as it says, the last one empty.
fn chunks(mut body: &str) -> Vec<&str> {
    let mut chunks = Vec::new();
    loop {
        let (len, rest) = body.split_once("\r\n").expect("a length");
        let (content, rest) = rest.split_at(usize::from_str_radix(len, 16).expect("in hexadecimal"));
        body = rest.strip_prefix("\r\n").expect("the end of a chunk");
        if content.is_empty() {
            assert_eq!(body, "", "nothing is after the last chunk");
            return chunks;
        }
        chunks.push(content);
    }
}

fn unchunked(body: &str) -> String {
    chunks(body).concat()
}

fn link(n: usize) -> String {
    format!("href=\"a%20name%20&%20%3C{n:05}%3E\"").replace("%20&%20", "%20%26%20")
}

#[test]
fn a_client_that_names_no_form_gets_a_complete_index_with_names_in_full() {
    for accept in ["", "Accept: */*\r\n"] {
        let reply = heard(&mut many(64 * 1024), format!("GET /many/ HTTP/1.1\r\nHost: x\r\n{accept}\r\n"));
        let response = Response::new(&reply);
        assert_eq!(response.field("Transfer-Encoding"), Some("chunked"));
        assert_eq!(response.field("Content-Type"), Some("text/html; charset=utf-8"));
        let content = unchunked(&response.body);
        for n in 0..FILES {
            assert!(
                content.contains(&link(n)) && content.contains(&format!(">a name &amp; &lt;{n:05}&gt;</a> ")),
                "{n}"
            );
        }
        assert_eq!(content.matches("<a ").count(), FILES + 1, "and the folder above");
        assert!(content.ends_with("</html>\n"));
    }
}

#[test]
fn an_index_for_an_old_client_ends_with_the_connection() {
    let reply = heard(&mut many(64 * 1024), "GET /many/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let response = Response::new(&reply);
    assert_eq!((response.field("Connection"), response.field("Transfer-Encoding")), (Some("close"), None));
    assert_eq!(response.body.matches("<a ").count(), FILES + 1);
    assert!(response.body.ends_with("</html>\n"));
}

#[test]
fn the_answer_to_head_is_the_head_of_the_index_and_the_connection_stays() {
    let ask = "HEAD /many/ HTTP/1.1\r\nHost: x\r\n\r\nGET /f HTTP/1.1\r\nHost: x\r\n\r\n";
    let reply = heard(&mut many(64 * 1024), ask);
    let response = Response::new(&reply);
    assert_eq!(response.field("Transfer-Encoding"), Some("chunked"));
    assert!(response.body.starts_with("HTTP/1.1 200 OK") && response.body.ends_with("0123456789"));
}

#[test]
fn a_page_has_as_many_names_as_are_asked_for_up_to_a_thousand() {
    for (query, names) in [("", 200), ("?limit=5", 5), ("?limit=700", 700), ("?limit=5000", 1000)] {
        let ask = format!("GET /many/{query} HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n");
        let reply = heard(&mut many(64 * 1024), ask);
        let response = Response::new(&reply);
        let content =
            if response.field("Transfer-Encoding").is_some() { unchunked(&response.body) } else { response.body };
        assert_eq!(content.matches("<tr data-").count(), names, "{query}");
        let limit = if query.is_empty() { 200 } else { names };
        let next =
            format!("?sort=name&amp;after=f0%2Fa%20name%20%26%20%3C{:05}%3E&amp;limit={limit}\">More names", names - 1);
        assert!(content.contains(&next), "{query}: it leads to the next page");
    }
}

#[test]
fn a_page_of_long_names_comes_in_chunks_that_fit_into_a_slot() {
    let limits = Limits::default();
    let slot_bytes = limits.fixed.chunk_bytes * limits.fixed.chunks_per_slot;
    let mut rig = server(limits);
    for n in 0..200 {
        rig.place(&format!("d/{n:03}{}", "\"".repeat(250)), b"");
    }
    let reply = heard(&mut rig, "GET /d/ HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n");
    let response = Response::new(&reply);
    let chunks = chunks(&response.body);
    let content = chunks.concat();
    assert_eq!(content.matches("<tr data-").count(), 200);
    assert!(chunks.iter().all(|chunk| chunk.len() <= slot_bytes));
    assert!(chunks.len() <= 2 * content.len().div_ceil(slot_bytes), "{} chunks", chunks.len());
}

#[test]
fn where_a_reply_in_one_piece_continues_is_said_in_its_head() {
    let mut rig = many(64 * 1024);
    for (accept, limit, is_said) in [("text/html", 5, true), ("*/*", 5, true), ("*/*", FILES, false)] {
        let from = FILES - 10;
        let ask = format!(
            "GET /many/?limit={limit}&after=a%20name%20%26%20%3C{from:05}%3E HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n"
        );
        let response = Response::new(&heard(&mut rig, ask));
        let next = format!("<?after=a%20name%20%26%20%3C{:05}%3E&limit=5>; rel=\"next\"", from + 5);
        assert_eq!(response.field("Link"), is_said.then_some(&*next), "{accept} {limit}");
    }
}

#[test]
fn json_is_an_array_and_ndjson_has_an_object_a_line() {
    let mut rig = many(64 * 1024);
    for (accept, open, between, close) in
        [("application/json", "[{", "},\n{", "}]\n"), ("application/x-ndjson", "{", "}\n{", "}\n")]
    {
        let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n");
        let response = Response::new(&heard(&mut rig, ask("/many/?limit=3&after=a%20name%20%26%20%3C00006%3E")));
        assert_eq!(response.field("Content-Type"), Some(accept));
        assert_eq!(response.field("Link"), Some("<?after=a%20name%20%26%20%3C00009%3E&limit=3>; rel=\"next\""));
        let body = &response.body;
        assert!(body.starts_with(&format!("{open}\"name\":\"a name & <00007>\",\"type\":\"file\",")), "{body}");
        assert!(body.ends_with(close) && body.matches(between).count() == 2, "{body}");
    }
    let empty =
        Response::new(&heard(&mut rig, "GET /?after=z HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n\r\n"));
    assert_eq!(empty.body, "[]\n");
}

#[test]
fn a_failure_in_the_middle_of_an_index_does_not_look_like_its_end() {
    let mut rig = slow_reader(Limits::default());
    for n in 0..FILES {
        rig.place(&format!("many/{n:05}"), b"");
    }
    let peer = rig.connect();
    rig.send_unread(&peer, b"GET /many/ HTTP/1.1\r\nHost: x\r\n\r\n");
    rig.turn();
    rig.damage(Damage::Unreadable);
    for _ in 0..FILES {
        if !peer.is_gone() {
            rig.read(&peer, 1000);
        }
    }
    let reply = String::from_utf8(peer.heard()).expect("text");
    assert!(reply.starts_with("HTTP/1.1 200") && !reply.ends_with("0\r\n\r\n"));
    assert!(peer.is_reset(), "an old client would take a plain end for that of the index");
}

#[test]
fn a_client_that_does_not_read_an_index_is_closed_and_its_slot_released() {
    let mut rig = many(64 * 1024);
    let peer = rig.connect();
    rig.send_unread(&peer, b"GET /many/ HTTP/1.1\r\nHost: x\r\n\r\n");
    rig.pass(Limits::default().live.stall_timeout);
    if !peer.is_gone() {
        assert!(peer.heard().ends_with(b"0\r\n\r\n"), "it had room for all of it");
    }
    assert_eq!(rig.counters().slots_used, 0);
}

#[test]
fn between_two_parts_of_an_index_others_have_their_turn() {
    let mut rig = slow_reader(Limits::default().with(|l| l.fixed.slots = 1));
    for n in 0..FILES {
        rig.place(&format!("many/{n:05}"), b"");
    }
    let (walker, other) = (rig.connect(), rig.connect());
    rig.send_unread(&walker, b"GET /many/ HTTP/1.1\r\nHost: x\r\n\r\n");
    rig.turn();
    rig.send_unread(&other, b"GET /?limit=1 HTTP/1.1\r\nHost: x\r\n\r\n");
    rig.turn();
    assert!(other.heard().is_empty(), "the slot is taken");
    while other.heard().is_empty() {
        rig.read(&walker, 1000);
    }
    let names = String::from_utf8_lossy(&walker.heard()).matches("<a ").count();
    assert!(names < FILES / 2, "{names} names were sent first");
    for _ in 0..FILES {
        rig.read(&other, 1000);
        rig.read(&walker, 1000);
    }
    let reply = walker.heard();
    let reply = str::from_utf8(&reply).expect("text");
    assert_eq!(unchunked(&Response::new(reply).body).matches("<a ").count(), FILES + 1);
}

#[test]
fn a_reply_about_a_directory_takes_no_more_memory_than_its_slot() {
    let limits = Limits::default();
    let ceiling = Ceiling::of(&limits.fixed, false);
    for letter in ["\"", "&", "a"] {
        let mut rig = slow_reader(Limits::default());
        let mut slots = 0;
        for n in 0..1000 {
            rig.place(&format!("many/{}{n:04}", letter.repeat(250)), b"");
        }
        for accept in ["application/json", "application/x-ndjson", "text/html", "*/*"] {
            for query in ["", "?limit=1000"] {
                let peer = rig.connect();
                let ask = format!("GET /many/{query} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n");
                rig.send_unread(&peer, ask.as_bytes());
                rig.turn();
                slots += 1;
                let bytes = rig.content_bytes(&limits);
                assert!(bytes > 32 * 1024, "{bytes}: the reply waits");
                assert!(bytes <= slots * ceiling.slot, "{accept} {query} {letter}: {bytes} in {slots} slots");
            }
        }
    }
}

#[test]
fn a_sorted_and_filtered_listing_leads_through_all_its_pages_by_its_links() {
    let mut rig = server(Limits::default());
    for (name, len) in [("file-10", 1), ("File-2", 3), ("file-1", 2), ("other", 9), ("Sub-file/x", 1), ("zzz/x", 1)] {
        rig.place(&format!("d/{name}"), &vec![b'x'; len]);
    }
    for (query, total, want) in [
        ("sort=name", 6, "Sub-file zzz file-1 File-2 file-10 other"),
        ("order=desc", 6, "zzz Sub-file other file-10 File-2 file-1"),
        ("sort=size&order=asc", 6, "Sub-file zzz file-10 file-1 File-2 other"),
        ("sort=size&order=desc&filter=FILE", 4, "Sub-file File-2 file-1 file-10"),
        ("sort=mtime&filter=file-", 3, "file-1 File-2 file-10"),
        ("filter=file", 4, "File-2 Sub-file file-1 file-10"),
        ("filter=none", 0, ""),
    ] {
        for limit in [1, 2, 5, 100] {
            let (mut names, mut next) = (Vec::new(), Some(format!("?{query}&limit={limit}")));
            while let Some(query) = next {
                let ask = format!("GET /d/{query} HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\n\r\n");
                let response = Response::new(&heard(&mut rig, ask));
                assert_eq!(response.field("Filewharf-Total"), Some(&*total.to_string()), "{query}");
                let name = |line: &str| line.split('"').nth(3).map(str::to_owned);
                names.extend(response.body.lines().map(|line| name(line).expect("a name")));
                let link = response.field("Link");
                next = link.map(|link| link.trim_start_matches('<').split('>').next().expect("an address").to_owned());
            }
            assert_eq!(names.join(" "), want, "{query} {limit}");
        }
    }
    let ask = |after: &str| format!("GET /d/?sort=size&after={after} HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(Response::new(&heard(&mut rig, ask("file-1"))).code, 400, "that is no place in this order");
}

#[test]
fn a_query_that_a_directory_does_not_know_is_refused_and_not_answered_with_the_plain_list() {
    let mut rig = server(Limits::default());
    rig.place("d/a", b"");
    for method in ["GET", "HEAD"] {
        for accept in ["text/html", "*/*", "application/json"] {
            for (query, code) in [
                ("archive=tar", 200),
                ("search=x", 400),
                ("recursive", 200),
                ("Limit=1", 400),
                ("_=17", 200),
                ("fw=x&login=%2F", 200),
            ] {
                let head = format!("{method} /d/?{query} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n");
                let reply = heard(&mut rig, head);
                assert!(reply.starts_with(&format!("HTTP/1.1 {code} ")), "{query}: {reply}");
                let is_told = reply.contains("after=, limit=N");
                assert_eq!(is_told, code == 400 && method == "GET", "{query}: {reply}");
            }
        }
    }
}

#[test]
fn a_folder_with_an_index_is_a_page_where_the_operator_serves_html() {
    for is_served in [true, false] {
        let options = if is_served { &[("serve-html".to_owned(), String::new())][..] } else { &[] };
        let listening = Listening::new(Kind::Http, options, 0).expect("good options");
        let mut rig = Rig::speaking(listening, Mode::PLAIN, Limits::default(), Access::default());
        for name in ["site/index.html", "plain/a", "odd/index.html/a"] {
            rig.place(name, b"<p>Hello");
        }
        let mut ask = |target: &str, accept: &str| {
            let head = format!("GET {target} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n");
            let twice = [(); 2].map(|()| heard(&mut rig, &head));
            assert_eq!(twice[0], twice[1], "from the cache, too");
            Response::new(&twice[0])
        };
        for (target, accept, is_index) in [
            ("/site/", "text/html", true),
            ("/site/", "*/*", true),
            ("/site/?utm_source=a", "text/html", true),
            ("/site/", "application/json", false),
            ("/site/?limit=1000", "text/html", false),
            ("/site/?after=a", "*/*", false),
            ("/plain/", "text/html", false),
            ("/odd/", "text/html", false),
            ("/", "*/*", false),
        ] {
            let response = ask(target, accept);
            assert_eq!((response.code, response.body == "<p>Hello"), (200, is_index && is_served), "{target} {accept}");
            assert!(response.field("Vary").is_some(), "{target} {accept}: {}", response.head);
        }
        assert_eq!(ask("/none/", "text/html").code, 404);
        assert_eq!(ask("/site", "text/html").code, 301);
    }
}

/// A tree that takes many pages.
fn tree(chunk_bytes: usize) -> (Rig, Vec<String>) {
    let mut rig = server(Limits::default().with(|l| l.fixed.chunk_bytes = chunk_bytes));
    let mut names = Vec::new();
    for outer in 0..30 {
        names.push(format!("{outer:02}"));
        for inner in 0..40 {
            rig.place(&format!("tree/{outer:02}/a name <{inner:02}>"), b"x");
            names.push(format!("{outer:02}/a name <{inner:02}>"));
        }
    }
    (rig, names)
}

fn names_of(lines: &str) -> Vec<String> {
    let name =
        |line: &str| line.split_once("\"name\":\"").and_then(|(_, rest)| Some(rest.split_once('"')?.0.to_owned()));
    lines.lines().filter_map(name).collect()
}

#[test]
fn all_names_under_a_directory_come_as_lines_of_one_complete_reply() {
    for (version, accept) in [("1.1", "application/x-ndjson"), ("1.1", "*/*"), ("1.0", "application/x-ndjson")] {
        for query in ["recursive", "recursive=1", "v=1&recursive"] {
            let (mut rig, names) = tree(4096);
            let reply =
                heard(&mut rig, format!("GET /tree/?{query} HTTP/{version}\r\nHost: x\r\nAccept: {accept}\r\n\r\n"));
            let response = Response::new(&reply);
            assert_eq!(response.field("Content-Type"), Some("application/x-ndjson"));
            let content = if version == "1.0" { response.body } else { unchunked(&response.body) };
            assert_eq!(names_of(&content), names);
            assert!(content.contains("{\"name\":\"00\",\"type\":\"folder\"") && content.ends_with("}\n"));
        }
    }
}

#[test]
fn pages_of_all_names_under_a_directory_lead_to_the_next() {
    for accept in ["application/json", "application/x-ndjson"] {
        let (mut rig, names) = tree(64 * 1024);
        let (mut target, mut found) = ("/tree/?recursive&limit=37".to_owned(), Vec::new());
        loop {
            let reply = heard(&mut rig, format!("GET {target} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n"));
            let response = Response::new(&reply);
            assert_eq!(response.code, 200, "{reply}");
            found.extend(names_of(&response.body.replace(",\n", "\n")));
            let Some(link) = response.field("Link") else { break };
            let next = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\"")).expect("a link");
            target = format!("/tree/{next}");
        }
        assert_eq!(found, names, "{accept}");
    }
}

#[test]
fn a_recursive_listing_of_what_is_no_directory_is_refused_as_any_other() {
    for (target, code) in [("/f/?recursive", 404), ("/none/?recursive", 404), ("/?recursive&after=../x", 400)] {
        let reply = heard(&mut tree(4096).0, format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_eq!(Response::new(&reply).code, code, "{target} {reply}");
    }
}
