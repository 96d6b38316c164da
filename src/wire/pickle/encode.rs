//! Writes messages in protocol 2, which every Python from 2.3 on reads, byte for byte as Python
//! itself would.

use crate::wire::pickle::document::Strings;
use crate::wire::pickle::scan::op;

/// The message `None`: nothing more will be said.
pub const NONE: &[u8] = &[op::PROTO, 2, op::NONE, op::STOP];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    Int(u64),
    Text(&'a str),
}

pub fn text(text: &str) -> Vec<u8> {
    let mut out = Writer::new(2);
    out.text(text);
    out.end()
}

pub fn dict(entries: &[(&str, Item<'_>)]) -> Vec<u8> {
    let mut out = Writer::new(2);
    out.begin_dict(entries.len());
    for (key, value) in entries {
        out.text(key);
        match value {
            Item::Int(number) => out.int(*number),
            Item::Text(text) => out.text(text),
        }
    }
    out.end_dict(entries.len());
    out.end()
}

/// A dictionary with bytes as its last value: what precedes those, and what follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BytesHead {
    pub before: Vec<u8>,
    pub trailer: Vec<u8>,
}

/// The dictionary `{key: value, data: bytes}` with `len` bytes. For Python 3 that is protocol 3;
/// Python 2 has byte strings only, and knows no later protocol than 2.
pub fn bytes_entry(key: &str, value: &str, data: &str, len: u32, strings: Strings) -> BytesHead {
    let (protocol, code) = match strings {
        Strings::Apart => (3, op::BINBYTES),
        Strings::EightBit => (2, op::BINSTRING),
    };
    let mut out = Writer::new(protocol);
    out.begin_dict(2);
    out.text(key);
    out.text(value);
    out.text(data);
    out.counted(code, len);
    let before = std::mem::take(&mut out.bytes);
    out.memoize();
    out.end_dict(2);
    BytesHead { before, trailer: out.end() }
}

struct Writer {
    bytes: Vec<u8>,
    memo: u8,
}

impl Writer {
    fn new(protocol: u8) -> Self {
        Self { bytes: vec![op::PROTO, protocol], memo: 0 }
    }

    /// Python remembers every text and container, and so do we; no answer has 256 of them.
    fn memoize(&mut self) {
        self.bytes.extend([op::BINPUT, self.memo]);
        self.memo = self.memo.wrapping_add(1);
    }

    fn counted(&mut self, code: u8, len: u32) {
        self.bytes.push(code);
        self.bytes.extend(len.to_le_bytes());
    }

    /// What is said is a few words or a name: far shorter than this length can count.
    fn text(&mut self, text: &str) {
        debug_assert!(u32::try_from(text.len()).is_ok(), "an answer is short");
        self.counted(op::BINUNICODE, text.len() as u32);
        self.bytes.extend(text.as_bytes());
        self.memoize();
    }

    fn int(&mut self, number: u64) {
        if let Ok(number) = u8::try_from(number) {
            self.bytes.extend([op::BININT1, number]);
        } else if let Ok(number) = u16::try_from(number) {
            self.bytes.push(op::BININT2);
            self.bytes.extend(number.to_le_bytes());
        } else if let Ok(number) = i32::try_from(number) {
            self.bytes.push(op::BININT);
            self.bytes.extend(number.to_le_bytes());
        } else {
            // The shortest two's complement: one byte more if the highest bit is set.
            let len = (64 - number.leading_zeros() as usize) / 8 + 1;
            self.bytes.extend([op::LONG1, len as u8]);
            self.bytes.extend(number.to_le_bytes().into_iter().chain([0]).take(len));
        }
    }

    fn begin_dict(&mut self, entries: usize) {
        self.bytes.push(op::EMPTY_DICT);
        self.memoize();
        self.bytes.extend((entries > 1).then_some(op::MARK));
    }

    fn end_dict(&mut self, entries: usize) {
        self.bytes.extend(match entries {
            0 => None,
            1 => Some(op::SETITEM),
            _ => Some(op::SETITEMS),
        });
    }

    fn end(mut self) -> Vec<u8> {
        self.bytes.push(op::STOP);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_is_what_python_writes() {
        assert_eq!(dict(&[("clientid", Item::Int(50_851))]), b"\x80\x02}q\0X\x08\0\0\0clientidq\x01M\xa3\xc6s.");
        assert_eq!(text("server got the data"), b"\x80\x02X\x13\0\0\0server got the dataq\0.");
        assert_eq!(NONE, b"\x80\x02N.");
        assert_eq!(
            dict(&[("stored", Item::Text("a")), ("size", Item::Int(0))]),
            b"\x80\x02}q\0(X\x06\0\0\0storedq\x01X\x01\0\0\0aq\x02X\x04\0\0\0sizeq\x03K\0u."
        );
    }

    #[test]
    fn numbers_of_every_length() {
        for (number, written) in [
            (255, &b"K\xff"[..]),
            (256, b"M\0\x01"),
            (65_536, b"J\0\0\x01\0"),
            (0x7fff_ffff, b"J\xff\xff\xff\x7f"),
            (0x8000_0000, b"\x8a\x05\0\0\0\x80\0"),
            (0xff_ffff_ffff, b"\x8a\x06\xff\xff\xff\xff\xff\0"),
            (u64::MAX, b"\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\0"),
        ] {
            let mut out = Writer::new(2);
            out.int(number);
            assert_eq!(&out.bytes[2..], written, "{number}");
        }
    }

    #[test]
    fn bytes_are_framed_for_either_python() {
        let head = bytes_entry("name", "a", "data", 3, Strings::Apart);
        assert_eq!(head.before, b"\x80\x03}q\0(X\x04\0\0\0nameq\x01X\x01\0\0\0aq\x02X\x04\0\0\0dataq\x03B\x03\0\0\0");
        assert_eq!(head.trailer, b"q\x04u.");
        let head = bytes_entry("name", "a", "data", 3, Strings::EightBit);
        assert!(head.before.starts_with(b"\x80\x02") && head.before.ends_with(b"T\x03\0\0\0"));
    }
}
