//! The client against a server that misbehaves on order.

mod download;
mod pipeline;
mod requests;
mod resumed_upload;
mod upload;

use super::fake::Fake;
use std::time::Duration;

use super::*;

/// Bytes without a pattern that a shifted or repeated piece could hide in.
fn noise(len: usize) -> Vec<u8> {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64 ^ len as u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as u8
    };
    (0..len).map(|_| next()).collect()
}

fn client(fake: &Fake) -> Client {
    Client::connect(&fake.address, Fake::options()).expect("the fake server answers")
}

/// A client that tries once.
fn impatient(fake: &Fake) -> Client {
    Client::connect(&fake.address, Options { retry_for: Duration::ZERO, ..Fake::options() })
        .expect("the fake server answers")
}

/// Records its calls.
#[derive(Default)]
struct Notes {
    totals: Vec<u64>,
    last: u64,
}

impl Progress for Notes {
    fn total(&mut self, bytes: u64) {
        self.totals.push(bytes);
    }

    fn position(&mut self, bytes: u64) {
        self.last = bytes;
    }
}
