//! The requests of a `line` client: how they are written, and what their replies are judged by.

use std::collections::BTreeMap;
use std::rc::Rc;

use sha2::{Digest as _, Sha256};

use crate::clients::Io;
use crate::clients::errand::{SHARED, content};
use crate::model::{Content, Extent, ReadId, Shown, WriteId};

/// The last goal of the calm.
pub const CALM_GOALS: u8 = 3;
/// Names that only these clients use, besides those all use.
const DEEP: [&str; 2] = ["d/k4.txt", "d/e/k5.jpg"];

#[derive(Debug, PartialEq, Eq)]
pub enum Verb {
    Put,
    Get,
    Stat,
    List { dir: String, after: Option<String>, limit: Option<usize> },
    Delete,
    Rename,
    Other,
}

/// One request that a reply is awaited for.
#[derive(Debug)]
pub struct Request {
    pub verb: Verb,
    pub key: String,
    pub writes: Vec<WriteId>,
    pub read: Option<ReadId>,
    /// The version that this change is to replace.
    pub replaces: Option<String>,
    pub trailer: bool,
    pub must_fail: bool,
    pub calm: bool,
}

impl Request {
    fn new(verb: Verb, key: &str) -> Self {
        Self {
            verb,
            key: key.to_owned(),
            writes: Vec::new(),
            read: None,
            replaces: None,
            trailer: false,
            must_fail: false,
            calm: false,
        }
    }
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A body as `PUT *` sends it.
fn chunked(bytes: &[u8], io: &mut Io<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let most = if out.len() > 200 { rest.len() } else { io.rng.piece(rest.len()) };
        let (piece, after) = rest.split_at(most);
        out.extend(format!("{:x}\n", piece.len()).bytes());
        out.extend(piece);
        rest = after;
    }
    out.extend(b"0\n");
    out
}

/// An upload, in one of the ways to write it.
fn put(key: &str, value: Content, only: Option<&str>, io: &mut Io<'_>) -> (Vec<u8>, Request) {
    let mut request = Request::new(Verb::Put, key);
    let mut options = String::new();
    if let Some(only) = only {
        options.push_str(&format!(" if={only}"));
        request.replaces = (only != "absent").then(|| only.to_owned());
    }
    let (counts, announces, trails) = (io.rng.chance(600), io.rng.chance(200), io.rng.chance(200));
    let lies = !io.calm && (announces || trails) && io.rng.chance(100);
    let sum = digest(if lies { b"something else" } else { &value });
    if announces {
        options.push_str(&format!(" sha256={sum}"));
    }
    if trails {
        options.push_str(" trailer=sha256");
    }
    request.must_fail = lies;
    let size = if counts { value.len().to_string() } else { "*".to_owned() };
    let mut bytes = format!("PUT {size}{options} /{key}\n").into_bytes();
    if counts {
        bytes.extend(&*value);
    } else {
        bytes.extend(chunked(&value, io));
    }
    if trails {
        bytes.extend(format!("sha256={sum}\n").bytes());
    }
    request.writes.push(io.model.begin_write(key, Some(value), Extent::Whole));
    (bytes, request)
}

fn get(key: &str, io: &mut Io<'_>) -> (Vec<u8>, Request) {
    let mut request = Request::new(Verb::Get, key);
    request.read = Some(io.model.begin_read());
    let range = match io.rng.below(8) {
        0 => format!(" range={}-{}", io.rng.below(60), io.rng.range(60..=500)),
        1 => format!(" range={}-", io.rng.below(80)),
        2 => format!(" range=-{}", io.rng.range(1..=80)),
        _ => String::new(),
    };
    request.trailer = io.rng.chance(200);
    let trailer = if request.trailer { " trailer=sha256" } else { "" };
    (format!("GET{range}{trailer} /{key}\n").into_bytes(), request)
}

fn list(dir: &str, io: &mut Io<'_>) -> (Vec<u8>, Request) {
    let after = io.rng.chance(200).then(|| (*io.rng.pick(&["a", "k1.jpg", "k2"])).to_owned());
    let limit = io.rng.chance(300).then(|| io.rng.range(1..=4) as usize);
    let mut options = String::new();
    if let Some(after) = &after {
        options.push_str(&format!(" after={after}"));
    }
    if let Some(limit) = limit {
        options.push_str(&format!(" limit={limit}"));
    }
    let is_recursive = io.rng.chance(200);
    if is_recursive {
        options.push_str(" recursive=1");
    }
    let mut request = Request::new(Verb::List { dir: dir.to_owned(), after, limit }, dir);
    // The model judges pages of one level.
    request.read = (!is_recursive).then(|| io.model.begin_read());
    (format!("LIST{options} /{dir}\n").into_bytes(), request)
}

fn delete(key: &str, only: Option<&str>, io: &mut Io<'_>) -> (Vec<u8>, Request) {
    let mut request = Request::new(Verb::Delete, key);
    request.read = Some(io.model.begin_read());
    request.writes.push(io.model.begin_write(key, None, Extent::Whole));
    request.replaces = only.map(str::to_owned);
    let only = only.map_or(String::new(), |only| format!(" if={only}"));
    (format!("DELETE{only} /{key}\n").into_bytes(), request)
}

fn stat(key: &str, io: &mut Io<'_>) -> (Vec<u8>, Request) {
    let mut request = Request::new(Verb::Stat, key);
    request.read = Some(io.model.begin_read());
    (format!("STAT /{key}\n").into_bytes(), request)
}

/// A file of its own is stored and then moved onto a name that others use.
fn put_and_rename(number: usize, renames: &mut u32, key: &str, io: &mut Io<'_>) -> [(Vec<u8>, Request); 2] {
    *renames += 1;
    let source = format!("r{number}-{renames}.tmp");
    let value = content(io.rng, 99);
    let stored = put(&source, Rc::clone(&value), None, io);
    let only = if io.rng.chance(100) { "if=absent " } else { "" };
    let mut request = Request::new(Verb::Rename, &source);
    request.writes =
        vec![io.model.begin_write(&source, None, Extent::Whole), io.model.begin_write(key, Some(value), Extent::Whole)];
    io.model.moves(request.writes[0], request.writes[1]);
    [stored, (format!("RENAME {only}/{source}\t/{key}\n").into_bytes(), request)]
}

/// A file of its own is stored and then copied onto a name that others use, or with its directory.
fn put_and_copy(number: usize, renames: &mut u32, key: &str, io: &mut Io<'_>) -> [(Vec<u8>, Request); 2] {
    *renames += 1;
    let (dir, value) = (format!("c{number}-{renames}"), content(io.rng, 99));
    let source = format!("{dir}/f.tmp");
    let stored = put(&source, Rc::clone(&value), None, io);
    let (line, to) = match io.rng.chance(300) {
        true => (format!("COPY recursive=1 /{dir}/\t/t{dir}\n"), format!("t{dir}/f.tmp")),
        false => (format!("COPY /{source}\t/{key}\n"), key.to_owned()),
    };
    let mut request = Request::new(Verb::Rename, &source);
    request.writes = vec![io.model.begin_write(&to, Some(value), Extent::Whole)];
    [stored, (line.into_bytes(), request)]
}

/// A tree that others use is removed with its content.
fn remove_tree(io: &mut Io<'_>) -> (Vec<u8>, Request) {
    let mut request = Request::new(Verb::Other, "");
    request.writes = DEEP.iter().map(|key| io.model.begin_write(key, None, Extent::Whole)).collect();
    (b"DELETE recursive=1 /d/\n".to_vec(), request)
}

/// A tree of its own is stored, and then replaces one that others use.
fn replace_tree(number: usize, renames: &mut u32, io: &mut Io<'_>) -> [(Vec<u8>, Request); 2] {
    *renames += 1;
    let dir = format!("r{number}-{renames}");
    let (source, value) = (format!("{dir}/k4.txt"), content(io.rng, 99));
    let stored = put(&source, Rc::clone(&value), None, io);
    let mut request = Request::new(Verb::Rename, "");
    let writes = [(&*source, None), (DEEP[0], Some(value)), (DEEP[1], None)];
    request.writes = writes.into_iter().map(|(key, value)| io.model.begin_write(key, value, Extent::Whole)).collect();
    io.model.moves(request.writes[0], request.writes[1]);
    [stored, (format!("RENAME replace=1 parents=1 /{dir}\t/d\n").into_bytes(), request)]
}

/// Small uploads that are sent together, mostly of few names, and perhaps a look at one of them.
pub fn burst(io: &mut Io<'_>) -> Vec<(Vec<u8>, Request)> {
    let names = [SHARED[0], SHARED[1], DEEP[0]];
    let mut requests: Vec<_> = (0..io.rng.range(2..=12))
        .map(|_| {
            let (key, value) = (*io.rng.pick(&names), content(io.rng, io.content_max));
            put(key, value, io.rng.chance(150).then_some("absent"), io)
        })
        .collect();
    if io.rng.chance(500) {
        let key = *io.rng.pick(&names);
        requests.push(get(key, io));
    }
    let together = requests.iter_mut().flat_map(|(bytes, _)| std::mem::take(bytes)).collect();
    requests[0].0 = together;
    requests
}

/// Any request at all.
pub fn any(
    number: usize,
    renames: &mut u32,
    etags: &BTreeMap<String, String>,
    io: &mut Io<'_>,
) -> Vec<(Vec<u8>, Request)> {
    let key = if io.rng.chance(250) { *io.rng.pick(&DEEP) } else { *io.rng.pick(&SHARED) };
    let known = etags.get(key).filter(|_| io.rng.chance(300)).map(String::as_str);
    vec![match io.rng.below(100) {
        0..35 => {
            let value = if io.rng.chance(50) { Content::from([]) } else { content(io.rng, io.content_max) };
            let only = if io.rng.chance(80) { Some("absent") } else { known };
            put(key, value, only, io)
        }
        35..60 => get(key, io),
        60..68 => stat(key, io),
        68..80 => {
            let dir = *io.rng.pick(&["", "d/", "d/e/"]);
            list(dir, io)
        }
        80..88 => delete(key, known, io),
        88 => return put_and_copy(number, renames, key, io).into(),
        89 => return put_and_rename(number, renames, key, io).into(),
        90 => (format!("MKDIR /d/m{number}\n").into_bytes(), Request::new(Verb::Other, "")),
        91 => (format!("MKDIR parents=1 /d/p/m{number}\n").into_bytes(), Request::new(Verb::Other, "")),
        92 => (b"SPACE /\n".to_vec(), Request::new(Verb::Other, "")),
        93 => (format!("TIME mtime={} /{key}\n", io.rng.below(1 << 31)).into_bytes(), Request::new(Verb::Other, key)),
        94 => remove_tree(io),
        95 => return replace_tree(number, renames, io).into(),
        96 => (b"PING\n".to_vec(), Request::new(Verb::Other, "")),
        97 => (b"PUT 3 /../x\nabc".to_vec(), Request { must_fail: true, ..Request::new(Verb::Other, "") }),
        98 => (b"GET /.filewharf/x\n".to_vec(), Request { must_fail: true, ..Request::new(Verb::Other, "") }),
        _ => (b"QUIT\n".to_vec(), Request::new(Verb::Other, "")),
    }]
}

/// What must work once it is calm: store, fetch, move, and see it listed.
pub fn calm(reached: u8, number: usize, io: &mut Io<'_>) -> (Vec<u8>, Request) {
    let key = format!("own{number}.bin");
    let moved = format!("d/own{number}.moved");
    let (bytes, mut request) = match reached {
        0 => {
            let value = content(io.rng, io.content_max);
            put(&key, value, None, io)
        }
        1 => {
            let mut request = Request::new(Verb::Get, &key);
            request.read = Some(io.model.begin_read());
            (format!("GET /{key}\n").into_bytes(), request)
        }
        2 => (format!("MKDIR /d/m{number}/n\n").into_bytes(), Request::new(Verb::Other, &moved)),
        _ => list("", io),
    };
    request.calm = true;
    (bytes, request)
}

/// A page of a listing: what certainly was there must be on it, what certainly was not must not.
pub fn judge_page(
    read: ReadId,
    dir: &str,
    after: Option<&str>,
    limit: Option<usize>,
    more: bool,
    body: &[u8],
    io: &mut Io<'_>,
) {
    let text = String::from_utf8_lossy(body).into_owned();
    let entries: Vec<(&str, &str)> = text
        .lines()
        .map(|line| {
            let mut words = line.splitn(4, ' ');
            (words.next().unwrap_or_default(), words.nth(2).unwrap_or_default())
        })
        .collect();
    if limit.is_some_and(|limit| entries.len() > limit) {
        io.model.wrong(format!("line: a page of {} names, {limit:?} were asked for", entries.len()));
    }
    if !entries.is_sorted_by(|(_, one), (_, other)| one < other) {
        io.model.wrong(format!("line: a page out of order, or a name twice: {text:?}"));
    }
    if entries.iter().any(|(_, name)| name.starts_with(".filewharf")) {
        io.model.wrong(format!("line: the staging folder is listed: {text:?}"));
    }
    let last = entries.last().map(|(_, name)| *name);
    for key in io.model.keys() {
        let Some(name) = key.strip_prefix(dir).filter(|name| !name.contains('/')) else { continue };
        if after.is_some_and(|after| name <= after) || more && last.is_none_or(|last| name > last) {
            continue;
        }
        match entries.iter().find(|(_, listed)| *listed == name) {
            Some((size, _)) => {
                if let Ok(size) = size.parse() {
                    io.model.end_read(read, &key, Shown::Len(size));
                }
            }
            None if io.model.is_there(read, &key) == Some(true) => {
                io.model.wrong(format!("line: {key} is stored, and not listed: {text:?}"));
            }
            None => {}
        }
    }
}
