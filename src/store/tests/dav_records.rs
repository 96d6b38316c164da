//! Locks of WebDAV on the disk: what was answered is there after a start, and nothing else.

use super::*;
use crate::command::LockRights;
use crate::dav_locks::{DavLock, LockToken, Scope};
use crate::ids::ClientAddress;

const ALL: LockRights = LockRights { existing: Ok(()), new: Ok(()) };

fn lock(n: u8, name: &str) -> DavLock {
    let (owner, user) = ("<o>\n&amp;</o>".into(), "anna".into());
    DavLock {
        token: LockToken([n; 16]),
        key: key(name),
        scope: Scope::Shared,
        is_deep: n.is_multiple_of(2),
        owner,
        user,
        expires_s: 100,
    }
}

impl Bench {
    fn keep(&mut self, lock: &DavLock, rights: LockRights) -> Result<bool, Failure> {
        let (lock, client, is_renewal) = (Box::new(lock.clone()), ClientAddress::OTHERS, false);
        match self.run(Op::Run(Whole::KeepLock { lock, client, rights, is_renewal }))? {
            Outcome::Answered(Answer::Locked { is_new, .. }) => Ok(is_new),
            other => panic!("{other:?}"),
        }
    }

    fn end(&mut self, lock: &DavLock) {
        let (key, token) = (lock.key.clone(), lock.token);
        assert!(self.run(Op::Run(Whole::EndLock { key, token })).is_ok());
    }

    fn kept_dav(&mut self, now_s: u64) -> Vec<DavLock> {
        let mut kept = self.store.kept_locks(now_s).expect("locks are offered");
        kept.sort_by_key(|lock| lock.token);
        kept
    }
}

#[test]
fn a_lock_is_there_after_a_start_until_it_ends_or_its_time_or_its_file_does() {
    for config in modes() {
        let dir = TempDir::new().unwrap();
        let mut bench = Bench::open(dir.path(), &config);
        bench.make("d").unwrap();
        let locks =
            [lock(1, "f"), lock(2, "d"), lock(3, "d/g"), DavLock { expires_s: 50, ..lock(4, "h") }, lock(5, "f")];
        let is_new: Vec<_> = locks.iter().map(|one| bench.keep(one, ALL).unwrap()).collect();
        assert_eq!(is_new, [true, false, true, true, false]);
        assert_eq!(bench.content("d/g"), b"");
        let renewed = DavLock { expires_s: 200, ..locks[0].clone() };
        bench.keep(&renewed, ALL).unwrap();
        bench.end(&locks[4]);
        bench.delete("d/g", Precondition::None).unwrap();
        bench.store.close();
        let mut bench = Bench::open(dir.path(), &config);
        assert_eq!(bench.kept_dav(60), [renewed.clone(), locks[1].clone()]);
        bench.store.close();
        // What was over is forgotten, also if the clock is set back; what is no lock as well.
        std::fs::write(dir.path().join(".filewharf/dav/0123.new"), b"half").unwrap();
        let mut bench = Bench::open(dir.path(), &config);
        assert_eq!(bench.kept_dav(0), [renewed, locks[1].clone()]);
        assert_eq!(std::fs::read_dir(dir.path().join(".filewharf/dav")).unwrap().count(), 2);
    }
}

#[test]
fn a_record_that_cannot_be_read_is_left_for_the_next_start() {
    in_every_mode(|bench| {
        bench.keep(&lock(1, "f"), ALL).unwrap();
        let (record, aside) = (format!(".filewharf/dav/{}", "01".repeat(16)), bench.path("aside"));
        std::fs::rename(bench.path(&record), &aside).unwrap();
        std::os::unix::fs::symlink(&aside, bench.path(&record)).unwrap();
        assert_eq!(bench.kept_dav(0), []);
        std::fs::rename(&aside, bench.path(&record)).unwrap();
        assert_eq!(bench.kept_dav(0), [lock(1, "f")]);
    });
}

#[test]
fn a_lock_needs_its_rights_and_the_directory_above() {
    in_every_mode(|bench| {
        const NO: Failure = Failure::Denied("no");
        bench.store_file("f", b"1", Precondition::None).unwrap();
        assert_eq!(bench.keep(&lock(1, "f"), LockRights { existing: Err(NO), ..ALL }), Err(NO));
        assert_eq!(bench.keep(&lock(1, "g"), LockRights { new: Err(NO), ..ALL }), Err(NO));
        assert!(is_conflict(&bench.keep(&lock(1, "no/g"), ALL)));
        fifo(&bench.path("fifo"));
        assert_eq!(bench.keep(&lock(1, "fifo"), ALL), Err(Failure::NotFound));
        assert_eq!((bench.kept_dav(0), bench.names("")), (Vec::new(), vec!["f".to_owned()]));
    });
}

#[test]
fn where_servers_share_the_root_there_are_no_locks() {
    let dir = TempDir::new().unwrap();
    let mut bench = Bench::open(dir.path(), &StoreConfig { shared: true, ..StoreConfig::default() });
    assert_eq!(bench.store.kept_locks(0), None);
}
