//! The one integration binary.
mod golden;
mod name_size;
mod rig;
