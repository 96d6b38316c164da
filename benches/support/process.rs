//! A process seen from outside, through `/proc`: memory, threads, CPU time of all threads. And the
//! own limit of descriptors.

use std::fs;
use std::time::Duration;

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
    number(&text, name)
}

/// Proportional share of memory, in KiB.
pub fn pss(pid: u32) -> u64 {
    fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).map_or(0, |text| number(&text, "Pss:"))
}

fn number(text: &str, name: &str) -> u64 {
    let line = text.lines().find(|line| line.starts_with(name)).expect("the kernel tells");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

/// CPU time of every thread that lives, user and kernel together.
pub fn cpu(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives");
    let ns: u64 = tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
        .sum();
    Duration::from_nanos(ns)
}

/// A folder for one check, beneath `FILEWHARF_CHECK_DIR` or else `otherwise`: set it to measure
/// another file system.
pub fn folder(otherwise: &str) -> tempfile::TempDir {
    let beneath = std::env::var_os("FILEWHARF_CHECK_DIR").unwrap_or_else(|| otherwise.into());
    tempfile::tempdir_in(beneath).expect("a folder can be made there")
}
