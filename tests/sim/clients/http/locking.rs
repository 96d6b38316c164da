//! What a client of HTTP does with locks: it takes, renews and ends them, and changes what it has locked.

use std::collections::BTreeMap;

use super::{Request, Verb, put};
use crate::clients::Io;
use crate::clients::errand::content;
use crate::model::{Content, Extent};

const EXCLUSIVE: &str =
    "<lockinfo xmlns=\"DAV:\"><lockscope><exclusive/></lockscope><locktype><write/></locktype></lockinfo>";

/// Locks a name, or does something with the lock that it holds of it.
pub(super) fn request(key: &str, tokens: &mut BTreeMap<String, String>, io: &mut Io<'_>) -> (Vec<u8>, Request) {
    let seconds = *io.rng.pick(&[3, 60, 1200]);
    let Some(token) = tokens.get(key).cloned() else { return lock(key, seconds, io) };
    let own = format!("If: (<{token}>)\r\n");
    match io.rng.below(5) {
        0 => {
            io.model.locks.may_end(&token);
            tokens.remove(key);
            let head = format!("UNLOCK /{key} HTTP/1.1\r\nHost: sim\r\nLock-Token: <{token}>\r\n\r\n");
            (head.into_bytes(), Request::new(Verb::Unlock, key))
        }
        1 => {
            // Until it is answered, either time may be that of the lock.
            io.model.locks.may_end(&token);
            let head = format!("LOCK /{key} HTTP/1.1\r\nHost: sim\r\n{own}Timeout: Second-{seconds}\r\n\r\n");
            (head.into_bytes(), Request::new(Verb::Lock(io.model.locks.now_us, seconds), key))
        }
        2 => {
            io.model.locks.may_end(&token);
            tokens.remove(key);
            let mut request = Request::new(Verb::Delete, key);
            request.read = Some(io.model.begin_read());
            request.write = Some(io.model.begin_write(key, None, Extent::Whole));
            (format!("DELETE /{key} HTTP/1.1\r\nHost: sim\r\n{own}\r\n").into_bytes(), request)
        }
        _ => {
            let value = content(io.rng, io.content_max);
            let (bytes, request) = put(key, value, None, false, io);
            request.write.into_iter().for_each(|write| io.model.shows_token(write));
            let at = bytes.windows(2).position(|end| end == b"\r\n").expect("a request line") + 2;
            ([&bytes[..at], own.as_bytes(), &bytes[at..]].concat(), request)
        }
    }
}

/// A name that nothing has gets an empty file.
fn lock(key: &str, seconds: u64, io: &mut Io<'_>) -> (Vec<u8>, Request) {
    let mut request = Request::new(Verb::Lock(io.model.locks.now_us, seconds), key);
    request.write = Some(io.model.begin_write(key, Some(Content::from([])), Extent::Whole));
    let fields = format!("Depth: 0\r\nTimeout: Second-{seconds}\r\nContent-Length: {}\r\n", EXCLUSIVE.len());
    (format!("LOCK /{key} HTTP/1.1\r\nHost: sim\r\n{fields}\r\n{EXCLUSIVE}").into_bytes(), request)
}
