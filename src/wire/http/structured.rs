//! Dictionaries and items of structured fields (RFC 9651). One mistake makes the whole field invalid.

use crate::wire::http::syntax::is_token;
use crate::wire::percent;

/// The integer that is the value of `key` in a dictionary. `None` if there is none, or if the dictionary is invalid.
pub fn integer(lines: &[&str], key: &str) -> Option<i64> {
    let text = lines.join(",");
    let mut rest = Rest(text.trim_matches(' ').as_bytes());
    let mut found = None;
    if rest.0.is_empty() {
        return None;
    }
    loop {
        let name = rest.key()?;
        let value = if rest.takes(b'=') { rest.member()? } else { None };
        rest.parameters()?;
        if name == key.as_bytes() {
            // The last of several counts (§4.2.2).
            found = value;
        }
        rest.whitespace();
        if rest.0.is_empty() {
            return found;
        }
        if !rest.takes(b',') {
            return None;
        }
        rest.whitespace();
    }
}

/// An item that is a boolean, `?0` or `?1`.
pub fn boolean(text: &str) -> Option<bool> {
    let mut rest = Rest(text.trim_matches(' ').as_bytes());
    let value = match rest.0 {
        [b'?', b'0', ..] => false,
        [b'?', b'1', ..] => true,
        _ => return None,
    };
    rest.0 = &rest.0[2..];
    rest.parameters()?;
    rest.0.is_empty().then_some(value)
}

/// An item that is an integer from 0.
pub fn count(text: &str) -> Option<u64> {
    let mut rest = Rest(text.trim_matches(' ').as_bytes());
    let value = rest.number()??;
    rest.parameters()?;
    u64::try_from(value).ok().filter(|_| rest.0.is_empty())
}

/// The input that is left. Each method consumes what it is named for, or returns `None`.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn takes(&mut self, byte: u8) -> bool {
        let rest = self.0.strip_prefix(&[byte]);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// Consumes the bytes for which `is_part` is true.
    fn run(&mut self, is_part: impl Fn(u8) -> bool) -> &'a [u8] {
        let len = self.0.iter().position(|byte| !is_part(*byte)).unwrap_or(self.0.len());
        let (run, rest) = self.0.split_at(len);
        self.0 = rest;
        run
    }

    fn whitespace(&mut self) {
        self.run(|byte| matches!(byte, b' ' | b'\t'));
    }

    fn key(&mut self) -> Option<&'a [u8]> {
        let first = *self.0.first()?;
        let is_part =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'.' | b'*');
        (first.is_ascii_lowercase() || first == b'*').then(|| self.run(is_part))
    }

    /// An item or an inner list, without its parameters; the number if it is an integer.
    fn member(&mut self) -> Option<Option<i64>> {
        if !self.takes(b'(') {
            return self.bare_item();
        }
        loop {
            self.run(|byte| byte == b' ');
            if self.takes(b')') {
                return Some(None);
            }
            self.bare_item()?;
            self.parameters()?;
            if !matches!(self.0.first()?, b' ' | b')') {
                return None;
            }
        }
    }

    fn parameters(&mut self) -> Option<()> {
        while self.takes(b';') {
            self.run(|byte| byte == b' ');
            self.key()?;
            if self.takes(b'=') {
                self.bare_item()?;
            }
        }
        Some(())
    }

    fn bare_item(&mut self) -> Option<Option<i64>> {
        match *self.0.first()? {
            b'-' | b'0'..=b'9' => return self.number(),
            b'"' => {
                self.takes(b'"');
                self.string()?;
            }
            b'*' | b'a'..=b'z' | b'A'..=b'Z' => {
                self.run(|byte| is_token(byte) || matches!(byte, b':' | b'/'));
            }
            b':' => {
                self.takes(b':');
                let digits = self.run(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'));
                let padding = self.run(|byte| byte == b'=');
                if digits.len() % 4 == 1 || padding.len() > 2 || !self.takes(b':') {
                    return None;
                }
            }
            b'?' => {
                self.takes(b'?');
                if !self.takes(b'0') && !self.takes(b'1') {
                    return None;
                }
            }
            b'@' => {
                self.takes(b'@');
                self.number()??;
            }
            b'%' => {
                self.takes(b'%');
                self.display_string()?;
            }
            _ => return None,
        }
        Some(None)
    }

    /// An integer of at most 15 digits, or a decimal of at most 12 and 3.
    fn number(&mut self) -> Option<Option<i64>> {
        let sign = if self.takes(b'-') { -1 } else { 1 };
        let whole = self.run(|byte| byte.is_ascii_digit());
        let is_decimal = self.takes(b'.');
        if is_decimal {
            let part = self.run(|byte| byte.is_ascii_digit());
            return ((1..=12).contains(&whole.len()) && (1..=3).contains(&part.len())).then_some(None);
        }
        if !(1..=15).contains(&whole.len()) {
            return None;
        }
        Some(Some(sign * whole.iter().fold(0, |sum: i64, digit| sum * 10 + i64::from(digit - b'0'))))
    }

    /// What follows the first quote.
    fn string(&mut self) -> Option<()> {
        loop {
            self.run(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'));
            if self.takes(b'"') {
                return Some(());
            }
            if !self.takes(b'\\') || !(self.takes(b'"') || self.takes(b'\\')) {
                return None;
            }
        }
    }

    /// What follows the first percent sign: a quoted string with escapes that make UTF-8.
    fn display_string(&mut self) -> Option<()> {
        if !self.takes(b'"') {
            return None;
        }
        let text = self.run(|byte| matches!(byte, b' '..=b'~') && byte != b'"');
        let is_text = percent::decode(str::from_utf8(text).ok()?).is_some_and(|text| text.decode_utf8().is_ok());
        // The digits of escapes are lower case.
        let has_upper =
            text.split(|byte| *byte == b'%').skip(1).any(|piece| piece.iter().take(2).any(u8::is_ascii_uppercase));
        (is_text && !has_upper && self.takes(b'"')).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_integer_is_found_among_members_of_every_type() {
        for others in [
            "b",
            "b=-1.5",
            "b=\"a, \\\"b\\\\\"",
            "b=tok:en/*",
            "b=:YQ==:",
            "b=::",
            "b=?0",
            "b=@-1659578233",
            "b=%\"f%c3%bc\"",
            "b=( 1 \"x\";a  y )",
            "b=()",
            "*b_-.*=1;x;  y=2.0",
            "a=2",
            "a",
        ] {
            for text in [format!("{others}, a=7"), format!(" {others} \t,\ta=7;x=1 ")] {
                assert_eq!(integer(&[&text], "a"), Some(7), "{text}");
            }
            assert_eq!(integer(&[others, "a=-7"], "a"), Some(-7), "{others}");
        }
        assert_eq!(integer(&["a=7, a"], "a"), None, "the last counts");
        assert_eq!(integer(&["a=999999999999999"], "a"), Some(999_999_999_999_999));
    }

    #[test]
    fn a_dictionary_with_a_mistake_is_nothing() {
        for other in [
            "",
            "B",
            "1",
            "b=",
            "b= 1",
            "b =1",
            "b=1 c",
            "b=\"",
            "b=\"\\x\"",
            "b=\"\u{fc}\"",
            "b=:YQ",
            "b=:Y:",
            "b=:Y-Q:",
            "b=:Y=Q:",
            "b=?2",
            "b=?",
            "b=@1.5",
            "b=@",
            "b=%x",
            "b=%\"%C3%BC\"",
            "b=%\"%ff\"",
            "b=%\"%z1\"",
            "b=(1",
            "b=(1,2)",
            "b=(1\"x\")",
            "b=(1\t2)",
            "b=((1))",
            "b=1.",
            "b=.5",
            "b=1.2345",
            "b=1234567890123.1",
            "b=1234567890123456",
            "b=99999999999999999999",
            "b=--1",
            "b=+1",
            "b=1;",
            "b=1;A",
            "b=1;\tx",
            "b=1;x=",
            "\u{fc}",
            "b=<",
        ] {
            for text in [format!("a=7, {other}"), format!("{other}, a=7")] {
                assert_eq!(integer(&[&text], "a"), None, "{text}");
            }
        }
        assert_eq!(integer(&[""], "a"), None);
        assert_eq!(integer(&["a=7\t"], "a"), Some(7));
    }

    #[test]
    fn an_item_is_all_there_is() {
        for (text, value) in [("?1", true), ("?0", false), (" ?1 ", true), ("?1;a;b=2", true)] {
            assert_eq!(boolean(text), Some(value), "{text}");
        }
        for text in ["", "?", "1", "true", "?2", "?1,?1", "?1 x", "?1;", "?1;A", "\t?1"] {
            assert_eq!(boolean(text), None, "{text}");
        }
        for (text, value) in [("0", 0), ("-0", 0), (" 12", 12), ("7;x", 7), ("999999999999999", 999_999_999_999_999)] {
            assert_eq!(count(text), Some(value), "{text}");
        }
        for text in ["", "-1", "+1", "1.0", "1, 2", "1234567890123456", "x", "\"1\"", "1 x"] {
            assert_eq!(count(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in "([a-z]{1,3}|=|,|;| |[(]|[)]|\"|%|:|@|[?]|[0-9]{1,16}|[.]|-|\\\\|\u{fc}){0,12}") {
            let _ = integer(&[&text], "a");
            let _ = (boolean(&text), count(&text));
        }
    }
}
