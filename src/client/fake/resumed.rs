//! Uploads with `resume=`: what was received before a cut is kept.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::sync::Mutex;

use sha2::{Digest as _, Sha256};

use super::state::{In, Kept, Out, State, option, own_line};
use crate::wire::line::{self, Request, hex};

/// The answer to `STAT resume=`.
pub(super) fn stat(token: &str, path: &str, state: &State) -> String {
    match state.uploads.get(&(token.to_owned(), path.to_owned())) {
        Some(Kept { size, is_complete: true, .. }) => format!("OK 0 offset={size} size={size} complete=1\n"),
        Some(kept) => format!("OK 0 offset={} size={}\n", kept.bytes.len(), kept.size),
        None => "ERR 404 no such upload\n".to_owned(),
    }
}

pub(super) fn put(
    token: &str,
    request: &Request<'_>,
    input: &mut In,
    out: &mut Out,
    state: &Mutex<State>,
) -> io::Result<()> {
    let size: usize = request.word.and_then(|size| size.parse().ok()).expect("a size");
    let announced = option(request, "sha256").and_then(line::sha256);
    let key = (token.to_owned(), request.path.to_owned());
    let (mut kept, cut) = {
        let mut state = state.lock().expect("unpoisoned");
        if let Some(reply) = state.refuse_resume {
            return out.write_all(reply.as_bytes());
        }
        let mut kept = state.uploads.remove(&key).unwrap_or_default();
        if kept.is_complete
            && let Some(file) = state.files.get(request.path)
            && announced.is_some_and(|digest| digest == <[u8; 32]>::from(Sha256::digest(&*file.bytes)))
        {
            let reply = format!("GO {size}\nOK 0 etag={} stored=durable\n", file.etag);
            state.uploads.insert(key, kept);
            drop(state);
            return out.write_all(reply.as_bytes());
        }
        if kept.is_complete || kept.size != size {
            kept = Kept { size, ..Kept::default() };
        }
        (kept, state.cut_uploads.pop_front())
    };
    out.write_all(format!("GO {}\n", kept.bytes.len()).as_bytes())?;
    let wanted = (size - kept.bytes.len()) as u64;
    let taken = input.by_ref().take(cut.unwrap_or(wanted).min(wanted)).read_to_end(&mut kept.bytes);
    let is_whole = kept.bytes.len() == size && cut.is_none();
    let mut state = state.lock().expect("unpoisoned");
    state.received += taken.as_ref().map_or(0, |count| *count as u64);
    if !is_whole {
        state.uploads.insert(key, kept);
        let _ = out.stream.shutdown(Shutdown::Both);
        return Err(io::ErrorKind::Other.into());
    }
    if state.damage > 0 && size > 0 {
        state.damage -= 1;
        kept.bytes[0] ^= 1;
    }
    let told = announced.map_or_else(|| line::trailer(&own_line(input)?).map_err(|_| io::ErrorKind::Other.into()), Ok);
    let told: [u8; 32] = match told {
        Ok(told) => told,
        Err(error) => {
            state.uploads.insert(key, kept);
            return Err(error);
        }
    };
    if told != <[u8; 32]>::from(Sha256::digest(&kept.bytes)) {
        return out.write_all(format!("ERR 422 it is not {}\n", hex(&told)).as_bytes());
    }
    let mtime = option(request, "mtime").map_or(0, |mtime| mtime.parse().expect("a number"));
    let etag = state.store(request.path, std::mem::take(&mut kept.bytes), mtime);
    state.set_executable(request);
    state.uploads.insert(key, Kept { is_complete: true, ..kept });
    if state.lose_confirmations > 0 {
        state.lose_confirmations -= 1;
        let _ = out.stream.shutdown(Shutdown::Both);
        return Err(io::ErrorKind::Other.into());
    }
    out.write_all(format!("OK 0 etag={etag} stored=durable\n").as_bytes())
}
