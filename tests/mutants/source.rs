//! As much of Rust as it takes to find a function by its name and a run of tokens in it, whatever file it is
//! in and however it is laid out.

use std::collections::BTreeMap;
use std::ops::Range;

/// Stands for any run of tokens with matching brackets, as short as possible.
const ANY: &str = "…";

/// The places of the tokens of a source, without comments.
fn tokens(text: &str) -> Vec<Range<usize>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let len = if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        } else if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        } else if let Some(len) = literal_len(rest) {
            len
        } else if is_word(c) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else {
            c.len_utf8()
        };
        tokens.push(at..at + len);
        at += len;
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of the string or character that the text begins with.
fn literal_len(text: &str) -> Option<usize> {
    let prefix = if text.starts_with("br") { 2 } else { usize::from(text.starts_with(['b', 'r'])) };
    let rest = &text[prefix..];
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    if text[..prefix].contains('r') && rest[hashes..].starts_with('"') {
        let end = format!("\"{}", "#".repeat(hashes));
        return Some(prefix + hashes + 1 + rest[hashes + 1..].find(&end)? + end.len());
    }
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    if quote == '\'' && !rest.starts_with("'\\") {
        let c = rest[1..].chars().next()?;
        let is_closed = rest[1 + c.len_utf8()..].starts_with('\'');
        return is_closed.then(|| prefix + 2 + c.len_utf8()); // Else it is a lifetime.
    }
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Some(prefix + at + 1);
        } else if c == '\\' {
            chars.next();
        }
    }
    None
}

/// A function with a body: `Type::name` or `name`, and the tokens of its body.
struct Function {
    path: String,
    body: Range<usize>,
    /// Whether its body may be chosen while the program runs: not in a `const fn`, and not where each body is a type
    /// of its own (`-> impl …`).
    can_switch: bool,
}

/// Every function of a source, given as the texts of its tokens.
fn functions(words: &[&str]) -> Vec<Function> {
    let mut functions = Vec::new();
    let mut types: Vec<(Range<usize>, &str)> = Vec::new();
    for (at, &word) in words.iter().enumerate() {
        let begins_item = at == 0 || matches!(words[at - 1], "}" | "{" | ";" | "]" | ")" | "pub" | "unsafe");
        if matches!(word, "impl" | "trait") && begins_item {
            let Some(open) = words[at..].iter().position(|&word| word == "{") else { continue };
            types.push((block(words, at + open), type_name(&words[at + 1..at + open])));
        } else if word == "fn"
            && words[at + 1].starts_with(|c: char| c.is_alphabetic() || c == '_')
            && let Some(open) = body(words, at)
        {
            let of = types.iter().rev().find(|(block, _)| block.contains(&at)).map(|(_, name)| format!("{name}::"));
            let path = format!("{}{}", of.unwrap_or_default(), words[at + 1]);
            let is_const = at > 0 && words[at - 1] == "const";
            let can_switch = !is_const && !words[at..open].windows(3).any(|words| words == ["-", ">", "impl"]);
            functions.push(Function { path, body: block(words, open), can_switch });
        }
    }
    functions
}

/// From an opening bracket to the one that closes it.
fn block(words: &[&str], open: usize) -> Range<usize> {
    let mut depth = 0_usize;
    for (at, &word) in words.iter().enumerate().skip(open) {
        match word {
            "{" => depth += 1,
            "}" if depth == 1 => return open..at + 1,
            "}" => depth -= 1,
            _ => {}
        }
    }
    open..words.len()
}

/// Where the body of the function begins; a declaration has none.
fn body(words: &[&str], function: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, &word) in words.iter().enumerate().skip(function) {
        match word {
            "(" | "[" => depth += 1,
            ")" | "]" => depth = depth.saturating_sub(1),
            "{" if depth == 0 => return Some(at),
            ";" if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// The type of `impl<…> Trait for module::Type<…> where …`, without all that stands around its name.
fn type_name<'a>(header: &[&'a str]) -> &'a str {
    let mut depth = 0_usize;
    let mut name = "";
    for (at, &word) in header.iter().enumerate() {
        match word {
            "<" => depth += 1,
            ">" if header[at - 1] != "-" => depth -= 1,
            "where" | "+" => break,
            "for" if depth == 0 => name = "",
            _ if depth == 0 && word.starts_with(char::is_alphabetic) && word != "dyn" => name = word,
            _ => {}
        }
    }
    name
}

/// The tokens at the beginning of `words` that the pattern means, and those that each `…` of it stands for.
fn matched(words: &[&str], pattern: &[&str]) -> Option<(usize, Vec<Range<usize>>)> {
    let Some((&first, rest)) = pattern.split_first() else { return Some((0, Vec::new())) };
    if first != ANY {
        let (len, gaps) = matched(words.get(1..)?, rest).filter(|_| words[0] == first)?;
        return Some((len + 1, gaps.into_iter().map(|gap| gap.start + 1..gap.end + 1).collect()));
    }
    let mut depth = 0_usize;
    for len in 0..=words.len() {
        if depth == 0
            && let Some((more, gaps)) = matched(&words[len..], rest)
        {
            let gaps = gaps.into_iter().map(|gap| gap.start + len..gap.end + len);
            return Some((len + more, std::iter::once(0..len).chain(gaps).collect()));
        }
        match *words.get(len)? {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
    None
}

/// A function that has another body.
#[derive(Clone, Debug)]
pub struct Change {
    /// The bytes of the body as it is.
    body: Range<usize>,
    text: String,
    can_switch: bool,
}

impl Change {
    /// Whether this and all of `others` can be in one program, which chooses when it runs.
    pub fn can_switch(&self, others: &[&Self]) -> bool {
        let is_inside =
            |other: &Range<usize>| self.body != *other && other.start <= self.body.start && self.body.end <= other.end;
        self.can_switch && !others.iter().any(|other| is_inside(&other.body))
    }
}

/// One file of sources.
pub struct Source {
    text: String,
    tokens: Vec<Range<usize>>,
    functions: Vec<Function>,
}

impl Source {
    pub fn new(text: String) -> Self {
        let tokens = tokens(&text);
        let words: Vec<&str> = tokens.iter().map(|token| &text[token.clone()]).collect();
        let functions = functions(&words);
        Self { tokens, functions, text }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Each place at which `old` is in a function of this path, with `new` there.
    pub fn changes(&self, function: &str, old: &str, new: &str) -> Vec<Change> {
        let pattern: Vec<&str> = tokens(old).into_iter().map(|token| &old[token]).collect();
        let mut changed = Vec::new();
        for Function { body, can_switch, .. } in self.functions.iter().filter(|found| found.path == function) {
            let words: Vec<&str> = self.tokens[body.clone()].iter().map(|token| &self.text[token.clone()]).collect();
            for at in 0..words.len() {
                let Some((len, gaps)) = matched(&words[at..], &pattern) else { continue };
                let span = |tokens: Range<usize>| match &self.tokens[body.start + at..][tokens] {
                    [] => 0..0,
                    [first, .., last] => first.start..last.end,
                    [one] => one.clone(),
                };
                let mut replacement = new.to_owned();
                for gap in gaps {
                    replacement = replacement.replacen(ANY, &self.text[span(gap)], 1);
                }
                let place = span(0..len);
                let body = self.tokens[body.start].start..self.tokens[body.end - 1].end;
                let text =
                    format!("{}{replacement}{}", &self.text[body.start..place.start], &self.text[place.end..body.end]);
                changed.push(Change { body, text, can_switch: *can_switch });
            }
        }
        changed
    }

    /// The source with this change.
    pub fn with(&self, change: &Change) -> String {
        let mut source = self.text.clone();
        source.replace_range(change.body.clone(), &change.text);
        source
    }

    /// The source with all of these changes. The program takes the one with the number that the environment variable
    /// `variable` has, and none without it.
    pub fn switched(&self, variable: &str, changes: &[(usize, &Change)]) -> String {
        let mut bodies: BTreeMap<usize, Vec<(usize, &Change)>> = BTreeMap::new();
        for &(number, change) in changes {
            bodies.entry(change.body.start).or_default().push((number, change));
        }
        let mut source = self.text.clone();
        // From the last, since each moves what follows it.
        for changes in bodies.into_values().rev() {
            let body = changes[0].1.body.clone();
            let number = format!(
                "std::env::var({variable:?}).ok().and_then(|number| number.parse().ok()).unwrap_or(usize::MAX)"
            );
            let arms: String =
                changes.iter().map(|(number, change)| format!("{number} => {}\n", change.text)).collect();
            let text = format!(
                "{{ static MUTANT: std::sync::LazyLock<usize> = std::sync::LazyLock::new(|| {number});\n\
                 match *MUTANT {{ {arms} _ => {} }} }}",
                &self.text[body.clone()]
            );
            source.replace_range(body, &text);
        }
        source
    }
}

#[test]
fn a_change_is_found_by_function_and_tokens() {
    let source = "impl<T: Fn() -> u8> Trait for a::Type<T> where T: Copy {\n    fn f(&self) -> [u8; 2] {\n        \
                  call(b\"}\", '}', |x: &'static str| x.y( 1,\n 2)); // }\n    }\n}\nfn f() { x.y(3) }\n";
    let source = Source::new(source.to_owned());
    let one = |function, old, new| match <[Change; 1]>::try_from(source.changes(function, old, new)) {
        Ok([change]) => source.with(&change),
        Err(all) => panic!("{} places", all.len()),
    };
    assert!(one("Type::f", "x.y(1, 2)", "z").contains("|x: &'static str| z); // }"));
    assert!(one("Type::f", "x.y(…)", "z(…)").contains("z(1,\n 2)"));
    assert!(one("f", "x.y(…)", "").ends_with("fn f() {  }\n"));
    assert!(source.changes("Type::f", "x.y(3)", "").is_empty() && source.changes("g", "x", "").is_empty());
    assert_eq!(source.changes("Type::f", "'}'", "").len(), 1);
}

#[test]
fn a_program_chooses_one_of_several_changes_where_its_body_may_be_chosen() {
    let source = Source::new(
        "fn a() -> u8 { 1 }\nconst fn b() { 2 }\nfn c() -> impl Iterator { 3 }\nfn d() { fn e() { 4 } 5 }".to_owned(),
    );
    let change = |function, old| source.changes(function, old, "9").pop().expect("one place");
    let [a, d, e] = [change("a", "1"), change("d", "5"), change("e", "4")];
    assert!(a.can_switch(&[&d]) && d.can_switch(&[&e]) && !e.can_switch(&[&d]));
    assert!(!change("b", "2").can_switch(&[]) && !change("c", "3").can_switch(&[]));
    let text = source.switched("N", &[(7, &a), (8, &a), (9, &d)]);
    assert!(
        text.contains("7 => { 9 }\n8 => { 9 }\n _ => { 1 } } }") && text.contains("_ => { fn e() { 4 } 5 } } }"),
        "{text}"
    );
}
