//! A process seen from outside, through `/proc`: memory, threads, CPU time of all threads. And the
//! own limit of descriptors.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Programs that are started from now on can get this signal, also where the tests are to ignore it (nohup, a
/// job in the background): what is ignored stays so in exec(2), a handler does not. It ends the tests as before.
pub fn can_be_sent(signal: i32) {
    let ends = Arc::new(AtomicBool::new(true));
    signal_hook::flag::register_conditional_default(signal, ends).expect("a handler can be set");
}

/// Raises the soft limit of open files to the hard one; returns it.
pub fn raise_descriptors() -> usize {
    filewharf::os::process::raise_descriptor_limit()
}

/// Raises the limit; says so and returns false where it does not do.
pub fn permits(descriptors: usize, what: &str) -> bool {
    let have = raise_descriptors();
    if have < descriptors {
        println!("{what}: skipped, needs {descriptors} descriptors and may have {have}");
    }
    have >= descriptors
}

/// A number of `/proc/PID/status`, in KiB where it is memory.
pub fn status(pid: u32, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    number(&text, name).expect("the kernel tells")
}

/// The same in bytes; 0 of a process that has ended.
pub fn bytes(pid: u32, name: &str) -> u64 {
    fs::read_to_string(format!("/proc/{pid}/status")).map_or(0, |text| number(&text, name).unwrap_or(0) * 1024)
}

/// Memory that the kernel holds for TCP sockets of the whole machine, in bytes.
pub fn socket_memory() -> u64 {
    let text = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    let tcp = text.lines().find_map(|line| line.strip_prefix("TCP:")).unwrap_or_default();
    let pages = tcp.split_whitespace().skip_while(|word| *word != "mem").nth(1);
    let maps = fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    let page = number(&maps, "KernelPageSize:").unwrap_or(4) * 1024;
    pages.and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * page
}

/// Proportional share of memory, in KiB.
pub fn pss(pid: u32) -> u64 {
    fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        .map_or(0, |text| number(&text, "Pss:").expect("the kernel tells"))
}

fn number(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// CPU time of every thread that lives, user and kernel together.
pub fn cpu(pid: u32) -> Duration {
    // A process or thread may end while it is looked at; what it used is then not counted.
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Duration::ZERO };
    let ns: u64 = tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
        .sum();
    Duration::from_nanos(ns)
}

/// CPU time of a process with that of threads that ended, in steps of 10 ms.
pub fn cpu_with_ended(pid: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // After the name, which may hold anything, stand 11 fields before user and system time (proc_pid_stat(5)).
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(10 * ticks)
}

/// How long the threads that live have waited for a core.
pub fn waited_for_core(pid: u32) -> Duration {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Duration::ZERO };
    let ns: u64 = tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').nth(1)?.parse::<u64>().ok())
        .sum();
    Duration::from_nanos(ns)
}

/// True if no thread of the process runs, or waits for a core or a disk.
pub fn is_asleep(pid: u32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().filter_map(Result::ok);
    // The state stands after the name, which may hold anything (proc_pid_stat(5)).
    let is_awake = |stat: &str| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['R', 'D']));
    !tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok()).any(|stat| is_awake(&stat))
}

/// A process and all that it started, and they.
pub fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut at = 0;
    while at < all.len() {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", all[at])).unwrap_or_default();
        all.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        at += 1;
    }
    all
}

/// From now on the peak of a process's memory is counted again.
pub fn forget_peak(pid: u32) {
    // Not permitted everywhere: then the peak is that since its start.
    let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

/// A directory for one check, under `FILEWHARF_CHECK_DIR` or else `otherwise`: set it to measure
/// another file system.
pub fn dir(otherwise: &str) -> tempfile::TempDir {
    let parent = std::env::var_os("FILEWHARF_CHECK_DIR").unwrap_or_else(|| otherwise.into());
    tempfile::tempdir_in(parent).expect("a folder can be made there")
}
