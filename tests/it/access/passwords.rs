//! Users with passwords: the check off the loop in the middle of a conversation, its bounds, and the answers.
//! And signed links, which need no check.

use std::sync::Arc;
use std::time::Duration;

use base64ct::{Base64, Encoding as _};
use filewharf::access::link::Link;
use filewharf::access::{Access, Rights, file};
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};
use filewharf::session::state::Name;

use support::rig::{Mode, Peer, Rig};

/// Cheap to check. The password is `pässword`.
const HASH: &str = "$argon2id$v=19$m=64,t=3,p=2$c2FsdHNhbHQ$k0HLucYuLGcaHP6da/QjG+HIbs1P1yHr";
const SECRET: &[u8] = b"0123456789abcdef";
const DEFERRED: Mode = Mode { deferred: true, ..Mode::PLAIN };

fn access() -> Access {
    let key = Base64::encode_string(SECRET);
    let text = format!(
        "user anna {HASH}\nuser old {HASH} expires=1990-01-01\nkey k1 base64:{key}\nallow anna rlcwd /\nallow @ r /open/\n"
    );
    let mut rules = file::parse(&text).expect("a good access file");
    rules.set_password_key([7; 32]);
    Access::with_rules(Arc::new(rules), false)
}

fn limits() -> Limits {
    Limits::default().with(|limits| limits.live.wrong_secret_delay = Duration::from_millis(1))
}

fn rig_of(kind: Kind, mode: Mode, limits: Limits) -> Rig {
    let mut rig = Rig::speaking(Listening::new(kind, &[], 0).expect("no options"), mode, limits, access());
    rig.place("secret.txt", b"treasure");
    rig.place("open/file", b"public");
    rig
}

fn rig(mode: Mode) -> Rig {
    rig_of(Kind::Http, mode, limits())
}

fn get(path: &str, credentials: &str) -> Vec<u8> {
    let credentials = Base64::encode_string(credentials.as_bytes());
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {credentials}\r\n\r\n").into_bytes()
}

fn heard(peer: &Peer) -> String {
    String::from_utf8_lossy(&peer.heard()).into_owned()
}

fn statuses(peer: &Peer) -> Vec<String> {
    heard(peer).match_indices("HTTP/1.1 ").map(|(at, start)| heard(peer)[at + start.len()..][..3].to_owned()).collect()
}

fn verifying(rig: &Rig) -> u64 {
    rig.counters().states[Name::Verifying as usize]
}

#[test]
fn the_right_password_admits_and_a_wrong_one_and_an_unknown_user_do_not() {
    for mode in Mode::all() {
        for (credentials, status) in [
            ("anna:pässword", "200"),
            ("anna:password", "401"),
            ("anna:", "401"),
            ("ben:pässword", "401"),
            (":pässword", "401"),
            ("old:pässword", "401"),
        ] {
            let mut rig = rig(mode);
            let peer = rig.connect();
            rig.send(&peer, &get("/secret.txt", credentials));
            assert_eq!(statuses(&peer), [status], "{credentials} {mode:?}");
            assert_eq!(heard(&peer).contains("treasure"), status == "200", "{credentials}");
            rig.send(&peer, &get("/open/file", "anna:pässword"));
            assert_eq!(statuses(&peer), [status, "200"], "{credentials} {mode:?}");
        }
    }
}

#[test]
fn a_password_is_checked_once_and_then_known_to_all_connections() {
    let mut rig = rig(DEFERRED);
    let first = rig.connect();
    rig.hold_completions(true);
    rig.send(&first, &get("/secret.txt", "anna:pässword"));
    assert_eq!((verifying(&rig), statuses(&first)), (1, vec![]));
    rig.hold_completions(false);
    rig.turn();
    assert_eq!(statuses(&first), ["200"]);
    let second = rig.connect();
    rig.hold_completions(true);
    rig.send(&second, &get("/secret.txt", "anna:password"));
    assert_eq!(verifying(&rig), 1, "a wrong one is checked");
    let third = rig.connect();
    rig.send(&third, &get("/secret.txt", "anna:pässword"));
    assert_eq!(verifying(&rig), 1, "a known one is not");
}

#[test]
fn a_conversation_with_a_check_is_the_same_at_every_cut() {
    let put = |credentials: &str| {
        let credentials = Base64::encode_string(credentials.as_bytes());
        format!("PUT /new HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {credentials}\r\nContent-Length: 4\r\n\r\nbody")
    };
    let both = [put("anna:pässword").into_bytes(), get("/new", "anna:pässword"), get("/new", "anna:x")].concat();
    for mode in [Mode::PLAIN, DEFERRED, Mode { deferred: true, held: true, lags: true, window: 3 }] {
        for cut in 0..=both.len() {
            let mut rig = rig(mode);
            let peer = rig.connect();
            rig.send(&peer, &both[..cut]);
            rig.send(&peer, &both[cut..]);
            assert_eq!(statuses(&peer), ["201", "200", "401"], "cut at {cut}, {mode:?}: {}", heard(&peer));
            assert_eq!(rig.file("new").as_deref(), Some(&b"body"[..]));
            assert_eq!(verifying(&rig), 0);
        }
    }
}

#[test]
fn the_line_protocol_takes_a_user_and_a_password_at_every_cut() {
    let text = "AUTH anna pässword\nGET /secret.txt\nAUTH anna a wrong one\n".as_bytes();
    for mode in [Mode::PLAIN, DEFERRED] {
        for cut in 0..=text.len() {
            let mut rig = rig_of(Kind::Line, mode, limits());
            let peer = rig.connect();
            rig.send(&peer, &text[..cut]);
            rig.send(&peer, &text[cut..]);
            let told = heard(&peer);
            assert!(told.starts_with("OK 0\nOK 8 ") && told.contains("treasureERR 401 "), "cut at {cut}: {told}");
        }
    }
    let mut rig = rig_of(Kind::Line, Mode::PLAIN, limits());
    let peer = rig.connect();
    rig.send(&peer, b"GET /secret.txt\n");
    assert!(heard(&peer).starts_with("ERR 401 "), "{}", heard(&peer));
}

#[test]
fn a_client_that_closes_while_its_password_is_checked_leaves_nothing_and_its_guess_counts() {
    let limits = Limits::default().with(|limits| limits.live.wrong_secrets_max = 3);
    for leaves in [Rig::cut, Rig::finish] {
        let mut rig = rig_of(Kind::Http, DEFERRED, limits.clone());
        for _ in 0..3 {
            let peer = rig.connect();
            rig.hold_completions(true);
            rig.send(&peer, &get("/secret.txt", "anna:guess"));
            assert_eq!(verifying(&rig), 1);
            leaves(&mut rig, &peer);
            rig.hold_completions(false);
            rig.turn();
            rig.pass(limits.live.linger_timeout);
            assert_eq!((verifying(&rig), rig.counters().open), (0, 0));
        }
        let peer = rig.connect();
        rig.pass(limits.live.wrong_secret_delay);
        rig.send(&peer, &get("/secret.txt", "anna:guess"));
        assert_eq!(statuses(&peer), ["429"], "{}", heard(&peer));
    }
}

#[test]
fn too_many_wrong_passwords_are_refused_with_the_true_time_and_a_known_password_is_not() {
    let limits = Limits::default().with(|limits| {
        limits.live.wrong_secrets_max = 3;
        limits.live.wrong_secrets_free = 3;
    });
    let mut rig = rig_of(Kind::Http, DEFERRED, limits.clone());
    let known = rig.connect();
    rig.send(&known, &get("/secret.txt", "anna:pässword"));
    let guesser = rig.connect();
    for n in 0..2 {
        rig.send(&guesser, &get("/secret.txt", &format!("anna:guess{n}")));
    }
    let other = rig.connect();
    rig.send(&other, &get("/secret.txt", "anna:guess2"));
    rig.send(&guesser, &get("/secret.txt", "anna:guess3"));
    assert_eq!(statuses(&guesser), ["401", "401", "429"], "{}", heard(&guesser));
    // A place in the bucket takes a third of a minute.
    assert!(heard(&guesser).contains("\r\nRetry-After: 20\r\n"), "{}", heard(&guesser));
    rig.send(&known, &get("/secret.txt", "anna:pässword"));
    assert_eq!(statuses(&known), ["200", "200"]);
    rig.pass(Duration::from_secs(20));
    rig.send(&guesser, &get("/secret.txt", "anna:guess4"));
    assert_eq!(statuses(&guesser), ["401", "401", "429", "401"], "the time was true");
}

#[test]
fn no_more_passwords_wait_than_permitted_and_the_next_is_asked_to_try_again() {
    let limits = limits().with(|limits| {
        limits.fixed.password_checks_max = 6;
        limits.live.wrong_secrets_max = 3;
        limits.fixed.per_address_percent = 100;
    });
    let mut rig = rig_of(Kind::Http, DEFERRED, limits);
    rig.hold_completions(true);
    let of_one: Vec<_> = (0..4).map(|_| rig.connect_from(1)).collect();
    for (n, peer) in of_one.iter().enumerate() {
        rig.send(peer, &get("/secret.txt", &format!("anna:guess{n}")));
    }
    assert_eq!(verifying(&rig), 3, "an address has no more checks than it may have wrong");
    assert_eq!(statuses(&of_one[3]), ["429"]);
    let of_others: Vec<_> = (2..6).map(|host| rig.connect_from(host)).collect();
    for peer in &of_others {
        rig.send(peer, &get("/secret.txt", "anna:pässword"));
    }
    assert_eq!((verifying(&rig), statuses(&of_others[3])), (6, vec!["429".to_owned()]));
    assert!(heard(&of_others[3]).contains("\r\nRetry-After: 1\r\n"));
    rig.hold_completions(false);
    rig.turn();
    assert_eq!((verifying(&rig), statuses(&of_others[0])), (0, vec!["200".to_owned()]));
}

#[test]
fn a_flood_of_wrong_passwords_takes_its_bounds_and_holds_up_no_other_request() {
    let limits = limits().with(|limits| {
        limits.fixed.password_checks_max = 8;
        limits.live.wrong_secrets_max = 3;
    });
    let mut rig = rig_of(Kind::Http, DEFERRED, limits);
    let (known, anybody) = (rig.connect(), rig.connect());
    rig.send(&known, &get("/secret.txt", "anna:pässword"));
    let plain = b"GET /open/file HTTP/1.1\r\nHost: x\r\n\r\n";
    rig.send(&anybody, plain);
    rig.send(&known, &get("/secret.txt", "anna:pässword"));
    let (mut busy, mut over) = (0, 0);
    for round in 0..4 {
        rig.hold_completions(true);
        let hosts = (40 * round + 2..40 * round + 42).flat_map(|host| [host, host]);
        let flood: Vec<_> = hosts.map(|host| rig.connect_from(host)).collect();
        for (n, peer) in flood.iter().enumerate() {
            rig.send(peer, &get("/secret.txt", &format!("anna:guess {round} {n}")));
            assert!(verifying(&rig) <= 8, "{}", verifying(&rig));
        }
        rig.hold_completions(false);
        rig.send(&anybody, plain);
        rig.send(&known, &get("/secret.txt", "anna:pässword"));
        for peer in &flood {
            let heard = heard(peer);
            busy += usize::from(heard.contains(" 429 ") && heard.contains("\r\nRetry-After: 1\r\n"));
            over += usize::from(heard.contains(" 401 "));
            assert!(heard.contains(" 429 ") || heard.contains(" 401 "), "{heard}");
        }
    }
    assert_eq!(over, 4 * 8, "so many are checked in a round");
    assert_eq!(busy, 4 * (80 - 8), "no address has had too many yet");
    assert_eq!(statuses(&anybody), vec!["200"; 5]);
    assert_eq!(statuses(&known), vec!["200"; 6]);
}

#[test]
fn requests_without_credentials_are_served_to_an_address_that_guesses() {
    for kind in [Kind::Http, Kind::Line] {
        let mut rig = rig_of(kind, Mode::PLAIN, Limits::default());
        let (guess, right, plain, refused) = match kind {
            Kind::Http => (
                get("/open/file", "anna:guess"),
                get("/open/file", "anna:pässword"),
                b"GET /open/file HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
                " 429 ",
            ),
            _ => (
                b"AUTH guess\n".to_vec(),
                b"AUTH anna p\xc3\xa4ssword\n".to_vec(),
                b"GET /open/file\n".to_vec(),
                "ERR 429 ",
            ),
        };
        for round in 0..20 {
            for _ in 0..60 {
                let guesser = rig.connect();
                rig.send(&guesser, &guess);
            }
            let (honest, late) = (rig.connect(), rig.connect());
            rig.send(&honest, &plain);
            rig.send(&late, &right);
            if !heard(&honest).ends_with("public") {
                rig.pass(Limits::default().live.wrong_secret_wait_max);
            }
            assert!(heard(&honest).ends_with("public"), "{kind:?} {round}: {}", heard(&honest));
            // To tell whether a password is right would be to let it be guessed.
            assert!(round == 0 || heard(&late).contains(refused), "{kind:?} {round}: {}", heard(&late));
        }
    }
}

#[test]
fn no_password_is_checked_for_what_needs_none() {
    let mut rig = rig(DEFERRED);
    rig.hold_completions(true);
    for (request, status) in [
        ("GET /.filewharf/health HTTP/1.1\r\n", "200"),
        ("OPTIONS /secret.txt HTTP/1.1\r\n", "204"),
        ("GET /secret.txt HTTP/1.1\r\nContent-Length: 1\r\n", "400"),
    ] {
        let peer = rig.connect();
        let credentials = Base64::encode_string(b"anna:guess");
        rig.send(&peer, format!("{request}Host: x\r\nAuthorization: Basic {credentials}\r\n\r\n").as_bytes());
        assert_eq!((verifying(&rig), statuses(&peer)), (0, vec![status.to_owned()]), "{request}");
    }
}

#[test]
fn messages_say_why_they_take_no_password() {
    let mut rig = rig_of(Kind::LengthPrefix, DEFERRED, limits());
    let peer = rig.connect();
    let text = "AUTH anna pässword";
    rig.send(&peer, format!("{:<64}{text}", text.len()).as_bytes());
    rig.pass(Duration::from_millis(300));
    assert!(heard(&peer).contains("ERR 403 messages take no passwords"), "{}", heard(&peer));
}

#[test]
fn a_drain_waits_for_a_check_and_a_stop_does_not() {
    for stops in [false, true] {
        let mut rig = rig(DEFERRED);
        rig.hold_completions(true);
        let peer = rig.connect();
        rig.send(&peer, &get("/secret.txt", "anna:pässword"));
        rig.drain();
        assert_eq!((verifying(&rig), rig.has_ended()), (1, false));
        if stops {
            rig.stop_in_turn();
            assert!(peer.is_gone());
        }
        rig.hold_completions(false);
        rig.turn();
        rig.pass(limits().live.linger_timeout);
        rig.pass(limits().live.linger_timeout);
        assert_eq!(statuses(&peer), if stops { vec![] } else { vec!["503"] }, "{}", heard(&peer));
        assert_eq!(rig.end().cut_off, usize::from(stops));
    }
}

fn link(path: &str, rights: Rights, expires_s: u64) -> String {
    let prefix = filewharf::wire::key::absolute(path).expect("a path").key;
    Link { key_id: "k1".into(), expires_s, rights, prefix }.sign(SECRET)
}

fn ask(method: &str, path: &str, query: &str) -> String {
    let mut rig = rig(Mode::PLAIN);
    rig.place("dir/sub/file", b"linked");
    let peer = rig.connect();
    let body = if method == "PUT" { "Content-Length: 3\r\n\r\nnew" } else { "\r\n" };
    rig.send(&peer, format!("{method} {path}?{query} HTTP/1.1\r\nHost: x\r\n{body}").as_bytes());
    statuses(&peer).concat()
}

#[test]
fn a_link_gives_its_rights_under_its_path_until_its_time() {
    const LATER: u64 = support::rig::STARTED_S + 1000;
    let read = link("/dir", Rights::READ, LATER);
    for (method, path, status) in [
        ("GET", "/dir/sub/file", "200"),
        ("HEAD", "/dir/sub/file", "200"),
        ("GET", "/dir/sub/none", "404"),
        ("GET", "/dir/", "403"),
        ("GET", "/secret.txt", "403"),
        ("GET", "/open/file", "200"),
        ("GET", "/DIR/sub/file", "403"),
        ("GET", "/dir/../secret.txt", "403"),
        ("PUT", "/dir/new", "403"),
        ("DELETE", "/dir/sub/file", "403"),
    ] {
        assert_eq!(ask(method, path, &format!("v=1&fw={read}")), status, "{method} {path}");
    }
    let all = link("/dir", Rights::READ | Rights::LIST | Rights::CREATE | Rights::REPLACE, LATER);
    for (method, path, status) in [
        ("GET", "/dir/", "200"),
        ("PUT", "/dir/new", "201"),
        ("PUT", "/dir/sub/file", "204"),
        ("DELETE", "/dir/sub/file", "403"),
        ("PUT", "/new", "403"),
    ] {
        assert_eq!(ask(method, path, &format!("fw={all}")), status, "{method} {path}");
    }
    let drop_box = link("/dir", Rights::CREATE, LATER);
    for (method, path, status) in [("PUT", "/dir/new", "201"), ("GET", "/dir/sub/file", "403"), ("GET", "/dir/", "403")]
    {
        assert_eq!(ask(method, path, &format!("fw={drop_box}")), status, "{method} {path}");
    }
    let old = link("/dir", Rights::READ, support::rig::STARTED_S);
    assert_eq!(ask("GET", "/dir/sub/file", &format!("fw={old}")), "410");
    assert_eq!(ask("GET", "/dir/sub/file", &format!("fw={}", &read[1..])), "403");
    assert_eq!(ask("GET", "/dir/sub/file", "fw="), "403");
    assert_eq!(ask("GET", "/dir/sub/file", &format!("fw={read}&fw={read}")), "400");
    assert_eq!(ask("GET", "/dir/sub/file", ""), "401");
}
