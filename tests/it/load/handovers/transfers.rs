//! What the clients of a hand-over do: transfers of all dialects, each as long as it takes several hand-overs to come.

use std::fs;
use std::io::{self, Error};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use support::client::{content, wait_until};

use super::clients::{Client, Fault, Pace, Place, Tally};

/// A file that is there, fetched by slow readers.
pub(super) const BIG: &str = "big";
pub(super) const BIG_LEN: usize = 1 << 20;
/// Another that is fetched again and again.
pub(super) const SMALL: &str = "small";
pub(super) const SMALL_LEN: usize = 2000;
/// How long a transfer takes.
const SLOW: Pace = Pace { pieces: 12, pause: Duration::from_millis(200) };
/// How long a client waits that was answered 423, with `Retry-After: 1`.
const LOCKED: Duration = Duration::from_secs(1);
const LEN_MAX: usize = 60_000;
/// Times that a small file is fetched in the time of another transfer.
const FETCHES: usize = 8;
const KINDS: usize = 12;

/// The listeners of a server by what is spoken there.
#[derive(Clone)]
pub(super) struct Places {
    pub(super) plain: Place,
    pub(super) tls: Place,
    pub(super) unix: Place,
    pub(super) name_size: Place,
}

pub(super) fn fill(root: &Path) {
    fs::create_dir_all(root).expect("a folder");
    fs::write(root.join(BIG), content(1, BIG_LEN)).expect("a file");
    fs::write(root.join(SMALL), content(2, SMALL_LEN)).expect("a file");
}

/// A client with one kind of transfer, which it repeats.
pub(super) struct Worker<'a> {
    n: usize,
    client: Client<'a>,
    root: &'a Path,
    big: &'a [u8],
    small: &'a [u8],
    /// The file that it has stored last.
    stored: Option<(PathBuf, Vec<u8>)>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(n: usize, places: &Places, tally: &'a Tally, root: &'a Path, files: [&'a [u8]; 2]) -> Self {
        let place = match n % KINDS {
            7 | 8 => &places.tls,
            9 | 10 => &places.unix,
            11 => &places.name_size,
            _ => &places.plain,
        };
        let client = Client::new(place.clone(), tally);
        let reads_slowly = matches!(n % KINDS, 1 | 3 | 8);
        let client = if reads_slowly { client.reading_slowly() } else { client };
        Self { n, client, root, big: files[0], small: files[1], stored: None }
    }

    /// Repeats its transfer until the end. Then what it has stored last is there.
    pub(super) fn run(mut self, ends: &AtomicBool) {
        let tally = self.client.tally;
        for round in 0.. {
            if ends.load(Relaxed) {
                break;
            }
            tally.running.fetch_add(1, Relaxed);
            match self.transfer(round) {
                Ok(()) => _ = tally.transfers.fetch_add(1, Relaxed),
                Err(error) => {
                    self.stored = None;
                    self.client.close();
                    tally.failed(&error, &format!("kind {}", self.n % KINDS));
                }
            }
            tally.running.fetch_sub(1, Relaxed);
        }
        if let Some((path, content)) = self.stored
            && fs::read(&path).ok().as_ref() != Some(&content)
        {
            tally.fault(Fault::Wrong, || format!("{} is not what was acknowledged", path.display()));
        }
    }

    fn transfer(&mut self, round: u64) -> io::Result<()> {
        let name = format!("stored/{}", self.n);
        let len = 1 + (self.n * 7919 + round as usize * 104_729) % LEN_MAX;
        let bytes = content(self.n as u64 ^ (round << 20), len);
        match self.n % KINDS {
            0 => self.line_put(&name, bytes),
            1 => {
                let reply = self.client.line(&format!("GET /{BIG}\n"), &[], Pace::FULL, SLOW)?;
                same(&reply.body, self.big, &reply.head)
            }
            2 | 7 | 9 => self.http_put(&name, bytes),
            3 | 8 => {
                let reply = self.client.http(&get(BIG), &[], Pace::FULL, SLOW)?;
                same(&reply.body, self.big, &reply.head)
            }
            4 => self.http_put_chunked(&name, bytes),
            5 => self.fetch_often(),
            6 => self.tus(&name, bytes),
            10 => {
                let request = format!("PUT {len} resume={}-{round} /{name}\n", self.n);
                let reply = self.client.resume(&request, &bytes, SLOW)?;
                self.acknowledged(name, bytes, reply.head.starts_with("OK 0"), &reply.head)
            }
            _ => self.name_size(round, &bytes),
        }
    }

    fn line_put(&mut self, name: &str, bytes: Vec<u8>) -> io::Result<()> {
        let reply = self.client.line(&format!("PUT {} /{name}\n", bytes.len()), &bytes, SLOW, Pace::FULL)?;
        self.acknowledged(name.to_owned(), bytes, reply.head.contains("stored=durable"), &reply.head)
    }

    fn http_put(&mut self, name: &str, bytes: Vec<u8>) -> io::Result<()> {
        let head = format!("PUT /{name} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n", bytes.len());
        let reply = self.client.http(&head, &bytes, SLOW, Pace::FULL)?;
        self.acknowledged(name.to_owned(), bytes, reply.head.starts_with("HTTP/1.1 20"), &reply.head)
    }

    fn http_put_chunked(&mut self, name: &str, bytes: Vec<u8>) -> io::Result<()> {
        let mut body = Vec::new();
        for chunk in bytes.chunks(5000) {
            body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            body.extend_from_slice(chunk);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\n\r\n");
        let head = format!("PUT /{name} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n");
        let reply = self.client.http(&head, &body, SLOW, Pace::FULL)?;
        self.acknowledged(name.to_owned(), bytes, reply.head.starts_with("HTTP/1.1 20"), &reply.head)
    }

    fn fetch_often(&mut self) -> io::Result<()> {
        let pause = Pace { pieces: 1, pause: SLOW.pause };
        for _ in 0..FETCHES {
            let reply = self.client.http(&get(SMALL), &[], Pace::FULL, pause)?;
            same(&reply.body, self.small, &reply.head)?;
        }
        Ok(())
    }

    /// An upload by the protocol of tus: one request makes it, others add to it.
    fn tus(&mut self, name: &str, bytes: Vec<u8>) -> io::Result<()> {
        let common = "HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\n";
        let head = format!("POST /{name} {common}Upload-Length: {}\r\nContent-Length: 0\r\n", bytes.len());
        let made = self.client.http(&head, &[], Pace::FULL, Pace::FULL)?;
        let Some(location) = made.field("Location").filter(|_| made.head.starts_with("HTTP/1.1 201")) else {
            return Err(Error::other(made.head));
        };
        // It is relative to the directory of the file.
        let location = location.trim_start_matches("..").to_owned();
        let mut offset = 0;
        for part in bytes.chunks(bytes.len().div_ceil(3)) {
            let head = format!(
                "PATCH {location} {common}Upload-Offset: {offset}\r\nContent-Length: {}\r\n\
                 Content-Type: application/offset+octet-stream\r\n",
                part.len()
            );
            let pace = Pace { pieces: SLOW.pieces / 3, ..SLOW };
            let mut reply = self.client.http(&head, part, pace, Pace::FULL)?;
            // The process before has not left it yet. Clients of tus ask again then.
            while reply.head.starts_with("HTTP/1.1 423") {
                self.client.tally.locked.fetch_add(1, Relaxed);
                std::thread::sleep(LOCKED);
                reply = self.client.http(&head, part, pace, Pace::FULL)?;
            }
            offset += part.len();
            if reply.field("Upload-Offset") != Some(&offset.to_string()) {
                return Err(Error::other(format!("{head} was answered {}", reply.head)));
            }
        }
        self.acknowledged(name.to_owned(), bytes, true, "")
    }

    /// The client never reads: its file is there soon after it has closed.
    fn name_size(&mut self, round: u64, bytes: &[u8]) -> io::Result<()> {
        let name = format!("name-size-{}-{round}", self.n);
        self.client.throw(format!("{name} {}", bytes.len()).as_bytes(), bytes, SLOW)?;
        let path = self.root.join(name);
        wait_until("the file is there", || path.exists());
        same(&fs::read(&path)?, bytes, "name-size")?;
        fs::remove_file(path)
    }

    fn acknowledged(&mut self, name: String, bytes: Vec<u8>, is_good: bool, said: &str) -> io::Result<()> {
        if !is_good {
            return Err(Error::other(said.to_owned()));
        }
        self.stored = Some((self.root.join(name), bytes));
        Ok(())
    }
}

fn get(name: &str) -> String {
    format!("GET /{name} HTTP/1.1\r\nHost: localhost\r\n")
}

fn same(got: &[u8], wanted: &[u8], said: &str) -> io::Result<()> {
    if got == wanted { Ok(()) } else { Err(Error::other(format!("{} bytes: {said}", got.len()))) }
}

/// Connections that rest between short requests. Each is used well before the server would end it.
pub(super) fn keep_open(count: usize, places: &Places, tally: &Tally, ends: &AtomicBool) {
    let place = |n: usize| match n % 10 {
        0 => &places.tls,
        1 => &places.unix,
        _ => &places.plain,
    };
    let mut clients: Vec<_> = (0..count).map(|n| Client::new(place(n).clone(), tally)).collect();
    let pause = Duration::from_millis(2500) / u32::try_from(count).expect("not so many");
    while !ends.load(Relaxed) {
        for (n, client) in clients.iter_mut().enumerate() {
            let asked = match n % 4 {
                1 | 2 => client.line("PING\n", &[], Pace::FULL, Pace::FULL),
                3 => client.http(&get(SMALL), &[], Pace::FULL, Pace::FULL),
                _ => client.http(&get(SMALL).replace("GET", "HEAD"), &[], Pace::FULL, Pace::FULL),
            };
            match asked {
                Ok(reply) if reply.head.starts_with("OK 0") || reply.head.starts_with("HTTP/1.1 200") => {}
                Ok(reply) => tally.fault(Fault::Wrong, || reply.head),
                Err(error) => tally.failed(&error, "a short request"),
            }
            std::thread::sleep(pause);
        }
    }
}
