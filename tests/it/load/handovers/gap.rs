//! How long a client waits that connects in the moment of a hand-over.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use support::StopOnDrop;
use support::client::Client;
use support::figures::Spread;

use super::{Generations, Site, number};

const HAND_OVERS: usize = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// How long each of the connections takes that are opened meanwhile, until its request is answered.
fn meanwhile(at: SocketAddr, act: impl FnOnce()) -> Spread {
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        let stop = StopOnDrop(&ends);
        let times = scope.spawn(|| {
            let mut times = Vec::new();
            while !ends.load(Relaxed) {
                let began = Instant::now();
                Client::connect(at).expect("PING", "OK 0");
                times.push(began.elapsed());
            }
            times
        });
        act();
        drop(stop);
        Spread::new(times.join().expect("each is answered"))
    })
}

#[test]
#[ignore = "needs seconds and a release build; prints figures"]
fn a_client_that_connects_in_the_moment_of_a_hand_over_is_answered() {
    let (site, first) = Site::start();
    let (at, hand_overs) = (first.address(), number("HANDOVERS", HAND_OVERS));
    let mut generations = Generations::new(&site, first);
    let quiet = meanwhile(at, || thread::sleep(PAUSE * HAND_OVERS as u32));
    let busy = meanwhile(at, || {
        for _ in 0..hand_overs {
            thread::sleep(PAUSE);
            generations.hand_over();
        }
    });
    println!("handovers: connected and answered without any: {quiet}");
    println!("handovers: connected and answered during {hand_overs}: {busy}");
    generations.end();
}
