//! What counts as one client: the name that it has proved, else its address, as long as the server knows of it.

use std::time::Duration;

use filewharf::access::{Access, file};
use filewharf::config::Limits;

use support::rig::{Mode, Rig};

use crate::access::{TOKEN, entries};

/// Begins an upload as this caller from this address; true if it is taken.
fn begins_upload(rig: &mut Rig, name: Option<&str>, host: u8) -> bool {
    let peer = rig.connect_from(host);
    if let Some(name) = name {
        rig.send(&peer, format!("AUTH {name}{TOKEN}\n").as_bytes());
    }
    let before = peer.heard().len();
    rig.send(&peer, format!("PUT 5 /of-{host}\n").as_bytes());
    let told = String::from_utf8(peer.heard()[before..].to_vec()).expect("text");
    assert!(told.is_empty() || told.starts_with("ERR 429 retry="), "{told}");
    told.is_empty()
}

#[test]
fn a_name_is_one_client_at_all_addresses_and_two_names_are_two_at_one() {
    let rules = entries(&["anna", "bob"], "allow anna rcw /\nallow bob rcw /\nallow @ rcw /");
    let access = Access::with_rules(file::parse(&rules).expect("rules").into(), false);
    let limits = Limits::default().with(|l| l.live.client_uploads_max = 1);
    let mut rig = Rig::new(Mode::PLAIN, limits, access);
    let mut begins = |name, host| begins_upload(&mut rig, name, host);
    assert!(begins(Some("anna"), 1) && begins(Some("bob"), 1) && begins(None, 1));
    assert!(!begins(Some("anna"), 2) && !begins(Some("bob"), 2) && begins(None, 2));
}

#[test]
fn clients_that_are_gone_take_no_place_from_those_that_come() {
    let limits = Limits::default().with(|l| (l.fixed.client_groups_max, l.live.client_uploads_max) = (4, 1));
    let mut rig = Rig::new(Mode::PLAIN, limits, Access::default());
    for host in 1..=4 {
        let peer = rig.connect_from(host);
        rig.send(&peer, b"PUT 5 /gone\nhello");
        assert!(peer.heard().starts_with(b"OK 0 "));
        rig.finish(&peer);
    }
    rig.pass(Duration::from_secs(1));
    assert!((5..=8).all(|host| begins_upload(&mut rig, None, host)), "four have a place");
}
