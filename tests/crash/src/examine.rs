//! One crash image: mount it, start the server on it, and see whether the promise was kept.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::device::Device;
use crate::parts::{Plans, ToldOf};
use crate::server::{Run, Server};
use crate::story::{Change, Event, Found, Framing, History, Over, TIMES, Violation, Visible, Wrong};
use crate::volume::{Kind, Mount};
use crate::workload::Client;
use support::content::{Content, Random};

/// The directory in the file system that the server serves. The server makes it.
pub const SERVED: &str = "served";
const STAGING: &str = ".filewharf";
/// Longest wait for the sweep of what the dead server left.
const PATIENCE: Duration = Duration::from_secs(300);

/// The upload that is made on every image, to see that the store is fit for it.
const AFTER: &str = "/after/the-cut";

/// What is needed to look at images of one file system.
pub struct Examiner<'a> {
    pub kind: Kind,
    pub device: &'a Device,
    pub mount_point: &'a Path,
    pub binary: &'a Path,
}

/// Where the power was cut.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// The place in the log of the workload.
    pub place: usize,
    /// After a recovery from that, a second cut: whether the upload after the first one was acknowledged.
    pub again: Option<bool>,
}

impl Examiner<'_> {
    /// Examines what is on the device, as a power cut left it.
    pub fn examine(
        &self,
        history: &History<'_>,
        parts: (&Plans, &[ToldOf]),
        cut: Cut,
        random: &mut Random,
    ) -> Vec<Violation> {
        let mount = match Mount::new(self.kind, self.device, self.mount_point) {
            Ok(mount) => mount,
            Err(words) => return vec![Violation { wrong: Wrong::Unmountable, words }],
        };
        let dir = mount.path().join(SERVED);
        let mut violations = Vec::new();
        let served = Server::start(self.binary, &dir, Run::AsIs).and_then(|server| {
            let mut visible = Visible::new();
            read_dir(&dir, "", &mut visible)?;
            let listed: Vec<String> = visible.keys().cloned().collect();
            violations.extend(judge_after(cut, visible.remove(AFTER)));
            let (plans, told) = parts;
            let uploaded = plans.take_from(&mut visible);
            violations.extend(parts_without_record(&dir.join(STAGING).join("uploads")));
            violations.extend(history.judge(cut.place, &visible));
            violations.extend(unswept(&dir.join(STAGING).join("staging"), server.pid()));
            violations.extend(unremoved(&dir.join(STAGING)));
            let mut client = Client::connect(server.address)?;
            serves(&mut client, &listed, &visible, random)?;
            let (path, content, framing, over) = (AFTER.to_owned(), after(cut), Framing::Length, Over::Anything);
            client.change(&Change::Put { path, content, framing, over })?;
            self.device.note(Event::AckedAfterCut);
            violations.extend(plans.judge(told, &uploaded, server.address, random)?);
            Ok(())
        });
        if let Err(words) = served {
            violations.push(Violation { wrong: Wrong::Unserved, words });
        }
        violations
    }
}

/// Sometimes long enough for the way of large uploads.
fn after(cut: Cut) -> Content {
    let place = cut.place as u64;
    Content::new(place, place.wrapping_mul(7919) % (100 << 10))
}

fn judge_after(cut: Cut, found: Option<Found>) -> Option<Violation> {
    let wrong = match (cut.again, found) {
        (Some(true), None) => Wrong::Lost,
        (None, Some(_)) => Wrong::Torn,
        (Some(_), Some(found)) if found != Found::File(after(cut).bytes()) => Wrong::Torn,
        _ => return None,
    };
    Some(Violation { wrong, words: AFTER.to_owned() })
}

/// Reads everything that peers can see, not through the server but from the file system.
fn read_dir(dir: &Path, prefix: &str, visible: &mut Visible) -> Result<(), String> {
    let words = |e: std::io::Error| format!("{}: {e}", dir.display());
    for entry in fs::read_dir(dir).map_err(words)? {
        let entry = entry.map_err(words)?;
        let path = format!("{prefix}/{}", entry.file_name().to_string_lossy());
        if path == format!("/{STAGING}") {
            continue;
        }
        if entry.file_type().map_err(words)?.is_dir() {
            read_dir(&entry.path(), &path, visible)?;
            visible.insert(path, Found::Dir);
        } else {
            let bytes = fs::read(entry.path()).map_err(|e| format!("{path}: {e}"))?;
            let mtime = entry.metadata().map_err(words)?.mtime();
            let found = if TIMES.contains(&mtime) { Found::Dated(bytes, mtime) } else { Found::File(bytes) };
            visible.insert(path, found);
        }
    }
    Ok(())
}

fn mtime_of(found: &Found) -> i64 {
    if let Found::Dated(_, mtime) = found { *mtime } else { 0 }
}

/// Nothing waits to be put back, which happens before anything is served; waits until nothing is left of what was
/// removed.
fn unremoved(own: &Path) -> Option<Violation> {
    let began = Instant::now();
    loop {
        let (noted, left) = (names(&own.join("replacing")), names(&own.join("trash")));
        if noted.is_empty() && left.is_empty() {
            return None;
        }
        if !noted.is_empty() || began.elapsed() > PATIENCE {
            return Some(Violation { wrong: Wrong::Unswept, words: format!("{left:?}") });
        }
        thread::sleep(Duration::from_micros(200));
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Waits until only the staging directory of this process is left, with nothing in it but its lock.
fn unswept(staging: &Path, pid: u32) -> Option<Violation> {
    let began = Instant::now();
    loop {
        let dirs = names(staging);
        if let [only] = &dirs[..]
            && only.starts_with(&format!("{pid}-"))
            && names(&staging.join(only)) == ["LOCK"]
        {
            return None;
        }
        if began.elapsed() > PATIENCE {
            return Some(Violation { wrong: Wrong::Unswept, words: format!("{dirs:?}") });
        }
        thread::sleep(Duration::from_micros(200));
    }
}

/// The sweep at the start leaves no part without its record.
fn parts_without_record(uploads: &Path) -> Option<Violation> {
    let entries = fs::read_dir(uploads).into_iter().flatten().flatten();
    let mut parts = entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "part"));
    let left = parts.find(|part| !part.with_extension("info").exists())?;
    Some(Violation { wrong: Wrong::Unswept, words: left.display().to_string() })
}

/// The server lists what is there and nothing else, and sends it.
fn serves(client: &mut Client, there: &[String], visible: &Visible, random: &mut Random) -> Result<(), String> {
    let mut listed = Vec::new();
    let mut dirs = vec![String::new()];
    while let Some(prefix) = dirs.pop() {
        for name in client.list(&format!("{prefix}/"))? {
            let path = format!("{prefix}/{}", name.trim_end_matches('/'));
            if name.ends_with('/') {
                dirs.push(path.clone());
            }
            listed.push(path);
        }
    }
    listed.sort();
    if listed != there {
        return Err(format!("it lists {listed:?}, there is {there:?}"));
    }
    let files: Vec<_> = visible.iter().filter(|(_, found)| **found != Found::Dir).collect();
    if !files.is_empty() {
        let (path, found) = files[random.below(files.len() as u64) as usize];
        let bytes = client.get(path)?;
        if ![Found::File(bytes.clone()), Found::Dated(bytes, mtime_of(found))].contains(found) {
            return Err(format!("it does not send what is in {path}"));
        }
    }
    Ok(())
}
