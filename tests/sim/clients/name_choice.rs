//! A client of `name-choice`: one file up or down per connection, with a count or the older way.

use crate::clients::errand::{Errand, Errands, SHARED};
use crate::clients::{Client, Ended, Io, Plan};
use crate::model::{Extent, Fate};

const DONE: &[u8] = b"Done";
const MISSING: &[u8] = b"File not found. Try again.";

#[derive(Debug)]
pub struct NameChoice {
    errands: Errands,
    /// Sends a count, and waits for `Done`.
    waits: bool,
    told: bool,
    cut: bool,
}

impl NameChoice {
    pub fn new(number: usize) -> Self {
        let errands = Errands::new(format!("own{number}.jpg"), Extent::Whole);
        Self { errands, waits: true, told: false, cut: false }
    }
}

impl Client for NameChoice {
    fn begin(&mut self, io: &mut Io<'_>) -> Plan {
        (self.told, self.cut) = (false, false);
        self.waits = io.rng.chance(600);
        let count = if self.waits { "3" } else { "" };
        let Some(errand) = self.errands.next(io, &SHARED, true) else { return Plan::Done };
        match errand {
            Errand::Put { key, content, .. } => {
                io.out.say(format!("{count}{key}:PUT").as_bytes());
                if !self.waits {
                    io.out.say(content);
                    io.out.end();
                }
            }
            Errand::Get { key, .. } => io.out.say(format!("{count}{key}:GET").as_bytes()),
        }
        Plan::Connect
    }

    fn received(&mut self, io: &mut Io<'_>) {
        if !self.waits || self.told {
            return;
        }
        if let Some(rest) = io.inbox.strip_prefix(DONE) {
            *io.inbox = rest.to_vec();
            self.told = true;
            if let (Some(Errand::Put { content, .. }), false) = (self.errands.current(), self.cut) {
                io.out.say(content);
                io.out.end();
            }
        }
    }

    fn ended(&mut self, io: &mut Io<'_>, how: Ended) {
        let started = self.told || !self.waits;
        match (self.errands.current(), how) {
            (Some(Errand::Put { .. }), Ended::InOrder { all_sent: true })
                if !self.cut && started && io.inbox.is_empty() =>
            {
                // A gap in the request may have been taken for its end.
                let fate = if io.prompt { Fate::Acked } else { Fate::Lost };
                self.errands.put_ended(io, fate);
            }
            // Its own end may have cut the conversation off before the request was whole.
            (Some(Errand::Get { .. }), Ended::InOrder { all_sent: true }) if !self.cut && started => {
                let bytes = std::mem::take(io.inbox);
                if !io.prompt && (bytes.is_empty() || bytes == MISSING) {
                    // A gap in the request may have been taken for its end; then nothing is said.
                    return self.errands.give_up(io);
                }
                self.errands.got(io, (bytes != MISSING).then_some(&bytes));
            }
            _ => self.errands.give_up(io),
        }
    }

    fn was_cut(&mut self, io: &mut Io<'_>) {
        self.cut = true;
        self.errands.was_cut(io);
    }
}
