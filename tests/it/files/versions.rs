//! Another program changes a file while it is sent: one version arrives whole, or the connection is reset.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use filewharf::dialect::Kind;
use filewharf::error::CloseReason;
use support::client::{Client, Running, assert_same, content, limits, wait_until};

/// More than the buffers of two sockets hold.
const LEN: usize = 24 << 20;

/// How a download begins, and how many bytes of the file it is at most.
fn ways() -> Vec<(Kind, Vec<u8>, usize)> {
    let pickle = b"\x80\x02}q\0X\x03\0\0\0getq\x01X\x04\0\0\0fileq\x02s.".to_vec();
    let http = |more: &str| format!("GET /file HTTP/1.1\r\nHost: localhost\r\n{more}\r\n").into_bytes();
    vec![
        (Kind::Line, b"GET /file\n".to_vec(), LEN),
        (Kind::Line, b"GET trailer=sha256 /file\n".to_vec(), LEN),
        (Kind::Line, b"GET range=1000- /file\n".to_vec(), LEN - 1000),
        (Kind::Http, http(""), LEN),
        (Kind::Http, http("Range: bytes=0-25165819,25165822-\r\n"), LEN),
        (Kind::LengthPrefix, format!("{:<64}GET /file", 9).into_bytes(), LEN),
        (Kind::Menu, b"receiveimage".to_vec(), LEN),
        (Kind::NameChoice, b"1file:GET".to_vec(), LEN),
        (Kind::Pickle, pickle, LEN),
    ]
}

/// In place, over all of it, with its length and its time of modification as they were: only the ctime tells.
fn overwrite(path: &Path) {
    let file = File::options().write(true).open(path).expect("the file");
    let modified = file.metadata().expect("its times").modified().expect("a time");
    file.write_all_at(&vec![b'B'; LEN], 0).expect("it is overwritten");
    file.set_times(FileTimes::new().set_modified(modified)).expect("its time is set back");
}

fn append(path: &Path) {
    let file = File::options().write(true).open(path).expect("the file");
    file.write_all_at(b"more", LEN as u64).expect("it grows");
}

// covers: grows-while-sent overwritten-while-sent
#[test]
fn a_file_that_is_changed_in_place_while_it_is_sent_is_never_a_mix_that_looks_whole() {
    for portable in [false, true] {
        let server = Running::with(|builder| {
            let menu = "menu@127.0.0.1:0?image=file".parse().expect("an address");
            let limits = limits().with(|limits| limits.fixed.message_bytes_max = 2 * LEN);
            let builder = builder.portable(portable).limits(limits).listen_at(menu);
            builder
                .listen_as(Kind::LengthPrefix, "127.0.0.1:0")
                .listen_as(Kind::NameChoice, "127.0.0.1:0")
                .listen_as(Kind::Pickle, "127.0.0.1:0")
        });
        let mut resets = 0;
        for (kind, request, len) in ways() {
            for change in [overwrite, append] {
                fs::write(server.path("file"), vec![b'A'; LEN]).expect("a file");
                let addresses = server.handle().addresses();
                let nth = [Kind::Menu, Kind::LengthPrefix, Kind::NameChoice, Kind::Pickle]
                    .iter()
                    .position(|one| *one == kind);
                let mut client = Client::connect(addresses[nth.unwrap_or(4)].0.socket_addr().expect("over TCP"));
                client.send(&request);
                client.bytes(1000);
                change(&server.path("file"));
                let (rest, error) = client.rest();
                assert!(rest.len() < len && error.is_some(), "{kind:?} {portable}: {} bytes, {error:?}", rest.len());
                resets += 1;
                wait_until("it is counted", || server.closed(CloseReason::SourceFailed) == resets);
            }
        }
        Client::connect(server.handle().addresses()[4].0.socket_addr().expect("over TCP")).expect("PING", "OK 0");
    }
}

#[test]
fn a_file_arrives_whole_although_its_names_change_while_it_is_sent() {
    let bytes = content(1, LEN);
    let changes: [fn(&Path); 6] = [
        |path| fs::remove_file(path).expect("it goes"),
        |path| fs::rename(path, path.with_file_name("other")).expect("it moves"),
        |path| {
            fs::create_dir(path.with_file_name("dir")).expect("a folder");
            fs::rename(path, path.with_file_name("dir").join("file")).expect("it moves");
        },
        |path| fs::hard_link(path, path.with_file_name("second")).expect("a second name"),
        |path| fs::rename(path.with_file_name("new"), path).expect("another one gets its name"),
        |path| {
            fs::rename(path, path.with_file_name("other")).expect("it moves");
            fs::rename(path.with_file_name("new"), path).expect("another one gets its name");
        },
    ];
    for portable in [false, true] {
        for change in changes {
            let server = Running::with(|builder| builder.portable(portable));
            fs::write(server.path("file"), &bytes).expect("a file");
            fs::write(server.path("new"), "another one").expect("a file");
            let mut client = server.client();
            client.expect("GET /file", &format!("OK {LEN} "));
            let mut got = client.bytes(1000);
            change(&server.path("file"));
            got.extend(client.bytes(LEN - 1000));
            assert_same(&got, &bytes, "the version that was opened");
            client.expect("PING", "OK 0");
        }
    }
}
