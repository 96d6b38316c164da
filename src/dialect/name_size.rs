//! SKELETON: to be written.
use std::net::SocketAddr;
use std::sync::Arc;

use crate::command::Answer;
use crate::dialect::{Act, BodyPart, Finish, Kind, Machine, Options, Talk, no_options};
use crate::error::{CloseReason, Failure};

/// What the connections of one listener share.
#[derive(Debug)]
pub struct Listener {}

impl Listener {
    /// Reads the options of the address.
    pub fn new(options: &Options) -> Result<Self, String> {
        no_options(Kind::NameSize, options)?;
        Ok(Self {})
    }
}

/// One connection's side.
#[derive(Debug)]
pub struct NameSize {
    _listener: Arc<Listener>,
}

impl NameSize {
    /// A connection from `peer`.
    pub fn new(listener: Arc<Listener>, _peer: SocketAddr) -> Self {
        Self { _listener: listener }
    }
}

impl Machine for NameSize {
    fn decode(&mut self, _input: &[u8], _talk: &mut Talk<'_>) -> (usize, Act) {
        (0, Act::Reset(CloseReason::Refused))
    }
    fn ended(&mut self, _held: &[u8], _talk: &mut Talk<'_>) -> Act {
        Act::Close(CloseReason::PeerClosed)
    }
    fn answered(&mut self, _answer: Result<Answer, Failure>, _talk: &mut Talk<'_>) -> Act {
        Act::Close(CloseReason::Finished)
    }
    fn body(&mut self, _raw: &[u8], _payload_max: usize) -> Result<BodyPart, Failure> {
        Err(Failure::Internal)
    }
    fn body_left(&self) -> u64 {
        0
    }
    fn finish(&mut self, _digest: Option<[u8; 32]>) -> Result<Finish, Failure> {
        Ok(Finish::default())
    }
    fn sent(&mut self, _digest: Option<[u8; 32]>, _talk: &mut Talk<'_>) -> Act {
        Act::Close(CloseReason::Finished)
    }
}
