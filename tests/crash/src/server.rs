//! The real server as a child process, on a directory of a mounted file system. It can be sabotaged,
//! from outside: then the kernel answers one kind of sync with success and does nothing.

use std::io::{self, BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// How it runs. The server asks for `fdatasync` of files and `fsync` of directories; on btrfs for a map of a
/// file, with all of it written before, and for a sync of the file system (before Linux 6.1 for two of
/// these: there `NoFileSyncs` silences nothing that counts).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    AsIs,
    /// With the calls that every unix has.
    Portable,
    /// `fsync` and `syncfs` do nothing.
    NoDirSyncs,
    /// `fdatasync` and FIEMAP do nothing.
    NoFileSyncs,
}

impl Run {
    pub const ALL: [Self; 4] = [Self::NoDirSyncs, Self::NoFileSyncs, Self::Portable, Self::AsIs];

    pub fn name(self) -> &'static str {
        match self {
            Self::AsIs => "as it is",
            Self::Portable => "portable",
            Self::NoDirSyncs => "control, no folder syncs",
            Self::NoFileSyncs => "control, no file syncs",
        }
    }

    /// Whether the checks must fail.
    pub fn is_control(self) -> bool {
        !self.silenced().is_empty()
    }

    fn arguments(self) -> &'static [&'static str] {
        if self == Self::Portable { &["--portable"] } else { &[] }
    }

    /// The system calls that do nothing.
    fn silenced(self) -> &'static [Silenced] {
        match self {
            Self::AsIs | Self::Portable => &[],
            Self::NoDirSyncs => const { &[Silenced::all(libc::SYS_fsync), Silenced::all(libc::SYS_syncfs)] },
            Self::NoFileSyncs => {
                const { &[Silenced::all(libc::SYS_fdatasync), Silenced { call: libc::SYS_ioctl, request: Some(FIEMAP) }] }
            }
        }
    }
}

/// `FS_IOC_FIEMAP` (linux/fs.h).
const FIEMAP: u32 = 0xC020_660B;

/// A system call, or one request of `ioctl`.
struct Silenced {
    call: libc::c_long,
    request: Option<u32>,
}

impl Silenced {
    const fn all(call: libc::c_long) -> Self {
        Self { call, request: None }
    }
}

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
}

impl Server {
    pub fn start(binary: &Path, dir: &Path, run: Run) -> Result<Self, String> {
        let mut command = Command::new(binary);
        command
            .arg("serve")
            .arg(dir)
            .args(["--quiet", "--upload-sync", "16384", "--listen", "127.0.0.1:0"])
            .args(run.arguments());
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let filter = answering_success(run.silenced());
        // SAFETY: between fork and exec the closure makes at most three system calls and touches
        // no memory but its own.
        unsafe {
            command.pre_exec(move || {
                // Killed when the thread that started it ends, however it ends.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                install(&filter)
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

/// A seccomp program: these calls return 0 and do nothing, every other call is made.
fn answering_success(calls: &[Silenced]) -> Vec<libc::sock_filter> {
    let statement = |code: u32, k| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let load = |offset| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset);
    // Continues if it is so, else after this many statements.
    let only_if =
        |k, jf| libc::sock_filter { code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, jt: 0, jf, k };
    let returns = |k| statement(libc::BPF_RET | libc::BPF_K, k);
    let mut program = Vec::new();
    for silenced in calls {
        // `seccomp_data`: the number of the call, then at 16 its arguments of 8 bytes.
        program.extend([load(0), only_if(silenced.call as u32, if silenced.request.is_some() { 3 } else { 1 })]);
        program.extend(silenced.request.iter().flat_map(|request| [load(24), only_if(*request, 1)]));
        // An error number of 0 is success.
        program.push(returns(libc::SECCOMP_RET_ERRNO));
    }
    program.push(returns(libc::SECCOMP_RET_ALLOW));
    program
}

fn install(filter: &[libc::sock_filter]) -> io::Result<()> {
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
