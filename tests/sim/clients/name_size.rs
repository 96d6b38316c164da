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

impl NameSize {
    /// Nothing on the wire separates the size from the content: a stream that is cut at one exact
    /// byte is a complete shorter file that begins with digits of the size.
    fn admit_misreadings(key: &str, content: &[u8], io: &mut Io<'_>) {
        let digits = content.len().to_string();
        for at in 1..digits.len() {
            let (size, rest) = digits.split_at(at);
            let wanted = size.parse::<usize>().expect("digits").checked_sub(rest.len());
            if let Some(front) = wanted.and_then(|len| content.get(..len)) {
                let file = [rest.as_bytes(), front].concat();
                let write = io.model.begin_write(key, Some(file.into()), Extent::Whole);
                io.model.end_write(write, Fate::Lost);
            }
        }
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
                if !io.calm {
                    Self::admit_misreadings(key, content, io);
                }
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
