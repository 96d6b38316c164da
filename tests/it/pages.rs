//! The README and the pages of the manual: short enough, with links that lead somewhere, complete.

use std::fs;
use std::path::{Path, PathBuf};

/// Lines of the README at most: it is for a newcomer, all else is on a page of its own.
const README_LINES_MAX: usize = 200;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The README, the manual, and what contributors read.
fn pages() -> Vec<PathBuf> {
    let manual =
        fs::read_dir(root().join("src/docs")).expect("the manual").map(|entry| entry.expect("an entry").path());
    let others = ["README.md", "benches/README.md", ".github/CONTRIBUTING.md", ".github/SECURITY.md"];
    let manual = manual.filter(|path| path.extension().is_some_and(|kind| kind == "md"));
    others.iter().map(|page| root().join(page)).chain(manual).collect()
}

fn text(page: &Path) -> String {
    fs::read_to_string(page).unwrap_or_else(|error| panic!("{}: {error}", page.display()))
}

/// Targets of `[text](target)` and `[label]: target`, without those on other hosts and within the page.
fn links(text: &str) -> Vec<&str> {
    let inline = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let defined = text.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: ").map(|(_, target)| target));
    let links = inline.chain(defined).filter_map(|target| target.split('#').next());
    links.filter(|target| !target.is_empty() && !target.contains("://")).collect()
}

#[test]
fn each_link_of_a_page_leads_to_a_file() {
    let mut found = 0;
    for page in pages() {
        for link in links(&text(&page)) {
            let target = page.parent().expect("a directory").join(link);
            assert!(target.exists(), "{} links to {link}", page.display());
            found += 1;
        }
    }
    assert!(found > 12, "{found} links: the pages are not read as they are written");
}

#[test]
fn the_readme_is_short_and_links_to_each_page_of_the_manual() {
    let readme = text(&root().join("README.md"));
    assert!(readme.lines().count() <= README_LINES_MAX, "{} lines", readme.lines().count());
    for page in pages() {
        let name = page.strip_prefix(root()).expect("below the root").to_str().expect("UTF-8");
        let is_linked = links(&readme).contains(&name);
        assert!(is_linked || ["README.md", ".github/SECURITY.md"].contains(&name), "{name}");
    }
}

/// Words that begin with `--`, without what follows the name of the flag.
fn flags(text: &str) -> std::collections::BTreeSet<&str> {
    let words = text.split(|c: char| c.is_whitespace() || matches!(c, '`' | ',' | '|' | '(' | ')' | '.' | ';' | '\\'));
    words.filter(|word| word.starts_with("--") && word.len() > 3).collect()
}

#[test]
fn the_manual_has_a_row_for_each_flag_of_serve() {
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_filewharf")).args(["serve", "--help=all"]).output();
    let help = String::from_utf8(help.expect("the program runs").stdout).expect("UTF-8");
    let manual = text(&root().join("src/docs/operations.md"));
    let (first, _) = manual.split_once("## Signals").expect("the table of flags comes first");
    let (known, told) = (flags(&help), flags(first));
    let of_all = ["--help", "--version"];
    let missing: Vec<_> = known.difference(&told).filter(|flag| !of_all.contains(flag)).collect();
    assert!(missing.is_empty() && known.len() > 30, "not in the manual: {missing:?}");
    let unknown: Vec<_> = told.difference(&known).collect();
    assert!(unknown.is_empty(), "in the manual only: {unknown:?}");
}

#[test]
fn the_example_of_a_configuration_file_is_one() {
    use std::os::unix::fs::PermissionsExt as _;

    let manual = text(&root().join("src/docs/operations.md"));
    let (_, example) = manual.split_once("```text\n# /etc/filewharf/").expect("the example");
    let (example, _) = example.split_once("```").expect("its end");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let example = format!("# {example}").replace("/etc/filewharf", &path("")).replace("/srv/", &path(""));
    let example = example.replace("/var/lib/filewharf", &path(""));
    fs::write(path("conf"), &example).expect("a file");
    fs::write(path("access"), "").expect("a file");
    fs::set_permissions(path("access"), fs::Permissions::from_mode(0o600)).expect("a mode");
    let checked =
        std::process::Command::new(env!("CARGO_BIN_EXE_filewharf")).args(["check", "--config", &path("conf")]).output();
    let checked = checked.expect("the program runs");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let (count, shown) = (example.lines().filter(|line| line.starts_with(char::is_lowercase)).count(), checked.stdout);
    let of_file = String::from_utf8(shown).expect("UTF-8").lines().filter(|line| line.contains("conf:")).count();
    assert!(count > 15 && of_file == count, "{of_file} of {count} lines are in effect");
}

/// The words in the first cell of each row of a table, without its head.
fn first_cells(table: &str) -> std::collections::BTreeSet<String> {
    let cells = table.lines().filter_map(|line| line.trim_start_matches("//! ").strip_prefix("| `")?.split('|').next());
    let words = cells.flat_map(|cell| cell.split(','));
    words.map(|word| word.trim().trim_matches('`').to_owned()).collect()
}

/// The directories in a directory of the project.
fn dirs(of: &str) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(root().join(of)).expect("a directory").map(|entry| entry.expect("an entry").path());
    let names = entries.filter(|path| path.is_dir()).map(|path| path.file_name().expect("a name").to_owned());
    names.map(move |name| format!("{of}/{}", name.to_str().expect("UTF-8")))
}

#[test]
fn the_table_of_test_modules_has_a_row_for_each() {
    let main = include_str!("main.rs");
    let modules = main.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';')).map(str::to_owned);
    assert_eq!(first_cells(main), modules.collect());
}

#[test]
fn the_table_for_contributors_has_a_row_for_each_directory() {
    let page = text(&root().join(".github/CONTRIBUTING.md"));
    let (_, table) = page.split_once("## Where things are").expect("the table of directories");
    let (table, _) = table.split_once("\n## ").expect("what follows it");
    let rows = first_cells(table);
    for row in &rows {
        assert!(root().join(row).is_dir(), "{row} is no directory");
    }
    let missing: Vec<_> = dirs("src").chain(dirs("tests")).filter(|dir| !rows.contains(dir)).collect();
    assert!(missing.is_empty(), "without a row: {missing:?}");
}
