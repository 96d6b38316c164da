//! Whole numbers of any length. Reading decimal digits costs their length only, as they stay
//! digits; reading binary ones costs the square of their length, so the sum of that is bounded.

use std::fmt::Write as _;

use crate::error::Failure;
use crate::wire::pickle::document::Value;

/// Most decimal digits of a number, which is Python's own bound.
pub(super) const DIGITS_MAX: usize = 4300;
/// Most bytes of a binary number: no more than this many digits.
const BYTES_MAX: usize = 1785;
/// Steps for all binary numbers of a message together, a step being one division of 128 bits: about a
/// millisecond, five of the longest numbers, or 256 of 2048 bits.
const STEPS_MAX: usize = 1 << 18;

const BAD_NUMBER: Failure = Failure::Malformed("a number in the pickle is not one");
const LONG_NUMBER: Failure = Failure::Malformed("a number in the pickle is too long");

/// What is left of the work that the numbers of one message may cost.
#[derive(Debug)]
pub(super) struct NumberBudget(usize);

impl NumberBudget {
    pub(super) const fn spent(&self) -> usize {
        STEPS_MAX - self.0
    }
}

impl Default for NumberBudget {
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
pub(super) fn binary(bytes: &[u8], budget: &mut NumberBudget) -> Result<Value, Failure> {
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
    // The amount in 64-bit limbs, the highest first.
    let mut carry = negative;
    let mut amount: Vec<u64> = Vec::with_capacity(bytes.len().div_ceil(8) + 1);
    for piece in bytes.chunks(8) {
        let mut limb = [fill; 8];
        limb[..piece.len()].copy_from_slice(piece);
        let limb = u64::from_le_bytes(limb);
        let (sum, over) = if negative { !limb } else { limb }.overflowing_add(u64::from(carry));
        amount.push(sum);
        carry = over;
    }
    amount.extend(carry.then_some(1));
    amount.reverse();
    let steps = amount.len() * amount.len();
    budget.0 = budget.0.checked_sub(steps).ok_or(Failure::TooLarge)?;
    decimal(digits(&amount, negative).as_bytes())
}

/// Writes an amount in decimal: nineteen digits a step, which took a fifth of the time of nine.
fn digits(amount: &[u64], negative: bool) -> String {
    const BASE: u128 = 10_u128.pow(19);
    // The lowest first.
    let mut parts: Vec<u64> = Vec::with_capacity(amount.len() + 1);
    for limb in amount {
        let mut carry = *limb;
        for part in &mut parts {
            let value = u128::from(*part) << 64 | u128::from(carry);
            *part = (value % BASE) as u64;
            carry = (value / BASE) as u64;
        }
        while carry > 0 {
            parts.push((u128::from(carry) % BASE) as u64);
            carry = (u128::from(carry) / BASE) as u64;
        }
    }
    let mut text = String::with_capacity(parts.len() * 19 + 1);
    let highest = parts.pop().unwrap_or(0);
    let _ = write!(text, "{}{highest}", if negative { "-" } else { "" });
    for part in parts.iter().rev() {
        let _ = write!(text, "{part:019}");
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
        let big = |bytes: &[u8]| binary(bytes, &mut NumberBudget::default());
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

    // covers: pickle-bombs
    #[test]
    fn the_work_for_long_numbers_is_bounded() {
        let mut budget = NumberBudget::default();
        let read = (0..10_000).take_while(|_| binary(&[0x11; 1700], &mut budget).is_ok()).count();
        assert!((5..10).contains(&read), "{read}");
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

    /// By another way: every byte as a digit to the base 256, added to a row of decimal digits.
    fn slowly(bytes: &[u8]) -> String {
        let mut decimal = vec![0_u32];
        for byte in bytes.iter().rev() {
            let mut carry = u32::from(*byte);
            for digit in &mut decimal {
                carry += *digit * 256;
                *digit = carry % 10;
                carry /= 10;
            }
            while carry > 0 {
                decimal.push(carry % 10);
                carry /= 10;
            }
        }
        decimal.iter().rev().map(u32::to_string).collect()
    }

    proptest! {
        #[test]
        fn long_numbers_are_what_they_are_by_another_way(mut bytes in prop::collection::vec(any::<u8>(), 9..300)) {
            bytes.extend([1, 0]);
            let read = binary(&bytes, &mut NumberBudget::default()).expect("a number");
            prop_assert_eq!(read, Value::Big(slowly(&bytes).into()));
        }

        #[test]
        fn binary_and_decimal_agree(number: i128) {
            let read = binary(&number.to_le_bytes(), &mut NumberBudget::default()).expect("a number");
            prop_assert_eq!(read, decimal(number.to_string().as_bytes()).expect("digits"));
        }
    }
}
