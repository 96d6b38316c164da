//! Figures as tables and as a plot. It only formats: nothing here measures, reads or writes.

use std::fmt::Write as _;

use crate::figures;
use crate::peers::Role;

/// What a column's numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Seconds,
    Bytes,
    /// A number without a unit.
    Plain,
}

/// How the peers are ranked by a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    LeastIsBest,
    MostIsBest,
    /// Printed without a rank: it says as much of the load as of the server.
    Unranked,
}

/// One thing that a work measures.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub name: &'static str,
    pub unit: Unit,
    pub rank: Rank,
}

/// The figures of one server: a number for each column, of each round; or why there are none.
#[derive(Clone, Debug)]
pub struct Row {
    pub peer: &'static str,
    pub role: Role,
    /// The row that it is divided by; the best peer's where there is none.
    pub baseline: Option<&'static str>,
    pub rounds: Result<Vec<Vec<f64>>, String>,
}

/// What one work gave.
#[derive(Clone, Debug)]
pub struct Measured {
    pub work: String,
    /// How the servers were set: what they sync and log.
    pub settings: String,
    pub columns: &'static [Column],
    pub rows: Vec<Row>,
}

/// One server's figure divided by that of the best peer: above 1, the peer is better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// Of the medians.
    pub medians: f64,
    /// The least and the most of the rounds, each divided by the peer's figure of the same round.
    pub least: f64,
    pub most: f64,
}

impl Row {
    fn column(&self, at: usize) -> Vec<f64> {
        self.rounds.iter().flatten().map(|round| round[at]).collect()
    }
}

impl Measured {
    /// The peer with the best median in a column.
    pub fn best(&self, at: usize) -> Option<&Row> {
        let of = |row: &&Row| figures::median(&row.column(at));
        let peers = self.done().filter(|row| row.role == Role::Peer);
        match self.columns[at].rank {
            Rank::LeastIsBest => peers.min_by(|a, b| of(a).total_cmp(&of(b))),
            Rank::MostIsBest => peers.max_by(|a, b| of(a).total_cmp(&of(b))),
            Rank::Unranked => None,
        }
    }

    /// One row divided by the best peer, or by the one it names; `None` where there is no peer or nothing to divide.
    pub fn ratio(&self, row: &Row, at: usize) -> Option<Ratio> {
        let best = match row.baseline {
            Some(name) => self.done().find(|row| row.peer == name)?,
            None => self.best(at)?,
        };
        let of = |own: f64, theirs: f64| match self.columns[at].rank {
            Rank::MostIsBest => theirs / own,
            Rank::LeastIsBest | Rank::Unranked => own / theirs,
        };
        let (own, theirs) = (row.column(at), best.column(at));
        let each: Vec<f64> = own.iter().zip(&theirs).map(|(own, theirs)| of(*own, *theirs)).collect();
        let medians = of(figures::median(&own), figures::median(&theirs));
        let all = each.iter().copied();
        let ratio = Ratio { medians, least: all.clone().fold(f64::MAX, f64::min), most: all.fold(f64::MIN, f64::max) };
        (medians.is_finite() && !each.is_empty()).then_some(ratio)
    }

    /// One row of our own divided by the bare loop.
    pub fn ratio_to_limit(&self, row: &Row, at: usize) -> Option<f64> {
        let limit = self.done().find(|row| row.role == Role::Limit)?;
        let of = |row: &Row| figures::median(&row.column(at));
        let ratio = match self.columns[at].rank {
            Rank::MostIsBest => of(limit) / of(row),
            Rank::LeastIsBest | Rank::Unranked => of(row) / of(limit),
        };
        (row.role == Role::Own && ratio.is_finite()).then_some(ratio)
    }

    /// Those that have figures.
    fn done(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.rounds.as_ref().is_ok_and(|rounds| !rounds.is_empty()))
    }

    fn ranked(&self) -> impl Iterator<Item = (usize, &Column)> {
        self.columns.iter().enumerate().filter(|(_, column)| column.rank != Rank::Unranked)
    }
}

/// A number as people read it.
pub fn number(value: f64, unit: Unit) -> String {
    let steps: &[(f64, &str)] = match unit {
        Unit::Seconds => &[(1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")],
        Unit::Bytes => &[(1_073_741_824.0, "GiB"), (1_048_576.0, "MiB"), (1024.0, "KiB"), (1.0, "B")],
        Unit::Plain if value >= 100.0 => return format!("{value:.0}"),
        Unit::Plain => return format!("{value:.3}"),
    };
    let step = steps.iter().find(|(size, _)| value.abs() >= *size).or(steps.last());
    let (size, name) = step.copied().unwrap_or((1.0, ""));
    let scaled = value / size;
    let digits = if scaled.abs() >= 100.0 || name == "B" { 0 } else { usize::from(scaled.abs() < 10.0) + 1 };
    format!("{scaled:.digits$} {name}")
}

/// Columns one under the other: the first to the left, the others to the right.
pub fn aligned(lines: &[Vec<String>]) -> String {
    let cells = lines.iter().map(Vec::len).max().unwrap_or(0);
    let wide = |at: usize| lines.iter().filter_map(|line| line.get(at)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..cells).map(|at| wide(at).unwrap_or(0)).collect();
    let mut text = String::new();
    for line in lines {
        let mut out = String::new();
        for (at, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let blanks = " ".repeat(width - cell.chars().count());
            out += &if at == 0 { format!("  {cell}{blanks}") } else { format!("  {blanks}{cell}") };
        }
        text += out.trim_end();
        text.push('\n');
    }
    text
}

/// One work for a terminal: of every ranked column the median, the least, the ratio to the best peer and that to the
/// bare loop.
pub fn text(measured: &Measured) -> String {
    let mut head = vec!["median".to_owned()];
    for column in measured.columns {
        head.push(column.name.to_owned());
        if column.rank != Rank::Unranked {
            head.extend(["least", "ratio", "(rounds)", "loop"].map(str::to_owned));
        }
    }
    let mut lines = vec![head];
    for row in measured.done() {
        let mut line = vec![row.peer.to_owned()];
        for (at, column) in measured.columns.iter().enumerate() {
            let all = row.column(at);
            line.push(number(figures::median(&all), column.unit));
            if column.rank != Rank::Unranked {
                line.push(number(all.iter().copied().fold(f64::MAX, f64::min), column.unit));
                match measured.ratio(row, at) {
                    Some(it) => {
                        line.extend([format!("{:.2}", it.medians), format!("({:.2}-{:.2})", it.least, it.most)]);
                    }
                    None => line.extend(["-", "-"].map(str::to_owned)),
                }
                line.push(measured.ratio_to_limit(row, at).map_or("-".to_owned(), |ratio| format!("{ratio:.2}")));
            }
        }
        lines.push(line);
    }
    let mut text = format!("{}: {}\n", measured.work, measured.settings) + &aligned(&lines);
    for row in &measured.rows {
        if let Err(why) = &row.rounds {
            let _ = writeln!(text, "  {} {why}", row.peer);
        }
    }
    text
}

/// The least ratio above 1 that does not look like 1.
const SHOWN: f64 = 1.005;

/// Every ranked column in which a peer is better than one of the own rows, for a terminal.
pub fn slower(all: &[Measured]) -> String {
    let mut lines = Vec::new();
    for measured in all {
        for (at, column) in measured.ranked() {
            for row in measured.done().filter(|row| row.role == Role::Own) {
                if let (Some(ratio), Some(best)) = (measured.ratio(row, at), measured.best(at))
                    && ratio.medians >= SHOWN
                {
                    let spread = format!("({:.2}-{:.2})", ratio.least, ratio.most);
                    let what = format!("{}: {}", measured.work, column.name);
                    lines.push(vec![
                        what,
                        row.peer.to_owned(),
                        format!("{:.2}", ratio.medians),
                        spread,
                        row.baseline.unwrap_or(best.peer).to_owned(),
                    ]);
                }
            }
        }
    }
    aligned(&lines)
}

/// All works in one Markdown table, a column for each server: medians, the best peer's in bold. Those of
/// our own are followed by their ratio to it and to the bare loop.
pub fn markdown(all: &[Measured]) -> String {
    let mut peers: Vec<(&str, Role)> = Vec::new();
    for row in all.iter().flat_map(|measured| &measured.rows) {
        if !peers.contains(&(row.peer, row.role)) {
            peers.push((row.peer, row.role));
        }
    }
    peers.sort_by_key(|(_, role)| match role {
        Role::Own => 0,
        Role::Peer => 1,
        Role::Limit => 2,
    });
    let names: Vec<&str> = peers.iter().map(|(peer, _)| *peer).collect();
    let mut text = format!("| median | settings | {} |\n|---|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
    for measured in all {
        for (at, column) in measured.ranked() {
            let cells: Vec<String> = names.iter().map(|peer| cell(measured, at, peer)).collect();
            let _ = writeln!(
                text,
                "| {}: {} | {} | {} |",
                measured.work,
                column.name,
                measured.settings,
                cells.join(" | ")
            );
        }
    }
    text
}

/// What one server's figure says in a Markdown table.
fn cell(measured: &Measured, at: usize, peer: &str) -> String {
    let Some(row) = measured.rows.iter().find(|row| row.peer == peer) else { return "-".to_owned() };
    if let Err(why) = &row.rounds {
        return why.clone();
    }
    let median = number(figures::median(&row.column(at)), measured.columns[at].unit);
    let to_limit = measured.ratio_to_limit(row, at).map_or_else(String::new, |ratio| format!(", loop {ratio:.2}"));
    match measured.ratio(row, at) {
        Some(it) if row.role == Role::Own => {
            format!("{median}, {:.2} ({:.2}-{:.2}){to_limit}", it.medians, it.least, it.most)
        }
        Some(_) if measured.best(at).is_some_and(|best| best.peer == peer) => format!("**{median}**"),
        _ => median,
    }
}

/// `text` with what stands between two marks replaced; `None` if it does not have them.
pub fn replaced(text: &str, begin: &str, end: &str, by: &str) -> Option<String> {
    let (before, rest) = text.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}{by}{end}{after}"))
}

/// Bars: the ratio to the best peer of every row that is our own or the limit. Left of the line is
/// better than every peer.
pub fn svg(all: &[Measured]) -> String {
    const LEFT: usize = 430;
    const SCALE: f64 = 260.0;
    const BAR: usize = 11;
    let (mut bars, mut words, mut y) = (String::new(), String::new(), 30);
    for measured in all {
        for (at, column) in measured.ranked() {
            let rows = measured.done().filter(|row| row.role != Role::Peer);
            let ratios: Vec<_> = rows.filter_map(|row| Some((row, measured.ratio(row, at)?.medians))).collect();
            if ratios.is_empty() {
                continue;
            }
            let _ = writeln!(words, "<text x='4' y='{}'>{}: {}</text>", y + BAR - 2, measured.work, column.name);
            for (row, ratio) in ratios {
                let long = ratio.min(2.0) * SCALE;
                let colour = if row.role == Role::Limit { "#bbb" } else { "#47a" };
                let _ = writeln!(bars, "<rect x='{LEFT}' y='{y}' width='{long:.0}' height='{BAR}' fill='{colour}'/>");
                let (name, end, base) = (LEFT - 6, LEFT as f64 + long + 4.0, y + BAR - 2);
                let _ = writeln!(words, "<text x='{name}' y='{base}' text-anchor='end'>{}</text>", row.peer);
                let _ = writeln!(words, "<text x='{end:.0}' y='{base}'>{ratio:.2}</text>");
                y += BAR + 2;
            }
            y += 6;
        }
    }
    let one = LEFT as f64 + SCALE;
    // Words have a white edge, so that the line does not strike them out.
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='1020' height='{height}' font-family='sans-serif' font-size='11'>\n\
         <rect width='100%' height='100%' fill='white'/>\n{bars}\
         <line x1='{one}' y1='22' x2='{one}' y2='{y}' stroke='#c33'/>\n\
         <g stroke='white' stroke-width='3' paint-order='stroke'>\n\
         <text x='{LEFT}' y='16'>less is better; the line is the best peer</text>\n{words}</g>\n</svg>\n",
        height = y + 10
    )
}
