//! Client groups: what counts as one client where connections, slots and bytes are shared out. A group is the name that
//! a client has proved, else its address.
//!
//! An entry is made by the first request or transfer that needs one. It stays while one refers to it, and until its
//! buckets are full again; entries that are not needed any more are removed when there are twice as many as were needed
//! the last time. Never reads a clock and never waits.

mod bucket;

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::time::{Duration, Instant};

use slab::Slab;

use crate::config::{Limits, Live};
use crate::ids::{ClientAddress, GroupId};
use bucket::{Bucket, Rate};

/// Which group a client belongs to.
#[derive(Clone, Copy, Debug)]
pub enum Who<'a> {
    Address(ClientAddress),
    Name(&'a str),
}

/// What the rate of a group bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flow {
    /// Bytes received.
    Up,
    /// Bytes sent.
    Down,
    Requests,
}

/// The name is hashed with a secret: no client can find two names with one hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    who: u128,
    /// 0 for all that the client does, else what stands for a prefix with a rate of its own.
    scope: u64,
}

#[derive(Debug)]
struct Group {
    key: Key,
    refs: u32,
    uploads: u32,
    /// The group of the client: its rates count as well.
    whole: Option<GroupId>,
    rates: [Rate; 2],
    buckets: [Bucket; 3],
}

impl Group {
    fn is_needed(&self, now: Instant) -> bool {
        self.refs > 0 || self.buckets.iter().any(|bucket| !bucket.is_full(now))
    }

    fn set_rates(&mut self, rates: [Rate; 2], now: Instant) {
        for ((bucket, before), after) in self.buckets.iter_mut().zip(self.rates).zip(rates) {
            bucket.change(before, after, now);
        }
        self.rates = rates;
    }
}

#[derive(Debug)]
pub struct Groups {
    groups: Slab<Group>,
    by_key: HashMap<Key, GroupId>,
    names: RandomState,
    groups_max: usize,
    /// Entries are looked through when there are this many.
    sweep_at: usize,
    swept: Instant,
    /// Bytes per second of each group: received and sent.
    rates: [Rate; 2],
    requests: Rate,
    uploads_max: usize,
    is_limited: bool,
    /// Requests that were refused.
    refused: u64,
}

/// Fewer entries are not worth looking through.
const SWEEP_MIN: usize = 64;
/// While the table is full it is looked through no more often.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);
/// When one of the uploads of a client ends is not known: what waits for that tries again.
const UPLOAD_RETRY: Duration = Duration::from_millis(100);
/// Requests that are refused at once are asked to come back at times that differ by this at most.
const JITTER_MS: u64 = 1024;

/// Smallest amount that wakes a waiting transfer.
const fn least(rate: Rate, flow: Flow) -> u64 {
    match flow {
        Flow::Up | Flow::Down => rate.burst() / 8,
        Flow::Requests => 1,
    }
}

impl Groups {
    /// Most bytes of one entry, for the accounting of memory.
    pub const ENTRY_BYTES: usize = 3 * size_of::<(Key, GroupId)>() + 2 * size_of::<Group>();

    pub fn new(limits: &Limits, now: Instant) -> Self {
        let mut groups = Self {
            groups: Slab::new(),
            by_key: HashMap::new(),
            names: RandomState::new(),
            groups_max: limits.fixed.client_groups_max,
            sweep_at: SWEEP_MIN.min(limits.fixed.client_groups_max),
            swept: now,
            rates: [Rate::default(); 2],
            requests: Rate::default(),
            uploads_max: 0,
            is_limited: false,
            refused: 0,
        };
        groups.set_limits(&limits.live, now);
        groups
    }

    /// Other rates from now on. What is in the bucket of a client stays, up to what it then holds.
    pub fn set_limits(&mut self, limits: &Live, now: Instant) {
        let rates = [limits.client_upload_bytes_per_s, limits.client_download_bytes_per_s].map(Rate::of_bytes);
        let before = std::mem::replace(&mut self.requests, Rate::of_requests(limits.client_requests_per_s));
        for (_, group) in &mut self.groups {
            if group.key.scope == 0 {
                group.set_rates(rates, now);
            }
            group.buckets[Flow::Requests as usize].change(before, self.requests, now);
        }
        (self.rates, self.uploads_max) = (rates, limits.client_uploads_max);
        let is_limited = self.requests.is_limited() || rates.iter().any(|rate| rate.is_limited());
        // The rules may limit prefixes.
        self.is_limited |= is_limited || self.uploads_max > 0;
    }

    /// False while no group can be over a limit: then nothing needs to be counted.
    pub const fn is_limited(&self) -> bool {
        self.is_limited
    }

    /// The group of a client, which stays until [`Groups::leave`].
    pub fn join(&mut self, who: Who<'_>, now: Instant) -> GroupId {
        let id = self.find(who, now);
        self.hold(id);
        id
    }

    /// The group of a client, only until the next one is looked up.
    pub fn find(&mut self, who: Who<'_>, now: Instant) -> GroupId {
        let who = match who {
            Who::Address(address) => address.to_bits(),
            Who::Name(name) => {
                let [high, low] = [0_u8, 1].map(|part| self.names.hash_one((part, name)));
                u128::from(high) << 64 | u128::from(low)
            }
        };
        self.entry(Key { who, scope: 0 }, None, self.rates, now)
    }

    /// What a group does under a prefix with a rate of its own, in bytes per second each way. It stays until
    /// [`Groups::leave`].
    pub fn join_scope(&mut self, whole: GroupId, prefix: &str, per_s: u64, now: Instant) -> GroupId {
        self.is_limited = true;
        let key = Key { who: self.groups[whole.index()].key.who, scope: self.names.hash_one(prefix).max(1) };
        let rates = [Rate::of_bytes(per_s); 2];
        self.hold(whole);
        let id = self.entry(key, Some(whole), rates, now);
        let group = &mut self.groups[id.index()];
        // The rules may be others than when the entry was made.
        group.set_rates(rates, now);
        let before = group.whole.replace(whole).filter(|_| group.refs > 0);
        self.hold(id);
        // While the table is full, others have the same entry: it counts for one of them.
        if let Some(before) = before {
            self.leave(before);
        }
        id
    }

    fn entry(&mut self, key: Key, whole: Option<GroupId>, rates: [Rate; 2], now: Instant) -> GroupId {
        if let Some(id) = self.by_key.get(&key) {
            return *id;
        }
        if self.groups.len() >= self.sweep_at {
            self.sweep(now);
        }
        let key = match self.groups.len() >= self.groups_max {
            true => Key { who: ClientAddress::OTHERS.to_bits(), ..key },
            false => key,
        };
        if let Some(id) = self.by_key.get(&key) {
            return *id;
        }
        let buckets = [Bucket::new(now); 3];
        let group = Group { key, refs: 0, uploads: 0, whole, rates, buckets };
        let id = GroupId::at(self.groups.insert(group));
        self.by_key.insert(key, id);
        id
    }

    /// Removes the entries that are not needed any more.
    fn sweep(&mut self, now: Instant) {
        if self.sweep_at >= self.groups_max && now.saturating_duration_since(self.swept) < SWEEP_INTERVAL {
            return;
        }
        self.swept = now;
        let Self { groups, by_key, .. } = self;
        groups.retain(|_, group| {
            let is_needed = group.is_needed(now);
            if !is_needed {
                by_key.remove(&group.key);
            }
            is_needed
        });
        self.sweep_at = (2 * self.groups.len()).clamp(SWEEP_MIN.min(self.groups_max), self.groups_max);
    }

    /// One more refers to the group.
    pub fn hold(&mut self, id: GroupId) {
        self.groups[id.index()].refs += 1;
    }

    /// One less refers to the group.
    pub fn leave(&mut self, id: GroupId) {
        let group = &mut self.groups[id.index()];
        group.refs = group.refs.checked_sub(1).expect("a group is left as often as it is joined");
        if group.refs == 0
            && let Some(whole) = group.whole.take()
        {
            self.leave(whole);
        }
    }

    /// The group of the client, for one that stands for what it does under a prefix.
    pub fn parent_of(&self, id: GroupId) -> GroupId {
        self.groups[id.index()].whole.unwrap_or(id)
    }

    /// The rate of a group, and of the whole of it.
    fn rate(&self, group: &Group, flow: Flow) -> Rate {
        match flow {
            Flow::Up | Flow::Down => group.rates[flow as usize],
            Flow::Requests => self.requests,
        }
    }

    /// The entries that count for what a group does.
    fn counted(&self, id: GroupId) -> impl Iterator<Item = &Group> {
        let group = &self.groups[id.index()];
        std::iter::once(group).chain(group.whole.map(|whole| &self.groups[whole.index()]))
    }

    /// How much may flow now; 0 also for less than is worth a call.
    pub fn room(&self, id: GroupId, flow: Flow, now: Instant) -> usize {
        let rooms = self.counted(id).filter_map(|group| {
            let rate = self.rate(group, flow);
            let tokens = || group.buckets[flow as usize].tokens(rate, now);
            rate.is_limited().then(|| Some(tokens()).filter(|tokens| *tokens >= least(rate, flow)).unwrap_or(0))
        });
        rooms.min().map_or(usize::MAX, |room| usize::try_from(room).unwrap_or(usize::MAX))
    }

    /// Bytes per second of a group, or of the whole of it if that is less, and how many are waited for at a time; `None`
    /// without a limit.
    pub fn slowest(&self, id: GroupId, flow: Flow) -> Option<(u64, u64)> {
        let rates = self.counted(id).map(|group| self.rate(group, flow)).filter(|rate| rate.is_limited());
        rates.map(|rate| (rate.per_s(), least(rate, flow))).min()
    }

    /// When something may flow.
    pub fn admits_at(&self, id: GroupId, flow: Flow, now: Instant) -> Instant {
        let waits = self.counted(id).filter_map(|group| {
            let rate = self.rate(group, flow);
            rate.is_limited().then(|| group.buckets[flow as usize].wait(least(rate, flow), rate, now))
        });
        now + waits.max().unwrap_or_default()
    }

    /// As [`Groups::room`], for a client that waits with what it wants: a request may turn out to be an upload.
    pub fn room_for_waiting(&self, id: GroupId, flow: Flow, now: Instant) -> usize {
        if flow == Flow::Requests && !self.may_upload(id) { 0 } else { self.room(id, flow, now) }
    }

    /// When to look again, where there is no room.
    pub fn look_again_at(&self, id: GroupId, flow: Flow, now: Instant) -> Instant {
        let at = self.admits_at(id, flow, now);
        if flow == Flow::Requests && !self.may_upload(id) { at.max(now + UPLOAD_RETRY) } else { at }
    }

    /// This much has flowed.
    pub fn charge(&mut self, id: GroupId, flow: Flow, n: u64, now: Instant) {
        let whole = self.groups[id.index()].whole;
        for id in std::iter::once(id).chain(whole) {
            let group = &self.groups[id.index()];
            let rate = self.rate(group, flow);
            if rate.is_limited() {
                self.groups[id.index()].buckets[flow as usize].take(n, rate, now);
            }
        }
    }

    /// Counts a request; `Err` if the group has had too many, or has too many uploads under way for another, with the
    /// time in seconds after which to try again.
    pub fn begin_request(&mut self, id: GroupId, is_upload: bool, now: Instant) -> Result<(), u32> {
        let wait = self.admits_at(id, Flow::Requests, now) - now;
        if !wait.is_zero() || is_upload && !self.may_upload(self.parent_of(id)) {
            return Err(self.retry_after_s(wait));
        }
        self.charge(id, Flow::Requests, 1, now);
        Ok(())
    }

    /// Counts a request that was answered without a command: it cannot be refused any more. Returns how long its client
    /// should not be listened to, which is bounded: what comes beyond a second burst is not counted.
    pub fn count_answered(&mut self, who: Who<'_>, now: Instant) -> Duration {
        if !self.requests.is_limited() {
            return Duration::ZERO;
        }
        let id = self.find(who, now);
        if self.groups[id.index()].buckets[Flow::Requests as usize].debt(self.requests, now) < self.requests.burst() {
            self.charge(id, Flow::Requests, 1, now);
        }
        self.admits_at(id, Flow::Requests, now) - now
    }

    /// In how many seconds to try again: the time, and a little more for each of many that are refused together.
    fn retry_after_s(&mut self, wait: Duration) -> u32 {
        self.refused = self.refused.wrapping_add(1);
        let jitter = self.refused.wrapping_mul(0x9E37_79B9_7F4A_7C15) % JITTER_MS;
        let seconds = (wait.as_millis() + u128::from(jitter)).div_ceil(1000).max(1);
        u32::try_from(seconds).unwrap_or(u32::MAX)
    }

    /// True while the group may begin another upload.
    pub fn may_upload(&self, id: GroupId) -> bool {
        self.uploads_max == 0 || (self.groups[id.index()].uploads as usize) < self.uploads_max
    }

    /// Counts an upload until [`Groups::end_upload`].
    pub fn begin_upload(&mut self, id: GroupId) {
        self.groups[id.index()].uploads += 1;
    }

    pub fn end_upload(&mut self, id: GroupId) {
        let uploads = &mut self.groups[id.index()].uploads;
        *uploads = uploads.checked_sub(1).expect("an upload that ended had begun");
    }

    /// References to all groups, less those of groups among each other. For the invariant checks.
    pub fn refs(&self) -> usize {
        self.groups.iter().map(|(_, group)| group.refs as usize - usize::from(group.whole.is_some())).sum()
    }

    /// The most that a bucket lacks beyond its burst: tokens taken ahead of their time.
    pub fn debt_max(&self, now: Instant) -> u64 {
        let debts = self.groups.iter().flat_map(|(_, group)| {
            [Flow::Up, Flow::Down, Flow::Requests].map(|flow| {
                let rate = self.rate(group, flow);
                if rate.is_limited() { group.buckets[flow as usize].debt(rate, now) } else { 0 }
            })
        });
        debts.max().unwrap_or(0)
    }

    /// Entries in the table.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }
}
