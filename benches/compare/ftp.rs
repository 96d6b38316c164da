//! A small FTP client (RFC 959, EPSV of RFC 2428): fetches and stores on control connections that
//! are kept, each with a blocking thread. Only for a server on this machine that behaves.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use support::Task;

/// A server that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A control connection that has logged in.
pub struct Client {
    control: BufReader<TcpStream>,
    address: SocketAddr,
    buffer: Vec<u8>,
}

impl Client {
    /// Logs in and goes to a directory; paths are then under it.
    pub fn connect(address: SocketAddr, dir: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        stream.set_read_timeout(Some(PATIENCE)).expect("SO_RCVTIMEO");
        let mut client = Self { control: BufReader::new(stream), address, buffer: vec![0; 256 << 10] };
        client.expect("220");
        let dir = format!("CWD {dir}");
        for (command, code) in [("USER anonymous", "331"), ("PASS bench", "230"), (&dir, "250"), ("TYPE I", "200")] {
            client.say(command);
            client.expect(code);
        }
        client
    }

    fn say(&mut self, command: &str) {
        self.control.get_mut().write_all(format!("{command}\r\n").as_bytes()).expect("the server reads");
    }

    /// The last line of a reply with this code.
    fn expect(&mut self, code: &str) -> String {
        loop {
            let mut line = String::new();
            self.control.read_line(&mut line).expect("the server answers");
            assert!(line.starts_with(code), "{code} was expected, and came {line:?}");
            if line.as_bytes().get(3) == Some(&b' ') {
                return line;
            }
        }
    }

    fn data(&mut self) -> TcpStream {
        self.say("EPSV");
        let reply = self.expect("229");
        let port = reply.split('|').nth(3).and_then(|port| port.parse().ok());
        let address = SocketAddr::new(self.address.ip(), port.expect("a port"));
        let data = TcpStream::connect(address).expect("the server listens for data");
        data.set_read_timeout(Some(PATIENCE)).expect("SO_RCVTIMEO");
        data
    }

    /// Does one task.
    pub fn run(&mut self, task: &Task) {
        let mut data = self.data();
        match task {
            Task::Get { path, .. } | Task::Drain { path, .. } => {
                self.say(&format!("RETR {}", path.trim_start_matches('/')));
                self.expect("150");
                let mut got = 0;
                loop {
                    match data.read(&mut self.buffer).expect("the data come") {
                        0 => break,
                        n => got += n as u64,
                    }
                }
                assert_eq!(got, task.bytes(), "the length of {path}");
            }
            Task::Put { path, content } => {
                self.say(&format!("STOR {}", path.trim_start_matches('/')));
                self.expect("150");
                let mut sent = 0;
                while sent < content.len {
                    let piece = content.at(sent);
                    data.write_all(piece).expect("the server reads");
                    sent += piece.len() as u64;
                }
            }
        }
        drop(data);
        self.expect("226");
    }
}

/// Every client does `each` tasks, chosen by client and number; returns how long all took.
pub fn run(clients: &mut [Client], each: usize, task: impl Fn(usize, usize) -> Task + Sync) -> Duration {
    let began = Instant::now();
    thread::scope(|scope| {
        for (at, client) in clients.iter_mut().enumerate() {
            let task = &task;
            scope.spawn(move || (0..each).for_each(|n| client.run(&task(at, n))));
        }
    });
    began.elapsed()
}
