//! System calls (seccomp(2)): a list of those that a running server makes. All others fail with EPERM, and those with
//! which an intruder would continue end the process.
//!
//! A filter sees numbers, not memory: which files are opened is for Landlock to decide.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpArgLen::Qword, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, apply_filter,
};

/// System calls, each with the rules one of which its arguments must follow; without rules, always.
type Calls = BTreeMap<i64, Vec<SeccompRule>>;

/// Files and directories.
#[rustfmt::skip]
const FILES: &[c_long] = &[
    libc::SYS_close, libc::SYS_close_range, libc::SYS_copy_file_range, libc::SYS_dup, libc::SYS_dup3,
    libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_fadvise64, libc::SYS_fallocate,
    libc::SYS_fchown, libc::SYS_fdatasync, libc::SYS_fgetxattr, libc::SYS_flistxattr,
    libc::SYS_flock, libc::SYS_fremovexattr, libc::SYS_fsetxattr, libc::SYS_fstat, libc::SYS_fstatfs, libc::SYS_fsync,
    libc::SYS_ftruncate, libc::SYS_getdents64, libc::SYS_inotify_add_watch, libc::SYS_inotify_init1,
    libc::SYS_inotify_rm_watch, libc::SYS_linkat, libc::SYS_lseek, libc::SYS_mkdirat, libc::SYS_name_to_handle_at,
    libc::SYS_newfstatat, libc::SYS_openat, libc::SYS_openat2, libc::SYS_pread64, libc::SYS_preadv, libc::SYS_preadv2,
    libc::SYS_pwrite64, libc::SYS_pwritev, libc::SYS_pwritev2, libc::SYS_read, libc::SYS_readahead,
    libc::SYS_readlinkat, libc::SYS_readv, libc::SYS_renameat2, libc::SYS_splice, libc::SYS_statfs, libc::SYS_statx,
    SYNC_FILE_RANGE, crate::os::sys::GETXATTRAT, libc::SYS_syncfs, libc::SYS_unlinkat, libc::SYS_write, libc::SYS_writev,
];

/// Connections that are there or that a listener hands over: none is begun, and nothing is bound.
#[rustfmt::skip]
const CONNECTIONS: &[c_long] = &[
    libc::SYS_accept, libc::SYS_accept4, libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2, libc::SYS_eventfd2, libc::SYS_getpeername, libc::SYS_getsockname, libc::SYS_getsockopt,
    libc::SYS_pipe2, libc::SYS_ppoll, libc::SYS_recvfrom, libc::SYS_recvmsg, libc::SYS_sendfile, libc::SYS_sendmsg,
    libc::SYS_sendto, libc::SYS_setsockopt, libc::SYS_shutdown,
];

/// Threads, memory, signals and clocks, as the standard library and libc use them.
#[rustfmt::skip]
const RUNTIME: &[c_long] = &[
    libc::SYS_brk, libc::SYS_clock_getres, libc::SYS_clock_gettime, libc::SYS_clock_nanosleep, libc::SYS_exit,
    libc::SYS_exit_group, libc::SYS_futex, libc::SYS_getcwd, libc::SYS_getegid, libc::SYS_geteuid, libc::SYS_getgid,
    libc::SYS_getpid, libc::SYS_getpriority, libc::SYS_getrandom, libc::SYS_getrusage, libc::SYS_gettid,
    libc::SYS_gettimeofday, libc::SYS_getuid, libc::SYS_madvise, libc::SYS_membarrier, libc::SYS_mremap,
    libc::SYS_munmap, libc::SYS_nanosleep, libc::SYS_restart_syscall, libc::SYS_rseq, libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_rt_sigtimedwait, libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield, libc::SYS_set_robust_list, libc::SYS_sigaltstack, libc::SYS_sysinfo, libc::SYS_umask,
    libc::SYS_uname,
    // Answered by `LACKING` before.
    libc::SYS_clone3,
];

/// Older numbers for some of these, which only this processor has and not every libc avoids.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const OLDER: &[c_long] = &[
    libc::SYS_access, libc::SYS_dup2, libc::SYS_epoll_create, libc::SYS_epoll_wait, libc::SYS_link, libc::SYS_lstat,
    libc::SYS_mkdir, libc::SYS_open, libc::SYS_pipe, libc::SYS_poll, libc::SYS_readlink, libc::SYS_rename,
    libc::SYS_renameat, libc::SYS_rmdir, libc::SYS_select, libc::SYS_stat, libc::SYS_time, libc::SYS_unlink,
];
/// `renameat`.
#[cfg(target_arch = "aarch64")]
const OLDER: &[c_long] = &[38];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const OLDER: &[c_long] = &[];

/// Not every libc has the name for this processor.
#[cfg(target_arch = "aarch64")]
const SYNC_FILE_RANGE: c_long = 84;
#[cfg(not(target_arch = "aarch64"))]
const SYNC_FILE_RANGE: c_long = libc::SYS_sync_file_range;

/// libc starts a thread with `clone` where the kernel does not know this one; a filter cannot see its flags.
const LACKING: &[c_long] = &[libc::SYS_clone3];

/// No mistake leads to these.
#[rustfmt::skip]
const DEADLY: &[c_long] = &[
    libc::SYS_add_key, libc::SYS_bpf, libc::SYS_chroot, libc::SYS_delete_module, libc::SYS_execve, libc::SYS_execveat,
    libc::SYS_finit_module, libc::SYS_fsconfig, libc::SYS_fsmount, libc::SYS_fsopen, libc::SYS_fspick,
    libc::SYS_init_module, libc::SYS_kexec_load, libc::SYS_keyctl, libc::SYS_mount, libc::SYS_mount_setattr,
    libc::SYS_move_mount, libc::SYS_open_by_handle_at, libc::SYS_open_tree, libc::SYS_perf_event_open,
    libc::SYS_pivot_root, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_ptrace, libc::SYS_reboot,
    libc::SYS_request_key, libc::SYS_setns, libc::SYS_swapoff, libc::SYS_swapon, libc::SYS_umount2, libc::SYS_unshare,
    libc::SYS_userfaultfd,
];

/// What `ioctl` may ask: about sockets, terminals, and the extents and flags of a file.
const REQUESTS: &[u32] = &[
    libc::FIONBIO as u32,
    libc::FIONREAD as u32,
    libc::TIOCOUTQ as u32,
    libc::TCGETS as u32,
    libc::TIOCGWINSZ as u32,
    crate::os::sys::FIEMAP,
    libc::FS_IOC_GETFLAGS as u32,
];

/// What `fcntl` may ask: copies of a descriptor, and its flags. Nothing that sends signals (`F_SETOWN`, `F_SETSIG`).
const DESCRIPTOR_REQUESTS: &[u32] = &[
    libc::F_DUPFD.cast_unsigned(),
    libc::F_DUPFD_CLOEXEC.cast_unsigned(),
    libc::F_GETFD.cast_unsigned(),
    libc::F_SETFD.cast_unsigned(),
    libc::F_GETFL.cast_unsigned(),
    libc::F_SETFL.cast_unsigned(),
];

/// Leaves the calls of a running server to this thread and those that it starts.
pub(super) fn restrict() -> Result<String, String> {
    let filters = filters().map_err(|error| error.to_string())?;
    for filter in &filters {
        apply_filter(filter).map_err(|error| error.to_string())?;
    }
    Ok("seccomp".to_owned())
}

/// In the order in which they are installed: the last one forbids to install more. Of what the filters say about a call,
/// the kernel takes the strictest.
fn filters() -> Result<[BpfProgram; 3], seccompiler::Error> {
    let eperm = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let enosys = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    Ok([
        filter(always(LACKING), SeccompAction::Allow, enosys)?,
        filter(always(DEADLY), SeccompAction::Allow, SeccompAction::KillProcess)?,
        filter(allowed()?, eperm, SeccompAction::Allow)?,
    ])
}

fn filter(calls: Calls, others: SeccompAction, these: SeccompAction) -> Result<BpfProgram, seccompiler::Error> {
    let arch = std::env::consts::ARCH.try_into()?;
    Ok(SeccompFilter::new(calls, others, these, arch)?.try_into()?)
}

fn always(calls: &[c_long]) -> Calls {
    calls.iter().map(|call| (number(*call), Vec::new())).collect()
}

/// Numbers of system calls are 32 bits wide on some systems.
#[allow(clippy::useless_conversion, reason = "not where it is narrower")]
fn number(call: c_long) -> i64 {
    i64::from(call)
}

fn allowed() -> Result<Calls, seccompiler::Error> {
    use SeccompCmpOp::{Eq, MaskedEq};
    let rule = |conditions: Vec<_>| -> Result<SeccompRule, seccompiler::Error> { Ok(SeccompRule::new(conditions)?) };
    let arg = |index, op, value: u64| SeccompCondition::new(index, Dword, op, value);
    let one_of = |index, values: &[u32]| -> Result<Vec<SeccompRule>, seccompiler::Error> {
        values.iter().map(|value| rule(vec![arg(index, Eq, u64::from(*value))?])).collect()
    };
    let mut calls: Calls = [FILES, CONNECTIONS, RUNTIME, OLDER].into_iter().flat_map(always).collect();
    let no_code = vec![rule(vec![arg(2, MaskedEq(PROT_EXEC), 0)?])?];
    // A thread of this process, not another process.
    let thread = libc::CLONE_THREAD.cast_unsigned().into();
    let thread = SeccompCondition::new(0, Qword, MaskedEq(thread), thread)?;
    let own_pid = rustix::process::getpid().as_raw_nonzero().get().cast_unsigned();
    for (call, rules) in [
        (libc::SYS_mmap, no_code.clone()),
        (libc::SYS_mprotect, no_code),
        (libc::SYS_clone, vec![rule(vec![thread])?]),
        (libc::SYS_ioctl, one_of(1, REQUESTS)?),
        (libc::SYS_fcntl, one_of(1, DESCRIPTOR_REQUESTS)?),
        (libc::SYS_fchmod, vec![rule(vec![arg(1, MaskedEq(libc::S_ISUID.into()), 0)?])?]),
        // Of an open file: Landlock lets the times of all others be set.
        (libc::SYS_utimensat, vec![rule(vec![SeccompCondition::new(1, Qword, Eq, 0)?])?]),
        // The name of a thread, and glibc's names of memory.
        (libc::SYS_prctl, one_of(0, &[libc::PR_SET_NAME.cast_unsigned(), libc::PR_SET_VMA.cast_unsigned()])?),
        // The process ends itself.
        (libc::SYS_tgkill, one_of(0, &[own_pid])?),
        // Of the calling thread, and limits of this process.
        (libc::SYS_setpriority, vec![rule(vec![arg(0, Eq, libc::PRIO_PROCESS as u64)?, arg(1, Eq, 0)?])?]),
        (libc::SYS_prlimit64, one_of(0, &[0, own_pid])?),
    ] {
        calls.insert(number(call), rules);
    }
    Ok(calls)
}

const PROT_EXEC: u64 = libc::PROT_EXEC as u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_can_be_built_and_are_short_enough_for_the_kernel() {
        let filters = filters().expect("they are right");
        let len = filters.iter().map(Vec::len).sum::<usize>();
        assert!(len < 2000, "{len} instructions");
    }

    #[test]
    fn nothing_is_both_allowed_and_deadly() {
        let allowed = allowed().expect("they are right");
        assert!(DEADLY.iter().all(|call| !allowed.contains_key(&number(*call))));
        for call in [
            libc::SYS_socket,
            libc::SYS_socketpair,
            libc::SYS_connect,
            libc::SYS_bind,
            libc::SYS_listen,
            libc::SYS_kill,
            libc::SYS_io_uring_setup,
        ] {
            assert!(!allowed.contains_key(&number(call)), "{call}");
        }
    }
}
