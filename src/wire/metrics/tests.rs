use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::counters::Queued;
use crate::error::{CloseReason, Failure};

const DIALECTS: [&str; 8] = ["auto", "line", "http", "name-size", "length-prefix", "menu", "pickle", "name-choice"];

fn written(counters: &Counters) -> String {
    let mut out = String::new();
    (0..PIECES).for_each(|piece| write(counters, piece, &mut out));
    out
}

/// A server that has seen something, each number another one.
fn busy() -> Counters {
    let mut counters = Counters {
        started_s: 1_700_000_000,
        uptime_ms: 61_500,
        accepted: 40,
        open: 6,
        turned_away: 3,
        unidentified: 2,
        handshakes_failed: 5,
        accept_exhausted: 1,
        bytes_in: 1000,
        bytes_out: 2000,
        slots: 512,
        slots_used: 5,
        slots_waiting: 7,
        turns: 3,
        turn_longest_us: 2_500,
        yields: 8,
        stale_events: 9,
        queued: Queued { in_flight: 13, io: 11, sync: 12 },
        health: Health::Degraded,
        log_dropped: 10,
        dialect_names: &DIALECTS,
        ..Counters::default()
    };
    counters.states[2] = 4;
    counters.states[10] = 2;
    counters.dialects[1] = 6;
    counters.closed[CloseReason::Finished as usize] = 30;
    for _ in 0..21 {
        counters.count_request("put");
    }
    counters.count_failure("put", Failure::NoSpace);
    counters.count_failure("get", Failure::NotFound);
    counters.count_failure("request", Failure::Malformed("why"));
    for us in [9, 12, 2500] {
        counters.turn_time.observe(Duration::from_micros(us));
    }
    counters.commit_time.observe(Duration::from_millis(20));
    counters.commit_time.observe(Duration::from_secs(20));
    counters
}

/// Every number as large as it can be, every failure seen.
fn largest() -> Counters {
    let mut counters = Counters {
        started_s: u64::MAX,
        uptime_ms: u64::MAX,
        accepted: u64::MAX,
        turned_away: u64::MAX,
        unidentified: u64::MAX,
        handshakes_failed: u64::MAX,
        accept_exhausted: u64::MAX,
        bytes_in: u64::MAX,
        bytes_out: u64::MAX,
        slots: u64::MAX,
        slots_used: u64::MAX,
        slots_waiting: u64::MAX,
        turn_longest_us: u64::MAX,
        yields: u64::MAX,
        stale_events: u64::MAX,
        queued: Queued { in_flight: u64::MAX, io: u64::MAX, sync: u64::MAX },
        log_dropped: u64::MAX,
        dialect_names: &DIALECTS,
        ..Counters::default()
    };
    counters.states.fill(u64::MAX);
    counters.dialects.fill(u64::MAX);
    counters.closed.fill(u64::MAX);
    counters.requests.fill(u64::MAX);
    counters.failures.as_flattened_mut().fill(u64::MAX);
    counters.turn_time.observe(Duration::MAX);
    counters.commit_time.observe(Duration::MAX);
    counters
}

#[test]
fn the_text_is_as_written_here() {
    assert_eq!(written(&busy()), include_str!("golden.txt"));
}

#[test]
fn values_of_labels_are_escaped_and_times_are_exact() {
    let mut text = String::new();
    Text(&mut text).sample("x", &[("a", "1"), ("b", "\\ \" \n é")], 3);
    assert_eq!(text, "filewharf_x{a=\"1\",b=\"\\\\ \\\" \\n é\"} 3\n");
    for (time, words) in [
        (Duration::ZERO, "0"),
        (Duration::from_nanos(1), "0.000000001"),
        (Duration::from_millis(1500), "1.5"),
        (Duration::from_secs(100), "100"),
    ] {
        assert_eq!(Seconds(time).to_string(), words);
    }
}

#[test]
fn the_longest_piece_is_as_long_as_said() {
    // The counts in the buckets are small here: 20 digits for each of them at most.
    for piece in 0..PIECES {
        let mut text = "before".to_owned();
        write(&largest(), piece, &mut text);
        let text = text.strip_prefix("before").expect("what was there stays");
        let buckets = text.matches("_bucket{").count() * 20;
        assert!(!text.is_empty() && text.len() + buckets <= PIECE_LEN_MAX, "{piece}: {}", text.len());
    }
}

/// One line that is a sample.
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

fn is_name(text: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    text.starts_with(letter) && text.chars().all(|c| letter(c) || c.is_ascii_digit())
}

fn sample(line: &str) -> Sample {
    let end = line.find(['{', ' ']).expect("a name ends");
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = BTreeMap::new();
    if let Some(list) = rest.strip_prefix('{') {
        let (list, after) = list.split_once('}').expect("the labels end: no value here has a brace");
        for pair in list.split(',') {
            let (label, value) = pair.split_once('=').expect("a label has a value");
            let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).expect("in quotes");
            assert!(is_name(label) && !value.contains(['"', '\\']), "{line}");
            assert!(labels.insert(label.to_owned(), value.to_owned()).is_none(), "{line}");
        }
        rest = after;
    }
    let value = rest.strip_prefix(' ').expect("one blank before the value");
    Sample { name: name.to_owned(), labels, value: value.parse().expect("a number, and no time after it") }
}

/// Reads a text by the rules of the format; the families with their types and samples.
fn parse(text: &str) -> BTreeMap<String, (String, Vec<Sample>)> {
    assert!(text.ends_with('\n'), "the last line ends too");
    let mut families: BTreeMap<String, (String, Vec<Sample>)> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let (mut helped, mut current) = (String::new(), String::new());
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            helped = help.split_once(' ').expect("a help has words").0.to_owned();
            assert!(is_name(&helped) && !families.contains_key(&helped), "one help each: {line}");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a type");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(name, helped, "the type stands after the help");
            current = name.to_owned();
            families.insert(name.to_owned(), (kind.to_owned(), Vec::new()));
        } else {
            let sample = sample(line);
            let (kind, samples) = families.get_mut(&current).expect("a type stands before its samples");
            let own = match kind.as_str() {
                "histogram" => {
                    ["_bucket", "_sum", "_count"].map(|end| format!("{current}{end}")).contains(&sample.name)
                }
                _ => sample.name == current,
            };
            assert!(own, "the samples of a family stand together: {line}");
            assert!(seen.insert((sample.name.clone(), sample.labels.clone())), "twice: {line}");
            samples.push(sample);
        }
    }
    families
}

fn check_histogram(name: &str, samples: &[Sample]) {
    let of = |end: &str| -> Vec<&Sample> {
        let name = format!("{name}{end}");
        samples.iter().filter(|sample| sample.name == name).collect()
    };
    let bound = |sample: &Sample| match sample.labels["le"].as_str() {
        "+Inf" => f64::INFINITY,
        bound => bound.parse().expect("a bound"),
    };
    let buckets: Vec<(f64, f64)> = of("_bucket").into_iter().map(|sample| (bound(sample), sample.value)).collect();
    assert!(buckets.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 <= two[1].1), "{name} is not cumulative");
    let (last, total) = *buckets.last().expect("buckets");
    assert_eq!((last, of("_sum").len(), of("_count").len()), (f64::INFINITY, 1, 1), "{name}");
    assert!((total - of("_count")[0].value).abs() < f64::EPSILON, "{name}: +Inf is the count");
}

#[test]
fn the_text_obeys_the_rules_of_its_format() {
    let idle = Counters { dialect_names: &DIALECTS, ..Counters::default() };
    for counters in [idle, busy(), largest()] {
        for (name, (kind, samples)) in parse(&written(&counters)) {
            assert!(name.starts_with("filewharf_") && !samples.is_empty(), "{name}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
            let base = name.trim_end_matches("_total");
            assert!(!["_ms", "_us", "_ns", "_kib"].iter().any(|unit| base.ends_with(unit)), "{name}: no base unit");
            if kind == "histogram" {
                check_histogram(&name, &samples);
            }
        }
    }
}
