//! A peer that speaks no protocol at all.

use crate::clients::{Client, Ended, Io, Plan};

/// What it says is made of the bytes of one of these.
const ALPHABETS: [&[u8]; 5] = [b"\n ", b"PUTGE*/\n =:", b"\x80\x03}(X\x00u.", b"\xFF", b"sendtxrimg"];

/// May it have stored that? By chance its words can be an upload.
pub fn may_have_stored(key: &str, bytes: &[u8]) -> bool {
    let all = |alphabet: &[u8], said: &[u8]| said.iter().all(|byte| alphabet.contains(byte));
    ALPHABETS.iter().any(|alphabet| all(alphabet, key.as_bytes()) && all(alphabet, bytes))
}

#[derive(Debug)]
pub struct Hostile;

impl Client for Hostile {
    fn begin(&mut self, io: &mut Io<'_>) -> Plan {
        if io.calm {
            return Plan::Done;
        }
        let len = *io.rng.pick(&[1, 70, 700, 20_000]);
        let alphabet = *io.rng.pick(&ALPHABETS);
        let bytes: Vec<u8> = (0..io.rng.range(0..=len)).map(|_| *io.rng.pick(alphabet)).collect();
        io.out.say(&bytes);
        if io.rng.chance(500) {
            io.out.end();
        }
        Plan::Connect
    }

    fn received(&mut self, io: &mut Io<'_>) {
        io.inbox.clear();
    }

    fn ended(&mut self, _io: &mut Io<'_>, _how: Ended) {}
}
