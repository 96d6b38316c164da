//! Hashes that other programs made, costs that are refused, and what is remembered of right passwords.

use super::*;

/// Made by the command `argon2`: `printf '%s' PASSWORD | argon2 SALT -id -k M -t T -p P -e`.
const MADE_BY_ARGON2: [(&str, &str); 3] = [
    (
        "correct horse",
        "$argon2id$v=19$m=4096,t=2,p=1$c29tZXNhbHQxMjM0NTY3OA$+hDL1XTwcFAR7BsG3xv4osxSspSImyeGTqlUSM7P7oc",
    ),
    (
        "correct horse",
        "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQxMjM0NTY3OA$oVLnFW4Vdd+KZaNyuHNZYDlTeeRDSkyoACLFGAAhgLc",
    ),
    ("pässword", "$argon2id$v=19$m=64,t=3,p=2$c2FsdHNhbHQ$k0HLucYuLGcaHP6da/QjG+HIbs1P1yHr"),
];
const SMALL: &str = MADE_BY_ARGON2[2].1;

fn passwords() -> Passwords {
    let hash = |text| PasswordHash::parse(text).expect("a hash");
    let dear = SMALL.replace("m=64,t=3", "m=128,t=2");
    let mut passwords = Passwords::default();
    passwords.set_key([7; 32]);
    assert!(passwords.add("anna", hash(SMALL)) && passwords.add("ben", hash(&dear)));
    assert!(!passwords.add("anna", hash(&dear)));
    passwords
}

fn checked(passwords: &Passwords, user: &str, password: &str) -> Verdict {
    match passwords.decide(user, password.as_bytes(), None) {
        Decision::Check(check) => check.run(&mut WorkMemory::default()),
        decided => panic!("{decided:?} without a check"),
    }
}

#[test]
fn hashes_of_the_argon2_command_are_read_and_match_their_password_only() {
    let mut memory = WorkMemory::default();
    for (password, text) in MADE_BY_ARGON2 {
        let hash = PasswordHash::parse(text).expect(text);
        assert_eq!(hash.to_string(), text);
        assert!(hash.matches(password.as_bytes(), &mut memory), "{text}");
        assert!(!hash.matches(b"correct horsf", &mut memory), "{text}");
        assert!(!hash.matches(b"", &mut memory), "{text}");
    }
    assert_eq!(memory.0.len(), 19_456);
}

#[test]
fn a_new_hash_is_read_again_and_matches() {
    let hash = PasswordHash::of(b"s3cret", [9; 16]);
    let again = PasswordHash::parse(&hash.to_string()).expect("our own");
    assert!(again.matches(b"s3cret", &mut WorkMemory::default()));
    assert_eq!(again.memory(), 19_456 * 1024);
}

#[test]
fn a_hash_that_is_malformed_or_too_costly_is_refused() {
    for (change, why) in [
        (("$argon2id", "argon2id"), "begin with $argon2id$"),
        (("argon2id", "argon2i"), "begin with $argon2id$"),
        (("v=19", "v=16"), "v=19"),
        (("m=64", "m=262145"), "m= is not"),
        (("m=64", "m=4294967296"), "m= is not"),
        (("m=64", "m=15"), "too small"),
        (("m=64,t=3", "t=3,m=64"), "m= is not"),
        (("t=3", "t=17"), "t= is not"),
        (("t=3", "t=0"), "too small"),
        (("t=3", "t=+3"), "t= is not"),
        (("p=2", "p=0"), "too small"),
        (("p=2", "p=17"), "p= is not"),
        (("p=2", "p=2,data=AA"), "beside m, t and p"),
        (("c2FsdHNhbHQ", "c2FsdA"), "salt does not have"),
        (("c2FsdHNhbHQ", "c2FsdHNhbHQ="), "salt is not base64"),
        (("k0HLucYuLGcaHP6da/QjG+HIbs1P1yHr", "k0HL"), "hash does not have"),
        (("yHr", "yHr$"), "after the hash"),
    ] {
        let text = SMALL.replace(change.0, change.1);
        assert!(PasswordHash::parse(&text).is_err_and(|told| told.contains(why)), "{text}");
    }
    for len in 0..SMALL.len() - 12 {
        assert!(PasswordHash::parse(&SMALL[..len]).is_err(), "the first {len} bytes");
    }
}

#[test]
fn a_password_is_checked_once_and_a_wrong_one_each_time() {
    let passwords = passwords();
    let verdict = checked(&passwords, "anna", "pässword");
    assert_eq!(verdict.finding, Finding::Right);
    assert!(matches!(passwords.decide("anna", "pässword".as_bytes(), Some(&verdict)), Decision::Found(Finding::Right)));
    assert!(matches!(passwords.decide("anna", "pässword".as_bytes(), None), Decision::Found(Finding::Right)));
    assert!(matches!(passwords.decide("ben", "pässword".as_bytes(), Some(&verdict)), Decision::Check(_)));
    let verdict = checked(&passwords, "anna", "password");
    assert_eq!(verdict.finding, Finding::Wrong);
    assert!(matches!(passwords.decide("anna", b"password", Some(&verdict)), Decision::Found(Finding::Wrong)));
    assert!(matches!(passwords.decide("anna", b"password", None), Decision::Check(_)));
}

#[test]
fn a_verdict_says_nothing_to_another_process() {
    let old = passwords();
    let verdict = checked(&old, "anna", "pässword");
    let new = Passwords { key: Some([8; 32]), ..passwords() };
    assert!(matches!(new.decide("anna", "pässword".as_bytes(), Some(&verdict)), Decision::Check(_)));
}

#[test]
fn the_next_access_file_knows_the_right_passwords_of_users_that_have_the_same_hash() {
    let old = passwords();
    let password = "pässword".as_bytes();
    let verdict = checked(&old, "anna", "pässword");
    assert!(matches!(old.decide("anna", password, Some(&verdict)), Decision::Found(Finding::Right)));
    let read_again = |hash: &str| {
        let mut new = Passwords { key: Some([8; 32]), ..Passwords::default() };
        assert!(new.add("ben", PasswordHash::parse(SMALL).expect("a hash")));
        assert!(new.add("anna", PasswordHash::parse(hash).expect("a hash")));
        new.keep(&old);
        new
    };
    let same = read_again(SMALL);
    assert!(matches!(same.decide("anna", password, None), Decision::Found(Finding::Right)));
    assert!(matches!(same.decide("anna", b"password", None), Decision::Check(_)));
    assert!(matches!(same.decide("ben", password, None), Decision::Check(_)), "the same hash, and another user");
    // The password was changed while the old one was being checked.
    for changed in [SMALL.replace("k0HL", "k1HL"), SMALL.replace("c2Fs", "c3Fs"), SMALL.replace("t=3", "t=4")] {
        let new = read_again(&changed);
        assert!(matches!(new.decide("anna", password, Some(&verdict)), Decision::Check(_)), "{changed}");
        assert!(matches!(new.decide("anna", password, None), Decision::Check(_)), "{changed}");
    }
    let mut without = Passwords::default();
    assert!(without.add("ben", PasswordHash::parse(SMALL).expect("a hash")));
    without.keep(&old);
    let verdict = checked(&without, "anna", "pässword");
    assert_eq!(verdict.finding, Finding::Wrong);
    assert!(matches!(same.decide("anna", password, Some(&verdict)), Decision::Found(Finding::Right)));
    assert!(matches!(read_again(SMALL).decide("anna", password, Some(&verdict)), Decision::Found(Finding::Right)));
}

#[test]
fn an_unknown_user_costs_a_check_and_is_always_wrong() {
    let passwords = passwords();
    let mut hashes = [0, 0];
    for n in 0..64 {
        let user = format!("user{n}");
        for password in ["pässword", ""] {
            let Decision::Check(check) = passwords.decide(&user, password.as_bytes(), None) else {
                panic!("no check for {user}")
            };
            hashes[usize::from(check.hash.memory() > 64 * 1024)] += 1;
            let verdict = check.run(&mut WorkMemory::default());
            assert_eq!(verdict.finding, Finding::Wrong);
            assert!(matches!(
                passwords.decide(&user, password.as_bytes(), Some(&verdict)),
                Decision::Found(Finding::Wrong)
            ));
        }
    }
    assert!(hashes[0] > 10 && hashes[1] > 10 && hashes[0] % 2 == 0, "each costs as one of the users: {hashes:?}");
    for other in [Passwords { users: BTreeMap::new(), ..passwords }, Passwords { key: None, ..self::passwords() }] {
        assert!(matches!(other.decide("anna", "pässword".as_bytes(), None), Decision::Found(Finding::Wrong)));
    }
}

#[test]
fn nothing_secret_is_shown() {
    let passwords = passwords();
    let Decision::Check(check) = passwords.decide("anna", b"s3cret", None) else { panic!("no check") };
    let shown = format!("{passwords:?} {check:?} {:?}", PasswordHash::parse(SMALL));
    assert!(!shown.contains("s3cret") && !shown.contains("115, 51") && !shown.contains("k0HL"), "{shown}");
}
