//! The figures and tables that benches report, from numbers with known results.

use std::time::Duration;

use support::figures::{Spread, jain, median};
use support::peers::Role;
use support::table::{self, Column, Measured, Rank, Row, Unit};

const COLUMNS: [Column; 3] = [
    Column { name: "CPU", unit: Unit::Seconds, rank: Rank::LeastIsBest },
    Column { name: "fairness", unit: Unit::Plain, rank: Rank::MostIsBest },
    Column { name: "memory", unit: Unit::Bytes, rank: Rank::Unranked },
];

fn row(peer: &'static str, role: Role, cpu: [f64; 3], fairness: f64) -> Row {
    let rounds = cpu.iter().map(|cpu| vec![cpu * 1e-6, fairness, 2048.0]).collect();
    Row { peer, role, baseline: None, rounds: Ok(rounds) }
}

fn measured() -> Measured {
    let rows = vec![
        row("own", Role::Own, [9.0, 12.0, 30.0], 0.5),
        row("slower", Role::Peer, [40.0, 50.0, 60.0], 0.8),
        row("faster", Role::Peer, [10.0, 10.0, 20.0], 0.4),
        row("limit", Role::Limit, [1.0, 1.0, 1.0], 1.0),
    ];
    Measured { work: "get".to_owned(), settings: "log off".to_owned(), columns: &COLUMNS, rows }
}

#[test]
fn a_percentile_is_the_least_value_that_enough_do_not_exceed() {
    let spread = Spread::new((1..=1000).rev().map(Duration::from_millis).collect());
    for (permille, ms) in [(500, 500), (990, 990), (999, 999), (1000, 1000)] {
        assert_eq!(spread.permille(permille), Duration::from_millis(ms));
    }
    assert_eq!(Spread::new(Vec::new()).permille(990), Duration::ZERO);
    assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
    assert_eq!(median(&[4.0, 3.0, 2.0, 1.0]), 2.0);
    assert_eq!(median(&[]), 0.0);
}

#[test]
fn the_index_of_fairness_is_one_for_equals_and_a_share_where_one_takes_all() {
    assert_eq!(jain(&[7.0; 4]), 1.0);
    assert_eq!(jain(&[0.0, 0.0, 5.0, 0.0]), 0.25);
    assert_eq!(jain(&[]), 0.0);
}

#[test]
fn the_ratio_is_to_the_peer_with_the_best_median_and_its_spread_to_that_peer_s_rounds() {
    let measured = measured();
    let ratio = measured.ratio(&measured.rows[0], 0).expect("there are peers");
    assert!((ratio.medians - 1.2).abs() < 1e-9, "{ratio:?}");
    assert!((ratio.least - 0.9).abs() < 1e-9, "{ratio:?}");
    assert!((ratio.most - 1.5).abs() < 1e-9, "{ratio:?}");
    // Where more is better, the best is the one with the most; above 1 still means that it is better.
    let fairness = measured.ratio(&measured.rows[0], 1).expect("there are peers");
    assert!((fairness.medians - 1.6).abs() < 1e-9, "{fairness:?}");
    assert_eq!(measured.ratio(&measured.rows[0], 2), None);
}

#[test]
fn the_ratio_of_a_row_that_names_a_peer_is_to_that_one() {
    let mut measured = measured();
    measured.rows[0].baseline = Some("slower");
    let ratio = measured.ratio(&measured.rows[0], 0).expect("the peer was measured");
    assert!((ratio.medians - 0.24).abs() < 1e-9, "{ratio:?}");
    measured.rows[0].baseline = Some("not measured");
    assert_eq!(measured.ratio(&measured.rows[0], 0), None);
}

#[test]
fn only_our_own_rows_are_compared_with_the_bare_loop() {
    let measured = measured();
    let ratios: Vec<_> = measured.rows.iter().map(|row| measured.ratio_to_limit(row, 0)).collect();
    assert!(ratios[0].is_some_and(|ratio| (ratio - 12.0).abs() < 1e-9), "{ratios:?}");
    assert_eq!(ratios[1..], [None; 3]);
    // Where more is better, above 1 still means that the loop is better.
    let fairness = measured.ratio_to_limit(&measured.rows[0], 1).expect("the loop was measured");
    assert!((fairness - 2.0).abs() < 1e-9, "{fairness}");
}

#[test]
fn nothing_is_compared_where_no_peer_was_measured() {
    let mut measured = measured();
    measured.rows.retain(|row| row.role != Role::Peer);
    assert_eq!(measured.ratio(&measured.rows[0], 0), None);
    assert!(table::text(&measured).contains("own"));
    assert_eq!(table::slower(&[measured]), "");
}

#[test]
fn a_number_has_three_digits_and_the_unit_that_fits() {
    let seconds =
        [(12.3e-6, "12.3 µs"), (1.234e-3, "1.23 ms"), (0.5e-9, "0.50 ns"), (250.0, "250 s"), (0.0, "0.00 ns")];
    for (value, text) in seconds {
        assert_eq!(table::number(value, Unit::Seconds), text);
    }
    assert_eq!(table::number(0.5, Unit::Plain), "0.500");
    assert_eq!(table::number(81161.0, Unit::Plain), "81161");
    for (value, text) in [(233.0, "233 B"), (2048.0, "2.00 KiB"), (1.5 * 1024.0 * 1024.0, "1.50 MiB")] {
        assert_eq!(table::number(value, Unit::Bytes), text);
    }
}

#[test]
fn cells_stand_one_under_the_other() {
    let lines = [vec!["a".to_owned(), "1 µs".to_owned()], vec!["long".to_owned(), "22 µs".to_owned()]];
    assert_eq!(table::aligned(&lines), "  a      1 µs\n  long  22 µs\n");
}

#[test]
fn tables_and_plot_name_every_server_and_which_is_slower() {
    let all = [measured()];
    let markdown = table::markdown(&all);
    let cells: Vec<usize> = markdown.lines().map(|line| line.matches('|').count()).collect();
    assert_eq!(cells, [7; 4], "{markdown}");
    assert!(
        markdown.contains(
            "| get: CPU | log off | 12.0 µs, 1.20 (0.90-1.50), loop 12.00 | 50.0 µs | **10.0 µs** | 1.00 µs |"
        ),
        "{markdown}"
    );
    assert_eq!(table::slower(&all).lines().count(), 2);
    let plot = table::svg(&all);
    assert_eq!(plot.matches("<rect x='430'").count(), 4, "{plot}");
    assert_eq!(plot.matches("#bbb").count(), 2, "{plot}");
}

#[test]
fn a_peer_that_did_not_end_is_named_in_every_table_and_not_compared() {
    let mut measured = measured();
    measured.rows[2].rounds = Err("did not end in 20 s".to_owned());
    assert_eq!(measured.best(0).map(|row| row.peer), Some("slower"));
    assert!(table::text(&measured).ends_with("  faster did not end in 20 s\n"));
    let markdown = table::markdown(&[measured]);
    assert!(markdown.contains("| **50.0 µs** | did not end in 20 s |"), "{markdown}");
}

#[test]
fn only_what_stands_between_two_marks_is_replaced() {
    let text = "before <here> old <there> after";
    assert_eq!(table::replaced(text, "<here>", "<there>", " new "), Some("before <here> new <there> after".to_owned()));
    assert_eq!(table::replaced(text, "<nowhere>", "<there>", "new"), None);
    assert_eq!(table::replaced(text, "<there>", "<here>", "new"), None);
}

#[test]
#[cfg(target_os = "linux")]
fn a_process_is_asleep_while_no_thread_of_it_wants_a_core() {
    use support::process;

    let dir = tempfile::tempdir().expect("a temporary folder");
    let idle = crate::program::start(dir.path(), &[]);
    support::client::wait_until("an idle server", || process::is_asleep(idle.pid()));
    assert!(!process::is_asleep(std::process::id()), "this thread runs");
}
