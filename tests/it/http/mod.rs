//! HTTP in virtual time: `sections` of the RFCs as one table of requests and replies, `responses` that need more than a
//! row, `listings`, directories as one file (`archives`), what mounts them (`webdav`) and locks them (`locks`; on real sockets `lock_races`, and `kill -9` in `lock_kills`), requests of pages of other sites (`cross_site`), their forms (`forms`), a server that a
//! proxy passes on under a path (`prefix`), and the address of the operator (`admin`). Programs that speak HTTP are in `clients`.

#[cfg(feature = "admin")]
mod admin;
#[cfg(feature = "archives")]
mod archives;
mod cross_site;
mod forms;
mod listings;
#[cfg(feature = "webdav")]
mod lock_kills;
#[cfg(all(feature = "page", feature = "webdav"))]
mod lock_races;
#[cfg(feature = "webdav")]
mod locks;
mod prefix;
mod responses;
mod sections;
#[cfg(feature = "webdav")]
mod webdav;

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};

use support::rig::{Mode, Rig};

/// A server on the platform in memory that speaks HTTP.
fn server(limits: Limits) -> Rig {
    let listening = Listening::new(Kind::Http, &[], 1_700_000_000).expect("no options");
    let mut rig = Rig::speaking(listening, Mode::PLAIN, limits, Access::default());
    rig.place("f", b"0123456789");
    rig
}

/// Says this on a new connection and returns everything that is heard, as text.
#[track_caller]
fn heard(rig: &mut Rig, says: impl AsRef<[u8]>) -> String {
    let peer = rig.connect();
    rig.send(&peer, says.as_ref());
    String::from_utf8(peer.heard()).expect("text")
}

/// One response: its status, its fields, and what is after them.
struct Response {
    code: u16,
    head: String,
    body: String,
}

impl Response {
    #[track_caller]
    fn new(heard: &str) -> Self {
        let (head, body) = heard.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no response: {heard:?}"));
        let code = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let code = code.unwrap_or_else(|| panic!("no status line: {head:?}"));
        Self { code, head: format!("{head}\r\n"), body: body.to_owned() }
    }

    /// The value of a field that stands once.
    fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": ").filter(|(own, _)| *own == name));
        let value = lines.next().map(|(_, value)| value);
        assert!(lines.next().is_none(), "{name} stands twice: {}", self.head);
        value
    }
}
