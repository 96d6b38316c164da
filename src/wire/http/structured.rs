//! Dictionaries and items of structured fields (RFC 9651). One mistake makes the whole field invalid.

use sfparse::{Parser, Value};

/// The integer that is the value of `key` in a dictionary. `None` if there is none, or if the dictionary is invalid.
pub fn integer(lines: &[&str], key: &str) -> Option<i64> {
    let text = lines.join(",");
    let mut parser = Parser::new(text.as_bytes());
    let mut found = None;
    while let Some((name, value)) = parser.parse_dict().ok()? {
        if name == key {
            // The last of several counts (§4.2.2).
            found = if let Value::Integer(value) = value { Some(value) } else { None };
        }
    }
    found
}

/// An item that is a boolean, `?0` or `?1`.
pub fn boolean(text: &str) -> Option<bool> {
    if let Value::Bool(value) = item(text)? { Some(value) } else { None }
}

/// An item that is an integer from 0.
pub fn count(text: &str) -> Option<u64> {
    if let Value::Integer(value) = item(text)? { u64::try_from(value).ok() } else { None }
}

/// The only item.
fn item(text: &str) -> Option<Value> {
    let mut parser = Parser::new(text.as_bytes());
    let value = parser.parse_item().ok()??;
    // The parameters are read on the way to the end.
    parser.parse_item().ok()?.is_none().then_some(value)
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
