//! The one integration binary.
mod golden;
mod name_choice;
mod rig;
