//! Expiry, bounds and leftovers.
use super::*;

fn limited(limit: impl FnOnce(&mut Fixed)) -> (TempDir, Bench) {
    let dir = TempDir::new().unwrap();
    let mut limits = Fixed::default();
    limit(&mut limits);
    let bench = Bench::open_limited(dir.path(), &StoreConfig::default(), limits);
    (dir, bench)
}

fn hour(limits: &mut Fixed) {
    limits.upload_expiry = Duration::from_secs(3600);
}

#[test]
fn an_upload_expires_is_gone_for_as_long_again_and_is_forgotten() {
    let (_dir, mut bench) = limited(hour);
    let (file, _) = bench.part(f());
    bench.write_part(file, 0, 300);
    bench.pass(7200);
    assert_eq!(bench.save(file, 300).unwrap().offset, 300, "a connection is attached");
    bench.pass(7200 + 3590);
    assert_eq!(bench.offset(ID), 300);
    bench.pass(7200 + 3601);
    assert_eq!(bench.find(ID).err(), Some(Failure::Gone));
    assert_eq!(bench.open_upload(UploadRef::Existing(ID)).err(), Some(Failure::Gone));
    assert_eq!((bench.remove(ID), bench.uploads()), (Err(Failure::Gone), vec![info_name(ID)]));
    bench.pass(7200 + 3601 + 3590);
    assert_eq!(bench.find(ID).err(), Some(Failure::Gone));
    bench.pass(7200 + 2 * 3601);
    assert_eq!((bench.find(ID).err(), bench.uploads().len()), (Some(Failure::NotFound), 0));
}

#[test]
fn an_upload_whose_expiry_was_cut_short_loses_its_part_in_the_next_pass() {
    let (_dir, mut bench) = limited(hour);
    let (file, _) = bench.part(f());
    bench.write_part(file, 0, 300);
    bench.save(file, 300).unwrap();
    change_checkpoint(&bench, ID, |checkpoint| {
        checkpoint.status = crate::store::resumable::checkpoint::Status::Expired;
    });
    assert_eq!(bench.find(ID).err(), Some(Failure::Gone));
    bench.pass(0);
    assert_eq!(bench.uploads(), [info_name(ID)]);
    assert_eq!(bench.part(f()).1, 0, "the same client may begin again");
}

#[test]
fn the_record_of_a_complete_upload_is_forgotten_and_its_file_stays() {
    let (_dir, mut bench) = limited(hour);
    bench.complete_upload(f());
    bench.pass(3590);
    assert!(matches!(bench.find(ID).unwrap().stage, UploadStage::Complete(Some(_))));
    bench.pass(3601);
    assert_eq!((bench.find(ID).err(), bench.uploads().len()), (Some(Failure::NotFound), 0));
    assert_eq!(bench.content("d/f"), content());
}

#[test]
fn the_store_asks_to_be_woken_for_a_pass_only_while_uploads_are_kept() {
    let (_dir, mut bench) = limited(|limits| limits.upload_expiry = Duration::from_secs(4));
    let pass_comes_first = |bench: &Bench| bench.store.refresh_at().unwrap() < bench.store.look_at;
    bench.store.look_at += Duration::from_secs(3600);
    assert!(!pass_comes_first(&bench));
    let (file, _) = bench.part(f());
    assert!(pass_comes_first(&bench));
    bench.end_part(file, PartEnd::Remove).unwrap();
    bench.pass(0);
    assert!(!pass_comes_first(&bench));
}

fn make(bench: &mut Bench, n: u128, client: u128, len: Option<u64>) -> Result<Opened, Failure> {
    let upload = new(Some(UploadId(n.to_be_bytes())), hashed(&format!("u{n}"), len));
    bench.open_upload_of(upload, None, ClientAddress::from_bits(client))
}

fn made(bench: &mut Bench, n: u128, client: u128, len: Option<u64>) -> Option<Failure> {
    let opened = make(bench, n, client, len);
    let send_all = |(_, file, _): Opened| {
        let (file, len) = (file.unwrap(), len.map_or(0, |len| len as usize));
        bench.write_part(file, 0, len);
        bench.save(file, len).unwrap();
    };
    opened.map(send_all).err()
}

#[test]
fn number_and_bytes_are_bounded_also_after_a_restart() {
    let (dir, mut bench) = limited(|limits| (limits.uploads_kept_max, limits.uploads_kept_bytes_max) = (4, 1000));
    assert_eq!(made(&mut bench, 1, 1, Some(400)), None);
    assert_eq!(made(&mut bench, 2, 1, Some(101)), Some(Failure::NoSpace));
    assert_eq!(made(&mut bench, 2, 1, None), None);
    let limits = Fixed { uploads_kept_max: 4, uploads_kept_bytes_max: 1000, ..Fixed::default() };
    drop(bench);
    let mut bench = Bench::open_limited(dir.path(), &StoreConfig::default(), limits);
    assert_eq!(made(&mut bench, 3, 1, None), Some(Failure::Busy), "half of the number");
    assert_eq!(made(&mut bench, 3, 2, Some(500)), None);
    assert_eq!(made(&mut bench, 4, 3, Some(101)), Some(Failure::NoSpace), "100 are left of all");
    assert_eq!(made(&mut bench, 4, 3, Some(100)), None);
    assert_eq!(made(&mut bench, 5, 4, Some(0)), Some(Failure::Busy), "four of four");
    assert_eq!(bench.uploads().len(), 8, "what was refused leaves nothing");
    bench.remove(UploadId(1_u128.to_be_bytes())).unwrap();
    assert_eq!(made(&mut bench, 5, 4, Some(0)), None);
}

#[test]
fn an_upload_of_unknown_length_stops_at_the_bytes_that_may_be_kept() {
    let (_dir, mut bench) = limited(|limits| limits.uploads_kept_bytes_max = 1000);
    let (file, _) = bench.part(new(Some(ID), hashed("d/f", None)));
    bench.write_part(file, 0, 501);
    assert_eq!(bench.checkpoint(file, 500), Ok(500));
    assert_eq!(bench.checkpoint(file, 501), Err(Failure::NoSpace), "half is for other clients");
    let state = bench.end_part(file, PartEnd::Keep).unwrap();
    assert_eq!(state.offset, 500);
    let learned = bench.open_upload_of(UploadRef::Existing(ID), Some(501), CLIENT);
    assert_eq!(learned.err(), Some(Failure::NoSpace));
}

#[test]
fn the_record_of_the_oldest_complete_upload_makes_place_for_a_new_one() {
    let (_dir, mut bench) = limited(|limits| (limits.uploads_kept_max, limits.per_address_percent) = (2, 100));
    for n in 1..=3 {
        let (_, file, _) = make(&mut bench, n, 1, Some(0)).unwrap();
        let op = Op::Commit {
            file: file.unwrap(),
            key: key(&format!("u{n}")),
            len: 0,
            prepend: Box::default(),
            mtime: None,
            digest: None,
            precondition: Precondition::None,
        };
        bench.run(op).unwrap();
    }
    assert_eq!(bench.uploads().len(), 2);
    assert!(bench.find(UploadId(3_u128.to_be_bytes())).is_ok());
}

#[test]
fn there_is_space_for_two_of_three_uploads_and_one_is_refused() {
    const MIB: u64 = 1024 * 1024;
    let dir = TempDir::new().unwrap();
    // The portable way reserves nothing on the real file system.
    let config = StoreConfig { portable: true, ..StoreConfig::default() };
    let mut bench = Bench::open(dir.path(), &config);
    *bench.store.pool.volume.names.staging.space.free.lock().unwrap() = Some(5 * MIB);
    let mut write = |n: u128| {
        let (_, file, _) = make(&mut bench, n, 1, Some(2 * MIB)).map_err(|_| Failure::NoSpace)?;
        let file = file.unwrap();
        let written = bench.store.write_now(file, 0, &[0; 4096]).map_err(|error| error.failure);
        written.map(|()| file)
    };
    let files = [write(1), write(2), write(3)];
    assert_eq!(files.map(Result::err), [None, None, Some(Failure::NoSpace)]);
}

#[test]
fn leftovers_are_swept_and_what_is_not_ours_stays() {
    let dir = TempDir::new().unwrap();
    let mut bench = Bench::open(dir.path(), &StoreConfig::default());
    let (file, _) = bench.part(f());
    bench.write_part(file, 0, 300);
    bench.save(file, 300).unwrap();
    let name = |n: u8, end: &str| format!("{}.{end}", UploadId([n; 16]));
    let info = std::fs::read(bench.upload_path(&info_name(ID))).unwrap();
    let mut later = info.clone();
    later["filewharf-upload ".len()] = b'9';
    for (name, content) in [
        (name(1, "part"), &b"bytes"[..]),
        (name(2, "info"), &b""[..]),
        (name(3, "info"), &info[..]),
        (name(4, "info"), &later[..]),
        (name(4, "part"), &b"bytes"[..]),
        ("notes".to_owned(), &b"of a person"[..]),
    ] {
        std::fs::write(bench.upload_path(&name), content).unwrap();
    }
    let mut kept = vec![name(4, "info"), name(4, "part"), info_name(ID), part_name(ID), "notes".to_owned()];
    kept.sort_unstable();
    let mut bench = bench.again(&StoreConfig::default());
    assert_eq!(bench.uploads(), kept);
    assert_eq!(bench.find(UploadId([4; 16])).err(), Some(Failure::Locked), "of a later version");
    assert_eq!(bench.offset(ID), 300);
}

#[test]
fn a_crowd_of_leftovers_does_not_hold_up_the_start() {
    let dir = TempDir::new().unwrap();
    let uploads = dir.path().join(".filewharf/uploads");
    std::fs::create_dir_all(&uploads).unwrap();
    for n in 0..20_000_u128 {
        let id = UploadId(n.to_be_bytes());
        std::fs::write(uploads.join(if n % 2 == 0 { part_name(id) } else { info_name(id) }), b"").unwrap();
    }
    let mut bench = Bench::open(dir.path(), &StoreConfig::default());
    bench.complete_upload(f());
    for n in 0..1_000_000 {
        if bench.uploads() == [info_name(ID)] {
            return;
        }
        assert!(n < 999_999, "never");
        std::thread::yield_now();
    }
}

#[test]
fn a_clock_that_jumps_forward_lets_no_upload_expire_before_its_time() {
    let (_dir, mut bench) = limited(hour);
    let (file, _) = bench.part(f());
    bench.write_part(file, 0, 300);
    bench.save(file, 300).unwrap();
    bench.pass(0);
    let jump = |bench: &Bench, seconds| {
        bench.store.pool.volume.resumable.jumped_s.store(seconds, std::sync::atomic::Ordering::Relaxed);
    };
    jump(&bench, 1_000_000_000);
    bench.pass(1800);
    assert_eq!(bench.offset(ID), 300, "half of its time has passed");
    bench.pass(3500);
    assert_eq!(bench.offset(ID), 300);
    bench.pass(3700);
    assert_eq!(bench.find(ID).err(), Some(Failure::Gone));
}

#[test]
fn an_upload_of_a_time_that_is_yet_to_come_expires_all_the_same() {
    let (_dir, mut bench) = limited(hour);
    let (file, _) = bench.part(f());
    bench.save(file, 0).unwrap();
    change_checkpoint(&bench, ID, |checkpoint| checkpoint.expires_s += 1_000_000_000);
    bench.pass(0);
    assert_eq!(bench.offset(ID), 0);
    bench.pass(3700);
    assert_eq!(bench.find(ID).err(), Some(Failure::Gone));
}

#[test]
fn a_file_replaced_by_an_upload_in_parts_keeps_its_mode_and_a_part_stays_writable() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let mode_of = |path: PathBuf| path.metadata().unwrap().mode() & 0o7777;
    in_each_mode(|mut bench, _| {
        bench.store_file("d/f", b"old", Precondition::None).unwrap();
        std::fs::set_permissions(bench.path("d/f"), std::fs::Permissions::from_mode(0o444)).unwrap();
        let (file, _) = bench.part(f());
        let part = bench.upload_path(&part_name(ID));
        let before = mode_of(part.clone());
        bench.write_part(file, 0, LEN);
        let failed = bench.commit(file, "d/f", LEN as u64, Precondition::Absent);
        assert_eq!((failed, mode_of(part)), (Err(Failure::PreconditionFailed), before));
        bench.complete_upload(f());
        assert_eq!(mode_of(bench.path("d/f")), 0o444);
    });
}
