//! The line of a request as text, in the combined format of NCSA, and in the JSON of Caddy: what it was, which client asked for
//! it, what became of it; nothing that is secret, and nothing that a client could forge.

use std::sync::Arc;

use filewharf::access::link::Link;
use filewharf::access::{Access, Rights, file};
use filewharf::config::{Limits, LogFormat};
use filewharf::dialect::{Kind, Listening};
use filewharf::object::Key;
use sha2::{Digest as _, Sha256};

use super::whole_lines;
use support::rig::{Mode, Rig};

const FORMATS: [LogFormat; 3] = [LogFormat::Text, LogFormat::Combined, LogFormat::Json];
const TOKEN: &str = "S3CRET-of-anna";
/// When the clock of the rig stands still.
const DATE: &str = "14/Nov/2023:22:13:20 +0000";
const TS: &str = "1700000000.000";

/// A server that anna has a token for; `k` signs links.
fn served(kind: Kind, options: &[(&str, &str)]) -> Rig {
    let digest: String = Sha256::digest(TOKEN).iter().map(|byte| format!("{byte:02x}")).collect();
    let key = "key k base64:AAAAAAAAAAAAAAAAAAAAAA==";
    let text = format!("token anna sha256:{digest}\n{key}\nallow anna rlcwd /\nallow @ rl /\n");
    let rules = file::parse(&text).unwrap_or_else(|error| panic!("{error}"));
    let options: Vec<_> = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let listening = Listening::new(kind, &options, 0).expect("good options");
    Rig::speaking(listening, Mode::PLAIN, Limits::default(), Access::with_rules(Arc::new(rules), false))
}

/// The lines of what one client says.
fn logged(rig: &mut Rig, format: LogFormat, says: &[u8]) -> Vec<String> {
    rig.logs_as(format);
    let peer = rig.connect();
    let _ = whole_lines();
    rig.send(&peer, says);
    rig.finish(&peer);
    whole_lines()
}

fn request(line: &str, fields: &str) -> Vec<u8> {
    format!("{line} HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n").into_bytes()
}

#[test]
fn a_request_of_http_has_its_method_status_user_and_agent_in_each_format() {
    let mut rig = served(Kind::Http, &[]);
    rig.place("a b", b"content");
    let fields = format!("User-Agent: curl/8\r\nAuthorization: Bearer {TOKEN}\r\n");
    let get = request("GET /a%20b?x=1", &fields);
    let text =
        "get peer=127.0.0.1:50851 user=anna key=\"/a b\" bytes=7 result=ok ms=0 method=GET status=200 agent=\"curl/8\"";
    let combined = format!("127.0.0.1 - anna [{DATE}] \"GET /a%20b HTTP/1.1\" 200 7 \"-\" \"curl/8\"");
    let json = format!(
        "{{\"level\":\"info\",\"ts\":{TS},\"logger\":\"http.log.access\",\"msg\":\"handled request\",\
         \"request\":{{\"remote_ip\":\"127.0.0.1\",\"remote_port\":\"50851\",\"client_ip\":\"127.0.0.1\",\
         \"proto\":\"HTTP/1.1\",\"method\":\"GET\",\"host\":\"a.example\",\"uri\":\"/a%20b\",\
         \"headers\":{{\"User-Agent\":[\"curl/8\"]}}}},\"user_id\":\"anna\",\"duration\":0.000000,\"size\":7,\"status\":200}}"
    );
    for (format, line) in FORMATS.into_iter().zip([text, &combined, &json]) {
        assert_eq!(logged(&mut rig, format, &get), [line]);
    }
}

/// `METHOD PATH PROTOCOL`, status, bytes and agent of each line as combined.
fn parts(rig: &mut Rig, says: &[u8]) -> Vec<String> {
    let lines = logged(rig, LogFormat::Combined, says);
    lines.iter().map(|line| line.split_once("] ").expect("a date").1.replace(" \"-\" ", " ")).collect()
}

#[test]
fn requests_that_the_store_does_not_see_have_a_line_too() {
    let mut rig = served(Kind::Http, &[("path-prefix", "/p")]);
    rig.place("d/x", b"");
    for (says, line) in [
        (request("HEAD /.filewharf/health", ""), "\"HEAD /.filewharf/health HTTP/1.1\" 200 0 \"\""),
        (request("OPTIONS /p/", ""), "\"OPTIONS /p/ HTTP/1.1\" 204 0 \"\""),
        (request("GET /p?x", ""), "\"GET /p/ HTTP/1.1\" 301 0 \"\""),
        (request("GET /other", ""), "\"GET /other HTTP/1.1\" 404 0 \"\""),
        (request("GET /p/d/x", "Authorization: Bearer wrong\r\n"), "\"GET /p/d/x HTTP/1.1\" 401 0 \"\""),
        (request("PATCH /p/x", ""), "\"PATCH /p/x HTTP/1.1\" 405 0 \"\""),
        (request("GET /p/\x7f", ""), "\"-\" 400 0 \"http\""),
        (b"GET /p/d/x HTTP/1.0\r\n\r\n".to_vec(), "\"GET /p/d/x HTTP/1.0\" 200 0 \"\""),
        (request("PUT /p/new", "Content-Length: 9\r\n"), "\"PUT /p/new HTTP/1.1\" 401 0 \"\""),
    ] {
        assert_eq!(parts(&mut rig, &says), [line], "{}", says.escape_ascii());
    }
    assert_eq!(rig.counters().requests.iter().sum::<u64>(), 1, "they are counted as before");
}

#[test]
fn requests_of_other_dialects_are_written_as_those_of_http_with_the_same_outcome() {
    let mut rig = Rig::new(Mode::PLAIN, Limits::default(), Access::default());
    let says = b"PUT 3 /a b\nabcGET /a b\nLIST /\nSTAT /a b\nMKDIR /d\nCOPY /a b\t/c\nRENAME /c\t/d/c\nDELETE /d/c\nGET /no\nPING\nX\n";
    let lines = [
        "\"PUT /a%20b HTTP/1.1\" 201 3 \"line\"",
        "\"GET /a%20b HTTP/1.1\" 200 3 \"line\"",
        "\"GET / HTTP/1.1\" 200 0 \"line\"",
        "\"HEAD /a%20b HTTP/1.1\" 200 0 \"line\"",
        "\"MKCOL /d HTTP/1.1\" 201 0 \"line\"",
        "\"COPY /a%20b HTTP/1.1\" 201 0 \"line\"",
        "\"MOVE /c HTTP/1.1\" 201 0 \"line\"",
        "\"DELETE /d/c HTTP/1.1\" 204 0 \"line\"",
        "\"GET /no HTTP/1.1\" 404 0 \"line\"",
        "\"-\" 400 0 \"line\"",
    ];
    assert_eq!(parts(&mut rig, says), lines);
    let json = logged(&mut rig, LogFormat::Json, b"GET /a b\n").concat();
    let wanted =
        "\"method\":\"GET\",\"host\":\"\",\"uri\":\"/a%20b\",\"headers\":{\"User-Agent\":[\"line\"]}},\"user_id\":\"\"";
    assert!(json.contains(wanted) && !json.contains("proto"), "{json}");
}

#[cfg(feature = "page")]
#[test]
fn a_form_with_several_files_is_one_request() {
    let listening = Listening::new(Kind::Http, &[], 0).expect("no options");
    let mut rig = Rig::speaking(listening, Mode::PLAIN, Limits::default(), Access::default());
    let file = |name: &str| {
        format!("--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n{name}\r\n")
    };
    let form = |names: [&str; 2]| {
        let body = names.map(file).concat() + "--edge--\r\n";
        let fields = format!(
            "Sec-Fetch-Site: same-origin\r\nContent-Type: multipart/form-data; boundary=edge\r\nContent-Length: {}\r\n",
            body.len()
        );
        [request("POST /d/", &fields), body.into_bytes()].concat()
    };
    assert_eq!(parts(&mut rig, &form(["a", "bb"])), ["\"POST /d/ HTTP/1.1\" 303 3 \"\""]);
    let names: Vec<_> = logged(&mut rig, LogFormat::Text, &form(["c", "dd"]))
        .iter()
        .map(|line| line.split(" result=").next().unwrap_or_default().to_owned())
        .collect();
    let wanted = ["/d/c\" bytes=1", "/d/dd\" bytes=2"].map(|name| format!("put peer=127.0.0.1:50851 key=\"{name}"));
    assert_eq!(names, wanted);
}

#[test]
fn no_query_and_nothing_secret_is_written() {
    let upload = "00112233445566778899aabbccddeeff";
    let link = Link { key_id: "k".into(), expires_s: 1 << 40, rights: Rights::READ, prefix: Key::root().child("f") }
        .sign(&[0; 16]);
    let secrets = ["S3CRET", &link, "4455667788"];
    for format in FORMATS {
        let mut rig = served(Kind::Auto, &[]);
        rig.place("f", b"content");
        let basic = "Authorization: Basic YW5uYTpTM0NSRVQ=\r\n";
        let mut lines = Vec::new();
        for says in [
            request(&format!("GET /f?fw={link}"), "Referer: http://a.example/?fw=S3CRET\r\n"),
            request(&format!("GET /f?fw={link}S3CRET"), ""),
            request("GET /f?x=S3CRET", &format!("Authorization: Bearer {TOKEN}\r\nCookie: S3CRET\r\n")),
            request("GET /f", basic),
            request(&format!("HEAD /.filewharf/uploads/{upload}"), "Tus-Resumable: 1.0.0\r\n"),
            request(&format!("GET /%2Efilewharf/uploads/{upload}"), ""),
            request("MOVE /f?S3CRET", "Destination: http://a.example/g?S3CRET\r\n"),
            format!("AUTH {TOKEN}\nGET /f\nAUTH S3CRET\n").into_bytes(),
            format!("PUT resume={upload} if-differs=1 3 /n\nSTAT resume={upload} /n\n").into_bytes(),
        ] {
            let found = logged(&mut rig, format, &says);
            assert!(!found.is_empty(), "{}", says.escape_ascii());
            lines.extend(found);
        }
        assert!(lines.iter().any(|line| line.contains("anna")), "{lines:?}");
        for line in lines {
            assert!(secrets.iter().all(|secret| !line.contains(secret)), "{line}");
        }
    }
}

#[test]
fn a_client_can_neither_end_a_line_nor_forge_a_field() {
    let agents: [&[u8]; 6] = [
        b"a\" 200 0 \"-\" \"b",
        b"a\\",
        "\u{202e}\u{85}\u{9b}31m".as_bytes(),
        b"\xff\x9b",
        b"\",\"status\":200,\"",
        "é".as_bytes(),
    ];
    let names = ["a\"b", "a\\", "\u{202e}x", "x result=ok", "é\u{85}"];
    for format in FORMATS {
        let mut rig = served(Kind::Auto, &[]);
        for agent in agents {
            let fields = [b"User-Agent: ", agent, b"\r\n"].concat();
            let says = [&b"GET /x HTTP/1.1\r\nHost: a.example\r\n"[..], &fields, b"\r\n"].concat();
            for line in logged(&mut rig, format, &says) {
                check(format, &line, "404");
            }
        }
        for name in names {
            let escaped: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let raw = request(&format!("GET /{}", name.replace(' ', "%20")), "");
            for says in [raw, request(&format!("GET /{escaped}"), ""), format!("GET /{name}\n").into_bytes()] {
                for line in logged(&mut rig, format, &says) {
                    check(format, &line, if line.contains("\"-\" 400") { "400" } else { "40" });
                }
            }
        }
    }
}

/// One line with as many quotes as its format has, and this status.
#[track_caller]
fn check(format: LogFormat, line: &str, status: &str) {
    let steers = |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    assert!(!line.contains(steers), "{line:?}");
    let outside = line.replace("\\\\", "").replace("\\\"", "");
    let quoted: Vec<_> = outside.split('"').skip(1).step_by(2).collect();
    let bare: Vec<_> = outside.split('"').step_by(2).collect();
    match format {
        LogFormat::Text => {
            assert_eq!(quoted.len(), 4, "key, told, cause and agent: {line}");
            assert!(bare.concat().contains(&format!(" status={status}")), "{line}");
        }
        LogFormat::Combined => {
            assert!(line.is_ascii() && quoted.len() == 3, "{line}");
            assert!(
                bare[1].starts_with(&format!(" {status}")) && !line.contains('\\') || line.contains("\\x"),
                "{line}"
            );
        }
        LogFormat::Json => {
            assert_eq!(outside.matches("\"status\":").count(), 1, "{line}");
            assert!(outside.contains(&format!("\"status\":{status}")), "{line}");
        }
    }
}

#[test]
fn a_proxy_and_its_client_are_told_apart_in_json() {
    let mut rig = served(Kind::Http, &[("trust", "127.0.0.1")]);
    let get = request("GET /x", "X-Forwarded-For: 192.0.2.7\r\n");
    let json = logged(&mut rig, LogFormat::Json, &get).concat();
    assert!(json.contains("\"remote_ip\":\"127.0.0.1\"") && json.contains("\"client_ip\":\"192.0.2.7\""), "{json}");
    assert!(logged(&mut rig, LogFormat::Combined, &get).concat().starts_with("192.0.2.7 - - ["));
}
