//! The soak: traffic in every dialect under every fault at once, each byte held against what was
//! acknowledged.
//!
//! `SOAK_SECONDS=3600 cargo test --release --test faults -- --ignored --nocapture soak`
//!
//! Workers upload, download and delete, break off with resets and read slowly; clients are killed
//! in the middle; the disk, a small one of its own, fills up; and in the first half, but for at most two
//! minutes, the server is killed or drained and started again on the same directory and addresses. From then
//! on one server lives on, and is brought to rest again and again: then its descriptors and threads must
//! be those of its beginning, nothing may be left in staging, and at the end its memory may have
//! grown by a quarter and 8 MiB at most; in a run of some minutes it must not grow at all once it is filled.
//! Beside all that, except while it rests, hostile clients from addresses of their own do what they can under
//! the limits per client; in the last hour, or the last half, the memory stays within 5 % meanwhile.
//! `SOAK_SEED` chooses another course.
//!
//! What fills up in the first two minutes, as a heap profile shows it: the buffer that every connection reads
//! through (1.3 MiB, resident as far as it was used), a buffer of 256 KiB for each of the four workers that
//! read what is not in memory, kept files, pages of the program (3.5 MiB), and up to 2 MiB of free memory at
//! the end of the heap: the allocator keeps twice the largest block that it got from the kernel and gave
//! back, which is a message of 1 MiB.

mod clients;
mod hostile;
mod model;
mod report;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use self::clients::{DIALECTS, Dialect, Ending, Fetched, Reader, Stored};
use self::hostile::attack;
use self::model::{Known, Names, compare};
use self::report::{Memory, Use, report};
use crate::outside::{Mounted, text};
use crate::server::{Served, binary};
use support::Content;
use support::client::staged;
use support::content::Random;

const WORKERS: u64 = 5;
/// Names of each worker: few, so that most uploads replace a file.
const NAMES: u64 = 25;
const DISK_MIB: u64 = 384;
/// Where it listens: no client has this address, and so none takes a port while the server is started again.
const SERVER: &str = "127.0.0.100";
/// How long a server lives in the first part, at most, in milliseconds.
const LIFE_MS: u64 = 6000;
/// The longest first part: what a longer run adds is for the server that lives on.
const RESTARTS_MAX: Duration = Duration::from_secs(120);
/// How often it is brought to rest after that.
const REST_EVERY: Duration = Duration::from_secs(8);
/// How long an upload without a reply may take to be visible.
const SEEN_WITHIN: Duration = Duration::from_secs(10);

/// When what a limit of the server refused is asked again, and what that is counted as.
const ASK_AGAIN: Duration = Duration::from_millis(50);
const REFUSED: &str = "refused by a limit, and asked again";

/// What all threads share.
struct Soak {
    addresses: Vec<SocketAddr>,
    root: PathBuf,
    access: PathBuf,
    /// Twice the number of the server's life, and one more from just before its end to its next start.
    clock: AtomicU64,
    ended: AtomicBool,
    /// Held by workers for one piece of work, and by the check that wants the server at rest.
    work: RwLock<()>,
    /// The server is to rest: hostile clients draw back.
    rests: AtomicBool,
    tally: Mutex<Tally>,
}

#[derive(Default)]
struct Tally {
    transfers: BTreeMap<String, u64>,
    faults: BTreeMap<&'static str, u64>,
    bytes_verified: u64,
    hostile: hostile::Seen,
}

impl Soak {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, fault: &'static str) {
        *self.tally().faults.entry(fault).or_default() += 1;
    }

    fn transferred(&self, dialect: Dialect, word: &str) {
        *self.tally().transfers.entry(format!("{} {word}", dialect.word())).or_default() += 1;
    }

    fn address(&self, dialect: Dialect) -> SocketAddr {
        self.addresses[DIALECTS.iter().position(|known| *known == dialect).expect("it is listed")]
    }

    /// How often the server has been started, at least.
    fn life(&self) -> u64 {
        self.clock.load(SeqCst) / 2
    }

    /// The life of the server that may have heard what was said until now: between two lives the next one
    /// listens before it is counted.
    fn life_at_most(&self) -> u64 {
        self.clock.load(SeqCst).div_ceil(2)
    }

    /// Differs from before if the server may have ended meanwhile.
    fn moment(&self) -> u64 {
        self.clock.load(SeqCst)
    }

    fn rests(&self) -> bool {
        self.rests.load(SeqCst)
    }

    fn has_ended(&self) -> bool {
        self.ended.load(SeqCst)
    }
}

/// Ends the other threads also when this one panics.
struct EndsAll<'a>(&'a Soak);

impl Drop for EndsAll<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.ended.store(true, SeqCst);
        }
    }
}

/// One worker, until the end; what it knows then.
fn work(soak: &Soak, number: u64, seed: u64) -> Names {
    let _ends = EndsAll(soak);
    let (mut names, mut random) = (Names::new(), Random::new(seed ^ (number + 1) << 32));
    while !soak.has_ended() {
        let working = soak.work.read().unwrap_or_else(PoisonError::into_inner);
        let name = format!("w{number}/n{}.jpg", random.below(NAMES));
        let known = names.entry(name.clone()).or_default();
        if known.is_settled(soak.life()) {
            look(soak, &name, known, Dialect::Line, Reader::Quick);
            match random.below(20) {
                0 => delete(soak, &name, known),
                1..10 => upload(soak, &name, known, &mut random),
                _ => download(soak, &name, known, &mut random),
            }
        }
        drop(working);
    }
    names
}

fn pick(random: &mut Random) -> Dialect {
    DIALECTS[random.below(DIALECTS.len() as u64) as usize]
}

/// Content that no name continues with: `menu` has nothing else to tell the two apart when they come
/// together.
fn recognisable(random: &mut Random, len: u64) -> Content {
    loop {
        let content = Content::new(random.next() >> 8, len);
        if content.at(0)[0] < b' ' {
            return content;
        }
    }
}

fn upload(soak: &Soak, name: &str, known: &mut Known, random: &mut Random) {
    let dialect = pick(random);
    let most = [4 << 10, 4 << 10, 200 << 10, dialect.len_max()][random.below(4) as usize];
    let len = 1 + random.below(most);
    let content = recognisable(random, len);
    if dialect == Dialect::Line && random.below(12) == 0 {
        return kill_client(soak, name, known, content, random);
    }
    let ending = match random.below(8) {
        0 => Ending::ResetAt(random.below(content.len)),
        1 => Ending::Unheard,
        _ => Ending::Whole,
    };
    match ending {
        Ending::Whole => {}
        Ending::ResetAt(_) => soak.count("reset in an upload"),
        Ending::Unheard => soak.count("reset before the answer"),
    }
    let stored = until_admitted(soak, Stored::Refused, || dialect.put(soak.address(dialect), name, content, ending));
    soak.transferred(
        dialect,
        if matches!(stored, Stored::No | Stored::Refused) { "uploads not stored" } else { "uploads" },
    );
    match stored {
        Stored::Yes => known.acknowledged(Some(content)),
        Stored::No | Stored::Refused => look(soak, name, known, Dialect::Line, Reader::Quick),
        Stored::Perhaps => {
            known.unanswered(Some(content), soak.life_at_most());
            if ending == Ending::Whole && matches!(dialect, Dialect::NameSize | Dialect::Menu | Dialect::NameChoice) {
                await_unanswered(soak, name, known, content);
            }
        }
    }
}

/// Asks again whatever a limit of the server has refused, until the soak ends.
fn until_admitted<T: PartialEq>(soak: &Soak, refused: T, ask: impl Fn() -> T) -> T {
    loop {
        let reply = ask();
        if reply != refused || soak.has_ended() {
            return reply;
        }
        soak.count(REFUSED);
        std::thread::park_timeout(ASK_AGAIN);
    }
}

/// Some clients never hear that their file is stored: it is, once it is there.
fn await_unanswered(soak: &Soak, name: &str, known: &mut Known, content: Content) {
    let until = Instant::now() + SEEN_WITHIN;
    let life = soak.life();
    while Instant::now() < until && soak.life() == life && !soak.has_ended() {
        let fetched = Dialect::Line.get(soak.address(Dialect::Line), name, Reader::Quick);
        if let Fetched::Bytes(bytes) = &fetched
            && bytes.len() as u64 == content.len
            && content.matches(0, bytes)
        {
            return known.seen_at_rest(Some(content));
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    soak.count("upload without an answer not seen (refused, or the server restarted)");
}

/// The program's own client, killed while it uploads.
fn kill_client(soak: &Soak, name: &str, known: &mut Known, content: Content, random: &mut Random) {
    let content = Content::new(content.seed, (4 << 20) + content.len);
    let source = soak.root.join(format!("../source-{}", name.replace('/', "-")));
    fs::write(&source, content.bytes()).expect("room beside the served folder");
    let target = format!("{}/{}/", soak.address(Dialect::Line), name.split('/').next().expect("a folder"));
    let mut command = Command::new(binary());
    command.arg("put").arg("-").arg("--name").arg(name.split('/').nth(1).expect("a name")).arg(&target);
    command
        .args(["--quiet", "--retry-for", "0"])
        .stdin(fs::OpenOptions::new().read(true).open(&source).expect("it is there"));
    let mut child = command.stderr(Stdio::null()).spawn().expect("the client can be run");
    std::thread::park_timeout(Duration::from_millis(random.below(25)));
    let _ = child.kill();
    let ended = child.wait().expect("it ends");
    let _ = fs::remove_file(&source);
    soak.count("kill -9 of a client");
    if ended.success() {
        soak.transferred(Dialect::Line, "uploads");
        known.acknowledged(Some(content));
    } else {
        known.unanswered(Some(content), soak.life_at_most());
    }
}

fn delete(soak: &Soak, name: &str, known: &mut Known) {
    use std::io::{BufRead as _, Write as _};
    let ask = || -> std::io::Result<String> {
        let mut stream = std::net::TcpStream::connect(soak.address(Dialect::Line))?;
        stream.set_read_timeout(Some(Duration::from_secs(300)))?;
        stream.write_all(format!("DELETE /{name}\n").as_bytes())?;
        let mut said = String::new();
        std::io::BufReader::new(stream).read_line(&mut said)?;
        Ok(said)
    };
    let told = |said: &std::io::Result<String>, code: &str| said.as_ref().is_ok_and(|said| said.starts_with(code));
    let mut said = ask();
    while told(&said, "ERR 429") && !soak.has_ended() {
        soak.count(REFUSED);
        std::thread::park_timeout(ASK_AGAIN);
        said = ask();
    }
    match said {
        Ok(said) if said.starts_with("OK ") || said.starts_with("ERR 404") => known.acknowledged(None),
        Ok(said) if said.starts_with("ERR 503") || said.starts_with("ERR 429") => {}
        _ => known.unanswered(None, soak.life_at_most()),
    }
    soak.transferred(Dialect::Line, "deletes");
}

fn download(soak: &Soak, name: &str, known: &mut Known, random: &mut Random) {
    let dialect = match pick(random) {
        // Their clients only send.
        Dialect::NameSize | Dialect::Menu => Dialect::Line,
        dialect => dialect,
    };
    let reader = match random.below(12) {
        0 => Reader::Slow,
        1 => Reader::Leaves,
        _ => Reader::Quick,
    };
    match reader {
        Reader::Quick => {}
        Reader::Slow => soak.count("slow reader"),
        Reader::Leaves => soak.count("reset in a download"),
    }
    look(soak, name, known, dialect, reader);
}

/// Downloads, and holds it against what may be there.
fn look(soak: &Soak, name: &str, known: &mut Known, dialect: Dialect, reader: Reader) {
    let before = soak.moment();
    let settled = known.is_settled(soak.life());
    let fetched = until_admitted(soak, Fetched::Refused, || dialect.get(soak.address(dialect), name, reader));
    // name-choice has no length: what a killed server has sent of a file ends like a whole one.
    let is_sure = soak.moment() == before;
    let version = match &fetched {
        Fetched::Failed | Fetched::Refused => return soak.transferred(dialect, "downloads that ended early"),
        Fetched::Bytes(bytes) if bytes.len() as u64 > dialect.len_max() && dialect == Dialect::Pickle => return,
        Fetched::Bytes(_) if !is_sure && dialect == Dialect::NameChoice => return,
        Fetched::Bytes(bytes) => known.is(Some(bytes), &format!("{name} by {}", dialect.word())),
        Fetched::Nothing => known.is(None, &format!("{name} by {}", dialect.word())),
    };
    soak.transferred(dialect, "downloads");
    soak.tally().bytes_verified += version.map_or(0, |content| content.len);
    if settled && is_sure {
        known.seen_at_rest(version);
    }
}

fn start(root: &Path, access: &Path, addresses: &[SocketAddr]) -> Served {
    let listens: Vec<String> = (0..)
        .zip(DIALECTS)
        .map(|(place, dialect)| {
            let address = addresses.get(place).map_or(format!("{SERVER}:0"), ToString::to_string);
            format!("{}@{address}", dialect.word())
        })
        .collect();
    let access = text(access);
    let mut options = vec!["--drain-timeout", "5", "--access", &access];
    options.extend(hostile::LIMITS);
    options.extend(listens.iter().flat_map(|listen| ["--listen", listen]));
    Served::start(root, &options)
}

/// Kills or drains the server, and starts another in its place.
fn replace(soak: &Soak, mut server: Served, random: &mut Random) -> Served {
    soak.clock.fetch_add(1, SeqCst);
    if random.below(3) == 0 {
        soak.count("SIGTERM of the server");
        server.signal(Signal::TERM);
        // Slow readers may be cut off.
        assert!(matches!(server.wait(), Some(0 | 1)), "a drained server ends by itself");
        assert_eq!(staged(&soak.root), Vec::<PathBuf>::new(), "a drained server leaves nothing in staging");
    } else {
        soak.count("kill -9 of the server");
        server.kill();
    }
    drop(server);
    let server = start(&soak.root, &soak.access, &soak.addresses);
    server.wait_until_only_own_staging();
    soak.clock.fetch_add(1, SeqCst);
    server
}

/// Leaves almost no room on the disk for a while.
fn fill(soak: &Soak, disk: &Path, random: &mut Random) {
    soak.count("disk nearly full");
    let free = rustix::fs::statvfs(disk).map(|fs| fs.f_bavail * fs.f_frsize).expect("the disk is mounted");
    let ballast = disk.join("ballast");
    let file = fs::File::create(&ballast).expect("room for a name");
    let leave = random.below(3 << 20);
    let _ = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, free.saturating_sub(leave).max(1));
    std::thread::park_timeout(Duration::from_millis(1500));
    fs::remove_file(&ballast).expect("it goes");
}

// covers: come-and-go long-run
#[test]
#[ignore = "needs root, loop devices and a release build; SOAK_SECONDS says how long"]
fn soak() {
    let number = |name: &str, otherwise| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise);
    let (seconds, seed) = (number("SOAK_SECONDS", 60), number("SOAK_SEED", 1));
    let disk = Mounted::image(DISK_MIB, &["mkfs.ext4", "-q"], "");
    let root = disk.path().join("served");
    let rules = hostile::prepare(&root);
    let access = rules.path().join("access");
    let server = start(&root, &access, &[]);
    let soak = Soak {
        addresses: server.addresses.clone(),
        root: root.clone(),
        access,
        clock: AtomicU64::new(2),
        ended: AtomicBool::new(false),
        work: RwLock::new(()),
        rests: AtomicBool::new(false),
        tally: Mutex::default(),
    };
    let hostile = hostile::CLIENTS;
    println!(
        "soak: {seconds} s, SOAK_SEED={seed}, {WORKERS} workers, {hostile} hostile clients, ext4 of {DISK_MIB} MiB"
    );
    let length = Duration::from_secs(seconds);
    let (server, uses, memory, names) = std::thread::scope(|scope| {
        let soak = &soak;
        let workers: Vec<_> = (0..WORKERS).map(|n| scope.spawn(move || work(soak, n, seed))).collect();
        for number in 0..hostile {
            scope.spawn(move || attack(soak, number, seed));
        }
        let _ends = EndsAll(soak);
        let (server, uses, memory) = torment(soak, server, disk.path(), length, seed);
        soak.ended.store(true, SeqCst);
        let names = workers.into_iter().map(|worker| worker.join().unwrap_or_else(|e| std::panic::resume_unwind(e)));
        (server, uses, memory, names.collect::<Vec<Names>>())
    });
    rest(&soak, &server);
    assert_eq!(server.end(), Some(0), "nothing is left to be cut off");
    let of_hostile = hostile::names();
    let compared = compare(&root, &names.iter().chain([&of_hostile]).collect::<Vec<_>>());
    assert_eq!(staged(&root), Vec::<PathBuf>::new());
    report(&soak, compared, &uses);
    soak.tally().hostile.report();
    memory.report(length);
}

/// The faults that concern the server or its disk; ends with a server at rest.
fn torment(soak: &Soak, mut server: Served, disk: &Path, length: Duration, seed: u64) -> (Served, Vec<Use>, Memory) {
    let (began, mut random) = (Instant::now(), Random::new(seed));
    while began.elapsed() < (length / 2).min(RESTARTS_MAX) && !soak.has_ended() {
        std::thread::park_timeout(Duration::from_millis(200 + random.below(LIFE_MS)));
        if random.below(3) == 0 {
            fill(soak, disk, &mut random);
        }
        server = replace(soak, server, &mut random);
    }
    let (mut uses, mut memory) = (vec![rest(soak, &server)], Memory::default());
    while began.elapsed() < length && !soak.has_ended() {
        memory.look_for(REST_EVERY, began, &server);
        if random.below(4) == 0 {
            fill(soak, disk, &mut random);
        }
        uses.push(rest(soak, &server));
    }
    (server, uses, memory)
}

/// Waits until nothing is under way, and checks that nothing has leaked.
fn rest(soak: &Soak, server: &Served) -> Use {
    soak.rests.store(true, SeqCst);
    let _nobody_works = soak.work.write().unwrap_or_else(PoisonError::into_inner);
    // Uploads of clients that have closed may still be at the disk.
    let descriptors = server.descriptors_at_rest_says(soak.address(Dialect::Http));
    // With no connection: what it started with. New directories that are not durable stay open.
    server.assert_back_to(descriptors, "at rest");
    soak.clock.fetch_add(2, SeqCst);
    soak.rests.store(false, SeqCst);
    Use::of(server)
}
