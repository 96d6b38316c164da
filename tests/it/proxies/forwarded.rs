//! HTTP proxies that say in each request for which client it is: which are believed, and what the client then counts
//! for. In virtual time.

use std::sync::Arc;

use filewharf::access::link::Link;
use filewharf::access::{Access, Rights, file};
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};

use crate::logged::lines;
use support::rig::{Mode, Peer, Rig};

/// 127.0.0.1 is the proxy, where `Rig::connect` comes from.
fn proxied(kind: Kind, limits: Limits, access: Access) -> Rig {
    let trust = ("trust".to_owned(), "10.0.0.0/8,127.0.0.1".to_owned());
    Rig::speaking(Listening::new(kind, &[trust], 0).expect("a good option"), Mode::PLAIN, limits, access)
}

fn with_a_secret(kind: Kind) -> Rig {
    proxied(kind, Limits::default(), Access::new(Some(b"s3cret".to_vec()), false))
}

/// The address of a client.
fn client(host: u8) -> String {
    format!("192.0.2.{host}")
}

/// The ways in which a proxy names this client, whatever it was sent before.
fn ways(host: u8) -> Vec<String> {
    let client = client(host);
    vec![
        format!("X-Forwarded-For: {client}\r\n"),
        format!("X-Forwarded-For: 203.0.113.9, {client}\r\n"),
        format!("X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: {client}\r\n"),
        format!("X-Forwarded-For: 203.0.113.9, {client}, 10.0.0.3\r\n"),
        format!("Forwarded: for={client}\r\n"),
        format!("Forwarded: for=203.0.113.9;by=10.0.0.1, for=\"{client}:4711\";proto=https\r\n"),
        format!("forwarded: for=203.0.113.9\r\nX-Forwarded-For: {client}\r\nforwarded: For={client}, for=10.0.0.3\r\n"),
    ]
}

fn get(fields: &str, secret: &str) -> Vec<u8> {
    format!("GET /f HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\n{fields}\r\n").into_bytes()
}

fn put(fields: &str, name: &str, len: usize) -> Vec<u8> {
    format!("PUT /{name} HTTP/1.1\r\nHost: x\r\nContent-Length: {len}\r\n{fields}\r\n").into_bytes()
}

/// The status of the last answer that is new after `heard`.
fn status(peer: &Peer, heard: &mut usize) -> String {
    let all = peer.heard();
    let new = String::from_utf8_lossy(&all[*heard..]).into_owned();
    *heard = all.len();
    let last = new.rfind("HTTP/1.1 ").map(|at| new[at + 9..at + 12].to_owned());
    last.unwrap_or_default()
}

#[test]
fn a_request_is_logged_for_the_client_that_a_trusted_proxy_names() {
    for kind in [Kind::Http, Kind::Auto] {
        let mut rig = proxied(kind, Limits::default(), Access::default());
        rig.place("f", b"content");
        let proxy = rig.connect();
        let _ = lines();
        // Clients alternate on one connection, and the proxy has requests of its own.
        for host in [5, 6, 5] {
            for way in ways(host) {
                rig.send(&proxy, &get(&way, "x"));
                let said = lines();
                assert!(said[0].starts_with(&format!("get peer={} via=127.0.0.1:", client(host))), "{way}: {said:?}");
                rig.send(&proxy, &get("", "x"));
                assert!(lines()[0].starts_with("get peer=127.0.0.1:"));
            }
        }
        rig.send(&proxy, &get("Forwarded: for=_hidden\r\n", "x"));
        assert!(lines()[0].starts_with("get peer=unknown via=127.0.0.1:"));
        // Many in one packet.
        rig.send(&proxy, &[7, 8, 7, 9].map(|host| get(&ways(host)[0], "x")).concat());
        let said = lines();
        for (line, host) in said.iter().zip([7, 8, 7, 9]) {
            assert!(line.starts_with(&format!("get peer={} ", client(host))), "{said:?}");
        }
        assert!(!proxy.is_closed() && said.len() == 4);
    }
}

#[test]
fn a_field_is_never_believed_from_another_address_or_without_the_option() {
    let plain = Listening::new(Kind::Http, &[], 0).expect("no options");
    let plain = Rig::speaking(plain, Mode::PLAIN, Limits::default(), Access::default());
    let trusting = proxied(Kind::Http, Limits::default(), Access::default());
    let mut believed = 0;
    for (mut rig, host) in [(plain, 1), (trusting, 2)] {
        let forger = rig.connect_from(host);
        let _ = lines();
        let malformed =
            ["Forwarded: \"\r\n", "X-Forwarded-For: x\r\n", "Forwarded: for=1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n"];
        for way in ways(5).iter().map(String::as_str).chain(malformed) {
            for _ in 0..3 {
                rig.send(&forger, &get(way, "x"));
                let said = lines();
                believed += said.iter().filter(|line| !line.starts_with(&format!("get peer=127.0.0.{host}:"))).count();
                assert_eq!(said.len(), 1);
            }
        }
        assert!(!forger.is_closed());
    }
    assert_eq!(believed, 0);
}

#[test]
fn fields_that_contradict_each_other_are_refused() {
    for fields in [
        "Forwarded: for=192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\n",
        "Forwarded: for=unknown\r\nX-Forwarded-For: 192.0.2.2\r\n",
        "Forwarded: for=\"192.0.2.1\r\n",
        "X-Forwarded-For: 192.0.2.1, client.example\r\n",
    ] {
        let mut rig = proxied(Kind::Http, Limits::default(), Access::default());
        rig.place("f", b"content");
        let proxy = rig.connect();
        rig.send(&proxy, &get(fields, "x"));
        assert!(proxy.heard().starts_with(b"HTTP/1.1 400 ") && proxy.is_closed(), "{fields}");
    }
}

/// A cached head must not bring back the client, or the trust, of the one that sent it first.
#[test]
fn the_same_head_from_a_proxy_and_from_a_forger_is_understood_differently() {
    let mut rig = proxied(Kind::Http, Limits::default(), Access::default());
    rig.place("f", b"content");
    let (proxy, forger) = (rig.connect(), rig.connect_from(2));
    let head = b"GET /f HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.5\r\n\r\n";
    let bad = b"GET /f HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: x\r\n\r\n";
    for _ in 0..4 {
        for (peer, wanted) in [(&forger, "get peer=127.0.0.2:"), (&proxy, "get peer=192.0.2.5 via=")] {
            let _ = lines();
            rig.send(peer, head);
            assert!(lines()[0].starts_with(wanted));
        }
        rig.send(&forger, bad);
    }
    assert!(!forger.is_closed());
    rig.send(&proxy, bad);
    assert!(proxy.heard().ends_with(b"no address\n") && proxy.is_closed());
}

#[test]
fn a_client_that_guesses_is_slowed_down_and_not_the_others_of_its_proxy() {
    let limits = Limits::default();
    let mut rig = with_a_secret(Kind::Auto);
    let (proxy, mut heard) = (rig.connect(), 0);
    let mut ask = |rig: &mut Rig, host: u8, secret: &str| {
        let ways = ways(host);
        rig.send(&proxy, &get(&ways[usize::from(host) % ways.len()], secret));
        status(&proxy, &mut heard)
    };
    for _ in 0..limits.live.wrong_secrets_max {
        assert_eq!(ask(&mut rig, 5, "wrong"), "401");
        assert_eq!(ask(&mut rig, 6, "s3cret"), "404");
    }
    // A right guess is refused like a wrong one, except for one now and then.
    assert_eq!(ask(&mut rig, 5, "wrong"), "401");
    for _ in 0..3 {
        assert_eq!(
            [ask(&mut rig, 5, "wrong"), ask(&mut rig, 5, "s3cret"), ask(&mut rig, 6, "s3cret")],
            ["429", "429", "404"]
        );
    }
    rig.pass(limits.live.wrong_secret_delay);
    assert_eq!([ask(&mut rig, 5, "s3cret"), ask(&mut rig, 5, "s3cret")], ["404", "429"]);
    // New connections of the proxy do not wait, and what it asks itself is that of another client.
    let second = rig.connect();
    rig.send(&second, &get("", "s3cret"));
    assert!(second.heard().starts_with(b"HTTP/1.1 404 "));
    rig.send(&second, &get(&ways(5)[0], "s3cret"));
    assert!(String::from_utf8_lossy(&second.heard()).contains("HTTP/1.1 429 "));
    assert!(String::from_utf8_lossy(&second.heard()).contains("Retry-After: 1\r\n"));
    rig.pass(limits.live.wrong_secret_memory);
    assert_eq!([ask(&mut rig, 5, "s3cret"), ask(&mut rig, 5, "s3cret")], ["404", "404"]);
}

#[test]
fn a_forger_is_slowed_down_whatever_clients_it_names() {
    let limits = Limits::default();
    let mut rig = with_a_secret(Kind::Http);
    for n in 0..limits.live.wrong_secrets_max {
        let forger = rig.connect_from(2);
        rig.send(&forger, &get(&ways(n)[usize::from(n) % 7], "wrong"));
        assert!(forger.heard().starts_with(b"HTTP/1.1 401 "));
    }
    let [first, late] = [0; 2].map(|_| rig.connect_from(2));
    for peer in [&first, &late] {
        rig.send(peer, &get(&ways(77)[0], "s3cret"));
    }
    assert!(late.heard().is_empty(), "it is not read yet");
    rig.pass(limits.live.wrong_secret_wait_max);
    assert!(late.heard().starts_with(b"HTTP/1.1 404 "));
}

#[test]
fn guesses_of_the_line_protocol_through_a_trusted_proxy_are_those_of_the_proxy() {
    let limits = Limits::default();
    let mut rig = with_a_secret(Kind::Auto);
    let peer = rig.connect();
    for _ in 0..limits.live.wrong_secrets_max {
        let guesser = rig.connect();
        rig.send(&guesser, b"AUTH wrong\n");
        assert!(guesser.heard().starts_with(b"ERR 401 "));
    }
    rig.send(&peer, b"AUTH s3cret\nAUTH s3cret\n");
    assert!(String::from_utf8_lossy(&peer.heard()).starts_with("OK 0\nERR 429 "), "one, then none for a while");
}

#[test]
fn the_connections_of_a_trusted_proxy_are_bounded_by_those_of_all() {
    for kind in [Kind::Http, Kind::Auto] {
        let limits = Limits::default().with(|l| l.fixed.connections_max = 8);
        let mut rig = proxied(kind, limits, Access::default());
        for _ in 0..3 {
            let others: Vec<_> = (0..4).map(|_| rig.connect_from(2)).collect();
            let fifth = rig.connect_from(2);
            rig.send(&fifth, &get("", "x"));
            assert!(fifth.heard().starts_with(b"HTTP/1.1 429 "), "the share of its address");
            rig.finish(&fifth);
            for peer in &others {
                rig.finish(peer);
            }
            let proxied: Vec<_> = (0..8).map(|_| rig.connect()).collect();
            for (peer, host) in proxied.iter().zip(0..) {
                // Also one that speaks `line`.
                rig.send(
                    peer,
                    &if host == 3 && kind == Kind::Auto { b"PING\n".to_vec() } else { get(&ways(host)[0], "x") },
                );
                assert!(peer.heard().starts_with(b"HTTP/1.1 404 ") || peer.heard() == b"OK 0\n");
            }
            let ninth = rig.connect();
            rig.send(&ninth, &get("", "x"));
            assert!(ninth.heard().starts_with(b"HTTP/1.1 429 "));
            rig.finish(&ninth);
            for peer in &proxied {
                rig.finish(peer);
            }
            assert_eq!(rig.counters().open, 0);
        }
    }
}

fn four_slots() -> Limits {
    Limits::default().with(|l| l.fixed.slots = 4)
}

fn slots(rig: &Rig) -> (u64, u64) {
    (rig.counters().slots_used, rig.counters().slots_waiting)
}

#[test]
fn the_share_of_slots_is_that_of_the_client_and_not_of_its_proxy() {
    let mut rig = proxied(Kind::Http, four_slots(), Access::default());
    let upload = |rig: &mut Rig, from: u8, host: u8, name: &str| {
        let peer = rig.connect_from(from);
        rig.send(&peer, &[put(&ways(host)[0], name, 100_000), vec![b'x']].concat());
        peer
    };
    let mut all: Vec<_> = (0..3).map(|n| upload(&mut rig, 1, 5, &format!("a{n}"))).collect();
    assert_eq!(slots(&rig), (2, 1), "its share is 2");
    all.push(upload(&mut rig, 1, 6, "b"));
    assert_eq!(slots(&rig), (3, 1));
    // One that waits gives up, and one that is held back moves up.
    all.push(upload(&mut rig, 1, 5, "a3"));
    rig.cut(&all[2]);
    rig.cut(&all[0]);
    assert_eq!(slots(&rig), (3, 0));
    // A forger has one share, whatever it says.
    let forged: Vec<_> = (0..3).map(|n| upload(&mut rig, 2, 10 + n, &format!("f{n}"))).collect();
    assert_eq!(slots(&rig), (4, 2));
    for peer in all.iter().chain(&forged) {
        rig.send(peer, &[b'x'; 99_999]);
    }
    assert_eq!(slots(&rig), (0, 0));
    assert!(forged.iter().all(|peer| peer.heard().starts_with(b"HTTP/1.1 201 ")));
    // All was given back under the address it was taken under.
    let again: Vec<_> = [5, 5, 6, 6].map(|host| upload(&mut rig, 1, host, "again")).into_iter().collect();
    assert_eq!(slots(&rig), (4, 0));
    drop(again);
}

#[test]
fn a_slot_is_not_kept_for_the_request_of_another_client() {
    let mut rig = proxied(Kind::Http, four_slots(), Access::default());
    for _ in 0..3 {
        let proxy = rig.connect();
        // In one packet: 5 ends its upload, 6 begins one.
        let both = [put(&ways(5)[0], "a", 100_000), vec![b'x'; 100_000], put(&ways(6)[0], "b", 100_000), b"x".to_vec()];
        rig.send(&proxy, &both.concat());
        assert_eq!(slots(&rig), (1, 0));
        let mut upload = |host: u8, name: &str| {
            let peer = rig.connect();
            rig.send(&peer, &[put(&ways(host)[0], name, 100_000), vec![b'x']].concat());
            peer
        };
        let all = [upload(5, "c"), upload(5, "d"), upload(6, "e"), upload(6, "f")];
        assert_eq!(slots(&rig), (4, 1), "two of 5, two of 6, and one of 6 waits");
        for peer in all.iter().chain([&proxy]) {
            rig.send(peer, &[b'x'; 99_999]);
            rig.finish(peer);
        }
        assert_eq!(slots(&rig), (0, 0));
    }
}

#[test]
fn an_upload_that_continues_without_a_slot_gives_back_the_share_of_its_client() {
    let mut rig = proxied(Kind::Http, four_slots(), Access::default());
    for _ in 0..3 {
        let proxies: Vec<_> = (0..5).map(|_| rig.connect()).collect();
        for (proxy, host) in proxies.iter().zip([5, 5, 6, 6, 7]) {
            rig.send(proxy, &[put(&ways(host)[1], &format!("{host}"), 1_000_000), vec![b'x'; 300_000]].concat());
        }
        assert_eq!(slots(&rig), (4, 1));
        rig.send(&proxies[0], b"x");
        assert_eq!(slots(&rig), (4, 0), "it continues without");
        for (n, proxy) in proxies.iter().enumerate() {
            rig.send(proxy, &vec![b'x'; if n == 0 { 699_999 } else { 700_000 }]);
            // The next request on its connection is another client's.
            rig.send(proxy, &get(&ways(9)[0], "x"));
        }
        assert_eq!(slots(&rig), (0, 0));
        let again: Vec<_> = (0..2).map(|_| rig.connect()).collect();
        for proxy in &again {
            rig.send(proxy, &[put(&ways(5)[0], "g", 100_000), vec![b'x']].concat());
        }
        assert_eq!(slots(&rig), (2, 0));
        for proxy in proxies.iter().chain(&again) {
            rig.cut(proxy);
        }
        assert_eq!(slots(&rig), (0, 0));
    }
}

#[test]
fn a_rule_for_a_network_is_one_for_the_client_and_not_for_its_proxy() {
    let rules = "allow @ r /near/ from=192.0.2.0/24\nallow @ r /own/ from=127.0.0.0/8\n";
    let access = Access::with_rules(Arc::new(file::parse(rules).expect("good rules")), false);
    let mut rig = proxied(Kind::Http, Limits::default(), access);
    rig.place("near/f", b"content");
    rig.place("own/f", b"content");
    let (proxy, forger) = (rig.connect(), rig.connect_from(2));
    let mut ask = |peer: &Peer, fields: &str, name: &str| {
        let mut heard = peer.heard().len();
        rig.send(peer, format!("GET /{name}/f HTTP/1.1\r\nHost: x\r\n{fields}\r\n").as_bytes());
        status(peer, &mut heard)
    };
    for _ in 0..3 {
        for way in ways(5) {
            assert_eq!([ask(&proxy, &way, "near"), ask(&proxy, &way, "own")], ["200", "401"], "{way}");
            assert_eq!([ask(&forger, &way, "near"), ask(&forger, &way, "own")], ["401", "200"], "{way}");
        }
        for hidden in ["Forwarded: for=unknown\r\n", "X-Forwarded-For: 198.51.100.1\r\n"] {
            assert_eq!([ask(&proxy, hidden, "near"), ask(&proxy, hidden, "own")], ["401", "401"], "{hidden}");
        }
        assert_eq!([ask(&proxy, "", "near"), ask(&proxy, "", "own")], ["401", "200"]);
    }
}

/// The rules of these, and 127.0.0.1 may name users.
fn with_users(options: &[(&str, &str)], users: &str) -> Rig {
    let rules = format!("{users}allow anna rlcwd /home/anna/\nallow ben rlcwd /home/ben/\nallow @ r /pub/\n");
    let access = Access::with_rules(Arc::new(file::parse(&rules).expect("good rules")), false);
    let options: Vec<_> = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let listening = Listening::new(Kind::Auto, &options, 0).expect("good options");
    let mut rig = Rig::speaking(listening, Mode::PLAIN, Limits::default(), access);
    ["home/anna/f", "home/ben/f", "pub/f"].into_iter().for_each(|name| rig.place(name, b"content"));
    rig
}

const TRUST: (&str, &str) = ("trust", "127.0.0.1");
const REMOTE_USER: (&str, &str) = ("remote-user", "");
/// The token is `s3cret`.
const USERS: &str = "user anna proxy\nuser ben proxy expires=2001-01-01\n\
    token ci sha256:1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0\nallow ci r /home/\n";

/// The statuses of GET of the files of anna, of ben, and of anybody.
fn asks(rig: &mut Rig, peer: &Peer, fields: &str) -> [String; 3] {
    ["home/anna", "home/ben", "pub"].map(|dir| {
        let mut heard = peer.heard().len();
        rig.send(peer, format!("GET /{dir}/f HTTP/1.1\r\nHost: x\r\n{fields}\r\n").as_bytes());
        status(peer, &mut heard)
    })
}

#[test]
fn the_user_that_a_trusted_proxy_names_is_the_caller_of_that_request_only() {
    let mut rig = with_users(&[TRUST, REMOTE_USER], USERS);
    let proxy = rig.connect();
    for _ in 0..3 {
        for fields in ["Remote-User: anna\r\n", "Remote-User: anna\r\nX-Forwarded-For: 192.0.2.1\r\n"] {
            assert_eq!(asks(&mut rig, &proxy, fields), ["200", "403", "200"]);
            // What it passes on of the credentials it has checked is not ours to check.
            let passed_on = format!("{fields}Authorization: Basic YW5uYTpwYXNz\r\n");
            assert_eq!(asks(&mut rig, &proxy, &passed_on), ["200", "403", "200"]);
        }
        for nobody in ["", "Remote-User:\r\n", "Remote_User: anna\r\n"] {
            assert_eq!(asks(&mut rig, &proxy, nobody), ["401", "401", "200"], "{nobody}");
        }
        // Expired, unknown, and one that only a token proves.
        for name in ["ben", "carl", "ci", "@", "ANNA", "anna,ben", "\u{e4}"] {
            let fields = format!("Remote-User: {name}\r\n");
            assert_eq!(asks(&mut rig, &proxy, &fields), ["403", "403", "403"], "{name}");
        }
    }
    // Many in one packet.
    let get = |fields: &str| format!("GET /home/anna/f HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
    let all = [get("Remote-User: anna\r\n"), get(""), get("Remote-User: anna\r\n"), get("Remote-User: x\r\n")].concat();
    let before = proxy.heard().len();
    rig.send(&proxy, all.as_bytes());
    let said = String::from_utf8_lossy(&proxy.heard()[before..]).into_owned();
    let statuses: Vec<_> = said.split("HTTP/1.1 ").skip(1).map(|reply| reply[..3].to_owned()).collect();
    assert_eq!(statuses, ["200", "401", "200", "403"]);
    // An upload of anna, and after it one without a name.
    let mut heard = proxy.heard().len();
    rig.send(&proxy, &put("Remote-User: anna\r\n", "home/anna/new", 5));
    rig.send(&proxy, b"hello");
    assert_eq!(status(&proxy, &mut heard), "201");
    rig.send(&proxy, &put("", "home/anna/new", 5));
    rig.send(&proxy, b"wrong");
    assert_eq!(status(&proxy, &mut heard), "401");
    assert_eq!(rig.file("home/anna/new").as_deref(), Some(&b"hello"[..]));
}

#[test]
fn a_user_is_never_believed_from_another_address_or_without_the_option() {
    let mut believed = 0;
    for (options, host) in [(&[TRUST, REMOTE_USER][..], 2), (&[TRUST], 1), (&[TRUST], 2), (&[], 1)] {
        let mut rig = with_users(options, USERS);
        let peer = rig.connect_from(host);
        for fields in ["", "X-Forwarded-For: 127.0.0.1\r\n", "Forwarded: for=127.0.0.1\r\n"] {
            let fields = format!("Remote-User: anna\r\n{fields}");
            believed += usize::from(asks(&mut rig, &peer, &fields) != ["401", "401", "200"]);
            let with_token = format!("{fields}Authorization: Bearer s3cret\r\n");
            assert_eq!(asks(&mut rig, &peer, &with_token)[2], "200");
        }
        assert_eq!(asks(&mut rig, &peer, "Remote-User: a\r\nRemote-User: b\r\n"), ["401", "401", "200"]);
    }
    assert_eq!(believed, 0);
}

#[test]
fn a_request_with_a_link_is_that_of_the_link_whatever_user_its_proxy_names() {
    let mut rig = with_users(&[TRUST, REMOTE_USER], &format!("{USERS}key k base64:AAAAAAAAAAAAAAAAAAAAAA==\n"));
    let prefix = filewharf::wire::key::relative("home/anna/f").expect("a key");
    let good = Link { key_id: "k".into(), expires_s: 1 << 40, rights: Rights::READ, prefix }.sign(&[0; 16]);
    let proxy = rig.connect();
    for user in ["", "Remote-User: anna\r\n", "Remote-User: ben\r\n", "Remote-User: nobody\r\n"] {
        for (link, told) in [(&*good, "200"), ("AAAA", "403")] {
            let mut heard = proxy.heard().len();
            rig.send(&proxy, format!("GET /home/anna/f?fw={link} HTTP/1.1\r\nHost: x\r\n{user}\r\n").as_bytes());
            assert_eq!(status(&proxy, &mut heard), told, "{user}");
        }
    }
}

#[test]
fn the_certificate_of_a_proxy_proves_nothing_in_any_part_of_a_request() {
    let users = format!(
        "{USERS}cert proxy sha256:{}\nallow @ c /drop/ max-size=4\nallow proxy rlcwd /drop/\n",
        "07".repeat(32)
    );
    let mut rig = with_users(&[TRUST, REMOTE_USER], &users);
    let proxy = rig.connect();
    proxy.shows_certificate([7; 32], u64::MAX);
    let chunked = "PUT /drop/f HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n";
    let mut heard = 0;
    rig.send(&proxy, chunked.as_bytes());
    rig.send(&proxy, b"fives\r\n0\r\n\r\n");
    assert_eq!(status(&proxy, &mut heard), "413");
    assert!(!rig.names().iter().any(|name| name.starts_with("drop/")), "{:?}", rig.names());
}

#[test]
fn two_users_are_none() {
    for fields in ["Remote-User: anna\r\nRemote-User: ben\r\n", "Remote-User:\r\nRemote-User: anna\r\n"] {
        let mut rig = with_users(&[TRUST, REMOTE_USER], USERS);
        let (proxy, mut heard) = (rig.connect(), 0);
        rig.send(&proxy, format!("GET /home/anna/f HTTP/1.1\r\nHost: x\r\n{fields}\r\n").as_bytes());
        assert_eq!((status(&proxy, &mut heard).as_str(), proxy.is_closed()), ("400", true));
    }
}
