//! A client of `length-prefix`: requests of the `line` protocol in messages, greetings, and texts
//! for the inbox.

use filewharf::wire::frames;

use crate::clients::errand::{Errand, Errands, SHARED};
use crate::clients::{Client, Ended, Io, Plan};
use crate::model::{Extent, Fate};

#[derive(Debug)]
pub struct LengthPrefix {
    errands: Errands,
    number: usize,
    greeting: bool,
    /// It has left; what still comes is ignored.
    over: bool,
    /// Content that still comes, and what has come.
    body: Option<(usize, Vec<u8>)>,
}

impl LengthPrefix {
    pub fn new(number: usize) -> Self {
        let errands = Errands::new(format!("own{number}.jpg"), Extent::Whole);
        Self { errands, number, greeting: false, over: false, body: None }
    }

    fn frame(bytes: &[u8], io: &mut Io<'_>) {
        let mut framed = Vec::new();
        frames::write_message(bytes, &mut framed);
        io.out.say(&framed);
    }

    fn ask(&mut self, io: &mut Io<'_>) -> Plan {
        if !io.calm && io.rng.chance(200) {
            let text = format!("note {} of {}", io.rng.next(), self.number);
            io.model.messages.insert(text.clone().into_bytes());
            Self::frame(text.as_bytes(), io);
        }
        self.greeting = !io.calm && io.rng.chance(100);
        if self.greeting {
            io.model.messages.insert(b"Hello Server!**".to_vec());
            Self::frame(b"Hello Server!**", io);
            return Plan::Connect;
        }
        match self.errands.next(io, &SHARED, true) {
            Some(Errand::Put { key, content, .. }) => {
                let mut rest = &content[..];
                Self::frame(format!("PUT {} /{key}", content.len()).as_bytes(), io);
                while !rest.is_empty() {
                    let (piece, after) = rest.split_at(io.rng.piece(rest.len()));
                    Self::frame(piece, io);
                    rest = after;
                    if piece.len() == 1 && rest.len() > 100 {
                        Self::frame(rest, io);
                        rest = &[];
                    }
                }
                Plan::Connect
            }
            Some(Errand::Get { key, .. }) => {
                Self::frame(format!("GET /{key}").as_bytes(), io);
                Plan::Connect
            }
            None => Plan::Done,
        }
    }

    /// One message of the server.
    fn told(&mut self, text: &[u8], io: &mut Io<'_>) {
        if self.over {
            return;
        }
        if let Some((left, body)) = &mut self.body {
            body.extend_from_slice(text);
            match left.checked_sub(text.len()) {
                None => io.model.wrong("length-prefix: more content than was announced".to_owned()),
                Some(0) => {
                    let body = std::mem::take(body);
                    self.body = None;
                    self.errands.got(io, Some(&body));
                    self.proceed(io);
                }
                Some(rest) => *left = rest,
            }
            return;
        }
        let words = String::from_utf8_lossy(text).into_owned();
        if words.starts_with("ERROR ") {
            // A note could not be kept, or the conversation is over: which, is not certain.
            self.errands.give_up(io);
            self.over = true;
            return io.out.close();
        }
        let code = words.strip_prefix("ERR ").map(|rest| rest[..3].to_owned());
        let good = words.starts_with("OK ");
        match self.errands.current() {
            _ if self.greeting => {
                if words != "Hello Client!" && code.is_none() {
                    io.model.wrong(format!("length-prefix: a greeting is answered by {words:?}"));
                }
            }
            Some(Errand::Put { .. }) => {
                let fate = match code.as_deref() {
                    None if good => Fate::Acked,
                    Some("500" | "507") => Fate::Unsure,
                    _ => Fate::Refused,
                };
                self.errands.put_ended(io, fate);
            }
            Some(Errand::Get { .. }) if good => {
                let len: usize = words.split(' ').nth(1).and_then(|len| len.parse().ok()).unwrap_or(0);
                if len > 0 {
                    self.body = Some((len, Vec::new()));
                    return;
                }
                self.errands.got(io, Some(&[]));
            }
            Some(Errand::Get { .. }) if code.as_deref() == Some("404") => self.errands.got(io, None),
            _ => self.errands.give_up(io),
        }
        self.proceed(io);
    }

    fn proceed(&mut self, io: &mut Io<'_>) {
        if !(io.calm || io.rng.chance(700)) || self.ask(io) == Plan::Done {
            io.out.close();
        }
    }
}

impl Client for LengthPrefix {
    fn begin(&mut self, io: &mut Io<'_>) -> Plan {
        self.body = None;
        self.over = false;
        self.ask(io)
    }

    fn received(&mut self, io: &mut Io<'_>) {
        loop {
            match frames::header(io.inbox) {
                Ok(frames::Header::Len(len)) if io.inbox.len() >= frames::HEADER_LEN + len as usize => {
                    let text: Vec<u8> = io.inbox.drain(..frames::HEADER_LEN + len as usize).collect();
                    self.told(&text[frames::HEADER_LEN..], io);
                }
                Ok(_) => return,
                Err(failure) => return io.model.wrong(format!("length-prefix: no message begins so: {failure}")),
            }
        }
    }

    fn ended(&mut self, io: &mut Io<'_>, _how: Ended) {
        self.errands.give_up(io);
    }
}
