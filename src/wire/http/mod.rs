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
pub mod opening;
pub mod structured;
pub mod target;

/// Without blanks and tabs at its ends.
fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
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
