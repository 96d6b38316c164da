//! Stores that share a directory: one upload is written by one of them.
use super::*;
use crate::os::process::clock;
use crate::store::fs::sharing::Sharing;
use crate::store::mutex::lock;
use crate::store::resumable::attachment::Lease;
use crate::store::resumable::owner::Owner;
use rustix::io::Errno;
use std::os::fd::BorrowedFd;
use std::sync::Mutex;

fn shared() -> StoreConfig {
    StoreConfig { shared: true, ..StoreConfig::default() }
}

pub(super) fn two() -> (TempDir, Bench, Bench) {
    let dir = TempDir::new().unwrap();
    let [one, other] = [(); 2].map(|()| Bench::open(dir.path(), &shared()));
    (dir, one, other)
}

#[test]
fn an_upload_is_locked_while_another_store_is_attached_and_free_as_soon_as_that_detaches() {
    let (_dir, mut one, mut other) = two();
    let (file, _) = one.part(f());
    one.write_part(file, 0, 300);
    one.checkpoint(file, 300).unwrap();
    assert_eq!(other.offset(ID), 300, "anyone may ask");
    assert_eq!(other.open_upload(f()).err(), Some(Failure::Locked));
    assert_eq!(other.remove(ID), Err(Failure::Locked));
    let again = new(Some(ID), hashed("another", Some(1)));
    assert_eq!(other.open_upload(again).err(), Some(Failure::Locked));
    other.pass(25 * 3600);
    assert_eq!(one.offset(ID), 300, "only its owner lets it expire");
    one.save(file, 300).unwrap();
    other.store.pool.volume.resumable.passed_s.store(0, std::sync::atomic::Ordering::Relaxed);
    let (file, offset) = other.part(f());
    assert_eq!((offset, one.open_upload(f()).err()), (300, Some(Failure::Locked)));
    other.write_part(file, 300, 400);
    other.save(file, 400).unwrap();
    one.complete_upload(f());
    assert!(matches!(other.find(ID).unwrap().stage, UploadStage::Complete(Some(_))));
}

#[test]
fn a_request_waits_until_the_store_that_is_attached_has_left_the_upload_for_it() {
    let (dir, mut one, mut other) = two();
    let mark = dir.path().join(format!(".filewharf/wanted/{ID}"));
    let (file, _) = one.part(f());
    one.write_part(file, 0, 300);
    other.store.take_overs.within = Duration::MAX / 4;
    other.store.submit(
        CONN,
        None,
        Op::OpenUpload { upload: f(), len: None, client: CLIENT, permit: Permit::default() },
    );
    let wait = |other: &mut Bench| {
        while other.store.take_overs.next_at().is_none() {
            other.bell.recv_timeout(WATCHDOG).expect("the try ends");
            assert!(other.store.next_completion().is_none(), "it waits");
        }
    };
    wait(&mut other);
    assert_eq!(other.store.queued().in_flight, 1, "it is not over");
    assert!(mark.exists());
    assert_eq!(other.store.pool.volume.resumable.wanted(), [], "it is not attached there");
    assert_eq!((one.store.pool.volume.resumable.wanted(), mark.exists()), (vec![ID], false));
    let again = |other: &mut Bench, seconds| other.store.refresh(clock() + Duration::from_secs(seconds));
    again(&mut other, 1);
    wait(&mut other);
    one.save(file, 300).unwrap();
    again(&mut other, 10);
    let done = other.next();
    let Ok(Outcome::UploadOpened { upload, .. }) = done.result else { panic!("{done:?}") };
    assert_eq!((done.id, upload.offset, mark.exists()), (CONN, 300, false));
    assert_eq!(other.store.queued().in_flight, 0);
}

#[test]
fn a_store_that_attaches_to_an_upload_does_not_leave_it_for_a_request_before() {
    let (dir, mut one, mut other) = two();
    let (file, _) = one.part(f());
    assert_eq!(other.open_upload(f()).err(), Some(Failure::Locked));
    one.save(file, 0).unwrap();
    one.part(f());
    assert_eq!(one.store.pool.volume.resumable.wanted(), []);
    // One that no server takes away is swept.
    let mark = dir.path().join(".filewharf/wanted").join(UploadId([9; 16]).to_string());
    std::fs::write(&mark, "").unwrap();
    assert_eq!((one.store.pool.volume.resumable.wanted(), mark.exists()), (vec![], true));
    one.store.pool.volume.resumable.passed_s.store(100, std::sync::atomic::Ordering::Relaxed);
    assert_eq!((one.store.pool.volume.resumable.wanted(), mark.exists()), (vec![], false));
}

#[test]
fn an_upload_of_a_store_that_ended_is_free_at_once() {
    let (_dir, mut one, mut other) = two();
    let (file, _) = one.part(f());
    one.write_part(file, 0, 300);
    one.checkpoint(file, 300).unwrap();
    drop(one);
    other.complete_upload(f());
}

/// Another generation of the server of this store, as after a hand-over: both run from now on.
fn next_generation(present: &Bench) -> Bench {
    let sharing = Sharing::new(false).inherit(present.store.overlap().begin().unwrap());
    let (tx, bell) = channel();
    let wake = Arc::new(move || {
        let _ = tx.send(());
    });
    let (root, config) = (present.root.clone(), (&StoreConfig::default(), sharing));
    let mut store = DiskStore::open_confined(&root, config, &Fixed::default(), wake, &mut |_| Ok(())).unwrap();
    store.take_overs.within = Duration::ZERO;
    Bench { store, bell, root, inline: true }
}

#[test]
fn an_upload_that_was_opened_before_another_generation_began_is_locked_for_that() {
    for is_resumed in [false, true] {
        let dir = TempDir::new().unwrap();
        let mut present = Bench::open(dir.path(), &StoreConfig::default());
        let (mut file, _) = present.part(f());
        if is_resumed {
            present.save(file, 0).unwrap();
            file = present.part(f()).0;
        }
        let mut next = next_generation(&present);
        assert_eq!(next.open_upload(f()).err(), Some(Failure::Locked), "resumed: {is_resumed}");
        present.write_part(file, 0, 300);
        present.save(file, 300).unwrap();
        next.complete_upload(f());
    }
}

#[test]
fn an_upload_of_another_machine_is_locked_until_its_lease_is_over() {
    let (_dir, mut one, mut other) = two();
    let (file, _) = one.part(f());
    one.write_part(file, 0, 300);
    one.checkpoint(file, 300).unwrap();
    drop(one);
    change_checkpoint(&other, ID, |checkpoint| checkpoint.owner = Owner { machine: [7; 16], ..checkpoint.owner });
    assert_eq!(other.open_upload(f()).err(), Some(Failure::Locked));
    assert_eq!(other.remove(ID), Err(Failure::Locked));
    assert_eq!(other.offset(ID), 300);
    let passed = &other.store.pool.volume.resumable.passed_s;
    passed.store(91, std::sync::atomic::Ordering::Relaxed);
    other.complete_upload(f());
}

#[test]
fn a_lease_is_renewed_while_bytes_come_and_lapsed_it_permits_no_write() {
    let (_dir, mut one, mut other) = two();
    let (file, _) = one.part(f());
    let part = one.store.files.staging(file).and_then(|growing| growing.as_part()).unwrap();
    let attachment = Arc::clone(&part.attachment);
    one.write_part(file, 0, 100);
    let saved = attachment.saved();
    attachment.pretend_age(Duration::from_secs(31));
    let checkpoint = attachment.lock().unwrap();
    one.write_part(file, 0, 100);
    drop(checkpoint);
    assert_eq!(attachment.lease(clock), Lease::IsDue, "the loop does not wait for a checkpoint");
    one.write_part(file, 100, 200);
    let info = std::fs::read(one.upload_path(&info_name(ID))).unwrap();
    let renewed = newest(&info, ID).unwrap();
    assert!(renewed.sequence > saved.sequence && renewed.lease_until_ns > saved.lease_until_ns);
    assert_eq!(renewed.offset, 0, "bytes that were not synced do not count");
    assert_eq!(one.checkpoint(file, 200), Ok(200));
    attachment.pretend_age(Duration::from_secs(61));
    let late = one.store.write_now(file, 200, b"late").map_err(|error| error.failure);
    assert_eq!(late, Err(Failure::Locked));
    assert_eq!(one.checkpoint(file, 200), Err(Failure::Locked), "the first error of a file is final");
    one.end_part(file, PartEnd::Keep).unwrap();
    drop(attachment);
    other.complete_upload(f());
}

#[test]
fn files_that_another_store_may_be_making_are_left_alone_for_a_while() {
    let (_dir, mut one, mut other) = two();
    one.complete_upload(f());
    let [part, info] = [part_name(UploadId([1; 16])), info_name(UploadId([2; 16]))];
    for name in [&part, &info] {
        std::fs::write(one.upload_path(name), b"").unwrap();
    }
    other.pass(0);
    assert_eq!(other.uploads().len(), 3);
    other.pass(91);
    assert_eq!(other.uploads(), [info_name(ID)]);
    assert!(other.find(ID).is_ok());
}

#[test]
fn uploads_of_another_store_count_once_they_were_seen() {
    let dir = TempDir::new().unwrap();
    let limits = || Fixed { uploads_kept_max: 2, ..Fixed::default() };
    let [mut one, mut other] = [(); 2].map(|()| Bench::open_limited(dir.path(), &shared(), limits()));
    let make = |bench: &mut Bench, n: u8| {
        let upload = new(Some(UploadId([n; 16])), hashed(&n.to_string(), None));
        bench.open_upload_of(upload, None, ClientAddress::from_bits(n.into())).map(|(_, file, _)| file.unwrap())
    };
    make(&mut one, 1).unwrap();
    let made = make(&mut one, 2).unwrap();
    other.pass(0);
    assert_eq!(make(&mut other, 3).err(), Some(Failure::Busy));
    one.end_part(made, PartEnd::Remove).unwrap();
    other.pass(0);
    make(&mut other, 3).unwrap();
}

#[test]
fn a_writer_whose_upload_another_store_has_taken_over_does_not_remove_it() {
    let (_dir, mut one, mut other) = two();
    let (file, _) = one.part(f());
    one.write_part(file, 0, 300);
    one.checkpoint(file, 300).unwrap();
    // Another machine continued with it when the lease was over.
    change_checkpoint(&one, ID, |newest| {
        (newest.generation, newest.sequence) = (newest.generation + 1, newest.sequence + 1);
    });
    assert!(is_conflict(&one.end_part(file, PartEnd::Remove)));
    assert_eq!(other.offset(ID), 300);
}

#[test]
fn the_record_that_makes_place_is_not_one_that_another_store_has_made_again() {
    for is_attached in [true, false] {
        let dir = TempDir::new().unwrap();
        let limits = || Fixed { uploads_kept_max: 2, ..Fixed::default() };
        let mut one = Bench::open_limited(dir.path(), &shared(), limits());
        one.complete_upload(f());
        let mut other = Bench::open_limited(dir.path(), &shared(), limits());
        let (file, _) = other.part(f());
        other.write_part(file, 0, 300);
        other.checkpoint(file, 300).unwrap();
        if !is_attached {
            other.save(file, 300).unwrap();
        }
        for n in 1..=2 {
            let upload = new(Some(UploadId([n; 16])), hashed(&n.to_string(), None));
            let _ = one.open_upload_of(upload, None, ClientAddress::from_bits(n.into()));
        }
        assert_eq!(other.offset(ID), 300);
        assert!(!is_attached || other.save(file, 300).is_ok());
    }
}

/// Run at the next sync of a name.
static MEANWHILE: Mutex<Option<Box<dyn FnOnce() + Send>>> = Mutex::new(None);

fn meanwhile(_: BorrowedFd<'_>) -> Result<(), Errno> {
    let run = lock(&MEANWHILE).take();
    run.into_iter().for_each(|run| run());
    Ok(())
}

#[test]
fn an_upload_that_another_store_makes_at_the_same_moment_is_not_made_again() {
    let (dir, one, _) = two();
    drop(one);
    let calls = SyncCalls { content: |_, _| Ok(()), names: meanwhile, scope: Scope::Dir };
    let mut other = Bench::open_synced_by(dir.path(), &shared(), Fixed::default(), |_| calls);
    let path = dir.path().to_owned();
    *lock(&MEANWHILE) = Some(Box::new(move || {
        let mut one = Bench::open(&path, &shared());
        let (file, _) = one.part(f());
        one.write_part(file, 0, 300);
        one.save(file, 300).unwrap();
    }));
    assert_eq!(other.open_upload(f()).err(), Some(Failure::Locked));
    assert!(lock(&MEANWHILE).is_none(), "it was made meanwhile");
    let (_, offset) = other.part(f());
    assert_eq!(offset, 300);
}
