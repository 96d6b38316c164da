//! What uploads that can be resumed hold of quotas, from when they are made until they have their name or are gone.

use super::joins::{part_id, whole, with_role};
use super::*;
use crate::store::tests::quotas::with_quotas;

const FULL: Failure = Failure::OverQuota;
/// Of the quota of every test here.
const MAX: u64 = 2 * LEN as u64 - 1;

fn bench() -> (Bench, TempDir) {
    let dir = TempDir::new().unwrap();
    (Bench::open(dir.path(), &with_quotas(&[("d", MAX)])), dir)
}

fn other() -> UploadRef {
    new(Some(UploadId([9; 16])), hashed("d/other", Some(LEN as u64)))
}

#[test]
fn an_unfinished_upload_holds_what_has_come_of_it_also_while_nothing_is_attached() {
    let (mut bench, _dir) = bench();
    let (file, _) = bench.part(f());
    assert_eq!(bench.account("d"), (Some(0), 1));
    bench.write_part(file, 0, 300);
    assert_eq!(bench.account("d"), (Some(0), LEN as u64), "a step ahead, and no more than its length");
    bench.save(file, 300).unwrap();
    assert_eq!(bench.account("d"), (Some(0), 300), "what was held ahead comes back with the end of the connection");
    assert_eq!(bench.store_file("d/g", &[1; 1700], Precondition::None), Err(FULL));
    bench.complete_upload(f());
    assert_eq!(bench.account("d"), (Some(LEN as u64), 0));
    assert_eq!(bench.open_upload(other()).err(), Some(FULL), "what cannot fit is refused at once");
}

#[test]
fn what_is_announced_and_not_sent_keeps_the_quota_from_no_other() {
    let (mut bench, _dir) = bench();
    for n in 0..20 {
        let upload = new(Some(UploadId([n; 16])), hashed(&format!("d/u{n}"), Some(MAX - 100)));
        let (_, file, _) = bench.open_upload_of(upload, None, ClientAddress::from_bits(n.into())).unwrap();
        bench.end_part(file.unwrap(), PartEnd::Keep).unwrap();
    }
    assert_eq!(bench.account("d"), (Some(0), 0));
    bench.store_file("d/g", &[1; LEN], Precondition::None).unwrap();
    // It is refused where it would be too much, and what has come of it stays.
    let (file, _) = bench.part(UploadRef::Existing(UploadId([3; 16])));
    assert_eq!(bench.write(file, 0, LEN), Err(FULL));
    bench.end_part(file, PartEnd::Keep).unwrap();
    bench.delete("d/g", Precondition::None).unwrap();
    let (file, _) = bench.part(UploadRef::Existing(UploadId([3; 16])));
    bench.store.write_now(file, 0, &[1; LEN]).unwrap();
}

#[test]
fn what_an_upload_held_comes_back_when_it_is_cancelled_or_expires() {
    let (mut bench, _dir) = bench();
    let (file, _) = bench.part(f());
    bench.save(file, 0).unwrap();
    bench.remove(ID).unwrap();
    assert_eq!(bench.account("d"), (Some(0), 0), "removed");
    let (file, _) = bench.part(f());
    bench.end_part(file, PartEnd::Remove).unwrap();
    assert_eq!(bench.account("d"), (Some(0), 0), "removed while it was written");
    let (file, _) = bench.part(f());
    bench.save(file, 0).unwrap();
    bench.store.pool.volume.resumable.passed_s.store(100_000, std::sync::atomic::Ordering::Relaxed);
    let mut pass = Pass::begin(&bench.store.pool.volume.resumable).map(Box::new);
    while let Some(next) = pass {
        pass = next.step(&bench.store.pool.volume.resumable);
    }
    assert_eq!(bench.account("d"), (Some(0), 0), "expired");
}

#[test]
fn a_commit_that_fails_leaves_the_upload_and_what_it_holds() {
    let (mut bench, _dir) = bench();
    std::fs::create_dir_all(bench.path("d/f")).unwrap();
    let (file, _) = bench.part(new(Some(ID), hashed("d/g", Some(LEN as u64))));
    bench.write_part(file, 0, LEN);
    assert!(is_conflict(&bench.commit_stored(file, "d/f")));
    assert_eq!(bench.account("d"), (Some(0), LEN as u64));
}

#[test]
fn after_a_restart_unfinished_uploads_hold_what_they_held() {
    let dir = TempDir::new().unwrap();
    let config = with_quotas(&[("d", MAX)]);
    let mut bench = Bench::open(dir.path(), &config);
    bench.store_file("d/g", b"12345", Precondition::None).unwrap();
    let (file, _) = bench.part(f());
    bench.write_part(file, 0, 300);
    bench.save(file, 300).unwrap();
    drop(bench);
    let mut bench = Bench::open(dir.path(), &config);
    assert_eq!(bench.account("d"), (Some(5), 300));
    bench.complete_upload(f());
    assert_eq!(bench.account("d"), (Some(5 + LEN as u64), 0));
    drop(bench);
    // More than the quota permits by now: it is counted all the same, and refused only in the end.
    let mut bench = Bench::open(dir.path(), &StoreConfig::default());
    let (file, _) = bench.part(other());
    bench.write_part(file, 0, LEN);
    bench.save(file, LEN).unwrap();
    drop(bench);
    let mut bench = Bench::open(dir.path(), &config);
    assert_eq!(bench.account("d"), (Some(5 + LEN as u64), LEN as u64));
    let (file, _) = bench.part(other());
    assert_eq!(bench.commit_stored(file, "d/other"), Err(FULL));
    assert_eq!(bench.account("d"), (Some(5 + LEN as u64), LEN as u64), "it can still be resumed");
}

#[test]
fn a_length_that_is_announced_late_is_refused_if_it_does_not_fit() {
    let (mut bench, _dir) = bench();
    let (file, _) = bench.part(new(Some(ID), hashed("d/f", None)));
    bench.write_part(file, 0, 100);
    bench.save(file, 100).unwrap();
    let told = |bench: &mut Bench, len| bench.open_upload_of(UploadRef::Existing(ID), Some(len), CLIENT).map(drop);
    assert_eq!(told(&mut bench, MAX + 1), Err(FULL));
    told(&mut bench, LEN as u64).unwrap();
}

#[test]
fn uploads_that_are_joined_hold_their_bytes_once() {
    let (mut bench, _dir) = bench();
    for n in 0..2 {
        let (_, file, _) =
            bench.open_upload(with_role(part_id(n), put("d/f", Some(500), Precondition::None), Role::Partial)).unwrap();
        bench.store.write_now(file.unwrap(), 0, &[1; 500]).unwrap();
        bench.end_part(file.unwrap(), PartEnd::Save { offset: 500, digest: None }).unwrap();
    }
    assert_eq!(bench.account("d"), (Some(0), 1000));
    bench.store_file("d/g", &[1; LEN - 1], Precondition::None).unwrap();
    let parts = [part_id(0), part_id(1)];
    let joined = bench.begin_join(whole(put("d/f", None, Precondition::None), &parts));
    assert_eq!(bench.account("d"), (Some(999), 1000), "all of it is held already");
    let twice = whole(put("d/h", None, Precondition::None), &[part_id(0), part_id(0), part_id(1)]);
    bench.join(joined, 1000, None);
    bench.commit_joined(joined, "d/f", Precondition::None).unwrap();
    assert_eq!(bench.account("d"), (Some(1999), 0));
    assert!(bench.open_upload(twice).is_err());
}

#[test]
fn a_join_that_is_given_up_leaves_its_parts_with_what_they_hold() {
    let (mut bench, _dir) = bench();
    bench.partial(part_id(0), &[1; 600], 600);
    let twice = [part_id(0), part_id(0)];
    let joined = bench.begin_join(whole(put("d/f", None, Precondition::None), &twice));
    assert_eq!(bench.account("d"), (Some(0), 1200), "the second time is not held yet");
    bench.end_part(joined, PartEnd::Remove).unwrap();
    assert_eq!(bench.account("d"), (Some(0), 600));
    bench.store_file("d/g", &[1; 1000], Precondition::None).unwrap();
    let elsewhere = bench.begin_join(whole(put("f", None, Precondition::None), &twice[..1]));
    bench.join(elsewhere, 600, None);
    let op = Op::Commit {
        file: elsewhere,
        key: key("f"),
        len: 600,
        prepend: Box::default(),
        mtime: None,
        digest: None,
        precondition: Precondition::None,
    };
    bench.run(op).unwrap();
    assert_eq!(bench.account("d"), (Some(1000), 0));
}
