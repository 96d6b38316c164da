//! Reads the sources: a module imports only from its own layer and those below it, as the tables of layers say; system
//! calls stand in `os` and `store` only; neither files nor directories import each other in a circle; and a few habits
//! that no lint knows.

mod modules;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use filewharf::dialect::Kind;

use self::modules::Imports;

/// Lines of one file at most.
const LINES_MAX: usize = 500;

/// One source file: its name below `src/`, the code in it that is no test, without comments.
struct Source {
    name: String,
    all: String,
    code: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn collect(dir: &Path, into: &mut Vec<Source>) {
    for entry in fs::read_dir(dir).expect("the sources are there").filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let name = path.strip_prefix(root()).unwrap_or(&path).to_string_lossy().into_owned();
            let all = fs::read_to_string(&path).expect("UTF-8");
            let code = code_of(&all);
            into.push(Source { name, all, code });
        }
    }
}

/// Without comments, and without what stands after the first `#[cfg(test)]` that opens a module
/// in the same file.
fn code_of(all: &str) -> String {
    let end = all.find("#[cfg(test)]\nmod tests {").unwrap_or(all.len());
    let lines = all[..end].lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// Every file that is compiled into the product.
fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    collect(&root(), &mut sources);
    assert!(sources.len() > 50, "the sources were not found");
    sources.retain(|source| !source.name.contains("tests/") && !source.name.ends_with("tests.rs"));
    sources
}

/// The table of layers at the head of a file, the lowest first.
struct Layers {
    /// Before the names of the files that it is about.
    prefix: &'static str,
    /// The row of each module.
    rows: BTreeMap<String, usize>,
}

impl Layers {
    fn read(file: &str, prefix: &'static str) -> Self {
        let text = fs::read_to_string(root().join(file)).expect("the file is there");
        let lines =
            text.lines().skip_while(|line| *line != "//! # Layers").skip_while(|line| !line.starts_with("//! |"));
        let table = lines.take_while(|line| line.starts_with("//! |")).skip(2).enumerate();
        let words = |line: &str| {
            line.split('|').nth(2).expect("a cell").split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()
        };
        let rows = table.flat_map(|(row, line)| words(line).into_iter().map(move |module| (module, row))).collect();
        Self { prefix, rows }
    }

    fn of_crate() -> Self {
        Self::read("lib.rs", "")
    }

    fn all() -> [Self; 2] {
        [Self::of_crate(), Self::read("store/mod.rs", "store/")]
    }

    /// The module of a file, if the table is about that.
    fn module<'a>(&self, name: &'a str) -> Option<&'a str> {
        let module = name.strip_prefix(self.prefix)?.split(['/', '.']).next().filter(|module| !module.is_empty())?;
        (!matches!(module, "lib" | "main" | "mod")).then_some(module)
    }

    fn row(&self, name: &str) -> Option<usize> {
        self.rows.get(self.module(name)?).copied()
    }

    /// True if a file may use something of another: its own layer has it, or one below, and the module is no exception.
    fn permits(&self, name: &str, other: &str) -> bool {
        let (Some(own), Some(row)) = (self.row(name), self.row(other)) else { return true };
        let (module, theirs) = (self.module(name), self.module(other));
        let is_usable = match module.filter(|_| self.prefix.is_empty()) {
            Some("os" | "store") => {
                row == 0 || matches!(theirs, Some("os" | "platform" | "buffer")) || other == "wire/key.rs"
            }
            Some("client") => row <= 1,
            _ => true,
        };
        row <= own && (is_usable || module == theirs)
    }
}

fn imports() -> Imports {
    let sources = sources();
    Imports::of(sources.iter().map(|source| (source.name.as_str(), source.code.as_str())))
}

#[test]
fn a_module_imports_only_from_its_layer_and_those_below() {
    let mut wrong = Vec::new();
    for layers in Layers::all() {
        for (name, other) in imports().pairs() {
            if !layers.permits(name, other) {
                wrong.push(format!("src/{name} imports src/{other}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn no_files_or_directories_import_each_other_in_a_circle() {
    let circles = imports().circles();
    assert!(circles.is_empty(), "import circles: {circles:#?}");
}

/// Methods in another directory would hide that the two import each other.
#[test]
fn methods_stand_in_the_directory_of_their_type_or_below_it() {
    let (sources, imports) = (sources(), imports());
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let defines = |source: &Source, name: &str| {
        let keyword = [format!("struct {name}"), format!("enum {name}")];
        source
            .code
            .lines()
            .any(|line| keyword.iter().any(|word| line.ends_with(word) || line.contains(&format!("{word} "))))
    };
    let mut wrong = Vec::new();
    for source in &sources {
        let methods = source.code.lines().filter(|line| line.starts_with("impl ") && !line.contains(" for "));
        for name in methods.map(|line| word(&line["impl ".len()..])) {
            let is_away = |other: &&Source| {
                !format!("{}/", directory(&source.name)).starts_with(&format!("{}/", directory(&other.name)))
            };
            let used = imports.of_file(&source.name);
            let others = sources.iter().filter(|other| used.contains(&other.name)).filter(is_away);
            if others.into_iter().any(|other| defines(other, &name)) {
                wrong.push(format!("src/{} has methods of {name}", source.name));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

fn directory(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// The contract at the head of `session` is complete as long as it names every public function.
#[test]
fn the_contract_of_a_session_names_its_few_public_functions() {
    let sources = sources();
    let mut public = Vec::new();
    for source in sources.iter().filter(|source| source.name.starts_with("session/")) {
        let functions = source.code.lines().filter_map(|line| line.trim().strip_prefix("pub "));
        let names = functions.filter_map(|line| line.strip_prefix("const ").unwrap_or(line).strip_prefix("fn "));
        public.extend(names.map(|name| name.split('(').next().expect("a name").to_owned()));
    }
    assert!((10..=25).contains(&public.len()), "{} public functions: {public:?}", public.len());
    let head = sources.iter().find(|source| source.name == "session/mod.rs").expect("it is there");
    let head: String = head.all.lines().take_while(|line| line.starts_with("//!")).collect();
    let named: Vec<&str> = head.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    public.retain(|name| !named.contains(&name.as_str()));
    assert_eq!(public, Vec::<String>::new(), "not in the contract");
}

/// Adding a dialect takes its own file and its entry in the list, nothing else. `auto`, `line` and `http` are known
/// elsewhere: one is the default, and it decides between the others.
#[test]
fn a_dialect_is_named_in_its_own_file_and_the_list_only() {
    let sources = sources();
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    for kind in Kind::ALL.into_iter().filter(|kind| kind.traits().legacy_address.is_some()) {
        let module = kind.name().replace('-', "_");
        let names = [kind.name().to_owned(), module.clone(), format!("{kind:?}")];
        let own = ["dialect/mod.rs".to_owned(), format!("dialect/{module}.rs")];
        let is_own = |name: &str| {
            own.iter().any(|own| own == name)
                || name.starts_with(&format!("dialect/{module}/"))
                || name.starts_with("wire/")
        };
        for source in sources.iter().filter(|source| !is_own(&source.name)) {
            let named = source.code.split(|c| !is_word(c)).find(|word| names.iter().any(|name| name == word));
            assert_eq!(named, None, "{}", source.name);
        }
        assert!(sources.iter().any(|source| source.name == own[1]), "{kind} has no file of its own");
    }
}

#[test]
fn every_module_has_a_layer() {
    for layers in Layers::all() {
        let sources = sources();
        let modules: BTreeSet<_> = sources.iter().filter_map(|source| layers.module(&source.name)).collect();
        assert_eq!(modules, layers.rows.keys().map(String::as_str).collect(), "src/{}", layers.prefix);
    }
}

#[test]
fn below_the_os_nothing_reaches_the_world() {
    let world = [
        "std::fs",
        "std::thread",
        "std::process",
        "std::env",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "mio::",
        "rustix",
        "libc::",
        "socket2",
        "Instant::now",
        "SystemTime",
        "println!",
        "std::os::",
    ];
    let mut wrong = Vec::new();
    let (layers, sources) = (Layers::of_crate(), sources());
    let is_pure = |source: &&Source| layers.row(&source.name).is_some_and(|row| row < layers.rows["os"]);
    for source in sources.iter().filter(is_pure) {
        for word in world.iter().filter(|word| source.code.contains(**word)) {
            wrong.push(format!("src/{} mentions {word}", source.name));
        }
        for line in source.code.lines().filter(|line| line.contains("std::net")) {
            let only_addresses = [
                "use std::net::SocketAddr;",
                "use std::net::IpAddr;",
                "use std::net::{IpAddr, SocketAddr};",
                "use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};",
                "use std::net::{IpAddr, Ipv4Addr, SocketAddr};",
            ]
            .contains(&line.trim())
                || line.contains("std::net::SocketAddr");
            if !only_addresses {
                wrong.push(format!("src/{}: {line}", source.name));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

// covers: unsafe-code
#[test]
fn unsafe_stands_in_one_file() {
    let unsafe_blocks = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"];
    for source in sources() {
        let found = unsafe_blocks.iter().any(|words| source.all.contains(words));
        assert_eq!(found, source.name == "os/sys.rs", "src/{}", source.name);
    }
}

#[test]
fn nothing_is_unwrapped_outside_of_tests() {
    for source in sources() {
        assert!(!source.code.contains(".unwrap()"), "src/{}", source.name);
    }
}

#[test]
fn every_file_says_what_it_is_and_is_short() {
    let mut wrong = Vec::new();
    for source in sources() {
        if !source.all.starts_with("//!") {
            wrong.push(format!("src/{} does not begin with what it is", source.name));
        }
        // Tests at the end of a file do not count: they are read on their own.
        let lines = source.code.lines().count();
        if lines > LINES_MAX {
            wrong.push(format!("src/{} has {lines} lines", source.name));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn the_checks_above_find_what_they_look_for() {
    let layers = Layers::of_crate();
    assert!(
        layers.row("ids.rs") < layers.row("session/mod.rs") && layers.row("os/net/mod.rs") < layers.row("cli/mod.rs")
    );
    assert!(layers.permits("store/mod.rs", "wire/key.rs") && !layers.permits("store/mod.rs", "wire/line.rs"));
    assert_eq!(code_of("a // crate::os\nb"), "a \nb");
    assert_eq!(code_of("a\n#[cfg(test)]\nmod tests {\n.unwrap()"), "a");
}
