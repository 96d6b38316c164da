//! Several small requests under way.

use std::collections::{BTreeMap, VecDeque};
use std::fs;

use super::*;
use crate::client::options::Replaced;

/// Uploads of small files, by their numbers.
struct Uploads {
    waiting: VecDeque<(u32, Request)>,
    done: Vec<u32>,
    under_way_max: usize,
}

impl Uploads {
    /// Files of which each has its number as content.
    fn new(dir: &tempfile::TempDir, count: u32, len: usize) -> Self {
        let (local, options) = (dir.path().join("f"), Fake::options());
        let waiting = (0..count).map(|number| {
            fs::write(&local, number.to_string().repeat(len)).expect("written");
            (number, options.small_put(&format!("/p/{number}"), &local, Replaced::Anything).expect("a small file"))
        });
        Self { waiting: waiting.collect(), done: Vec::new(), under_way_max: 0 }
    }
}

impl Jobs for Uploads {
    type Job = u32;

    fn next(&mut self) -> Option<(u32, Request)> {
        let next = self.waiting.pop_front()?;
        self.under_way_max = self.under_way_max.max(next.0 as usize + 1 - self.done.len());
        Some(next)
    }

    fn done(&mut self, job: &u32, answer: Answer) -> bool {
        self.done.push(*job);
        is_stored(answer)
    }
}

/// How often each file was sent.
fn sent(fake: &Fake) -> BTreeMap<String, u32> {
    let mut sent = BTreeMap::new();
    for line in fake.state().log.iter().filter(|line| line.starts_with("PUT ")) {
        *sent.entry(line[line.find('/').expect("a path")..].to_owned()).or_default() += 1;
    }
    sent
}

#[test]
fn small_files_are_sent_before_the_last_one_is_answered_and_within_bounds() {
    for (len, under_way_max) in [(1, 128), (3_000, 48)] {
        let (fake, dir) = (Fake::start(), tempfile::tempdir().expect("a folder"));
        let mut uploads = Uploads::new(&dir, 300, len);
        assert_eq!(client(&fake).pipeline(&mut uploads), [0; 0]);
        assert_eq!(uploads.done, (0..300).collect::<Vec<_>>());
        assert!((5..=under_way_max).contains(&uploads.under_way_max), "{}", uploads.under_way_max);
        assert_eq!(fake.state().connections, 1);
        assert_eq!(fake.content("/p/42").expect("there"), "42".repeat(len).as_bytes());
        assert!(sent(&fake).values().all(|count| *count == 1));
    }
}

#[test]
fn a_lost_connection_sends_again_only_what_was_not_acknowledged() {
    let (fake, dir) = (Fake::start(), tempfile::tempdir().expect("a folder"));
    let mut uploads = Uploads::new(&dir, 300, 1);
    fake.state().cut_replies = [600, 900].into();
    assert_eq!(client(&fake).pipeline(&mut uploads), [0; 0]);
    assert_eq!(uploads.done, (0..300).collect::<Vec<_>>(), "each once, and in order");
    let sent = sent(&fake);
    assert_eq!((sent.len(), fake.state().connections), (300, 3));
    assert!(sent.values().filter(|count| **count > 1).count() <= 2 * 128, "{sent:?}");
    assert_eq!(sent["/p/0"], 1, "it was acknowledged");
}

#[test]
fn what_is_refused_is_given_back_and_what_follows_is_sent_all_the_same() {
    let (fake, dir) = (Fake::start(), tempfile::tempdir().expect("a folder"));
    fake.store("/p/7/f", b"in the way");
    let mut uploads = Uploads::new(&dir, 50, 1);
    assert_eq!(client(&fake).pipeline(&mut uploads), [7]);
    assert_eq!(uploads.done.len(), 49);
}

#[test]
fn a_server_that_answers_nothing_is_not_asked_again_and_again() {
    let (fake, dir) = (Fake::start(), tempfile::tempdir().expect("a folder"));
    let mut uploads = Uploads::new(&dir, 50, 1);
    let mut client = client(&fake);
    fake.state().cut_replies = [0, 0, 0].into();
    client.pipeline(&mut uploads);
    let left = fake.state().cut_replies.len();
    assert!(left > 0, "it was asked {} times", 3 - left);
}

#[test]
fn a_file_that_is_not_small_or_no_file_has_no_such_request() {
    let (dir, options) = (tempfile::tempdir().expect("a folder"), Fake::options());
    let local = dir.path().join("f");
    fs::write(&local, noise(SMALL_LEN_MAX as usize)).expect("written");
    assert!(
        options
            .small_put("/f", &local, Replaced::Nothing)
            .is_some_and(|it| it.bytes.starts_with(b"PUT 16384 if=absent "))
    );
    assert_eq!(options.small_put("/a\nb", &local, Replaced::Nothing), None);
    fs::write(&local, noise(SMALL_LEN_MAX as usize + 1)).expect("written");
    assert_eq!(options.small_put("/f", &local, Replaced::Nothing), None);
    assert_eq!(options.small_put("/f", dir.path(), Replaced::Nothing), None);
    assert_eq!(options.small_put("/f", &dir.path().join("missing"), Replaced::Nothing), None);
}
