//! Two clients at one name on real sockets, where one of them locks it: never do both get what they want.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;

use support::client::{Client, Running};
use support::content::Random;

const PAIRS: usize = 4;
const EXCLUSIVE: &str =
    "<lockinfo xmlns=\"DAV:\"><lockscope><exclusive/></lockscope><locktype><write/></locktype></lockinfo>";
const BASE: &[u8] = b"from before";
const NEW: &[u8] = b"new";
const KINDS: [&str; 16] = [
    "PUT of line",
    "PUT of line, long",
    "PUT resume= of line",
    "DELETE of line",
    "RENAME to it",
    "RENAME away",
    "COPY to it",
    "RENAME of its folder",
    "DELETE of its folder",
    "PUT of HTTP",
    "DELETE of HTTP",
    "MOVE to it",
    "tus, the end of one",
    "tus, whole",
    "a form",
    "LOCK",
];

/// A status: of HTTP, or that of a line that says the same.
fn status(line: &str) -> u16 {
    if line.starts_with("OK ") {
        return 200;
    }
    let code = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("ERR ")).and_then(|rest| rest.get(..3));
    code.and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no reply: {line:?}"))
}

pub(super) struct Answer {
    pub(super) code: u16,
    fields: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    pub(super) fn of(client: &mut Client) -> Self {
        let (code, mut fields) = (status(&client.line()), BTreeMap::new());
        while let Some((name, value)) = client.line().trim_end().split_once(": ") {
            fields.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let len = fields.get("content-length").map_or(0, |len| len.parse().expect("a length"));
        Self { code, body: client.bytes(len), fields }
    }

    /// The token of the lock that was granted, as `Lock-Token` has it.
    pub(super) fn token(&self) -> Option<&str> {
        matches!(self.code, 200 | 201).then(|| &*self.fields["lock-token"])
    }
}

fn http(request: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{request} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

pub(super) fn lock(name: &str, depth: &str) -> Vec<u8> {
    http(&format!("LOCK {name}"), &format!("Depth: {depth}\r\n"), EXCLUSIVE.as_bytes())
}

pub(super) fn unlock(client: &mut Client, name: &str, token: &str) -> u16 {
    client.send(http(&format!("UNLOCK {name}"), &format!("Lock-Token: {token}\r\n"), b""));
    Answer::of(client).code
}

fn ask(running: &Running, request: &str) -> u16 {
    status(&running.client().ask(request))
}

/// A change of a name that lacks its last bytes; and what is there once it is made.
struct Change {
    client: Client,
    last: Vec<u8>,
    leaves: Option<Vec<u8>>,
}

fn change(running: &Running, kind: &str, dir: &str) -> Change {
    const TUS: &str = "Tus-Resumable: 1.0.0\r\n";
    const OFFSET: &str = "Content-Type: application/offset+octet-stream\r\n";
    let mut client = running.client();
    // One that is accepted already is heard in its turn.
    if kind.contains("HTTP") || ["MOVE to it", "tus, the end of one", "tus, whole", "a form", "LOCK"].contains(&kind) {
        client.send(http("GET /none", "", b""));
        Answer::of(&mut client);
    } else {
        client.expect("PING", "OK 0");
    }
    let long = vec![b'x'; 100_000];
    let mut leaves = Some(NEW.to_vec());
    let last = match kind {
        "PUT of line" => format!("PUT 3 {dir}/f\nnew").into_bytes(),
        "PUT of line, long" | "PUT resume= of line" => {
            let option = if kind.contains("resume") { "resume=t " } else { "" };
            client.send(format!("PUT {} {option}{dir}/f\n", long.len()));
            client.send(&long[1..]);
            if !option.is_empty() {
                assert_eq!(client.line(), "GO 0");
            }
            leaves = Some(long);
            b"x".to_vec()
        }
        "RENAME to it" | "COPY to it" | "MOVE to it" => {
            running.client().put(&format!("{dir}-from"), NEW);
            match kind {
                "RENAME to it" => format!("RENAME replace=1 {dir}-from\t{dir}/f\n").into_bytes(),
                "COPY to it" => format!("COPY {dir}-from\t{dir}/f\n").into_bytes(),
                _ => http(&format!("MOVE {dir}-from"), &format!("Destination: {dir}/f\r\n"), b""),
            }
        }
        "tus, the end of one" => {
            let fields = format!("{TUS}{OFFSET}Upload-Length: 3\r\n");
            client.send(http(&format!("POST {dir}/f"), &fields, b"ne"));
            let begun = Answer::of(&mut client);
            assert_eq!(begun.code, 201, "{:?}", begun.fields);
            let place = begun.fields["location"].trim_start_matches("../");
            http(&format!("PATCH /{place}"), &format!("{TUS}{OFFSET}Upload-Offset: 2\r\n"), b"w")
        }
        "tus, whole" => http(&format!("POST {dir}/f"), &format!("{TUS}{OFFSET}Upload-Length: 3\r\n"), NEW),
        "a form" => {
            // It replaces nothing.
            assert_eq!(ask(running, &format!("DELETE {dir}/f")), 200);
            let body =
                "--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nnew\r\n--edge--\r\n";
            let fields = "Sec-Fetch-Site: same-origin\r\nContent-Type: multipart/form-data; boundary=edge\r\n";
            http(&format!("POST {dir}/"), fields, body.as_bytes())
        }
        "PUT of HTTP" => http(&format!("PUT {dir}/f"), "", NEW),
        "LOCK" => {
            leaves = Some(BASE.to_vec());
            lock(&format!("{dir}/f"), "0")
        }
        _ => {
            leaves = None;
            match kind {
                "DELETE of line" => format!("DELETE {dir}/f\n").into_bytes(),
                "RENAME away" => format!("RENAME replace=1 {dir}/f\t{dir}-gone\n").into_bytes(),
                "RENAME of its folder" => format!("RENAME {dir}\t{dir}-moved\n").into_bytes(),
                "DELETE of its folder" => format!("DELETE recursive=1 {dir}\n").into_bytes(),
                "DELETE of HTTP" => http(&format!("DELETE {dir}/f"), "", b""),
                _ => unreachable!("{kind}"),
            }
        }
    };
    Change { client, last, leaves }
}

/// What is at the name now.
fn shown(client: &mut Client, dir: &str) -> Option<Vec<u8>> {
    client.send(http(&format!("GET {dir}/f"), "", b""));
    let answer = Answer::of(client);
    assert!(matches!(answer.code, 200 | 404), "{}", answer.code);
    (answer.code == 200).then_some(answer.body)
}

/// Both ask at the same time; true if the lock came before the change.
fn contend(running: &Running, kind: &str, dir: &str, random: &mut Random) -> bool {
    let mut holder = running.client();
    holder.send(http(&format!("PUT {dir}/f"), "", BASE));
    let code = Answer::of(&mut holder).code;
    assert!(matches!(code, 201 | 204), "before {kind}: {code}");
    let mut change = change(running, kind, dir);
    let (root, depth) = match random.below(3) {
        0 => (format!("{dir}/f"), "0"),
        1 => (dir.to_owned(), "infinity"),
        // It binds the names in it, and not what they stand for.
        _ if kind == "LOCK" => (format!("{dir}/f"), "infinity"),
        _ => (dir.to_owned(), "0"),
    };
    let what = format!("{kind} and LOCK of {root} with depth {depth}");
    let (is_change_first, mut meanwhile) = (random.below(2) == 0, running.client());
    if is_change_first {
        change.client.send(&change.last);
    } else {
        holder.send(lock(&root, depth));
    }
    for _ in 0..random.below(4) {
        meanwhile.expect("PING", "OK 0");
    }
    if is_change_first {
        holder.send(lock(&root, depth));
    }
    if !is_change_first {
        change.client.send(&change.last);
    }
    let granted = Answer::of(&mut holder);
    let at_first = granted.token().map(|_| shown(&mut holder, dir));
    let changed = if kind == "LOCK" {
        let other = Answer::of(&mut change.client);
        if let Some(token) = other.token() {
            assert_eq!(granted.code, 423, "{what}: both are granted");
            assert_eq!(unlock(&mut change.client, &format!("{dir}/f"), token), 204, "{what}");
        }
        other.code
    } else {
        status(&change.client.line())
    };
    let is_made = matches!(changed, 200..=399);
    let is_form = kind == "a form";
    assert!(is_made || changed == 423 || is_form && changed == 412, "{what}: {changed}");
    let (Some(token), Some(at_first)) = (granted.token(), at_first) else {
        assert!(is_made && matches!(granted.code, 409 | 423), "{what}: {changed}, and the lock {}", granted.code);
        clean(running, dir);
        return false;
    };
    let wanted = if is_made { change.leaves } else { Some(BASE.to_vec()).filter(|_| !is_form) };
    // A lock of a name that nothing has makes an empty file.
    assert!(
        at_first == wanted || wanted.is_none() && at_first.as_deref() == Some(b""),
        "{what}: {changed}, and then the lock {} with {at_first:?}",
        granted.code
    );
    let later = [format!("PUT 1 {dir}/f\nl"), format!("DELETE {dir}/f"), format!("RENAME {dir}/f\t{dir}/g")];
    if at_first.is_some() {
        assert_eq!(ask(running, &later[random.below(3) as usize]), 423, "{what}");
    }
    assert_eq!(shown(&mut holder, dir), at_first, "{what}: {changed}, and it changes under the lock");
    assert_eq!(unlock(&mut holder, &root, token), 204, "{what}");
    if at_first.is_none() {
        clean(running, dir);
    }
    !is_made
}

/// As if nothing had been there.
fn clean(running: &Running, dir: &str) {
    for name in [dir, &format!("{dir}-moved")] {
        assert!(matches!(ask(running, &format!("DELETE recursive=1 {name}")), 200 | 404));
    }
}

// How many: `FILEWHARF_RACING`.
#[test]
fn a_change_and_a_lock_that_race_are_one_after_the_other() {
    let rounds = std::env::var("FILEWHARF_RACING").ok().and_then(|n| n.parse().ok()).unwrap_or(320) / PAIRS;
    // Those that a lock has refused at their end can still be resumed.
    let running = Running::limited(|limits| limits.fixed.uploads_kept_max = rounds * PAIRS);
    let won = Mutex::new(BTreeMap::<&str, [u32; 2]>::new());
    let race = |pair: usize| {
        let mut random = Random::new(pair as u64 + 1);
        for round in 0..rounds {
            let kind = KINDS[(round + pair) % KINDS.len()];
            let is_lock_first = contend(&running, kind, &format!("/{pair}/d"), &mut random);
            won.lock().expect("no other failed").entry(kind).or_default()[usize::from(is_lock_first)] += 1;
        }
    };
    thread::scope(|scope| (0..PAIRS).for_each(|pair| drop(scope.spawn(move || race(pair)))));
    let won = won.into_inner().expect("none failed");
    println!("the change first, the lock first: {won:?}");
    assert!((0..2).all(|who| won.values().any(|both| both[who] > 0)), "one was always first: {won:?}");
}
