//! Clients of the `line` protocol that make the planned changes, all at once, each on its own
//! connection, and note in the log of the disk what was sent and what was acknowledged.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::device::Device;
use crate::parts::Plans;
use crate::story::{Change, Event, Framing, Over, Plan};

/// Longest wait for one reply.
const PATIENCE: Duration = Duration::from_secs(300);

/// Time until a request is sent again that found the server busy.
const BUSY: Duration = Duration::from_millis(5);

/// After one of this many changes all of the file system is synced, as systems do now and then: what
/// was made before is on the disk for long, what comes next is new.
const SYNC_EVERY: usize = 16;

/// Makes every change of every plan; the first reply that is not `OK` ends the run.
pub fn run(address: SocketAddr, plans: &[Plan], parts: &Plans, device: &Device, mount: &Path) -> Result<(), String> {
    let mount = &File::open(mount).map_err(|e| format!("{}: {e}", mount.display()))?;
    thread::scope(|scope| {
        let lines: Vec<_> = (plans.iter().enumerate())
            .map(|(line, plan)| {
                scope.spawn(move || {
                    let mut client = Client::connect(address)?;
                    let mut next = 0;
                    while next < plan.changes.len() {
                        let together = next..next + plan.together(next);
                        together.clone().for_each(|change| device.note(Event::Sent { line, change }));
                        let (first, others) = plan.changes[together.clone()].split_first().expect("one at least");
                        if !others.is_empty() {
                            client
                                .send(&plan.changes[together.clone()].iter().flat_map(request).collect::<Vec<u8>>())?;
                        }
                        for change in together {
                            if others.is_empty() {
                                client.change(first)?;
                            } else {
                                client.stored(&plan.changes[change])?;
                            }
                            device.note(Event::Acked { line, change });
                            if (line + change).is_multiple_of(SYNC_EVERY) {
                                rustix::fs::syncfs(mount).map_err(|e| format!("syncfs: {e}"))?;
                            }
                            next += 1;
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        let parts = scope.spawn(move || parts.run(address, device));
        let all = lines.into_iter().chain([parts]);
        all.into_iter().try_for_each(|line| line.join().map_err(|_| "a client panicked".to_owned())?)
    })
}

/// One connection.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Result<Self, String> {
        let connect = || {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Ok(Self { stream: BufReader::new(stream) })
        };
        connect().map_err(|e: io::Error| format!("cannot connect to the server: {e}"))
    }

    /// Makes a change; `Ok` once the server has said that it is durable.
    pub fn change(&mut self, change: &Change) -> Result<(), String> {
        let reply = loop {
            let reply = self.ask(&request(change)).map_err(|e| format!("{change:?}: {e}"))?;
            if !reply.starts_with("ERR 429 ") {
                break reply;
            }
            // Nothing was changed: few copies are made at a time.
            thread::sleep(BUSY);
        };
        let durable = !matches!(change, Change::Put { .. }) || reply.contains(" stored=durable");
        if reply.starts_with("OK ") && durable { Ok(()) } else { Err(format!("{change:?}: {reply:?}")) }
    }

    /// The reply to an upload that was sent with others; `Ok` once the server has said that it is durable.
    fn stored(&mut self, change: &Change) -> Result<(), String> {
        let reply = self.reply()?;
        if reply.starts_with("OK ") && reply.contains(" stored=durable") {
            Ok(())
        } else {
            Err(format!("{change:?}: {reply:?}"))
        }
    }

    /// The names in a directory, and those of its directories with a `/` after.
    pub fn list(&mut self, dir: &str) -> Result<Vec<String>, String> {
        let body = self.fetch(&format!("LIST {dir}\n"))?;
        let text = String::from_utf8(body).map_err(|e| e.to_string())?;
        Ok(text.lines().filter_map(|line| line.splitn(4, ' ').nth(3).map(str::to_owned)).collect())
    }

    /// The content of a file.
    pub fn get(&mut self, path: &str) -> Result<Vec<u8>, String> {
        self.fetch(&format!("GET {path}\n"))
    }

    fn fetch(&mut self, request: &str) -> Result<Vec<u8>, String> {
        let reply = self.ask(request.as_bytes()).map_err(|e| format!("{request:?}: {e}"))?;
        let len = reply.strip_prefix("OK ").and_then(|rest| rest.split(' ').next()?.trim().parse().ok());
        let len: usize = len.ok_or_else(|| format!("{request:?}: {reply:?}"))?;
        if reply.contains(" more=1") {
            return Err(format!("{request:?}: the folder has more names than one page holds"));
        }
        let mut body = vec![0; len];
        io::Read::read_exact(&mut self.stream, &mut body).map_err(|e| format!("{request:?}: {e}"))?;
        Ok(body)
    }

    /// Sends, and does not wait for a reply.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.get_mut().write_all(bytes).map_err(|e| format!("{} bytes: {e}", bytes.len()))
    }

    /// The next line of a reply.
    pub fn reply(&mut self) -> Result<String, String> {
        self.ask(b"").map_err(|e| format!("a reply: {e}"))
    }

    /// The reply to a request, whatever it is.
    pub fn say(&mut self, request: &[u8]) -> Result<String, String> {
        self.ask(request).map_err(|e| format!("{:?}: {e}", String::from_utf8_lossy(request)))
    }

    fn ask(&mut self, request: &[u8]) -> io::Result<String> {
        self.stream.get_mut().write_all(request)?;
        let mut reply = String::new();
        self.stream.read_line(&mut reply)?;
        Ok(reply)
    }
}

fn request(change: &Change) -> Vec<u8> {
    match change {
        Change::Put { path, content, framing, over } => {
            let (size, body) = match framing {
                Framing::Length => (content.len.to_string(), content.bytes()),
                Framing::Chunks => ("*".to_owned(), chunks(&content.bytes())),
            };
            [format!("PUT {size} {}{path}\n", option(*over)).into_bytes(), body].concat()
        }
        Change::Delete { path } => format!("DELETE {path}\n").into_bytes(),
        Change::Rename { from, to, over } => format!("RENAME {}{from}\t{to}\n", option(*over)).into_bytes(),
        Change::MakeDir { path } => format!("MKDIR {path}\n").into_bytes(),
        Change::DeleteTree { path } => format!("DELETE recursive=1 {path}/\n").into_bytes(),
        Change::Replace { from, to } => format!("RENAME replace=1 {from}\t{to}\n").into_bytes(),
        Change::Copy { from, to } => format!("COPY recursive=1 parents=1 {from}\t{to}\n").into_bytes(),
        Change::SetTime { path, mtime } => format!("TIME mtime={mtime} {path}\n").into_bytes(),
    }
}

fn option(over: Over) -> &'static str {
    match over {
        Over::Anything => "",
        Over::Nothing => "if=absent ",
    }
}

fn chunks(content: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for chunk in content.chunks(30_000) {
        body.extend_from_slice(format!("{:x}\n", chunk.len()).as_bytes());
        body.extend_from_slice(chunk);
    }
    body.extend_from_slice(b"0\n");
    body
}
