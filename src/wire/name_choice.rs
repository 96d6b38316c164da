//! The grammar of `name-choice` requests: `COUNT NAME : CHOICE` without any blank, and without an
//! end. Where a request ends, and where its count ends and its name begins, is decided by what the
//! two kinds of clients can have sent.

use std::ops::Range;

use crate::wire::key;

pub const HEAD_LEN_MAX: usize = 4096;
/// Most digits of a count: more than 9999 clients are not started by hand.
pub const COUNT_LEN_MAX: usize = 4;
/// Bytes of `:PUT` and `:GET`.
const CHOICE_LEN: usize = 4;

/// Which client it is: one with a count sends a digit first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// Sends a count first and waits for an answer to its request: nothing follows a request.
    Waits,
    /// The older one, without count: content follows `:PUT` at once.
    Pushes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    Put,
    Get,
}

/// What the bytes that have come are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut<'a> {
    /// Part of a request, without a `:` yet.
    Name,
    /// Part of a request in which a choice may have begun, or is unknown.
    Choice,
    /// A whole request: what stands before the choice, the choice, and the bytes both took.
    Request(&'a [u8], Choice, usize),
    /// A choice such as `Put`, which its client will not know either.
    Mixed,
    /// More bytes than a request may have.
    TooLong,
}

/// Finds the request at the front of `input`.
///
/// A client that waits has sent nothing after its request: the choice is the last thing there,
/// and a name may hold `:put` itself. After the first `:PUT` of the other kind its content comes.
pub fn cut(input: &[u8], client: Client) -> Cut<'_> {
    let head = &input[..input.len().min(HEAD_LEN_MAX)];
    let first_put = (memchr::memchr_iter(b':', head)).find(|at| exact(&head[*at..]) == Some(Choice::Put));
    let last = (input.len() == head.len()).then(|| last(input)).flatten();
    match (client, first_put, last) {
        (Client::Pushes, Some(put), _) | (Client::Waits, Some(put), None) => request(input, put, put + CHOICE_LEN),
        (Client::Waits, Some(put), Some(at)) if put < at && !is_name(&input[..at]) => {
            request(input, put, put + CHOICE_LEN)
        }
        (_, _, Some(at)) => request(input, at, input.len()),
        (_, None, None) if input.len() >= HEAD_LEN_MAX => Cut::TooLong,
        (_, None, None) if head.contains(&b':') => Cut::Choice,
        (_, None, None) => Cut::Name,
    }
}

fn request(input: &[u8], at: usize, used: usize) -> Cut<'_> {
    match exact(&input[at..]) {
        Some(choice) => Cut::Request(&input[..at], choice, used),
        None => Cut::Mixed,
    }
}

/// Where the choice stands that ends `input`, in whatever case. A line end after `GET` was
/// typed at a keyboard; after `PUT` it is content.
fn last(input: &[u8]) -> Option<usize> {
    let is_choice = |at: &usize| [&b":PUT"[..], b":GET"].iter().any(|choice| input[*at..].eq_ignore_ascii_case(choice));
    let line = input.strip_suffix(b"\n").map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let typed = line.and_then(|line| line.len().checked_sub(CHOICE_LEN));
    (input.len().checked_sub(CHOICE_LEN).filter(is_choice))
        .or(typed.filter(|at| exact(&input[*at..]) == Some(Choice::Get)))
}

fn exact(input: &[u8]) -> Option<Choice> {
    match input.get(..CHOICE_LEN)? {
        b":PUT" | b":put" => Some(Choice::Put),
        b":GET" | b":get" => Some(Choice::Get),
        _ => None,
    }
}

fn is_name(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|name| key::relative(name).is_ok())
}

/// How many digits `bytes` begin with.
pub fn digits(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// How long the count at the front of `label` may be, its name not being empty; at least 1.
pub fn count_lens(label: &[u8]) -> Range<usize> {
    let most = digits(label).min(COUNT_LEN_MAX).min(label.len().saturating_sub(1)).max(1);
    1..most + 1
}

pub fn count(digits: &[u8]) -> Option<u16> {
    if digits.is_empty() || digits.len() > COUNT_LEN_MAX {
        return None;
    }
    digits.iter().try_fold(0_u16, |sum, digit| {
        let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
        sum.checked_mul(10)?.checked_add(u16::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_is_cut_where_its_client_ends_it() {
        use Choice::{Get, Put};
        use Client::{Pushes, Waits};
        for (input, client, label, choice, used) in [
            ("1c.txt:PUT", Waits, "1c.txt", Put, 10),
            ("1c.txt:get", Waits, "1c.txt", Get, 10),
            ("c.txt:GET", Pushes, "c.txt", Get, 9),
            ("c.txt:putdata:PUT", Pushes, "c.txt", Put, 9),
            ("1a:put.txt:GET", Waits, "1a:put.txt", Get, 14),
            ("1a:b:PUT", Waits, "1a:b", Put, 8),
            ("1c.txt:PUThello", Waits, "1c.txt", Put, 10),
            ("1c.txt:PUThel\nlo:put", Waits, "1c.txt", Put, 10),
            ("1c.txt:GET\n", Waits, "1c.txt", Get, 11),
            ("1c.txt:GET\r\n", Waits, "1c.txt", Get, 12),
            ("1c.txt:PUT\n", Waits, "1c.txt", Put, 10),
            (":PUT", Pushes, "", Put, 4),
        ] {
            let wanted = Cut::Request(label.as_bytes(), choice, used);
            assert_eq!(cut(input.as_bytes(), client), wanted, "{input}");
        }
    }

    #[test]
    fn what_is_no_request_is_recognized() {
        for (input, wanted) in [
            ("", Cut::Name),
            ("3", Cut::Name),
            ("3c.txt", Cut::Name),
            ("3c.txt:", Cut::Choice),
            ("3c.txt:GE", Cut::Choice),
            ("3c.txt:DELETE", Cut::Choice),
            ("3c.txt:GETX", Cut::Choice),
            ("3c.txt:Put", Cut::Mixed),
            ("3c.txt:gEt", Cut::Mixed),
        ] {
            assert_eq!(cut(input.as_bytes(), Client::Waits), wanted, "{input}");
        }
        assert_eq!(cut(&[b'x'; HEAD_LEN_MAX - 1], Client::Pushes), Cut::Name);
        assert_eq!(cut(&[b'x'; HEAD_LEN_MAX], Client::Pushes), Cut::TooLong);
        assert_eq!(cut(&[b':'; HEAD_LEN_MAX + 1], Client::Waits), Cut::TooLong);
    }

    #[test]
    fn a_long_content_does_not_hide_its_request() {
        let mut input = b"c.txt:PUT".to_vec();
        input.resize(8192, b'x');
        assert_eq!(cut(&input, Client::Pushes), Cut::Request(b"c.txt", Choice::Put, 9));
        assert_eq!(cut(&input, Client::Waits), Cut::Request(b"c.txt", Choice::Put, 9));
    }

    #[test]
    fn counts_are_short_and_leave_a_name() {
        for (label, wanted) in
            [("", 1..2), ("1", 1..2), ("1c", 1..2), ("12c", 1..3), ("12", 1..2), ("123456c", 1..5), ("1234", 1..4)]
        {
            assert_eq!(count_lens(label.as_bytes()), wanted, "{label}");
        }
        for (digits, wanted) in
            [("", None), ("0", Some(0)), ("9999", Some(9999)), ("10000", None), ("1a", None), ("+1", None)]
        {
            assert_eq!(count(digits.as_bytes()), wanted, "{digits}");
        }
    }

    proptest! {
        #[test]
        fn a_waiting_client_is_understood_at_every_cut(count in 1_u16..10_000, name in "[a-z][a-z0-9 .:/é-]{0,20}", choice in 0..4_usize) {
            let choice = ["PUT", "put", "GET", "get"][choice];
            prop_assume!(!format!("{name}:").to_ascii_lowercase().contains(":put"));
            prop_assume!(!format!("{name}:").to_ascii_lowercase().contains(":get"));
            let sent = format!("{count}{name}:{choice}");
            for cut_at in 0..sent.len() {
                let early = cut(&sent.as_bytes()[..cut_at], Client::Waits);
                prop_assert!(matches!(early, Cut::Name | Cut::Choice), "{:?} at {}", early, cut_at);
            }
            let whole = cut(sent.as_bytes(), Client::Waits);
            let label = sent.rsplit_once(':').expect("a colon").0;
            let wanted = if choice.eq_ignore_ascii_case("put") { Choice::Put } else { Choice::Get };
            prop_assert_eq!(whole, Cut::Request(label.as_bytes(), wanted, sent.len()));
            prop_assert!(count_lens(label.as_bytes()).contains(&count.to_string().len()));
        }

        #[test]
        fn a_pushing_client_is_understood_at_every_cut(name in "[a-z][a-z0-9 ./-]{0,20}", content in prop::collection::vec(any::<u8>(), 0..40)) {
            let head = format!("{name}:PUT");
            let sent = [head.as_bytes(), &content].concat();
            for cut_at in 0..=sent.len() {
                match cut(&sent[..cut_at], Client::Pushes) {
                    Cut::Request(label, Choice::Put, used) => {
                        prop_assert_eq!((label, used), (name.as_bytes(), head.len()));
                        prop_assert!(cut_at >= head.len());
                    }
                    Cut::Name | Cut::Choice => prop_assert!(cut_at < head.len()),
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }

        // covers: two-readings
        #[test]
        fn any_bytes_are_cut_within_bounds(input in prop::collection::vec(prop_oneof![any::<u8>(), Just(b':'), Just(b'P'), Just(b'U'), Just(b'T'), Just(b'1')], 0..60)) {
            for client in [Client::Waits, Client::Pushes] {
                if let Cut::Request(label, _, used) = cut(&input, client) {
                    prop_assert!(label.len() + CHOICE_LEN <= used && used <= input.len());
                }
            }
            prop_assert!(count_lens(&input).end <= input.len().max(2));
        }
    }
}
