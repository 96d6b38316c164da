//! Operations that their permit does not allow change nothing of an upload, and end no attachment to it.
use super::joins::{part_id, whole, with_role};
use super::*;
use crate::error::StoreError;

const NOT_HERE: Failure = Failure::Denied("not here");

/// Permits uploads of at most 999 bytes, and none of this name.
fn permit(denied: &'static str) -> Permit {
    Permit(Some(Arc::new(move |key: &Key| if key.as_str() == denied { Err(NOT_HERE) } else { Ok(999) })))
}

/// Every operation on an upload that is there.
fn ops(upload: UploadId, permit: &Permit) -> [Op; 3] {
    let (id, permit) = (upload, || permit.clone());
    [
        Op::OpenUpload { upload: UploadRef::Existing(id), len: None, client: CLIENT, permit: permit() },
        Op::FindUpload { id, inquiry: Inquiry::Final, permit: permit() },
        Op::RemoveUpload { id, permit: permit() },
    ]
}

fn refused(bench: &mut Bench, op: Op) -> StoreError {
    bench.store.submit(CONN, None, op);
    bench.next().result.expect_err("it is refused")
}

#[test]
fn an_upload_is_neither_ended_nor_described_without_the_right_at_its_name() {
    let dir = TempDir::new().unwrap();
    let mut bench = Bench::open(dir.path(), &StoreConfig::default());
    for attached in [true, false] {
        let (file, at) = bench.part(f());
        bench.write_part(file, at, at + 100);
        if !attached {
            bench.save(file, at + 100).unwrap();
        }
        for op in ops(ID, &permit("d/f")) {
            let error = refused(&mut bench, op);
            assert_eq!((error.failure, error.cause().ends_with(": d/f")), (NOT_HERE, true), "{error}");
        }
        if attached {
            assert_eq!(bench.save(file, 100).unwrap().offset, 100, "it is still attached");
        }
    }
    assert_eq!(bench.offset(ID), 200);
}

#[test]
fn a_server_is_not_asked_to_leave_an_upload_for_a_request_without_the_right() {
    let (dir, mut one, mut other) = sharing::two();
    let (file, _) = one.part(f());
    for op in ops(ID, &permit("d/f")) {
        assert_eq!(refused(&mut other, op).failure, NOT_HERE);
    }
    assert!(!dir.path().join(format!(".filewharf/wanted/{ID}")).exists());
    one.save(file, 0).unwrap();
}

#[test]
fn a_length_that_is_not_permitted_is_not_noted() {
    let dir = TempDir::new().unwrap();
    let mut bench = Bench::open(dir.path(), &StoreConfig::default());
    let put = put("d/f", None, Precondition::None);
    let (file, _) = bench.part(new(Some(ID), put));
    bench.save(file, 0).unwrap();
    let open = |len| {
        let upload = UploadRef::Existing(ID);
        Op::OpenUpload { upload, len: Some(len), client: CLIENT, permit: permit("another") }
    };
    assert_eq!(refused(&mut bench, open(1000)).failure, Failure::TooLarge);
    let Ok(Outcome::UploadOpened { upload, .. }) = bench.run(open(999)) else { panic!("it is permitted") };
    assert_eq!(upload.put.len, Some(999));
}

#[test]
fn an_upload_is_joined_only_from_parts_that_are_permitted() {
    let dir = TempDir::new().unwrap();
    let mut bench = Bench::open(dir.path(), &StoreConfig::default());
    for (n, name) in ["mine", "theirs"].into_iter().enumerate() {
        let upload = with_role(part_id(n), put(name, Some(0), Precondition::None), Role::Partial);
        let (_, file, _) = bench.open_upload(upload).unwrap();
        bench.end_part(file.unwrap(), PartEnd::Save { offset: 0, digest: None }).unwrap();
    }
    for (denied, result) in [("theirs", Some(NOT_HERE)), ("mine", Some(NOT_HERE)), ("d/f", None)] {
        let upload = whole(put("d/f", None, Precondition::None), &[part_id(0), part_id(1)]);
        let op = Op::OpenUpload { upload, len: None, client: CLIENT, permit: permit(denied) };
        assert_eq!(bench.run(op).err(), result, "{denied}");
    }
}
