//! Locks of WebDAV. After a power cut every lock that was answered stands, and none that was answered as ended; the file
//! that the lock of a new name makes is empty and there.

use std::net::SocketAddr;

use crate::joins::{ask, field};
use crate::parts::Told;
use crate::story::{Found, Violation, Wrong};
use support::content::Random;

const LOCKINFO: &[u8] =
    b"<lockinfo xmlns='DAV:'><lockscope><exclusive/></lockscope><locktype><write/></locktype></lockinfo>";
const PROPFIND: &[u8] = b"<propfind xmlns='DAV:'><prop><lockdiscovery/></prop></propfind>";
/// [`Told::Safe`] of a lock that was answered, and of one that was then asked to end. It is complete once that was
/// answered.
const LOCKED: Told = Told::Safe(1);
const ENDING: Told = Told::Safe(2);

/// One lock of a name that nothing has.
#[derive(Debug)]
pub struct Locked {
    pub path: String,
    ends: bool,
}

impl Locked {
    pub fn new(path: String, random: &mut Random) -> Self {
        Self { path, ends: random.below(2) == 0 }
    }

    pub fn make(&self, address: SocketAddr, tell: impl Fn(Told)) -> Result<(), String> {
        let fields = format!("Depth: 0\r\nTimeout: Second-3600\r\nContent-Length: {}\r\n", LOCKINFO.len());
        let reply = ask(address, "LOCK", &self.path, &fields, LOCKINFO)?;
        let token = field(&reply, "Lock-Token").filter(|_| reply.starts_with("HTTP/1.1 201 "));
        let token = token.ok_or_else(|| format!("LOCK {}: {reply:?}", self.path))?;
        tell(LOCKED);
        if self.ends {
            tell(ENDING);
            let reply = ask(address, "UNLOCK", &self.path, &format!("Lock-Token: {token}\r\n"), b"")?;
            if !reply.starts_with("HTTP/1.1 204 ") {
                return Err(format!("UNLOCK {}: {reply:?}", self.path));
            }
            tell(Told::Complete);
        }
        Ok(())
    }

    pub fn judge(
        &self,
        told: Option<Told>,
        found: Option<&Found>,
        address: SocketAddr,
    ) -> Result<Option<Violation>, String> {
        let fields = format!("Depth: 0\r\nContent-Length: {}\r\n", PROPFIND.len());
        let reply = ask(address, "PROPFIND", &self.path, &fields, PROPFIND)?;
        let is_locked = match reply.get(..13) {
            Some("HTTP/1.1 207 ") => reply.contains("activelock>"),
            Some("HTTP/1.1 404 ") => false,
            _ => return Err(format!("PROPFIND {}: {reply:?}", self.path)),
        };
        Ok(wrong(told, found, is_locked).map(|wrong| {
            let words = format!("{}: told {told:?}, locked: {is_locked}, the file is {found:?}", self.path);
            Violation { wrong, words }
        }))
    }
}

fn wrong(told: Option<Told>, found: Option<&Found>, is_locked: bool) -> Option<Wrong> {
    match (told, found) {
        (_, Some(found)) if *found != Found::File(Vec::new()) => Some(Wrong::Torn),
        (Some(_), None) => Some(Wrong::Lost),
        (Some(LOCKED), _) if !is_locked => Some(Wrong::Lost),
        (Some(Told::Complete), _) if is_locked => Some(Wrong::Returned),
        // A lock is not on the disk before its file.
        (None, None) if is_locked => Some(Wrong::Torn),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_found_of_a_lock_is_distinguished_from_what_may_not() {
        let (empty, full) = (Found::File(Vec::new()), Found::File(vec![1]));
        for (told, found, is_locked, wanted) in [
            (None, None, false, None),
            (None, Some(&empty), false, None),
            (None, Some(&empty), true, None),
            (None, None, true, Some(Wrong::Torn)),
            (Some(LOCKED), Some(&empty), true, None),
            (Some(LOCKED), Some(&empty), false, Some(Wrong::Lost)),
            (Some(LOCKED), None, true, Some(Wrong::Lost)),
            (Some(LOCKED), Some(&full), true, Some(Wrong::Torn)),
            (Some(ENDING), Some(&empty), true, None),
            (Some(ENDING), Some(&empty), false, None),
            (Some(Told::Complete), Some(&empty), false, None),
            (Some(Told::Complete), Some(&empty), true, Some(Wrong::Returned)),
        ] {
            assert_eq!(wrong(told, found, is_locked), wanted, "{told:?} {found:?} {is_locked}");
        }
    }
}
