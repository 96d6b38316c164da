//! The values in effect, of all that were given: which source has each.

use super::super::flag::Value;
use super::super::serve_flags::{Args, USAGE};
use super::sources::{Given, Mistake, Place, file};

/// One value in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The flag, without `--`.
    pub name: &'static str,
    /// As it is written, `on` or `off` for a flag without a value, and `-` for none.
    pub value: String,
    /// `FILE:LINE`, the name of a variable, `flag` or `default`.
    pub source: String,
}

/// Reads the file that is named, if one is, and puts all together: the arguments, and what they are made of.
pub(super) fn combine(environment: &[Given], command_line: &[Given]) -> Result<(Args, Vec<Given>), Mistake> {
    let mut named = Args::default();
    for given in [environment, command_line].concat().iter().filter(|given| given.flag.syntax.long == "config") {
        given.set(&mut named)?;
    }
    let read = named.config.as_deref().map(file).transpose()?.unwrap_or_default();
    let layers = [&read, environment, command_line];
    let mut effective = Vec::new();
    for (nth, layer) in layers.iter().enumerate() {
        let is_replaced = |given: &&Given| {
            layers[nth + 1..].iter().any(|later| later.iter().any(|other| other.is_rival_of(given.flag)))
        };
        effective.extend(layer.iter().filter(|given| !is_replaced(given)).cloned());
    }
    let mut args = Args::default();
    for given in &effective {
        given.set(&mut args)?;
    }
    args.finish().map_err(|conflict| {
        let is_part = |given: &&Given| conflict.flags.contains(&given.flag.syntax.long);
        let mut parts = effective.iter().filter(is_part).map(|given| &given.place);
        let place = parts.find(|place| **place != Place::CommandLine).cloned().unwrap_or(Place::CommandLine);
        Mistake { place, why: conflict.why }
    })?;
    Ok((args, effective))
}

/// Every flag with its value, in the order of the table; one that is given several times has as many rows.
pub(super) fn effective(args: &Args, given: &[Given]) -> Vec<Effective> {
    let mut args = args.clone();
    let mut rows = Vec::new();
    for flag in USAGE.all_flags() {
        let (name, before) = (flag.syntax.long, rows.len());
        for given in given.iter().filter(|given| given.flag.syntax.long == name) {
            let value = match (&flag.value, &given.value) {
                (Value::Switch(_), value) => if value.is_some() { "on" } else { "off" }.to_owned(),
                (Value::Path(..) | Value::Text(..), Some(value)) => value.to_string_lossy().into_owned(),
                _ => flag.shown(&mut args).unwrap_or_default(),
            };
            rows.push(Effective { name, value, source: given.place.to_string() });
        }
        if rows.len() == before {
            let nothing = if matches!(flag.value, Value::Switch(_)) { "off" } else { "-" };
            let value = flag.shown(&mut args).unwrap_or_else(|| nothing.to_owned());
            rows.push(Effective { name, value, source: "default".to_owned() });
        }
    }
    rows
}
