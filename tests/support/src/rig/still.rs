//! The world around the server.

use super::*;

/// The world around the server.
pub(super) struct Still {
    pub(super) base: Instant,
    pub(super) now: Duration,
    /// The clock on the wall stands, so that replies have the same date; but for a test of what it is for.
    pub(super) on_wall_s: u64,
    pub(super) mode: Mode,
    pub(super) net: Net,
    pub(super) disk: Disk,
    pub(super) rng: Rng,
    pub(super) faults: Faults,
    pub(super) shape: Shape,
    pub(super) trace: Trace,
    /// The last part of the address of the next client.
    pub(super) host: u8,
    pub(super) events: Vec<Event>,
    /// Those that were read again.
    pub(super) rules: Option<Arc<Rules>>,
    /// Operations have ended, and the server is not informed yet.
    pub(super) holds_completions: bool,
    /// How many clients were refused for want of descriptors.
    pub(super) shed: u32,
    /// Files that were opened, as they were then.
    cached: BTreeMap<String, Ino>,
    /// Bytes were received since: the real store looks again.
    cache_is_old: bool,
}

impl Still {
    pub(super) fn new(mode: Mode) -> Self {
        let (mut net, mut disk) = (Net::new(1, mode.window, usize::MAX), Disk::new(false));
        net.listen();
        net.keeps_packets = true;
        disk.set_mtime_step(0);
        disk.lagging = mode.lags;
        Self {
            base: Instant::now(),
            now: Duration::ZERO,
            on_wall_s: 0,
            mode,
            net,
            disk,
            rng: Rng::new(0),
            faults: Faults { held: if mode.held { 1000 } else { 0 }, ..Faults::default() },
            shape: Shape::plain(mode.window),
            trace: Trace::off(),
            host: 1,
            events: Vec::new(),
            rules: None,
            holds_completions: false,
            shed: 0,
            cached: BTreeMap::new(),
            cache_is_old: false,
        }
    }

    pub(super) fn link(&mut self, peer: &Peer) -> &mut Link {
        self.net.links.get_mut(&peer.link).expect("no client forgets its connection")
    }

    fn has_completions(&self) -> bool {
        !self.disk.done.is_empty() && !self.holds_completions
    }

    /// Whether the server need not wait.
    pub(super) fn has_events(&self) -> bool {
        !self.events.is_empty() || self.has_completions()
    }

    /// An event of this connection, if they are asked for.
    pub(super) fn event(&mut self, peer: &Peer, readable: Readable, writable: bool) {
        if let Some(id) = self.link(peer).id {
            self.events.push(Event::Stream { id, readable, writable });
        }
    }

    /// What others did is there, whether the server has asked or not.
    pub(super) fn hear_of_others(&mut self) {
        for (name, bytes) in std::mem::take(&mut self.net.by_others) {
            self.disk.place(&name, &bytes, None);
        }
    }
}

impl World for Still {
    fn parts(&mut self) -> Parts<'_> {
        let Self { net, disk, rng, faults, shape, trace, on_wall_s, .. } = self;
        Parts { net, disk, rng, faults, shape, trace, now_us: *on_wall_s * 1_000_000 }
    }

    fn now(&self) -> Instant {
        self.base + self.now
    }

    fn wait(&mut self, _timeout: Option<Duration>, events: &mut Vec<Event>) {
        if self.has_completions() {
            self.events.push(Event::Completions);
        }
        events.append(&mut self.events);
    }

    fn take_rules(&mut self) -> Option<Arc<Rules>> {
        self.rules.take()
    }

    fn serves_now(&mut self, op: &Op) -> bool {
        if self.mode.deferred {
            return false;
        }
        match op {
            Op::Commit { .. } | Op::Run(Whole::Delete { .. }) | Op::Run(Whole::Rename { .. }) | Op::Store { .. } => {
                self.cached.clear()
            }
            Op::Open { key } => {
                if let Some(Child::File(ino)) = self.disk.at(key.as_str()) {
                    self.cached.insert(key.as_str().to_owned(), ino);
                }
            }
            _ => {}
        }
        true
    }

    fn submitted(&mut self, job: u64) {
        self.hear_of_others();
        while self.disk.run(job, &mut self.rng, &self.faults, &self.shape) {}
    }

    fn cached(&mut self, id: OpId, op: &Op) -> Option<Completion> {
        if self.mode.deferred {
            return None;
        }
        self.hear_of_others();
        if std::mem::take(&mut self.cache_is_old) {
            self.cached.clear();
        }
        let Op::Open { key } = op else { return None };
        let ino = *self.cached.get(key.as_str())?;
        let source = if self.mode.held { Source::Held } else { Source::Direct };
        Some(Completion { id, result: Ok(self.disk.opened(ino, false, source)), chunk: None })
    }

    fn refuses_shed(&mut self) -> bool {
        self.shed += 1;
        true
    }

    fn received(&mut self) {
        self.cache_is_old = true;
    }
}
