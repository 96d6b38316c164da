//! The log has one line for every request that ended: what it was, how much moved, how long it took,
//! and why it failed; and what a dialect has to tell beside that. Why a connection ended is counted.
//! In virtual time; a test hears the lines of its own thread.

#[cfg(feature = "access-log")]
mod formats;

use std::cell::RefCell;
use std::sync::Once;
use std::time::Duration;

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};
use filewharf::error::CloseReason;
use log::{LevelFilter, Log, Metadata, Record};

use support::rig::{Mode, Rig, STARTED_S};

/// This much of a message is shown in its note.
const SHOWN: usize = 120;

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

struct Listener;

impl Log for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        ["filewharf::transfer", "filewharf::request"].contains(&metadata.target())
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            LINES.with_borrow_mut(|lines| lines.push(record.args().to_string()));
        }
    }

    fn flush(&self) {}
}

/// The lines since this was asked last, without what came of HTTP: see `formats`.
pub(crate) fn lines() -> Vec<String> {
    whole_lines().iter().filter_map(|line| line.split(" method=").next()).map(str::to_owned).collect()
}

fn whole_lines() -> Vec<String> {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Listener).expect("there is no other logger");
        log::set_max_level(LevelFilter::Info);
    });
    LINES.take()
}

fn limits() -> Limits {
    Limits::default().with(|l| {
        l.fixed.chunk_bytes = 16;
        l.fixed.chunks_per_slot = 4;
    })
}

/// Of everything that was asked, the kind, the bytes and the outcome.
#[track_caller]
fn check(rig: &mut Rig, says: &str, wanted: &[&str]) {
    let peer = rig.connect();
    let _ = lines();
    rig.send(&peer, says.as_bytes());
    rig.skip(Duration::from_millis(1500));
    rig.finish(&peer);
    let short: Vec<String> = lines().iter().map(|line| line.replace(" peer=127.0.0.1:50851", "")).collect();
    assert_eq!(short, wanted, "{says:?}");
}

#[test]
fn every_request_that_ended_has_its_line() {
    for mode in Mode::all().filter(|mode| mode.window == usize::MAX) {
        let mut rig = Rig::new(mode, limits(), Access::default());
        let _ = lines();
        check(&mut rig, "PUT 3 /x\nabc", &["put key=\"/x\" bytes=3 result=ok ms=0"]);
        let long = format!("PUT 40 /y\n{}", "a".repeat(40));
        check(&mut rig, &long, &["put key=\"/y\" bytes=40 result=ok ms=0"]);
        check(&mut rig, "PUT * /z\n3\nabc2\nde0\n", &["put key=\"/z\" bytes=5 result=ok ms=0"]);
        check(
            &mut rig,
            "GET /y\nGET /x\n",
            &["get key=\"/y\" bytes=40 result=ok ms=0", "get key=\"/x\" bytes=3 result=ok ms=0"],
        );
        check(&mut rig, "DELETE /x\n", &["delete key=\"/x\" bytes=0 result=ok ms=0"]);
        let cut = "put key=\"/y\" bytes=20 result=failed told=\"the connection ended before the body did\" cause=\"cut-short\" ms=1500";
        check(&mut rig, &long[..30], &[cut]);
        check(
            &mut rig,
            "GET /no\n",
            &["get key=\"/no\" bytes=0 result=failed told=\"no such file or folder\" cause=\"memory\" ms=0"],
        );
    }
}

#[test]
fn checked_ranges_of_a_file_that_follow_each_other_are_one_line() {
    let mut rig = Rig::new(Mode::PLAIN, limits(), Access::default());
    for (name, len) in [("x", 100_000), ("y", 3)] {
        rig.place(name, &vec![b'a'; len]);
    }
    let range = |first: u64, last: u64| format!("GET trailer=sha256 range={first}-{last} /x\n");
    let all = range(0, 19_999) + &range(20_000, 59_999) + &range(60_000, 99_999);
    let whole = "get key=\"/x\" bytes=100000 result=ok ms=0";
    check(&mut rig, &all, &[whole]);
    // The line of a part comes when something else is asked for, or the connection ends.
    let other = "get key=\"/y\" bytes=3 result=ok ms=0";
    let part = "get key=\"/x\" bytes=60000 result=ok ms=0";
    check(&mut rig, &(range(0, 19_999) + &range(20_000, 59_999) + "GET /y\n"), &[part, other]);
    check(&mut rig, &(range(0, 19_999) + &range(20_000, 59_999)), &[part]);
    let hole = [range(0, 19_999), range(60_000, 99_999)].concat();
    let pieces = ["get key=\"/x\" bytes=20000 result=ok ms=0", "get key=\"/x\" bytes=40000 result=ok ms=0"];
    check(&mut rig, &hole, &pieces);
    let cut = "get key=\"/no\" bytes=0 result=failed told=\"no such file or folder\" cause=\"memory\" ms=0";
    check(&mut rig, &(range(0, 19_999) + "GET /no\n"), &[pieces[0], cut]);
    // Neither a pause between them nor another client changes anything, and a pause after them does not count.
    let (peer, other) = (rig.connect(), rig.connect());
    let _ = lines();
    for range in [range(0, 19_999), range(20_000, 59_999)] {
        rig.skip(Duration::from_millis(700));
        rig.send(&peer, range.as_bytes());
        rig.send(&other, b"GET /y\n");
        assert_eq!(lines().len(), 1, "that of the other client");
    }
    rig.skip(Duration::from_millis(1500));
    rig.finish(&peer);
    assert_eq!(lines(), ["get peer=127.0.0.1:50851 key=\"/x\" bytes=60000 result=ok ms=700"]);
    // Ranges that are not checked, as of a player, are lines of their own.
    check(&mut rig, "GET range=0-2 /x\nGET range=3-5 /x\n", &["get key=\"/x\" bytes=3 result=ok ms=0"; 2]);
}

/// What a client does.
enum Does {
    Says(Vec<u8>),
    Ends,
    /// It is silent for this many milliseconds.
    Waits(u64),
    /// The server is asked to end.
    Drains,
}
use Does::{Drains, Ends, Waits};

fn says(bytes: impl AsRef<[u8]>) -> Does {
    Does::Says(bytes.as_ref().to_vec())
}

/// What is logged of one connection: the notes, and why it ended.
fn logged(kind: Kind, options: &[(&str, &str)], does: &[Does]) -> (Vec<String>, Option<CloseReason>) {
    let options: Vec<_> = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let listening = Listening::new(kind, &options, STARTED_S).expect("good options");
    // A request while the server drains is refused with the reason.
    let limits = limits().with(|l| l.live.drain_grace = Duration::from_secs(5));
    let mut rig = Rig::speaking(listening, Mode::PLAIN, limits, Access::default());
    for len in [3, 1024, 1025] {
        rig.place(&format!("{len}.txt"), &vec![b'a'; len]);
    }
    let _ = lines();
    let peer = rig.connect();
    for step in does {
        match step {
            Does::Says(bytes) => rig.send(&peer, bytes),
            Ends => rig.finish(&peer),
            Waits(ms) => rig.pass(Duration::from_millis(*ms)),
            Drains => rig.drain(),
        }
        rig.send(&peer, b"");
    }
    for _ in 0..2 {
        if peer.is_closed() {
            rig.finish(&peer);
        }
        rig.pass(Duration::from_secs(5));
    }
    let lines = lines();
    let notes = lines.iter().filter_map(|line| line.strip_prefix("note peer=127.0.0.1:50851 ")).map(str::to_owned);
    let counted = rig.counters().closed;
    (notes.collect(), CloseReason::ALL.into_iter().find(|reason| counted[*reason as usize] > 0))
}

fn message(text: &[u8]) -> Vec<u8> {
    [format!("{:<64}", text.len()).as_bytes(), text].concat()
}

#[test]
fn every_end_has_its_reason() {
    use CloseReason::{CutShort, Drained, HeadTimeout, IdleTimeout, Malformed, PeerClosed, TooSlow};
    let long = || Waits(100_000);
    for (kind, does, reason) in [
        (Kind::Menu, vec![says("nonsense")], Malformed),
        (Kind::Menu, vec![says("sen"), long()], TooSlow),
        (Kind::Menu, vec![Drains, says("sendimage")], Drained),
        (Kind::Menu, vec![Ends], PeerClosed),
        (Kind::Menu, vec![says("sen"), Ends], CutShort),
        (Kind::NameChoice, vec![Ends], PeerClosed),
        (Kind::NameChoice, vec![says("abc"), Ends], CutShort),
        (Kind::NameChoice, vec![says("1"), Waits(50), Ends], CutShort),
        (Kind::NameChoice, vec![long()], IdleTimeout),
        (Kind::NameChoice, vec![says("abc"), long()], HeadTimeout),
        (Kind::NameChoice, vec![says("1"), Waits(50), long()], HeadTimeout),
        (Kind::NameSize, vec![Ends], PeerClosed),
        (Kind::NameSize, vec![says("!DISCONNECT"), Ends], PeerClosed),
        (Kind::NameSize, vec![says("a 5he"), long()], HeadTimeout),
        (Kind::NameChoice, (0..8).flat_map(|_| [says("a"), Waits(4000)]).collect(), HeadTimeout),
        (Kind::Pickle, vec![says("nonsense")], Malformed),
        (Kind::Pickle, vec![Drains, says("(dp0\nVput\nVx\nsVdata\nVb\ns.")], Drained),
        (Kind::Pickle, vec![says("("), long()], HeadTimeout),
        (Kind::LengthPrefix, vec![Ends], PeerClosed),
        (Kind::LengthPrefix, vec![says([b'x'; 64])], Malformed),
        (Kind::LengthPrefix, vec![says("5   "), long()], TooSlow),
        (Kind::LengthPrefix, vec![says("5   "), Ends], CutShort),
        (Kind::Http, vec![says("GET /"), long()], TooSlow),
        (Kind::Line, vec![says("PUT * /x\nno number\n")], Malformed),
    ] {
        assert_eq!(logged(kind, &[], &does).1, Some(reason), "{kind}");
    }
    // Its header counts characters, and not all of them are some.
    let does = [says(message(format!("üüü{}", "a".repeat(5994)).as_bytes())), says("b"), says([0xff])];
    assert_eq!(logged(Kind::LengthPrefix, &[("inbox", "in")], &does).1, Some(Malformed));
}

/// One conversation, and what is noted of it.
type Noted<'a> = (Kind, &'a [(&'a str, &'a str)], Vec<Does>, Vec<&'a str>);

fn check_notes(all: &[Noted<'_>]) {
    for (kind, options, does, notes) in all {
        assert_eq!(logged(*kind, options, does).0, *notes, "{kind}");
    }
}

#[test]
fn the_menu_notes_what_was_chosen() {
    let choose = &[("list", "choose")][..];
    let came = "[NEW CONNECTION] 127.0.0.1:50851";
    check_notes(&[
        (
            Kind::Menu,
            &[],
            vec![says("sendimagecat.jpg"), Waits(50), says("GIF"), Ends],
            vec![came, "send is selected", "File name: cat.jpg", "File written cat.jpg (3 bytes)"],
        ),
        (Kind::Menu, choose, vec![says("receivetext"), says("1024"), Waits(50)], vec![came, "receive is selected"]),
        (
            Kind::Menu,
            choose,
            vec![says("receivetext"), says("1025"), Waits(50)],
            vec![came, "receive is selected", "1025.txt: a client that receives once gets 1024 of 1025 bytes"],
        ),
    ]);
}

#[test]
fn names_that_can_be_read_in_two_ways_and_parts_of_files_are_noted() {
    check_notes(&[
        (
            Kind::NameChoice,
            &[],
            vec![says("12a.txt:PUT"), says("hello"), Ends],
            vec![
                "count and name cannot be distinguished: one digit is taken for the count",
                "Successfully got file from client: /2a.txt",
            ],
        ),
        (
            Kind::NameChoice,
            &[],
            vec![says("1a.txt:PUT"), says("hello"), Ends],
            vec!["[NEW CONNECTION] one of 1", "Successfully got file from client: /a.txt"],
        ),
        (
            Kind::NameSize,
            &[],
            vec![says("a 500hello"), Ends],
            vec!["[NEW CONNECTION] 127.0.0.1:50851 connected.", "500 bytes were announced, 5 came: kept as /a.part"],
        ),
        (
            Kind::NameSize,
            &[],
            vec![says("a 0"), Ends],
            vec!["[NEW CONNECTION] 127.0.0.1:50851 connected.", "File written /a (0 bytes)"],
        ),
    ]);
}

#[test]
fn messages_are_noted_as_far_as_a_line_holds_them() {
    let text = |len: usize| message(&vec![b'a'; len]);
    let shown = |len: usize, more: &str| format!("[MESSAGE] {len} bytes: {}{more}", "a".repeat(len.min(SHOWN)));
    let dict = |entries: usize| {
        let entries: String = (0..entries).map(|n| format!("V{n}\nVb\ns")).collect();
        format!("(dp0\n{entries}.")
    };
    check_notes(&[
        (
            Kind::LengthPrefix,
            &[],
            vec![says(text(SHOWN)), says(text(SHOWN + 1)), Ends],
            vec!["[NEW CONNECTION]", &shown(SHOWN, ""), &shown(SHOWN + 1, "…"), "[CLIENT_DISCONNECTED]"],
        ),
        (
            Kind::Pickle,
            &[],
            vec![says(dict(8)), Ends],
            vec!["[NEW CONNECTION] client id 50851", "Received: 0: b, 1: b, 2: b, 3: b, 4: b, 5: b, 6: b, 7: b"],
        ),
        (
            Kind::Pickle,
            &[],
            vec![says(dict(9)), Ends],
            vec![
                "[NEW CONNECTION] client id 50851",
                "Received: 0: b, 1: b, 2: b, 3: b, 4: b, 5: b, 6: b, 7: b, and 1 more",
            ],
        ),
    ]);
}

#[test]
fn a_client_that_sends_empty_lines_is_logged_a_few_times_and_closed() {
    for kind in [Kind::Line, Kind::Auto] {
        let listening = Listening::new(kind, &[], 0).expect("no options");
        let mut rig = Rig::speaking(listening, Mode::PLAIN, limits(), Access::default());
        let peer = rig.connect();
        let _ = lines();
        rig.send(&peer, &b"PING\n".repeat(3));
        rig.send(&peer, &b"\n".repeat(5000));
        assert!(peer.is_closed());
        let most = limits().live.malformed_lines_max as usize;
        assert_eq!(lines().len(), most);
        assert_eq!(peer.heard().windows(4).filter(|words| words == b"ERR ").count(), most);
    }
}

#[test]
fn malformed_lines_between_others_do_not_end_a_connection() {
    let mut rig = Rig::new(Mode::PLAIN, limits(), Access::default());
    let peer = rig.connect();
    let most = limits().live.malformed_lines_max;
    for _ in 0..3 {
        for _ in 1..most {
            rig.send(&peer, b"\n");
        }
        rig.send(&peer, b"PING\n");
    }
    assert!(peer.heard().ends_with(b"OK 0\n") && !peer.is_closed());
}

#[test]
fn failures_of_one_connection_are_logged_a_few_times_a_second_and_counted_beyond() {
    let mut rig = Rig::new(Mode::PLAIN, limits(), Access::default());
    let [peer, other] = [0; 2].map(|_| rig.connect());
    let most = limits().live.log_lines_per_s_max as usize;
    let _ = lines();
    rig.send(&peer, &b"GET /none\n".repeat(most + 1000));
    assert_eq!(lines().len(), most);
    rig.send(&other, b"GET /none\n");
    assert_eq!(lines().len(), 1, "each has its own");
    rig.send(&peer, b"PUT 1 /x\naGET /x\n");
    assert_eq!(lines().len(), 2, "what succeeds is always logged");
    rig.pass(Duration::from_secs(1));
    rig.send(&peer, b"GET /none\n");
    let told = lines();
    assert!(told.len() == 2 && told[0].ends_with(" 1000 more lines were not logged"), "{told:?}");
    rig.send(&peer, &b"GET /none\n".repeat(most));
    rig.finish(&peer);
    assert!(lines().last().is_some_and(|line| line.ends_with(" 1 more lines were not logged")));
}

#[test]
fn requests_refused_in_one_batch_are_logged_each_with_its_own_client() {
    const WHY: &str = "too many requests of one client, try again later";
    let limits = limits().with(|l| l.live.client_requests_per_s = 1);
    let mut rig = Rig::new(Mode::PLAIN, limits, Access::default());
    rig.place("x", b"x");
    let peers = [2, 3].map(|host| rig.connect_from(host));
    for peer in &peers {
        rig.send(peer, b"STAT /x\n");
    }
    let _ = lines();
    for (n, peer) in peers.iter().enumerate() {
        rig.arrive(peer, format!("GET /file-{n}\n").as_bytes());
    }
    rig.turn();
    let refused = |host: u8, n: usize| {
        format!(
            "get peer=127.0.0.{host}:50851 key=\"/file-{n}\" bytes=0 result=failed \
             told=\"{WHY}\" cause=\"{WHY}\" ms=0"
        )
    };
    assert_eq!(lines(), [refused(2, 0), refused(3, 1)]);
}

#[test]
fn an_upload_to_a_directory_without_its_slash_is_one_line_with_its_final_name() {
    let listening = Listening::new(Kind::Http, &[], 0).expect("no options");
    let mut rig = Rig::speaking(listening, Mode::PLAIN, limits(), Access::default());
    rig.place("d/x", b"");
    let head = "POST /d HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Length: 0\r\n";
    // a.txt
    let good = format!("{head}Upload-Metadata: filename YS50eHQ=\r\n\r\n");
    check(&mut rig, &good, &["append key=\"/d/a.txt\" bytes=0 result=ok ms=0"]);
    let told = "told=\"a folder has that name\" cause=\"memory\"";
    check(&mut rig, &format!("{head}\r\n"), &[&format!("append key=\"/d\" bytes=0 result=failed {told} ms=0")]);
    let counters = rig.counters();
    assert_eq!((counters.requests.iter().sum::<u64>(), counters.failed), (1, 1));
}

#[test]
fn a_listing_in_place_of_an_index_is_logged_as_one() {
    let listening = Listening::new(Kind::Http, &[("serve-html".to_owned(), String::new())], 0).expect("good options");
    let mut rig = Rig::speaking(listening, Mode::PLAIN, limits(), Access::default());
    for name in ["d/x", "e/index.html"] {
        rig.place(name, b"123");
    }
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
    check(&mut rig, &get("/d/"), &["list key=\"/d\" bytes=0 result=ok ms=0"]);
    check(&mut rig, &get("/e/"), &["get key=\"/e/index.html\" bytes=3 result=ok ms=0"]);
    assert_eq!(rig.counters().failed, 0);
}

#[test]
fn requests_about_an_upload_are_logged_with_its_final_name_as_far_as_it_is_known() {
    let mut rig = Rig::new(Mode::PLAIN, limits(), Access::default());
    let told = "result=failed told=\"no such file or folder\" cause=\"memory\" ms=0";
    check(&mut rig, "STAT resume=t1 /d/x\n", &[&format!("stat key=\"/d/x\" bytes=0 {told}")]);
    let listening = Listening::new(Kind::Http, &[], 0).expect("no options");
    let mut rig = Rig::speaking(listening, Mode::PLAIN, limits(), Access::default());
    let ask = |method: &str, id: u32| {
        format!("{method} /.filewharf/uploads/{id:032x} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\n\r\n")
    };
    let make = "POST /d/x HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Length: 9\r\n\r\n";
    check(&mut rig, make, &["append key=\"/d/x\" bytes=0 result=ok ms=0"]);
    check(&mut rig, &ask("HEAD", 1), &["stat key=\"/d/x\" bytes=0 result=ok ms=0"]);
    let peer = rig.connect();
    rig.send(&peer, ask("HEAD", 2).as_bytes());
    rig.send(&peer, ask("DELETE", 1).as_bytes());
    rig.finish(&peer);
    let lines = lines();
    let [unknown, removed] = &lines[..] else { panic!("{lines:?}") };
    assert!(unknown.contains("key=\"/.filewharf/uploads/") && !unknown.contains(&"0".repeat(31)), "{unknown}");
    assert!(removed.starts_with("delete ") && removed.contains("key=\"/d/x\" bytes=0 result=ok"), "{removed}");
}
