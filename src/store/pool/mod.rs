//! The worker threads: their queues, the jobs, and changes that share their syncs.

pub(crate) mod batch;
pub(crate) mod completions;
pub(crate) mod copies;
pub(crate) mod copying;
pub(crate) mod group_commit;
pub(crate) mod growing;
pub(crate) mod jobs;
pub(crate) mod latency;
pub(crate) mod look;
pub(crate) mod mounted;
pub(crate) mod route;
pub(crate) mod serve;
pub(crate) mod shared;
pub(crate) mod sorting;
pub(crate) mod sortings;
pub(crate) mod sync_groups;
pub(crate) mod workers;
