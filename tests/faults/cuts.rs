//! Power cuts at a chosen moment, for which `tests/crash` would have to be lucky: a change that
//! replaces a file is in its middle, its own syncs are still to come, and the sync of another process brings
//! half of it to the disk.

use std::fs;

use crate::outside::{Mounted, Strace, Target, run, text};
use crate::server::Served;
use crate::wire::{Talker, Wire};
use support::client::{content, staged, wait_until};

/// Long enough for an upload not to be stored as a whole.
const LONG: usize = 300_000;

/// What replaces the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// A file that is on the disk for long.
    Move,
    /// An upload that ends now; all of its bytes were sent before.
    Upload,
}

/// What stands at the name after the cut.
fn after_a_cut(make: &[&str], change: Change, options: &[&str]) -> Option<Vec<u8>> {
    let disk = Mounted::image(320, make, "");
    let server = Served::start(&disk.path().join("served"), options);
    let mut client = server.client();
    client.put("/from/file", &content(1, 100));
    client.put("/to/file", &content(2, 100));
    let mut talker = Talker::new(Wire::Line, server.address());
    if change == Change::Upload {
        talker.send(format!("PUT * /to/file\n{LONG:x}\n"));
        talker.send(content(1, LONG));
        wait_until("all of it is written", || {
            staged(&server.root).iter().any(|file| fs::metadata(file).is_ok_and(|file| file.len() == LONG as u64))
        });
    }
    run(&["sync", "--file-system", &text(disk.path())]);
    // Acknowledged: this, or what replaces it, must be there for ever.
    client.put("/to/file", &content(3, 100));
    // The server is not to continue before the cut is made, however long a sync takes: it ends in
    // this pause.
    let pause = "inject=renameat:delay_exit=600000000".to_owned();
    let options = ["-e".into(), "trace=renameat".into(), "-e".into(), pause];
    let strace = Strace::attach(Target::Process(server.pid()), &options);
    talker.send(match change {
        Change::Move => "RENAME /from/file\t/to/file\n",
        Change::Upload => "0\n",
    });
    let newest = content(3, 100);
    wait_until("it is replaced", || fs::read(server.root.join("to/file")).is_ok_and(|bytes| bytes != newest));
    let somebody = fs::File::create(disk.path().join("somebody")).expect("a file");
    somebody.sync_all().expect("a sync");
    let cut = disk.cut();
    drop((somebody, strace, server, disk));
    let disk = cut.mount();
    fs::read(disk.path().join("served/to/file")).ok()
}

// covers: cut-before-directory-sync
#[test]
#[ignore = "needs root, strace, loop devices, mkfs of ext4, xfs and btrfs, and a release build"]
fn a_cut_while_a_file_is_replaced_leaves_one_of_the_two_whole() {
    let file_systems = [&["mkfs.ext4", "-q"][..], &["mkfs.xfs", "-q"], &["mkfs.btrfs", "-q"]];
    for make in file_systems {
        for options in [&[][..], &["--portable"]] {
            for (change, len) in [(Change::Move, 100), (Change::Upload, LONG)] {
                let found = after_a_cut(make, change, options);
                let is = |bytes: &[u8]| found.as_deref() == Some(bytes);
                let seen = match &found {
                    None => "none",
                    Some(_) if is(&content(3, 100)) => "the old one",
                    Some(_) if is(&content(1, len)) => "the new one",
                    Some(_) => "neither",
                };
                println!("cuts: {}, {options:?}, {change:?}: {seen}", make[0]);
                assert!(is(&content(3, 100)) || is(&content(1, len)), "{make:?} {options:?} {change:?}: {seen}");
            }
        }
    }
}
