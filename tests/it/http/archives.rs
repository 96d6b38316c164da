//! A directory as one file: what is in it, where it is cut off, and what is refused before its first byte.

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};

use super::{Response, heard, server};
use support::rig::{Damage, Mode, Peer, Rig};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

fn rig_in(mode: Mode) -> Rig {
    Rig::speaking(Listening::new(Kind::Http, &[], 0).expect("no options"), mode, Limits::default(), Access::default())
}

/// What was heard, and the content of the chunks in it; `None` if the last one is missing.
fn archive_of(peer: &Peer) -> (String, Option<Vec<u8>>) {
    let heard = peer.heard();
    let at = heard.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    let head = String::from_utf8(heard[..at].to_vec()).expect("text");
    if !head.contains("chunked") {
        return (head, Some(heard[at..].to_vec()));
    }
    let (mut content, mut rest) = (Vec::new(), &heard[at..]);
    loop {
        let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else { return (head, None) };
        let len = usize::from_str_radix(std::str::from_utf8(&rest[..end]).expect("digits"), 16).expect("hexadecimal");
        rest = &rest[end + 2..];
        if rest.len() < len + 2 {
            return (head, None);
        }
        assert_eq!(&rest[len..len + 2], b"\r\n");
        content.extend_from_slice(&rest[..len]);
        rest = &rest[len + 2..];
        if len == 0 {
            assert!(rest.is_empty(), "nothing follows the last chunk");
            return (head, Some(content));
        }
    }
}

#[track_caller]
fn fetch(rig: &mut Rig, request: &str) -> Vec<u8> {
    let peer = rig.connect();
    rig.send(&peer, request.as_bytes());
    let (head, content) = archive_of(&peer);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    content.expect("a whole archive")
}

fn get(rig: &mut Rig, target: &str) -> Vec<u8> {
    fetch(rig, &format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"))
}

/// The names and contents of a tar of short names.
fn tar_of(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let (mut entries, mut at) = (Vec::new(), 0);
    loop {
        let block = &bytes[at..at + 512];
        at += 512;
        if block.iter().all(|byte| *byte == 0) {
            assert_eq!(bytes.len(), at + 512, "one more block of zeros, and nothing else");
            return entries;
        }
        let text = |from: usize, len: usize| {
            String::from_utf8_lossy(&block[from..from + len]).trim_matches(['\0', ' ']).to_owned()
        };
        let sum = block[..148].iter().chain(&block[156..]).map(|byte| u32::from(*byte)).sum::<u32>() + 8 * 32;
        assert_eq!(u32::from_str_radix(&text(148, 8), 8), Ok(sum));
        let len = usize::from_str_radix(&text(124, 12), 8).expect("octal");
        entries.push((text(0, 100), bytes[at..at + len].to_vec()));
        at += len.next_multiple_of(512);
    }
}

/// The names and contents of a zip, by its directory.
fn zip_of(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let number =
        |at: usize, len: usize| bytes[at..at + len].iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    let at64 = |at: usize| usize::try_from(number(at, 8)).expect("small");
    let end = bytes.len() - 22;
    assert_eq!(&bytes[end..end + 4], b"PK\x05\x06");
    let end64 = at64(end - 20 + 8);
    assert_eq!(&bytes[end64..end64 + 4], b"PK\x06\x06");
    let (count, mut at) = (number(end64 + 32, 8), at64(end64 + 48));
    let mut entries = Vec::new();
    for _ in 0..count {
        assert_eq!(&bytes[at..at + 4], b"PK\x01\x02");
        let (name_len, extra_len) = (number(at + 28, 2) as usize, number(at + 30, 2) as usize);
        let name = String::from_utf8(bytes[at + 46..at + 46 + name_len].to_vec()).expect("text");
        let extra = at + 46 + name_len + 9 + 4;
        let (len, offset) = (at64(extra), at64(extra + 16));
        assert_eq!(&bytes[offset..offset + 4], b"PK\x03\x04");
        let content = offset + 30 + number(offset + 26, 2) as usize + number(offset + 28, 2) as usize;
        let content = bytes[content..content + len].to_vec();
        assert!(name.ends_with('/') || number(at + 16, 4) == u64::from(crc(&content)), "{name}");
        entries.push((name, content));
        at += 46 + name_len + extra_len;
    }
    assert_eq!(at, end64, "the directory is as long as it says");
    entries
}

/// By the definition: bit after bit.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

fn place_tree(rig: &mut Rig) -> Vec<(String, Vec<u8>)> {
    let mut expected = vec![];
    for dir in ["a", "a/deep", "b-c"] {
        expected.push((format!("{dir}/"), Vec::new()));
        for n in 0..7_usize {
            let content = vec![n as u8; [0, 1, 511, 512, 513, 5000, 9000][n % 7]];
            rig.place(&format!("t/{dir}/{n:02}"), &content);
            expected.push((format!("{dir}/{n:02}"), content));
        }
    }
    rig.place("t/a.txt", b"text");
    expected.push(("a.txt".to_owned(), b"text".to_vec()));
    rig.place("t-not", b"");
    expected.sort_by_key(|(name, _)| name.trim_end_matches('/').replace('/', "\0"));
    expected
}

#[test]
fn an_archive_has_every_directory_and_file_with_its_content() {
    for mode in Mode::all() {
        let mut rig = rig_in(mode);
        let expected = place_tree(&mut rig);
        for version in ["1.1", "1.0"] {
            let ask = |kind| format!("GET /t/?archive={kind} HTTP/{version}\r\nHost: x\r\n\r\n");
            assert!(tar_of(&fetch(&mut rig, &ask("tar"))) == expected, "{mode:?}");
            assert!(zip_of(&fetch(&mut rig, &ask("zip"))) == expected, "{mode:?}");
        }
    }
}

#[test]
fn a_selection_has_what_was_named_and_all_that_is_in_it() {
    let mut rig = server(Limits::default());
    let mut expected = place_tree(&mut rig);
    expected.retain(|(name, _)| name.starts_with("a/deep/") || name == "a.txt");
    assert!(tar_of(&get(&mut rig, "/t/?archive=tar&name=a.txt&name=a/deep&name=a/deep/03&_=1")) == expected);
    assert!(zip_of(&get(&mut rig, "/t/?archive=zip&name=a.txt&name=a%2fdeep/")) == expected);
    for (query, code) in [
        ("archive=tar&name=none", 404),
        ("archive=tar&name=a.txt&name=none", 404),
        ("archive=zip&name=a.txt&name=a/none", 404),
        ("archive=tar&name=..", 400),
        ("archive=rar", 400),
        ("archive=tar&limit=1", 400),
        ("archive=tar&name=.filewharf", 403),
    ] {
        let reply = heard(&mut rig, format!("GET /t/?{query} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_eq!(Response::new(&reply).code, code, "{query} {reply}");
    }
    for target in ["/none/?archive=tar", "/t/a.txt/?archive=zip"] {
        let reply = heard(&mut rig, format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_eq!(Response::new(&reply).code, 404, "{target} {reply}");
    }
}

#[test]
fn the_names_may_come_in_a_form_cut_at_any_place() {
    let form = "name=a.txt&name=a/deep/03&name=b-c%2F05";
    let head = format!("POST /t/?archive=tar HTTP/1.1\r\nHost: x\r\n{FORM}Content-Length: {}\r\n", form.len());
    let mut whole = None;
    for expect in ["", "Expect: 100-continue\r\n"] {
        let request = format!("{head}{expect}\r\n{form}");
        for cut in (request.len() - form.len() - 3)..request.len() {
            let mut rig = server(Limits::default());
            place_tree(&mut rig);
            let peer = rig.connect();
            rig.send(&peer, &request.as_bytes()[..cut]);
            let interim = String::from_utf8(peer.heard()).expect("text");
            let is_asked = cut >= request.len() - form.len() && !expect.is_empty();
            assert_eq!(interim, if is_asked { "HTTP/1.1 100 Continue\r\n\r\n" } else { "" }, "{cut}");
            rig.send(&peer, &request.as_bytes()[cut..]);
            let reply = peer.heard();
            let reply = reply.strip_prefix(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(&reply).to_vec();
            assert_eq!(*whole.get_or_insert_with(|| reply.clone()), reply, "{cut}");
        }
    }
    let whole = String::from_utf8_lossy(&whole.expect("a reply")).into_owned();
    assert!(whole.starts_with("HTTP/1.1 200 ") && whole.contains("a/deep/03") && whole.ends_with("\r\n0\r\n\r\n"));
}

#[test]
fn a_form_is_gathered_up_to_64_kib_and_more_is_refused() {
    let mut rig = server(Limits::default());
    place_tree(&mut rig);
    for (names, code) in [(900, 200), (5900, 200), (6000, 413)] {
        let form = vec!["name=a.txt"; names].join("&");
        let head = format!("POST /t/?archive=zip HTTP/1.1\r\nHost: x\r\n{FORM}Content-Length: {}\r\n\r\n", form.len());
        let reply = String::from_utf8_lossy(&heard_bytes(&mut rig, format!("{head}{form}").as_bytes())).into_owned();
        assert!(reply.starts_with(&format!("HTTP/1.1 {code} ")), "{names}: {}", &reply[..200]);
    }
    for fields in ["Content-Length: 5\r\n", &format!("{FORM}Transfer-Encoding: chunked\r\n")] {
        let reply = heard(&mut rig, format!("POST /t/?archive=zip HTTP/1.1\r\nHost: x\r\n{fields}\r\nname="));
        assert_eq!(Response::new(&reply).code, 413, "{fields}");
    }
    assert_eq!(rig.counters().slots_used, 0);
}

fn heard_bytes(rig: &mut Rig, says: &[u8]) -> Vec<u8> {
    let peer = rig.connect();
    rig.send(&peer, says);
    peer.heard()
}

#[test]
fn the_answer_to_head_is_the_head_of_the_archive() {
    let mut rig = server(Limits::default());
    rig.place("t/\u{fc} x/f", b"");
    for (kind, media_type) in [("tar", "application/x-tar"), ("zip", "application/zip")] {
        let ask =
            format!("HEAD /t/%C3%BC%20x/?archive={kind} HTTP/1.1\r\nHost: x\r\n\r\nGET /f HTTP/1.1\r\nHost: x\r\n\r\n");
        let reply = heard(&mut rig, ask);
        let response = Response::new(&reply);
        assert_eq!((response.code, response.field("Content-Type")), (200, Some(media_type)));
        let name = format!("attachment; filename*=UTF-8''%C3%BC%20x.{kind}");
        assert_eq!(response.field("Content-Disposition"), Some(&*name));
        assert!(response.body.starts_with("HTTP/1.1 200 OK") && response.body.ends_with("0123456789"));
    }
    let reply = heard(&mut rig, "HEAD /none/?archive=zip HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(Response::new(&reply).code, 404);
}

#[test]
fn an_archive_that_fails_in_the_middle_ends_with_a_reset() {
    for kind in ["tar", "zip"] {
        for damage in [Damage::Unreadable, Damage::Short(4000)] {
            let mut rig = rig_in(Mode { window: 2000, ..Mode::PLAIN });
            place_tree(&mut rig);
            let peer = rig.connect();
            rig.send_unread(&peer, format!("GET /t/?archive={kind} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
            rig.turn();
            rig.damage(damage);
            for _ in 0..100 {
                if !peer.is_gone() {
                    rig.read(&peer, 2000);
                }
            }
            let (head, content) = archive_of(&peer);
            assert!(head.starts_with("HTTP/1.1 200") && content.is_none(), "{kind} {damage:?}");
            assert!(peer.is_reset(), "{kind} {damage:?}");
        }
    }
}

#[test]
fn an_archive_ends_with_a_reset_where_a_selected_name_is_gone_before_its_turn() {
    for kind in ["tar", "zip"] {
        let mut rig = rig_in(Mode { window: 2000, ..Mode::PLAIN });
        place_tree(&mut rig);
        let peer = rig.connect();
        let ask = format!("GET /t/?archive={kind}&name=a&name=a.txt&name=b-c HTTP/1.1\r\nHost: x\r\n\r\n");
        rig.send_unread(&peer, ask.as_bytes());
        assert_eq!(Response::new(&heard(&mut rig, "DELETE /t/a.txt HTTP/1.1\r\nHost: x\r\n\r\n")).code, 204);
        for _ in 0..100 {
            if !peer.is_gone() {
                rig.read(&peer, 2000);
            }
        }
        let (head, content) = archive_of(&peer);
        assert!(head.starts_with("HTTP/1.1 200") && content.is_none(), "{kind}");
        assert!(peer.is_reset(), "{kind}");
    }
}

#[test]
fn eight_zips_are_sent_at_once_and_the_next_is_refused_with_a_time_to_try_again() {
    let mut rig = rig_in(Mode { window: 1000, ..Mode::PLAIN });
    place_tree(&mut rig);
    let ask = |kind| format!("GET /t/?archive={kind} HTTP/1.1\r\nHost: x\r\n\r\n");
    let peers: Vec<Peer> = (0..8).map(|_| rig.connect()).collect();
    for peer in &peers {
        rig.send_unread(peer, ask("zip").as_bytes());
        rig.turn();
    }
    let ninth = rig.connect();
    rig.send(&ninth, ask("zip").as_bytes());
    let reply = String::from_utf8(ninth.heard()).expect("text");
    let response = Response::new(&reply);
    assert_eq!((response.code, response.field("Retry-After")), (503, Some("5")), "{reply}");
    assert!(response.body.contains("archive=tar"));
    assert!(!tar_of(&get(&mut rig, "/t/?archive=tar")).is_empty());
    while archive_of(&peers[0]).1.is_none() {
        rig.read(&peers[0], 1000);
    }
    assert!(!zip_of(&get(&mut rig, "/t/?archive=zip")).is_empty());
}
