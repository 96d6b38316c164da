//! What the caller of a listing may do, for the page and for programs.

use std::net::IpAddr;

use crate::access::{Access, Caller, Rights};
use crate::counters::Health;
use crate::dialect::protocol::Context;
use crate::object::Key;

const READING: Rights = Rights::READ.with(Rights::LIST);

/// The rights of the caller in a directory, and at its names.
pub(super) struct May<'a> {
    in_dir: Rights,
    /// What the store can do now.
    possible: Rights,
    /// Where there are rules under the directory, what decides at its names.
    names: Option<(&'a Access, Caller, IpAddr)>,
}

impl<'a> May<'a> {
    pub(super) fn new(dir: &Key, context: &Context<'a>) -> Self {
        let possible = if context.counters.health == Health::Good { Rights::ALL } else { READING };
        let differs = context.access.rules().is_some_and(|rules| rules.has_rule_under(dir));
        let names = differs.then(|| (context.access, context.caller.clone(), context.client));
        Self { in_dir: context.rights(dir).and(possible), possible, names }
    }

    #[cfg(test)]
    pub(super) const fn everywhere(rights: Rights) -> Self {
        Self { in_dir: rights, possible: rights, names: None }
    }

    pub(super) const fn in_dir(&self) -> Rights {
        self.in_dir
    }

    /// The rights at a name of the directory, where they are others than in the directory.
    pub(super) fn at(&self, dir: &Key, name: &str) -> Option<Rights> {
        let (access, caller, from) = self.names.as_ref()?;
        let rights = access.rights(caller, *from, &dir.child(name)).and(self.possible);
        (rights != self.in_dir).then_some(rights)
    }
}
