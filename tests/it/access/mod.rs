//! The rights of callers by an access file: the sessions of all dialects on the platform in memory.

mod attached;
mod credentials;
mod drop_boxes;
mod identity;
mod legacy;
mod links;
mod matrix;
mod names;
mod notices;
mod oracle;
mod passwords;
mod program;
mod quotas;
mod reload;
mod reload_under_load;
mod trees;

use std::sync::Arc;

use filewharf::access::{Access, Rules, file};
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};
use sha2::{Digest as _, Sha256};

use support::rig::{Mode, Rig};

/// The callers of these tests have their names, with this after, for tokens.
pub const TOKEN: &str = "-s-token";

/// The entries of a file in which these names are proved.
pub fn entries(names: &[&str], allows: &str) -> String {
    let tokens = names.iter().map(|name| {
        let digest = Sha256::digest(format!("{name}{TOKEN}"));
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("token {name} sha256:{hex}\n")
    });
    tokens.collect::<String>() + allows
}

fn rules(names: &[&str], allows: &str) -> Rules {
    let text = entries(names, allows);
    file::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A server with these rules; anna, bob and ci have tokens.
fn rig_with(kind: Kind, allows: &str, limits: Limits) -> Rig {
    let access = Access::with_rules(Arc::new(rules(&["anna", "bob", "ci"], allows)), false);
    Rig::speaking(Listening::new(kind, &[], 0).expect("no options"), Mode::PLAIN, limits, access)
}

pub(crate) fn rig(kind: Kind, allows: &str) -> Rig {
    rig_with(kind, allows, Limits::default())
}

/// One request in the `line` protocol, by this caller; the first line of the answer and what follows it.
fn line(rig: &mut Rig, name: &str, request: &str) -> (String, String) {
    let peer = rig.connect();
    if !name.is_empty() {
        rig.send(&peer, format!("AUTH {name}{TOKEN}\n").as_bytes());
    }
    let before = peer.heard().len();
    rig.send(&peer, request.as_bytes());
    let heard = String::from_utf8_lossy(&peer.heard()[before..]).into_owned();
    rig.finish(&peer);
    let (first, rest) = heard.split_once('\n').unwrap_or((&heard, ""));
    (first.to_owned(), rest.to_owned())
}

/// One request over HTTP, by this caller, with more lines of the head; the status and all that was heard.
pub(crate) fn http(rig: &mut Rig, name: &str, request: &str, fields: &str, body: &str) -> (u16, String) {
    let peer = rig.connect();
    let proof = if name.is_empty() { String::new() } else { format!("Authorization: Bearer {name}{TOKEN}\r\n") };
    rig.send(&peer, format!("{request} HTTP/1.1\r\nHost: x\r\n{proof}{fields}\r\n{body}").as_bytes());
    let heard = String::from_utf8_lossy(&peer.heard()).into_owned();
    rig.finish(&peer);
    let status = heard.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, heard)
}

fn put_http(rig: &mut Rig, name: &str, path: &str, content: &str) -> u16 {
    http(rig, name, &format!("PUT {path}"), &format!("Content-Length: {}\r\n", content.len()), content).0
}
