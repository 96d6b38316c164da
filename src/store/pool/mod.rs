//! The worker threads: their queues, the jobs, and changes that share their syncs.

pub(crate) mod batch;
pub(crate) mod group_commit;
pub(crate) mod jobs;
pub(crate) mod workers;
