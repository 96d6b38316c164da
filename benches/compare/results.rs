//! The results as files: in the directory of builds, and on request where `benches/README.md` shows them.

use std::fs;
use std::path::Path;

use support::table::{self, Measured};

const PROJECT: &str = env!("CARGO_MANIFEST_DIR");
/// The page that shows them, and what stands around its table.
const PAGE: &str = "benches/README.md";
const BEGIN: &str = "<!-- what compare --keep found -->\n";
const END: &str = "<!-- until here -->";

/// Writes them to `target/compare`.
pub fn write(all: &[Measured]) {
    let dir = Path::new(PROJECT).join("target/compare");
    fs::create_dir_all(&dir).expect("a folder for the results");
    fs::write(dir.join("table.md"), table::markdown(all)).expect("room for the table");
    fs::write(dir.join("plot.svg"), table::svg(all)).expect("room for the plot");
    println!("also in {}: table.md, plot.svg", dir.display());
}

/// Replaces the plot and the table of that page.
pub fn keep(all: &[Measured]) {
    write(all);
    let project = Path::new(PROJECT);
    fs::write(project.join("benches/compare/plot.svg"), table::svg(all)).expect("room for the plot");
    let page = fs::read_to_string(project.join(PAGE)).expect("the project has one");
    let Some(renewed) = table::replaced(&page, BEGIN, END, &table::markdown(all)) else {
        println!("compare: {PAGE} has no place for the table");
        return;
    };
    fs::write(project.join(PAGE), renewed).expect("room for the table");
    println!("and in {PAGE} and benches/compare/plot.svg");
}
