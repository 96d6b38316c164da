//! Writes plain data as JSON (RFC 8259).
//!
//! What JSON cannot express: bytes become `{"base64": "…"}`, tuples and sets become arrays,
//! numbers that are not finite become strings, and a key that is not text becomes the text of its
//! own JSON.

use std::fmt::Write as _;

use base64ct::{Base64, Encoding as _};

use crate::error::Failure;
use crate::wire::pickle::{Document, Id, Value};

/// The message as one line of JSON with its line feed, of at most `len_max` bytes.
///
/// This recurses, at most as deep as a document can be.
pub fn line(document: &Document, len_max: usize) -> Result<String, Failure> {
    let mut writer = Writer { out: String::new(), len_max };
    writer.value(document, document.root())?;
    writer.push("\n")?;
    Ok(writer.out)
}

struct Writer {
    out: String,
    len_max: usize,
}

impl Writer {
    fn push(&mut self, text: &str) -> Result<(), Failure> {
        if self.out.len() + text.len() > self.len_max {
            return Err(Failure::TooLarge);
        }
        self.out.push_str(text);
        Ok(())
    }

    fn value(&mut self, document: &Document, value: &Value) -> Result<(), Failure> {
        match value {
            Value::None => self.push("null"),
            Value::Bool(yes) => self.push(if *yes { "true" } else { "false" }),
            Value::Int(number) => self.push(&number.to_string()),
            Value::Big(digits) => self.push(digits),
            Value::Float(number) if number.is_finite() => self.push(&format!("{number:?}")),
            Value::Float(number) => self.push(&format!("\"{number}\"")),
            Value::Text(text) => self.text(text),
            Value::Bytes(bytes) => {
                if bytes.len() > self.len_max {
                    return Err(Failure::TooLarge);
                }
                self.push(&format!("{{\"base64\": \"{}\"}}", Base64::encode_string(bytes)))
            }
            Value::List(ids) | Value::Tuple(ids) | Value::Set(ids) | Value::Frozen(ids) => self.array(document, ids),
            Value::Dict(pairs) => self.object(document, pairs),
        }
    }

    fn array(&mut self, document: &Document, ids: &[Id]) -> Result<(), Failure> {
        self.push("[")?;
        for (index, id) in ids.iter().enumerate() {
            self.push(if index == 0 { "" } else { ", " })?;
            self.value(document, document.at(*id))?;
        }
        self.push("]")
    }

    /// A duplicate key is written twice; readers take the later one, as Python does.
    fn object(&mut self, document: &Document, pairs: &[(Id, Id)]) -> Result<(), Failure> {
        self.push("{")?;
        for (index, (key, value)) in pairs.iter().enumerate() {
            self.push(if index == 0 { "" } else { ", " })?;
            match document.at(*key) {
                Value::Text(text) => self.text(text)?,
                key => {
                    let mut inner = Self { out: String::new(), len_max: self.len_max };
                    inner.value(document, key)?;
                    self.text(&inner.out)?;
                }
            }
            self.push(": ")?;
            self.value(document, document.at(*value))?;
        }
        self.push("}")
    }

    fn text(&mut self, text: &str) -> Result<(), Failure> {
        if text.len() > self.len_max {
            return Err(Failure::TooLarge);
        }
        let mut quoted = String::with_capacity(text.len() + 2);
        quote(text, &mut quoted);
        self.push(&quoted)
    }
}

/// Writes a text as a JSON string (RFC 8259 §7).
pub fn quote(text: &str, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Of the others, those that steer a terminal or the order of what is read.
            '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(letter));
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::pickle::decode;

    fn written(message: &[u8]) -> String {
        line(&decode(message).expect("plain data"), 1000).expect("short enough")
    }

    #[test]
    fn every_kind_of_value_has_its_form() {
        assert_eq!(written(b"\x80\x04}."), "{}\n");
        assert_eq!(
            written(b"(NI01\nI-5\nF1.5\nF1e300\nFnan\nF-inf\nl."),
            "[null, true, -5, 1.5, 1e300, \"NaN\", \"-inf\"]\n"
        );
        assert_eq!(written(b"\x80\x04C\x02\x00\xff."), "{\"base64\": \"AP8=\"}\n");
        assert_eq!(written(b"\x80\x04(K\x01K\x02\x91)\x86."), "[[1, 2], []]\n");
        assert_eq!(written(b"L123456789012345678901234567890L\n."), "123456789012345678901234567890\n");
    }

    #[test]
    fn text_and_keys_are_quoted() {
        assert_eq!(written(b"Va\"\\u005c\\u000a\\u0001\xe9\n."), "\"a\\\"\\\\\\n\\u0001é\"\n");
        assert_eq!(written(b"(K\x01NNK\x02)K\x03d."), "{\"1\": null, \"null\": 2, \"[]\": 3}\n");
    }

    #[test]
    fn no_more_is_written_than_allowed() {
        let document = decode(b"V\x01\x01\x01\x01\n.").expect("text");
        assert_eq!(line(&document, 27).expect("fits").len(), 27);
        assert_eq!(line(&document, 26), Err(Failure::TooLarge));
    }
}
