//! Large files that lose their last name are freed by a worker.

use super::*;
use crate::store::namespace::deferred_unlink::{AT_ONCE_MAX, WAITING_MAX};
use crate::store::pool::workers::WorkQueue;

/// No worker takes what is queued from here on. Tells how many files wait to be freed.
fn without_workers(bench: &mut Bench) -> impl Fn(&Bench) -> usize + use<> {
    bench.store.pool.queues.close();
    bench.store.workers.drain(..).for_each(|worker| worker.join().unwrap());
    |bench: &Bench| bench.store.pool.queues.len(WorkQueue::Free)
}

fn large(bench: &Bench, name: &str) {
    std::fs::File::create(bench.path(name)).unwrap().set_len(AT_ONCE_MAX + 1).unwrap();
}

#[test]
fn a_large_file_that_lost_its_name_while_it_was_read_is_freed_by_a_worker() {
    let dir = TempDir::new().unwrap();
    let mut bench = Bench::open(dir.path(), &StoreConfig::default());
    if !bench.store.fs.caps.local {
        return; // nothing can be kept for later there
    }
    ["a", "b", "c"].into_iter().for_each(|name| large(&bench, name));
    std::fs::File::create(bench.path("small")).unwrap().set_len(AT_ONCE_MAX).unwrap();
    let files = ["a", "a", "b", "c", "small"].map(|name| (name, bench.open_file(name).unwrap().0));
    let freed = without_workers(&mut bench);
    for name in ["a", "b", "small"] {
        std::fs::remove_file(bench.path(name)).unwrap();
    }
    let after = files.map(|(name, file)| {
        assert!(bench.store.try_now(CONN, Op::Close { file }).unwrap().result.is_ok());
        (name, freed(&bench))
    });
    let of_a = after[1].1;
    assert!((1..=2).contains(&of_a), "both may have been one");
    assert_eq!(after[2..], [("b", of_a + 1), ("c", of_a + 1), ("small", of_a + 1)]);
}

#[test]
fn a_large_file_that_loses_its_name_on_the_loop_is_freed_by_a_worker_and_not_too_many_wait() {
    let dir = TempDir::new().unwrap();
    let config = StoreConfig { durability: Durability::Written, ..StoreConfig::default() };
    let mut bench = Bench::open(dir.path(), &config);
    if !bench.store.fs.caps.local {
        return; // nothing can be kept for later there
    }
    let freed = without_workers(&mut bench);
    let replaces = |bench: &mut Bench, len: u64| {
        std::fs::File::create(bench.path("x")).unwrap().set_len(len).unwrap();
        let Ok(Outcome::Created(file)) =
            bench.store.try_now(CONN, Op::Create(put("x", Some(1), Precondition::None))).unwrap().result
        else {
            panic!("no staging file");
        };
        bench.store.write_now(file, 0, b"x").unwrap();
        let (precondition, prepend) = (Precondition::None, Box::default());
        let op = Op::Commit { file, key: key("x"), len: 1, prepend, mtime: None, precondition, digest: None };
        assert!(matches!(bench.store.try_now(CONN, op).unwrap().result, Ok(Outcome::Committed(_))));
        freed(bench)
    };
    assert_eq!(replaces(&mut bench, AT_ONCE_MAX), 0, "a small one goes with its name");
    assert_eq!(replaces(&mut bench, AT_ONCE_MAX + 1), 1);
    assert_eq!(replaces(&mut bench, 1 << 43), 1, "another upload may count on its space");
    ["from", "to"].into_iter().for_each(|name| large(&bench, name));
    let op = Op::Run(Whole::Rename {
        from: key("from"),
        to: key("to"),
        precondition: Precondition::None,
        parents: MissingParents::Make,
        replaces_dir: false,
        len_max: None,
    });
    assert!(matches!(
        bench.store.try_now(CONN, op).unwrap().result,
        Ok(Outcome::Answered(Answer::Moved(_) | Answer::Done))
    ));
    assert_eq!(freed(&bench), 2, "what is moved over goes too");
    loop {
        large(&bench, "y");
        let op = Op::Run(Whole::Delete {
            key: key("y"),
            is_recursive: false,
            expected_kind: ExpectedKind::Either,
            precondition: Precondition::None,
        });
        match bench.store.try_now(CONN, op) {
            Ok(done) => assert!(matches!(done.result, Ok(Outcome::Answered(Answer::Moved(_) | Answer::Done)))),
            Err(_) => break,
        }
        assert!(!bench.path("y").exists() && freed(&bench) <= WAITING_MAX);
    }
    assert_eq!(freed(&bench), WAITING_MAX);
}
