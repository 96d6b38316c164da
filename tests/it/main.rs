//! The one integration binary.
mod golden;
mod length_prefix;
mod rig;
