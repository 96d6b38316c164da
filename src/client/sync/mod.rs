//! What makes one directory equal to another: a plan, made of two sorted listings. Never changes anything, and never
//! speaks to a server.
//!
//! [`Walk`] lists a local directory in the order in which a server lists its own; [`Merge`] compares two such listings and
//! writes what is to be done into a [`Draft`]; [`Draft::finish`] finds files that were moved, and gives the [`Plan`].

mod blocks;
mod draft;
mod item;
mod merge;
mod moves;
mod plan;
mod spool;
mod walk;

#[cfg(test)]
mod tests;

pub(crate) use blocks::{Block, BlockSum, Page, Remote, compare};
pub(crate) use draft::{Draft, Hash, MOVED_MAX};
pub(crate) use item::{Facts, Item, Node, PlanError};
pub(crate) use merge::{Merge, Rules, Sink};
pub(crate) use plan::{Action, Change, Plan, Stage, Totals};
pub(crate) use walk::{Walk, digest, version_in};
