use super::*;
use crate::wire::http::head::{self, Sender};

/// The client that a head with these lines names, if 10.0.0.0/8 and 2001:db8:ff::/48 are trusted.
fn client_of(lines: &[&str]) -> Result<Option<String>, HeadError> {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let head = format!("GET http://x/forwarded:for=1.1.1.1 HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
    let trusts = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets()[0] == 10,
        IpAddr::V6(address) => address.segments()[..3] == [0x2001, 0xdb8, 0xff],
    };
    let head = head::parse_found(head.as_bytes(), Sender::Proxy)?;
    client(head.forwarded.as_deref().expect("asked for"), trusts).map(|found| found.map(|address| address.to_string()))
}

fn named(lines: &[&str]) -> String {
    match client_of(lines) {
        Ok(Some(address)) => address,
        Ok(None) => "none".to_owned(),
        Err(_) => "refused".to_owned(),
    }
}

#[test]
fn the_client_is_the_last_address_of_no_trusted_proxy() {
    for (list, wanted) in [
        ("203.0.113.9", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("198.51.100.1,203.0.113.9,10.0.0.3 ,\t10.0.0.2", "203.0.113.9"),
        ("10.0.0.4, 203.0.113.9, 10.0.0.3", "203.0.113.9"),
        ("10.0.0.4, 10.0.0.3", "10.0.0.4"),
        ("2001:db8::9, 2001:db8:ff::1", "2001:db8::9"),
        ("::ffff:203.0.113.9, ::ffff:10.0.0.1", "203.0.113.9"),
        ("", "none"),
        (" , ,", "none"),
        (",203.0.113.9,,", "203.0.113.9"),
    ] {
        assert_eq!(named(&[&format!("X-Forwarded-For: {list}")]), wanted, "{list}");
        let quoted = list.split(',').map(|one| match one.trim() {
            "" => String::new(),
            one if one.contains(':') => format!("For=\"[{one}]\";proto=https"),
            one => format!("by=10.0.0.9;for={one}"),
        });
        let standard = quoted.collect::<Vec<_>>().join(", ");
        assert_eq!(named(&[&format!("forwarded:{standard}")]), wanted, "{standard}");
    }
}

#[test]
fn lines_of_one_field_are_one_list() {
    for name in ["X-Forwarded-For", "x-forwarded-for", "X-FORWARDED-FOR"] {
        let lines = ["198.51.100.1", "203.0.113.9", "10.0.0.2, 10.0.0.3", "", "10.0.0.4"];
        let lines = lines.map(|value| format!("{name}: {value}"));
        assert_eq!(named(&lines.each_ref().map(String::as_str)), "203.0.113.9");
    }
    assert_eq!(
        named(&["Forwarded: for=198.51.100.1", "Forwarded: for=203.0.113.9", "Forwarded: for=10.1.1.1"]),
        "203.0.113.9"
    );
    for other in [
        "X-Forwarded-Fo: 1.1.1.1",
        "X-Forwarded-For2: 1.1.1.1",
        "X_Forwarded_For: 1.1.1.1",
        "A: forwarded: for=1.1.1.1",
    ] {
        assert_eq!(named(&[other]), "none", "{other}");
    }
}

#[test]
fn every_form_of_a_node_is_understood_or_refused() {
    for (node, wanted) in [
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9:4711", "203.0.113.9"),
        ("203.0.113.9:_port", "203.0.113.9"),
        ("[2001:db8::9]", "2001:db8::9"),
        ("[2001:db8::9]:4711", "2001:db8::9"),
        ("[2001:db8::9]:_a.b-c", "2001:db8::9"),
        ("[::ffff:203.0.113.9]", "203.0.113.9"),
        ("unknown", "0.0.0.0"),
        ("UnKnown:80", "0.0.0.0"),
        ("_hidden", "0.0.0.0"),
        ("_SEVKISEK:_a", "0.0.0.0"),
        ("0.0.0.0", "0.0.0.0"),
        ("_", "refused"),
        ("_a b", "refused"),
        ("_a$", "refused"),
        ("203.0.113", "refused"),
        ("203.0.113.09", "refused"),
        ("203.0.113.256", "refused"),
        ("203.0.113.9:", "refused"),
        ("203.0.113.9:123456", "refused"),
        ("203.0.113.9:8a", "refused"),
        ("[203.0.113.9]", "refused"),
        ("[2001:db8::9", "refused"),
        ("[2001:db8::9]x", "refused"),
        ("[fe80::1%eth0]", "refused"),
        ("2001:db8::9]", "refused"),
        ("client.example", "refused"),
        ("localhost", "refused"),
        ("-", "refused"),
        ("\u{e9}", "refused"),
    ] {
        assert_eq!(named(&[&format!("Forwarded: for=\"{node}\"")]), wanted, "{node}");
        assert_eq!(named(&[&format!("X-Forwarded-For: {node}")]), wanted, "{node}");
        // After a client that is known nothing is looked at.
        assert_eq!(named(&[&format!("X-Forwarded-For: {node}, 203.0.113.9")]), "203.0.113.9", "{node}");
        assert_eq!(named(&[&format!("Forwarded: for=\"{node}\", for=203.0.113.9")]), "203.0.113.9", "{node}");
    }
    assert_eq!(named(&["X-Forwarded-For: 2001:db8::9"]), "2001:db8::9");
    assert_eq!(named(&["Forwarded: for=203.0.113.9:80"]), "203.0.113.9", "without the quotes it needs");
    assert_eq!(named(&["Forwarded: for=[2001:db8::9]:80;proto=http"]), "2001:db8::9");
    assert_eq!(named(&[r#"Forwarded: for="\2\03.0.113.\9""#]), "203.0.113.9");
}

#[test]
fn an_element_without_a_client_hides_it() {
    for value in
        ["proto=https", "for=203.0.113.9, by=10.0.0.1", "for=203.0.113.9, ;", "host=\"for=1.1.1.1, for=2.2.2.2\""]
    {
        assert_eq!(named(&[&format!("Forwarded: {value}")]), "0.0.0.0", "{value}");
    }
}

#[test]
fn a_forged_quote_does_not_hide_what_a_proxy_appends() {
    let forged = [
        "\"",
        "for=1.1.1.1;x=\"",
        "for=\"1.1.1.1",
        "x=\"\\",
        "for=1.1.1.1, x=\"",
        "for=1.1.1.1;x=\",",
        "=",
        "for=",
        "for",
        "\\",
        "x=\"\",",
    ];
    let appended = [
        "for=203.0.113.9",
        "for=\"203.0.113.9:80\"",
        "for=\"[2001:db8::9]\";proto=http",
        "for=203.0.113.9;host=\"x\"",
        "for=203.0.113.9;host=\"for=1.1.1.1\"",
    ];
    for forged in forged {
        for appended in appended {
            let wanted = named(&[&format!("Forwarded: {appended}")]);
            let said = named(&[&format!("Forwarded: {forged}, {appended}")]);
            assert!(said == wanted || said == "refused", "{forged}, {appended}: {said}");
            let said = named(&[&format!("Forwarded: {forged}"), &format!("Forwarded: {appended}")]);
            assert!(said == wanted || said == "refused", "{forged}, {appended}: {said}");
        }
    }
}

#[test]
fn a_line_that_breaks_the_grammar_is_refused() {
    for value in [
        "for=203.0.113.9;for=203.0.113.9",
        "for =203.0.113.9",
        "for= 203.0.113.9",
        "for=203.0.113.9 by=x",
        "for=\"203.0.113.9\"x",
        "for=\"203.0.113.9",
        "for=\"203.0.113.9\\",
        "for=a/b",
        "203.0.113.9",
    ] {
        assert_eq!(client_of(&[&format!("Forwarded: {value}")]), Err(MALFORMED), "{value}");
    }
    assert_eq!(named(&["Forwarded: ;;for=203.0.113.9 ; by=10.0.0.1;; ,"]), "203.0.113.9");
}

#[test]
fn two_fields_must_name_the_same_client() {
    let [same, other] = ["X-Forwarded-For: 1.1.1.1, 203.0.113.9", "X-Forwarded-For: 203.0.113.9, 1.1.1.1"];
    let standard = "Forwarded: for=2.2.2.2, for=203.0.113.9, for=10.0.0.1";
    assert_eq!(named(&[standard, same]), "203.0.113.9");
    for hidden in ["Forwarded: for=unknown", "Forwarded: proto=http", "Forwarded: \""] {
        assert_eq!(named(&[hidden, same]), "refused");
    }
    assert_eq!(named(&[standard, other]), "refused");
    assert_eq!(named(&[standard, "X-Forwarded-For: ,"]), "203.0.113.9", "an empty list is none");
}

#[test]
fn the_trusted_proxies_at_the_end_of_a_list_are_bounded() {
    for (hops, wanted) in [(HOPS_MAX, "10.0.0.1"), (HOPS_MAX + 1, "refused"), (1000, "refused")] {
        let list = vec!["10.0.0.1"; hops].join(",");
        assert_eq!(named(&[&format!("X-Forwarded-For: {list}")]), wanted);
        assert_eq!(named(&[&format!("X-Forwarded-For: {list}, 203.0.113.9")]), "203.0.113.9");
        let elements = vec!["for=10.0.0.1"; hops].join(",");
        assert_eq!(named(&[&format!("Forwarded: {elements}")]), wanted);
    }
}

/// Whatever a client sends, a proxy that appends its address is believed, or the request is refused.
#[test]
fn no_prefix_of_few_characters_changes_the_client() {
    let alphabet = ['f', '=', '"', '\\', ',', ';', ' ', '1', '['];
    let mut prefixes = vec![String::new()];
    for _ in 0..5 {
        prefixes = prefixes.iter().flat_map(|one| alphabet.iter().map(move |c| format!("{one}{c}"))).collect();
        for prefix in &prefixes {
            let said = named(&[&format!("Forwarded: {prefix}, for=203.0.113.9")]);
            assert!(said == "203.0.113.9" || said == "refused", "{prefix:?}: {said}");
            let quoted = named(&[&format!("Forwarded: {prefix}, for=\"[2001:db8::9]:1\"")]);
            assert!(quoted == "2001:db8::9" || quoted == "refused", "{prefix:?}: {quoted}");
            assert_eq!(named(&[&format!("X-Forwarded-For: {prefix}, 203.0.113.9")]), "203.0.113.9", "{prefix:?}");
        }
    }
}

#[test]
fn one_user_is_named_or_none() {
    for (lines, wanted) in [
        (&[][..], Ok(None)),
        (&["Remote-User: anna"], Ok(Some("anna"))),
        (&["remote-USER:\t anna \t"], Ok(Some("anna"))),
        (&["Remote-User: anna, ben"], Ok(Some("anna, ben"))),
        (&["Remote-User:"], Ok(None)),
        (&["Remote_User: anna", "X-Remote-User: anna", "Remote-Users: anna", "A: Remote-User: anna"], Ok(None)),
        (&["Remote-User: anna", "Remote-User: anna"], Err(())),
        (&["Remote-User:", "Accept: x", "remote-user: anna"], Err(())),
        (&["Remote-User: anna", "Remote-User:"], Err(())),
    ] {
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let head = format!("GET /Remote-User:x HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
        let head = head::parse_found(head.as_bytes(), Sender::Proxy).expect("good");
        let fields = head.forwarded.as_deref().expect("asked for");
        assert_eq!(remote_user(fields).map_err(|_| ()), wanted, "{lines}");
    }
    let fields = ForwardedFields { remote_user: vec![b"\xff"], ..ForwardedFields::default() };
    assert!(remote_user(&fields).is_err());
}
