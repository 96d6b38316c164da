//! The few system calls that no safe wrapper offers. The only file with `unsafe`.
//!
//! Every function here takes borrowed descriptors and plain numbers and lends the kernel no memory
//! of its caller for longer than the call, so nothing a caller does can break memory safety.
#![allow(unsafe_code, reason = "rustix has no wrapper for these calls; each block says why it is sound")]

use std::ffi::CStr;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::fd::BorrowedFd;

/// Starts writing a range of a file to the disk and waits for nothing. Reports no failed
/// write-back and takes none away from the sync that follows, so its result is only a hint.
#[cfg(target_os = "linux")]
pub(crate) fn start_write_back(file: BorrowedFd<'_>, len: u64) {
    let Ok(len) = i64::try_from(len) else { return };
    // SAFETY: the descriptor is open for as long as the borrow lasts, and no memory is passed.
    let _ = unsafe { libc::sync_file_range(file.as_raw_fd(), 0, len, libc::SYNC_FILE_RANGE_WRITE) };
}

/// Looks at many descriptors at once, which need not be open, without waiting (poll(2)). False if that failed.
pub(crate) fn poll_now(polled: &mut [libc::pollfd]) -> bool {
    let Ok(len) = polled.len().try_into() else { return false };
    // SAFETY: the slice is borrowed for the call and has so many entries; a descriptor is only a number here.
    unsafe { libc::poll(polled.as_mut_ptr(), len, 0) >= 0 }
}

/// The descriptor that mio waits at, which it does not lend.
pub(crate) fn descriptor_of(poll: &mio::Poll) -> BorrowedFd<'_> {
    // SAFETY: the descriptor belongs to the `Poll`, which is borrowed for as long as this is.
    unsafe { BorrowedFd::borrow_raw(poll.as_raw_fd()) }
}

/// Elsewhere the sync does all of it.
#[cfg(not(target_os = "linux"))]
pub(crate) fn start_write_back(_file: BorrowedFd<'_>, _len: u64) {}

/// Starts writing a range of a file to the disk and waits until it is there. Promises nothing
/// about metadata; an error counts as a failed sync, because the kernel reports it only once.
#[cfg(target_os = "linux")]
pub(crate) fn write_back(file: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<()> {
    let range = |n: u64| i64::try_from(n).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: the descriptor is open for as long as the borrow lasts, and no memory is passed.
    let result = unsafe { libc::sync_file_range(file.as_raw_fd(), range(offset)?, range(len)?, flags) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `FS_IOC_FIEMAP` of linux/fs.h.
#[cfg(target_os = "linux")]
pub(crate) const FIEMAP: u32 = 0xC020_660B;

/// Writes a file to the disk and waits until its file system has entered it in its tree (btrfs: its
/// ordered extents are done), without any sync (FIEMAP with `FIEMAP_FLAG_SYNC`, fiemap.rst of the
/// kernel's documentation). Asks where the first byte is, and takes no extents as the answer.
#[cfg(target_os = "linux")]
pub(crate) fn enter_tree(file: BorrowedFd<'_>) -> io::Result<()> {
    /// `struct fiemap` of linux/fiemap.h without extents.
    #[repr(C)]
    struct Fiemap {
        start: u64,
        length: u64,
        flags: u32,
        mapped_extents: u32,
        extent_count: u32,
        reserved: u32,
    }
    const SYNC: u32 = 1;
    const _: () = assert!(libc::_IOWR::<Fiemap>(b'f' as u32, 11) as u32 == FIEMAP);
    let mut map = Fiemap { start: 0, length: 1, flags: SYNC, mapped_extents: 0, extent_count: 0, reserved: 0 };
    // SAFETY: the descriptor is open for as long as the borrow lasts; with space for no extents, the call
    // reads and writes one `struct fiemap` through a pointer to one.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), FIEMAP as _, &raw mut map) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Elsewhere there is no such call.
#[cfg(not(target_os = "linux"))]
pub(crate) fn enter_tree(_file: BorrowedFd<'_>) -> io::Result<()> {
    Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP))
}

/// True if the file at a name of a directory has this extended attribute; a link is not followed (getxattrat(2), since
/// Linux 6.13). Unlike with fgetxattr(2), the file need not be opened, and so not be readable.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn has_attribute(dir: BorrowedFd<'_>, name: &CStr, attribute: &CStr) -> io::Result<bool> {
    /// `struct xattr_args` of linux/xattr.h.
    #[repr(C)]
    struct Args {
        value: u64,
        size: u32,
        flags: u32,
    }
    let (at, args) = (libc::AT_SYMLINK_NOFOLLOW, Args { value: 0, size: 0, flags: 0 });
    let (name, attribute, size) = (name.as_ptr(), attribute.as_ptr(), size_of::<Args>());
    // SAFETY: the descriptor is open, and both strings and the arguments are there, for as long as the call lasts; with
    // a size of 0 it writes nothing.
    let result = unsafe { libc::syscall(GETXATTRAT, dir.as_raw_fd(), name, at, attribute, &raw const args, size) };
    match (result, io::Error::last_os_error()) {
        (0.., _) => Ok(true),
        (_, error) if error.raw_os_error() == Some(libc::ENODATA) => Ok(false),
        (_, error) => Err(error),
    }
}

/// Not every libc has the name.
#[cfg(target_os = "linux")]
pub(crate) const GETXATTRAT: libc::c_long = 464;

/// Elsewhere there is no such call.
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
pub(crate) fn has_attribute(_dir: BorrowedFd<'_>, _name: &CStr, _attribute: &CStr) -> io::Result<bool> {
    Err(io::Error::from_raw_os_error(libc::ENOSYS))
}

/// From now on the process ignores this signal. Says nothing where the number is none.
pub(crate) fn ignore_signal(signal: libc::c_int) {
    // SAFETY: SIG_IGN is no handler, so no code runs when the signal comes.
    unsafe {
        libc::signal(signal, libc::SIG_IGN);
    }
}

/// How often this thread has given up its core because it had to wait for something (getrusage(2),
/// `ru_nvcsw`).
#[cfg(target_os = "linux")]
pub(crate) fn waits_of_this_thread() -> i64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the call fills one `rusage` through a pointer to one; zeroes are a valid `rusage`, so
    // reading it is sound even if the call should fail.
    unsafe {
        libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr());
        usage.assume_init().ru_nvcsw
    }
}

/// Elsewhere it is not known: every slow call counts as one that waited.
#[cfg(not(target_os = "linux"))]
pub(crate) fn waits_of_this_thread() -> i64 {
    use std::sync::atomic::{AtomicI64, Ordering};
    static CALLS: AtomicI64 = AtomicI64::new(0);
    CALLS.fetch_add(1, Ordering::Relaxed)
}

/// Gives free memory of the allocator back to the system (malloc_trim(3)).
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn trim_memory() {
    // SAFETY: the call takes a number, and moves nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Tells the allocator to keep little that is free (mallopt(3)). By default glibc
/// * takes the size of each large piece that is freed for the least that it maps by itself, up to 32 MiB, and so keeps
///   later ones in a heap of each thread that had one: here, pieces of 128 KiB or more are unmapped as they are freed;
/// * gives each thread a heap, up to eight for a core, and what one thread has free no other uses: here, two heaps.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn keep_little_memory() {
    // SAFETY: the call takes numbers, and moves nothing that is in use.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 * 1024);
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}

/// Other allocators decide for themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn keep_little_memory() {}

/// Other allocators decide for themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn trim_memory() {}

/// Connections to this listener are handed over with their first bytes, or after this time without any
/// (tcp(7), TCP_DEFER_ACCEPT). Zero hands them over at once.
#[cfg(target_os = "linux")]
pub(crate) fn defer_accept(listener: BorrowedFd<'_>, time: std::time::Duration) -> io::Result<()> {
    let seconds = libc::c_int::try_from(time.as_secs()).unwrap_or(libc::c_int::MAX);
    // SAFETY: the descriptor is open for as long as the borrow lasts, and the call reads one int through
    // a pointer to one.
    let result = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Elsewhere they are handed over at once.
#[cfg(not(target_os = "linux"))]
pub(crate) fn defer_accept(_listener: BorrowedFd<'_>, _time: std::time::Duration) -> io::Result<()> {
    Ok(())
}

/// Bytes of a socket's send queue that the peer has not acknowledged (tcp(7), SIOCOUTQ).
#[cfg(target_os = "linux")]
pub(crate) fn unacknowledged(socket: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open for as long as the borrow lasts, and the call writes one int
    // through a pointer to one.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 { Ok(usize::try_from(bytes).unwrap_or(0)) } else { Err(io::Error::last_os_error()) }
}

/// Elsewhere it is not known: only the delay that follows separates two messages.
#[cfg(not(target_os = "linux"))]
pub(crate) fn unacknowledged(_socket: BorrowedFd<'_>) -> io::Result<usize> {
    Ok(0)
}

/// Elsewhere the kernel's own write-back has to do.
#[cfg(not(target_os = "linux"))]
pub(crate) fn write_back(_file: BorrowedFd<'_>, _offset: u64, _len: u64) -> io::Result<()> {
    Ok(())
}
