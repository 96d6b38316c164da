//! A peer that speaks no protocol at all.

use crate::clients::{Client, Ended, Io, Plan};

#[derive(Debug)]
pub struct Hostile;

impl Client for Hostile {
    fn begin(&mut self, io: &mut Io<'_>) -> Plan {
        if io.calm {
            return Plan::Done;
        }
        let len = *io.rng.pick(&[1, 70, 700, 20_000]);
        let alphabet: &[u8] =
            io.rng.pick::<&[u8]>(&[b"\n ", b"PUTGE*/\n =:", b"\x80\x03}(X\x00u.", b"\xFF", b"sendtxrimg"]);
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
