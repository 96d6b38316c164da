//! Which uploads are kept, how much of the bounds they take, and whether another may be made.
//!
//! In memory only, and made from the directory at start; the records are what counts.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use crate::config::Fixed;
use crate::error::{Failure, StoreError};
use crate::ids::ClientAddress;
use crate::store::quota::ledger::Holding;
use crate::store::resumable::attachment::Attachment;
use crate::upload::UploadId;

/// Memory of one upload that is kept, for the accounting: nodes of a B-tree are half full at worst.
pub const ENTRY_BYTES: usize = 2 * (size_of::<UploadId>() + size_of::<Entry>()) + 64;

/// Clients that have proved a name keep this part of the places: addresses cost nothing.
const NAMES_DIVISOR: usize = 8;
/// How often the same upload may be a part of a join: a client with a wrong digest, or that was cut off, tries again.
const JOINS_MAX: u8 = 8;
const JOINED_TOO_OFTEN: Failure = Failure::Conflict("its parts were joined too often: cancel them and send them again");

#[derive(Debug)]
pub(crate) struct Index {
    entries: BTreeMap<UploadId, Entry>,
    bounds: Bounds,
    /// Counts the passes over the directory.
    pass: u64,
}

#[derive(Clone, Copy, Debug)]
struct Bounds {
    count: usize,
    count_per_client: usize,
    /// Of clients that have proved no name, together.
    count_of_addresses: usize,
    bytes: u64,
    bytes_per_client: u64,
}

/// What the bounds count of one upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) client: ClientAddress,
    /// What it has; 0 for one that is complete or has expired.
    pub(crate) bytes: u64,
    /// False for one that is kept only so that its end can still be asked for.
    pub(crate) is_unfinished: bool,
    pub(crate) expires_s: u64,
}

#[derive(Debug)]
pub(crate) struct Entry {
    share: Share,
    attached: Weak<Attachment>,
    /// The sequence number up to which its record is known to be durable.
    durable: u64,
    seen: u64,
    /// How often others were concatenated from it.
    joins: u8,
    /// What it holds of quotas, while it is unfinished.
    holding: Option<Arc<Holding>>,
}

impl Index {
    pub(crate) fn new(limits: &Fixed) -> Self {
        let bounds = Bounds {
            count: limits.uploads_kept_max,
            count_per_client: limits.address_share(limits.uploads_kept_max),
            count_of_addresses: limits.uploads_kept_max - limits.uploads_kept_max / NAMES_DIVISOR,
            bytes: limits.uploads_kept_bytes_max,
            bytes_per_client: limits.address_share_bytes(limits.uploads_kept_bytes_max),
        };
        Self { entries: BTreeMap::new(), bounds, pass: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn contains(&self, id: UploadId) -> bool {
        self.entries.contains_key(&id)
    }

    pub(crate) fn attached(&self, id: UploadId) -> Option<Arc<Attachment>> {
        self.entries.get(&id)?.attached.upgrade()
    }

    pub(crate) fn has_attached(&self) -> bool {
        self.entries.values().any(|entry| entry.attached.strong_count() > 0)
    }

    /// Counts an upload that is about to be made. Returns the one that is to be forgotten for it, if any.
    pub(crate) fn admit(&mut self, id: UploadId, share: Share) -> Result<Option<UploadId>, StoreError> {
        self.check_bytes(id, share)?;
        let clients = || self.entries.values().map(|entry| entry.share).filter(|share| share.is_unfinished);
        let of_client = clients().filter(|other| other.client == share.client).count();
        let is_new = !self.entries.contains_key(&id);
        if is_new && of_client >= self.bounds.count_per_client {
            return Err(StoreError::refused(Failure::Busy, "uploads kept for one client"));
        }
        let of_addresses = || clients().filter(|other| !other.client.is_name()).count();
        if is_new && !share.client.is_name() && of_addresses() >= self.bounds.count_of_addresses {
            return Err(StoreError::refused(Failure::Busy, "uploads kept for clients without a name"));
        }
        let mut forgotten = None;
        if is_new && self.entries.len() >= self.bounds.count {
            let ended = self.entries.iter().filter(|(_, entry)| !entry.share.is_unfinished);
            forgotten = ended.min_by_key(|(_, entry)| entry.share.expires_s).map(|(id, _)| *id);
            let Some(oldest) = forgotten else {
                return Err(StoreError::refused(Failure::Busy, "uploads kept"));
            };
            self.entries.remove(&oldest);
        }
        self.put(id, share);
        // The record of another upload may have had this id before.
        self.is_durable(id, 0);
        Ok(forgotten)
    }

    /// Refuses what would take the bytes that are kept over their bounds.
    pub(crate) fn check_bytes(&self, id: UploadId, share: Share) -> Result<(), StoreError> {
        let others = || self.entries.iter().filter(|(other, _)| **other != id).map(|(_, entry)| entry.share);
        let sum = |shares: &mut dyn Iterator<Item = Share>| {
            shares.fold(share.bytes, |sum, other| sum.saturating_add(other.bytes))
        };
        let all = sum(&mut others());
        let of_client = sum(&mut others().filter(|other| other.client == share.client));
        if all > self.bounds.bytes || of_client > self.bounds.bytes_per_client {
            return Err(StoreError::refused(Failure::NoSpace, "bytes of uploads kept"));
        }
        Ok(())
    }

    /// An upload has this number of bytes now.
    pub(crate) fn grow(&mut self, id: UploadId, bytes: u64) -> Result<(), StoreError> {
        let Some(entry) = self.entries.get(&id) else { return Ok(()) };
        let share = Share { bytes, ..entry.share };
        self.check_bytes(id, share)?;
        self.put(id, share);
        Ok(())
    }

    /// An upload has its final name, or its time is over.
    pub(crate) fn ended(&mut self, id: UploadId, expires_s: u64) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.share = Share { bytes: 0, is_unfinished: false, expires_s, ..entry.share };
            entry.holding = None;
        }
    }

    /// What is on the disk counts whether the bounds permit it or not.
    pub(crate) fn put(&mut self, id: UploadId, share: Share) {
        let seen = self.pass;
        let entry = self.entries.entry(id).or_insert(Entry {
            share,
            attached: Weak::new(),
            durable: 0,
            seen,
            joins: 0,
            holding: None,
        });
        entry.share = share;
        entry.seen = seen;
        if !share.is_unfinished {
            entry.holding = None;
        }
    }

    /// A pass has found it. Where there are more than the bounds permit, the others only count once they are opened: no
    /// more are made meanwhile.
    pub(crate) fn found(&mut self, id: UploadId, share: Share) {
        if self.contains(id) || self.entries.len() < self.bounds.count {
            self.put(id, share);
        }
    }

    /// A connection is attached.
    pub(crate) fn attach(&mut self, id: UploadId, share: Share, attached: &Arc<Attachment>) {
        self.put(id, share);
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.attached = Arc::downgrade(attached);
        }
    }

    /// What an upload holds of quotas from now on, until it has ended.
    pub(crate) fn hold(&mut self, id: UploadId, holding: Option<Arc<Holding>>) {
        if let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.share.is_unfinished) {
            entry.holding = holding;
        }
    }

    pub(crate) fn holding(&self, id: UploadId) -> Option<Arc<Holding>> {
        self.entries.get(&id)?.holding.clone()
    }

    /// Refuses to join from parts that were joined too often: each time all of their bytes are copied.
    pub(crate) fn check_joins(&self, parts: &[UploadId]) -> Result<(), StoreError> {
        let is_over = |id: &UploadId| self.entries.get(id).is_some_and(|entry| entry.joins >= JOINS_MAX);
        match parts.iter().any(is_over) {
            true => Err(StoreError::refused(JOINED_TOO_OFTEN, "join")),
            false => Ok(()),
        }
    }

    /// Another upload is being concatenated from these.
    pub(crate) fn count_join(&mut self, parts: &[UploadId]) {
        for id in parts {
            if let Some(entry) = self.entries.get_mut(id) {
                entry.joins = entry.joins.saturating_add(1);
            }
        }
    }

    /// The record is durable up to this sequence number. Called under its lock.
    pub(crate) fn is_durable(&mut self, id: UploadId, sequence: u64) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.durable = sequence;
        }
    }

    pub(crate) fn durable(&self, id: UploadId) -> u64 {
        self.entries.get(&id).map_or(0, |entry| entry.durable)
    }

    pub(crate) fn remove(&mut self, id: UploadId) {
        self.entries.remove(&id);
    }

    pub(crate) fn begin_pass(&mut self) {
        self.pass += 1;
    }

    /// Forgets what a whole pass over the directory has not found.
    pub(crate) fn end_pass(&mut self) {
        let pass = self.pass;
        self.entries.retain(|_, entry| entry.seen == pass || entry.attached.strong_count() > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(client: u128, bytes: u64) -> Share {
        Share { client: ClientAddress::from_bits(client), bytes, is_unfinished: true, expires_s: 100 }
    }

    fn id(n: u8) -> UploadId {
        UploadId([n; 16])
    }

    fn index(count: usize, bytes: u64) -> Index {
        Index::new(&Fixed { uploads_kept_max: count, uploads_kept_bytes_max: bytes, ..Fixed::default() })
    }

    fn refusal(index: &mut Index, n: u8, share: Share) -> Option<Failure> {
        index.admit(id(n), share).err().map(|error| error.failure)
    }

    #[test]
    fn a_client_may_have_its_share_of_number_and_bytes_and_all_together_no_more_than_there_is() {
        let mut index = index(4, 1000);
        assert_eq!(refusal(&mut index, 1, share(1, 300)), None);
        assert_eq!(refusal(&mut index, 2, share(1, 201)), Some(Failure::NoSpace), "half is for others");
        assert_eq!(refusal(&mut index, 2, share(1, 200)), None);
        assert_eq!(refusal(&mut index, 3, share(1, 0)), Some(Failure::Busy), "two of four");
        assert_eq!(refusal(&mut index, 3, share(2, 400)), None);
        assert_eq!(refusal(&mut index, 4, share(3, 101)), Some(Failure::NoSpace));
        assert_eq!(refusal(&mut index, 4, share(3, 100)), None);
        assert_eq!(refusal(&mut index, 5, share(4, 0)), Some(Failure::Busy));
        index.remove(id(1));
        assert_eq!(refusal(&mut index, 5, share(1, 300)), None);
    }

    #[test]
    fn nothing_of_the_record_of_an_earlier_upload_with_the_same_id_counts_as_durable() {
        let mut index = index(4, 1000);
        assert_eq!(refusal(&mut index, 1, share(1, 1)), None);
        index.is_durable(id(1), 7);
        assert_eq!(index.durable(id(1)), 7);
        assert_eq!(refusal(&mut index, 1, share(1, 1)), None);
        assert_eq!(index.durable(id(1)), 0);
    }

    #[test]
    fn clients_without_a_name_leave_places_to_those_with_one() {
        let mut index = index(16, 1000);
        for n in 0..14 {
            assert_eq!(refusal(&mut index, n, share(1 + u128::from(n) % 2, 0)), None);
        }
        for address in 1..100 {
            assert_eq!(refusal(&mut index, 20, share(address, 0)), Some(Failure::Busy));
        }
        for (n, name) in [(20, "anna"), (21, "ben")] {
            let client = ClientAddress::of_name(name);
            assert_eq!(refusal(&mut index, n, Share { client, ..share(0, 0) }), None);
        }
        let more = ClientAddress::of_name("eve");
        assert_eq!(refusal(&mut index, 22, Share { client: more, ..share(0, 0) }), Some(Failure::Busy));
    }

    #[test]
    fn of_those_that_have_ended_the_oldest_makes_place() {
        let mut index = index(3, 1000);
        for (n, expires_s) in [(1, 30), (2, 10), (3, 20)] {
            index.put(id(n), Share { is_unfinished: false, expires_s, ..share(1, 0) });
        }
        assert_eq!(index.admit(id(4), share(1, 1)).expect("there is place"), Some(id(2)));
        assert!(!index.contains(id(2)) && index.contains(id(4)));
        assert_eq!(index.admit(id(4), share(1, 2)).expect("it is there"), None);
    }

    #[test]
    fn more_than_the_bounds_permit_are_not_held_in_memory() {
        let mut index = index(2, 1000);
        for n in 1..=3 {
            index.found(id(n), share(n.into(), 1));
        }
        assert_eq!(index.entries.len(), 2);
        assert_eq!(refusal(&mut index, 4, share(4, 1)), Some(Failure::Busy));
        index.found(id(1), share(1, 5));
        assert_eq!(index.entries[&id(1)].share.bytes, 5);
    }

    #[test]
    fn a_pass_forgets_what_it_has_not_found() {
        let mut index = index(9, 1000);
        index.put(id(1), share(1, 1));
        index.put(id(2), share(1, 1));
        index.begin_pass();
        index.put(id(2), share(1, 1));
        index.end_pass();
        assert!(!index.contains(id(1)) && index.contains(id(2)));
    }
}
