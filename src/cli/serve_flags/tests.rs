//! The flags of the server against the limits that they set.

use super::*;
use crate::config::Limits;

fn parse(words: &[&str]) -> Limits {
    crate::cli::settings::Settings::of(words).expect("these can be parsed").args.builder.limits
}

/// `NAME: VALUE` for each field.
fn fields(limits: &Limits) -> Vec<String> {
    format!("{limits:#?}").lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn every_limit_flag_sets_one_field_and_shows_its_default() {
    let mut set = Vec::new();
    for flag in USAGE.all_flags().filter(|flag| matches!(flag.value, Limit(..))) {
        let default = flag.shown(&mut Args::default()).expect(flag.syntax.long);
        let name = format!("--{}", flag.syntax.long);
        assert_eq!(parse(&[&name, &default]), Limits::default(), "{name} {default}");
        let other = if flag.syntax.value_name == Some("BYTES") { "99K" } else { "99" };
        let (before, after) = (fields(&Limits::default()), fields(&parse(&[&name, other])));
        let changed: Vec<_> = before.iter().zip(&after).filter(|(before, after)| before != after).collect();
        assert_eq!(changed.len(), 1, "{name} changes {changed:?}");
        set.push(changed[0].0.clone());
    }
    set.sort();
    set.dedup();
    let flags = config::LIMITS.iter().filter(|limit| limit.flag.is_some()).count();
    assert_eq!(set.len(), flags, "two flags set the same field, or one is in no group");
}

#[test]
fn help_shows_at_most_twenty_flags_and_all_of_them_if_asked() {
    let (brief, all) = (USAGE.help(false), USAGE.help(true));
    let shown = |help: &str| USAGE.all_flags().filter(|flag| help.contains(&flag.syntax.usage())).count();
    assert!((10..=20).contains(&shown(&brief)), "{brief}");
    assert_eq!(shown(&all), USAGE.all_flags().count(), "{all}");
    assert!(brief.contains("--help=all"), "{brief}");
}

#[test]
fn turn_bytes_sets_the_limit_of_its_name() {
    assert_eq!(parse(&["--turn-bytes", "64K"]).fixed.turn_bytes, 65_536);
    let limits = parse(&["--max-turn-bytes", "1K"]).fixed;
    assert_eq!((limits.turn_bytes_max, limits.turn_bytes_min), (1024, 1024));
}
