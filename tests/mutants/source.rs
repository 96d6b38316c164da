//! As much of Rust as it takes to find a function by its name and a run of tokens in it, whatever file it is
//! in and however it is laid out.

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
            functions.push(Function { path, body: block(words, open) });
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

    /// The source with each place changed at which `old` is in a function of this path.
    pub fn changes(&self, function: &str, old: &str, new: &str) -> Vec<String> {
        let pattern: Vec<&str> = tokens(old).into_iter().map(|token| &old[token]).collect();
        let mut changed = Vec::new();
        for body in self.functions.iter().filter(|found| found.path == function).map(|found| &found.body) {
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
                let Range { start, end } = span(0..len);
                changed.push(format!("{}{replacement}{}", &self.text[..start], &self.text[end..]));
            }
        }
        changed
    }
}

#[test]
fn a_change_is_found_by_function_and_tokens() {
    let source = "impl<T: Fn() -> u8> Trait for a::Type<T> where T: Copy {\n    fn f(&self) -> [u8; 2] {\n        \
                  call(b\"}\", '}', |x: &'static str| x.y( 1,\n 2)); // }\n    }\n}\nfn f() { x.y(3) }\n";
    let source = Source::new(source.to_owned());
    let one = |function, old, new| match <[String; 1]>::try_from(source.changes(function, old, new)) {
        Ok([changed]) => changed,
        Err(all) => panic!("{} places", all.len()),
    };
    assert!(one("Type::f", "x.y(1, 2)", "z").contains("|x: &'static str| z); // }"));
    assert!(one("Type::f", "x.y(…)", "z(…)").contains("z(1,\n 2)"));
    assert!(one("f", "x.y(…)", "").ends_with("fn f() {  }\n"));
    assert!(source.changes("Type::f", "x.y(3)", "").is_empty() && source.changes("g", "x", "").is_empty());
    assert_eq!(source.changes("Type::f", "'}'", "").len(), 1);
}
