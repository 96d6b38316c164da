//! The results as files: in the directory of builds, and on request where `benches/README.md` shows them.

use std::fs;
use std::path::Path;

use support::table::{self, Measured};

use crate::works::TLS;

const PROJECT: &str = env!("CARGO_MANIFEST_DIR");
/// The page that shows them, and what stands around each of its tables.
const PAGE: &str = "benches/README.md";
const BEGIN: &str = "<!-- what compare --keep found -->\n";
const BEGIN_TLS: &str = "<!-- what compare --keep found with TLS -->\n";
const END: &str = "<!-- until here -->";

/// The tables of plain and of encrypted connections, which have other peers.
fn tables(all: &[Measured]) -> [String; 2] {
    let (tls, plain): (Vec<_>, Vec<_>) = all.iter().cloned().partition(|measured| measured.work.starts_with(TLS));
    [table::markdown(&plain), table::markdown(&tls)]
}

/// Writes them to `target/compare`.
pub fn write(all: &[Measured]) {
    let dir = Path::new(PROJECT).join("target/compare");
    fs::create_dir_all(&dir).expect("a folder for the results");
    let [plain, tls] = tables(all);
    for (name, text) in [("table.md", plain), ("tls.md", tls), ("plot.svg", table::svg(all))] {
        fs::write(dir.join(name), text).expect("room for the results");
    }
    println!("also in {}: table.md, tls.md, plot.svg", dir.display());
}

/// Replaces the plot and the tables of that page.
pub fn keep(all: &[Measured]) {
    write(all);
    let project = Path::new(PROJECT);
    fs::write(project.join("benches/compare/plot.svg"), table::svg(all)).expect("room for the plot");
    let page = fs::read_to_string(project.join(PAGE)).expect("the project has one");
    let [plain, tls] = tables(all);
    let renewed = table::replaced(&page, BEGIN, END, &plain);
    let Some(renewed) = renewed.and_then(|page| table::replaced(&page, BEGIN_TLS, END, &tls)) else {
        println!("compare: {PAGE} has no place for the tables");
        return;
    };
    fs::write(project.join(PAGE), renewed).expect("room for the tables");
    println!("and in {PAGE} and benches/compare/plot.svg");
}
