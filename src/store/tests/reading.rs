//! Reading and listing.
use super::*;
use crate::order::Order;
use crate::os::net::send::file;
use crate::os::net::send::partial_sends::PartialSends;
use crate::os::process::clock;
use crate::platform::{ReadNow, SendFile};
use crate::store::content::WINDOW_BYTES;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n % 251) as u8).collect()
}

/// As for a connection that is registered for events, or for one that is not.
fn send_file(
    bench: &mut Bench,
    file: FileId,
    offset: u64,
    len: usize,
    socket: BorrowedFd<'_>,
    conn: Option<ConnId>,
) -> std::io::Result<SendFile> {
    file::send_file(socket, &mut bench.store.content(file), offset, len, conn.is_some())
}

// covers: replaced-while-sent
#[test]
fn an_open_file_is_one_version_whatever_happens_to_its_name() {
    in_every_mode(|bench| {
        bench.store_file("f", b"old", Precondition::None).unwrap();
        let (file, meta, _) = bench.open_file("f").unwrap();
        let new = bench.store_file("f", b"newer", Precondition::None).unwrap();
        assert_ne!(meta.etag, new.etag);
        bench.delete("f", Precondition::None).unwrap();
        let done = bench.complete(Op::Read { file, offset: 1, len: 99, chunk: Chunk::new(8) });
        assert_eq!(done.chunk.unwrap().data(), b"ld");
        let done = bench.complete(Op::Read { file, offset: 3, len: 99, chunk: Chunk::new(8) });
        assert!(done.chunk.unwrap().is_empty() && done.result.is_ok());
        bench.run(Op::Close { file }).unwrap();
        let done = bench.complete(Op::Read { file, offset: 0, len: 1, chunk: Chunk::new(8) });
        assert!(done.chunk.is_some() && done.result.is_err(), "closed");
        assert_eq!(bench.run(Op::Close { file }).unwrap_err(), Failure::Internal);
    });
}

/// Brings what is cold into memory, as the reactor does.
fn warm(bench: &mut Bench, file: FileId, offset: u64) {
    assert!(matches!(bench.run(Op::Warm { file, offset, len: 1 << 20 }), Ok(Outcome::Warmed)));
}

/// Writes the pages to the disk and drops them, as well as that can be asked for.
fn make_cold(bench: &Bench, name: &str) {
    let file = std::fs::OpenOptions::new().write(true).open(bench.path(name)).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
}

#[test]
fn a_file_is_read_from_the_loop_warm_or_cold() {
    in_every_mode(|bench| {
        let whole = pattern(3_000_000);
        bench.store_file("big", &whole, Precondition::None).unwrap();
        for cold in [false, true] {
            if cold {
                make_cold(bench, "big");
            }
            let (file, _, source) = bench.open_file("big").unwrap();
            if source == Source::Held {
                continue;
            }
            let (mut got, mut buf, mut warmings) = (Vec::new(), vec![0; 200_000], 0);
            loop {
                match bench.store.read_now(file, got.len() as u64, &mut buf).unwrap() {
                    ReadNow::Bytes(0) => break,
                    ReadNow::Bytes(n) => got.extend_from_slice(&buf[..n]),
                    ReadNow::Cold => {
                        warm(bench, file, got.len() as u64);
                        warmings += 1;
                        assert!(warmings < 100, "no progress");
                    }
                }
            }
            assert_eq!(got, whole);
            bench.run(Op::Close { file }).unwrap();
        }
    });
}

#[test]
fn a_file_goes_into_a_socket_warm_or_cold_copied_or_not() {
    in_every_mode(|bench| {
        let whole = pattern(3_000_000);
        bench.store_file("big", &whole, Precondition::None).unwrap();
        for (cold, copied) in [(false, false), (true, false), (false, true)] {
            let (file, _, source) = bench.open_file("big").unwrap();
            if source == Source::Held {
                continue;
            }
            if cold {
                make_cold(bench, "big");
            }
            if copied {
                bench.store.files.reading(file).unwrap().refuse_sendfile();
            }
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            let (mut sent, mut got, mut warmings) = (0, Vec::new(), 0);
            let mut buf = vec![0; 1 << 20];
            while sent < whole.len() {
                match send_file(bench, file, sent as u64, whole.len() - sent, ours.as_fd(), None) {
                    Ok(SendFile::Sent(n) | SendFile::SentUntilFull(n)) => sent += n,
                    Ok(SendFile::Cold) => {
                        warm(bench, file, sent as u64);
                        warmings += 1;
                        assert!(warmings < 100, "no progress");
                    }
                    Ok(SendFile::Truncated) => panic!("it is not"),
                    Err(error) => {
                        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                        let n = theirs.read(&mut buf).unwrap();
                        got.extend_from_slice(&buf[..n]);
                    }
                }
            }
            drop(ours);
            theirs.read_to_end(&mut got).unwrap();
            assert!(got == whole);
            bench.run(Op::Close { file }).unwrap();
        }
    });
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a thread must read while the test sends")]
fn a_send_is_not_cut_short_where_what_was_seen_in_memory_ends() {
    in_every_mode(|bench| {
        bench.store_file("big", &pattern(3 * WINDOW_BYTES), Precondition::None).unwrap();
        let (file, _, source) = bench.open_file("big").unwrap();
        if source == Source::Held {
            return;
        }
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let reader = std::thread::spawn(move || std::io::copy(&mut theirs, &mut std::io::sink()).unwrap());
        let mut sent = 0;
        for (len, of_it) in [
            (1000, 1000),
            (2 * WINDOW_BYTES, 2 * WINDOW_BYTES),    // after the first window
            (2 * WINDOW_BYTES, WINDOW_BYTES - 1000), // to the end of the file
        ] {
            match send_file(bench, file, sent as u64, len, ours.as_fd(), None).unwrap() {
                _ if !bench.store.files.reading(file).unwrap().sends_directly() => return,
                SendFile::Sent(n) => assert_eq!(n, of_it),
                other => panic!("{other:?}, of a file that was just written, to a socket that waits"),
            }
            sent += of_it;
        }
        drop(ours);
        assert_eq!(reader.join().unwrap(), sent as u64);
    });
}

// covers: truncated-while-sent
#[test]
fn a_file_that_became_shorter_is_reported_and_never_padded() {
    in_every_mode(|bench| {
        bench.store_file("f", &pattern(50_000), Precondition::None).unwrap();
        let (file, _, source) = bench.open_file("f").unwrap();
        let (ours, _theirs) = UnixStream::pair().unwrap();
        if source == Source::Direct {
            // So far all of it can be sent; that it cannot any more is found out while it is.
            while send_file(bench, file, 0, 1, ours.as_fd(), None).unwrap() == SendFile::Cold {
                warm(bench, file, 0);
            }
        }
        std::fs::OpenOptions::new().write(true).open(bench.path("f")).unwrap().set_len(10_000).unwrap();
        let done = bench.complete(Op::Read { file, offset: 9_000, len: 5_000, chunk: Chunk::new(5_000) });
        assert_eq!(done.chunk.unwrap().len(), 1_000);
        warm(bench, file, 20_000);
        if source == Source::Direct {
            let mut sent = 0;
            for _ in 0..100 {
                match send_file(bench, file, sent, 50_000, ours.as_fd(), None).unwrap() {
                    SendFile::Sent(n) => sent += n as u64,
                    SendFile::SentUntilFull(_) => panic!("no event will tell of room that was always there"),
                    SendFile::Cold => warm(bench, file, sent),
                    SendFile::Truncated => break,
                }
            }
            assert_eq!(sent, 10_000);
            assert_eq!(send_file(bench, file, 20_000, 9, ours.as_fd(), None).unwrap(), SendFile::Truncated);
            assert_eq!(bench.store.read_now(file, 10_000, &mut [0; 9]).unwrap(), ReadNow::Bytes(0));
        }
    });
}

// covers: overwritten-while-sent
#[test]
fn what_was_read_of_a_file_that_is_written_in_place_is_refused_and_a_copy_in_memory_is_not() {
    in_every_mode(|bench| {
        for len in [1, 4096, 100_000] {
            bench.store_file("f", &pattern(len), Precondition::None).unwrap();
            for _ in 0..3 {
                // The third time from the cache, where there is one.
                let (file, _, _) = bench.open_file("f").unwrap();
                assert!(bench.store.check_version(file).is_ok());
                let is_copy = bench.store.in_memory(file, 0).is_some();
                overwrite(&bench.path("f"));
                assert_eq!(bench.store.check_version(file).is_ok(), is_copy, "{len}");
                let read = bench.complete(Op::Read { file, offset: 0, len: 1, chunk: Chunk::new(8) });
                assert_eq!(read.result.is_ok(), is_copy, "{len}");
                bench.run(Op::Close { file }).unwrap();
            }
        }
    });
}

/// Lets the clock of the file system reach a later time than that at which this file was changed last.
fn let_clock_advance(bench: &Bench, name: &str) {
    let changed = |name: &str| std::fs::metadata(bench.path(name)).map(|it| (it.ctime(), it.ctime_nsec())).unwrap();
    let end = clock() + WATCHDOG;
    let before = changed(name);
    std::fs::write(bench.path("clock"), b"").unwrap();
    while changed("clock") <= before {
        assert!(clock() < end, "the clock stands still");
        std::fs::write(bench.path("clock"), b"").unwrap();
    }
}

fn overwrite(path: &Path) {
    let written = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&written, b"x", 0).unwrap();
}

type Change = fn(&Path);

// covers: overwritten-while-sent
#[test]
fn a_file_is_as_it_was_opened_whatever_becomes_of_its_name_and_not_once_its_content_has_changed() {
    let changes: [(Change, bool); 7] = [
        (|path| std::fs::rename(path, path.with_file_name("other")).unwrap(), true),
        (|path| std::fs::hard_link(path, path.with_file_name("second")).unwrap(), true),
        (|path| std::fs::remove_file(path).unwrap(), true),
        (overwrite, false),
        (
            |path| {
                let modified = path.metadata().unwrap().modified().unwrap();
                overwrite(path);
                let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
                file.set_modified(modified).unwrap();
            },
            false,
        ),
        (
            |path| {
                overwrite(path);
                std::fs::rename(path, path.with_file_name("other")).unwrap();
            },
            false,
        ),
        (
            |path| {
                overwrite(path);
                std::fs::hard_link(path, path.with_file_name("second")).unwrap();
            },
            false,
        ),
    ];
    for (number, (change, is_as_opened)) in changes.into_iter().enumerate() {
        in_every_mode(|bench| {
            // More than a file in the cache has.
            bench.store_file("f", &pattern(1 << 20), Precondition::None).unwrap();
            let (file, _, _) = bench.open_file("f").unwrap();
            let_clock_advance(bench, "f");
            change(&bench.path("f"));
            assert_eq!(bench.store.check_version(file).is_ok(), is_as_opened, "{number}");
            bench.run(Op::Close { file }).unwrap();
        });
    }
}

#[test]
fn a_send_is_repeated_where_the_socket_only_seemed_full() {
    in_every_mode(|bench| {
        let mut partial = PartialSends::default();
        let again = |partial: &mut PartialSends| {
            let mut told = Vec::new();
            partial.look(|conn| told.push(conn));
            told
        };
        let whole = pattern(2_000_000);
        let write = |bench: &Bench| std::fs::write(bench.path("f"), &whole).unwrap();
        write(bench);
        // A file that loses its name to another is as it was. A socket that is emptied meanwhile is as one that a
        // signal left with room.
        for (change, replaced, emptied) in
            [(false, false, false), (true, false, false), (false, true, false), (false, false, true)]
        {
            write(bench);
            let (file, _, source) = bench.open_file("f").unwrap();
            let other = bench.open_file("f").unwrap().0;
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            if source == Source::Held {
                return;
            }
            while send_file(bench, file, 0, 1, ours.as_fd(), None).unwrap() == SendFile::Cold {
                warm(bench, file, 0);
            }
            if change {
                std::fs::OpenOptions::new().write(true).open(bench.path("f")).unwrap().set_len(1000).unwrap();
            }
            if replaced {
                std::fs::write(bench.path("g"), b"new").unwrap();
                std::fs::rename(bench.path("g"), bench.path("f")).unwrap();
            }
            let sent = send_file(bench, file, 0, whole.len(), ours.as_fd(), Some(CONN.conn)).unwrap();
            if !bench.store.files.reading(file).unwrap().sends_directly() {
                return;
            }
            let SendFile::SentUntilFull(n) = sent else { panic!("{sent:?}: there is less room than that") };
            partial.note(ours.as_fd(), CONN.conn);
            assert_eq!(n == 1000, change);
            if change {
                // Long enough again, and yet no event tells of room.
                write(bench);
            }
            if emptied {
                theirs.read_exact(&mut vec![0; n + 1]).unwrap();
            }
            assert_eq!(again(&mut partial), if change || emptied { vec![CONN.conn] } else { vec![] });
            assert_eq!(again(&mut partial), [], "once");
            bench.run(Op::Close { file }).unwrap();
            bench.run(Op::Close { file: other }).unwrap();
            drop(theirs);
        }
    });
}

#[test]
fn what_is_in_the_cache_is_opened_on_the_loop() {
    let dir = TempDir::new().unwrap();
    let mut bench = Bench::open(dir.path(), &StoreConfig::default());
    bench.store_file("a/f", b"x", Precondition::None).unwrap();
    if bench.store.fs.caps.cached {
        let done = bench.store.try_now(CONN, Op::Open { key: key("a/f") }).expect("it is in the cache");
        assert!(matches!(done.result, Ok(Outcome::Opened { .. })));
    }
    let portable = StoreConfig { portable: true, ..StoreConfig::default() };
    drop(bench);
    let mut bench = Bench::open(dir.path(), &portable);
    assert!(bench.store.try_now(CONN, Op::Open { key: key("a/f") }).is_err());
    assert_eq!(bench.open_file("a/f").unwrap().2, Source::Held);
}

#[test]
fn a_large_directory_is_listed_in_pages_without_gaps() {
    in_every_mode(|bench| {
        let dir = bench.path("many");
        std::fs::create_dir(&dir).unwrap();
        let mut names: Vec<String> = (0..2500).map(|n| format!("{}", n * 7919 % 2500)).collect();
        for name in &names {
            std::fs::write(dir.join(name), b"").unwrap();
        }
        names.sort();
        for limit in [1000, 999, 2500, 5000] {
            let (mut got, mut after): (Vec<String>, Option<String>) = (Vec::new(), None);
            loop {
                let page = bench.list("many", after.as_deref(), limit).unwrap();
                assert!(page.entries.len() <= limit && !page.entries.is_empty());
                got.extend(page.entries.into_iter().map(|entry| String::from(entry.name)));
                after = got.last().cloned();
                if !page.more {
                    break;
                }
            }
            assert_eq!(got, names, "{limit}");
        }
        let op = |bytes_max| Op::List {
            key: key("many"),
            recursive: false,
            order: Order::default(),
            after: None,
            limit: 9,
            bytes_max,
            details: Details::default(),
            hides: None,
        };
        for (bytes_max, count) in [(0, 1), (2 * 97, 2), (1 << 20, 9)] {
            let Ok(Outcome::Listed(page)) = bench.run(op(bytes_max)) else { panic!("no page") };
            assert_eq!((page.entries.len(), page.more), (count, true), "{bytes_max}");
        }
    });
}

#[test]
fn a_listing_hides_what_does_not_exist_for_peers() {
    in_every_mode(|bench| {
        bench.make("folder").unwrap();
        bench.make("sub/.filewharf-not").unwrap();
        bench.store_file("é ü", b"four", Precondition::None).unwrap();
        fifo(&bench.path("fifo"));
        std::os::unix::fs::symlink("folder", bench.path("link")).unwrap();
        std::os::unix::net::UnixListener::bind(bench.path("socket")).unwrap();
        std::fs::write(bench.path("new\nline"), b"").unwrap();
        std::fs::write(bench.path("del\x7f"), b"").unwrap();
        std::fs::write(bench.root.join(std::ffi::OsStr::from_bytes(b"bad\xff")), b"").unwrap();
        assert_eq!(bench.names(""), ["folder", "sub", "é ü"]);
        let page = bench.list("", Some("folder"), 1).unwrap();
        assert_eq!((&*page.entries[0].name, page.more), ("sub", true));
        assert_eq!(
            bench.list("", Some("é ü"), 9).unwrap(),
            Listing { entries: Vec::new(), more: false, unlisted: 3, total: None }
        );
        assert_eq!(bench.open_file("fifo").unwrap_err(), Failure::NotFound);
        assert_eq!(bench.open_file("socket").unwrap_err(), Failure::NotFound);
    });
}
