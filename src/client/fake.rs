//! For tests: a server of the `line` protocol over a map in memory, which misbehaves on request and is correct otherwise.

mod resumed;
mod state;

use std::io::{self, BufRead as _, BufReader, Read as _, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::address::Address;
use super::options::Options;
use crate::wire::line::{self, Request, escape, hex, unescape};
use crate::wire::range::ByteRange;
pub(crate) use state::State;
use state::{In, Out, option, own_line};

/// A server that runs until the test ends.
pub(crate) struct Fake {
    pub(crate) address: Address,
    state: Arc<Mutex<State>>,
}

impl Fake {
    /// Listens on a port of the kernel's choice.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                thread::spawn(move || serve(stream, &state));
            }
        });
        Self { address: Address { host: "127.0.0.1".to_owned(), port, tls: false }, state }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds this")
    }

    /// Stores a file without a request.
    pub(crate) fn store(&self, path: &str, bytes: &[u8]) {
        self.state().store(path, bytes.to_vec(), 1_000_000_000);
    }

    /// The content of a file.
    pub(crate) fn content(&self, path: &str) -> Option<Vec<u8>> {
        self.state().files.get(path).map(|file| file.bytes.to_vec())
    }

    /// Options that do not wait.
    pub(crate) fn options() -> Options {
        Options {
            io_timeout: Duration::from_secs(120),
            backoff_first: Duration::from_micros(100),
            backoff_max: Duration::from_micros(200),
            segment_min: 64 << 10,
            segment_max: 64 << 10,
            resume_len_min: 64 << 10,
            ..Options::default()
        }
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) {
    stream.set_read_timeout(Some(Duration::from_secs(120))).expect("a timeout");
    let left = {
        let mut state = state.lock().expect("unpoisoned");
        state.connections += 1;
        state.cut_replies.pop_front()
    };
    let mut out = Out { stream: stream.try_clone().expect("a second handle"), left };
    let mut input = BufReader::new(stream);
    let mut known = false;
    let mut text = Vec::new();
    loop {
        text.clear();
        if !matches!(input.read_until(b'\n', &mut text), Ok(count) if count > 0) {
            return;
        }
        let Ok(request) = line::request(text.trim_ascii_end()) else {
            let _ = out.write_all(b"ERR 400 what\n");
            return;
        };
        let refusal = refuse(&request, &text, state, &mut known);
        let done = match refusal {
            Some(reply) => out.write_all(reply.as_bytes()).and_then(|()| match request.verb {
                "PUT" => Err(io::ErrorKind::Other.into()),
                _ => Ok(()),
            }),
            None => answer(&request, &mut input, &mut out, state),
        };
        if done.is_err() {
            let _ = input.get_ref().shutdown(Shutdown::Write);
            return;
        }
    }
}

/// What stands before every request: the log, the secret, the refusals ordered by a test.
fn refuse(request: &Request<'_>, text: &[u8], state: &Mutex<State>, known: &mut bool) -> Option<String> {
    let mut state = state.lock().expect("unpoisoned");
    state.log.push(String::from_utf8_lossy(text).trim_end().to_owned());
    if let Some(token) = &state.token
        && !*known
    {
        *known = request.verb == "AUTH" && request.word == Some(token);
        return (!*known).then(|| "ERR 401 a secret is needed\n".to_owned());
    }
    if state.knows_no_digests && option(request, "digest").is_some() {
        return Some("ERR 400 an option is unknown to this verb\n".to_owned());
    }
    match &mut state.refuse {
        Some((count, reply)) if *count > 0 => {
            *count -= 1;
            Some((*reply).to_owned())
        }
        _ => None,
    }
}

fn answer(request: &Request<'_>, input: &mut In, out: &mut Out, state: &Mutex<State>) -> io::Result<()> {
    match request.verb {
        "PUT" => return put(request, input, out, state),
        "GET" => return get(request, out, state),
        _ => {}
    }
    let mut state = state.lock().expect("unpoisoned");
    let path = request.path.to_owned();
    let reply = match request.verb {
        "AUTH" | "PING" => "OK 0\n".to_owned(),
        "MKDIR" => state.make(&path, option(request, "parents").is_some()),
        "DELETE" => state.delete(&path, option(request, "recursive").is_some()),
        "RENAME" | "COPY" => {
            let (old, new) = path.split_once('\t').expect("two names");
            match option(request, "if") {
                Some("absent") if state.files.contains_key(new) => "ERR 412 it is there\n".to_owned(),
                _ => state.give_name(old, new, request.verb == "COPY"),
            }
        }
        "STAT" if option(request, "resume").is_some() => {
            resumed::stat(option(request, "resume").unwrap_or_default(), &path, &state)
        }
        "STAT" => match state.files.get(&path) {
            Some(file) => {
                let digest = file.sha256.filter(|_| option(request, "digest").is_some());
                let digest = digest.map_or_else(String::new, |digest| format!(" sha256={}", hex(&digest)));
                let exec = if file.executable { " exec=1" } else { "" };
                format!("OK 0 size={} mtime={} etag={}{digest}{exec}\n", file.bytes.len(), file.mtime, file.etag)
            }
            None if state.is_dir(&path) => "OK 0 folder=1 mtime=7\n".to_owned(),
            None => "ERR 404 no such file or folder\n".to_owned(),
        },
        "LIST" => list(request, &state),
        _ => "ERR 404 no such file or folder\n".to_owned(),
    };
    out.write_all(reply.as_bytes())
}

fn list(request: &Request<'_>, state: &State) -> String {
    if let Some(body) = state.listing {
        return format!("OK {}\n{body}", body.len());
    }
    if state.files.contains_key(request.path.trim_end_matches('/')) {
        return "ERR 409 a file is there\n".to_owned();
    }
    if !state.is_dir(request.path) {
        return "ERR 404 no such file or folder\n".to_owned();
    }
    let after = option(request, "after").map(|value| unescape(value).expect("escaped").into_owned());
    let limit = state.page.unwrap_or(1000);
    let tells_digests = option(request, "digest").is_some();
    let mut names: Vec<_> = match option(request, "recursive") {
        Some(_) => state.tree(request.path),
        None => state.names(request.path).into_iter().collect(),
    };
    names.retain(|(name, _)| after.as_ref().is_none_or(|after| name.split('/').gt(after.split('/'))));
    let more = if names.len() > limit { " more=1" } else { "" };
    let dir = request.path.trim_end_matches('/');
    let lines = names.iter().take(limit).map(|(name, is_dir)| match state.files.get(&format!("{dir}/{name}")) {
        Some(file) if !is_dir => {
            let digest = file.sha256.map_or_else(|| "- ".to_owned(), |digest| hex(&digest) + " ");
            let digest = if tells_digests { digest } else { String::new() };
            format!("{} {} {} {digest}{name}\n", file.bytes.len(), file.mtime, escape(&file.etag))
        }
        _ if tells_digests => format!("- 7 - - {name}/\n"),
        _ => format!("- 7 - {name}/\n"),
    });
    let body: String = lines.collect();
    format!("OK {}{more}\n{body}", body.len())
}

fn get(request: &Request<'_>, out: &mut Out, state: &Mutex<State>) -> io::Result<()> {
    let mut state = state.lock().expect("unpoisoned");
    if let Some(count) = state.change_after.front_mut() {
        if *count > 0 {
            *count -= 1;
        } else if let Some(file) = state.files.get(request.path) {
            let bytes = file.bytes.iter().map(|byte| byte.wrapping_add(1)).collect();
            state.change_after.pop_front();
            state.store(request.path, bytes, 2_000_000_000);
        }
    }
    let Some(file) = state.files.get(request.path).cloned() else {
        let reply = if state.is_dir(request.path) { "ERR 409 a folder\n" } else { "ERR 404 no such file or folder\n" };
        return out.write_all(reply.as_bytes());
    };
    if option(request, "if").is_some_and(|etag| etag != file.etag) {
        return out.write_all(b"ERR 412 it has changed\n");
    }
    let total = file.bytes.len();
    let mut extra = String::new();
    let mut span = 0..total;
    if let Some(range) = option(request, "range") {
        let range = if state.whole_ranges { "0-" } else { range };
        let Ok(range) = ByteRange::parse(range).expect("a range").resolve(total as u64) else {
            return out.write_all(b"ERR 416 outside\n");
        };
        extra = format!(" range={}-{}/{total}", range.start, range.end - 1);
        span = range.start as usize..range.end as usize;
    }
    let mut body = file.bytes[span].to_vec();
    let digest = hex(&Sha256::digest(&body));
    if state.damage > 0 && !body.is_empty() {
        state.damage -= 1;
        let middle = body.len() / 2;
        body[middle] ^= 1;
    }
    if let (Some("1"), Some(digest)) = (option(request, "digest"), file.sha256) {
        extra += &format!(" sha256={}", hex(&digest));
    }
    state.sent += body.len() as u64;
    drop(state);
    out.write_all(format!("OK {} etag={} mtime={}{extra}\n", body.len(), file.etag, file.mtime).as_bytes())?;
    out.write_all(&body)?;
    match option(request, "trailer") {
        Some("sha256") => out.write_all(format!("sha256={digest}\n").as_bytes()),
        _ => Ok(()),
    }
}

fn put(request: &Request<'_>, input: &mut In, out: &mut Out, state: &Mutex<State>) -> io::Result<()> {
    let refusal = state.lock().expect("unpoisoned").refuse_upload;
    if let Some((after, reply, close)) = refusal {
        if option(request, "resume").is_some() {
            out.write_all(b"GO 0\n")?;
        }
        io::copy(&mut input.by_ref().take(after), &mut io::sink())?;
        out.write_all(reply.as_bytes())?;
        let parked = out.stream.try_clone()?;
        if !close {
            state.lock().expect("unpoisoned").parked.push(parked);
        }
        return Err(io::ErrorKind::Other.into());
    }
    let in_the_way = match &*state.lock().expect("unpoisoned") {
        state if state.is_dir(request.path) => Some("ERR 409 a folder has that name\n"),
        state if option(request, "if").is_some() && state.files.contains_key(request.path) => Some("ERR 412 there\n"),
        _ => None,
    };
    if let Some(reply) = in_the_way {
        out.write_all(reply.as_bytes())?;
        return Err(io::ErrorKind::Other.into());
    }
    if let Some(token) = option(request, "resume") {
        return resumed::put(token, request, input, out, state);
    }
    let cut = state.lock().expect("unpoisoned").cut_uploads.pop_front();
    if let Some(after) = cut {
        io::copy(&mut input.by_ref().take(after), &mut io::sink())?;
        let _ = out.stream.shutdown(Shutdown::Both);
        return Err(io::ErrorKind::Other.into());
    }
    let mut body = Vec::new();
    match request.word {
        Some("*") => loop {
            let len = line::chunk_len(&own_line(input)?).expect("a chunk length");
            if len == 0 {
                break;
            }
            exactly(input, len, &mut body)?;
        },
        size => exactly(input, size.and_then(|size| size.parse().ok()).expect("a size"), &mut body)?,
    }
    let mut state = state.lock().expect("unpoisoned");
    if state.damage > 0 && !body.is_empty() {
        state.damage -= 1;
        body[0] ^= 1;
    }
    if option(request, "trailer").is_some() {
        let told = line::trailer(&own_line(input)?).expect("a trailer");
        if told != <[u8; 32]>::from(Sha256::digest(&body)) {
            return out.write_all(b"ERR 422 damaged\n");
        }
    }
    let mtime = option(request, "mtime").map_or(0, |mtime| mtime.parse().expect("a number"));
    let etag = state.store(request.path, body, mtime);
    state.set_executable(request);
    out.write_all(format!("OK 0 etag={etag} stored=durable\n").as_bytes())
}

fn exactly(input: &mut In, len: u64, body: &mut Vec<u8>) -> io::Result<()> {
    if input.by_ref().take(len).read_to_end(body)? as u64 == len {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}
