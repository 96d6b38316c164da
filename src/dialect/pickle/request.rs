//! What a message asks for, and how the log shows it.

use std::fmt::Write as _;

use crate::error::Failure;
use crate::wire::pickle::{Document, Value};

/// This many entries of a dictionary are shown in the log.
const SHOWN_ENTRIES_MAX: usize = 8;
/// This many characters of a key or value are shown in the log.
const SHOWN_CHARS_MAX: usize = 40;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request<'a> {
    Put {
        name: &'a str,
        data: &'a [u8],
    },
    Get {
        name: &'a str,
    },
    /// Nothing: it is a message.
    Message,
}

/// Reads a request: `put` and `get` are, and then nothing else may be in there: to
/// pass over a part in silence would be worse than to refuse it.
pub(super) fn request(document: &Document) -> Result<Request<'_>, Failure> {
    let Value::Dict(entries) = document.root() else {
        return Err(Failure::Malformed("a dictionary is expected"));
    };
    match (document.get("put"), document.get("get"), document.get("data")) {
        (None, None, _) => Ok(Request::Message),
        (Some(Value::Text(name)), None, Some(data)) if entries.len() == 2 => match data {
            Value::Bytes(data) => Ok(Request::Put { name, data }),
            Value::Text(text) => Ok(Request::Put { name, data: text.as_bytes() }),
            _ => Err(Failure::Malformed("data is neither bytes nor text")),
        },
        (None, Some(Value::Text(name)), None) if entries.len() == 1 => Ok(Request::Get { name }),
        _ => Err(Failure::Malformed("a request is {'put': name, 'data': bytes} or {'get': name}")),
    }
}

pub(super) fn shown(document: &Document) -> String {
    let value = |key| document.get(key).map(short);
    if let (Some(student), Some(github), Some(sid)) = (value("student_name"), value("github_username"), value("sid")) {
        return format!("Connected: Student: {student}, Github Username: {github}, sid: {sid}");
    }
    let Value::Dict(entries) = document.root() else { return String::new() };
    let mut line = String::from("Received:");
    for (place, (key, value)) in entries.iter().take(SHOWN_ENTRIES_MAX).enumerate() {
        let comma = if place == 0 { "" } else { "," };
        let _ = write!(line, "{comma} {}: {}", short(document.at(*key)), short(document.at(*value)));
    }
    if entries.len() > SHOWN_ENTRIES_MAX {
        let _ = write!(line, ", and {} more", entries.len() - SHOWN_ENTRIES_MAX);
    }
    line
}

/// A value in a few characters.
fn short(value: &Value) -> String {
    let cut = |text: &str| match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    };
    match value {
        Value::None => "None".to_owned(),
        Value::Bool(yes) => if *yes { "True" } else { "False" }.to_owned(),
        Value::Int(number) => number.to_string(),
        Value::Big(digits) => cut(digits),
        Value::Float(number) => number.to_string(),
        Value::Text(text) => cut(text),
        Value::Bytes(bytes) => format!("<{} bytes>", bytes.len()),
        Value::List(ids) => format!("<list of {}>", ids.len()),
        Value::Tuple(ids) => format!("<tuple of {}>", ids.len()),
        Value::Set(ids) | Value::Frozen(ids) => format!("<set of {}>", ids.len()),
        Value::Dict(pairs) => format!("<dictionary of {}>", pairs.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::pickle::decode;

    #[test]
    fn a_request_is_put_or_get_and_nothing_else() {
        let asks = |message: &[u8]| {
            let document = decode(message).expect("plain data");
            request(&document).map(|request| format!("{request:?}"))
        };
        assert_eq!(asks(b"(Vget\nVa\nd."), Ok("Get { name: \"a\" }".into()));
        assert_eq!(asks(b"(Vput\nVa\nVdata\nVx\nd."), Ok("Put { name: \"a\", data: [120] }".into()));
        // Of a key that is there twice the later one holds, but it is a part too many.
        assert!(asks(b"(Vget\nVa\nVget\nVb\nd.").is_err());
        assert_eq!(asks(b"(Vdata\nVa\nK\x01Nd."), Ok("Message".into()));
        assert_eq!(asks(b"}."), Ok("Message".into()));
        for bad in [&b"(Vget\nNd."[..], b"(Vput\nVa\nd.", b"(Vput\nVa\nVdata\nNd.", b"(Vget\nVa\nVdata\nVx\nd.", b"N."]
        {
            assert!(asks(bad).is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn the_log_shows_a_little_of_everything_and_never_much() {
        let line = |message: &[u8]| shown(&decode(message).expect("plain data"));
        assert_eq!(
            line(b"(Vname\nVAda\nVx\n]K\x01NK\x02B\x03\0\0\0abcd."),
            "Received: name: Ada, x: <list of 0>, 1: None, 2: <3 bytes>"
        );
        assert_eq!(
            line(b"(Vsid\nI1\nVstudent_name\nNVgithub_username\nVg\nd."),
            "Connected: Student: None, Github Username: g, sid: 1"
        );
        let many = (0..5000).map(|n| format!("V{n}{}\nV{}\n", "k".repeat(60), "é".repeat(60)));
        let many = format!("({}d.", many.collect::<String>());
        let shown = shown(&decode(&pickled_latin1(&many)).expect("plain data"));
        assert!(shown.len() < 2000 && shown.ends_with(", and 4992 more"), "{shown}");
    }

    fn pickled_latin1(text: &str) -> Vec<u8> {
        text.chars().map(|letter| letter as u8).collect()
    }
}
