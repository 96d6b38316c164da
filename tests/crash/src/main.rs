//! Power cuts at the level of the disk: nothing that was acknowledged may be lost or torn.
//!
//! The release build of the server runs on ext4, xfs and btrfs, on a disk that remembers every
//! write and every flush, while clients upload, replace, rename and delete and note what was
//! acknowledged. Then, for many places of that log and many ways to tear what was not flushed
//! there, the disk is put together as a power cut would have left it, mounted, and served again.
//! Some are cut a second time, in the middle of that recovery.
//!
//! A check that cannot fail proves nothing: the same is done first with a server in which the syncs
//! of directories, then of files, do nothing, and these must be caught.
//!
//! | module | what |
//! |---|---|
//! | `image` | the content of a disk, and what a power cut leaves of it |
//! | `device` | the disk as a block device: FUSE and a loop device |
//! | `volume` | file systems and mounts |
//! | `server` | the real server, perhaps sabotaged |
//! | `story` | what clients do, and what they may find afterwards |
//! | `workload` | the clients |
//! | `locks` | locks of WebDAV, and what may be found of them |
//! | `parts` | uploads in parts, and what may be found of them |
//! | `joins` | the same of uploads that are concatenated from others |
//! | `examine` | one image |
//! | `report` | what is kept of a bad one |
//!
//! Nothing here is part of the product. See `.ci/crash` for how it is run.

mod device;
mod examine;
mod image;
mod joins;
mod locks;
mod parts;
mod report;
mod server;
mod story;
mod volume;
mod workload;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use device::Device;
use examine::{Cut, Examiner, SERVED};
use image::{Image, Record, Replay, Tear};
use parts::{Plans, ToldOf};
use server::{Run, Server};
use story::{Event, History, Plan, Violation, Wrong};
use support::content::Random;
use volume::{Kind, Mount};

/// Connections at once, and what each does.
const CONNECTIONS: usize = 24;
const CHANGES: usize = 18;
/// More images are made of more recordings: the longer one is, the longer takes each recovery.
const IMAGES_PER_RECORDING: usize = 100;
/// Of this many images, one is cut again during its recovery.
const CUT_AGAIN: u64 = 4;
/// A sabotaged server that was not caught gets up to this many times its images: on btrfs a sync of the
/// file system, which still works, writes most files too.
const CONTROL_ROUNDS_MAX: usize = 10;
/// One of this many images more is made of a run with the portable calls.
const PORTABLE_SHARE: usize = 4;
/// Violations that are printed in full.
const TOLD_MAX: usize = 10;

const USAGE: &str = "usage: filewharf-crash SERVER-BINARY [IMAGES [CONTROL-IMAGES [SEED [FILE-SYSTEM]]]]
IMAGES of each file system (700) are tried, CONTROL-IMAGES (60) of each sabotaged server;
of ext4, xfs and btrfs if no FILE-SYSTEM is named";

struct Settings {
    binary: PathBuf,
    images: usize,
    control_images: usize,
    seed: u64,
    kinds: Vec<Kind>,
}

impl Settings {
    fn parse() -> Option<Self> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let number = |at: usize, default| arguments.get(at).map_or(Some(default), |text| text.parse::<u64>().ok());
        let binary = PathBuf::from(arguments.first().filter(|_| arguments.len() <= 5)?);
        let is_meant = |kind: &Kind| arguments.get(4).is_none_or(|name| name == kind.name());
        let kinds: Vec<_> = Kind::ALL.into_iter().filter(is_meant).collect();
        let (images, control_images) = (number(1, 700)? as usize, number(2, 60)? as usize);
        (!kinds.is_empty()).then_some(Self { binary, images, control_images, seed: number(3, 1)?, kinds })
    }
}

// covers: power-cut machine-power-cut
fn main() -> ExitCode {
    let Some(settings) = Settings::parse() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let settings = &settings;
    println!("crash: seed {}", settings.seed);
    let verdicts: Vec<Result<bool, String>> = thread::scope(|scope| {
        let tries: Vec<_> =
            settings.kinds.iter().map(|&kind| (kind, scope.spawn(move || try_file_system(kind, settings)))).collect();
        let join = |(kind, tried): (Kind, thread::ScopedJoinHandle<'_, _>)| {
            tried.join().unwrap_or_else(|_| Err("panicked".to_owned())).map_err(|e| format!("{}: {e}", kind.name()))
        };
        tries.into_iter().map(join).collect()
    });
    for words in verdicts.iter().filter_map(|verdict| verdict.as_ref().err()) {
        println!("crash: FAILED: {words}");
    }
    if verdicts.iter().all(|verdict| *verdict == Ok(true)) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The controls, then the real server; true if all is as it must be.
// covers: lying-disk
fn try_file_system(kind: Kind, settings: &Settings) -> Result<bool, String> {
    let work = tempfile::tempdir().map_err(|e| e.to_string())?;
    let (files, mount_point) = (work.path().join("files"), work.path().join("mount"));
    for dir in [&files, &mount_point] {
        std::fs::create_dir(dir).map_err(|e| e.to_string())?;
    }
    let device = Device::attach(&files, kind.len())?;
    let examiner = Examiner { kind, device: &device, mount_point: &mount_point, binary: &settings.binary };
    let mut good = true;
    for run in Run::ALL {
        let images = match run {
            Run::AsIs => settings.images,
            Run::Portable => settings.images / PORTABLE_SHARE,
            Run::NoDirSyncs | Run::NoFileSyncs => settings.control_images,
        };
        let mut tally = Tally::new();
        for seed in settings.seed.. {
            let continues = run.is_control() && tally.losses() == 0;
            let wanted = if continues { images * CONTROL_ROUNDS_MAX } else { images };
            let until = wanted.min(tally.images + images.min(IMAGES_PER_RECORDING));
            if until <= tally.images {
                break;
            }
            let recording = record(&examiner, run, seed)?;
            replay(&examiner, &recording, until, (run, seed), &mut tally)?;
        }
        tally.tell(kind, run);
        good &= match run {
            Run::AsIs | Run::Portable => tally.violations.is_empty() && tally.images == images,
            Run::NoDirSyncs | Run::NoFileSyncs => tally.losses() > 0,
        };
    }
    Ok(good)
}

/// One run of the server.
struct Recording {
    /// The disk before it.
    base: Image,
    records: Vec<Record>,
    plans: Vec<Plan>,
    parts: Plans,
}

fn record(examiner: &Examiner<'_>, run: Run, seed: u64) -> Result<Recording, String> {
    let Examiner { kind, device, mount_point, binary } = *examiner;
    let mut random = Random::new(seed);
    let plans: Vec<Plan> = (0..CONNECTIONS).map(|line| Plan::new(line, CHANGES, &mut random)).collect();
    device.load(Image::default())?;
    kind.make(device)?;
    let base = device.image();
    device.take_log();
    let mount = Mount::new(kind, device, mount_point)?;
    let server = Server::start(binary, &mount.path().join(SERVED), run)?;
    let parts = Plans::new(&mut random);
    workload::run(server.address, &plans, &parts, device, mount.path())?;
    let records = device.take_log();
    drop(server);
    drop(mount);
    Ok(Recording { base, records, plans, parts })
}

/// Makes and examines images of a recording until there are `until` in the tally.
fn replay(
    examiner: &Examiner<'_>,
    recording: &Recording,
    until: usize,
    (run, seed): (Run, u64),
    tally: &mut Tally,
) -> Result<(), String> {
    let Recording { base, records, plans, parts } = recording;
    tally.records += records.len();
    tally.flushes += records.iter().filter(|record| matches!(record, Record::Flush)).count();
    let events = records.iter().enumerate().filter_map(|(place, record)| match record {
        Record::Note(event) => Some((place, *event)),
        _ => None,
    });
    let history = History::new(plans, events);
    let mut random = Random::new(seed);
    let mut replay = Replay::new(base.clone(), records);
    let (first, images) = (tally.images, until - tally.images);
    while tally.images < until {
        // Evenly along the log, but not at the same places with every seed.
        let step = |n: usize| records.len() * (n - first) / images;
        let width = step(tally.images + 1) - step(tally.images);
        let place = step(tally.images) + random.below(width as u64 + 1) as usize;
        replay.advance(place);
        let tear = Tear::any(&mut random);
        let image = replay.image(tear, &mut random);
        examiner.device.load(image.clone())?;
        let acked = history.acked_before(place);
        let told = reported_before(&records[..place]);
        let violations = examiner.examine(&history, (parts, &told), Cut { place, again: None }, &mut random);
        let is_back = violations.is_empty();
        let which = |number| report::Which { kind: examiner.kind, run, seed, place, number };
        tally.add(which(tally.images - first), &history, violations, &[tear], acked);
        if is_back && tally.images < until && random.below(CUT_AGAIN) == 0 {
            let recovery = examiner.device.take_log();
            let mut again = Replay::new(image, &recovery);
            let stop = random.below(recovery.len() as u64 + 1) as usize;
            again.advance(stop);
            let second = Tear::any(&mut random);
            examiner.device.load(again.image(second, &mut random))?;
            let done = recovery[..stop].iter().any(|record| matches!(record, Record::Note(Event::AckedAfterCut)));
            let violations = examiner.examine(&history, (parts, &told), Cut { place, again: Some(done) }, &mut random);
            tally.again += 1;
            tally.add(which(tally.images - first), &history, violations, &[tear, second], acked);
        }
    }
    Ok(())
}

/// The states of uploads in parts that the server had reported to clients.
fn reported_before(records: &[Record]) -> Vec<ToldOf> {
    let told = records.iter().filter_map(|record| match record {
        Record::Note(Event::Told { line, upload, told }) => Some(((*line, *upload), *told)),
        _ => None,
    });
    told.collect()
}

/// What a number of images showed.
struct Tally {
    images: usize,
    /// Of these, images of a cut during recovery.
    again: usize,
    /// Acknowledged changes that were looked for, over all images.
    acked: usize,
    /// Images with a violation.
    bad: usize,
    /// Images that the file system itself does not come back from, because a disk tore its
    /// metadata at the least length of all.
    unmountable: usize,
    violations: BTreeMap<Wrong, usize>,
    examples: Vec<Violation>,
    /// What was recorded.
    records: usize,
    flushes: usize,
    began: Instant,
}

impl Tally {
    fn new() -> Self {
        Self {
            images: 0,
            again: 0,
            acked: 0,
            bad: 0,
            unmountable: 0,
            violations: BTreeMap::new(),
            examples: Vec::new(),
            records: 0,
            flushes: 0,
            began: Instant::now(),
        }
    }

    fn add(
        &mut self,
        which: report::Which,
        history: &History<'_>,
        mut violations: Vec<Violation>,
        tears: &[Tear],
        acked: usize,
    ) {
        self.images += 1;
        // What a file system does not promise, no program above it can.
        if tears.contains(&Tear::Sectors) && violations.iter().all(|violation| violation.wrong == Wrong::Unmountable) {
            self.unmountable += violations.len();
            return;
        }
        self.acked += acked;
        self.bad += usize::from(!violations.is_empty());
        for violation in &mut violations {
            violation.words = format!("cut at {}, {tears:?}: {}", which.place, violation.words);
        }
        report::keep(which, tears, history, &violations);
        for violation in violations {
            *self.violations.entry(violation.wrong).or_default() += 1;
            if self.examples.len() < TOLD_MAX {
                self.examples.push(violation);
            }
        }
    }

    /// Broken promises: what was acknowledged and is not there, or what is there and is torn.
    fn losses(&self) -> usize {
        let broken =
            [Wrong::Fell, Wrong::Lost, Wrong::Torn, Wrong::Stale, Wrong::Returned, Wrong::Vanished, Wrong::TargetGone];
        broken.iter().filter_map(|wrong| self.violations.get(wrong)).sum()
    }

    fn tell(&self, kind: Kind, run: Run) {
        let elapsed = self.began.elapsed();
        println!(
            "crash: {}, {}: {} images ({} of them cut again in recovery) in {elapsed:.1?}, {:.1}/s; {} records with {} \
             flushes; {} acknowledged changes looked for; {} images unmountable for torn sectors; {} bad images {:?}",
            kind.name(),
            run.name(),
            self.images,
            self.again,
            self.images as f64 / elapsed.as_secs_f64(),
            self.records,
            self.flushes,
            self.acked,
            self.unmountable,
            self.bad,
            self.violations,
        );
        let told = if run.is_control() { 1 } else { TOLD_MAX };
        for example in self.examples.iter().take(told) {
            println!("crash:   {example}");
        }
    }
}
