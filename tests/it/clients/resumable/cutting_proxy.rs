//! A link that breaks where a test wants it to: a proxy before a server, which cuts connections,
//! swallows replies and kills the server at given counts of bytes. Never alters a byte.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use support::server::Program;

/// What breaks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Break {
    /// The connection that carried this byte.
    Connection,
    /// The connection, once the server has answered: the reply is lost.
    Reply,
    /// The server, by SIGKILL; another one is started on the same directory.
    Server,
}

/// Bytes that clients have sent, and what is still to break at which count of them.
struct Plan {
    sent: u64,
    breaks: VecDeque<(u64, Break)>,
}

struct Shared {
    root: PathBuf,
    options: Vec<String>,
    /// Locked while the server is replaced, so that a connection meets the next one.
    server: Mutex<Option<Program>>,
    plan: Mutex<Plan>,
    ended: AtomicBool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn start(&self) -> Program {
        let options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        crate::program::start(&self.root, &options)
    }

    fn kill_and_restart(&self) {
        let mut server = locked(&self.server);
        // A program is killed when it is dropped.
        drop(server.take());
        *server = Some(self.start());
    }

    /// How many of these bytes may pass, and what breaks after them.
    fn pass(&self, count: usize) -> (usize, Option<Break>) {
        let mut plan = locked(&self.plan);
        let end = plan.sent + count as u64;
        let Some(&(at, what)) = plan.breaks.front().filter(|(at, _)| *at <= end) else {
            plan.sent = end;
            return (count, None);
        };
        plan.breaks.pop_front();
        let before = usize::try_from(at.saturating_sub(plan.sent)).map_or(count, |left| left.min(count));
        // The server is to get all of the request to which the reply is lost.
        let may_pass = if what == Break::Reply { count } else { before };
        plan.sent += may_pass as u64;
        (may_pass, Some(what))
    }

    /// Copies what the client sends, until one side ends or the plan breaks it.
    fn forward(&self, mut client: TcpStream, mut server: TcpStream, reply_is_lost: &AtomicBool) {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = client.read(&mut buffer) {
            let (may_pass, broken) = self.pass(count);
            if broken == Some(Break::Reply) {
                reply_is_lost.store(true, Ordering::SeqCst);
            }
            if server.write_all(&buffer[..may_pass]).is_err() {
                break;
            }
            match broken {
                None | Some(Break::Reply) => {}
                Some(Break::Connection) => break,
                Some(Break::Server) => {
                    self.kill_and_restart();
                    break;
                }
            }
        }
        for side in [&client, &server] {
            // One that is closed already cannot be shut down.
            let _ = side.shutdown(Shutdown::Both);
        }
    }
}

/// Copies what the server says, unless that is to be lost.
fn answer(mut server: TcpStream, mut client: TcpStream, is_lost: &AtomicBool) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = server.read(&mut buffer) {
        if is_lost.load(Ordering::SeqCst) || client.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    for side in [&client, &server] {
        let _ = side.shutdown(Shutdown::Both);
    }
}

/// A server, and the link to it.
pub(super) struct Unsteady {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: Option<JoinHandle<()>>,
}

impl Unsteady {
    pub(super) fn new(root: &Path, options: &[&str]) -> Self {
        let shared = Arc::new(Shared {
            root: root.to_owned(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            server: Mutex::new(None),
            plan: Mutex::new(Plan { sent: 0, breaks: VecDeque::new() }),
            ended: AtomicBool::new(false),
        });
        *locked(&shared.server) = Some(shared.start());
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let accepting = Arc::clone(&shared);
        let accepting = thread::spawn(move || accept(&listener, &accepting));
        Self { shared, address, accepting: Some(accepting) }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, this breaks once clients have sent this many more bytes.
    pub(super) fn plan(&self, breaks: impl IntoIterator<Item = (u64, Break)>) {
        let breaks = breaks.into_iter().collect();
        *locked(&self.shared.plan) = Plan { sent: 0, breaks };
    }

    /// Bytes that clients have sent since `plan`; all of it must have broken by now.
    #[track_caller]
    pub(super) fn sent(&self) -> u64 {
        let plan = locked(&self.shared.plan);
        assert!(plan.breaks.is_empty(), "after {} bytes these never broke: {:?}", plan.sent, plan.breaks);
        plan.sent
    }

    /// Ends the server, which must end well.
    pub(super) fn end(self) {
        locked(&self.shared.server).take().expect("a server runs").end();
    }
}

impl Drop for Unsteady {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the thread, which sees that the end has come.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.ended.load(Ordering::SeqCst) {
            return;
        }
        let Ok(client) = client else { continue };
        let Some(address) = locked(&shared.server).as_ref().map(Program::address) else { continue };
        // The client sees a closed connection.
        let Ok(server) = TcpStream::connect(address) else { continue };
        let is_lost = Arc::new(AtomicBool::new(false));
        let both = || Some((client.try_clone().ok()?, server.try_clone().ok()?));
        let Some((to_client, from_server)) = both() else { continue };
        let (shared, lost) = (Arc::clone(shared), Arc::clone(&is_lost));
        thread::spawn(move || shared.forward(client, server, &lost));
        thread::spawn(move || answer(from_server, to_client, &is_lost));
    }
}
