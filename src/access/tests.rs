//! Of the access file and its rules.

use std::net::IpAddr;

use super::file::{self, FILE_LEN_MAX};
use super::*;
use crate::access::link::Link;
use crate::object::Key;
use std::sync::Arc;

const HEX: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"; // of "test"
const NOW_S: u64 = 1_700_000_000;
const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 2, 3));

fn rules(text: &str) -> Rules {
    file::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn rights(rules: &Rules, name: &str, path: &str) -> String {
    let caller = rules.as_if(name).unwrap_or_default();
    rules.rights(&caller, HERE, &Key::checked(path)).to_string()
}

const USER: &str = "user anna $argon2id$v=19$m=64,t=3,p=2$c2FsdHNhbHQ$k0HLucYuLGcaHP6da/QjG+HIbs1P1yHr";

#[test]
fn every_mistake_in_the_file_names_its_line() {
    let token = format!("token ci {HEX}");
    let other = HEX.replace('9', "8");
    for (entries, line, reason) in [
        (vec!["deny @ r /"], 1, "is none of user"),
        (vec!["", "# fine", "allow"], 3, "write: allow"),
        (vec!["allow @ x /"], 1, "are no rights"),
        (vec!["allow @ rr /"], 1, "are no rights"),
        (vec!["allow @ r pub"], 1, "must begin with /"),
        (vec!["allow @ r /a//b"], 1, "empty component"),
        (vec!["allow @ r /a/../b"], 1, ". or .."),
        (vec!["allow @ r /.filewharf/"], 1, "reserved"),
        (vec!["allow @ r /a/..."], 1, "dots and blanks"),
        (vec!["allow @ r /a extra"], 1, "is no option"),
        (vec!["allow @ r /a from=10.0.0.1/8"], 1, "after its prefix"),
        (vec!["allow @ r /a from=x"], 1, "from=x"),
        (vec!["allow @ r /a from=::1 from=::1"], 1, "twice"),
        (vec!["allow @ c /a max-size=2Q"], 1, "max-size=2Q"),
        (vec!["allow @ c /a max-size=99999999999T"], 1, "is not a number of bytes"),
        (vec!["allow @ c /a quota=1Q"], 1, "quota=1Q is not a number of bytes"),
        (vec!["allow @ c /a quota=1G quota=1G"], 1, "twice"),
        (vec!["allow @ c /a max-names=1 max-names=1"], 1, "twice"),
        (vec!["allow @ c /a max-names=1K"], 1, "max-names=1K is not a number of files"),
        (vec!["allow @ c /a max-names=-1"], 1, "is not a number of files"),
        (vec!["allow @ r /a max-names=1", "allow @ c /a quota=2G max-names=2"], 2, "/a has another quota"),
        (vec!["allow @ r /a quota=1G", "allow @ c /b", "allow @ c /a quota=2G"], 3, "/a has another quota"),
        (vec!["allow @ c /a rate=0"], 1, "rate=0 is not a number of bytes per second"),
        (vec!["allow @ c /a rate=1M rate=2M"], 1, "is given twice"),
        (vec!["allow @ r /a", "allow anna r /b"], 2, "no user, token or cert has the name anna"),
        (vec!["allow @ r /a", "allow @ r /A"], 2, "ignores case"),
        (vec!["allow @ r /A/x", "allow @ r /a"], 1, "ignores case"),
        (vec!["allow @ r /a", "allow @ r \"/a /x\""], 2, "ignores case"),
        (vec!["allow @ r \"/a"], 1, "a quote is not closed"),
        (vec!["allow @ r \"/a\"x"], 1, "a blank is missing"),
        (vec!["allow @ r /a\u{7}"], 1, "control"),
        (vec!["token ci sha256:abc"], 1, "64 hex digits"),
        (vec!["token ci md5:abc"], 1, "64 hex digits"),
        (vec!["token ci"], 1, "write: token"),
        (vec!["user anna"], 1, "user NAME proxy"),
        (vec!["user anna proxy", "user anna proxy"], 2, "already"),
        (vec!["user @ proxy"], 1, "is no name"),
        (vec!["user anna proxy expires=soon"], 1, "a day such as"),
        (vec![&token, &token], 2, "the same hash"),
        (vec![&token, &format!("token @ {other}")], 2, "is no name"),
        (vec![&token, &format!("token a:b {other}")], 2, "is no name"),
        (vec![&format!("{token} expires=2027-02-30")], 1, "a day such as"),
        (vec![&format!("{token} expires=2027-02-01 expires=2027-02-01")], 1, "twice"),
        (vec![&format!("{token} from=::1")], 1, "only expires="),
        (vec!["user anna $2b$12$abc"], 1, "$argon2id$"),
        (vec!["user anna $argon2id$a"], 1, "v=19"),
        (vec![USER, USER], 2, "has a password already"),
        (vec!["key k1 base64:AAAA"], 1, "16 to 64"),
        (vec!["key k1 AAAA"], 1, "16 to 64"),
        (vec!["key k1 base64:AAAAAAAAAAAAAAAAAAAAAA== x"], 1, "write: key"),
    ] {
        let error = file::parse(&entries.join("\n")).expect_err(&entries.join("\n"));
        assert_eq!(error.line, line, "{entries:?}: {error}");
        assert!(error.to_string().starts_with(&format!("{line}: ")) && error.reason.contains(reason), "{error}");
    }
    assert_eq!(file::parse(&"#".repeat(FILE_LEN_MAX + 1)).expect_err("too long").line, 0);
    let many = "allow @ r /a\n".repeat(file::ENTRIES_MAX + 1);
    assert_eq!(file::parse(&many).expect_err("too many").line, file::ENTRIES_MAX + 1);
}

#[test]
fn the_longest_prefix_decides_for_every_caller() {
    let rules = rules(&format!(
        "token anna {HEX}\r\ntoken bob {}\n\
         allow @ r /\n\
         allow @ r /pub   # for all\n\
         allow anna wd /pub/\n\
         allow anna rlcwd /pub/anna/\n\
         allow bob - /pub/anna/none\n\
         allow bob c \"/with blanks #1/\" from=10.0.0.0/8\n\
         allow bob r /far from=192.0.2.0/24",
        HEX.replace('9', "8")
    ));
    for (name, path, want) in [
        ("", "", "r"),
        ("", "x/y", "r"),
        ("", "pub", "r"),
        ("", "pub/x/y", "r"),
        ("anna", "pub/x", "rwd"),
        ("bob", "pub/x", "r"),
        ("anna", "pub/anna", "rlcwd"),
        ("anna", "pub/anna/x", "rlcwd"),
        ("bob", "pub/anna/x", "-"),
        ("", "pub/anna/x", "-"),
        ("anna", "pub/anna/none/x", "-"),
        ("anna", "pub/annax", "rwd"),
        ("bob", "with blanks #1/x", "c"),
        ("bob", "far/x", "-"),
        // Spellings of other names than they have.
        ("anna", "PUB/x", "-"),
        ("anna", "pub./x", "-"),
        ("anna", "pub /x", "-"),
        ("anna", "pub/Anna/x", "-"),
        ("anna", "pub/ANNA", "-"),
        ("anna", "pub/anna/X.", "rlcwd"),
        ("anna", "...", "-"),
    ] {
        assert_eq!(rights(&rules, name, path), want, "{name} {path}");
    }
    for (path, under) in [("", true), ("pub", true), ("PUB", true), ("pub/anna", true), ("pub/anna/none", false)] {
        assert_eq!(rules.has_rule_under(&Key::checked(path)), under, "{path}");
    }
    assert!(!rules.has_rule_under(&Key::checked("pu")) && !rules.has_rule_under(&Key::checked("far")));
}

#[test]
fn a_token_proves_a_name_until_it_expires_or_is_removed() {
    let access = |text: &str| Access::with_rules(Arc::new(rules(text)), false);
    let whole = access(&format!("token ci {HEX} expires=2023-11-15\nallow ci r /"));
    let caller = whole.admit(b"test", NOW_S).expect("the token");
    assert_eq!(caller.name(), Some("ci"));
    assert!(whole.admit(b"Test", NOW_S).is_none() && whole.admit(b"", NOW_S).is_none());
    assert!(whole.is_current(&caller, NOW_S) && !whole.is_current(&caller, NOW_S + 86_400));
    assert!(whole.admit(b"test", NOW_S + 86_400).is_none());
    let key = Key::root();
    assert_eq!(whole.rights(&caller, HERE, &key), Rights::READ, "though it may have expired");
    // The name is there, the token is not.
    let rotated = access(&format!("token ci {}\nallow ci r /", HEX.replace('9', "8")));
    assert!(!rotated.is_current(&caller, NOW_S));
    assert_eq!(rotated.rights(&caller, HERE, &key), Rights::NONE);
    let read_only = Access::with_rules(Arc::new(rules("allow @ rlcwd /")), true);
    assert_eq!(read_only.rights(&Caller::ANYBODY, HERE, &key).to_string(), "rl");
}

#[test]
fn one_upload_is_as_long_as_the_most_generous_rule_permits() {
    let rules = rules(&format!(
        "token ci {HEX}\nallow @ c /a max-size=1K\nallow ci w /a max-size=2K\nallow ci r /a\nallow @ c /b max-size=1K\nallow ci c /b"
    ));
    let ci = rules.as_if("ci").expect("a name");
    let len_max = |caller, path| rules.upload_len_max(caller, HERE, &Key::checked(path));
    assert_eq!(len_max(&Caller::ANYBODY, "a/x"), Some(1024));
    assert_eq!(len_max(&ci, "a/x"), Some(2048));
    assert_eq!(len_max(&ci, "b/x"), None);
}

#[test]
fn the_second_secret_permits_reading_only() {
    let access = Access::with_secrets(Some(b"full".to_vec()), Some(b"read".to_vec()), false);
    assert!(access.needs_secret() && access.admit(b"none", 0).is_none());
    for (secret, want) in [("full", "rlcwd"), ("read", "rl")] {
        let caller = access.admit(secret.as_bytes(), 0).expect("a secret");
        assert_eq!(access.rights(&caller, HERE, &Key::root()).to_string(), want);
    }
}

#[test]
fn a_link_is_bound_by_the_most_generous_rate_of_the_prefix() {
    let of = |allowed: &str| {
        let rules = rules(&format!("key k base64:AAAAAAAAAAAAAAAAAAAAAA==\ntoken anna {HEX}\n{allowed}"));
        let prefix = Key::checked("home/big");
        let link = Link { key_id: "k".into(), expires_s: NOW_S + 9, rights: Rights::READ, prefix };
        let caller = rules.link(&link.sign(&[0; 16]), NOW_S).expect("a link");
        let rate = rules.rate(&caller, HERE, &Key::checked("home/big"));
        rate.map(|(prefix, rate)| (prefix.to_owned(), rate))
    };
    let home = |rate| Some(("home".to_owned(), rate));
    assert_eq!(of("allow anna r /home/ rate=1K"), home(1024));
    assert_eq!(of("allow anna r /home/ rate=1K\nallow @ r /home/ rate=2K from=192.0.2.0/24"), home(2048));
    assert_eq!(of("allow anna r /home/ rate=1K\nallow @ - /home/"), home(1024), "that rule gives nothing");
    assert_eq!(of("allow anna r /home/ rate=1K\nallow @ r /home/"), None, "one has no bound");
    assert_eq!(of("allow anna r / rate=1K\nallow anna - /home/"), None, "no rule there gives a right");
}
