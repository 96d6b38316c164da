//! The grammar of HTTP/1.1: heads, targets, chunked bodies and the field values that matter here.
//!
//! Where RFC 9110 and RFC 9112 let a recipient choose between lenient and strict, these are
//! strict: what two parsers could read in two ways is refused. No state of a connection and no
//! meaning: what is answered is the dialect's business.

pub mod accept;
pub mod basic;
pub mod chunked;
pub mod conditional;
pub mod date;
pub mod digest;
pub mod head;
pub mod target;

/// Without blanks and tabs at its ends.
fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// A number in digits at the end of `out`.
pub fn write_decimal(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return out.extend_from_slice(&digits[at..]);
        }
    }
}

/// A byte of a token (RFC 9110 §5.6.2).
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

/// A byte of a field value: visible, blank, tab, or not ASCII (RFC 9110 §5.5).
const fn is_value(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_are_written_in_digits() {
        for number in [0, 1, 9, 10, 4096, u64::MAX] {
            let mut out = Vec::new();
            super::write_decimal(number, &mut out);
            assert_eq!(out, number.to_string().into_bytes());
        }
    }
}
