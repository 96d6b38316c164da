//! `kill -9` of the built binary at any moment, again and again: the next server has every lock that was answered, none
//! that was answered to have ended, and no other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::{fs, hint, thread};

use rustix::process::{Pid, Signal, kill_process};

use crate::program::start;
use support::client::Client;
use support::content::Random;

const CLIENTS: usize = 4;
/// Of each client.
const NAMES: u64 = 4;
/// This many requests are answered before the kill, at most.
const ANSWERS_MAX: u64 = 30;
/// Longest way from there to the kill, in steps of nothing: a few milliseconds.
const MOMENT: u64 = 1 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    Free,
    /// By the lock with this token.
    Locked(String),
    /// A request was under way.
    Either,
}

type Names = BTreeMap<String, Known>;

/// One request on a connection of its own. The status and the token, if an answer came.
fn ask(address: SocketAddr, request: &str, fields: &str, body: &str) -> Option<(u16, Option<String>)> {
    let mut client = Client::over(TcpStream::connect(address).ok()?);
    client.send_in_vain(format!(
        "{request} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{fields}Content-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    let heard = client.last_words();
    let head = heard.split_once("\r\n\r\n")?.0;
    let token = head.lines().find_map(|line| line.strip_prefix("Lock-Token: ")).map(str::to_owned);
    Some((head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?, token))
}

/// Locks and unlocks until the server is gone.
fn change(address: SocketAddr, names: &mut Names, mut random: Random, answered: impl Fn()) {
    const EXCLUSIVE: &str =
        "<lockinfo xmlns=\"DAV:\"><lockscope><exclusive/></lockscope><locktype><write/></locktype></lockinfo>";
    loop {
        let place = random.below(NAMES) as usize;
        let (name, known) = names.iter_mut().nth(place).expect("a name");
        let before = std::mem::replace(known, Known::Either);
        let answer = match &before {
            Known::Free => ask(address, &format!("LOCK {name}"), "Depth: 0\r\n", EXCLUSIVE),
            Known::Locked(token) => ask(address, &format!("UNLOCK {name}"), &format!("Lock-Token: {token}\r\n"), ""),
            Known::Either => unreachable!("the server has ended then"),
        };
        *known = match (before, answer) {
            (_, None) => return,
            (Known::Free, Some((200 | 201, Some(token)))) => Known::Locked(token),
            (Known::Locked(_), Some((204, None))) => Known::Free,
            (before, answer) => panic!("{name} was {before:?}: {answer:?}"),
        };
        answered();
    }
}

/// What the next server knows of each name. Names that it has locked for a client without an answer are of no further use,
/// and others are in their place; returns how many.
fn check(address: SocketAddr, names: &mut [Names], made: &mut u64) -> usize {
    let mut lost = 0;
    for names in names {
        for (name, known) in std::mem::take(names) {
            let code = ask(address, &format!("PUT {name}"), "", "x").expect("an answer").0;
            assert!(matches!(code, 201 | 204 | 423), "{name}: {code}");
            let known = match (known, code == 423) {
                (Known::Locked(token), true) => Known::Locked(token),
                (Known::Free | Known::Either, false) => Known::Free,
                (Known::Either, true) => {
                    (lost, *made) = (lost + 1, *made + 1);
                    names.insert(format!("/{made:05}"), Known::Free);
                    continue;
                }
                (known, _) => panic!("{name} is {known:?}, and a PUT is answered {code}"),
            };
            names.insert(name, known);
        }
    }
    lost
}

// How often: `FILEWHARF_KILLS`.
#[test]
fn after_a_kill_the_locks_are_those_that_were_answered_and_not_ended() {
    let kills = std::env::var("FILEWHARF_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(8);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (mut made, mut random, mut tokens) = (CLIENTS as u64 * NAMES, Random::new(1), BTreeSet::new());
    let of_client = |client: u64| (0..NAMES).map(move |n| (format!("/{:05}", client * NAMES + n), Known::Free));
    let mut names: Vec<Names> = (0..CLIENTS as u64).map(|client| of_client(client).collect()).collect();
    let (mut lost, mut answers) = (0, 0);
    for _ in 0..kills {
        let program = start(dir.path(), &[]);
        let address = program.address();
        lost += check(address, &mut names, &mut made);
        let locked = names.iter().flatten().filter(|(_, known)| matches!(known, Known::Locked(_))).count();
        let records = fs::read_dir(dir.path().join(".filewharf/dav")).map_or(0, Iterator::count);
        assert_eq!(records, locked + lost, "records of locks");
        let (enough, moment) = (random.below(ANSWERS_MAX) + 1, random.below(MOMENT));
        let (count, pid) = (AtomicU64::new(0), Pid::from_raw(program.pid().cast_signed()).expect("a process"));
        let answered = || {
            if count.fetch_add(1, Relaxed) + 1 == enough {
                thread::spawn(move || {
                    (0..moment).for_each(|_| hint::spin_loop());
                    kill_process(pid, Signal::KILL).expect("kill -9");
                });
            }
        };
        thread::scope(|scope| {
            for names in &mut names {
                let (random, answered) = (Random::new(random.next()), &answered);
                scope.spawn(move || change(address, names, random, answered));
            }
        });
        answers += count.load(Relaxed);
        tokens.extend(names.iter().flatten().filter_map(|(name, known)| match known {
            Known::Locked(token) => Some((token.clone(), name.clone())),
            _ => None,
        }));
    }
    let distinct: BTreeSet<_> = tokens.iter().map(|(token, _)| token).collect();
    assert_eq!(distinct.len(), tokens.len(), "two locks have one token");
    println!("{kills} kills, {answers} locks and unlocks answered, {lost} locks granted without an answer");
}
