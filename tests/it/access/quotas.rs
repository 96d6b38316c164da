//! Quotas over real sockets: uploads at the same time never store more together, however they end.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Barrier;
use std::thread;

use rustix::process::Signal;

use crate::access::{TOKEN, entries};
use crate::program::{run, start, stderr};
use support::client::{Client, Running, value, wait_until};
use support::content::Random;

/// More than one chunk: a smaller upload is stored as a whole once all of it has come.
const LEN: usize = 100_000;
/// What fits.
const FIT: usize = 10;

fn write(file: &Path, allows: &str) {
    fs::write(file, allows).expect("a file");
    fs::set_permissions(file, Permissions::from_mode(0o600)).expect("a mode");
}

/// What is stored there.
fn lens(dir: &Path) -> Vec<u64> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    entries.map(|entry| entry.expect("an entry").metadata().expect("it is there").len()).collect()
}

/// A quota for ten of these uploads.
fn limited(dir: &Path) -> Running {
    let file = dir.join("access");
    write(&file, &format!("allow @ rlcwd /q quota={}\nallow @ rlcwd /", FIT * LEN));
    Running::on(&dir.join("served"), |builder| builder.access(&file))
}

#[test]
fn of_64_uploads_at_once_that_overshoot_together_exactly_those_that_fit_are_stored() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let running = limited(dir.path());
    for round in 0..2 {
        let (begin, end) = (Barrier::new(64), Barrier::new(64));
        // Half of them in a message of known length, half in pieces.
        let upload = |n: usize| {
            let mut client = running.client();
            let body = vec![b'x'; LEN];
            begin.wait();
            if n.is_multiple_of(2) {
                client.send(format!("PUT {LEN} /q/{n}\n"));
                client.send(&body[..LEN / 2]);
                end.wait();
                client.send_in_vain(&body[LEN / 2..]);
            } else {
                client.send(format!("PUT * /q/{n}\n{LEN:x}\n"));
                client.send(&body);
                end.wait();
                client.send_in_vain("0\n");
            }
            let line = client.line();
            assert!(line.starts_with("OK 0") || line.starts_with("ERR 507 the quota"), "{line}");
            usize::from(line.starts_with("OK 0"))
        };
        let stored: usize = thread::scope(|scope| {
            let uploads: Vec<_> = (0..64).map(|n| scope.spawn(move || upload(n))).collect();
            uploads.into_iter().map(|upload| upload.join().expect("it ends")).sum()
        });
        let lens = lens(&running.path("q"));
        assert_eq!((lens.len(), lens.iter().sum::<u64>()), (stored, (stored * LEN) as u64), "round {round}");
        // One in pieces holds a little more than it has.
        assert!(stored <= FIT && (1..=FIT).contains(&stored), "{stored}");
        let mut client = running.client();
        // What was refused counts until its file is removed, which the answer does not wait for.
        let used = Some((stored * LEN).to_string());
        wait_until("what was refused is given back", || value(&client.ask("SPACE /q/"), "used") == used);
        for n in stored..FIT {
            client.put(&format!("/q/rest{n}"), &vec![b'y'; LEN]);
        }
        assert!(client.try_put("/q/more", b"x").starts_with("ERR 507 "));
        for entry in fs::read_dir(running.path("q")).expect("a folder") {
            let name = entry.expect("an entry").file_name();
            client.expect(&format!("DELETE /q/{}", name.to_string_lossy()), "OK 0");
        }
    }
}

#[test]
fn uploads_that_are_cut_off_or_reset_give_back_what_they_held() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut running = limited(dir.path());
    running.may_cut_off();
    for round in 0..3 {
        let mut half: Vec<Client> = (0..FIT).map(|_| running.client()).collect();
        for (n, client) in half.iter_mut().enumerate() {
            client.send(format!("PUT {LEN} /q/{n}\nhalf"));
        }
        wait_until("all are accepted", || running.staged().len() == FIT);
        assert!(running.client().try_put("/q/x", b"x").starts_with("ERR 507 "));
        for (n, client) in half.into_iter().enumerate() {
            match (n + round) % 3 {
                0 => client.reset(),
                1 => client.finish(),
                _ => drop(client),
            }
        }
        let all = vec![b'x'; FIT * LEN];
        wait_until("all is given back", || running.client().try_put("/q/all", &all).starts_with("OK 0"));
        running.client().expect("DELETE /q/all", "OK 0");
    }
}

#[test]
fn a_client_that_waits_to_send_its_body_is_refused_before_if_it_does_not_fit() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let running = limited(dir.path());
    let mut client = running.client();
    let len = FIT * LEN + 1;
    client
        .send(format!("PUT /q/f HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len}\r\nExpect: 100-continue\r\n\r\n"));
    assert_eq!(client.line().trim_end(), "HTTP/1.1 507 Insufficient Storage");
}

#[test]
fn uploads_that_are_announced_and_not_sent_keep_the_quota_from_no_other() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let running = limited(dir.path());
    for n in 0..20 {
        let mut client = running.client();
        client.send(format!(
            "POST /q/u{n} HTTP/1.1\r\nHost: 127.0.0.1\r\nTus-Resumable: 1.0.0\r\nUpload-Length: {}\r\n\
             Content-Length: 0\r\n\r\n",
            FIT * LEN - 100
        ));
        assert_eq!(client.line().trim_end(), "HTTP/1.1 201 Created");
    }
    running.client().put("/q/f", &[b'x'; LEN]);
}

/// Bytes and number of the files in a directory.
fn stored(dir: &Path) -> (u64, u64) {
    let entries = fs::read_dir(dir).into_iter().flatten().map(|entry| entry.expect("an entry"));
    entries.fold((0, 0), |(bytes, files), entry| {
        let meta = entry.metadata().expect("it is there");
        let inside = if meta.is_dir() { stored(&entry.path()) } else { (meta.len(), 1) };
        (bytes + inside.0, files + inside.1)
    })
}

/// A request that others may be in the way of: they use the same few names.
fn racing(random: &mut Random) -> String {
    let dir = |random: &mut Random| format!("/q/{}", ["a", "b", "a/c", "b/c", "d"][random.below(5) as usize]);
    let name = |random: &mut Random| format!("{}/f{}", dir(random), random.below(4));
    match random.below(20) {
        0 | 1 => format!("DELETE recursive=1 {}/\n", dir(random)),
        2 => format!("DELETE {}/\n", dir(random)),
        3 | 4 => format!("DELETE {}\n", name(random)),
        5 | 6 => format!("RENAME replace=1 parents=1 {}\t{}\n", dir(random), dir(random)),
        7 => format!("RENAME parents=1 {}\t{}\n", dir(random), dir(random)),
        8 => format!("RENAME parents=1 {}\t{}\n", name(random), name(random)),
        9 => format!("RENAME replace=1 parents=1 {}\t{}\n", name(random), dir(random)),
        10 => format!("MKDIR parents=1 {}/\n", dir(random)),
        11 => format!("TIME mtime=5 {}\n", name(random)),
        12 => format!("COPY parents=1 {}\t{}\n", name(random), name(random)),
        13 => format!("COPY recursive=1 parents=1 {}/\t{}/\n", dir(random), dir(random)),
        _ => {
            let len = random.below(6000) as usize;
            format!("PUT {len} {}\n{}", name(random), "x".repeat(len))
        }
    }
}

// How many: `FILEWHARF_RACING`.
#[test]
fn after_requests_that_race_a_quota_counts_what_is_there_and_nothing_else() {
    const CLIENTS: u64 = 12;
    const NAMES: u64 = 14;
    let requests = std::env::var("FILEWHARF_RACING").ok().and_then(|n| n.parse().ok()).unwrap_or(1800) / CLIENTS;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = dir.path().join("access");
    write(&file, &format!("allow @ rlcwd /q quota=40000 max-names={NAMES}\nallow @ rlcwd /"));
    let running = Running::on(&dir.path().join("served"), |builder| builder.access(&file));
    let race = |seed: u64| {
        let (mut client, mut random) = (running.client(), Random::new(seed));
        for _ in 0..requests {
            let request = racing(&mut random);
            client.send(&request);
            let line = client.line();
            let is_known = ["OK 0", "ERR 404 ", "ERR 409 ", "ERR 412 ", "ERR 429 ", "ERR 507 "];
            assert!(is_known.iter().any(|known| line.starts_with(known)), "{:?}: {line}", request.lines().next());
        }
    };
    thread::scope(|scope| (0..CLIENTS).for_each(|n| drop(scope.spawn(move || race(n + 1)))));
    let trash = running.path(".filewharf/trash");
    wait_until("the trash is empty", || fs::read_dir(&trash).map_or(0, Iterator::count) == 0);
    let mut client = running.client();
    let used = |client: &mut Client| value(&client.ask("SPACE /q/"), "used").map(|used| used.parse::<u64>());
    let (bytes, names) = stored(&running.path("q"));
    assert_eq!(used(&mut client), Some(Ok(bytes)));
    for n in names..NAMES {
        client.put(&format!("/q/rest{n}"), b"");
    }
    assert!(client.try_put("/q/more", b"").starts_with("ERR 507 "));
    assert_eq!(stored(&running.path("q")), (bytes, NAMES));
}

#[test]
fn after_a_server_was_killed_the_next_one_counts_what_is_there_and_what_is_unfinished() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (file, root) = (dir.path().join("access"), dir.path().join("served"));
    write(&file, "allow @ rlcwd / quota=1000");
    let options = ["--quiet", "--access", &file.to_string_lossy()];
    let program = start(&root, &options);
    program.client().put("/a/f", &[b'x'; 300]);
    let mut resumed = program.client();
    resumed.send(
        "POST /a/g HTTP/1.1\r\nHost: 127.0.0.1\r\nTus-Resumable: 1.0.0\r\nUpload-Length: 700\r\n\
         Content-Type: application/offset+octet-stream\r\nContent-Length: 500\r\n\r\n",
    );
    resumed.send([b'x'; 500]);
    assert_eq!(resumed.line().trim_end(), "HTTP/1.1 201 Created");
    let mut half = program.client();
    half.send("PUT * /a/h\n64\nhalf");
    program.signal(Signal::KILL);
    drop(program);
    let program = start(&root, &options);
    let mut client = program.client();
    assert!(client.try_put("/a/i", &[b'x'; 201]).starts_with("ERR 507 "));
    client.put("/a/i", &[b'x'; 200]);
    assert!(client.try_put("/a/j", b"x").starts_with("ERR 507 "));
    drop(client);
    drop(program);

    let shown = run(&["check", &file.to_string_lossy()]);
    assert!(shown.status.success(), "{}", stderr(&shown));
    assert!(String::from_utf8_lossy(&shown.stdout).ends_with("quota\t1000\t/\n"));
}

#[test]
fn unfinished_uploads_count_for_the_name_that_was_proved_and_for_the_address_without_one_also_after_a_restart() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (file, root) = (dir.path().join("access"), dir.path().join("served"));
    write(&file, &entries(&["anna", "bob"], "allow anna rlcwd /\nallow bob rlcwd /\nallow @ c /open"));
    let begun = || {
        let limits = support::client::limits().with(|limits| limits.fixed.uploads_kept_bytes_max = 1002);
        Running::on(&root, |builder| builder.limits(limits).access(&file))
    };
    let begin = |running: &Running, name: &str, len: usize| {
        let token = if name.is_empty() { String::new() } else { format!("Authorization: Bearer {name}{TOKEN}\r\n") };
        let mut client = running.client();
        client.send(format!(
            "POST /open/f HTTP/1.1\r\nHost: 127.0.0.1\r\n{token}Tus-Resumable: 1.0.0\r\nUpload-Length: {}\r\n\
             Content-Type: application/offset+octet-stream\r\nContent-Length: {len}\r\n\r\n",
            len + 1
        ));
        client.send(vec![b'x'; len]);
        client.line().split(' ').nth(1).unwrap_or_default().to_owned()
    };
    let running = begun();
    assert_eq!(begin(&running, "anna", 501), "507", "half is for others");
    assert_eq!(begin(&running, "anna", 400), "201");
    assert_eq!(begin(&running, "anna", 101), "507");
    assert_eq!(begin(&running, "bob", 400), "201", "another at the same address");
    drop(running);
    let running = begun();
    assert_eq!(begin(&running, "anna", 101), "507", "its record says whose it is");
    assert_eq!(begin(&running, "", 200), "201", "anybody at this address");
    assert_eq!(begin(&running, "anna", 2), "507", "all is taken");
}
