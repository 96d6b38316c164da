//! A client that drives many connections from one thread, each with one request at a time.
//!
//! Edge-triggered: after an event a connection is driven until its socket would block, or an event is
//! certain to follow. Downloads are compared byte by byte as they come. Whatever is not as it should be
//! ends the run.

use std::io::{ErrorKind, IoSlice, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::codec::{self, Manner, Task, Wire};
use super::figures::Spread;

/// Longest silence of all connections together: something hangs if nothing comes for longer.
const PATIENCE: Duration = Duration::from_secs(180);

struct Line {
    stream: TcpStream,
    work: Option<Work>,
    /// An end of the stream was reported, which no event repeats.
    ended: bool,
}

struct Work {
    task: Task,
    began: Instant,
    head: Vec<u8>,
    /// Bytes of head and body that were sent.
    sent: u64,
    reply: Vec<u8>,
    /// The length of the body of the reply, once its head came.
    body: Option<u64>,
    got: u64,
    /// Every byte of the reply came; the server's end is awaited, if it is to close first.
    whole: bool,
}

/// What a run gave.
#[derive(Debug, Default)]
pub struct Outcome {
    pub done: u64,
    pub bytes: u64,
    pub elapsed: Duration,
    pub times: Spread,
    /// How many connections were lost; only where the run allows it.
    pub lost: usize,
}

/// What happens when a connection is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    Panics,
    /// The server is killed on purpose.
    IsExpected,
}

/// What the source of tasks is called with.
pub enum Step<'a> {
    /// The next task for this connection; `None` means it has done its part.
    Next(usize),
    /// The reply to this one came, and was good.
    Done(usize, &'a Task),
}

/// The connections, kept between runs.
pub struct Driver {
    poll: Poll,
    address: SocketAddr,
    lines: Vec<Line>,
    manner: Manner,
    wire: Wire,
    loss: Loss,
    buffer: Vec<u8>,
}

enum Drive {
    Blocked,
    Done,
    Lost,
}

impl Driver {
    pub fn connect(address: SocketAddr, connections: usize, wire: Wire, loss: Loss) -> Self {
        let poll = Poll::new().expect("an event queue");
        let lines = (0..connections).map(|at| {
            let stream = std::net::TcpStream::connect(address).expect("the server listens");
            stream.set_nodelay(true).expect("TCP_NODELAY");
            socket2::SockRef::from(&stream).set_tcp_congestion(b"cubic").expect("cubic");
            stream.set_nonblocking(true).expect("O_NONBLOCK");
            Line { stream: registered(&poll, TcpStream::from_std(stream), at), work: None, ended: false }
        });
        Self { lines: lines.collect(), manner: Manner::Kept, poll, address, wire, loss, buffer: vec![0; 256 << 10] }
    }

    /// From now on connections live this long.
    pub fn mannered(mut self, manner: Manner) -> Self {
        self.manner = manner;
        self
    }

    /// Gives every connection tasks until `step` has no more for it.
    pub fn run(&mut self, mut step: impl FnMut(Step<'_>) -> Option<Task>) -> Outcome {
        let began = Instant::now();
        let mut outcome = Outcome::default();
        let mut times = Vec::new();
        let mut busy = 0;
        for at in 0..self.lines.len() {
            busy += usize::from(self.drive(at, &mut step, &mut outcome, &mut times));
        }
        let mut events = Events::with_capacity(1024);
        let mut heard = began;
        while busy > 0 {
            assert!(heard.elapsed() < PATIENCE, "{busy} connections hang after {} requests", outcome.done);
            match self.poll.poll(&mut events, Some(Duration::from_secs(1))) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled.expect("epoll"),
            }
            for event in &events {
                heard = Instant::now();
                let at = event.token().0;
                self.lines[at].ended |= event.is_read_closed() || event.is_error();
                if self.lines[at].work.is_some() {
                    busy -= usize::from(!self.drive(at, &mut step, &mut outcome, &mut times));
                }
            }
        }
        outcome.elapsed = began.elapsed();
        outcome.times = Spread::new(times);
        outcome
    }

    /// Does what can be done now. True if anything is left to do.
    fn drive(
        &mut self,
        at: usize,
        step: &mut impl FnMut(Step<'_>) -> Option<Task>,
        outcome: &mut Outcome,
        times: &mut Vec<Duration>,
    ) -> bool {
        loop {
            let line = &mut self.lines[at];
            if line.work.is_none() {
                let Some(task) = step(Step::Next(at)) else { return false };
                line.work = Some(Work::new(task, self.wire, self.manner));
            }
            match line.drive(self.wire, self.manner, &mut self.buffer) {
                Drive::Blocked => return true,
                Drive::Done => {
                    let work = line.work.take().expect("it was worked on");
                    times.push(work.began.elapsed());
                    outcome.done += 1;
                    outcome.bytes += work.task.bytes();
                    step(Step::Done(at, &work.task));
                    if self.manner != Manner::Kept {
                        return self.reconnect(at, step);
                    }
                }
                Drive::Lost => {
                    assert!(self.loss == Loss::IsExpected, "connection {at} was lost");
                    line.work = None;
                    outcome.lost += 1;
                    return false;
                }
            }
        }
    }

    /// A new connection for the next task, if there is one. It is used once the event queue tells that it
    /// is there, as `wrk` and `ab` do.
    fn reconnect(&mut self, at: usize, step: &mut impl FnMut(Step<'_>) -> Option<Task>) -> bool {
        let Some(task) = step(Step::Next(at)) else { return false };
        let stream = TcpStream::connect(self.address).expect("the server listens");
        let stream = registered(&self.poll, stream, at);
        self.lines[at] = Line { stream, work: Some(Work::new(task, self.wire, self.manner)), ended: false };
        true
    }
}

fn registered(poll: &Poll, mut stream: TcpStream, at: usize) -> TcpStream {
    poll.registry().register(&mut stream, Token(at), Interest::READABLE | Interest::WRITABLE).expect("epoll");
    stream
}

impl Work {
    fn new(task: Task, wire: Wire, manner: Manner) -> Self {
        let head = task.head(wire, manner);
        Self { task, began: Instant::now(), head, sent: 0, reply: Vec::new(), body: None, got: 0, whole: false }
    }

    /// What is to be sent next: the rest of the head, and a piece of the body.
    fn outgoing(&self) -> (&[u8], &'static [u8]) {
        let of_head = (self.head.len() as u64).min(self.sent) as usize;
        let body = match &self.task {
            Task::Put { content, .. } => content.at(self.sent.saturating_sub(self.head.len() as u64)),
            Task::Get { .. } | Task::Drain { .. } => &[],
        };
        (&self.head[of_head..], body)
    }

    /// Takes bytes. True once the reply is complete.
    fn take(&mut self, wire: Wire, mut bytes: &[u8]) -> bool {
        if self.body.is_none() {
            let before = self.reply.len();
            // Mostly all of the head comes at once, and need not be kept.
            if before > 0 {
                self.reply.extend_from_slice(bytes);
            }
            match codec::head(wire, if before > 0 { &self.reply } else { bytes }) {
                Ok(None) => {
                    if before == 0 {
                        self.reply = bytes.to_vec();
                    }
                    return false;
                }
                Ok(Some(head)) => {
                    self.body = Some(head.body);
                    bytes = &bytes[head.len - before..];
                }
                Err(words) => panic!("{:?} was answered {words:?}", self.task),
            }
        }
        match &self.task {
            Task::Get { content, path } => assert!(content.matches(self.got, bytes), "{path}: wrong bytes"),
            Task::Drain { .. } | Task::Put { .. } => {}
        }
        self.got += bytes.len() as u64;
        let body = self.body.expect("just found");
        assert!(self.got <= body, "more bytes came than were told");
        let whole = self.got == body;
        if whole && !matches!(self.task, Task::Put { .. }) {
            assert_eq!(body, self.task.bytes(), "{:?}: its length", self.task);
        }
        whole
    }
}

impl Line {
    fn drive(&mut self, wire: Wire, manner: Manner, buffer: &mut [u8]) -> Drive {
        let work = self.work.as_mut().expect("only those with work are driven");
        let sent = work.sent;
        // So that a socket is not asked for what an event will tell of.
        let is_told = manner == Manner::Kept && !self.ended;
        loop {
            let (head, body) = work.outgoing();
            if head.is_empty() && body.is_empty() {
                // The answer to the first bytes of a long request may have been reported before the last were sent.
                if sent == 0 && work.sent > 0 && is_told {
                    return Drive::Blocked;
                }
                break;
            }
            match self.stream.write_vectored(&[IoSlice::new(head), IoSlice::new(body)]) {
                Ok(n) => {
                    work.sent += n as u64;
                    let is_last = manner == Manner::Announced && wire == Wire::Line;
                    if is_last && work.outgoing() == (&[], &[]) && self.stream.shutdown(Shutdown::Write).is_err() {
                        return Drive::Lost;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return Drive::Lost,
            }
        }
        loop {
            match self.stream.read(buffer) {
                Ok(0) if work.whole => return Drive::Done,
                Ok(0) => return Drive::Lost,
                Ok(n) => {
                    work.whole = work.take(wire, &buffer[..n]);
                    if work.whole && manner != Manner::Announced {
                        return Drive::Done;
                    }
                    if n < buffer.len() && is_told {
                        return Drive::Blocked;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Drive::Blocked,
                Err(_) => return Drive::Lost,
            }
        }
    }
}

/// Every connection does `each` tasks, made from its index and the number of the task.
pub fn each(each: usize, mut task: impl FnMut(usize, usize) -> Task) -> impl FnMut(Step<'_>) -> Option<Task> {
    let mut given: Vec<usize> = Vec::new();
    move |step| {
        let Step::Next(at) = step else { return None };
        given.resize(given.len().max(at + 1), 0);
        given[at] += 1;
        (given[at] <= each).then(|| task(at, given[at] - 1))
    }
}

/// The first `busy` connections do one task each.
pub fn first(busy: usize, mut task: impl FnMut(usize) -> Task) -> impl FnMut(Step<'_>) -> Option<Task> {
    let mut all = each(1, move |at, _| task(at));
    move |step| match step {
        Step::Next(at) if at >= busy => None,
        step => all(step),
    }
}
