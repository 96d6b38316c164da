//! Steps of rustls over buffers that all sessions share: what waits between two calls is all that a session has of
//! its own. Never touches a socket.

use std::cell::RefCell;
use std::io::{self, ErrorKind};

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    AppDataRecord, ConnectionState, EncodeError, EncodeTlsData, InsufficientSizeError, UnbufferedStatus,
};

/// Bytes of the longest content of a record.
const CONTENT_BYTES_MAX: usize = 16 * 1024;
/// Bytes of the longest record.
pub(super) const RECORD_BYTES_MAX: usize = CONTENT_BYTES_MAX + 2048 + 5;
/// Content that is encrypted ahead of the socket: two records.
pub const AHEAD_BYTES_MAX: usize = 2 * CONTENT_BYTES_MAX;
/// Space for that once it is encrypted, and for a change of keys before it.
const ENCRYPTED_BYTES_MAX: usize = 2 * RECORD_BYTES_MAX;

/// Buffers that hold nothing between two calls.
pub(super) struct Scratch {
    /// For input of a caller with less space than it takes: twice the longest record.
    pub received: Box<[u8]>,
    /// For content of a record that comes from more than one place.
    gathered: Box<[u8]>,
    pub encrypted: Box<[u8]>,
}

thread_local! {
    /// One thread runs all sessions of a server.
    pub(super) static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        received: vec![0; 2 * RECORD_BYTES_MAX].into(),
        gathered: vec![0; CONTENT_BYTES_MAX].into(),
        encrypted: vec![0; ENCRYPTED_BYTES_MAX].into(),
    });
}

/// How it continues after a step.
pub(super) enum Step {
    /// With another step.
    Again,
    /// With more bytes.
    Waits,
    /// Not: the peer has ended its direction.
    Ended,
}

/// Lets rustls do one thing with `records`: returns how many bytes of them it needs no longer. What it has to send is
/// appended to `output`, also where it fails; then there must be no other step.
pub(super) fn step(
    connection: &mut UnbufferedServerConnection,
    records: &mut [u8],
    output: &mut Vec<u8>,
    mut content: impl FnMut(&[u8]),
) -> (usize, Result<Step, rustls::Error>) {
    let UnbufferedStatus { discard: mut used, state } = connection.process_tls_records(records);
    let step = match state {
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                Some(Ok(AppDataRecord { discard, payload, .. })) => {
                    used += discard;
                    content(payload);
                }
                Some(Err(error)) => break Err(error),
                None => break Ok(Step::Again),
            }
        },
        Ok(ConnectionState::EncodeTlsData(data)) => {
            encode(data, output);
            Ok(Step::Again)
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Ok(Step::Again)
        }
        Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Ok(Step::Ended),
        Ok(_) => Ok(Step::Waits),
        Err(error) => Err(error),
    };
    // The alert that says so comes with the next calls, after what goes before it. One more would find the error again.
    while step.is_err()
        && connection.wants_write()
        && let Ok(ConnectionState::EncodeTlsData(data)) = connection.process_tls_records(&mut records[used..]).state
    {
        encode(data, output);
    }
    (used, step)
}

fn encode(mut data: EncodeTlsData<'_, ServerConnectionData>, output: &mut Vec<u8>) {
    let begin = output.len();
    if let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) = data.encode(&mut []) {
        output.resize(begin + required_size, 0);
        let encoded = data.encode(&mut output[begin..]);
        debug_assert!(encoded.is_ok_and(|n| n == required_size), "it has the space that it asked for");
    }
}

/// Encrypts content of `bufs` after its first `skip` bytes, at most [`AHEAD_BYTES_MAX`] of it, into
/// `scratch.encrypted`: returns how many bytes of content, and how many these became. `input`: what was received and
/// not used. What goes before that is appended to `output`.
pub(super) fn encrypt(
    connection: &mut UnbufferedServerConnection,
    input: &mut [u8],
    output: &mut Vec<u8>,
    (bufs, skip): (&[&[u8]], usize),
    scratch: &mut Scratch,
) -> io::Result<(usize, usize)> {
    loop {
        match connection.process_tls_records(input).state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                let (mut taken, mut encrypted) = (0, 0);
                while taken < AHEAD_BYTES_MAX {
                    let part = part(bufs, skip + taken, AHEAD_BYTES_MAX - taken, &mut scratch.gathered);
                    if part.is_empty() {
                        break;
                    }
                    let space = &mut scratch.encrypted[encrypted..];
                    encrypted += traffic.encrypt(part, space).map_err(io::Error::other)?;
                    taken += part.len();
                }
                return Ok((taken, encrypted));
            }
            Ok(ConnectionState::EncodeTlsData(data)) => encode(data, output),
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            Ok(_) => return Err(ErrorKind::InvalidData.into()),
            Err(error) => return Err(io::Error::new(ErrorKind::InvalidData, error)),
        }
    }
}

/// Appends the end of our direction to `output`.
pub(super) fn end(connection: &mut UnbufferedServerConnection, input: &mut [u8], output: &mut Vec<u8>) {
    loop {
        match connection.process_tls_records(input).state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                // Without space it stays queued, and is encoded by the next call; after another alert, there is none.
                if traffic.queue_close_notify(&mut []).is_ok() {
                    return;
                }
            }
            Ok(ConnectionState::EncodeTlsData(data)) => encode(data, output),
            Ok(ConnectionState::TransmitTlsData(data)) => return data.done(),
            _ => return,
        }
    }
}

/// Content after the first `skip` bytes of `bufs`: some whole records, or what is left. It is copied only where one
/// record takes it from more than one place.
fn part<'a>(bufs: &[&'a [u8]], mut skip: usize, most: usize, gathered: &'a mut [u8]) -> &'a [u8] {
    let mut rest = bufs;
    while let Some((buf, after)) = rest.split_first()
        && skip >= buf.len()
    {
        skip -= buf.len();
        rest = after;
    }
    let Some((first, after)) = rest.split_first() else { return &[] };
    let first = &first[skip..];
    if after.is_empty() {
        return &first[..first.len().min(most)];
    }
    if first.len() >= CONTENT_BYTES_MAX {
        let len = first.len().min(most);
        return &first[..len - len % CONTENT_BYTES_MAX];
    }
    let most = most.min(gathered.len());
    let mut len = 0;
    for buf in std::iter::once(&first).chain(after) {
        let n = buf.len().min(most - len);
        gathered[len..len + n].copy_from_slice(&buf[..n]);
        len += n;
    }
    &gathered[..len]
}
