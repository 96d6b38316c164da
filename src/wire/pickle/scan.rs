//! Opcodes and their arguments, and where a message ends. A message is a row of opcodes up to
//! STOP, so its end is known without building anything, and no byte has to be looked at twice.

use crate::error::Failure;

/// The opcodes that plain data needs, by their names in Python's `pickletools`.
pub(super) mod op {
    pub const MARK: u8 = b'(';
    pub const STOP: u8 = b'.';
    pub const POP: u8 = b'0';
    pub const POP_MARK: u8 = b'1';
    pub const DUP: u8 = b'2';
    pub const FLOAT: u8 = b'F';
    pub const INT: u8 = b'I';
    pub const BININT: u8 = b'J';
    pub const BININT1: u8 = b'K';
    pub const LONG: u8 = b'L';
    pub const BININT2: u8 = b'M';
    pub const NONE: u8 = b'N';
    pub const STRING: u8 = b'S';
    pub const BINSTRING: u8 = b'T';
    pub const SHORT_BINSTRING: u8 = b'U';
    pub const UNICODE: u8 = b'V';
    pub const BINUNICODE: u8 = b'X';
    pub const APPEND: u8 = b'a';
    pub const DICT: u8 = b'd';
    pub const EMPTY_DICT: u8 = b'}';
    pub const APPENDS: u8 = b'e';
    pub const GET: u8 = b'g';
    pub const BINGET: u8 = b'h';
    pub const LONG_BINGET: u8 = b'j';
    pub const LIST: u8 = b'l';
    pub const EMPTY_LIST: u8 = b']';
    pub const PUT: u8 = b'p';
    pub const BINPUT: u8 = b'q';
    pub const LONG_BINPUT: u8 = b'r';
    pub const SETITEM: u8 = b's';
    pub const TUPLE: u8 = b't';
    pub const EMPTY_TUPLE: u8 = b')';
    pub const SETITEMS: u8 = b'u';
    pub const BINFLOAT: u8 = b'G';
    pub const BINBYTES: u8 = b'B';
    pub const SHORT_BINBYTES: u8 = b'C';
    pub const PROTO: u8 = 0x80;
    pub const TUPLE1: u8 = 0x85;
    pub const TUPLE2: u8 = 0x86;
    pub const TUPLE3: u8 = 0x87;
    pub const NEWTRUE: u8 = 0x88;
    pub const NEWFALSE: u8 = 0x89;
    pub const LONG1: u8 = 0x8a;
    pub const LONG4: u8 = 0x8b;
    pub const SHORT_BINUNICODE: u8 = 0x8c;
    pub const BINUNICODE8: u8 = 0x8d;
    pub const BINBYTES8: u8 = 0x8e;
    pub const EMPTY_SET: u8 = 0x8f;
    pub const ADDITEMS: u8 = 0x90;
    pub const FROZENSET: u8 = 0x91;
    pub const MEMOIZE: u8 = 0x94;
    pub const FRAME: u8 = 0x95;
    pub const BYTEARRAY8: u8 = 0x96;
    /// What would make objects or calls, or refer to something outside of the message: PERSID,
    /// BINPERSID, REDUCE, BUILD, GLOBAL, INST, OBJ, NEWOBJ, EXT1, EXT2, EXT4, NEWOBJ_EX,
    /// STACK_GLOBAL, NEXT_BUFFER, READONLY_BUFFER.
    pub const FORBIDDEN: &[u8] = b"PQRbcio\x81\x82\x83\x84\x92\x93\x97\x98";
    /// What a message may begin with.
    pub const FIRST: &[u8] = b"\x80(})]NIJKLMFGSTUVX";
}

const NOT_A_PICKLE: Failure = Failure::Malformed("this is not a pickled message");
const NOT_PLAIN: Failure = Failure::Denied("only plain data is taken, no classes and no calls");
const BAD_LENGTH: Failure = Failure::Malformed("a length in the pickle is negative");

#[derive(Clone, Copy)]
enum Argument {
    Fixed(usize),
    /// Text up to a line feed.
    Line,
    /// A length in this many bytes, then this many more.
    Counted(usize),
    /// As `Counted(4)`, but the length has a sign.
    CountedSigned,
}

const fn argument(code: u8) -> Option<Argument> {
    Some(match code {
        op::MARK | op::STOP | op::POP | op::POP_MARK | op::DUP | op::NONE | op::APPEND | op::DICT => Argument::Fixed(0),
        op::EMPTY_DICT | op::APPENDS | op::LIST | op::EMPTY_LIST | op::SETITEM | op::TUPLE => Argument::Fixed(0),
        op::EMPTY_TUPLE | op::SETITEMS | op::TUPLE1 | op::TUPLE2 | op::TUPLE3 | op::NEWTRUE => Argument::Fixed(0),
        op::NEWFALSE | op::EMPTY_SET | op::ADDITEMS | op::FROZENSET | op::MEMOIZE => Argument::Fixed(0),
        op::BININT1 | op::BINGET | op::BINPUT | op::PROTO => Argument::Fixed(1),
        op::BININT2 => Argument::Fixed(2),
        op::BININT | op::LONG_BINGET | op::LONG_BINPUT => Argument::Fixed(4),
        op::BINFLOAT | op::FRAME => Argument::Fixed(8),
        op::FLOAT | op::INT | op::LONG | op::STRING | op::UNICODE | op::GET | op::PUT => Argument::Line,
        op::SHORT_BINSTRING | op::SHORT_BINBYTES | op::SHORT_BINUNICODE | op::LONG1 => Argument::Counted(1),
        op::BINUNICODE | op::BINBYTES => Argument::Counted(4),
        op::BINSTRING | op::LONG4 => Argument::CountedSigned,
        op::BINUNICODE8 | op::BINBYTES8 | op::BYTEARRAY8 => Argument::Counted(8),
        _ => return None,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Op<'a> {
    pub code: u8,
    /// Without length or line feed.
    pub argument: &'a [u8],
    /// Where the next one begins.
    pub next: usize,
}

/// What was found at a place.
pub(super) enum Found<'a> {
    Whole(Op<'a>),
    /// More bytes are needed; no line feed is before this place.
    Short(usize),
}

/// Reads the opcode at `at`; for a line, the search for its end begins at `searched`. An argument
/// that would end after `len_max` is refused as soon as its length is known.
pub(super) fn read(input: &[u8], at: usize, searched: usize, len_max: usize) -> Result<Found<'_>, Failure> {
    let Some(&code) = input.get(at) else { return Ok(Found::Short(at)) };
    let Some(kind) = argument(code) else {
        return Err(if op::FORBIDDEN.contains(&code) { NOT_PLAIN } else { NOT_A_PICKLE });
    };
    let begin = at + 1;
    let (start, len) = match kind {
        Argument::Fixed(len) => (begin, len),
        Argument::Line => {
            let from = searched.max(begin).min(input.len());
            return Ok(match memchr::memchr(b'\n', &input[from..]) {
                Some(n) => Found::Whole(Op { code, argument: &input[begin..from + n], next: from + n + 1 }),
                None => Found::Short(input.len()),
            });
        }
        Argument::Counted(width) => match unsigned(input, begin, width) {
            Some(len) => (begin + width, usize::try_from(len).map_err(|_| Failure::TooLarge)?),
            None => return Ok(Found::Short(at)),
        },
        Argument::CountedSigned => match unsigned(input, begin, 4) {
            Some(len) if len > i32::MAX as u64 => return Err(BAD_LENGTH),
            Some(len) => (begin + 4, usize::try_from(len).map_err(|_| Failure::TooLarge)?),
            None => return Ok(Found::Short(at)),
        },
    };
    let next = start.checked_add(len).filter(|next| *next <= len_max).ok_or(Failure::TooLarge)?;
    if code == op::FRAME && unsigned(input, begin, 8).is_some_and(|len| len > len_max as u64) {
        return Err(Failure::TooLarge);
    }
    Ok(match input.get(start..next) {
        Some(argument) => Found::Whole(Op { code, argument, next }),
        None => Found::Short(at),
    })
}

/// A number of `width` bytes, the lowest first.
fn unsigned(input: &[u8], at: usize, width: usize) -> Option<u64> {
    let bytes = input.get(at..at + width)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// Finds the end of a message that is still arriving.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scanner {
    /// Where the next opcode begins.
    at: usize,
    /// Up to here there is no end of its line.
    searched: usize,
}

impl Scanner {
    /// `input` is the message from its first byte on, each time with the same bytes and perhaps
    /// more after them. Tells its length once STOP is there. A message longer than `len_max`, and
    /// one that is not plain data, is refused at the first byte that shows it.
    pub fn find(&mut self, input: &[u8], len_max: usize) -> Result<Option<usize>, Failure> {
        let seen = &input[..input.len().min(len_max)];
        if seen.first().is_some_and(|first| !op::FIRST.contains(first)) {
            // GLOBAL is how every attack begins.
            return Err(if seen[0] == b'c' { NOT_PLAIN } else { NOT_A_PICKLE });
        }
        loop {
            match read(seen, self.at, self.searched, len_max)? {
                Found::Whole(Op { code: op::STOP, next, .. }) => return Ok(Some(next)),
                Found::Whole(Op { next, .. }) => (self.at, self.searched) = (next, next),
                Found::Short(searched) => {
                    self.searched = searched;
                    break;
                }
            }
        }
        if seen.len() == len_max { Err(Failure::TooLarge) } else { Ok(None) }
    }
}
