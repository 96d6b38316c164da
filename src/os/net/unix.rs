//! Listeners on Unix sockets (unix(7)): the file that leads to one, and the file of an ended server that it replaces.
//! Never removes what is no socket, nor the socket of a server that runs.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use mio::net::UnixListener;
use rustix::fs::{FileType, Gid, Mode, Uid};
use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};

use super::listener::BACKLOG;
use crate::config::SocketFile;
use crate::os::{process, sandbox};

/// Opens a listener at this path. A socket of a server that has ended is replaced at once, so that the path always leads
/// to a socket.
pub fn listen(path: &Path, file: &SocketFile) -> io::Result<UnixListener> {
    let ids = ids_of(file)?;
    let bound = if is_left_over(path)? { beside(path)? } else { path.to_owned() };
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address_of(&bound)?)?;
    let prepare = || -> io::Result<()> {
        if let Some((uid, gid)) = ids {
            rustix::fs::chown(&bound, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        rustix::fs::chmod(&bound, Mode::from_raw_mode(file.mode as _))?;
        // Only now can a client connect, whatever the mode was before.
        socket.listen(BACKLOG)?;
        if bound != path {
            rustix::fs::rename(&bound, path)?;
        }
        Ok(())
    };
    prepare().inspect_err(|_| {
        let _ = rustix::fs::unlink(&bound);
    })?;
    Ok(UnixListener::from_std(socket.into()))
}

/// The user and the group that are to own the file.
pub fn ids_of(file: &SocketFile) -> io::Result<Option<(u32, u32)>> {
    let found = file.owner.as_deref().map(sandbox::find_user).transpose();
    found.map_err(|reason| io::Error::new(ErrorKind::NotFound, reason))
}

fn address_of(path: &Path) -> io::Result<SockAddr> {
    SockAddr::unix(path).map_err(|_| {
        let reason = format!("{} is too long for a socket: at most 107 bytes", path.display());
        io::Error::new(ErrorKind::InvalidInput, reason)
    })
}

/// A name that is not used, in the same directory.
fn beside(path: &Path) -> io::Result<PathBuf> {
    let number = u32::from_ne_bytes(process::random()?);
    Ok(path.with_file_name(format!(".{number:08x}")))
}

/// True if there is a socket at this path that no server listens on; false if there is nothing. An error otherwise.
fn is_left_over(path: &Path) -> io::Result<bool> {
    let refuse = |kind, what| Err(io::Error::new(kind, format!("{what} {}", path.display())));
    match rustix::fs::lstat(path) {
        Err(Errno::NOENT) => return Ok(false),
        Err(error) => return Err(error.into()),
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Socket => {}
        Ok(_) => return refuse(ErrorKind::AlreadyExists, "a file that is no socket stays where it is:"),
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Where the backlog is full, the call does not wait, and fails.
    probe.set_nonblocking(true)?;
    match probe.connect(&address_of(path)?) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(true),
        Ok(()) => refuse(ErrorKind::AddrInUse, "another server listens at"),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            refuse(ErrorKind::AddrInUse, "another server listens at")
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
