//! The same conversations on the real platform: real sockets, a real directory and real disk workers,
//! held to the same words, down to the byte. None is left out.

use std::thread;

use super::{Transcript, all, converse, limits};
use crate::real::{Calls, Real};
use support::client::random;

/// Servers at once: each spends most of its time waiting for its disk workers.
const LANES: usize = 4;

/// This many bytes at most arrive one by one, the rest of a conversation with the last of them.
const SINGLE_BYTES_MAX: usize = 500;

/// Holds all of them, `cuts` telling where the client's bytes are cut.
fn hold(calls: Calls, cuts: impl Fn(&Transcript) -> Vec<usize> + Sync) {
    let all = all();
    thread::scope(|scope| {
        for lane in 0..LANES {
            let (all, cuts) = (&all, &cuts);
            scope.spawn(move || {
                for transcript in all.iter().skip(lane).step_by(LANES) {
                    let cuts = cuts(transcript);
                    let what = format!("{} (real, {calls:?}, cut at {cuts:?})", transcript.title);
                    let mut real = Real::speaking(transcript.listening(), limits(), transcript.access.clone(), calls);
                    converse(&what, transcript, &mut real, &cuts);
                }
            });
        }
    });
}

#[test]
fn every_conversation_goes_as_written_on_the_real_platform() {
    hold(Calls::Best, |_| Vec::new());
}

#[test]
fn every_conversation_goes_as_written_on_the_real_platform_byte_by_byte() {
    hold(Calls::Best, |transcript| (1..transcript.sent_len()).take(SINGLE_BYTES_MAX).collect());
}

#[test]
fn every_conversation_goes_as_written_on_the_real_platform_with_portable_calls_at_random_cuts() {
    hold(Calls::Portable, |transcript| {
        let mut seed = transcript.seed();
        let len = transcript.sent_len().max(1) as u64;
        let mut cuts: Vec<usize> = (0..3).map(|_| (random(&mut seed) % len) as usize).collect();
        cuts.sort_unstable();
        cuts.dedup();
        cuts
    });
}
