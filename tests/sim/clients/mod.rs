//! The clients: what they want is decided by one file per dialect, how well they behave on the
//! network is decided here.
//!
//! A new kind of client is a file with an `impl Client`, and a line in [`listeners`] and [`make`].

mod errand;
pub mod hostile;
mod http;
mod length_prefix;
mod line;
mod menu;
mod name_choice;
mod name_size;
mod pickle;
mod resume;

use std::collections::VecDeque;

use filewharf::dialect::{Kind, Listening};

use crate::model::Model;
use crate::net::{Ending, LinkId};
use crate::rng::Rng;
use crate::world::{Item, World};

/// What the server listens for, in the order of the listeners' numbers.
pub fn listeners() -> Vec<Listening> {
    let inbox = [("inbox".to_owned(), "inbox".to_owned())];
    let choose = [("list".to_owned(), "choose".to_owned())];
    let all: [(Kind, &[(String, String)]); 9] = [
        (Kind::Line, &[]),
        (Kind::NameSize, &[]),
        (Kind::LengthPrefix, &inbox),
        (Kind::Menu, &[]),
        (Kind::Pickle, &inbox),
        (Kind::NameChoice, &[]),
        (Kind::Menu, &choose),
        (Kind::Http, &[]),
        (Kind::Auto, &[]),
    ];
    all.into_iter().map(|(kind, options)| Listening::new(kind, options, 0).expect("good options")).collect()
}

/// A client of the listener with this number.
fn make(listener: usize, number: usize, hostile: bool) -> Box<dyn Client> {
    match listener {
        _ if hostile => Box::new(hostile::Hostile),
        1 => Box::new(name_size::NameSize::new(number)),
        2 => Box::new(length_prefix::LengthPrefix::new(number)),
        3 | 6 => Box::new(menu::Menu::new(number, listener == 6)),
        4 => Box::new(pickle::Pickle::new(number)),
        5 => Box::new(name_choice::NameChoice::new(number)),
        7 => Box::new(http::Http::new(number)),
        0 if number.is_multiple_of(3) => Box::new(resume::Resume::new(number)),
        // Its dialect is recognized by its first line.
        8 if number.is_multiple_of(2) => Box::new(http::Http::new(number)),
        _ => Box::new(line::Line::new(number)),
    }
}

/// What a client does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    Connect,
    /// Everything it wanted has been reached.
    Done,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By the server, in order; and whether everything was sent by then, with our end of stream.
    InOrder { all_sent: bool },
    /// With a reset, by whomever, or with the server's death.
    Broken,
}

/// One dialect's client: a script with goals. It records in the model what it writes and reads.
pub trait Client {
    /// A connection will be made: says the first bytes.
    fn begin(&mut self, io: &mut Io<'_>) -> Plan;
    /// Bytes were added to the inbox.
    fn received(&mut self, io: &mut Io<'_>);
    /// The connection is over.
    fn ended(&mut self, io: &mut Io<'_>, how: Ended);
    /// The stream was ended early in its name: what was sent is a front part.
    fn was_cut(&mut self, _io: &mut Io<'_>) {}
}

/// What a client may touch.
pub struct Io<'a> {
    pub rng: &'a mut Rng,
    pub model: &'a mut Model,
    /// Nothing goes wrong any more: now the goals must be reached.
    pub calm: bool,
    pub inbox: &'a mut Vec<u8>,
    pub out: &'a mut Out,
    pub content_max: u64,
    /// No gap in what a client sends is long enough to be a silence that means something.
    pub prompt: bool,
    /// Three uploads of a client move less than each must where requests wait for slots.
    pub is_slow: bool,
}

impl Io<'_> {
    /// True for a refusal that passes, also with faults off. A client with a low rate is sure of two transfers only: where
    /// it has more, and requests wait for slots, the slowest is ended.
    pub fn passes(&self, code: &str) -> bool {
        code == "429" || code == "408" && self.is_slow
    }
}

/// What a client wants of its connection.
#[derive(Debug, Default)]
pub struct Out {
    bytes: VecDeque<u8>,
    end: bool,
    close: bool,
}

impl Out {
    pub fn say(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    /// Ends our half after everything said.
    pub const fn end(&mut self) {
        self.end = true;
    }

    /// Closes at once.
    pub const fn close(&mut self) {
        self.close = true;
    }
}

/// One client in the world: its manners on the network.
pub struct Peer {
    number: usize,
    listener: usize,
    client: Box<dyn Client>,
    link: Option<LinkId>,
    out: Out,
    ended: bool,
    inbox: Vec<u8>,
    alarm: u64,
    alarm_at: Option<u64>,
    /// Gives up if nothing has moved by then.
    patience_until: u64,
    done: bool,
}

impl Peer {
    pub fn new(number: usize, listener: usize, hostile: bool) -> Self {
        Self {
            number,
            listener,
            client: make(listener, number, hostile),
            link: None,
            out: Out::default(),
            ended: false,
            inbox: Vec::new(),
            alarm: 0,
            alarm_at: None,
            patience_until: 0,
            done: false,
        }
    }

    pub const fn is_done(&self) -> bool {
        self.done && self.link.is_none()
    }

    pub const fn is_alarm(&self, alarm: u64) -> bool {
        self.alarm == alarm
    }

    /// To find out why a run does not end.
    pub fn describe(&self) -> String {
        let Self { number, listener, link, ended, done, .. } = self;
        let (out, inbox) = (self.out.bytes.len(), self.inbox.len());
        format!(
            "client {number} of listener {listener}: link {link:?}, {out} to send, {inbox} unread, ended {ended}, done {done}"
        )
    }

    fn io<R>(&mut self, world: &mut World, run: impl FnOnce(&mut dyn Client, &mut Io<'_>) -> R) -> R {
        let prompt = world.is_prompt();
        let limits = &world.shape.limits;
        let is_slow = (1..limits.live.contention_bytes_per_s_min * 3).contains(&limits.live.client_upload_bytes_per_s);
        world.model.locks.now_us = world.now_us;
        let mut io = Io {
            rng: &mut world.rng,
            model: &mut world.model,
            calm: world.calm,
            inbox: &mut self.inbox,
            out: &mut self.out,
            content_max: world.shape.content_max,
            prompt,
            is_slow,
        };
        run(&mut *self.client, &mut io)
    }

    /// Acts again after this long, or sooner if that was planned already.
    pub fn wake(&mut self, world: &mut World, delay_us: u64) {
        let at = world.now_us + delay_us;
        if self.alarm_at.is_none_or(|planned| at < planned || planned < world.now_us) {
            self.alarm += 1;
            self.alarm_at = Some(at);
            world.at(delay_us, Item::Peer(self.number, self.alarm));
        }
    }

    /// Its connection changed.
    pub fn notice(&mut self, world: &mut World) {
        if self.link.is_some() {
            let delay = Self::pace(world);
            self.wake(world, delay);
        }
    }

    fn pace(world: &mut World) -> u64 {
        let most = if world.calm { world.shape.pace_us.min(1000) } else { world.shape.pace_us };
        world.rng.range(1..=most)
    }

    /// Its turn: connect, read, misbehave, send.
    pub fn act(&mut self, world: &mut World) {
        self.alarm_at = None;
        if self.done && self.link.is_none() {
            return;
        }
        if !world.calm && world.rng.chance(world.faults.peer_stall) {
            let stall = world.rng.range(1..=300_000_000);
            self.alarm += 1;
            self.alarm_at = Some(world.now_us + stall);
            return world.at(stall, Item::Peer(self.number, self.alarm));
        }
        let Some(link) = self.link else { return self.connect(world) };
        if !self.read(link, world) || !self.misbehave(link, world) {
            return;
        }
        self.send(link, world);
        self.plan(link, world);
    }

    fn connect(&mut self, world: &mut World) {
        self.out = Out::default();
        self.inbox.clear();
        self.ended = false;
        if self.io(world, |client, io| client.begin(io)) == Plan::Done {
            self.done = true;
            return;
        }
        match world.net.connect(self.listener, self.number) {
            Some(link) => {
                self.link = Some(link);
                self.move_on(world);
                world.trace.note(world.now_us, "connect", &[self.number as u64, link]);
                let delay = Self::pace(world);
                self.wake(world, delay);
            }
            None => {
                self.io(world, |client, io| client.ended(io, Ended::Broken));
                let delay = world.rng.range(1000..=200_000);
                self.wake(world, delay);
            }
        }
    }

    fn move_on(&mut self, world: &mut World) {
        let patience = if world.calm { 100_000_000 } else { world.rng.range(1_000_000..=500_000_000) };
        self.patience_until = world.now_us + patience;
    }

    /// Reads what there is; false if that was the end.
    fn read(&mut self, link: LinkId, world: &mut World) -> bool {
        let most = if world.calm { usize::MAX } else { world.rng.piece(world.net.window()) };
        let bytes = world.net.peer_recv(link, most);
        if !bytes.is_empty() {
            // Room again: the kernel would say so.
            self.move_on(world);
            world.trace.note(world.now_us, "heard", &[self.number as u64, bytes.len() as u64]);
            world
                .trace
                .say(world.now_us, format_args!("    {:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(90)])));
            self.inbox.extend(bytes);
            self.io(world, |client, io| client.received(io));
        }
        if world.net.peer_sees(link) == Ending::Open && !self.out.close {
            return true;
        }
        let how = match world.net.peer_sees(link) {
            Ending::End => Ended::InOrder { all_sent: self.ended == self.out.end && self.out.bytes.is_empty() },
            Ending::Open => Ended::InOrder { all_sent: self.out.bytes.is_empty() },
            Ending::Reset => Ended::Broken,
        };
        self.leave(link, how, false, world);
        false
    }

    fn leave(&mut self, link: LinkId, how: Ended, reset: bool, world: &mut World) {
        world.trace.note(world.now_us, "left", &[self.number as u64, link, u64::from(how == Ended::Broken)]);
        self.io(world, |client, io| client.ended(io, how));
        let World { net, rng, .. } = world;
        net.peer_drop(link, reset, rng);
        self.link = None;
        // Clients that come again at once, all in step, would keep each other out for ever.
        let delay = if world.calm { world.rng.range(20_000..=500_000) } else { Self::pace(world) };
        self.wake(world, delay);
    }

    /// Breaks off in one of the ways of peers; false if the connection is gone.
    fn misbehave(&mut self, link: LinkId, world: &mut World) -> bool {
        let gives_up = world.now_us >= self.patience_until;
        if gives_up || world.rng.chance(world.faults.peer_reset) {
            if gives_up && world.calm {
                let what = format!("with faults off nothing moves: {}", self.describe());
                world.model.wrong(what);
            }
            let reset = world.rng.chance(500);
            if !reset {
                self.io(world, |client, io| client.was_cut(io));
            }
            self.leave(link, Ended::Broken, reset, world);
            return false;
        }
        if !self.ended && world.rng.chance(world.faults.peer_end) {
            self.io(world, |client, io| client.was_cut(io));
            self.out.bytes.clear();
            self.out.end = true;
        }
        true
    }

    fn send(&mut self, link: LinkId, world: &mut World) {
        let room = world.net.peer_room(link).min(self.out.bytes.len());
        if room > 0 {
            let n = if world.calm { room } else { world.rng.piece(room) };
            let bytes: Vec<u8> = self.out.bytes.drain(..n).collect();
            world.trace.note(world.now_us, "says", &[self.number as u64, n as u64]);
            world.trace.say(world.now_us, format_args!("    {:?}", String::from_utf8_lossy(&bytes[..n.min(90)])));
            let World { net, rng, .. } = world;
            net.peer_send(link, &bytes, rng);
            self.move_on(world);
        }
        if self.out.bytes.is_empty() && self.out.end && !self.ended {
            self.ended = true;
            world.trace.note(world.now_us, "ends", &[self.number as u64]);
            world.net.peer_end(link);
        }
    }

    fn plan(&mut self, link: LinkId, world: &mut World) {
        let unread = world.net.unacknowledged(link) > 0;
        let sends = !self.out.bytes.is_empty() && world.net.peer_room(link) > 0;
        let ends = self.out.bytes.is_empty() && self.out.end && !self.ended;
        if unread || sends || ends || self.out.close || world.net.peer_sees(link) != Ending::Open {
            let delay = Self::pace(world);
            self.wake(world, delay);
        }
        let patience = self.patience_until.saturating_sub(world.now_us).max(1);
        self.wake(world, patience);
        if !world.calm && (world.faults.peer_reset > 0 || world.faults.peer_end > 0) {
            // Clients that may break off do not only do so when something happens.
            let delay = world.rng.range(1..=20_000_000);
            self.wake(world, delay);
        }
    }

    /// Nothing goes wrong any more: a client that has broken off or stalls starts over.
    pub fn calm_down(&mut self, world: &mut World) {
        self.alarm_at = None;
        if let Some(link) = self.link {
            self.leave(link, Ended::Broken, true, world);
        }
        self.move_on(world);
    }

    /// The server is about to die: what has reached this client's system is read first.
    pub fn read_all(&mut self, world: &mut World) {
        let Some(link) = self.link else { return };
        let bytes = world.net.peer_recv(link, usize::MAX);
        if !bytes.is_empty() {
            self.inbox.extend(bytes);
            self.io(world, |client, io| client.received(io));
        }
    }

    /// The server has died.
    pub fn server_died(&mut self, world: &mut World) {
        if let Some(link) = self.link {
            self.leave(link, Ended::Broken, true, world);
        }
    }
}
