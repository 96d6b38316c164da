//! Which process writes an upload: machine, boot and process start.

use sha2::{Digest as _, Sha256};

use crate::os::process;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) machine: [u8; 16],
    /// The run of its kernel. What was never synced survives the process, but not this.
    pub(crate) boot: [u8; 16],
    pub(crate) process: u64,
    pub(crate) started: u64,
}

impl Owner {
    /// This process.
    pub(crate) fn this() -> Self {
        let process = u64::from(rustix::process::getpid().as_raw_nonzero().get().unsigned_abs());
        let started = process::start_ticks().unwrap_or_else(process::unix_time);
        let machine = process::machine_id().unwrap_or_else(|| {
            let digest: [u8; 32] = Sha256::digest(process::machine_name()).into();
            first_half(digest)
        });
        // Where boots are not distinguished, each process counts as one: then nothing is taken for safe that is not.
        let boot = process::boot_id().unwrap_or_else(|| {
            let number = u128::from(process::unix_time()) << 64 | u128::from(process);
            number.to_be_bytes()
        });
        Self { machine, boot, process, started }
    }

    /// True if both ran under one kernel since it started, so that its page cache and its locks are those of both.
    pub(crate) fn shares_kernel_with(&self, other: &Self) -> bool {
        self.machine == other.machine && self.boot == other.boot
    }
}

fn first_half(digest: [u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_the_same_owner_whenever_it_is_asked() {
        let owner = Owner::this();
        assert_eq!(owner, Owner::this());
        assert_ne!(owner.boot, [0; 16]);
        assert!(owner.shares_kernel_with(&Owner { process: 1, ..owner }));
        assert!(!owner.shares_kernel_with(&Owner { boot: [1; 16], ..owner }));
    }
}
