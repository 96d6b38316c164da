//! Builds the values of a message: Python's own stack machine, less everything that makes objects.
//!
//! Values lie in one row and name each other by place, so a list may still grow after it was put
//! into another. Only when STOP is reached is it known how deep and how heavy the whole is, and
//! whether it contains itself; that walk has a stack of its own, which is as short as the depth.

use std::collections::HashMap;

use crate::error::Failure;
use crate::wire::pickle::document::{
    DEPTH_MAX, Document, ITEMS_MAX, Id, MEMO_MAX, OPCODES_MAX, Strings, Value, WEIGHT_MAX,
};
use crate::wire::pickle::number::{self, NumberBudget};
use crate::wire::pickle::scan::{self, Found, Op, op};

const EMPTY_STACK: Failure = Failure::Malformed("the pickle takes more than it has made");
const WRONG_KIND: Failure = Failure::Malformed("the pickle adds to what is no container");
const NO_KEY: Failure = Failure::Malformed("a key in the pickle can be none in Python");
const BAD_TEXT: Failure = Failure::Malformed("a text in the pickle is not Unicode");
const BAD_QUOTES: Failure = Failure::Malformed("a string in the pickle is not quoted as Python does");
const NO_MEMO: Failure = Failure::Malformed("the pickle recalls what it never remembered");
const TOO_MANY: Failure = Failure::Malformed("the pickle has too many parts");
const TOO_DEEP: Failure = Failure::Malformed("the pickle is nested too deeply");
const CYCLE: Failure = Failure::Malformed("the pickle contains itself");
const NEWER: Failure = Failure::Malformed("the pickle is of a protocol newer than 5");
const CUT: Failure = Failure::Malformed("the pickle does not end where it says");

/// Decodes a whole message: all bytes up to its STOP, and no more.
pub fn decode(message: &[u8]) -> Result<Document, Failure> {
    decode_counted(message).0
}

/// The same, and what that cost, in bytes of an upload that take as long.
pub fn decode_counted(message: &[u8]) -> (Result<Document, Failure>, usize) {
    let mut builder = Builder::default();
    let document = builder.run(message);
    (document, message.len() * BYTE_COST + builder.budget.spent() * STEP_COST)
}

/// See [`decode_counted`].
const BYTE_COST: usize = 16;
/// See [`decode_counted`]: for one division of a long number.
const STEP_COST: usize = 4;

impl Builder {
    fn run(&mut self, message: &[u8]) -> Result<Document, Failure> {
        let mut at = 0;
        for _ in 0..OPCODES_MAX {
            let Found::Whole(op) = scan::read(message, at, 0, message.len())? else { return Err(CUT) };
            at = op.next;
            if op.code == op::STOP {
                return if at == message.len() { self.end() } else { Err(CUT) };
            }
            self.obey(op)?;
        }
        Err(TOO_MANY)
    }
}

#[derive(Default)]
struct Builder {
    values: Vec<Value>,
    /// Values and places in containers so far.
    items: usize,
    stack: Vec<Id>,
    /// How high the stack was at each MARK.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    budget: NumberBudget,
    strings: Strings,
}

impl Builder {
    fn obey(&mut self, Op { code, argument, .. }: Op<'_>) -> Result<(), Failure> {
        match code {
            op::MARK => self.marks.push(self.stack.len()),
            op::POP => self.discard_one()?,
            op::POP_MARK => drop(self.take_marked()?),
            op::DUP => self.stack.push(self.top()?),
            op::PROTO if argument.first().is_some_and(|protocol| *protocol > 5) => return Err(NEWER),
            op::PROTO | op::FRAME => {}
            op::APPEND | op::APPENDS | op::ADDITEMS | op::SETITEM | op::SETITEMS => self.extend(code)?,
            op::GET | op::BINGET | op::LONG_BINGET => {
                let id = *self.memo.get(&place(code, argument)?).ok_or(NO_MEMO)?;
                self.stack.push(id);
            }
            op::PUT | op::BINPUT | op::LONG_BINPUT => self.remember(place(code, argument)?)?,
            // Never more entries than MEMO_MAX, so this place fits.
            op::MEMOIZE => self.remember(self.memo.len() as u32)?,
            _ => {
                let value = self.value(code, argument)?;
                self.push(value)?;
            }
        }
        Ok(())
    }

    /// The value that an opcode makes, from its argument or from the stack.
    fn value(&mut self, code: u8, argument: &[u8]) -> Result<Value, Failure> {
        Ok(match code {
            op::NONE => Value::None,
            op::NEWTRUE => Value::Bool(true),
            op::NEWFALSE => Value::Bool(false),
            op::INT if argument == b"00" => Value::Bool(false),
            op::INT if argument == b"01" => Value::Bool(true),
            op::INT => number::decimal(argument)?,
            op::LONG => number::decimal(argument.strip_suffix(b"L").unwrap_or(argument))?,
            op::BININT => number::binary(argument, &mut self.budget)?,
            op::BININT1 | op::BININT2 => Value::Int(argument.iter().rev().fold(0, |n, b| n << 8 | i64::from(*b))),
            op::LONG1 | op::LONG4 => number::binary(argument, &mut self.budget)?,
            op::FLOAT => Value::Float(number::float(argument)?),
            op::BINFLOAT => Value::Float(f64::from_be_bytes(argument.try_into().map_err(|_| CUT)?)),
            op::STRING => self.eight_bit(unquote(argument)?),
            op::BINSTRING | op::SHORT_BINSTRING => self.eight_bit(argument.to_vec()),
            op::UNICODE => Value::Text(unescape(argument)?.into()),
            op::BINUNICODE | op::SHORT_BINUNICODE | op::BINUNICODE8 => {
                Value::Text(std::str::from_utf8(argument).map_err(|_| BAD_TEXT)?.into())
            }
            op::BINBYTES | op::SHORT_BINBYTES | op::BINBYTES8 | op::BYTEARRAY8 => Value::Bytes(argument.into()),
            op::EMPTY_LIST => Value::List(Vec::new()),
            op::EMPTY_TUPLE => Value::Tuple(Vec::new()),
            op::EMPTY_DICT => Value::Dict(Vec::new()),
            op::EMPTY_SET => Value::Set(Vec::new()),
            op::LIST => Value::List(self.take_marked()?),
            op::TUPLE => Value::Tuple(self.take_marked()?),
            op::FROZENSET => Value::Frozen(self.take_marked()?),
            op::DICT => Value::Dict(pairs(&self.take_marked()?)?),
            op::TUPLE1 => Value::Tuple(self.take_last(1)?),
            op::TUPLE2 => Value::Tuple(self.take_last(2)?),
            op::TUPLE3 => Value::Tuple(self.take_last(3)?),
            // The scanner lets nothing else through.
            _ => return Err(Failure::Internal),
        })
    }

    /// A byte string of Python 2 serves as text where it can.
    fn eight_bit(&mut self, bytes: Vec<u8>) -> Value {
        self.strings = Strings::EightBit;
        match String::from_utf8(bytes) {
            Ok(text) => Value::Text(text.into()),
            Err(error) => Value::Bytes(error.into_bytes().into()),
        }
    }

    fn push(&mut self, value: Value) -> Result<(), Failure> {
        let members = match &value {
            Value::List(ids) | Value::Tuple(ids) | Value::Set(ids) | Value::Frozen(ids) => ids.len(),
            Value::Dict(pairs) => 2 * pairs.len(),
            _ => 0,
        };
        self.count(1 + members)?;
        // Not more than ITEMS_MAX, so this place fits.
        self.stack.push(self.values.len() as Id);
        self.values.push(value);
        Ok(())
    }

    fn count(&mut self, more: usize) -> Result<(), Failure> {
        self.items += more;
        if self.items > ITEMS_MAX { Err(TOO_MANY) } else { Ok(()) }
    }

    /// Everything below belongs to what is not finished.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Id, Failure> {
        self.stack[self.floor()..].last().copied().ok_or(EMPTY_STACK)
    }

    /// POP takes a value, or a MARK that nothing stands upon.
    fn discard_one(&mut self) -> Result<(), Failure> {
        if self.stack.len() > self.floor() {
            self.stack.pop();
            return Ok(());
        }
        self.marks.pop().map(drop).ok_or(EMPTY_STACK)
    }

    fn take_marked(&mut self) -> Result<Vec<Id>, Failure> {
        let mark = self.marks.pop().ok_or(EMPTY_STACK)?;
        Ok(self.stack.split_off(mark))
    }

    fn take_last(&mut self, n: usize) -> Result<Vec<Id>, Failure> {
        let from = self.stack.len().checked_sub(n).filter(|from| *from >= self.floor()).ok_or(EMPTY_STACK)?;
        Ok(self.stack.split_off(from))
    }

    fn remember(&mut self, place: u32) -> Result<(), Failure> {
        self.memo.insert(place, self.top()?);
        if self.memo.len() > MEMO_MAX { Err(TOO_MANY) } else { Ok(()) }
    }

    /// Puts what was made into the container below it.
    fn extend(&mut self, code: u8) -> Result<(), Failure> {
        let mut members = match code {
            op::APPEND => self.take_last(1)?,
            op::SETITEM => self.take_last(2)?,
            _ => self.take_marked()?,
        };
        self.count(members.len())?;
        let container = self.top()?;
        match (code, &mut self.values[container as usize]) {
            (op::APPEND | op::APPENDS, Value::List(ids)) | (op::ADDITEMS, Value::Set(ids)) => ids.append(&mut members),
            (op::SETITEM | op::SETITEMS, Value::Dict(entries)) => entries.append(&mut pairs(&members)?),
            _ => return Err(WRONG_KIND),
        }
        Ok(())
    }

    /// The value on top of the stack is the message, as in Python, where it makes no difference
    /// what lies below.
    fn end(&mut self) -> Result<Document, Failure> {
        if !self.marks.is_empty() {
            return Err(CUT);
        }
        let root = self.top()?;
        let document = Document { values: std::mem::take(&mut self.values), root, strings: self.strings };
        check(&document)?;
        Ok(document)
    }
}

fn pairs(members: &[Id]) -> Result<Vec<(Id, Id)>, Failure> {
    let (pairs, rest) = members.as_chunks();
    if !rest.is_empty() {
        return Err(WRONG_KIND);
    }
    Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect())
}

/// The place in the memo that an opcode names.
fn place(code: u8, argument: &[u8]) -> Result<u32, Failure> {
    if !matches!(code, op::GET | op::PUT) {
        return Ok(argument.iter().rev().fold(0, |n, b| n << 8 | u32::from(*b)));
    }
    match number::decimal(argument)? {
        Value::Int(place) => u32::try_from(place).map_err(|_| NO_MEMO),
        _ => Err(NO_MEMO),
    }
}

/// What is known of a value once all its members are.
#[derive(Clone, Copy)]
struct Facts {
    weight: u64,
    height: usize,
    /// May be a key in Python.
    hashable: bool,
}

#[derive(Clone, Copy)]
enum Visit {
    Unseen,
    /// On the way from the root to here.
    Open,
    Known(Facts),
}

/// Walks over every value once, however often it is shared.
fn check(document: &Document) -> Result<(), Failure> {
    let mut visits = vec![Visit::Unseen; document.values.len()];
    let mut way: Vec<(Id, usize)> = vec![(document.root, 0)];
    while let Some((id, next)) = way.last_mut() {
        let value = document.at(*id);
        visits[*id as usize] = Visit::Open;
        match value.member(*next) {
            Some(member) => {
                *next += 1;
                match visits[member as usize] {
                    Visit::Open => return Err(CYCLE),
                    Visit::Known(_) => {}
                    Visit::Unseen if document.at(member).is_container() => {
                        way.push((member, 0));
                        if way.len() > DEPTH_MAX {
                            return Err(TOO_DEEP);
                        }
                    }
                    Visit::Unseen => visits[member as usize] = Visit::Known(facts(document.at(member), &visits)?),
                }
            }
            None => {
                visits[*id as usize] = Visit::Known(facts(value, &visits)?);
                way.pop();
            }
        }
    }
    Ok(())
}

/// What is known of a value with known members.
fn facts(value: &Value, visits: &[Visit]) -> Result<Facts, Failure> {
    let mut all = Facts { weight: 1 + value.own_bytes() as u64, height: 0, hashable: true };
    let mut place = 0;
    while let Some(member) = value.member(place) {
        let Visit::Known(facts) = visits[member as usize] else { return Err(Failure::Internal) };
        let is_key = match value {
            Value::Dict(_) => place.is_multiple_of(2),
            Value::Set(_) | Value::Frozen(_) => true,
            _ => false,
        };
        if is_key && !facts.hashable {
            return Err(NO_KEY);
        }
        all.weight = all.weight.saturating_add(facts.weight);
        all.height = all.height.max(facts.height);
        all.hashable &= facts.hashable;
        place += 1;
    }
    all.height += usize::from(value.is_container());
    all.hashable &= !matches!(value, Value::List(_) | Value::Dict(_) | Value::Set(_));
    if all.height > DEPTH_MAX {
        return Err(TOO_DEEP);
    }
    if all.weight > WEIGHT_MAX {
        return Err(Failure::TooLarge);
    }
    Ok(all)
}

/// Reads a byte string as Python 2 shows it: in quotes, with escapes.
fn unquote(text: &[u8]) -> Result<Vec<u8>, Failure> {
    let text = text.trim_ascii_end();
    let ([b'\'', inner @ .., b'\''] | [b'"', inner @ .., b'"']) = text else { return Err(BAD_QUOTES) };
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let (kind, tail) = rest.split_first().ok_or(BAD_QUOTES)?;
        rest = tail;
        bytes.push(match kind {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'\\' | b'\'' | b'"' => *kind,
            b'x' => {
                let code = hex(rest, 2).ok_or(BAD_QUOTES)?;
                rest = &rest[2..];
                code as u8
            }
            // Python writes no other.
            _ => return Err(BAD_QUOTES),
        });
    }
    Ok(bytes)
}

/// Reads text as Python writes it on one line: Latin-1, and `\uXXXX` or `\UXXXXXXXX` for what is
/// beyond. A narrow Python 2 writes characters beyond U+FFFF as two of the former.
fn unescape(text: &[u8]) -> Result<String, Failure> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = tail;
        let width = match (first, tail.first()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            (b'\\', Some(b'\\')) => {
                // Two of them are two of them, and the second begins nothing.
                out.push_str("\\\\");
                rest = &tail[1..];
                continue;
            }
            _ => {
                out.push(char::from(*first));
                continue;
            }
        };
        let code = hex(&tail[1..], width).ok_or(BAD_TEXT)?;
        rest = &tail[1 + width..];
        let low = || rest.strip_prefix(b"\\u").and_then(|low| hex(low, 4)).filter(|low| low & 0xfc00 == 0xdc00);
        let code = match (code & 0xffff_fc00 == 0xd800).then(low).flatten() {
            Some(low) => {
                rest = &rest[6..];
                0x10000 + ((code & 0x3ff) << 10) + (low & 0x3ff)
            }
            None => code,
        };
        out.push(char::from_u32(code).ok_or(BAD_TEXT)?);
    }
    Ok(out)
}

/// The first `width` bytes as a hexadecimal number.
fn hex(text: &[u8], width: usize) -> Option<u32> {
    text.get(..width)?.iter().try_fold(0, |number, digit| Some(number << 4 | char::from(*digit).to_digit(16)?))
}
