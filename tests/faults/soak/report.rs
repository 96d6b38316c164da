//! What a soak came to: what was counted, and whether the last server kept its memory, descriptors and threads.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Soak;
use crate::server::Served;
use support::process;

/// Looks at the memory from which on a third of them is taken after all was filled.
const LOOKS_MIN: usize = 100;
/// How much the mean of a third may be above that of the third before, in KiB. The free memory at the end of
/// the heap comes and goes: 64 KiB were seen in half an hour.
const GROWTH_MAX_KIB: u64 = 512;

/// How often the memory is looked at under load, and of how much time at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
/// From this length on, the last half begins two minutes after the start of the last server: see [`super`].
const FLAT_FROM: Duration = Duration::from_secs(480);

/// What a server uses, seen from outside.
#[derive(Clone, Copy, Debug)]
pub struct Use {
    pub rss_kib: u64,
    pub descriptors: usize,
    pub threads: u64,
}

impl Use {
    pub fn of(server: &Served) -> Self {
        let pid = server.pid();
        Self {
            rss_kib: process::status(pid, "VmRSS:"),
            descriptors: server.descriptors(),
            threads: process::status(pid, "Threads:"),
        }
    }
}

/// The memory of the last server under load: when it was looked at, since the soak began, and KiB.
#[derive(Default)]
pub struct Memory(Vec<(Duration, u64)>);

impl Memory {
    /// Looks at it every second for this long.
    pub fn look_for(&mut self, time: Duration, began: Instant, server: &Served) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            std::thread::park_timeout(LOOK_EVERY);
            self.0.push((began.elapsed(), process::status(server.pid(), "VmRSS:")));
        }
    }

    /// Means of the first and the last third of the last hour, or of the last half of a shorter soak.
    fn thirds(&self, length: Duration) -> (u64, u64) {
        let from = length - (length / 2).min(HOUR);
        let looks: Vec<u64> = self.0.iter().filter(|(at, _)| *at >= from).map(|(_, kib)| *kib).collect();
        let third = (looks.len() / 3).max(1);
        let mean = |looks: &[u64]| looks.iter().sum::<u64>() / looks.len().max(1) as u64;
        (mean(&looks[..third.min(looks.len())]), mean(&looks[looks.len().saturating_sub(third)..]))
    }

    /// Prints them, and checks that the memory is flat, in a soak long enough for it to be filled before.
    pub fn report(&self, length: Duration) {
        let (first, last) = self.thirds(length);
        println!("soak: memory under load, mean of the first third {first} KiB, of the last {last} KiB");
        assert!(length < FLAT_FROM || last * 100 <= first * 105, "memory grows under load");
    }
}

/// True if the memory still grows in the last third of a long run.
fn grows(uses: &[Use]) -> bool {
    let third = uses.len() / 3;
    let mean = |uses: &[Use]| uses.iter().map(|now| now.rss_kib).sum::<u64>() / uses.len() as u64;
    uses.len() >= LOOKS_MIN && mean(&uses[2 * third..]) > mean(&uses[third..2 * third]) + GROWTH_MAX_KIB
}

pub fn report(soak: &Soak, compared: u64, uses: &[Use]) {
    let tally = soak.tally();
    let sum = |map: &BTreeMap<String, u64>| map.values().sum::<u64>();
    println!("soak: {} transfers", sum(&tally.transfers));
    for (word, times) in &tally.transfers {
        println!("soak:   {word}: {times}");
    }
    println!("soak: {} faults", tally.faults.values().sum::<u64>());
    for (word, times) in &tally.faults {
        println!("soak:   {word}: {times}");
    }
    println!("soak: {} MiB verified, {} MiB more in the folder at the end", tally.bytes_verified >> 20, compared >> 20);
    let (first, last) = (uses[0], uses[uses.len() - 1]);
    let most = uses.iter().map(|now| now.rss_kib).max().unwrap_or(0);
    println!(
        "soak: the last server, at rest {} times: memory {} KiB at first, {most} at most, {} at the end; \
         descriptors {} and {}; threads {} and {}",
        uses.len(),
        first.rss_kib,
        last.rss_kib,
        first.descriptors,
        last.descriptors,
        first.threads,
        last.threads
    );
    assert!(last.rss_kib <= first.rss_kib + first.rss_kib / 4 + (8 << 10), "memory grows");
    assert!(!grows(uses), "memory grows slowly: {:?}", uses.iter().map(|now| now.rss_kib).collect::<Vec<_>>());
    for now in uses {
        assert_eq!((now.descriptors, now.threads), (first.descriptors, first.threads), "something leaks");
    }
}

#[test]
fn a_slow_growth_of_memory_is_distinguished_from_what_fills_up_at_first() {
    let uses = |rss: &dyn Fn(u64) -> u64| -> Vec<Use> {
        (0..300).map(|look| Use { rss_kib: rss(look), descriptors: 1, threads: 1 }).collect()
    };
    // As it was seen: full after 2 minutes of 25, with 2 MiB that come and go.
    let fills = |look: u64| 4000 + 4000 * look.min(24) / 24 + 2000 * (look % 2);
    assert!(!grows(&uses(&fills)));
    // 8 KiB in 5 seconds.
    assert!(grows(&uses(&|look| fills(look) + 8 * look)));
}

#[test]
fn the_memory_under_load_is_that_of_the_last_hour() {
    let grown = |rss: &dyn Fn(u64) -> u64| {
        Memory((0..7200).map(|s| (Duration::from_secs(s), rss(s))).collect()).thirds(Duration::from_secs(7200))
    };
    assert_eq!(grown(&|s| if s < 3600 { 1 } else { 7 }), (7, 7));
    assert_eq!(grown(&|s| if s < 6000 { 7 } else { 9 }), (7, 9));
}
