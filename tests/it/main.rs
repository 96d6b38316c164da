//! The one integration binary.
mod golden;
mod rig;

// Slow checks that print figures; they are ignored unless asked for.
mod busy;
mod crowd;
mod durable;
mod storm;
#[path = "../../benches/support/mod.rs"]
mod support;
