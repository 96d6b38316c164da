//! Downloads of many clients, with slow and fast readers: more than share the wide lane, so that
//! some are in the slow one, enter it and leave it, and wait for room again after a file has ended.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};

use socket2::{Domain, Socket, Type};

use support::client::{Running, assert_same, content, wait_until};

const CROWD: usize = 150;
/// More than both sockets of a connection hold, so that places in the wide lane are taken for a while.
const LEN: usize = 900_000;
const SOCKET: usize = 64 << 10;
const REQUESTS: &[u8] = b"GET /file\nPING\nGET /file\n";

/// How much a reader takes at once, and of how many passes it takes part in one.
#[derive(Clone, Copy)]
struct Pace {
    bytes: usize,
    every: usize,
}

const PACES: [Pace; 5] = [
    Pace { bytes: 1 << 20, every: 1 },
    Pace { bytes: 20_000, every: 1 },
    Pace { bytes: 60_000, every: 3 },
    Pace { bytes: 100_000, every: 7 },
    // Nothing at all for long.
    Pace { bytes: 1 << 20, every: 20 },
];

struct Reader {
    socket: Socket,
    pace: Pace,
    got: Vec<u8>,
}

impl Reader {
    fn connect(address: SocketAddr, pace: Pace) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(SOCKET).expect("a socket takes an option");
        socket.connect(&address.into()).expect("the server listens");
        (&socket).write_all(REQUESTS).expect("the server reads");
        socket.shutdown(Shutdown::Write).expect("it is connected");
        socket.set_nonblocking(true).expect("O_NONBLOCK");
        Self { socket, pace, got: Vec::new() }
    }

    /// Takes what is there, at most what its pace says; false at the end.
    fn take(&mut self) -> bool {
        let before = self.got.len();
        self.got.resize(before + self.pace.bytes, 0);
        let taken = (&self.socket).read(&mut self.got[before..]);
        let n = match &taken {
            Ok(n) => *n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("after {before} bytes: {error}"),
        };
        self.got.truncate(before + n);
        n > 0 || taken.is_err()
    }
}

#[test]
fn a_crowd_gets_every_byte_however_fast_it_reads() {
    let server = Running::limited(|limits| limits.fixed.send_buffer_bytes = SOCKET);
    let bytes = content(7, LEN);
    server.client().put("/file", &bytes);
    let mut only = server.client();
    only.send(REQUESTS);
    only.finish();
    let mut wanted = Vec::new();
    only.stream.read_to_end(&mut wanted).expect("the replies, then the end");
    assert!(wanted.len() > 2 * LEN && wanted.ends_with(&bytes[LEN - 1000..]));

    let mut readers: Vec<_> = (0..CROWD).map(|n| Reader::connect(server.address(), PACES[n % PACES.len()])).collect();
    let mut pass = 0_usize;
    wait_until("the last byte of the last reader", || {
        readers.retain_mut(|reader| {
            let continues = !pass.is_multiple_of(reader.pace.every) || reader.take();
            if !continues {
                assert_same(&reader.got, &wanted, "a reader of the crowd");
            }
            continues
        });
        pass += 1;
        readers.is_empty()
    });
}
