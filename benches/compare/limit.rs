//! The limit: what no server that keeps its word can fall below. A bare loop that reads a request
//! until the socket is empty, proves with one look at the kernel's queue of changes that what it
//! has in memory is fresh, and answers with one call; large files go with `sendfile`.
//!
//! It is no server: names are not checked, nothing is bounded, it knows no uploads (the file system
//! is their limit), and it ends at the first surprise.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use rustix::fs::sendfile;
use rustix::io::Errno;
use rustix::net::SendFlags;
use socket2::{Domain, Socket, Type};

/// The argument that the directory follows.
pub const ARGUMENT: &str = "--bare-loop";

/// Files up to this long are answered from memory: longer ones cost less with `sendfile`.
const KEPT_LEN_MAX: u64 = 32 << 10;
/// Most unsent bytes of all connections, and of one: without a bound, 8,000 slow readers fill all that
/// the kernel gives to TCP, and then everybody waits for timeouts.
const UNSENT_MAX: usize = 1 << 30;
const UNSENT_EACH_MAX: usize = 4 << 20;
/// A client that does not fit in asks again after a second, which is long for a crowd of thousands.
const BACKLOG: i32 = 4096;
/// Most that one `sendfile` moves.
const SEND_LEN: usize = 1 << 30;
const LISTENER: Token = Token(usize::MAX);

enum State {
    Head,
    Sending { file: Rc<File>, at: u64, len: u64 },
}

struct Line {
    stream: TcpStream,
    state: State,
}

struct Loop {
    poll: Poll,
    root: PathBuf,
    watch: OwnedFd,
    events: Vec<MaybeUninit<u8>>,
    kept: HashMap<String, Vec<u8>>,
    opened: HashMap<String, (Rc<File>, u64)>,
    /// Connections that there are.
    connected: usize,
    buffer: Vec<u8>,
}

/// Serves a directory until it is killed; says on standard output where.
pub fn serve(root: &Path) {
    let poll = Poll::new().expect("an event queue");
    let mut listener = listener();
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE).expect("epoll");
    println!("listening on {} (http)", listener.local_addr().expect("an address"));
    let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).expect("inotify");
    let flags = WatchFlags::CLOSE_WRITE | WatchFlags::DELETE | WatchFlags::MOVE;
    inotify::add_watch(&watch, root, flags).expect("the folder is watched");
    let mut own = Loop {
        poll,
        root: root.to_owned(),
        watch,
        events: vec![MaybeUninit::uninit(); 16 << 10],
        kept: HashMap::new(),
        opened: HashMap::new(),
        connected: 0,
        buffer: vec![0; 256 << 10],
    };
    let mut lines: slab::Slab<Line> = slab::Slab::new();
    let mut events = Events::with_capacity(1024);
    loop {
        match own.poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled.expect("epoll"),
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    own.accepted(stream, &mut lines);
                }
            } else if let Some(line) = lines.get_mut(event.token().0)
                && !own.drive(line)
            {
                lines.remove(event.token().0);
                own.connected -= 1;
            }
        }
    }
}

fn listener() -> TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    socket.set_nonblocking(true).expect("O_NONBLOCK");
    socket.listen(BACKLOG).expect("it listens");
    TcpListener::from_std(socket.into())
}

impl Loop {
    fn accepted(&mut self, mut stream: TcpStream, lines: &mut slab::Slab<Line>) {
        stream.set_nodelay(true).expect("TCP_NODELAY");
        let entry = lines.vacant_entry();
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(entry.key()), both).expect("epoll");
        entry.insert(Line { stream, state: State::Head });
        self.connected += 1;
    }

    /// Does what can be done. True while the connection is still wanted.
    fn drive(&mut self, line: &mut Line) -> bool {
        loop {
            let progress = match &mut line.state {
                State::Head => self.head(line),
                State::Sending { file, at, len } => {
                    while *at < *len {
                        match sendfile(&line.stream, &**file, Some(at), SEND_LEN) {
                            Ok(_) => {}
                            Err(Errno::AGAIN) => return true,
                            Err(_) => return false,
                        }
                    }
                    line.state = State::Head;
                    // The next request comes with an event of its own.
                    Some(false)
                }
            };
            match progress {
                Some(true) => {}
                Some(false) => return true,
                None => return false,
            }
        }
    }

    /// `Some(true)`: continue; `Some(false)`: wait; `None`: it is over.
    fn head(&mut self, line: &mut Line) -> Option<bool> {
        let got = match line.stream.read(&mut self.buffer) {
            Ok(0) => return None,
            Ok(got) => got,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Some(false),
            Err(_) => return None,
        };
        let text = &self.buffer[..got];
        let end = text.windows(4).position(|window| window == b"\r\n\r\n").expect("a head comes whole") + 4;
        let head = std::str::from_utf8(&text[..end]).expect("ASCII");
        let path = head.split(' ').nth(1)?.trim_start_matches('/');
        let close = head.contains("Connection: close");
        let path = path.to_owned();
        self.forget_what_changed();
        if !self.kept.contains_key(&path) {
            if !self.open(line, &path) {
                return None;
            }
            if let State::Sending { .. } = line.state {
                return Some(true);
            }
        }
        let reply = &self.kept[&path];
        let sent = line.stream.write(reply).expect("a small reply fits");
        assert_eq!(sent, reply.len(), "a small reply fits");
        // The request was shorter than the buffer: the socket is empty, and an event will tell of more.
        (!close).then_some(false)
    }

    fn forget_what_changed(&mut self) {
        let mut reader = Reader::new(&self.watch, &mut self.events);
        while let Ok(event) = reader.next() {
            let name = event.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            self.kept.remove(&name);
            self.opened.remove(&name);
        }
    }

    /// Begins to send a large file, and keeps a small one. True while the connection is still wanted.
    fn open(&mut self, line: &mut Line, path: &str) -> bool {
        let whole = self.root.join(path);
        let (file, len) = self.opened.entry(path.to_owned()).or_insert_with(|| {
            let file = open(&whole);
            let len = file.metadata().expect("its length").len();
            (Rc::new(file), len)
        });
        let len = *len;
        let mut head = format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n").into_bytes();
        if len > KEPT_LEN_MAX {
            let unsent = (UNSENT_MAX / self.connected).min(UNSENT_EACH_MAX) as u32;
            socket2::SockRef::from(&line.stream).set_tcp_notsent_lowat(unsent).expect("TCP_NOTSENT_LOWAT");
            line.state = State::Sending { file: Rc::clone(file), at: 0, len };
            return rustix::net::send(&line.stream, &head, SendFlags::MORE).is_ok();
        }
        head.extend(fs::read(&whole).expect("it can be read"));
        self.kept.insert(path.to_owned(), head);
        true
    }
}

#[allow(clippy::disallowed_methods, reason = "the limit does without the checks of a server")]
fn open(path: &Path) -> File {
    File::open(path).expect("the file is there")
}
