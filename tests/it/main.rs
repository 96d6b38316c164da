//! The one integration binary.
mod golden;
mod rig;
