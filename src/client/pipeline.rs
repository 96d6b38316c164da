//! Several small requests under way on one connection, answered in their order. Never waits before a request is tried again:
//! what is refused or lost is given back.

use std::collections::VecDeque;

use super::connection::Connection;
use super::error::ErrorKind;
use super::requests::Client;
use crate::wire::line::Reply;

/// Most requests under way.
const REQUESTS_MAX: usize = 32;
/// Bytes under way, beyond which no other request is sent.
const BYTES_MAX: usize = 64 << 10;

/// A request as it is sent, with its body. One line answers it.
struct Prepared<J> {
    job: J,
    bytes: Vec<u8>,
}

/// Gives requests, and takes their replies.
pub(crate) trait Jobs {
    type Job;
    /// The next job with its request, if there is one at once.
    fn next(&mut self) -> Option<(Self::Job, Vec<u8>)>;
    /// The server has done it; false if the reply is not one to such a request.
    fn done(&mut self, job: &Self::Job, reply: Reply) -> bool;
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
                let bytes: Vec<u8> = self.pending.iter().skip(sent).flat_map(|it| it.bytes.iter().copied()).collect();
                connection.send_requests(&bytes, unsent)?;
                sent += unsent;
            }
            let Some(first) = self.pending.front() else { return Ok(()) };
            let reply = match connection.reply() {
                Ok(reply) => Some(reply),
                Err(ErrorKind::Refused { .. }) => None,
                Err(kind) => return Err(kind),
            };
            let is_done = reply.is_some_and(|reply| self.jobs.done(&first.job, reply));
            if let Some(Prepared { job, bytes }) = self.pending.pop_front() {
                self.bytes -= bytes.len();
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
            let Some((job, bytes)) = self.jobs.next() else { return };
            self.bytes += bytes.len();
            self.pending.push_back(Prepared { job, bytes });
        }
    }
}
