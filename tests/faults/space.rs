//! Several uploads into space that is too small for all of them.

use std::fs;

use crate::outside::Mounted;
use crate::server::Served;
use support::client::{assert_same, content, staged, visible, wait_until};

/// Uploads of announced length where two fit and three do not, beside others that announce as much and
/// send nothing.
fn two_of_three_are_stored(disk: &Mounted) {
    let root = disk.path().join("served");
    let server = Served::start(&root, &[]);
    let base = server.descriptors_at_rest();
    let free = || rustix::fs::statvfs(disk.path()).map(|fs| fs.f_bavail * fs.f_frsize).expect("a file system");
    let before = free();
    let len = usize::try_from(before * 2 / 5).expect("a small disk");
    let mut silent: Vec<_> = (0..20).map(|_| server.client()).collect();
    for (n, client) in silent.iter_mut().enumerate() {
        if n % 2 == 0 {
            client.send(format!("PUT {len} /silent{n}\n"));
        } else {
            let head = format!("PUT /silent{n} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len}\r\n");
            client.send(format!("{head}Expect: 100-continue\r\n\r\n"));
            assert_eq!(client.line(), "HTTP/1.1 100 Continue\r");
        }
    }
    wait_until("the staging files of the silent", || staged(&root).len() == 20);
    assert!(before - free() < 1 << 20, "{} bytes were taken for nothing", before - free());
    let bytes = content(7, len);
    let (first, rest) = bytes.split_at(1 << 20);
    let mut senders = [server.client(), server.client(), server.client()];
    for (n, client) in senders.iter_mut().enumerate() {
        client.send(format!("PUT {len} /sent{n}\n"));
    }
    wait_until("three more staging files", || staged(&root).len() == 23);
    for client in &mut senders {
        client.send(first);
    }
    wait_until("one of them refused", || staged(&root).len() == 22);
    let is_told = |client: &support::client::Client| {
        client.stream.set_nonblocking(true).expect("a socket");
        let told = client.stream.peek(&mut [0]).is_ok();
        client.stream.set_nonblocking(false).expect("a socket");
        told
    };
    wait_until("the refused one told so", || senders.iter().filter(|client| is_told(client)).count() == 1);
    let refused = senders.iter().position(is_told).expect("one was told");
    for (n, client) in senders.iter_mut().enumerate() {
        if n == refused {
            let line = client.line();
            assert!(line.starts_with("ERR 507 "), "{line}");
            continue;
        }
        client.send(rest);
        let line = client.line();
        assert!(line.starts_with("OK "), "{line}");
        assert_same(&fs::read(root.join(format!("sent{n}"))).expect("it is there"), &bytes, "a stored one");
    }
    assert_eq!(visible(&root).len(), 2);
    drop((senders, silent));
    server.assert_back_to(base, "a full disk");
    assert_eq!(server.end(), Some(0), "nothing was cut off");

    let server = Served::start(&root, &["--min-free", &(free() - 300_000).to_string()]);
    let mut client = server.client();
    client.expect("PUT 2000000 /more", "ERR 507 ");
    let mut client = server.client();
    client.put("/small", &content(1, 200_000));
    let written: u64 =
        (0..20).map(|n| u64::from(client.try_put(&format!("/small{n}"), &content(n, 50_000)).starts_with("OK "))).sum();
    assert!((1..20).contains(&written), "{written} of 20 were stored");
    drop(client);
    assert_eq!(server.end(), Some(0));
}

#[test]
#[ignore = "needs root and a release build"]
fn of_three_uploads_into_space_for_two_in_memory_two_are_stored() {
    two_of_three_are_stored(&Mounted::tmpfs("size=64M"));
}

#[test]
#[ignore = "needs root, loop devices, e2fsprogs and a release build"]
fn of_three_uploads_into_space_for_two_on_a_disk_two_are_stored() {
    two_of_three_are_stored(&Mounted::image(128, &["mkfs.ext4", "-q", "-m", "0"], ""));
}
