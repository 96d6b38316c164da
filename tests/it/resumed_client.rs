//! Transfers of the built binary that are cut off: by the link, by a kill of the client, by a kill of the server.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

use support::client::{assert_same, content, random, value, wait_until};
use tempfile::TempDir;

use crate::program::{BINARY, Program};

const LEN: usize = 6_000_000;
/// As option of the server: what a kill of it loses at most, twice.
const SYNC: usize = 64 * 1024;
const CUTS: usize = 18;

/// Which bytes are counted and stopped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}

/// Passes connections on, so many bytes in one direction; then they hang until they are cut off.
struct Link {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<LinkState>,
    changed: Condvar,
}

struct LinkState {
    server: SocketAddr,
    direction: Direction,
    budget: u64,
    passed: u64,
    open: Vec<TcpStream>,
    /// How often connections were cut off.
    cuts: usize,
}

impl Link {
    fn to(server: SocketAddr, direction: Direction) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let state = LinkState { server, direction, budget: 0, passed: 0, open: Vec::new(), cuts: 0 };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let link = Self { address, shared: Arc::clone(&shared) };
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = shared.lock().server;
                let Ok(server) = TcpStream::connect(server) else { continue };
                let copies = || [&client, &server].map(|stream| stream.try_clone().expect("a second handle"));
                shared.lock().open.extend(copies());
                let [client_too, server_too] = copies();
                for (from, to, direction) in
                    [(client, server, Direction::ToServer), (server_too, client_too, Direction::ToClient)]
                {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || shared.pump(from, to, direction));
                }
            }
        });
        link
    }

    /// Lets so many bytes pass.
    fn allow(&self, bytes: u64) {
        self.shared.lock().budget = bytes;
        self.shared.changed.notify_all();
    }

    /// Lets so many bytes pass, and waits until they have or `ended`.
    fn pass(&self, bytes: u64, mut ended: impl FnMut() -> bool) {
        self.allow(bytes);
        wait_until("the bytes have passed", || self.shared.lock().budget == 0 || ended());
    }

    /// Cuts all connections off.
    fn cut(&self) {
        let mut state = self.shared.lock();
        state.cuts += 1;
        for stream in state.open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.shared.changed.notify_all();
    }

    fn lead_to(&self, server: SocketAddr) {
        self.shared.lock().server = server;
    }

    fn passed(&self) -> u64 {
        self.shared.lock().passed
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, LinkState> {
        self.state.lock().expect("no thread panics while it holds this")
    }

    fn pump(&self, mut from: TcpStream, mut to: TcpStream, direction: Direction) {
        let cuts = self.lock().cuts;
        let mut buffer = vec![0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let mut done = 0;
            while done < count {
                let mut state = self.lock();
                let mut passing = count - done;
                if direction == state.direction {
                    let is_held = |state: &mut LinkState| state.budget == 0 && state.cuts == cuts;
                    state = self.changed.wait_while(state, is_held).expect("no thread panics while it holds this");
                    if state.cuts != cuts {
                        return;
                    }
                    passing = passing.min(usize::try_from(state.budget).unwrap_or(usize::MAX));
                    state.budget -= passing as u64;
                    state.passed += passing as u64;
                }
                drop(state);
                if to.write_all(&buffer[done..done + passing]).is_err() {
                    return;
                }
                done += passing;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    }
}

/// A client that is killed when dropped.
struct Running(Child);

impl Running {
    fn start(state: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(BINARY);
        command.args(arguments).env("XDG_STATE_HOME", state).stdin(Stdio::null()).stdout(Stdio::null());
        Self(command.spawn().expect("the built binary can be run"))
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("a child can be waited for")
    }

    #[track_caller]
    fn ends_well(mut self) {
        wait_until("the client ends", || self.ended().is_some());
        assert_eq!(self.ended().and_then(|status| status.code()), Some(0));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(root: &Path) -> Program {
    Program::start(root, &["--upload-sync", &SYNC.to_string()])
}

/// Files in the directory that remembers uploads.
fn records(dir: &TempDir) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.path().join("state/filewharf/uploads")).into_iter().flatten();
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

/// Waits until what was passed is safe but for what a kill may take: the offset that the server has said.
fn checkpoint(server: &Program, dir: &TempDir) {
    let mut client = server.client();
    let Some(record) = records(dir).pop() else { return };
    let record = fs::read_to_string(record).expect("a record");
    let Some((token, _)) = record.split_once(' ') else { return };
    let mut last = None;
    // It has stopped to grow, or nothing is known of the upload yet.
    let mut offset = || value(&client.ask(&format!("STAT resume={token} /d/f")), "offset");
    let mut same = 0;
    wait_until("a checkpoint", || {
        let now = offset();
        same = if now == last { same + 1 } else { 0 };
        last = now;
        same > 20
    });
}

#[test]
fn a_put_survives_cut_links_and_kills_of_both_ends_and_sends_little_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let (root, local, state) = (dir.path().join("root"), dir.path().join("local"), dir.path().join("state"));
    fs::create_dir(&root).expect("created");
    let bytes = content(3, LEN);
    fs::write(&local, &bytes).expect("written");
    let mut server = start(&root);
    let link = Link::to(server.address(), Direction::ToServer);
    let target = format!("{}/d/f", link.address);
    let arguments = ["put", local.to_str().expect("UTF-8"), &target, "--retries", "1000"];
    let mut client = Running::start(&state, &arguments);
    let mut seed = 1;
    for cut in 0..CUTS {
        link.pass(random(&mut seed) % (LEN / CUTS) as u64, || client.ended().is_some());
        assert_eq!(client.ended(), None, "it cannot be done before all has passed");
        assert!(!root.join("d/f").exists());
        match cut % 3 {
            0 => link.cut(),
            1 => {
                drop(client);
                link.cut();
                client = Running::start(&state, &arguments);
            }
            _ => {
                checkpoint(&server, &dir);
                drop(server);
                server = start(&root);
                link.lead_to(server.address());
                link.cut();
            }
        }
    }
    link.allow(u64::MAX);
    client.ends_well();
    assert_same(&fs::read(root.join("d/f")).expect("there"), &bytes, "the file");
    let again = link.passed() - LEN as u64;
    // Of each kill of the server two checkpoints, and of all cuts the lines.
    let most = (CUTS / 3 * 2 * SYNC + CUTS * 1000) as u64;
    assert!(again <= most, "{again} bytes were sent again, at most {most} are acceptable");
    assert_eq!(records(&dir), Vec::<PathBuf>::new());
    server.end();
}

#[test]
fn a_get_survives_cut_links_and_kills_of_both_ends_and_fetches_little_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let (root, local, state) = (dir.path().join("root"), dir.path().join("local"), dir.path().join("state"));
    fs::create_dir_all(root.join("d")).expect("created");
    let bytes = content(4, LEN);
    fs::write(root.join("d/f"), &bytes).expect("written");
    let mut server = start(&root);
    let link = Link::to(server.address(), Direction::ToClient);
    let source = format!("{}/d/f", link.address);
    let arguments = ["get", &source, local.to_str().expect("UTF-8"), "--retries", "1000"];
    let mut client = Running::start(&state, &arguments);
    let mut seed = 2;
    for cut in 0..CUTS {
        link.pass(random(&mut seed) % (LEN / CUTS) as u64, || client.ended().is_some());
        assert_eq!(client.ended(), None, "it cannot be done before all has passed");
        assert!(!local.exists());
        match cut % 3 {
            0 => link.cut(),
            1 => {
                drop(client);
                link.cut();
                client = Running::start(&state, &arguments);
            }
            _ => {
                drop(server);
                server = start(&root);
                link.lead_to(server.address());
                link.cut();
            }
        }
    }
    link.allow(u64::MAX);
    client.ends_well();
    assert_same(&fs::read(&local).expect("there"), &bytes, "the file");
    let again = link.passed() - LEN as u64;
    // Of each cut a segment, which is about as long as those before it.
    let most = (CUTS * 64 * 1024 + LEN / 4) as u64;
    assert!(again <= most, "{again} bytes were fetched again, at most {most} are acceptable");
    assert_eq!(fs::read_dir(dir.path()).expect("there").count(), 2, "the root and the file");
    server.end();
}

#[test]
fn a_file_that_changes_between_two_runs_of_get_or_put_arrives_as_it_is_then() {
    let dir = tempfile::tempdir().expect("a folder");
    let (root, local, state) = (dir.path().join("root"), dir.path().join("local"), dir.path().join("state"));
    fs::create_dir(&root).expect("created");
    let [older, newer] = [content(5, LEN), content(6, LEN)];
    let server = start(&root);
    for (verb, source, dest) in [("get", root.join("f"), local.clone()), ("put", local.clone(), root.join("f"))] {
        for path in [&source, &dest] {
            let _ = fs::remove_file(path);
        }
        fs::write(&source, &older).expect("written");
        let direction = if verb == "get" { Direction::ToClient } else { Direction::ToServer };
        let link = Link::to(server.address(), direction);
        let (remote, local) = (format!("{}/f", link.address), local.to_str().expect("UTF-8"));
        let arguments = if verb == "get" { [verb, &remote, local] } else { [verb, local, &remote] };
        let client = Running::start(&state, &arguments);
        link.pass(LEN as u64 / 2, || false);
        drop(client);
        link.cut();
        fs::remove_file(&source).expect("removed");
        fs::write(&source, &newer).expect("written");
        link.allow(u64::MAX);
        Running::start(&state, &arguments).ends_well();
        assert_same(&fs::read(&dest).expect("there"), &newer, verb);
    }
    server.end();
}
