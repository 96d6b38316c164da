//! What concerns the process as a whole: its limit on descriptors, the time it was started.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::os::sys;

/// The monotonic clock.
#[allow(clippy::disallowed_methods, reason = "this is where time comes from")]
pub fn clock() -> Instant {
    Instant::now()
}

/// Tries until then while what is asked for is in use.
#[allow(clippy::disallowed_methods, reason = "before the server runs")]
pub fn retry_in_use<T>(until: Option<Instant>, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match attempt() {
            Err(error) if error.kind() == ErrorKind::AddrInUse && until.is_some_and(|until| clock() < until) => {
                std::thread::sleep(Duration::from_millis(10));
            }
            result => return result,
        }
    }
}

/// Seconds since 1970, for names that must not repeat after a restart.
pub fn unix_time() -> u64 {
    unix_time_ms() / 1000
}

/// Milliseconds since 1970.
#[allow(clippy::disallowed_methods, reason = "this is where time comes from")]
pub fn unix_time_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The name of this machine (uname(2)).
pub fn machine_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Cores that this process may use at once, as far as that is known.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// For a thread beside the loop: adds this to its nice value. Where cores are few, the loop has precedence: every
/// connection waits for it. On Linux a nice value belongs to a thread (sched(7)).
#[cfg_attr(not(target_os = "linux"), allow(unused_variables, reason = "a nice value belongs to the process"))]
pub fn lower_priority(niceness: i32) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, niceness) {
        log::debug!("a worker keeps its priority: {error}");
    }
}

/// Raises the soft limit on open files to the hard one; returns how many descriptors there are.
pub fn raise_descriptor_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        log::warn!("cannot raise the limit on open files: {error}");
    }
    // Without a limit, more than is ever needed.
    getrlimit(Resource::Nofile).current.map_or(1 << 20, |soft| usize::try_from(soft).unwrap_or(usize::MAX))
}

/// Makes the allocator of this process keep little memory that is free, where the allocator has such an option.
pub fn keep_little_memory() {
    sys::keep_little_memory();
}

/// A write past the limit on the size of files (`ulimit -f`) fails from now on, as one to a full disk does. By default
/// it ends the process (setrlimit(2), SIGXFSZ).
pub fn survive_file_size_limit() {
    sys::ignore_signal(libc::SIGXFSZ);
}

/// Ignores the signals that would end the process and ask nothing of a server.
pub fn ignore_stray_signals() {
    for signal in [libc::SIGUSR1, libc::SIGUSR2, libc::SIGALRM, libc::SIGVTALRM, libc::SIGPROF, libc::SIGIO] {
        sys::ignore_signal(signal);
    }
}

/// Ignores SIGHUP.
pub fn ignore_hangup() {
    sys::ignore_signal(libc::SIGHUP);
}

/// True if the process was started with SIGHUP ignored, as `nohup` does; a handler would undo that.
pub fn ignores_hangup() -> bool {
    ignores(1)
}

/// True if the process was started with SIGINT ignored, as shells do in the background of a script.
pub fn ignores_interrupt() -> bool {
    ignores(2)
}

fn ignores(signal: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    // Bit 0 is signal 1 (proc_pid_status(5)).
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 << (signal - 1) != 0)
}

/// Bytes that cannot be guessed.
#[cfg(target_os = "linux")]
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    use rustix::rand::{GetRandomFlags, getrandom};
    let mut bytes = [0; N];
    let mut done = 0;
    while done < N {
        done += rustix::io::retry_on_intr(|| getrandom(&mut bytes[done..], GetRandomFlags::empty()))?;
    }
    Ok(bytes)
}

/// Bytes that cannot be guessed.
#[cfg(not(target_os = "linux"))]
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    use std::io::Read as _;
    let mut bytes = [0; N];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The machine, which keeps this over restarts (machine-id(5)); `None` where it has none.
pub fn machine_id() -> Option<[u8; 16]> {
    id_in("/etc/machine-id")
}

/// The run of the kernel, another after each restart of the machine; `None` where it is not known.
pub fn boot_id() -> Option<[u8; 16]> {
    id_in("/proc/sys/kernel/random/boot_id")
}

/// When the process started, in ticks since the kernel did (proc_pid_stat(5), field 22); `None` where it is not known.
pub fn start_ticks() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is a name, which may have spaces.
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(22 - 3)?.parse().ok()
}

/// 32 hex digits, with or without dashes.
fn id_in(path: &str) -> Option<[u8; 16]> {
    let digits: String = std::fs::read_to_string(path).ok()?.trim().chars().filter(|c| *c != '-').collect();
    (digits.len() == 32).then(|| u128::from_str_radix(&digits, 16).ok()).flatten().map(u128::to_be_bytes)
}
