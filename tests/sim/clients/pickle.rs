//! A client of `pickle`: waits for its id, then stores, fetches and leaves messages, one answer
//! after the other.

use filewharf::wire::pickle::{self, Document, Item, Scanner, Strings, Value};

use crate::clients::errand::{Errand, Errands, SHARED};
use crate::clients::{Client, Ended, Io, Plan};
use crate::model::{Extent, Fate};

const MESSAGE_LEN_MAX: usize = 1 << 20;

#[derive(Debug)]
pub struct Pickle {
    errands: Errands,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Id,
    Message,
    Errand,
    Over,
}

impl Pickle {
    pub fn new(number: usize) -> Self {
        Self { errands: Errands::new(format!("own{number}.jpg"), Extent::Whole), stage: Stage::Id }
    }

    fn ask(&mut self, io: &mut Io<'_>) {
        if !io.calm && io.rng.chance(200) {
            io.out.say(&pickle::dict(&[("sid", Item::Int(io.rng.below(1000)))]));
            self.stage = Stage::Message;
            return;
        }
        self.stage = Stage::Errand;
        match self.errands.next(io, &SHARED, true) {
            Some(Errand::Put { key, content, .. }) => {
                let head = pickle::bytes_entry("put", key, "data", content.len() as u32, Strings::Apart);
                io.out.say(&head.before);
                io.out.say(content);
                io.out.say(&head.trailer);
            }
            Some(Errand::Get { key, .. }) => io.out.say(&pickle::dict(&[("get", Item::Text(key))])),
            None => self.leave(io),
        }
    }

    fn leave(&mut self, io: &mut Io<'_>) {
        self.stage = Stage::Over;
        io.out.close();
    }

    fn answer(&mut self, document: &Document, io: &mut Io<'_>) {
        let error = match document.get("error") {
            Some(Value::Text(words)) => Some(words.to_string()),
            _ => None,
        };
        match (self.stage, self.errands.current()) {
            (Stage::Id, _) if document.get("clientid").is_none() => {
                io.model.wrong("pickle: no client id comes first".to_owned());
            }
            (Stage::Errand, Some(Errand::Put { .. })) if document.get("stored").is_some() => {
                self.errands.put_ended(io, Fate::Acked);
            }
            (Stage::Errand, Some(Errand::Put { .. })) if error.is_some() => self.errands.put_ended(io, Fate::Unsure),
            (Stage::Errand, Some(Errand::Get { .. })) => match (document.get("data"), error) {
                (Some(Value::Bytes(bytes)), _) => self.errands.got(io, Some(bytes)),
                (_, Some(words)) if words.starts_with("no such file") => self.errands.got(io, None),
                _ => self.errands.give_up(io),
            },
            _ => {}
        }
        if io.calm && self.stage != Stage::Over
            || io.rng.chance(700) && matches!(self.stage, Stage::Id | Stage::Message | Stage::Errand)
        {
            self.ask(io);
        } else {
            self.leave(io);
        }
    }
}

impl Client for Pickle {
    fn begin(&mut self, io: &mut Io<'_>) -> Plan {
        self.stage = Stage::Id;
        // Whether there is anything to be done is only known by trying; nothing has been said.
        if io.calm && self.errands.is_reached(true) { Plan::Done } else { Plan::Connect }
    }

    fn received(&mut self, io: &mut Io<'_>) {
        loop {
            match Scanner::default().find(io.inbox, MESSAGE_LEN_MAX) {
                Ok(Some(len)) => {
                    let message: Vec<u8> = io.inbox.drain(..len).collect();
                    match pickle::decode(&message) {
                        Ok(document) if *document.root() == Value::None => return self.leave(io),
                        Ok(document) => self.answer(&document, io),
                        Err(failure) => return io.model.wrong(format!("pickle: an answer is none: {failure}")),
                    }
                }
                Ok(None) => return,
                Err(failure) => return io.model.wrong(format!("pickle: no answer begins so: {failure}")),
            }
        }
    }

    fn ended(&mut self, io: &mut Io<'_>, _how: Ended) {
        self.errands.give_up(io);
    }
}
