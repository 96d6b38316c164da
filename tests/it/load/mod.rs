//! Slow checks that print figures: crowds, storms, large directories, busy disks, reloads, hand-overs. Ignored unless asked for.

mod beside_rsync;
mod big_directory;
mod busy_disk;
mod crowd;
mod durable;
mod handovers;
mod hostile;
mod kills;
mod reloads;
mod shares;
