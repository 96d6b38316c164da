//! Whole numbers of any length. Reading decimal digits costs their length only, as they stay
//! digits; reading binary ones costs the square of their length, so the sum of that is bounded.

use std::fmt::Write as _;

use crate::error::Failure;
use crate::wire::pickle::Value;

/// Most decimal digits of a number, which is Python's own bound.
pub(super) const DIGITS_MAX: usize = 4300;
/// Most bytes of a binary number: no more than so many digits.
const BYTES_MAX: usize = 1785;
/// Steps for all binary numbers of a message together, a step being one division.
const STEPS_MAX: usize = 1 << 22;

const BAD_NUMBER: Failure = Failure::Malformed("a number in the pickle is not one");
const LONG_NUMBER: Failure = Failure::Malformed("a number in the pickle is too long");

/// What is left of the work that the numbers of one message may cost.
#[derive(Debug)]
pub(super) struct Effort(usize);

impl Default for Effort {
    fn default() -> Self {
        Self(STEPS_MAX)
    }
}

/// Reads `-?DIGITS`, as Python writes it.
pub(super) fn decimal(text: &[u8]) -> Result<Value, Failure> {
    let text = std::str::from_utf8(text).map_err(|_| BAD_NUMBER)?;
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.len() > DIGITS_MAX {
        return Err(LONG_NUMBER);
    }
    let leading_zero = digits.len() > 1 && digits.starts_with('0');
    if digits.is_empty() || leading_zero || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(BAD_NUMBER);
    }
    Ok(text.parse().map_or_else(|_| Value::Big(text.into()), Value::Int))
}

/// Reads two's complement, the lowest byte first.
pub(super) fn binary(bytes: &[u8], effort: &mut Effort) -> Result<Value, Failure> {
    if bytes.len() > BYTES_MAX {
        return Err(LONG_NUMBER);
    }
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let fill = if negative { 0xff } else { 0 };
    if bytes.len() <= 8 {
        let mut whole = [fill; 8];
        whole[..bytes.len()].copy_from_slice(bytes);
        return Ok(Value::Int(i64::from_le_bytes(whole)));
    }
    // The amount in 32-bit digits, the highest first.
    let mut carry = u64::from(negative);
    let mut amount: Vec<u32> = Vec::with_capacity(bytes.len().div_ceil(4));
    for piece in bytes.chunks(4) {
        let mut digit = [fill; 4];
        digit[..piece.len()].copy_from_slice(piece);
        let digit = u32::from_le_bytes(digit);
        let sum = u64::from(if negative { !digit } else { digit }) + carry;
        amount.push(sum as u32);
        carry = sum >> 32;
    }
    amount.extend((carry > 0).then_some(1));
    amount.reverse();
    let steps = amount.len() * amount.len();
    effort.0 = effort.0.checked_sub(steps).ok_or(Failure::TooLarge)?;
    decimal(digits(amount, negative).as_bytes())
}

/// Writes an amount in decimal, nine digits a division.
fn digits(mut amount: Vec<u32>, negative: bool) -> String {
    let mut nines = Vec::new();
    let mut from = 0;
    while from < amount.len() {
        let mut rest = 0;
        for digit in &mut amount[from..] {
            let value = rest << 32 | u64::from(*digit);
            *digit = (value / 1_000_000_000) as u32;
            rest = value % 1_000_000_000;
        }
        nines.push(rest);
        while amount.get(from) == Some(&0) {
            from += 1;
        }
    }
    let mut text = String::with_capacity(nines.len() * 9 + 1);
    let highest = nines.pop().unwrap_or(0);
    let _ = write!(text, "{}{highest}", if negative { "-" } else { "" });
    for nine in nines.iter().rev() {
        let _ = write!(text, "{nine:09}");
    }
    text
}

/// Reads a number with a fraction as Python writes it.
pub(super) fn float(text: &[u8]) -> Result<f64, Failure> {
    const TEXT_LEN_MAX: usize = 64;
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= TEXT_LEN_MAX).ok_or(BAD_NUMBER)?;
    text.parse().map_err(|_| BAD_NUMBER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn long_numbers_are_read_to_the_last_digit() {
        let big = |bytes: &[u8]| binary(bytes, &mut Effort::default());
        assert_eq!(big(b""), Ok(Value::Int(0)));
        assert_eq!(big(&[0xff]), Ok(Value::Int(-1)));
        assert_eq!(big(&[0, 0, 0, 0, 0, 0, 0, 0x80]), Ok(Value::Int(i64::MIN)));
        assert_eq!(big(&[0, 0, 0, 0, 0, 0, 0, 0x80, 0]), Ok(Value::Big("9223372036854775808".into())));
        assert_eq!(big(&[0xff; 300]), Ok(Value::Int(-1)));
        assert_eq!(big(&[0; 300]), Ok(Value::Int(0)));
        let mut power = [0; 17];
        power[16] = 0x80;
        assert_eq!(big(&power), Ok(Value::Big("-43556142965880123323311949751266331066368".into())));
        assert!(big(&[1; 1786]).is_err());
        assert!(big(&[0x7f; 1785]).is_ok());
    }

    #[test]
    fn the_work_for_long_numbers_is_bounded() {
        let mut effort = Effort::default();
        let read = (0..10_000).take_while(|_| binary(&[0x11; 1700], &mut effort).is_ok()).count();
        assert!((10..100).contains(&read), "{read}");
    }

    #[test]
    fn only_numbers_as_python_writes_them() {
        assert_eq!(decimal(b"-0"), Ok(Value::Int(0)));
        for bad in ["", "-", "+1", " 1", "1 ", "01", "1_0", "0x1", "--1", "1.0", "٣"] {
            assert!(decimal(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(decimal(&[b'9'; DIGITS_MAX]).is_ok());
        assert!(decimal(&[b'9'; DIGITS_MAX + 1]).is_err());
    }

    proptest! {
        #[test]
        fn binary_and_decimal_agree(number: i128) {
            let read = binary(&number.to_le_bytes(), &mut Effort::default()).expect("a number");
            prop_assert_eq!(read, decimal(number.to_string().as_bytes()).expect("digits"));
        }
    }
}
