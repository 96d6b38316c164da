//! The deterministic simulator: the real reactor, sessions and dialects in a world that is made up
//! from one number, the seed. Every fault of network, disk and process that the product promises
//! to survive happens there, and a model judges what clients see.
//!
//! | module | what |
//! |---|---|
//! | `run` | one seed from start to end; what must hold at every turn, after a crash, at the end |
//! | `world` | the virtual clock, what happens when, which events the server receives |
//! | `clients` | one file per dialect: goals; and how clients misbehave |
//! | `locks` | what was said of the locks of WebDAV |
//! | `resumable` | what was said of uploads in parts |
//! | `model` | what each name may hold; judges every read and every crash |
//!
//! The platform itself is `support::memory`.
//!
//! `SIM_SEED=N cargo test --test sim replay` shows one seed; `SIM_SEEDS=N` (and `SIM_FROM=M`) runs
//! this many. For many seeds: `cargo test --profile checked --test sim -- --nocapture`.
#![allow(clippy::disallowed_methods, reason = "tests stand outside: they have clocks")]

mod clients;
mod locks;
mod model;
mod resumable;
mod run;
mod world;

use std::time::Instant;

use support::memory::{faults, net, rng, trace};

/// Seeds that every `cargo test` runs.
const SEEDS: u64 = 128;
/// A seed that takes longer is named.
const SLOW_S: u64 = 3;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

// covers: ends-itself slot-used-again
#[test]
fn every_seed_keeps_every_promise() {
    let (from, count) = (number("SIM_FROM").unwrap_or(0), number("SIM_SEEDS").unwrap_or(SEEDS));
    let began = Instant::now();
    let mut sum = run::Report::default();
    let mut failed = Vec::new();
    for seed in from..from + count {
        let started = Instant::now();
        match run::run(seed, false) {
            Ok(report) => {
                sum.turns += report.turns;
                sum.virtual_us += report.virtual_us;
                sum.crashes += report.crashes;
                sum.reads += report.reads;
                sum.acks += report.acks;
            }
            Err(what) => {
                println!("seed {seed}: {}", what.chars().take(600).collect::<String>());
                failed.push(seed);
                assert!(
                    failed.len() < number("SIM_FAILURES").unwrap_or(20) as usize,
                    "too many seeds fail: {failed:?}"
                );
            }
        }
        if started.elapsed().as_secs() >= SLOW_S {
            println!("seed {seed} took {:?}", started.elapsed());
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{count} seeds from {from}, {} turns, {:.1} h of virtual time, {} crashes, {} reads, {} acknowledged writes, {:.1} seeds/s",
        sum.turns,
        sum.virtual_us as f64 / 3.6e9,
        sum.crashes,
        sum.reads,
        sum.acks,
        count as f64 / seconds,
    );
    assert!(failed.is_empty(), "SIM_SEED=N cargo test --test sim replay shows one of {failed:?}");
}

#[test]
fn a_seed_means_the_same_run_for_ever() {
    for seed in [3, 4, 5] {
        assert_eq!(run::run(seed, false), run::run(seed, false), "seed {seed}");
    }
}

#[test]
fn replay() {
    let Some(seed) = number("SIM_SEED") else { return };
    let report = run::run(seed, true);
    match &report {
        Ok(report) => println!("seed {seed}: {report:?}"),
        Err(what) => println!("seed {seed}: {what}"),
    }
    assert!(report.is_ok());
}
