//! Figures as tables and as a plot. It only formats: nothing here measures, reads or writes.

use std::fmt::Write as _;

use crate::support::figures;
use crate::support::peers::Role;

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
    /// Told beside the others: it says as much of the load as of the server.
    Unranked,
}

/// One thing that a work measures.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub name: &'static str,
    pub unit: Unit,
    pub rank: Rank,
}

/// The figures of one server: a number for each column, of each round.
#[derive(Clone, Debug)]
pub struct Row {
    pub peer: &'static str,
    pub role: Role,
    pub rounds: Vec<Vec<f64>>,
}

/// What one work gave.
#[derive(Clone, Debug)]
pub struct Measured {
    pub work: &'static str,
    pub columns: &'static [Column],
    pub rows: Vec<Row>,
}

/// One server's figure beside that of the best peer: above 1, the peer is better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// Of the medians.
    pub medians: f64,
    /// The least and the most of the rounds, each beside the peer's figure of the same round.
    pub least: f64,
    pub most: f64,
}

impl Row {
    fn column(&self, at: usize) -> Vec<f64> {
        self.rounds.iter().map(|round| round[at]).collect()
    }
}

impl Measured {
    /// The peer with the best median in a column.
    pub fn best(&self, at: usize) -> Option<&Row> {
        let of = |row: &&Row| figures::median(&row.column(at));
        let peers = self.rows.iter().filter(|row| row.role == Role::Peer && !row.rounds.is_empty());
        match self.columns[at].rank {
            Rank::LeastIsBest => peers.min_by(|a, b| of(a).total_cmp(&of(b))),
            Rank::MostIsBest => peers.max_by(|a, b| of(a).total_cmp(&of(b))),
            Rank::Unranked => None,
        }
    }

    /// One row beside the best peer; `None` where there is no peer or nothing to divide.
    pub fn ratio(&self, row: &Row, at: usize) -> Option<Ratio> {
        let best = self.best(at)?;
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

/// One work for a terminal: of every ranked column the median, the least and the ratio to the best peer.
pub fn text(measured: &Measured) -> String {
    let mut head = vec![measured.work.to_owned()];
    for column in measured.columns {
        head.push(column.name.to_owned());
        if column.rank != Rank::Unranked {
            head.extend(["least", "ratio", "(rounds)"].map(str::to_owned));
        }
    }
    let mut lines = vec![head];
    for row in measured.rows.iter().filter(|row| !row.rounds.is_empty()) {
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
            }
        }
        lines.push(line);
    }
    aligned(&lines)
}

/// Every ranked column in which a peer is better than one of the own rows, for a terminal.
pub fn behind(all: &[Measured]) -> String {
    let mut lines = Vec::new();
    for measured in all {
        for (at, column) in measured.ranked() {
            for row in measured.rows.iter().filter(|row| row.role == Role::Own && !row.rounds.is_empty()) {
                if let (Some(ratio), Some(best)) = (measured.ratio(row, at), measured.best(at))
                    && ratio.medians > 1.0
                {
                    let spread = format!("({:.2}-{:.2})", ratio.least, ratio.most);
                    let what = format!("{}: {}", measured.work, column.name);
                    lines.push(vec![
                        what,
                        row.peer.to_owned(),
                        format!("{:.2}", ratio.medians),
                        spread,
                        best.peer.to_owned(),
                    ]);
                }
            }
        }
    }
    aligned(&lines)
}

/// All works in one Markdown table, a column for each of `peers`: medians, and the ratio of each own
/// row to the best peer.
pub fn markdown(all: &[Measured], peers: &[(&str, Role)]) -> String {
    let own: Vec<&str> = peers.iter().filter(|(_, role)| *role == Role::Own).map(|(peer, _)| *peer).collect();
    let mut text = String::from("| median |");
    for (peer, _) in peers {
        let _ = write!(text, " {peer} |");
    }
    for peer in &own {
        let _ = write!(text, " {peer} to the best peer |");
    }
    text += &format!("\n|---|{}\n", "---|".repeat(peers.len() + own.len()));
    for measured in all {
        let row = |peer: &str| measured.rows.iter().find(|row| row.peer == peer && !row.rounds.is_empty());
        for (at, column) in measured.ranked() {
            let _ = write!(text, "| {}: {} |", measured.work, column.name);
            for (peer, _) in peers {
                let cell = row(peer).map(|row| number(figures::median(&row.column(at)), column.unit));
                let _ = write!(text, " {} |", cell.as_deref().unwrap_or("-"));
            }
            for peer in &own {
                let ratio = row(peer).and_then(|row| measured.ratio(row, at));
                let cell = ratio.map(|it| format!("{:.2} ({:.2} to {:.2})", it.medians, it.least, it.most));
                let _ = write!(text, " {} |", cell.as_deref().unwrap_or("-"));
            }
            text.push('\n');
        }
    }
    text
}

/// Bars: the ratio to the best peer of every row that is our own or the limit. Left of the line is
/// better than every peer.
pub fn svg(all: &[Measured]) -> String {
    const LABEL: usize = 420;
    const SCALE: f64 = 260.0;
    const BAR: usize = 12;
    let (mut bars, mut y) = (String::new(), 30);
    for measured in all {
        for (at, column) in measured.ranked() {
            let rows = measured.rows.iter().filter(|row| row.role != Role::Peer && !row.rounds.is_empty());
            let ratios: Vec<_> = rows.filter_map(|row| Some((row, measured.ratio(row, at)?.medians))).collect();
            if ratios.is_empty() {
                continue;
            }
            let _ = writeln!(bars, "<text x='4' y='{}'>{}: {}</text>", y + BAR, measured.work, column.name);
            for (row, ratio) in ratios {
                let long = ratio.min(2.0) * SCALE;
                let colour = if row.role == Role::Limit { "#bbb" } else { "#47a" };
                let _ = writeln!(bars, "<rect x='{LABEL}' y='{y}' width='{long:.0}' height='{BAR}' fill='{colour}'/>");
                let end = LABEL as f64 + long + 4.0;
                let _ = writeln!(bars, "<text x='{end:.0}' y='{}'>{ratio:.2} {}</text>", y + BAR - 2, row.peer);
                y += BAR + 2;
            }
            y += 8;
        }
    }
    let one = LABEL as f64 + SCALE;
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='1120' height='{height}' font-family='sans-serif' font-size='11'>\n\
         <rect width='100%' height='100%' fill='white'/>\n\
         <text x='{LABEL}' y='16'>less is better; the line is the best peer</text>\n{bars}\
         <line x1='{one}' y1='22' x2='{one}' y2='{y}' stroke='#c33'/>\n</svg>\n",
        height = y + 10
    )
}
