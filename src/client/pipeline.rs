//! Several small requests under way on one connection, answered in their order. Never waits before a request is tried again:
//! what is refused or lost is given back.

use std::collections::VecDeque;

use super::connection::Connection;
use super::error::ErrorKind;
use super::requests::{Client, delete_line, if_version, make_dir_line, relocate_line, stat_line, time_line};
use crate::wire::key;
use crate::wire::line::Reply;

/// Most requests under way. Their replies, of one line each, fit the buffers of any socket.
const REQUESTS_MAX: usize = 128;
/// Bytes under way, beyond which no other request is sent: 50 MB/s with four connections and a round trip of 20 ms.
const BYTES_MAX: usize = 256 << 10;

/// A small request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// As it is sent, with its body.
    pub(crate) bytes: Vec<u8>,
    /// How long the body of the reply is expected to be, which a digest follows; `None` for a reply of one line.
    pub(crate) body: Option<u64>,
    /// Replies of one line that come before: each must be a success.
    pub(crate) replies_before: usize,
}

impl Request {
    /// Without a body in the reply.
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, body: None, replies_before: 0 }
    }

    /// As [`Client::move_to_free`] or [`Client::copy_to_free`], and then [`Client::stat_with`] for the new name, with its
    /// digest; the answer is that of the latter.
    pub(crate) fn relocate(is_move: bool, old: &str, new: &str) -> Option<Self> {
        key::absolute(old).ok()?;
        let lines = relocate_line(is_move, old, new) + &stat_line(new, true);
        Some(Self { replies_before: 1, ..Self::of_line(new, lines)? })
    }

    /// As [`Client::make_dir`]. `None` for a path that cannot be sent, here and in those that follow.
    pub(crate) fn make_dir(path: &str) -> Option<Self> {
        Self::of_line(path, make_dir_line(path))
    }

    /// As [`Client::set_time`].
    pub(crate) fn set_time(path: &str, mtime: i64) -> Option<Self> {
        Self::of_line(path, time_line(path, mtime))
    }

    /// As [`Client::delete_version`].
    pub(crate) fn delete_version(path: &str, etag: &str) -> Option<Self> {
        Self::of_line(path, delete_line(&if_version(etag), path))
    }

    fn of_line(path: &str, line: String) -> Option<Self> {
        key::absolute(path).is_ok().then(|| Self::new(line.into_bytes()))
    }

    fn cost(&self) -> usize {
        self.bytes.len().max(usize::try_from(self.body.unwrap_or(0)).unwrap_or(usize::MAX))
    }
}

/// What the server has answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) reply: Reply,
    /// Verified; empty for a reply of one line.
    pub(crate) body: Vec<u8>,
}

/// A request that is not answered.
struct Prepared<J> {
    job: J,
    request: Request,
}

/// Gives requests, and takes their replies.
pub(crate) trait Jobs {
    type Job;
    /// The next job with its request, if there is one at once.
    fn next(&mut self) -> Option<(Self::Job, Request)>;
    /// The server has done it; false if that is not enough.
    fn done(&mut self, job: &Self::Job, answer: Answer) -> bool;
}

/// The requests of one run of the pipeline.
struct Pipeline<'a, S: Jobs> {
    jobs: &'a mut S,
    /// Not acknowledged, in their order.
    pending: VecDeque<Prepared<S::Job>>,
    bytes: usize,
    refused: Vec<S::Job>,
}

impl Client {
    /// Sends requests as long as there are more, and returns those that are not done. After a lost connection, what was
    /// not acknowledged is sent again on a new one, unless the lost one has brought nothing.
    pub(crate) fn pipeline<S: Jobs>(&mut self, jobs: &mut S) -> Vec<S::Job> {
        let mut pipeline = Pipeline { jobs, pending: VecDeque::new(), bytes: 0, refused: Vec::new() };
        loop {
            let mut acknowledged = 0;
            let ended = self.once(|connection| pipeline.exchange(connection, &mut acknowledged));
            if ended.is_ok() || acknowledged == 0 {
                break;
            }
        }
        let Pipeline { mut refused, pending, .. } = pipeline;
        refused.extend(pending.into_iter().map(|prepared| prepared.job));
        refused
    }
}

impl<S: Jobs> Pipeline<'_, S> {
    /// Until all is answered, or the connection fails.
    fn exchange(&mut self, connection: &mut Connection, acknowledged: &mut usize) -> Result<(), ErrorKind> {
        let mut sent = 0;
        loop {
            self.fill();
            let unsent = self.pending.len() - sent;
            if unsent > 0 {
                let bytes: Vec<_> = self.pending.iter().skip(sent).map(|it| &it.request.bytes[..]).collect();
                let bytes = bytes.concat();
                let replies = self.pending.iter().skip(sent).map(|it| 1 + it.request.replies_before).sum();
                connection.send_requests(&bytes, replies)?;
                sent += unsent;
            }
            let Some(first) = self.pending.front() else { return Ok(()) };
            let mut is_refused = false;
            for _ in 0..first.request.replies_before {
                is_refused |= unless_refused(connection.reply())?.is_none();
            }
            let answer = unless_refused(answer(connection, first.request.body))?.filter(|_| !is_refused);
            let is_done = answer.is_some_and(|answer| self.jobs.done(&first.job, answer));
            if let Some(Prepared { job, request }) = self.pending.pop_front() {
                self.bytes -= request.cost();
                sent -= 1;
                *acknowledged += 1;
                if !is_done {
                    self.refused.push(job);
                }
            }
        }
    }

    /// Takes more requests, within the limits.
    fn fill(&mut self) {
        while self.pending.len() < REQUESTS_MAX && self.bytes < BYTES_MAX {
            let Some((job, request)) = self.jobs.next() else { return };
            self.bytes += request.cost();
            self.pending.push_back(Prepared { job, request });
        }
    }
}

/// `None` for what the server has refused.
fn unless_refused<T>(result: Result<T, ErrorKind>) -> Result<Option<T>, ErrorKind> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(ErrorKind::Refused { .. }) => Ok(None),
        Err(kind) => Err(kind),
    }
}

/// Reads the answer to the first request. A body that is longer than expected is not read.
fn answer(connection: &mut Connection, expected: Option<u64>) -> Result<Answer, ErrorKind> {
    let (reply, mut body) = (connection.reply()?, Vec::new());
    let Some(expected) = expected else { return Ok(Answer { reply, body }) };
    match reply {
        Reply::Ok { size, .. } if size <= expected => connection.checked_body(size, |piece| {
            body.extend_from_slice(piece);
            Ok(())
        })?,
        _ => return Err(ErrorKind::Protocol("the file has become longer".to_owned())),
    };
    Ok(Answer { reply, body })
}
