//! Uploads in parts: clients that are cut off again and again, and continue after what is safe. No power cut may take
//! back an offset that was reported, nor give a name a content that is not whole. Joins and locks are planned here too.

use std::net::SocketAddr;
use std::thread::{self, Scope, ScopedJoinHandle};

use crate::device::Device;
use crate::joins::Joined;
use crate::locks::Locked;
use crate::story::{Event, Found, Violation, Visible, Wrong};
use crate::workload::Client;
use support::content::{Content, Random};

/// Connections that upload in parts, and how many uploads each makes.
const LINES: usize = 6;
const UPLOADS: usize = 4;
/// Connections that have their uploads concatenated from others.
const JOINERS: usize = 3;
/// Connections that lock names.
const LOCKERS: usize = 2;
/// Parts of one upload at most.
const PARTS_MAX: u64 = 6;
/// Several checkpoints fit into one part: see `server::Server::start`.
const LEN_MAX: u64 = 300 << 10;
/// This many uploads that are not complete are resumed on each image.
const RESUMED_MAX: usize = 2;

/// One upload, and where its connections end.
#[derive(Clone, Debug)]
pub struct Upload {
    path: String,
    content: Content,
    ends: Vec<u64>,
}

/// The uploads and locks of every connection.
pub struct Plans {
    parts: Vec<Vec<Upload>>,
    /// Those of the connections after these.
    joins: Vec<Vec<Joined>>,
    /// Those of the connections after these.
    locks: Vec<Vec<Locked>>,
}

/// What a client knows of an upload, and from which place of the log on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Told {
    /// This many bytes are safe.
    Safe(u64),
    Complete,
}

/// Which upload of which connection.
pub type ToldOf = ((usize, usize), Told);

impl Plans {
    pub fn new(random: &mut Random) -> Self {
        let upload = |line: usize, n: usize, random: &mut Random| {
            let content = Content::new(random.next() >> 8, 1 + random.below(LEN_MAX));
            let mut ends: Vec<u64> = (0..random.below(PARTS_MAX)).map(|_| random.below(content.len)).collect();
            ends.sort_unstable();
            Upload { path: format!("/parts/{line}/{n}"), content, ends }
        };
        let mut line = |line| (0..UPLOADS).map(|n| upload(line, n, random)).collect();
        let parts = (0..LINES).map(&mut line).collect();
        let mut joined = |line| (0..UPLOADS).map(|n| Joined::new(format!("/joins/{line}/{n}"), random)).collect();
        let joins = (0..JOINERS).map(&mut joined).collect();
        let mut locked = |line| (0..UPLOADS).map(|n| Locked::new(format!("/locks-{line}-{n}"), random)).collect();
        Self { parts, joins, locks: (0..LOCKERS).map(&mut locked).collect() }
    }

    /// Makes every upload; the first reply that is another than expected ends the run.
    pub fn run(&self, address: SocketAddr, device: &Device) -> Result<(), String> {
        thread::scope(|scope| {
            let mut lines = begin(scope, 0, &self.parts, device, |one, tell| one.make(address, tell));
            lines.extend(begin(scope, LINES, &self.joins, device, |one, tell| one.make(address, tell)));
            lines.extend(begin(scope, LINES + JOINERS, &self.locks, device, |one, tell| one.make(address, tell)));
            lines.into_iter().try_for_each(|line| line.join().map_err(|_| "a client panicked".to_owned())?)
        })
    }

    /// Takes the files of these uploads from what is visible.
    pub fn take_from(&self, visible: &mut Visible) -> Visible {
        let joined = self.joins.iter().flatten().map(|upload| &upload.path);
        let locked = self.locks.iter().flatten().map(|lock| &lock.path);
        let paths = self.parts.iter().flatten().map(|upload| &upload.path).chain(joined).chain(locked);
        paths.filter_map(|path| Some((path.clone(), visible.remove(path)?))).collect()
    }

    /// Judges what is visible of these uploads, and what the server says of them; some are resumed.
    pub fn judge(
        &self,
        told: &[ToldOf],
        visible: &Visible,
        address: SocketAddr,
        random: &mut Random,
    ) -> Result<Vec<Violation>, String> {
        let mut violations = Vec::new();
        let mut client = Client::connect(address)?;
        let mut resumed = 0;
        let last_told = |line, n| told.iter().filter(|(of, _)| *of == (line, n)).map(|(_, told): &ToldOf| *told).max();
        for (line, uploads) in self.joins.iter().enumerate() {
            for (n, upload) in uploads.iter().enumerate() {
                violations.extend(upload.judge(last_told(LINES + line, n), visible.get(&upload.path), address)?);
            }
        }
        for (line, locks) in (LINES + JOINERS..).zip(&self.locks) {
            for (n, lock) in locks.iter().enumerate() {
                violations.extend(lock.judge(last_told(line, n), visible.get(&lock.path), address)?);
            }
        }
        for (line, uploads) in self.parts.iter().enumerate() {
            for (n, upload) in uploads.iter().enumerate() {
                let told = last_told(line, n);
                let state = upload.state(&mut client)?;
                violations.extend(upload.judge(told, state, visible.get(&upload.path)));
                let is_resumed = matches!(state, Some(Told::Safe(_))) && resumed < RESUMED_MAX && random.below(4) == 0;
                if is_resumed {
                    resumed += 1;
                    violations.extend(upload.resume(address, state)?);
                }
            }
        }
        Ok(violations)
    }
}

type Line<'scope> = ScopedJoinHandle<'scope, Result<(), String>>;

/// Begins connections, of which the first has this number; each does one thing after the other.
fn begin<'scope, 'env, T: Sync>(
    scope: &'scope Scope<'scope, 'env>,
    first: usize,
    all: &'env [Vec<T>],
    device: &'env Device,
    make: impl Fn(&T, &dyn Fn(Told)) -> Result<(), String> + Copy + Send + 'scope,
) -> Vec<Line<'scope>> {
    let lines = (first..).zip(all);
    let begun = lines.map(|(line, all)| {
        scope.spawn(move || {
            let mut numbered = all.iter().enumerate();
            numbered.try_for_each(|(n, one)| make(one, &|told| device.note(Event::Told { line, upload: n, told })))
        })
    });
    begun.collect()
}

impl Upload {
    fn head(&self) -> String {
        format!("PUT {} resume=token {}\n", self.content.len, self.path)
    }

    fn bytes(&self, from: u64, to: u64) -> Vec<u8> {
        self.content.bytes()[from as usize..to as usize].to_vec()
    }

    /// Asks for the safe offset: the client continues there.
    fn go(&self, client: &mut Client) -> Result<u64, String> {
        let reply = client.say(self.head().as_bytes())?;
        let offset = reply.trim_end().strip_prefix("GO ").and_then(|offset| offset.parse().ok());
        offset.ok_or_else(|| format!("{}: {reply:?}", self.path))
    }

    /// What the server says of it; `None` if it knows nothing.
    fn state(&self, client: &mut Client) -> Result<Option<Told>, String> {
        let reply = client.say(format!("STAT resume=token {}\n", self.path).as_bytes())?;
        let offset = reply.split(' ').find_map(|word| word.strip_prefix("offset=")?.parse().ok());
        match offset {
            Some(_) if reply.contains(" complete=1") => Ok(Some(Told::Complete)),
            Some(offset) => Ok(Some(Told::Safe(offset))),
            None if reply.starts_with("ERR 404 ") => Ok(None),
            None => Err(format!("{}: {reply:?}", self.path)),
        }
    }

    fn make(&self, address: SocketAddr, tell: impl Fn(Told)) -> Result<(), String> {
        for end in self.ends.iter().chain([&self.content.len]) {
            let mut client = Client::connect(address)?;
            let offset = self.go(&mut client)?;
            tell(Told::Safe(offset));
            if offset < *end {
                client.send(&self.bytes(offset, *end))?;
            }
            if let Some(told) = self.state(&mut Client::connect(address)?)? {
                tell(told);
            }
            if *end == self.content.len {
                let reply = client.reply()?;
                if !reply.contains(" stored=durable") {
                    return Err(format!("{}: {reply:?}", self.path));
                }
                tell(Told::Complete);
            }
        }
        Ok(())
    }

    fn judge(&self, told: Option<Told>, state: Option<Told>, found: Option<&Found>) -> Option<Violation> {
        let is_whole = |found: &Found| *found == Found::File(self.content.bytes());
        let wrong = match (told, found) {
            (_, Some(found)) if !is_whole(found) => Wrong::Torn,
            (Some(Told::Complete), None) => Wrong::Lost,
            (_, None) if state == Some(Told::Complete) => Wrong::Lost,
            // It is as far as was reported, or further.
            _ if state >= told => return None,
            _ => Wrong::Fell,
        };
        let found = if found.is_some() { "there" } else { "not there" };
        let words = format!("{}: told {told:?}, is {state:?}, the file is {found}", self.path);
        Some(Violation { wrong, words })
    }

    /// Completes an upload after the cut: what was safe must be what was sent.
    fn resume(&self, address: SocketAddr, state: Option<Told>) -> Result<Option<Violation>, String> {
        let mut client = Client::connect(address)?;
        let offset = self.go(&mut client)?;
        let wrong = if Some(Told::Safe(offset)) < state {
            Wrong::Fell
        } else {
            client.send(&self.bytes(offset, self.content.len))?;
            let reply = client.reply()?;
            if !reply.starts_with("OK 0 ") {
                return Err(format!("{}: {reply:?}", self.path));
            }
            if client.get(&self.path)? == self.content.bytes() {
                return Ok(None);
            }
            Wrong::Torn
        };
        Ok(Some(Violation { wrong, words: format!("{}: resumed at {offset}, it was {state:?}", self.path) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_found_of_an_upload_is_distinguished_from_what_may_not() {
        let content = Content::new(1, 900);
        let upload = Upload { path: "/parts/0/0".to_owned(), content, ends: Vec::new() };
        let (whole, part) = (Found::File(content.bytes()), Found::File(content.bytes()[..899].to_vec()));
        let safe = |offset| Some(Told::Safe(offset));
        for (told, state, found, wrong) in [
            (None, None, None, None),
            (safe(500), safe(500), None, None),
            (safe(500), safe(900), None, None),
            (safe(500), Some(Told::Complete), Some(&whole), None),
            (Some(Told::Complete), Some(Told::Complete), Some(&whole), None),
            (safe(500), safe(499), None, Some(Wrong::Fell)),
            (safe(0), None, None, Some(Wrong::Fell)),
            (Some(Told::Complete), safe(900), Some(&whole), Some(Wrong::Fell)),
            (Some(Told::Complete), Some(Told::Complete), None, Some(Wrong::Lost)),
            (safe(500), Some(Told::Complete), None, Some(Wrong::Lost)),
            (safe(500), safe(500), Some(&part), Some(Wrong::Torn)),
        ] {
            let judged = upload.judge(told, state, found).map(|violation| violation.wrong);
            assert_eq!(judged, wrong, "told {told:?}, is {state:?}");
        }
    }

    #[test]
    fn each_part_ends_within_its_upload_and_none_before_the_one_before() {
        for seed in 0..50 {
            for upload in Plans::new(&mut Random::new(seed)).parts.iter().flatten() {
                assert!(upload.ends.is_sorted() && upload.ends.iter().all(|end| *end < upload.content.len));
            }
        }
    }
}
