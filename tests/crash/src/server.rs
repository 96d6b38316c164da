//! The real server as a child process, on a folder of a mounted file system. It can be sabotaged,
//! from outside: then the kernel answers one kind of sync with success and does nothing.

use std::io::{self, BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// How it runs. The server asks for `fsync` of folders and `fdatasync` of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    AsIs,
    /// With the calls that every unix has.
    Portable,
    /// `fsync` does nothing.
    NoFolderSyncs,
    /// `fdatasync` does nothing.
    NoFileSyncs,
}

impl Run {
    pub const ALL: [Self; 4] = [Self::NoFolderSyncs, Self::NoFileSyncs, Self::Portable, Self::AsIs];

    pub fn name(self) -> &'static str {
        match self {
            Self::AsIs => "as it is",
            Self::Portable => "portable",
            Self::NoFolderSyncs => "control, no folder syncs",
            Self::NoFileSyncs => "control, no file syncs",
        }
    }

    /// Must it be caught?
    pub fn is_control(self) -> bool {
        self.silenced().is_some()
    }

    fn arguments(self) -> &'static [&'static str] {
        if self == Self::Portable { &["--portable"] } else { &[] }
    }

    /// The system call that does nothing.
    fn silenced(self) -> Option<libc::c_long> {
        match self {
            Self::AsIs | Self::Portable => None,
            Self::NoFolderSyncs => Some(libc::SYS_fsync),
            Self::NoFileSyncs => Some(libc::SYS_fdatasync),
        }
    }
}

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
}

impl Server {
    pub fn start(binary: &Path, folder: &Path, run: Run) -> Result<Self, String> {
        let mut command = Command::new(binary);
        command.arg("serve").arg(folder).args(["--quiet", "--listen", "line@127.0.0.1:0"]).args(run.arguments());
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let filter = run.silenced().map(|call| answering_success(call as u32));
        // SAFETY: between fork and exec the closure makes at most three system calls and touches
        // no memory but its own.
        unsafe {
            command.pre_exec(move || {
                // Killed when the thread that started it ends, however it ends.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                filter.as_ref().map_or(Ok(()), install)
            });
        }
        let mut child = command.spawn().map_err(|e| format!("{}: {e}", binary.display()))?;
        let out = child.stdout.take().ok_or("its output is piped")?;
        let mut line = String::new();
        let read = BufReader::new(out).read_line(&mut line);
        let address = line.split(' ').nth(2).and_then(|address| address.parse().ok());
        // Made first, so that the child is killed on every way out.
        let server = Self { child, address: address.unwrap_or_else(|| SocketAddr::from(([0; 4], 0))) };
        match (read, address) {
            (Ok(_), Some(_)) => Ok(server),
            (Err(error), _) => Err(format!("the server says nothing: {error}")),
            (_, None) => Err(format!("the server does not start, it says {line:?}")),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A seccomp program: this call returns 0 and does nothing, every other call is made.
fn answering_success(call: u32) -> [libc::sock_filter; 4] {
    let statement = |code: u32, k| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    [
        // The number of the call is the first word of `seccomp_data`.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        libc::sock_filter { code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, jt: 0, jf: 1, k: call },
        // An error number of 0 is success.
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ]
}

fn install(filter: &[libc::sock_filter; 4]) -> io::Result<()> {
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    // SAFETY: both calls take plain numbers and a pointer to a program that outlives them, which
    // the kernel copies.
    let result = unsafe {
        match libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) {
            0 => libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program),
            failed => failed,
        }
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
