//! What the server stores, what it does wrong, and the two halves of a connection.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, BufRead as _, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::wire::line::Request;

/// One stored file.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) bytes: Arc<Vec<u8>>,
    pub(crate) mtime: i64,
    pub(crate) etag: String,
    /// The digest that is kept of it.
    pub(crate) sha256: Option<[u8; 32]>,
    pub(crate) executable: bool,
}

/// What the server does wrong, and what it did.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) files: BTreeMap<String, Stored>,
    pub(crate) dirs: BTreeSet<String>,
    /// Every request line.
    pub(crate) log: Vec<String>,
    /// Uploads that can be resumed, by token and path.
    pub(crate) uploads: BTreeMap<(String, String), Kept>,
    /// Bytes received by uploads that can be resumed.
    pub(crate) received: u64,
    /// This many of these uploads are stored, and the connection ends before the reply.
    pub(crate) lose_confirmations: u32,
    /// Requests for digests are refused, as by a server that keeps none.
    pub(crate) knows_no_digests: bool,
    /// Uploads that can be resumed get this answer.
    pub(crate) refuse_resume: Option<&'static str>,
    /// Bytes of file content sent.
    pub(crate) sent: u64,
    pub(crate) connections: usize,
    /// The secret.
    pub(crate) token: Option<String>,
    /// This reply is given to this many requests.
    pub(crate) refuse: Option<(u32, &'static str)>,
    /// The next connections end after this many bytes of replies.
    pub(crate) cut_replies: VecDeque<u64>,
    /// The next uploads end after this many bytes of their body.
    pub(crate) cut_uploads: VecDeque<u64>,
    /// One byte is flipped in this many of the next bodies, both ways.
    pub(crate) damage: u32,
    /// An upload gets this answer after this many bytes of its body; then the connection closes, or
    /// stays open unread.
    pub(crate) refuse_upload: Option<(u64, &'static str, bool)>,
    /// After this many GETs, the next one finds the file changed.
    pub(crate) change_after: VecDeque<u32>,
    /// Names in one page of a listing.
    pub(crate) page: Option<usize>,
    /// Every listing has this body instead.
    pub(crate) listing: Option<&'static str>,
    /// A range is answered with the whole file.
    pub(crate) whole_ranges: bool,
    pub(super) parked: Vec<TcpStream>,
    versions: u64,
}

/// An upload that is kept, by its token and path.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    pub(super) size: usize,
    pub(super) bytes: Vec<u8>,
    pub(super) is_complete: bool,
}

impl State {
    pub(super) fn store(&mut self, path: &str, bytes: Vec<u8>, mtime: i64) -> String {
        self.versions += 1;
        let etag = format!("{:x}-{:x}", bytes.len(), self.versions);
        self.files.insert(
            path.to_owned(),
            Stored {
                sha256: Some(Sha256::digest(&bytes).into()),
                bytes: Arc::new(bytes),
                mtime,
                etag: etag.clone(),
                executable: false,
            },
        );
        etag
    }

    /// An upload has ended that may have said so.
    pub(super) fn set_executable(&mut self, request: &Request<'_>) {
        if let Some(file) = self.files.get_mut(request.path) {
            file.executable = option(request, "exec").is_some();
        }
    }

    pub(super) fn is_dir(&self, path: &str) -> bool {
        let prefix = format!("{}/", path.trim_end_matches('/'));
        prefix == "/"
            || self.dirs.contains(prefix.trim_end_matches('/'))
            || self.files.keys().chain(&self.dirs).any(|name| name.starts_with(&prefix))
    }

    pub(super) fn make(&mut self, path: &str, parents: bool) -> String {
        let is_there = self.is_dir(path);
        if is_there && !parents {
            return "ERR 409 that name is taken\n".to_owned();
        }
        self.dirs.insert(path.trim_end_matches('/').to_owned());
        if parents { format!("OK 0 created={}\n", u8::from(!is_there)) } else { "OK 0\n".to_owned() }
    }

    pub(super) fn delete(&mut self, path: &str, recursive: bool) -> String {
        let name = path.trim_end_matches('/');
        if self.files.remove(path).is_none() && !self.is_dir(path) {
            return "ERR 404 no such file or folder\n".to_owned();
        }
        if !recursive && !self.names(path).is_empty() {
            return "ERR 409 the folder is not empty\n".to_owned();
        }
        let below = format!("{name}/");
        self.files.retain(|other, _| !other.starts_with(&below));
        self.dirs.retain(|other| other != name && !other.starts_with(&below));
        "OK 0\n".to_owned()
    }

    /// Moves or copies a file, or all under a directory.
    pub(super) fn give_name(&mut self, old: &str, new: &str, keeps: bool) -> String {
        let below = format!("{old}/");
        let moved: Vec<_> = self.files.iter().filter(|(name, _)| *name == old || name.starts_with(&below)).collect();
        let moved: Vec<_> = moved.into_iter().map(|(name, file)| (name.clone(), file.clone())).collect();
        if moved.is_empty() {
            return "ERR 404 no such file or folder\n".to_owned();
        }
        for (name, file) in moved {
            if !keeps {
                self.files.remove(&name);
            }
            self.files.insert(format!("{new}{}", &name[old.len()..]), file);
        }
        "OK 0\n".to_owned()
    }

    /// All paths below a directory, component by component.
    pub(super) fn tree(&self, path: &str) -> Vec<(String, bool)> {
        let dir = path.trim_end_matches('/');
        let mut all = Vec::new();
        for (name, is_dir) in self.names(path) {
            all.push((name.clone(), is_dir));
            if is_dir {
                let below = self.tree(&format!("{dir}/{name}")).into_iter();
                all.extend(below.map(|(rest, is_dir)| (format!("{name}/{rest}"), is_dir)));
            }
        }
        all
    }

    /// Names one level below a directory; those of directories end in a slash.
    pub(super) fn names(&self, path: &str) -> BTreeMap<String, bool> {
        let prefix = format!("{}/", path.trim_end_matches('/'));
        let below = |name: &String| name.strip_prefix(&prefix).map(str::to_owned);
        let mut names = BTreeMap::new();
        for (dir, name) in self.files.keys().map(|name| (false, name)).chain(self.dirs.iter().map(|n| (true, n))) {
            let Some(rest) = below(name) else { continue };
            match rest.split_once('/') {
                Some((first, _)) => names.insert(first.to_owned(), true),
                None => names.insert(rest, dir),
            };
        }
        names
    }
}

/// The replying half of a connection, which may be cut.
pub(super) struct Out {
    pub(super) stream: TcpStream,
    pub(super) left: Option<u64>,
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.left {
            Some(0) => {
                let _ = self.stream.shutdown(Shutdown::Both);
                Err(io::ErrorKind::BrokenPipe.into())
            }
            Some(left) => {
                let count = self.stream.write(&bytes[..bytes.len().min(*left as usize)])?;
                *left -= count as u64;
                Ok(count)
            }
            None => self.stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) type In = BufReader<TcpStream>;

pub(super) fn option<'a>(request: &Request<'a>, name: &str) -> Option<&'a str> {
    request.options.iter().find(|(option, _)| *option == name).map(|(_, value)| *value)
}

pub(super) fn own_line(input: &mut In) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    input.read_until(b'\n', &mut line)?;
    match line.pop() {
        Some(b'\n') => Ok(line),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
