//! A client of `name-size`: uploads, and never reads. A plain end after everything was sent means
//! stored; a reset means refused or unknown.

use crate::clients::errand::{Errand, Errands, SHARED};
use crate::clients::{Client, Ended, Io, Plan};
use crate::model::{Extent, Fate};

#[derive(Debug)]
pub struct NameSize {
    errands: Errands,
    cut: bool,
}

impl NameSize {
    pub fn new(number: usize) -> Self {
        Self { errands: Errands::new(format!("own{number}.jpg"), Extent::Whole), cut: false }
    }
}

impl Client for NameSize {
    fn begin(&mut self, io: &mut Io<'_>) -> Plan {
        self.cut = false;
        match self.errands.next(io, &SHARED, false) {
            Some(Errand::Put { key, content, .. }) => {
                io.out.say(format!("{key} {}", content.len()).as_bytes());
                io.out.say(content);
                io.out.end();
                Plan::Connect
            }
            _ => Plan::Done,
        }
    }

    fn received(&mut self, io: &mut Io<'_>) {
        io.model.wrong(format!("a name-size client was told {:?}", String::from_utf8_lossy(io.inbox)));
    }

    fn ended(&mut self, io: &mut Io<'_>, how: Ended) {
        match how {
            Ended::InOrder { all_sent: true } if !self.cut => self.errands.put_ended(io, Fate::Acked),
            _ => self.errands.give_up(io),
        }
    }

    /// What was cut off is kept elsewhere, as a part; nothing says so.
    fn was_cut(&mut self, _io: &mut Io<'_>) {
        self.cut = true;
    }
}
