//! Reads the sources: a module imports only from its own layer and those below it, system calls
//! stand in `os` and `store` only, no modules import each other in a circle, and a few habits that no lint knows.

mod modules;

use std::fs;
use std::path::{Path, PathBuf};

use filewharf::dialect::Kind;

use self::modules::Imports;

/// Lines of one file at most.
const LINES_MAX: usize = 600;

/// One source file: its name below `src/`, the code in it that is no test, without comments.
struct Source {
    name: String,
    all: String,
    code: String,
}

impl Source {
    /// The first part of its path: its module.
    fn module(&self) -> &str {
        self.name.split(['/', '.']).next().expect("a name")
    }
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
            let name = path.strip_prefix(root()).expect("below src").to_string_lossy().into_owned();
            let all = fs::read_to_string(&path).expect("UTF-8");
            let code = code_of(&all);
            into.push(Source { name, all, code });
        }
    }
}

/// Without comments, and without what stands behind the first `#[cfg(test)]` that opens a module
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

/// The layer of a module of the crate.
fn layer(module: &str) -> Option<u8> {
    Some(match module {
        "ids" | "error" | "object" | "command" | "config" | "counters" | "time" | "fair_queue" | "upload" => 0,
        "buffer" | "wire" => 1,
        "access" | "admission" | "groups" => 2,
        "dialect" | "transfer" | "platform" => 3,
        "session" => 4,
        "reactor" => 5,
        "os" => 6,
        "store" => 7,
        "server" | "client" | "cli" | "docs" => 7,
        _ => return None,
    })
}

/// Every `crate::module` that is named, also those in braces behind `crate::`.
fn imports(code: &str) -> Vec<String> {
    let word = |text: &str| text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("").to_owned();
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => found.push(word(rest)),
            Some(list) => {
                let list = &list[..list.find(';').unwrap_or(list.len())];
                found.extend(list.split(',').map(|part| word(part.trim())));
            }
        }
    }
    found.retain(|name| layer(name).is_some());
    found
}

#[test]
fn a_module_imports_only_from_its_layer_and_those_below() {
    let mut wrong = Vec::new();
    for source in sources() {
        let Some(own) = layer(source.module()) else { continue };
        for import in imports(&source.code) {
            let theirs = layer(&import).expect("only modules with a layer are found");
            let permitted = match source.module() {
                "os" | "store" => {
                    theirs == 0
                        || matches!(import.as_str(), "os" | "platform" | "buffer")
                        || import == source.module()
                        || import == "wire"
                            && source.code.matches("crate::wire::").count()
                                == source.code.matches("crate::wire::key").count()
                }
                "client" => theirs <= 1 || import == "client",
                _ => theirs <= own,
            };
            if !permitted {
                wrong.push(format!("src/{} imports {import}", source.name));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn no_modules_import_each_other_in_a_circle() {
    let sources = sources();
    let imports = Imports::of(sources.iter().map(|source| (source.name.as_str(), source.code.as_str())));
    let circles = imports.circles();
    assert!(circles.is_empty(), "import circles: {circles:#?}");
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
    let unknown: Vec<String> = sources()
        .iter()
        .filter(|source| layer(source.module()).is_none() && !matches!(source.module(), "lib" | "main"))
        .map(|source| source.name.clone())
        .collect();
    assert_eq!(unknown, Vec::<String>::new());
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
    for source in sources().iter().filter(|source| layer(source.module()).is_some_and(|own| own <= 5)) {
        for word in world.iter().filter(|word| source.code.contains(**word)) {
            wrong.push(format!("src/{} mentions {word}", source.name));
        }
        for line in source.code.lines().filter(|line| line.contains("std::net")) {
            let only_addresses = [
                "use std::net::SocketAddr;",
                "use std::net::IpAddr;",
                "use std::net::{IpAddr, SocketAddr};",
                "use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};",
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
    assert_eq!(imports("use crate::os::net;\nuse crate::{session, wire::key};"), ["os", "session", "wire"]);
    assert_eq!(imports("let x = crate::reactor::Reactor::new();"), ["reactor"]);
    assert_eq!(code_of("a // crate::os\nb"), "a \nb");
    assert_eq!(code_of("a\n#[cfg(test)]\nmod tests {\n.unwrap()"), "a");
}
